"""Actions on worker threads: what is sent to the engine, in which order, and what outcome comes back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.ledgers import an_action

from guardian.act import READY, WORKERS, ThreadedActor
from guardian.clock import VirtualClock
from guardian.errors import EngineError, EngineRefused, EngineTimeout, EngineUnreachable, LedgerError, SignalError
from guardian.model import Action, ActionKind, Outcome, Result
from guardian.telemetry import NullTelemetry

PATIENCE_S = 20.0  # only a test that fails waits so long
BUSY = tuple(f"b{number}" for number in range(READY))  # containers that keep every ready thread busy
SHED, HASTEN, RESTORE = ActionKind.SHED, ActionKind.HASTEN, ActionKind.RESTORE


@dataclass(frozen=True, slots=True)
class Call:
    kind: str
    container_id: str
    grace_s: float | None = None
    kill: bool | None = None
    cores: float | None = None
    deadline_s: float = 0.0


class FakeEngine:
    """Containers end at once when they are stopped; a slow one when a test lets it, or when a stop gives it under a second."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.fails: dict[str, Exception] = {}
        self.answers: dict[str, Result] = {}
        self._ends: dict[str, threading.Event] = {}
        self._changed = threading.Condition()

    def slow(self, *container_ids: str) -> None:
        self._ends.update({one: threading.Event() for one in container_ids})

    def let_end(self, container_id: str) -> None:
        self._ends[container_id].set()

    def called(self, count: int) -> list[Call]:
        """The calls, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, PATIENCE_S), self.calls
            return list(self.calls)

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        self._note(Call("stop", container_id, grace_s, kill, deadline_s=deadline_s))
        ends = self._ends.get(container_id)
        if ends is not None:
            if kill and grace_s < 1:
                ends.set()
            assert ends.wait(PATIENCE_S)
        return self._answer(container_id)

    def restart(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        self._note(Call("restart", container_id, grace_s, kill, deadline_s=deadline_s))
        return self._answer(container_id)

    def start(self, container_id: str, deadline_s: float) -> Result:
        self._note(Call("start", container_id, deadline_s=deadline_s))
        return self._answer(container_id)

    def set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float) -> Result:
        self._note(Call("quota", container_id, cores=cores, deadline_s=deadline_s))
        return self._answer(container_id)

    def _note(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def _answer(self, container_id: str) -> Result:
        if (error := self.fails.get(container_id)) is not None:
            raise error
        return self.answers.get(container_id, Result.DONE)


class FakeSignals(FakeEngine):
    """Ends containers past the engine."""

    def problem(self) -> str:
        return ""


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.reactions_s: list[float] = []

    def acted(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def reacted(self, seconds: float) -> None:
        self.reactions_s.append(seconds)


class Stage:
    """An actor with everything around it, and a ledger that may refuse."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.clock: VirtualClock = WatchedClock()
        self.telemetry = Heard()
        self.marked: list[str] = []
        self.refused: set[str] = set()
        self.refused_kinds: set[tuple[ActionKind, str]] = set()
        self.returned: queue.SimpleQueue[str] = queue.SimpleQueue()  # containers whose part has ended
        self._woken = threading.Semaphore(0)
        self.signals = FakeSignals()
        self.actor = ThreadedActor(
            self.engine,  # type: ignore[arg-type]
            self.clock,
            self.telemetry,
            self._mark,
            self._woken.release,
            self.signals,
            self.returned.put,
        )

    def _mark(self, action: Action) -> None:
        if action.id in self.refused or (action.kind, action.id) in self.refused_kinds:
            raise LedgerError(f"action {action.id}: has no open entry")
        self.marked.append(action.id)

    def submit(self, *actions: Action) -> None:
        self.actor.submit(actions)

    def ended(self, count: int = 1) -> list[Outcome]:
        """The outcomes, once the actor has woken the loop so often."""
        for _ in range(count):
            assert self._woken.acquire(timeout=PATIENCE_S)
        return self.actor.outcomes()


class WatchedClock(VirtualClock):
    """Tells when somebody looks at it."""

    on_look: Callable[[], None] | None = None

    def monotonic(self) -> float:
        if self.on_look is not None:
            self.on_look()
        return super().monotonic()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    for ends in (*stage.engine._ends.values(), *stage.signals._ends.values()):
        ends.set()
    stage.actor.close(PATIENCE_S)


