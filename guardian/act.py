"""Carries actions out on worker threads: Action -> Outcome. The loop hands over and never waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from guardian.clock import Clock
from guardian.engine.protocol import Engine
from guardian.errors import EngineError, EngineRefused, EngineTimeout, GuardianError, LedgerError, SignalError
from guardian.model import Action, ActionKind, Outcome, Result
from guardian.telemetry import Telemetry
from guardian.workers import Workers

WORKERS = 64
READY = 16  # threads that need not be made when memory is short: a phase's worth of stops at once
BY_SIGNAL = "ended by signal: the engine did not do it"
NOTE_AGAIN_S = 0.1
NO_MEMORY = "guardian had no memory for it"
UNTOLD = "it has ended, and the engine has not said how"


class Actor(Protocol):
    """What the loop needs; the simulated engine has one for a virtual clock."""

    def submit(self, actions: Sequence[Action]) -> None:
        """Begin these; returns at once. An action waits for those that it names in `after`."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Those that have ended since the last call, oldest first."""
        ...

    @property
    def in_flight(self) -> tuple[Action, ...]: ...

    @property
    def no_signals(self) -> str:
        """Why it cannot act by signal, in words; empty where it can."""
        ...

    def close(self, timeout_s: float) -> None:
        """Begin nothing new, and wait this long at most for what was begun."""
        ...


class Signals(Protocol):
    """What stops a container without the engine. Results are those of `Engine.stop`; raises SignalError."""

    def problem(self) -> str: ...

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result: ...


class _Run:
    """One action under way: its containers are acted on side by side; the last to end makes the outcome."""

    def __init__(self, action: Action, began_s: float) -> None:
        self.action = action
        self.began_s = began_s
        self.lock = threading.Lock()
        self.marked = False
        self.refusal = ""  # why the ledger does not let it be sent
        self.signalled: set[str] = set()  # ended by signal after the engine was asked in vain: that tells how it ends
        self.hastened: set[str] = set()  # asked of the engine a second time: which of both ended it, only the engine can tell
        self.results: dict[str, Result] = {}
        self.details: list[str] = []


