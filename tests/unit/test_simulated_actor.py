"""Actions on the simulated engine and a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine, VirtualActor
from guardian.engine.simulated.scenario import Service, Stop
from guardian.errors import LedgerError
from guardian.model import Action, ActionKind, Outcome, Result, ServiceKey

SERVICES = {
    "db": Service(stop=Stop(takes=2)),
    "web": Service(stop=Stop(takes=1), replicas=2),
    "deaf": Service(stop=Stop(ignores_sigterm=True)),
    "down": Service(running=False),
}


@dataclass
class Bench:
    clock: VirtualClock = field(default_factory=VirtualClock)
    sent: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = SimulatedEngine(Scenario(services=SERVICES), self.clock)
        self.actor = VirtualActor(self.engine, self.clock, lambda action: self.sent.append(action.id), self.returned.append)

    def action(self, service: str, kind: ActionKind = ActionKind.SHED, **changes: object) -> Action:
        containers = self.engine.ids(service)
        action = Action(service, kind, ServiceKey("openpolicy", service), 5, containers, "memory")
        return replace(action, **changes)  # type: ignore[arg-type]

    def up(self, service: str) -> bool:
        return bool(self.engine.stats(self.engine.ids(service)))

    def after(self, seconds: float) -> list[Outcome]:
        """Outcomes that a tick a second would see, in order."""
        found = []
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            found += self.actor.outcomes()
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_shed_is_done_once_all_its_replicas_are_gone(bench: Bench) -> None:
    """A shed is done once all of its replicas are gone, and is dated by the last of them."""
    action = bench.action("web")
    bench.actor.submit([action])
    assert (bench.actor.in_flight, bench.actor.outcomes(), bench.sent) == ((action,), [], ["web"])
    (outcome,) = bench.after(2)
    assert (outcome.result, outcome.stopped, outcome.failed) == (Result.DONE, action.containers, ())
    assert (outcome.at_s, outcome.duration_s) == (pytest.approx(1001), pytest.approx(1))
    assert outcome.at_wall_s == pytest.approx(1_700_000_001)
    assert bench.actor.in_flight == ()
    assert not bench.up("web")


def test_the_containers_of_calls_that_have_ended_are_named(bench: Bench) -> None:
    """Containers are named once their calls have ended, however they did, and before there is an outcome."""
    web, down = bench.action("web"), bench.action("down")
    bench.actor.submit([web, down])
    assert bench.returned == list(down.containers)
    bench.after(2)
    assert bench.returned == [*down.containers, *web.containers]


def test_a_shed_of_what_is_gone_already_is_no_stop_of_ours(bench: Bench) -> None:
    """A shed of what is gone already is no stop of ours."""
    bench.actor.submit([bench.action("down"), bench.action("web", id="none", containers=())])
    assert [(one.result, one.stopped, one.failed) for one in bench.actor.outcomes()] == [(Result.GONE, (), ())] * 2


def test_a_shed_without_grace_kills(bench: Bench) -> None:
    """A shed without grace kills."""
    bench.actor.submit([bench.action("deaf", grace_s=0)])
    (outcome,) = bench.after(0.1)
    assert outcome.result is Result.DONE


def test_a_shed_that_ends_late_has_failed(bench: Bench) -> None:
    """A shed that ends late has failed, whatever comes of it later."""
    bench.actor.submit([bench.action("db", grace_s=10, deadline_s=1.5)])
    (outcome,) = bench.after(5)
    assert (outcome.result, outcome.at_s) == (Result.TIMED_OUT, pytest.approx(1001.5))
    assert (outcome.stopped, outcome.failed) == ((), bench.engine.ids("db"))
    assert not bench.up("db")


def test_a_shed_that_ended_late_between_two_ticks_has_failed_too(bench: Bench) -> None:
    """A shed that ended late, but before anybody looked, has failed too."""
    bench.actor.submit([bench.action("db", grace_s=10, deadline_s=1.5)])
    bench.clock.advance(60)
    (outcome,) = bench.actor.outcomes()
    assert outcome.result is Result.TIMED_OUT


def test_a_shed_that_must_not_kill_never_kills(bench: Bench) -> None:
    """A shed that must not kill never kills."""
    bench.actor.submit([bench.action("deaf", grace_s=1, kill_after_grace=False, deadline_s=3)])
    (outcome,) = bench.after(60)
    assert outcome.result is Result.TIMED_OUT
    assert bench.up("deaf")


def test_a_partial_stop_is_a_failure_with_both_lists(bench: Bench) -> None:
    """A partial stop is a failure, with what was stopped and what was not."""
    first, second = bench.engine.ids("web")
    bench.engine.refuse_stops(second)
    bench.actor.submit([bench.action("web")])
    (outcome,) = bench.after(2)
    assert (outcome.result, outcome.stopped, outcome.failed) == (Result.REFUSED, (first,), (second,))


def test_an_engine_that_does_not_answer_fails_the_action_at_once(bench: Bench) -> None:
    """An engine that does not answer fails the action at once, and says so; one that is slow times out."""
    action = bench.action("db")
    bench.engine.engine_down()
    bench.actor.submit([action])
    (outcome,) = bench.actor.outcomes()
    assert (outcome.result, outcome.failed) == (Result.FAILED, action.containers)
    assert "does not answer" in outcome.detail
    bench.engine.engine_down(False)
    bench.engine.slow_answers(60)
    bench.actor.submit([action])
    assert bench.actor.outcomes()[0].result is Result.TIMED_OUT


def test_what_the_ledger_does_not_have_is_not_sent(bench: Bench) -> None:
    """What the ledger does not have is not sent: the action has failed."""

    def refuse(action: Action) -> None:
        raise LedgerError("no such entry")

    actor = VirtualActor(bench.engine, bench.clock, refuse)
    actor.submit([bench.action("web", grace_s=0)])
    (outcome,) = actor.outcomes()
    assert (outcome.result, outcome.failed, outcome.detail) == (Result.FAILED, bench.engine.ids("web"), "no such entry")
    bench.clock.advance(1)
    assert bench.up("web")


def test_an_action_waits_for_those_before_it(bench: Bench) -> None:
    """An action waits for those before it, and is sent only then."""
    bench.actor.submit([bench.action("web"), bench.action("db", after=("web", "unknown"))])
    assert bench.sent == ["web"]
    assert bench.up("db")
    outcomes = bench.after(5)
    assert [one.action.id for one in outcomes] == bench.sent == ["web", "db"]
    assert outcomes[1].at_s == pytest.approx(1003)


def test_an_action_before_it_that_fails_lets_it_begin_too(bench: Bench) -> None:
    """An action before it that fails lets it begin too: it has ended."""
    bench.engine.refuse_stops("web")
    bench.actor.submit([bench.action("web"), bench.action("db", after=("web",))])
    assert bench.sent == ["web", "db"]


def test_a_hastened_stop_ends_sooner_with_one_outcome(bench: Bench) -> None:
    """A hastened stop ends sooner, with one outcome: the shed's."""
    bench.actor.submit([bench.action("deaf", grace_s=60, deadline_s=65)])
    assert bench.after(1) == []
    bench.actor.submit([bench.action("deaf", ActionKind.HASTEN, grace_s=2)])
    (outcome,) = bench.after(5)
    assert (outcome.action.kind, outcome.result, outcome.at_s) == (ActionKind.SHED, Result.DONE, pytest.approx(1003.05))