@pytest.fixture
def busy(stage: Stage) -> Stage:
    """Every thread that is ready has a stop that goes on."""
    stage.engine.slow(*BUSY)
    stage.submit(an_action("busy", containers=BUSY))
    stage.engine.called(READY)
    return stage


def hasten(action: Action, **fields: Any) -> Action:
    return replace(action, kind=HASTEN, **{"grace_s": 0.0, "deadline_s": 5.0, "hard": True, **fields})


def test_a_stop_is_sent_with_its_grace_and_deadline_and_its_outcome_is_done(stage: Stage) -> None:
    """A stop is sent with its grace and deadline, and its outcome is DONE with what was stopped."""
    action = an_action(grace_s=7.0, deadline_s=12.0)
    stage.submit(action)
    (outcome,) = stage.ended()
    assert stage.engine.calls == [Call("stop", "c1", 7.0, True, deadline_s=12.0)]
    assert (outcome.action, outcome.result, outcome.stopped, outcome.failed) == (action, Result.DONE, ("c1",), ())
    assert stage.actor.in_flight == ()
    assert stage.actor.outcomes() == []  # each is told once


def test_replicas_are_stopped_side_by_side(stage: Stage) -> None:
    """All replicas are asked to stop before any of them has ended, and there is one outcome for all."""
    stage.engine.slow("c1", "c2", "c3")
    stage.submit(an_action(containers=("c1", "c2", "c3")))
    assert {call.container_id for call in stage.engine.called(3)} == {"c1", "c2", "c3"}
    for one in ("c1", "c2", "c3"):
        stage.engine.let_end(one)
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.stopped) == (Result.DONE, ("c1", "c2", "c3"))
    assert stage.marked == ["a1"]


def test_submit_returns_while_the_engine_is_still_at_it(stage: Stage) -> None:
    """The loop is never held up: `submit` returns while the stop is under way, and the action is in flight until it ends."""
    stage.engine.slow("c1")
    action = an_action()
    stage.submit(action)
    stage.engine.called(1)
    assert stage.actor.outcomes() == []
    assert stage.actor.in_flight == (action,)
    stage.clock.advance(4.0)
    stage.engine.let_end("c1")
    (outcome,) = stage.ended()
    assert outcome.duration_s == 4.0


def test_an_action_waits_for_those_that_it_names(stage: Stage) -> None:
    """Dependents are gone before what they depend on is asked to stop."""
    stage.engine.slow("web", "api")
    stage.submit(
        an_action("a1", containers=("web",)),
        an_action("a2", containers=("api",), after=("a1",)),
        an_action("a3", containers=("db",), after=("a1", "a2")),
    )
    assert [call.container_id for call in stage.engine.called(1)] == ["web"]
    stage.engine.let_end("web")
    assert [outcome.action.id for outcome in stage.ended()] == ["a1"]
    assert [call.container_id for call in stage.engine.called(2)] == ["web", "api"]
    stage.engine.let_end("api")
    assert [outcome.action.id for outcome in stage.ended(2)] == ["a2", "a3"]
    assert [call.container_id for call in stage.engine.calls] == ["web", "api", "db"]


def test_an_action_goes_on_when_the_one_before_it_failed(stage: Stage) -> None:
    """A chain does not hang on a failed link, nor on one that ended long ago."""
    stage.engine.fails["web"] = EngineUnreachable("cut")
    stage.submit(an_action("a1", containers=("web",)), an_action("a2", containers=("db",), after=("a1", "long-ago")))
    first, second = stage.ended(2)
    assert (first.result, second.result) == (Result.FAILED, Result.DONE)


def test_a_hastened_stop_ends_sooner_and_has_one_outcome(stage: Stage) -> None:
    """HASTEN stops again with less grace; the stop in flight reports the end, and the hastening nothing."""
    stage.engine.slow("c1")
    action = an_action(grace_s=30.0)
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, grace_s=0.5))
    (outcome,) = stage.ended()
    assert [(call.grace_s, call.kill) for call in stage.engine.called(2)] == [(30.0, True), (0.5, True)]
    assert (outcome.action.id, outcome.action.kind, outcome.result) == ("a1", SHED, Result.DONE)
    stage.actor.close(PATIENCE_S)
    assert [one.action.kind for one in stage.telemetry.outcomes] == [SHED]


