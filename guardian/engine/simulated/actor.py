"""The counterpart of `guardian.act` on a virtual clock: nothing blocks, and one thread does it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from guardian.clock import Clock
from guardian.engine.simulated.engine import Call, SimulatedEngine
from guardian.errors import EngineError, EngineRefused, EngineTimeout, GuardianError
from guardian.model import Action, ActionKind, Outcome, Result

_RESULTS = {EngineRefused: Result.REFUSED, EngineTimeout: Result.TIMED_OUT}


@dataclass(slots=True)
class _Flight:
    """One action that was handed over. `began_s` None: it waits for others."""

    action: Action
    before: set[str]
    began_s: float | None = None
    calls: dict[str, Call] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)


class VirtualActor:
    """Carries actions out on a simulated engine, as far as its clock has come at each `outcomes`.

    `before_send` is called just before the first call of an action: there the ledger commits that it is sent. `after_call`
    hears of each container once its part has ended, before the outcome is there.
    """

    no_signals = ""

    def __init__(
        self,
        engine: SimulatedEngine,
        clock: Clock,
        before_send: Callable[[Action], object] = lambda _action: None,
        after_call: Callable[[str], None] = lambda _id: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._before_send = before_send
        self._after_call = after_call
        self._flights: dict[str, _Flight] = {}
        self._ended: list[Outcome] = []
        self._closed = False

    @property
    def in_flight(self) -> tuple[Action, ...]:
        return tuple(flight.action for flight in self._flights.values())

    def submit(self, actions: Sequence[Action]) -> None:
        """Begin these, or let them wait for those in `after`. A HASTEN has no outcome: the stop that it hastens has one."""
        for action in actions:
            if action.kind is ActionKind.HASTEN:
                self._hasten(action)
                continue
            before = {other for other in action.after if other in self._flights}
            self._flights[action.id] = _Flight(action, before)
        self._progress()

    def outcomes(self) -> list[Outcome]:
        """Those that have ended since the last call, oldest first."""
        self._progress()
        ended, self._ended = self._ended, []
        return sorted(ended, key=lambda outcome: outcome.at_s)

    def close(self, timeout_s: float) -> None:  # noqa: ARG002
        """Begin nothing new. What was begun is left to the engine, which ends it as time goes on."""
        self._closed = True
        self._progress()

    def _progress(self) -> None:
        """Begin what may begin, and end what has ended; an end may let another begin."""
        self._engine.poll()
        while True:
            for flight in list(self._flights.values()):
                if flight.began_s is None and not flight.before and not self._closed:
                    self._begin(flight)
            ended = [flight for flight in self._flights.values() if flight.began_s is not None and self._conclude(flight)]
            for flight in ended:
                del self._flights[flight.action.id]
                for other in self._flights.values():
                    other.before.discard(flight.action.id)
            if not ended:
                return

    def _begin(self, flight: _Flight) -> None:
        flight.began_s = self._clock.monotonic()
        try:
            if flight.action.containers:
                self._before_send(flight.action)
        except GuardianError as error:  # what the ledger does not have must not be sent
            flight.details.append(str(error))
            flight.calls = dict.fromkeys(flight.action.containers, Call(Result.FAILED, flight.began_s))
            return
        for container_id in flight.action.containers:
            flight.calls[container_id] = self._call(flight, container_id)

    def _call(self, flight: _Flight, container_id: str) -> Call:
        action, now_s = flight.action, self._clock.monotonic()
        if action.by_signal:
            return self._engine.begin_signal(container_id, action.grace_s, action.kill_after_grace)
        try:
            if action.kind is ActionKind.SHED:
                return self._engine.begin_stop(container_id, action.grace_s, action.kill_after_grace)
            if action.kind is ActionKind.RESTORE:
                return Call(self._engine.start(container_id), now_s)
            if action.kind is ActionKind.RESTART:
                return self._engine.begin_restart(container_id, action.grace_s, action.kill_after_grace)
            return Call(self._engine.set_cpu_quota(container_id, action.cores), now_s)
        except EngineError as error:
            if not isinstance(error, EngineRefused):  # it has no words of its own
                flight.details.append(str(error))
            return Call(_RESULTS.get(type(error), Result.FAILED), now_s)

    def _hasten(self, action: Action) -> None:
        flight = self._flights.get(action.id)
        if flight is None:
            return
        if flight.began_s is None:  # it waits for nobody now; its own call is the short one
            flight.action = replace(
                flight.action,
                grace_s=action.grace_s,
                deadline_s=action.deadline_s,
                hard=action.hard,
                by_signal=action.by_signal,
            )
            flight.before.clear()
            return
        if action.by_signal:
            self._signal_instead(flight, action)
            return
        for container_id in action.containers:
            try:
                self._engine.begin_stop(container_id, action.grace_s, kill=True)
            except EngineError:
                continue  # the stop in flight has its own deadline and reports it

    def _signal_instead(self, flight: _Flight, action: Action) -> None:
        """What the engine did not do is done by signal; its deadline counts from now."""
        try:
            self._before_send(action)
        except GuardianError:  # it has ended meanwhile
            return
        passed_s = self._clock.monotonic() - (flight.began_s or 0.0)
        flight.action = replace(flight.action, deadline_s=passed_s + action.deadline_s)
        for container_id, call in flight.calls.items():
            if call.result is None:
                flight.calls[container_id] = self._engine.begin_signal(container_id, action.grace_s, action.kill_after_grace)

    def _conclude(self, flight: _Flight) -> bool:
        """Whether the action has ended; then its outcome is there. A container that ends late was not stopped in time."""
        action, began_s = flight.action, flight.began_s or 0.0
        ends_s = began_s + action.deadline_s
        late = self._clock.monotonic() >= ends_s
        results: dict[str, Result] = {}
        at_s = began_s
        for container_id, call in flight.calls.items():
            if call.result is not None and call.ended_s is not None and call.ended_s <= ends_s:
                results[container_id] = call.result
                at_s = max(at_s, call.ended_s)
            elif late:
                results[container_id] = Result.TIMED_OUT
                at_s = ends_s
            else:
                return False
        for container_id in results:
            self._after_call(container_id)
        failed = tuple(one for one in action.containers if not results[one].ended_well)
        stopped = tuple(one for one in action.containers if results[one] is Result.DONE)
        self._ended.append(
            Outcome(
                action=action,
                result=results[failed[0]] if failed else Result.DONE if stopped else Result.GONE,
                at_s=at_s,
                at_wall_s=self._clock.wall() - (self._clock.monotonic() - at_s),
                duration_s=at_s - began_s,
                detail="; ".join(dict.fromkeys(flight.details)),
                stopped=stopped,
                failed=failed,
            )
        )
        return True