class ThreadedActor:
    """Acts on a real engine, and where that does not answer by `signals`, if the decision says so.

    `before_send` is called on the worker thread just before the first call of an action: there the ledger commits that
    it is sent. `after_call` hears of each container once its part has ended, however it did, before the outcome is there.
    `wake` is called after each outcome, so that the next tick comes at once.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        telemetry: Telemetry,
        before_send: Callable[[Action], object],
        wake: Callable[[], None] = lambda: None,
        signals: Signals | None = None,
        after_call: Callable[[str], None] = lambda _id: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._telemetry = telemetry
        self._before_send = before_send
        self._wake = wake
        self._signals = signals
        self.no_signals = "the engine's containers are not on this host" if signals is None else signals.problem()
        self._after_call = after_call
        self._workers = Workers("act", WORKERS, READY)
        self._signalling = Workers("signal", WORKERS, 0 if signals is None else READY)  # never behind calls that hang
        self._lock = threading.Lock()
        self._ended: list[Outcome] = []
        self._running: dict[str, Action] = {}
        self._runs: dict[str, _Run] = {}  # of those that have begun
        self._waiting: dict[str, tuple[Action, set[str]]] = {}
        self._idle = threading.Condition(self._lock)
        self._closed = False

    def submit(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if action.kind is ActionKind.HASTEN:
                self._hasten(action)
                continue
            with self._lock:
                self._running[action.id] = action
                before = {other for other in action.after if other in self._running}
                if before:
                    self._waiting[action.id] = (action, before)
            if not before:
                self._begin(action)

    def outcomes(self) -> list[Outcome]:
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    @property
    def in_flight(self) -> tuple[Action, ...]:
        with self._lock:
            return tuple(self._running.values())

    def close(self, timeout_s: float) -> None:
        ends_s = self._clock.monotonic() + timeout_s
        with self._lock:
            self._closed = True
            for action_id in self._waiting:
                self._running.pop(action_id, None)
            self._waiting.clear()
            while self._running and (left_s := ends_s - self._clock.monotonic()) > 0:
                self._idle.wait(left_s)
        for workers in (self._workers, self._signalling):
            workers.close()

    def _begin(self, action: Action) -> None:
        run = _Run(action, self._clock.monotonic())
        if not action.containers:
            self._end(action, Result.GONE, run.began_s, "no container of it is there")
            return
        with self._lock:
            self._runs[action.id] = run
        workers = self._signalling if action.by_signal else self._workers
        for container_id in action.containers:
            try:
                workers.submit(partial(self._work, run, container_id))
            except RuntimeError as error:  # an exhausted host may refuse a thread: a failure like any other
                if not self._closed:
                    self._note(run, container_id, Result.FAILED, f"no thread could be started: {error}")

    def _work(self, run: _Run, container_id: str) -> None:
        result, detail = self._attempt(lambda: self._call(self._marked(run), container_id))
        if run.action.by_signal and result is Result.DONE:
            detail = BY_SIGNAL
        with run.lock:
            if container_id in run.signalled and result is not Result.DONE:
                return
            if container_id in run.hastened and result is Result.GONE:
                result, detail = Result.TIMED_OUT, UNTOLD
        self._note(run, container_id, result, detail)

    def _attempt(self, call: Callable[[], Result]) -> tuple[Result, str]:
        """The result, and what to say of it."""
        try:
            return call(), ""
        except EngineTimeout as error:
            return Result.TIMED_OUT, str(error)
        except EngineRefused as error:
            return Result.REFUSED, str(error)
        except MemoryError:  # a text that is there already
            return Result.FAILED, NO_MEMORY
        except GuardianError as error:
            return Result.FAILED, str(error)
        except Exception as error:  # a bug must not leave an action in flight for ever
            return Result.FAILED, f"{type(error).__name__}: {error}"

    def _note(self, run: _Run, container_id: str, result: Result, detail: str) -> None:
        """Until it is noted, also where there is no memory for it at first: an action must not stay in flight for ever."""
        while True:
            try:
                self._after_call(container_id)
                with run.lock:
                    if container_id not in run.results:
                        run.results[container_id] = result
                        if detail:
                            run.details.append(detail)
                    last = len(run.results) == len(run.action.containers)
                if last:
                    self._conclude(run)
                return
            except MemoryError:
                time.sleep(NOTE_AGAIN_S)

    def _marked(self, run: _Run) -> Action:
        """The action, once the ledger has it as sent. LedgerError for every replica where it must not be sent."""
        with run.lock:
            if run.refusal:
                raise LedgerError(run.refusal)
            if not run.marked:
                try:
                    self._before_send(run.action)
                except LedgerError as error:
                    run.refusal = str(error)
                    raise
                run.marked = True
                if run.action.kind is ActionKind.SHED and run.action.crossed_s is not None:
                    self._telemetry.reacted(max(0.0, self._clock.monotonic() - run.action.crossed_s))
            return run.action

    def _call(self, action: Action, container_id: str) -> Result:
        if action.by_signal:
            return self._by_signal(action, container_id)
        if action.kind is ActionKind.SHED:
            return self._engine.stop(container_id, action.grace_s, action.deadline_s, kill=action.kill_after_grace)
        if action.kind is ActionKind.RESTORE:
            return self._engine.start(container_id, action.deadline_s)
        if action.kind is ActionKind.RESTART:
            return self._engine.restart(container_id, action.grace_s, action.deadline_s, kill=action.kill_after_grace)
        return self._engine.set_cpu_quota(container_id, action.cores, action.deadline_s)

    def _by_signal(self, action: Action, container_id: str) -> Result:
        if self._signals is None:
            raise SignalError(self.no_signals)
        return self._signals.stop(container_id, action.grace_s, action.deadline_s, action.kill_after_grace)

    def _hasten(self, action: Action) -> None:
        """Give a stop in flight less grace, or do it by signal; one that waits for others begins at once.

        The ledger always comes first.
        """
        with self._lock:
            waiting, _ = self._waiting.pop(action.id, (None, None))
            run = self._runs.get(action.id)
        if waiting is not None:
            self._begin(_sooner(waiting, action))
        elif run is not None:
            with suppress(RuntimeError):  # no thread for it: the stop in flight goes on with the grace that it has
                workers = self._signalling if action.by_signal else self._workers
                workers.submit(partial(self._stop_sooner, run, action))

    def _stop_sooner(self, run: _Run, action: Action) -> None:
        """Stop again with less grace. The stop in flight sees the end; this one reports nothing."""
        with run.lock:
            if not run.marked:  # its own call is still to come, and takes the shorter grace
                run.action = _sooner(run.action, action)
                return
        if action.by_signal:
            self._signal_instead(run, action)
            return
        for container_id in action.containers:
            with run.lock:
                run.hastened.add(container_id)
            try:
                self._engine.stop(container_id, action.grace_s, action.deadline_s, kill=True)
            except EngineError:
                continue  # the stop in flight has its own deadline and reports it

    def _signal_instead(self, run: _Run, action: Action) -> None:
        """The engine does not do what it was asked for: its containers are ended by signal, and that makes the outcome."""
        try:
            self._before_send(action)
        except LedgerError:  # it has ended meanwhile
            return
        for container_id in action.containers:
            with run.lock:
                if container_id in run.results:
                    continue
                run.signalled.add(container_id)
            try:
                self._signalling.submit(partial(self._end_by_signal, run, action, container_id))
            except RuntimeError as error:
                self._note(run, container_id, Result.FAILED, f"no thread could be started: {error}")

    def _end_by_signal(self, run: _Run, action: Action, container_id: str) -> None:
        """One that is gone already may have been stopped by the engine or not: only the engine can tell, later."""
        result, detail = self._attempt(lambda: self._by_signal(action, container_id))
        if result is Result.DONE:
            detail = BY_SIGNAL
        elif result is Result.GONE:
            result, detail = Result.TIMED_OUT, UNTOLD
        self._note(run, container_id, result, detail)

    def _conclude(self, run: _Run) -> None:
        results = run.results
        failed = tuple(one for one in run.action.containers if not results[one].ended_well)
        stopped = tuple(one for one in run.action.containers if results[one] is Result.DONE)
        result = results[failed[0]] if failed else Result.DONE if stopped else Result.GONE
        self._end(run.action, result, run.began_s, "; ".join(dict.fromkeys(run.details)), stopped, failed)

    def _end(
        self,
        action: Action,
        result: Result,
        began_s: float,
        detail: str = "",
        stopped: tuple[str, ...] = (),
        failed: tuple[str, ...] | None = None,
    ) -> None:
        now_s = self._clock.monotonic()
        outcome = Outcome(
            action=action,
            result=result,
            at_s=now_s,
            at_wall_s=self._clock.wall(),
            duration_s=now_s - began_s,
            detail=detail,
            stopped=stopped,
            failed=action.containers if failed is None and not result.ended_well else (failed or ()),
        )
        ready = []
        with self._lock:
            if action.id not in self._running:
                return
            self._ended.append(outcome)
            self._runs.pop(action.id, None)
            del self._running[action.id]
            for action_id, (waiting, before) in list(self._waiting.items()):
                before.discard(action.id)
                if not before and not self._closed:
                    del self._waiting[action_id]
                    ready.append(waiting)
            self._idle.notify_all()
        self._telemetry.acted(outcome)
        for waiting in ready:
            self._begin(waiting)
        self._wake()


def _sooner(action: Action, hastened: Action) -> Action:
    return replace(
        action,
        grace_s=hastened.grace_s,
        deadline_s=hastened.deadline_s,
        hard=hastened.hard,
        by_signal=hastened.by_signal,
        after=(),
    )
