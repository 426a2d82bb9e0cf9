"""`guardian.rollout.run`: whole roll-outs on the simulated engine, on a virtual clock, without a daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
from support.rollouts import VirtualRollOut, composed
from support.virtual_host import MIB, Phase, a_config, key

from guardian.compose.model import Condition, Dependency
from guardian.config.schema import Config
from guardian.engine.simulated.behaviour import steady
from guardian.engine.simulated.scenario import Health, Host, HostStep, Scenario, Service, Step
from guardian.model import Inventory, ServiceKey
from guardian.policy.platform import resolve
from guardian.rollout.open import Ready
from guardian.rollout.plan import Member, Need, in_calls, make_plan
from guardian.rollout.preview import preview
from guardian.rollout.progress import Progress, Stage
from guardian.rollout.steps import EventKind

NAMES = {"db": 1, "api": 1, "work": 2, "mail": 2, "logs": 3}


def a_platform(tmp_path: Path, budget_mib: int | None = None, **services: Service) -> tuple[Scenario, Config]:
    """Three phases of services that do not run yet, 100 MiB each, all with a health check."""
    every = {name: Service(memory=100 * MIB, running=False, health=Health(healthy_after=3)) for name in NAMES} | services
    scenario = Scenario(host=Host(memory=4096 * MIB, base=300 * MIB), services=every)
    phases = tuple(
        Phase(tuple(name for name in every if NAMES.get(name, 3) == number), budget_mib=budget and budget * number)
        for number, budget in ((1, budget_mib), (2, budget_mib), (3, budget_mib))
    )
    return scenario, a_config(*phases, state_dir=str(tmp_path))


DEPENDS = composed(
    db=(),
    api=(Dependency("db", Condition.HEALTHY),),
    work=(Dependency("api"),),
    mail=(),
    logs=(Dependency("work"),),
)


def test_nothing_becomes_all_phases_in_order(tmp_path: Path) -> None:
    """From nothing to phase 3: every service comes up, phase after phase, a dependency before its dependents."""
    one = VirtualRollOut(*a_platform(tmp_path), project=DEPENDS)
    assert one.run(3).stage is Stage.DONE
    assert one.running() == set(NAMES)
    starts = one.order(EventKind.START)
    assert [NAMES[name] for name in starts] == sorted(NAMES.values())
    assert starts.index("db") < starts.index("api")
    assert [event.phase for event in one.told(EventKind.PASSED)] == [1, 2, 3]


def test_a_dependent_waits_until_what_it_needs_is_healthy(tmp_path: Path) -> None:
    """Where the Compose file says service_healthy, the dependent is started only once the other is."""
    one = VirtualRollOut(*a_platform(tmp_path), project=DEPENDS)
    one.run(1)
    words = [(event.kind, event.service.partition("/")[2]) for event in one.events]
    assert words.index((EventKind.UP, "db")) < words.index((EventKind.START, "api"))


def test_a_goal_below_the_last_phase_leaves_what_is_above_alone(tmp_path: Path) -> None:
    """`--to 2` starts nothing of phase 3."""
    one = VirtualRollOut(*a_platform(tmp_path))
    assert one.run(2).reached == 2
    assert one.running() == {"db", "api", "work", "mail"}


def test_what_is_up_already_is_not_started_again(tmp_path: Path) -> None:
    """A second roll-out to the same goal does nothing and is done."""
    one = VirtualRollOut(*a_platform(tmp_path))
    one.run(3)
    before = len(one.actions)
    assert one.run(3).stage is Stage.DONE
    assert len(one.actions) == before


def test_a_service_that_never_gets_healthy_ends_it_in_its_phase(tmp_path: Path) -> None:
    """It stops there and names the service with its health output; the phases before stay up, later ones are not begun."""
    sick = Service(memory=100 * MIB, running=False, health=Health(healthy_after=3), steps=(Step(after=0, healthy=False),))
    one = VirtualRollOut(*a_platform(tmp_path, work=sick), project=DEPENDS)
    ended = one.run(3, healthy_within_s=60)
    assert (ended.stage, ended.phase, ended.reached) == (Stage.FAILED, 2, 1)
    assert ended.failure is not None
    assert ended.failure.service == "openpolicy/work"
    assert "not healthy after 1m: unhealthy" in ended.failure.why
    assert ended.failure.health == ("unhealthy",)
    assert one.running() == {"db", "api", "work", "mail"}


def test_with_rollback_the_phase_that_failed_is_taken_down(tmp_path: Path) -> None:
    """`--rollback` stops what was started of the phase that failed, and nothing of the phases before."""
    sick = Service(memory=100 * MIB, running=False, health=Health(healthy_after=3), steps=(Step(after=0, healthy=False),))
    one = VirtualRollOut(*a_platform(tmp_path, work=sick))
    ended = one.run(3, healthy_within_s=60, rollback=True)
    assert ended.stage is Stage.FAILED
    assert ended.failure is not None
    assert ended.failure.service == "openpolicy/work"
    assert one.running() == {"db", "api"}


def test_a_service_that_ends_at_once_is_named_with_its_exit_code(tmp_path: Path) -> None:
    """One that exits right after its start fails the phase without waiting for the deadline."""
    one = VirtualRollOut(*a_platform(tmp_path, mail=Service(running=False, restart="no", steps=(Step(after=1, exit=3),))))
    began_s = one.clock.monotonic()
    ended = one.run(2)
    assert ended.failure is not None
    assert (ended.failure.service, ended.failure.why) == ("openpolicy/mail", "it ended with 3")
    assert one.clock.monotonic() - began_s < 60


def with_a_large_phase_3(tmp_path: Path, needs_mib: int, *steps: HostStep) -> VirtualRollOut:
    """75% of 4096 MiB are 3072; the host and the four services of phases 1 and 2 use 700."""
    scenario, _ = a_platform(tmp_path, logs=Service(memory=1500 * MIB, running=False, health=Health(healthy_after=3)))
    scenario = msgspec.structs.replace(scenario, host=msgspec.structs.replace(scenario.host, steps=steps))
    phases = (Phase(("db", "api")), Phase(("work", "mail")), Phase(("logs",), budget_mib=needs_mib))
    return VirtualRollOut(scenario, a_config(*phases, state_dir=str(tmp_path)))


def test_too_little_room_holds_the_phase_and_says_how_much_is_missing(tmp_path: Path) -> None:
    """A phase for which there is no room is not begun; after `wait` it ends, saying what is missing. What is up stays."""
    one = with_a_large_phase_3(tmp_path, 2600)
    ended = one.run(3, wait_s=30)
    assert (ended.stage, ended.phase, ended.reached) == (Stage.FAILED, 3, 2)
    assert ended.failure is not None
    assert ended.failure.why == "memory: needs 2600 MiB, has 2372 MiB: 228 MiB missing"
    assert one.running() == {"db", "api", "work", "mail"}


def test_it_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """A phase that is held for want of room is begun as soon as there is some."""
    build = (HostStep(at=0, memory=steady(700 * MIB)), HostStep(at=200, memory=steady(0)))
    one = with_a_large_phase_3(tmp_path, 2000, *build)
    assert one.run(3, wait_s=300).stage is Stage.DONE
    held = one.told(EventKind.HELD)[-1]
    assert (held.phase, held.detail) == (3, "memory: needs 2000 MiB, has 1672 MiB: 328 MiB missing")


def test_more_use_than_the_budget_ends_the_phase(tmp_path: Path) -> None:
    """A phase that uses more than its budget does not pass."""
    one = VirtualRollOut(*a_platform(tmp_path, budget_mib=150))
    ended = one.run(3, wait_s=20)
    assert (ended.stage, ended.phase) == (Stage.FAILED, 1)
    assert ended.failure is not None
    assert "phases 1 to 1 use more than their budget: memory: 200 MiB of 150 MiB" in ended.failure.why


def test_from_zero_stops_all_first_dependents_before_what_they_need(tmp_path: Path) -> None:
    """`--from-zero` stops the highest phase first and a dependent before what it needs; then all comes up again."""
    one = VirtualRollOut(*a_platform(tmp_path), project=DEPENDS)
    one.run(3)
    one.events.clear()
    assert one.run(3, from_zero=True).stage is Stage.DONE
    stops = one.order(EventKind.STOP)
    assert sorted(stops) == sorted(NAMES)
    assert stops[0] == "logs"
    assert stops.index("api") < stops.index("db")
    assert one.running() == set(NAMES)


def test_down_to_a_phase_stops_what_is_above_and_nothing_else(tmp_path: Path) -> None:
    """`--down-to 1` leaves phase 1 as it is."""
    one = VirtualRollOut(*a_platform(tmp_path), project=DEPENDS)
    one.run(3)
    one.events.clear()
    assert one.run(1, down=True).stage is Stage.DONE
    assert one.running() == {"db", "api"}
    assert one.order(EventKind.STOP)[0] == "logs"


def test_what_waits_for_another_is_created_by_a_later_call() -> None:
    """Compose v1 waits for conditions among the services of one call though it starts none: so no call has such a pair."""
    conditions = {
        "db": {},
        "seed": {"db": Condition.HEALTHY},
        "side": {"db": Condition.STARTED},
        "api": {"seed": Condition.COMPLETED, "side": Condition.STARTED},
        "web": {"api": Condition.STARTED},
    }
    members = [
        Member(key(name), 1, tuple(Need(key(other), how) for other, how in needs.items())) for name, needs in conditions.items()
    ]
    assert [[one.key.name for one in call] for call in in_calls(members, waits=True)] == [
        ["db"],
        ["seed", "side"],
        ["api", "web"],
    ]
    assert in_calls([], waits=True) == []


def test_what_waits_for_another_is_created_with_it_by_compose_v2() -> None:
    """Compose v2 waits for nothing that it is to create, and labels a container with those dependencies alone that its call names."""
    members = [Member(key("db"), 1, ()), Member(key("api"), 1, (Need(key("db"), Condition.HEALTHY),))]
    assert in_calls(members, waits=False) == [members]
    assert in_calls([], waits=False) == []


def test_a_one_shot_has_to_complete(tmp_path: Path) -> None:
    """What is waited for with service_completed_successfully counts as up once it has ended well."""
    job = Service(memory=10 * MIB, running=False, restart="no", steps=(Step(after=4, exit=0),))
    scenario, config = a_platform(tmp_path, db=job)
    project = composed(db=(), api=(Dependency("db", Condition.COMPLETED),))
    one = VirtualRollOut(scenario, config, project=project)
    assert one.run(1).stage is Stage.DONE
    assert one.running() == {"api"}


def test_a_one_shot_that_has_completed_is_not_run_again_from_zero(tmp_path: Path) -> None:
    """From zero stops what runs; the job that has done its work stays done, and the plan says so."""
    job = Service(memory=10 * MIB, running=False, restart="no", steps=(Step(after=4, exit=0),))
    scenario, config = a_platform(tmp_path, db=job)
    project = composed(db=(), api=(Dependency("db", Condition.COMPLETED),))
    one = VirtualRollOut(scenario, config, project=project)
    assert one.run(1).stage is Stage.DONE
    one.admission.refresh()
    progress = Progress(goal=1, down=False, from_zero=True, by="ada", began_wall_s=0.0)
    planned = preview(one.admission, Ready(one.plan, one.senses.look()), progress)
    assert {row["service"]: row["does"] for row in planned["phases"][0]["services"]} == {
        "openpolicy/api": "start",
        "openpolicy/db": "is up",
    }
    one.events.clear()
    assert one.run(1, from_zero=True).stage is Stage.DONE
    assert one.order(EventKind.START) == ["api"]


def test_a_one_shot_is_known_by_the_labels_of_what_awaits_it(tmp_path: Path) -> None:
    """Without a Compose file the labels of a dependent say that it waits for a job: that one counts as up once it has ended well."""
    scenario, config = a_platform(tmp_path)
    one = VirtualRollOut(scenario, config)
    platform = one.senses.look().platform
    api = platform.services[ServiceKey("openpolicy", "api")]
    labelled = replace(api.containers[0], depends_on=("db",), awaits=("db",))
    inventory = Inventory(0.0, (*(each for each in platform.containers.values() if each.id != labelled.id), labelled))
    plan = make_plan(resolve(config, inventory), config, 2.0, {})
    db, seen = plan.member(ServiceKey("openpolicy", "db")), plan.member(api.key)
    assert db is not None
    assert seen is not None
    assert db.one_shot
    assert [(need.service.name, need.condition) for need in seen.needs] == [("db", Condition.COMPLETED)]


def test_a_job_that_no_phase_lists_is_run_for_what_depends_on_it(tmp_path: Path) -> None:
    """A migration in no phase comes up with what waits for its completion, and `--down-to` does not stop what no phase lists."""
    scenario, config = a_platform(tmp_path)
    job = Service(memory=10 * MIB, running=False, restart="no", steps=(Step(after=4, exit=0),))
    side = Service(memory=10 * MIB, running=False)
    scenario = msgspec.structs.replace(scenario, services={**scenario.services, "migrate": job, "side": side})
    project = composed(
        db=(),
        migrate=(Dependency("db", Condition.HEALTHY),),
        side=(),
        api=(Dependency("migrate", Condition.COMPLETED), Dependency("side")),
    )
    one = VirtualRollOut(scenario, config, project=project)
    assert one.run(1).stage is Stage.DONE
    assert one.running() == {"db", "side", "api"}
    starts = one.order(EventKind.START)
    assert starts.index("db") < starts.index("migrate") < starts.index("api")
    assert one.run(0, down=True).stage is Stage.DONE
    assert one.running() == {"side"}


def test_a_start_or_a_stop_without_an_answer_is_looked_at_before_it_counts(tmp_path: Path) -> None:
    """On a slow host a call may end without an answer and have worked all the same: what runs is taken as started."""
    one = VirtualRollOut(*a_platform(tmp_path))
    one.unanswered = ["db", "mail"]
    assert one.run(3).stage is Stage.DONE
    one.unanswered = ["logs"]
    assert one.run(1, down=True).stage is Stage.DONE
    assert one.running() == {"db", "api"}


def test_one_that_never_has_an_answer_and_never_runs_fails_its_phase(tmp_path: Path) -> None:
    """A start that is tried again and again without an answer ends the phase after the time a service has to be up."""
    one = VirtualRollOut(*a_platform(tmp_path, mail=Service(running=False, starts="refused")))
    one.unanswered = ["mail"] * 1000
    ended = one.run(2, healthy_within_s=20)
    assert ended.failure is not None
    assert (ended.failure.service, ended.failure.why) == ("openpolicy/mail", "the engine did not start it: timed_out")
