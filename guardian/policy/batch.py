"""The actions of one tick: each service once, with id, order and grace."""

from __future__ import annotations

from dataclasses import replace

from guardian.config.schema import Config
from guardian.ledger.entries import Entry
from guardian.model import (
    Action,
    ActionKind,
    Assessment,
    ServiceKey,
    Signal,
    SignalStatus,
)
from guardian.policy import demand, shed
from guardian.policy.platform import Platform, Service
from guardian.policy.rank import Resource
from guardian.policy.state import Baseline, Flight, PolicyState

EMERGENCY = (
    "emergency"  # the reason of what is stopped although its phase is protected, and of what an operator's emergency ends
)


class Batch:
    """Collects the actions of one tick, each service once, with ids, order and grace."""

    def __init__(
        self,
        platform: Platform,
        state: PolicyState,
        present: shed.Uses,
        config: Config,
        assessment: Assessment,
        now_s: float,
        by_signal: bool = False,
    ) -> None:
        """`by_signal`: the engine does not answer, so what is stopped is ended by signal."""
        self.platform, self.state, self.present, self.config, self.by_signal = platform, state, present, config, by_signal
        self.assessment, self.now_s = assessment, now_s
        self.actions: list[Action] = []
        self.flights: list[Flight] = []
        self.handed_out = state.actions
        self._ids: dict[ServiceKey, str] = {}
        self._busy = {flight.action.service for flight in state.flights}
        self._name = self._next_id()

    def _next_id(self) -> str:
        self.handed_out += 1
        return f"{self.state.run_id}-{self.handed_out}"

    def _grace_s(self, service: Service, hard: bool) -> float:
        if not hard or service.kill_never:
            return service.stop_timeout_s
        return min(service.stop_timeout_s, shed.hard_grace_s(self.assessment.full_in_s, self.config.shedding.hard_grace))

    def add(
        self, group: tuple[ServiceKey, ...], plan: shed.Plan | None, hard: bool, by: str = "", reason: str = "operator"
    ) -> None:
        """Stop a service and what requires it. Under hard memory nobody waits for anybody."""
        order = sorted(group, key=lambda key: self.platform.stop_order.get(key, 0))
        for key in order:
            service = self.platform.services[key]
            if key in self._ids or not service.up or key in self._busy:
                continue
            grace = self._grace_s(service, hard)
            expected_bytes, expected_cores = demand.expected(service, self.platform, self.state, self.now_s)
            signal = None if plan is None else plan.signal.signal
            signal_state = None if signal is None else self.state.signals.get(signal)
            crossed = None
            if signal_state is not None and plan is not None:
                crossed = signal_state.crossed_hard_s if plan.hard else signal_state.crossed_soft_s
            action = Action(
                id=self._next_id(),
                kind=ActionKind.SHED,
                service=key,
                phase=service.phase,
                containers=tuple(container.id for container in service.up),
                reason=reason if plan is None else _reason(service, plan),
                grace_s=grace,
                kill_after_grace=not service.kill_never,
                deadline_s=grace + self.config.engine.timeout,
                after=() if hard else tuple(self._ids[other] for other in order if other in self._ids),
                hard=hard,
                by_signal=self.by_signal,
                relief_bytes=self.present.footprints.get(key),
                relief_cores=self.present.cores.get(key),
                expected_bytes=expected_bytes,
                expected_cores=expected_cores,
                by=by,
                crossed_s=crossed,
            )
            self._ids[key] = action.id
            self._launch(action, signal, plan)

    def throttle(self, plan: shed.Plan) -> None:
        """Lower the quota of the plan's first victim to its reservation."""
        service = plan.picked[0].service
        cores = self.present.cores.get(service.key)
        reserved = (service.cpu_reservation_cores or 0.0) * len(service.up)
        action = Action(
            id=self._next_id(),
            kind=ActionKind.THROTTLE,
            service=service.key,
            phase=service.phase,
            containers=tuple(container.id for container in service.up),
            reason=plan.signal.signal.value,
            deadline_s=float(self.config.engine.timeout),
            cores=service.cpu_reservation_cores,
            relief_cores=None if cores is None else max(0.0, cores - reserved),
            expected_cores=service.up[0].cpu_limit_cores,  # what is put back: from now on the engine shows the lowered one
        )
        self._launch(action, plan.signal.signal, plan)

    def resend(self, entry: Entry, hard: bool) -> None:
        """Stop by the engine what was ended by signal and came back with the engine. What it will need is known from before."""
        service = self.platform.services[entry.service]
        if entry.service in self._ids or not service.up or entry.service in self._busy:
            return
        grace = self._grace_s(service, hard)
        action = Action(
            id=self._next_id(),
            kind=ActionKind.SHED,
            service=entry.service,
            phase=service.phase,
            containers=tuple(container.id for container in service.up),
            reason=entry.reason,
            grace_s=grace,
            kill_after_grace=not service.kill_never,
            deadline_s=grace + self.config.engine.timeout,
            hard=hard,
            relief_bytes=self.present.footprints.get(entry.service),
            relief_cores=self.present.cores.get(entry.service),
            expected_bytes=entry.expected_bytes,
            expected_cores=entry.expected_cores,
            by=entry.by,
        )
        self._ids[entry.service] = action.id
        self._launch(action, None, None)

    def hasten(self, assessment: Assessment, config: Config, signals: bool, hard: bool) -> None:
        """Under hard memory a stop in flight gets no more grace than a new one, unless it must never be killed.

        `signals`: what the engine was asked for and has not done, or cannot do because it does not answer, is done by signal.
        What an emergency ends is as urgent where memory is not `hard`.
        """
        grace = shed.hard_grace_s(assessment.full_in_s, config.shedding.hard_grace)
        hastened = []
        for flight in self.state.flights:
            action = flight.action
            if action.kind is not ActionKind.SHED or not (hard or is_urgent(action)):
                hastened.append(flight)
                continue
            left = flight.since_s + action.grace_s - self.now_s
            overdue = action.hard and action.kill_after_grace and flight.overdue(self.now_s)
            if signals and not action.by_signal and (self.by_signal or overdue):
                own = action.grace_s if not action.kill_after_grace else 0.0 if overdue else grace
                again = replace(
                    action, grace_s=own, deadline_s=own + config.engine.timeout, hard=True, by_signal=True, after=()
                )
                self.actions.append(replace(again, kind=ActionKind.HASTEN))
                hastened.append(self._hastened(flight, again))
            elif action.kill_after_grace and not flight.hastened and left > grace:
                again = replace(action, grace_s=grace, deadline_s=grace + config.engine.timeout, hard=True, after=())
                self.actions.append(replace(again, kind=ActionKind.HASTEN))
                hastened.append(self._hastened(flight, again))
            else:
                hastened.append(flight)
        self.state = replace(self.state, flights=tuple(hastened))

    def _hastened(self, flight: Flight, again: Action) -> Flight:
        """The flight with the new grace and deadline, which count from now."""
        passed_s = self.now_s - flight.since_s
        action = replace(again, grace_s=passed_s + again.grace_s, deadline_s=passed_s + again.deadline_s)
        return replace(flight, action=action, hastened=True)

    def _launch(self, action: Action, signal: Signal | None, plan: shed.Plan | None) -> None:
        resource = Resource.MEMORY if signal is None else shed.resource_of(signal)
        measured_by: SignalStatus | None = self.assessment.signal(Signal.MEMORY) if plan is None else plan.signal
        baseline = Baseline(None if measured_by is None else shed.amount(measured_by), self.present.of(resource))
        self.actions.append(action)
        self.flights.append(Flight(action, self.now_s, self._name, signal, baseline))


def is_urgent(action: Action) -> bool:
    """Whether it is part of an emergency: not to be left to an engine that hangs."""
    return action.hard and action.reason == EMERGENCY


def _reason(service: Service, plan: shed.Plan) -> str:
    """A plan has a protected service, or one that such a service requires, in an emergency only."""
    return EMERGENCY if service.protected or service.shielded_by is not None else plan.signal.signal.value
