"""Whom to restart because it is unhealthy, and why not yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from support.policy import AT_ONCE, Phase, World, a_config, an_entry, key, of_kind, sheds, why_held

from guardian.config.schema import HealthConfig, ServiceConfig
from guardian.ledger.entries import Controls, EntryState, Means
from guardian.model import ActionKind, ContainerState, Decision, Health, Mode, Result
from guardian.policy.health import FIRST_PAUSE_S
from guardian.policy.restore import HEALTHY_WITHIN_S
from guardian.policy.state import Memo, Rising

RESTARTED = ServiceConfig(health=HealthConfig(restart=True))
NAMES = ("db", "api", "web")


def a_world(*phases: Phase | tuple[str, ...], **services: ServiceConfig) -> World:
    """Services that run and are healthy, all to be restarted while they are not; web depends on api, and api on db."""
    config = a_config(
        *(phases or (("db",), ("api", "web"))), thresholds=AT_ONCE, services={**dict.fromkeys(NAMES, RESTARTED), **services}
    )
    world = World(config)
    for name, needs in (("db", ()), ("api", ("db",)), ("web", ("api",))):
        world.add(name, health=Health.HEALTHY, depends_on=needs)
    return world


def sick(world: World, *names: str) -> World:
    for name in names:
        world.set_health(name, Health.UNHEALTHY)
    return world


def restarts(decision: Decision) -> list[str]:
    return of_kind(decision, ActionKind.RESTART)


def held(decision: Decision) -> list[str]:
    return why_held(decision, ActionKind.RESTART)


def test_what_is_unhealthy_is_restarted() -> None:
    """What is unhealthy, and is to be restarted for that, is: its unhealthy replicas, with its own stop timeout."""
    world = a_world(api=ServiceConfig(health=HealthConfig(restart=True), stop_timeout=20)).add(  # type: ignore[arg-type]
        "api", replicas=2, health=Health.HEALTHY
    )
    world._change("api-2", health=Health.UNHEALTHY)
    (action,) = world.tick().actions
    assert (action.kind, action.service, action.containers) == (ActionKind.RESTART, key("api"), ("api-2",))
    assert (action.reason, action.grace_s, action.kill_after_grace) == ("unhealthy", 20, True)
    assert action.deadline_s == 20 + world.config.engine.timeout + 10


def test_by_default_nothing_is_restarted() -> None:
    """A service that the file does not say it of is never restarted, and not held back either."""
    for config in (ServiceConfig(), ServiceConfig(health=HealthConfig(tcp="127.0.0.1:1"))):
        decision = sick(a_world(api=config), "api").tick()
        assert (restarts(decision), held(decision)) == ([], [])


def test_only_what_is_known_to_be_unhealthy_is_restarted() -> None:
    """What is healthy, starting, without a check, or does not run is not restarted."""
    for health in (Health.HEALTHY, Health.STARTING, Health.NONE):
        world = a_world()
        world.set_health("api", health)
        assert restarts(world.tick()) == []
    for state in (ContainerState.EXITED, ContainerState.PAUSED, ContainerState.RESTARTING):
        world = sick(a_world(), "api")
        world.set_state("api", state)
        assert restarts(world.tick()) == []


def test_kill_never_is_kept_by_a_restart() -> None:
    """A restart of what must never be killed does not kill it."""
    world = sick(a_world(api=replace_config(RESTARTED, kill="never")), "api")
    (action,) = world.tick().actions
    assert not action.kill_after_grace


def replace_config(config: ServiceConfig, **fields: object) -> ServiceConfig:
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    return ServiceConfig(**{**values, **fields})  # type: ignore[arg-type]


# --- one at a time, the cause first ---------------------------------------------------------------------------------


def test_the_cause_goes_first() -> None:
    """Of several that are unhealthy what the others depend on, directly or through others, goes first."""
    world = sick(a_world(), "web", "db")
    decision = world.tick()
    assert restarts(decision) == ["db"]
    assert held(decision) == ["dependency"]


def test_a_dependency_that_is_not_well_is_waited_for() -> None:
    """What depends on something that is down, starting or unhealthy is not restarted, whether or not that may be."""
    changes: tuple[Callable[[World], None], ...] = (
        lambda world: world.set_state("db", ContainerState.EXITED),
        lambda world: world.set_health("db", Health.STARTING),
        lambda world: world.set_health("db", Health.UNHEALTHY),
    )
    for change in changes:
        world = sick(a_world(db=ServiceConfig()), "api")
        change(world)
        decision = world.tick()
        assert (restarts(decision), held(decision)) == ([], ["dependency"])
    world = sick(a_world(), "api")
    world.set_health("db", Health.NONE)
    assert restarts(world.tick()) == ["api"]


def test_services_that_depend_on_each_other_do_not_wait_for_each_other_for_ever() -> None:
    """In a circle of depends_on one goes first."""
    world = sick(a_world().add("db", health=Health.HEALTHY, depends_on=("web",)), *NAMES)
    assert len(restarts(world.tick())) == 1


def test_lower_phases_go_first() -> None:
    """Of those that do not depend on each other the lowest phase goes first."""
    world = (
        a_world(("a",), ("b",), a=RESTARTED, b=RESTARTED).add("b", health=Health.UNHEALTHY).add("a", health=Health.UNHEALTHY)
    )
    decision = world.tick()
    assert (restarts(decision), held(decision)) == (["a"], ["restarting"])


def test_the_next_is_restarted_once_the_one_before_is_healthy() -> None:
    """The next is restarted once the one before is healthy again, or was not in time."""
    for becomes, waits_s in ((Health.HEALTHY, 1.0), (Health.STARTING, HEALTHY_WITHIN_S)):
        world = a_world(("a", "b"), a=RESTARTED, b=RESTARTED)
        world.add("a", health=Health.UNHEALTHY).add("b", health=Health.UNHEALTHY)
        first = world.tick()
        assert restarts(first) == ["a"]
        assert held(world.tick()) == ["in_flight", "in_flight"]
        world.end_all(first)
        assert held(world.tick()) == ["restarting"]
        world.set_health("a", becomes)
        assert restarts(world.tick(waits_s)) == ["b"]


def test_a_list_from_before_the_end_of_a_restart_says_nothing() -> None:
    """Nothing more is restarted on a list from before the end of the restart before."""
    world = sick(a_world(("a", "b"), a=RESTARTED, b=RESTARTED).add("a").add("b"), "a", "b")
    first = world.tick()
    world.end_all(first)
    world.set_health("a", Health.UNHEALTHY)  # as the list from before still shows it
    world.tick(0.0)
    assert world.state.flights == ()


# --- not too often --------------------------------------------------------------------------------------------------


def test_each_further_restart_waits_twice_as_long_and_the_hour_has_its_bound() -> None:
    """Each further restart within the hour waits twice as long, and no more than `restarts_per_hour` are made."""
    world = sick(a_world(), "api")
    at_s: list[float] = []
    why: set[str] = set()
    while world.now_s < 10_000 + 3700:
        decision = world.tick(5.0)
        if restarts(decision):
            at_s.append(world.now_s)
            world.end_all(decision)
        else:
            world.set_health("api", Health.UNHEALTHY)
        why.update(held(decision))
    pauses = [later - sooner for sooner, later in pairwise(at_s)]
    assert FIRST_PAUSE_S <= pauses[0] <= FIRST_PAUSE_S + 10
    assert 2 * FIRST_PAUSE_S <= pauses[1] <= 2 * FIRST_PAUSE_S + 10
    assert len([one for one in at_s if one < at_s[0] + 3600]) == 3
    assert len(at_s) == 4
    assert {"backoff", "max_per_hour"} <= why


@pytest.mark.parametrize("result", [Result.FAILED, Result.REFUSED, Result.TIMED_OUT, Result.OBSERVED])
def test_a_restart_counts_however_it_ended(result: Result) -> None:
    """A restart that failed, or was only observed, counts like any other; one that failed is told."""
    world = sick(a_world(), "api")
    world.observe = result is Result.OBSERVED
    world.end_all(world.tick(), result)
    decision = world.tick()
    assert (restarts(decision), held(decision)) == ([], ["backoff"])
    assert bool(decision.notes) is (result is not Result.OBSERVED)


# --- never against anybody ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda world: setattr(world, "standby", True), "standby"),
        (lambda world: setattr(world, "engine_ready", False), "engine"),
        (lambda world: setattr(world, "controls", Controls(hold="ada")), "operator"),
        (lambda world: setattr(world, "controls", Controls(pins=frozenset({key("api")}))), "pinned"),
        (lambda world: setattr(world, "disk", 0.99), "disk"),
        (lambda world: setattr(world, "cpu", 0.99), "pressure"),
        (lambda world: world.add("api", health=Health.UNHEALTHY, shares=()).add("web", shares=("api-1",)), "shared"),
        (lambda world: setattr(world, "state", replace(world.state, memos={key("api"): Memo(override_until_s=1e9)})), "overridden"),
        (lambda world: setattr(world, "state", replace(world.state, memos={key("api"): Memo(probation_until_s=1e9)})), "probation"),
        (lambda world: world.add("x"), ""),
    ],
)  # fmt: skip
def test_it_is_held_back_with_its_reason(change: Callable[[World], None], why: str) -> None:
    """A restart is held back, with its reason, where an operator, the engine, pressure or another service stands against it."""
    world = sick(a_world(), "api")
    world.waiting = 0.0
    change(world)
    decision = world.tick()
    assert (restarts(decision), held(decision)) == (([], [why]) if why else (["api"], []))


def test_hard_memory_restarts_nothing() -> None:
    """While memory is hard nothing is restarted, also where nothing can be shed; when it is over, it is."""
    world = sick(a_world(Phase(("db", "api", "web"), protected=True)), "api")
    world.memory = 0.95
    for decision in world.ticks(5):
        assert (restarts(decision), held(decision)) == ([], ["pressure"])
    world.memory = 0.5
    assert ["api"] in [restarts(decision) for decision in world.ticks(10)]


def test_a_shed_goes_before_a_restart() -> None:
    """Where something is shed, nothing is restarted in the same tick, nor while the shed is under way or its relief awaited."""
    world = sick(a_world(("db", "api"), ("web",)), "api")
    world.memory = 0.85
    decision = world.tick()
    assert (sheds(decision), restarts(decision)) == (["web"], [])
    assert held(world.tick()) == ["in_flight"]
    world.end_all(decision)
    assert held(world.tick(0.1)) == ["settling"]


def test_what_is_being_restarted_is_no_victim() -> None:
    """What is being restarted is no victim of a shed meanwhile."""
    world = sick(a_world(("db", "api"), ("web",)), "web")
    assert restarts(world.tick()) == ["web"]
    world.memory = 0.85
    assert sheds(world.tick()) != ["web"]


@pytest.mark.parametrize("state", [EntryState.INTENDED, EntryState.SENT, EntryState.SHED, EntryState.RESTORING])
def test_what_the_ledger_holds_is_not_restarted(state: EntryState) -> None:
    """A service that has an open entry is not restarted; a lowered CPU quota does not count."""
    world = sick(a_world(), "api")
    world.entries[key("api")] = an_entry("api", 2, state=state, returned_wall_s=1.0)
    assert held(world.tick()) == ["shed"]
    world.entries[key("api")] = an_entry("api", 2, state=EntryState.SENT, means=Means.THROTTLE)
    assert restarts(world.tick()) == ["api"]


def test_a_restore_on_its_way_up_is_waited_for() -> None:
    """While a restore is on its way up nothing is restarted."""
    world = sick(a_world(), "web")
    world.entries[key("db")] = an_entry("db", 1, state=EntryState.RESTORING)
    world.set_health("db", Health.STARTING)
    world.state = replace(world.state, rising=Rising(key("db"), world.now_s))
    assert held(world.tick()) == ["rising"]


def test_a_protected_phase_may_be_restarted_and_protect_may_not() -> None:
    """A service of a protected phase is restarted where the file says so; one under `protect` never is."""
    world = sick(a_world(Phase(("db", "api", "web"), protected=True)), "api")
    assert restarts(world.tick()) == ["api"]
    world = sick(a_world(api=replace_config(RESTARTED, protect=True)), "api")
    assert held(world.tick()) == ["protect"]


def test_an_observed_phase_is_not_touched() -> None:
    """A service of an observed phase is not restarted."""
    world = sick(a_world(Phase(("db", "api", "web"), mode=Mode.OBSERVE)), "api")
    assert held(world.tick()) == ["phase_observed"]