def test_a_hastened_stop_that_finds_nothing_may_have_been_ended_by_the_second(stage: Stage) -> None:
    """A stop that finds nothing to stop, after it was hastened, may have been ended by the second: it stays in doubt, and is not forgotten."""
    stage.engine.slow("c1")
    stage.engine.answers["c1"] = Result.GONE
    action = an_action(grace_s=30.0)
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, grace_s=0.5))
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.stopped, outcome.failed) == (Result.TIMED_OUT, (), ("c1",))


def test_a_hastening_that_fails_leaves_the_stop_in_flight_alone(stage: Stage) -> None:
    """When the second stop fails, the first goes on, and its own end is its outcome."""
    stage.engine.slow("c1")
    action = an_action(grace_s=30.0)
    stage.submit(action)
    stage.engine.called(1)
    stage.engine.fails["c1"] = EngineUnreachable("cut")
    stage.submit(hasten(action, grace_s=2.0))
    stage.engine.called(2)
    assert stage.actor.in_flight == (action,)
    del stage.engine.fails["c1"]
    stage.engine.let_end("c1")
    assert [outcome.result for outcome in stage.ended()] == [Result.DONE]


def test_a_hastened_stop_that_waits_for_others_begins_at_once(stage: Stage) -> None:
    """Under hard memory order gives way: what waited is stopped now, with the shorter grace, once and after the ledger has it."""
    stage.engine.slow("web")
    second = an_action("a2", containers=("db",), after=("a1",), grace_s=30.0)
    stage.submit(an_action("a1", containers=("web",)), second)
    stage.engine.called(1)
    stage.submit(hasten(second, grace_s=1.5))
    (outcome,) = stage.ended()
    assert (outcome.action.id, outcome.action.kind, outcome.action.hard) == ("a2", SHED, True)
    assert stage.marked == ["a1", "a2"]
    stage.engine.let_end("web")
    stage.ended()
    assert [(call.container_id, call.grace_s) for call in stage.engine.calls] == [("web", 10.0), ("db", 1.5)]


def test_hastening_what_has_ended_does_nothing(stage: Stage) -> None:
    """A HASTEN for a stop that has ended meanwhile sends nothing."""
    action = an_action()
    stage.submit(action)
    stage.ended()
    stage.submit(hasten(action))
    stage.actor.close(PATIENCE_S)
    assert len(stage.engine.calls) == 1
    assert stage.actor.outcomes() == []


def test_kill_never_reaches_the_engine(stage: Stage) -> None:
    """A service with `kill: never` is stopped without a kill at the end."""
    stage.submit(an_action(kill_after_grace=False, grace_s=60.0))
    stage.ended()
    assert stage.engine.calls == [Call("stop", "c1", 60.0, False, deadline_s=15.0)]


@pytest.mark.parametrize(
    ("error", "result", "detail"),
    [
        (EngineTimeout("no answer within 15 s"), Result.TIMED_OUT, "no answer within 15 s"),
        (EngineUnreachable("no connection"), Result.FAILED, "no connection"),
        (EngineRefused("the engine refused: no"), Result.REFUSED, "the engine refused: no"),
        (EngineError("odd"), Result.FAILED, "odd"),
        (MemoryError(), Result.FAILED, "guardian had no memory for it"),
        (ZeroDivisionError("a bug"), Result.FAILED, "ZeroDivisionError: a bug"),
    ],
)
def test_an_error_is_an_outcome(stage: Stage, error: Exception, result: Result, detail: str) -> None:
    """An error of the engine, or a bug, is an outcome that says why; nothing stays in flight for ever."""
    stage.engine.fails["c1"] = error
    stage.submit(an_action())
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.detail, outcome.stopped, outcome.failed) == (result, detail, (), ("c1",))
    assert stage.actor.in_flight == ()


@pytest.mark.parametrize("result", [Result.FAILED, Result.TIMED_OUT])
def test_a_stop_of_some_replicas_is_a_failure_that_names_both(stage: Stage, result: Result) -> None:
    """A partial stop is a failure; it says which replicas stopped and which did not, and one that was gone is neither."""
    stage.engine.answers = {"c1": Result.GONE, "c3": result}
    stage.submit(an_action(containers=("c1", "c2", "c3")))
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.stopped, outcome.failed) == (result, ("c2",), ("c3",))