def test_hastening_what_waits_for_others_sends_it_at_once(bench: Bench) -> None:
    """Hastening what waits for others sends it at once, and it counts as ours."""
    bench.actor.submit([bench.action("deaf", grace_s=60, deadline_s=65), bench.action("db", after=("deaf",))])
    bench.actor.submit([bench.action("db", ActionKind.HASTEN, grace_s=0)])
    assert bench.sent == ["deaf", "db"]
    (outcome,) = bench.after(1)
    assert (outcome.action.kind, outcome.result, outcome.stopped) == (ActionKind.SHED, Result.DONE, bench.engine.ids("db"))


def test_hastening_what_has_ended_does_nothing(bench: Bench) -> None:
    """Hastening what has ended, or was never begun, does nothing."""
    bench.actor.submit([bench.action("db", ActionKind.HASTEN, grace_s=0)])
    assert bench.after(1) == []
    assert bench.up("db")


def test_a_restore_starts_every_container(bench: Bench) -> None:
    """A restore starts every container of its action."""
    bench.actor.submit([bench.action("web", grace_s=0)])
    bench.after(1)
    bench.actor.submit([bench.action("web", ActionKind.RESTORE)])
    (outcome,) = bench.actor.outcomes()
    assert (outcome.result, outcome.failed) == (Result.DONE, ())
    assert len(bench.engine.stats(bench.engine.ids("web"))) == 2


def test_a_restore_that_is_refused_or_finds_nothing_says_so(bench: Bench) -> None:
    """A restore that is refused, or finds nothing to start, says so."""
    bench.engine.refuse_starts("down")
    bench.actor.submit([bench.action("down", ActionKind.RESTORE), bench.action("db", ActionKind.RESTORE, containers=("gone",))])
    assert [one.result for one in bench.actor.outcomes()] == [Result.REFUSED, Result.GONE]


def test_a_throttle_sets_the_quota_and_its_counterpart_lifts_it(bench: Bench) -> None:
    """A throttle sets the quota, and its counterpart lifts it."""
    for kind, cores in ((ActionKind.THROTTLE, 0.25), (ActionKind.UNTHROTTLE, None)):
        bench.actor.submit([bench.action("db", kind, cores=cores)])
        (outcome,) = bench.actor.outcomes()
        assert outcome.result is Result.DONE
        (seen,) = [one for one in bench.engine.containers(Scope(("openpolicy",))) if one.service.name == "db"]
        assert seen.cpu_limit_cores == cores


def test_nothing_new_begins_after_closing(bench: Bench) -> None:
    """Nothing new begins after closing; what was begun goes on."""
    bench.actor.submit([bench.action("web"), bench.action("db", after=("web",))])
    bench.actor.close(0)
    assert [one.action.id for one in bench.after(10)] == ["web"]
    assert bench.up("db")