@pytest.mark.parametrize("error", [None, EngineTimeout("too slow"), ValueError("a bug")], ids=["well", "late", "badly"])
def test_each_container_is_named_before_its_outcome(stage: Stage, error: Exception | None) -> None:
    """However its part of an action ended, a container is named before there is an outcome."""
    if error is not None:
        stage.engine.fails["a"] = error
    stage.engine.slow("b")
    stage.submit(an_action(containers=("a", "b")))
    assert stage.returned.get(timeout=PATIENCE_S) == "a"
    assert stage.actor.outcomes() == []
    stage.engine.let_end("b")
    stage.ended()
    assert stage.returned.get_nowait() == "b"


def test_a_container_that_was_ended_by_signal_is_named_too(stage: Stage) -> None:
    """A container that was ended by signal is named before there is an outcome, as one that the engine stopped."""
    stage.submit(an_action(by_signal=True))
    stage.ended()
    assert stage.returned.get_nowait() == "c1"


def test_what_was_gone_already_is_gone(stage: Stage) -> None:
    """When every replica had ended by itself, or none is there, the outcome is GONE and nothing failed."""
    stage.engine.answers = {"c1": Result.GONE, "c2": Result.GONE}
    stage.submit(an_action("a1", containers=("c1", "c2")), an_action("a2", containers=()))
    outcomes = stage.ended(2)
    assert {(one.action.id, one.result, one.stopped, one.failed) for one in outcomes} == {
        ("a1", Result.GONE, (), ()),
        ("a2", Result.GONE, (), ()),
    }


def test_what_the_ledger_refuses_is_not_sent(stage: Stage) -> None:
    """A stop that the ledger does not have is sent for no replica, and fails with the ledger's words, said once."""
    stage.refused.add("a1")
    stage.submit(an_action(containers=("c1", "c2")))
    (outcome,) = stage.ended()
    assert stage.engine.calls == []
    assert (outcome.result, outcome.failed) == (Result.FAILED, ("c1", "c2"))
    assert outcome.detail == "action a1: has no open entry"


def test_the_ledger_has_it_before_the_engine_does(stage: Stage) -> None:
    """An action is marked as sent before its first call, and once for all its replicas."""
    order: list[str] = []
    engine = FakeEngine()
    engine._note = lambda call: order.append(call.container_id)  # type: ignore[method-assign]
    done = threading.Event()
    actor = ThreadedActor(engine, stage.clock, NullTelemetry(), lambda action: order.append(action.id), done.set)  # type: ignore[arg-type]
    actor.submit([an_action(containers=("c1", "c2"))])
    assert done.wait(PATIENCE_S)
    assert (order[0], sorted(order[1:])) == ("a1", ["c1", "c2"])


@pytest.mark.parametrize(
    ("kind", "cores", "call"),
    [
        (RESTORE, None, Call("start", "c1", deadline_s=15.0)),
        (ActionKind.RESTART, None, Call("restart", "c1", 10.0, True, deadline_s=15.0)),
        (ActionKind.THROTTLE, 0.5, Call("quota", "c1", cores=0.5, deadline_s=15.0)),
        (ActionKind.UNTHROTTLE, None, Call("quota", "c1", cores=None, deadline_s=15.0)),
        (ActionKind.UNTHROTTLE, 2.0, Call("quota", "c1", cores=2.0, deadline_s=15.0)),
    ],
)
def test_each_kind_of_action_is_its_own_call(stage: Stage, kind: ActionKind, cores: float | None, call: Call) -> None:
    """A restore starts, a throttle sets a quota, and its end puts back the old one or lifts it."""
    stage.submit(an_action(kind=kind, cores=cores))
    (outcome,) = stage.ended()
    assert stage.engine.calls == [call]
    assert (outcome.result, outcome.stopped) == (Result.DONE, ("c1",))


def test_the_reaction_is_measured_from_the_crossing_to_the_send(stage: Stage) -> None:
    """The time from crossing the threshold to sending the stop is told once, and only for a shed that answers a crossing."""
    crossed_s = stage.clock.monotonic() - 2.5
    stage.submit(
        an_action("a1", containers=("c1", "c2"), crossed_s=crossed_s),
        an_action("a2"),
        an_action("a3", kind=RESTORE, crossed_s=crossed_s),
    )
    stage.ended(3)
    assert stage.telemetry.reactions_s == [2.5]


def test_close_drops_what_waits_and_waits_for_what_was_begun(stage: Stage) -> None:
    """At the end what has not begun is dropped without an outcome, and what was begun is waited for."""
    stage.engine.slow("web")
    stage.submit(an_action("a1", containers=("web",)), an_action("a2", containers=("db",), after=("a1",)))
    stage.engine.called(1)
    stage.clock.on_look = lambda: stage.engine.let_end("web")  # type: ignore[attr-defined] # not before `close` looks
    stage.actor.close(PATIENCE_S)
    assert [outcome.action.id for outcome in stage.actor.outcomes()] == ["a1"]
    assert stage.actor.in_flight == ()
    assert [call.container_id for call in stage.engine.calls] == ["web"]


def test_close_waits_no_longer_than_it_was_told(stage: Stage) -> None:
    """A stop that does not end in time is left under way: the daemon ends all the same."""
    stage.engine.slow("c1")
    action = an_action()
    stage.submit(action)
    stage.engine.called(1)
    stage.actor.close(0.0)
    assert stage.actor.in_flight == (action,)
    assert stage.actor.outcomes() == []


def test_a_host_without_threads_is_no_hindrance_to_the_first_actions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that gives no more threads hinders no action for which one is ready: those exist from the start."""
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    stage.engine.slow(*BUSY)
    stage.submit(an_action(containers=BUSY))
    stage.engine.called(READY)
    for one in BUSY:
        stage.engine.let_end(one)
    assert [outcome.result for outcome in stage.ended()] == [Result.DONE]


def test_a_thread_that_cannot_be_started_is_a_failed_outcome(busy: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an exhausted host that gives no thread, the action fails and says so; it does not stay in flight."""
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    busy.submit(an_action("a2", containers=("c1", "c2")))
    (outcome,) = busy.ended()
    assert (outcome.result, outcome.failed) == (Result.FAILED, ("c1", "c2"))
    assert outcome.detail == "no thread could be started: can't start new thread"
    assert [action.id for action in busy.actor.in_flight] == ["busy"]


def test_what_failed_for_want_of_a_thread_is_not_sent_later(busy: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed for want of a thread is not sent behind the back of its outcome, once a thread is free again."""
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_thread)
        busy.submit(an_action("a2", RESTORE, ("c2",)))
    assert [outcome.result for outcome in busy.ended()] == [Result.FAILED]
    for one in BUSY:
        busy.engine.let_end(one)
    busy.ended()
    busy.submit(an_action("a3", RESTORE, ("c3",)))
    busy.ended()
    assert [call.container_id for call in busy.engine.calls[READY:]] == ["c3"]
    assert busy.marked == ["busy", "a3"]
    assert [one.action.id for one in busy.telemetry.outcomes] == ["a2", "busy", "a3"]


def test_a_replica_without_a_thread_leaves_the_outcome_of_the_others_known(
    busy: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When only some replicas got a thread, the outcome comes once those have ended, and names both."""
    busy.engine.slow("c1")
    starts = threading.Thread.start
    left = [1]

    def start_one(thread: threading.Thread) -> None:
        if not left:
            no_thread(thread)
        left.pop()
        starts(thread)

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", start_one)
        busy.submit(an_action("a2", containers=("c1", "c2")))
    busy.engine.called(READY + 1)
    assert busy.actor.outcomes() == []
    busy.engine.let_end("c1")
    (outcome,) = busy.ended()
    assert (outcome.result, outcome.stopped, outcome.failed) == (Result.FAILED, ("c1",), ("c2",))


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# --- by signal ------------------------------------------------------------------------------------------------------


def test_an_action_by_signal_asks_the_engine_nothing(stage: Stage) -> None:
    """An action by signal is marked as sent, asks the engine nothing, and says how it was done."""
    stage.submit(an_action(containers=("c1", "c2"), grace_s=3.0, deadline_s=8.0, by_signal=True))
    (outcome,) = stage.ended()
    assert stage.engine.calls == []
    assert sorted(call.container_id for call in stage.signals.calls) == ["c1", "c2"]
    assert {(call.grace_s, call.kill, call.deadline_s) for call in stage.signals.calls} == {(3.0, True, 8.0)}
    assert (outcome.result, outcome.stopped) == (Result.DONE, ("c1", "c2"))
    assert "by signal" in outcome.detail
    assert stage.marked == ["a1"]


def test_signals_that_cannot_be_sent_are_a_failure(stage: Stage) -> None:
    """Signals that cannot be sent are a failure in words, and nothing counts as stopped."""
    stage.signals.fails["c1"] = SignalError("process 7 may not be signalled")
    stage.submit(an_action(by_signal=True))
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.detail, outcome.stopped) == (Result.FAILED, "process 7 may not be signalled", ())


def test_a_stop_that_hangs_is_done_by_signal_with_one_outcome(stage: Stage) -> None:
    """A stop that hangs in the engine is done by signal; that is its outcome, and what the engine says later is not heard."""
    stage.engine.slow("c1")
    action = an_action(grace_s=30.0)
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, by_signal=True, grace_s=3.0))
    (outcome,) = stage.ended()
    assert stage.signals.calls == [Call("stop", "c1", 3.0, True, deadline_s=5.0)]
    assert (outcome.result, outcome.stopped) == (Result.DONE, ("c1",))
    assert "by signal" in outcome.detail
    assert stage.marked == ["a1", "a1"]  # sent, and signalled
    stage.engine.fails["c1"] = EngineTimeout("late")
    stage.engine.let_end("c1")
    stage.actor.close(PATIENCE_S)
    assert stage.actor.outcomes() == []


def test_while_the_signal_works_a_failure_of_the_engine_is_not_the_outcome(stage: Stage) -> None:
    """While the signal works, the engine's failure is not the outcome: the signal is."""
    stage.engine.slow("c1")
    stage.signals.slow("c1")
    action = an_action()
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, by_signal=True, grace_s=3.0))
    stage.signals.called(1)
    stage.engine.fails["c1"] = EngineTimeout("late")
    stage.engine.let_end("c1")
    assert stage.actor.in_flight == (action,)
    stage.signals.let_end("c1")
    (outcome,) = stage.ended()
    assert outcome.result is Result.DONE


def test_one_that_is_gone_when_the_signal_comes_may_have_been_stopped_by_the_engine(stage: Stage) -> None:
    """What is gone when the signal comes may have been stopped by the engine: nobody answered, so it stays in doubt."""
    stage.engine.slow("c1")
    stage.signals.answers["c1"] = Result.GONE
    action = an_action()
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, by_signal=True))
    (outcome,) = stage.ended()
    assert (outcome.result, outcome.stopped) == (Result.TIMED_OUT, ())
    assert "has ended" in outcome.detail


def test_what_the_ledger_has_settled_is_not_signalled(stage: Stage) -> None:
    """What the ledger has settled meanwhile is not signalled: the stop in flight reports alone."""
    stage.engine.slow("c1")
    stage.refused_kinds.add((HASTEN, "a1"))
    action = an_action()
    stage.submit(action)
    stage.engine.called(1)
    stage.submit(hasten(action, by_signal=True))
    stage.engine.let_end("c1")
    (outcome,) = stage.ended()
    assert outcome.result is Result.DONE
    assert stage.signals.calls == []


def test_a_stop_that_waits_for_others_is_done_by_signal_at_once(stage: Stage) -> None:
    """A stop that waits for others is done by signal at once, and never asked of the engine."""
    stage.engine.slow("web")
    second = an_action("a2", containers=("db",), after=("a1",))
    stage.submit(an_action("a1", containers=("web",)), second)
    stage.submit(hasten(second, by_signal=True))
    (outcome,) = stage.ended()
    assert (outcome.action.id, outcome.result) == ("a2", Result.DONE)
    assert [call.container_id for call in stage.signals.calls] == ["db"]
    assert [call.container_id for call in stage.engine.called(1)] == ["web"]


def test_signals_never_wait_behind_calls_that_hang(stage: Stage) -> None:
    """However many calls hang in the engine, signals are sent at once."""
    ids = tuple(f"c{number}" for number in range(WORKERS + 6))
    stage.engine.slow(*ids)
    action = an_action(containers=ids)
    stage.submit(action)
    stage.engine.called(WORKERS)
    stage.submit(an_action("a2", containers=("other",), by_signal=True))
    (outcome,) = stage.ended()
    assert (outcome.action.id, outcome.result) == ("a2", Result.DONE)


def test_without_signals_it_says_so_beforehand(stage: Stage) -> None:
    """An actor without signals says so beforehand, and fails what is asked of it all the same."""
    assert stage.actor.no_signals == ""
    alone = ThreadedActor(stage.engine, stage.clock, stage.telemetry, stage._mark, stage._woken.release)  # type: ignore[arg-type]
    assert "not on this host" in alone.no_signals
    alone.submit([an_action(by_signal=True)])
    assert stage._woken.acquire(timeout=PATIENCE_S)
    assert [one.result for one in alone.outcomes()] == [Result.FAILED]
    alone.close(PATIENCE_S)
