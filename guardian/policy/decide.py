"""From an assessment to a decision: what to do now, and why not more.

One pass: take in what has ended, see what it brought, shed if a signal asks for it, else restore if all is calm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from guardian.config.schema import Config
from guardian.ledger.entries import Controls, Entry, EntryState, Means
from guardian.model import (
    Action,
    ActionKind,
    Assessment,
    Decision,
    Deficit,
    Held,
    HostReading,
    Level,
    Outcome,
    Result,
    ServiceKey,
    Settled,
    Signal,
    SignalStatus,
)
from guardian.policy import demand, restore, shed
from guardian.policy.assess import SHEDDING, SUPPORTING
from guardian.policy.platform import Platform, Service
from guardian.policy.rank import Ranked, Resource, candidates
from guardian.policy.state import Baseline, Breaker, Flight, Landing, Memo, PolicyState, Rising, Virtual

OVERRIDE_S = 600.0  # somebody started a shed service: no soft victim for this long
EXHAUSTED_S = 10.0
USELESS_PART = 0.25  # a shed that brought less than this of what was expected
SEEN_PART = 0.5  # relief has shown when this much of it is seen
RETRY_S = (2.0, 60.0)  # after a failed stop or start: first and longest pause
RETHROTTLE_S = 600.0  # a throttle that failed counts as tried for this long


@dataclass(frozen=True, slots=True)
class Inputs:
    """What happened since the last tick, and what stands."""

    outcomes: tuple[Outcome, ...] = ()
    overrides: tuple[ServiceKey, ...] = ()  # shed services that somebody started
    shed_orders: tuple[tuple[ServiceKey, str], ...] = ()  # by an operator: service, who; already checked by `refusal`
    restore_orders: tuple[tuple[ServiceKey, str], ...] = ()
    entries: tuple[Entry, ...] = ()  # open ones of the ledger
    controls: Controls = field(default_factory=Controls)
    standby: bool = False
    engine_ready: bool = True  # it answers, and the list of containers is complete
    observe: bool = False  # decide as always; what comes of it is only pretended
    under_way: frozenset[str] | None = None  # ids of actions that are being carried out; None: not told


def refusal(service: Service | None, platform: Platform, pins: frozenset[ServiceKey]) -> str:
    """Why an operator's shed of this service is refused; empty where it is not."""
    if service is None:
        return "is not managed"
    if not service.up:
        return "does not run"
    if service.protect or service.protected:
        return "is protected: stop it with docker, or change the file"
    if service.key in pins:
        return "is pinned: unpin it first"
    for other in sorted(platform.requirers.get(service.key, frozenset())):
        one = platform.services[other]
        if one.up and (one.protect or one.protected or other in pins):
            return f"is required by {other}, which is protected or pinned"
    return ""


def decide(
    assessment: Assessment,
    host: HostReading | None,
    platform: Platform,
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> tuple[Decision, PolicyState]:
    """One tick's decision. `platform` is as last read; `assessment` was made of the same readings."""
    notes: list[str] = []
    if not inputs.observe and state.virtual:
        state = replace(state, virtual=())  # from here on it is real: none of these was stopped
    state = _absorb(inputs, state, config, now_s, notes)
    state = _with_throttled(inputs, state, now_s)
    state = demand.remember(platform, state, now_s)
    state, settled = _settle(assessment, platform, state, config, now_s, notes)
    state, restored, fallen = _follow_restore(inputs, platform, state, config, now_s, notes)
    deficits = shed.deficits(assessment, platform, state, config, now_s)
    holds = _holds(assessment, inputs)
    decision = Decision(
        at_s=now_s,
        deficits=deficits,
        holds=holds,
        standby=inputs.standby,
        settled=settled,
        restored=restored,
        fallen=fallen,
        ineffective=tuple(signal for signal in SHEDDING if _breaker_open(state, signal, now_s)),
    )
    decision, state = _shed(decision, deficits, assessment, host, platform, inputs, state, config, now_s)
    if not decision.actions:
        decision, state = _restore(decision, assessment, platform, inputs, state, config, now_s)
    return replace(decision, notes=(*notes, *decision.notes)), state


def _holds(assessment: Assessment, inputs: Inputs) -> tuple[str, ...]:
    """Why nothing may be started."""
    held = (
        ("pressure", assessment.level is not Level.OK),
        ("operator", bool(inputs.controls.hold)),
        ("engine", not inputs.engine_ready),
        ("disk", assessment.disk_level is Level.HARD),
    )
    return tuple(reason for reason, holds in held if holds)


# --- what has ended -------------------------------------------------------------------------------------------------


def _absorb(
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
    notes: list[str],
) -> PolicyState:
    """Take in outcomes, overrides and restore orders."""
    memos = dict(state.memos)
    for service in inputs.overrides:
        memos[service] = replace(
            memos.get(service, Memo()), override_until_s=now_s + OVERRIDE_S, not_before_s=None, refused_since_s=None
        )
    state = replace(
        state,
        memos=memos,
        soft_sheds_s=tuple(at_s for at_s in state.soft_sheds_s if now_s - at_s < 3600.0),
        ordered=tuple(dict.fromkeys((*state.ordered, *inputs.restore_orders))),
    )
    state = _without_lost(inputs, state, now_s)
    for outcome in inputs.outcomes:
        flight = next((one for one in state.flights if one.action.id == outcome.action.id), None)
        if flight is None:
            continue
        state = replace(state, flights=tuple(one for one in state.flights if one is not flight))
        if outcome.action.kind is ActionKind.SHED:
            state = _shed_ended(outcome, flight, state, config, now_s, notes)
        elif outcome.action.kind is ActionKind.RESTORE:
            state = _restore_ended(outcome, state, config, now_s, notes)
        elif outcome.action.kind in (ActionKind.THROTTLE, ActionKind.UNTHROTTLE):
            state = _throttle_ended(outcome, flight, state, now_s)
    return state


def _without_lost(inputs: Inputs, state: PolicyState, now_s: float) -> PolicyState:
    """An action that nobody carries out and that has no outcome has failed: it must not hold up others for ever."""
    if inputs.under_way is None:
        return state
    known = inputs.under_way | {outcome.action.id for outcome in inputs.outcomes}
    for flight in state.flights:
        if flight.action.id not in known:
            service = flight.action.service
            state = _with_memo(state, service, _failed(state.memo(service), now_s))
    return replace(state, flights=tuple(flight for flight in state.flights if flight.action.id in known))


def _with_memo(state: PolicyState, service: ServiceKey, memo: Memo) -> PolicyState:
    return replace(state, memos={**state.memos, service: memo})


def _failed(memo: Memo, now_s: float) -> Memo:
    """A stop or start that failed: counted, and tried again later each time."""
    pause = min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(memo.failures, 10))
    return replace(memo, failures=memo.failures + 1, retry_at_s=now_s + pause)


def _shed_ended(
    outcome: Outcome,
    flight: Flight,
    state: PolicyState,
    config: Config,
    now_s: float,
    notes: list[str],
) -> PolicyState:
    action, memo = outcome.action, state.memo(outcome.action.service)
    if outcome.result is Result.OBSERVED:
        virtual = Virtual(action.service, action.phase, now_s, action.containers, action.relief_bytes, action.relief_cores)
        return replace(state, virtual=(*state.virtual, virtual), last_outcome_s=outcome.at_s)
    state = replace(state, last_outcome_s=max(outcome.at_s, state.last_outcome_s or outcome.at_s))
    if outcome.result is Result.GONE:  # it had ended by itself: no relief of ours
        return _with_memo(state, action.service, replace(memo, failures=0, retry_at_s=None))
    if outcome.result is not Result.DONE:
        return _with_memo(state, action.service, _failed(memo, now_s))
    if flight.signal is not None:
        used = None if flight.baseline is None else flight.baseline.used
        own = action.relief_bytes if shed.resource_of(flight.signal) is Resource.MEMORY else action.relief_cores
        after = restore.after_shed(memo, flight.signal, used, own, config, flight.since_s, now_s)
        if after.quarantined and not memo.quarantined:
            notes.append(f"{action.service} is quarantined: it brought the pressure back {len(after.flaps_s)} times in a day")
        state = _with_memo(state, action.service, after)
    landing = Landing(action, outcome.at_s, flight.batch, flight.signal, flight.baseline)
    return replace(state, landings=(*state.landings, landing))


def _restore_ended(outcome: Outcome, state: PolicyState, config: Config, now_s: float, notes: list[str]) -> PolicyState:
    service, memo = outcome.action.service, state.memo(outcome.action.service)
    state = replace(state, ordered=tuple(one for one in state.ordered if one[0] != service))
    if outcome.result is Result.OBSERVED:
        return replace(state, virtual=tuple(one for one in state.virtual if one.service != service))
    if outcome.result is not Result.DONE:
        notes.append(f"{service} did not start: {outcome.detail or outcome.result}")
        return _with_memo(state, service, _failed(memo, now_s))
    memo = replace(memo, quarantined=False, probation_until_s=now_s + config.restoring.probation)
    return replace(_with_memo(state, service, memo), rising=Rising(service, now_s))


def _throttle_ended(outcome: Outcome, flight: Flight, state: PolicyState, now_s: float) -> PolicyState:
    """A throttle that failed counts as tried: the stop may follow. A lifted one is forgotten once it worked."""
    service = outcome.action.service
    throttled = dict(state.throttled)
    state = replace(state, ordered=tuple(one for one in state.ordered if one[0] != service))
    if outcome.action.kind is ActionKind.THROTTLE:
        throttled[service] = now_s
        state = replace(state, throttled=throttled, last_outcome_s=max(outcome.at_s, state.last_outcome_s or outcome.at_s))
        if outcome.result is Result.DONE:
            landing = Landing(outcome.action, outcome.at_s, flight.batch, flight.signal, flight.baseline)
            state = replace(state, landings=(*state.landings, landing))
        return state
    if outcome.result in (Result.DONE, Result.GONE, Result.OBSERVED):
        throttled.pop(service, None)
        return replace(state, throttled=throttled)
    return _with_memo(state, service, _failed(state.memo(service), now_s))


def _with_throttled(inputs: Inputs, state: PolicyState, now_s: float) -> PolicyState:
    """What is throttled, as the ledger has it. What failed counts as tried for a while; observe mode pretends all of it."""
    if inputs.observe:
        return state
    owed = _owed_throttles(inputs.entries)
    tried = {key: since_s for key, since_s in state.throttled.items() if key in owed or now_s - since_s < RETHROTTLE_S}
    return replace(state, throttled={**dict.fromkeys(owed, now_s), **tried}) if owed or state.throttled else state


def _owed_throttles(entries: tuple[Entry, ...]) -> Mapping[ServiceKey, Entry]:
    return {one.service: one for one in entries if one.means is Means.THROTTLE and one.state is EntryState.SHED}


# --- what it brought ------------------------------------------------------------------------------------------------


def _settle(
    assessment: Assessment, platform: Platform, state: PolicyState, config: Config, now_s: float, notes: list[str]
) -> tuple[PolicyState, tuple[Settled, ...]]:
    """Batches that have ended: once a newer reading shows the relief, or `settle` has passed, it is booked as measured."""
    settled: list[Settled] = []
    kept: list[Landing] = []
    breakers = dict(state.breakers)
    present = shed.uses(platform, now_s) if state.landings else shed.Uses()
    flying = {flight.batch for flight in state.flights}
    for batch in dict.fromkeys(landing.batch for landing in state.landings):
        landings = [landing for landing in state.landings if landing.batch == batch]
        signal = landings[0].signal or Signal.MEMORY
        gone_s = max(landing.gone_s for landing in landings)
        expected = _expected(landings, signal)
        done, measured = (
            (False, None) if batch in flying else _seen(landings, signal, gone_s, expected, assessment, present, config, now_s)
        )
        if not done:
            kept.extend(landings)
            continue
        part = None if measured is None or not expected else measured / expected
        for landing in landings:
            own = _expected([landing], signal)
            settled.append(Settled(landing.action, landing.signal, own, None if part is None or own is None else own * part))
        if part is not None and landings[0].signal is not None:
            before = breakers.get(signal, Breaker())
            useless = before.useless + 1 if part < USELESS_PART else 0
            opened = useless >= 2
            breakers[signal] = Breaker(0 if opened else useless, now_s + shed.BREAKER_S if opened else before.open_until_s)
            if opened:
                notes.append(
                    f"shedding for {signal.value} is ineffective: two in a row brought under a quarter; soft sheds pause 10 min"
                )
    return replace(state, landings=tuple(kept), breakers=breakers), tuple(settled)


def _expected(landings: Iterable[Landing], signal: Signal) -> float | None:
    """The expected relief of these together, in the signal's unit; None where none of them is known."""
    memory = shed.resource_of(signal) is Resource.MEMORY
    reliefs = [one.action.relief_bytes if memory else one.action.relief_cores for one in landings]
    known = [relief for relief in reliefs if relief is not None]
    return float(sum(known)) if known else None


def _seen(
    landings: list[Landing],
    signal: Signal,
    gone_s: float,
    expected: float | None,
    assessment: Assessment,
    present: shed.Uses,
    config: Config,
    now_s: float,
) -> tuple[bool, float | None]:
    """(whether it is settled, what was measured). What other services grew by meanwhile counts as relief: they got it."""
    status = assessment.signal(signal)
    window_s = _window_s(signal, assessment)
    limit_s = max(config.shedding.settle, window_s)
    if status is None:
        return True, None
    used, baseline = shed.amount(status), landings[0].baseline
    if used is None or status.value is None or status.at_s is None or status.at_s <= gone_s:
        return now_s - gone_s >= limit_s, None  # no reading came: unknown, and never an argument for the breaker
    if now_s - gone_s < window_s:
        return False, None
    if baseline is None or baseline.used is None:
        return True, None
    mine = {landing.action.service for landing in landings}
    uses_of = present.of(shed.resource_of(signal))
    grown = sum(
        now - before
        for key, before in baseline.services.items()
        if key not in mine and before is not None and (now := uses_of.get(key)) is not None
    )
    measured = max(0.0, baseline.used - used + max(0.0, grown))
    shown = expected is not None and measured >= SEEN_PART * expected
    return shown or now_s - gone_s >= limit_s, measured


def _window_s(signal: Signal, assessment: Assessment) -> float:
    """How long after a victim is gone a reading still has it in its mean."""
    if signal is Signal.CPU:
        return shed.CPU_WINDOW_S
    memory = assessment.signal(Signal.MEMORY)
    if signal is Signal.MEMORY and memory is not None and memory.level is Level.OK:
        return 10.0  # shed for a supporting signal, whose average is over ten seconds
    return 0.0


def _breaker_open(state: PolicyState, signal: Signal, now_s: float) -> bool:
    until = state.breakers.get(signal, Breaker()).open_until_s
    return until is not None and now_s < until


def _follow_restore(
    inputs: Inputs, platform: Platform, state: PolicyState, config: Config, now_s: float, notes: list[str]
) -> tuple[PolicyState, tuple[ServiceKey, ...], tuple[ServiceKey, ...]]:
    """See how the restore under way is doing. Also returned: services that are up, and those that did not stay up."""
    rising = state.rising
    if rising is None:
        return state, (), ()
    entry = next((one for one in inputs.entries if one.service == rising.service and one.state is EntryState.RESTORING), None)
    if entry is None:  # closed meanwhile: an operator forgot it, say
        return replace(state, rising=None), (), ()
    ids = tuple(one.id for one in entry.containers if one.stopped)
    how, rising = restore.rise(rising, ids, platform, config, now_s)
    if not how:
        return replace(state, rising=rising), (), ()
    state = replace(state, rising=None)
    if how == "fell":
        memo = _failed(state.memo(rising.service), now_s)
        notes.append(f"{rising.service} was started and did not stay up")
        return (
            _with_memo(state, rising.service, replace(memo, probation_until_s=None, restored_bytes=None, restored_cores=None)),
            (),
            (rising.service,),
        )
    up = replace(state.memo(rising.service), failures=0, retry_at_s=None)
    state = _with_memo(state, rising.service, up)
    if how == "late":
        notes.append(f"{rising.service} runs, and is not healthy after {restore.HEALTHY_WITHIN_S:.0f} s; it is left as it is")
    return state, (rising.service,), ()


# --- shed -----------------------------------------------------------------------------------------------------------


def _shed(
    decision: Decision,
    deficits: tuple[Deficit, ...],
    assessment: Assessment,
    host: HostReading | None,
    platform: Platform,
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> tuple[Decision, PolicyState]:
    """Plans of all signals, united; operators' orders; and whether all is exhausted."""
    platform = without_owed(platform, inputs.entries)
    busy = frozenset(flight.action.service for flight in state.flights) | frozenset(one.service for one in state.virtual)
    pins = inputs.controls.pins
    present = shed.uses(platform, now_s) if deficits or inputs.shed_orders else shed.Uses()
    found: list[Ranked] = []
    if deficits:
        found, _ = candidates(platform, busy, pins, state, now_s, present.footprints, present.cores)
    plans = [
        shed.plan(status, deficit, found, assessment, host, platform, state, config, present, now_s)
        for deficit in deficits
        if (status := assessment.signal(deficit.signal)) is not None
    ]
    state, exhausted = _exhausted(plans, state, now_s)
    decision = replace(decision, exhausted=exhausted)
    if plans:
        first = max(plans, key=lambda plan: (plan.hard, plan.deficit.open / (plan.signal.capacity or 1.0)))
        following = next((one for one in first.ranking if not one.passed_over), None)
        decision = replace(decision, candidates=first.ranking, next_shed=following, signal=first.signal, deficit=first.deficit)

    held = _why_none(plans, inputs)
    actions: list[Action] = []
    flights: list[Flight] = []
    if not inputs.standby and inputs.engine_ready:
        batch = _Batch(platform, state, present, config, assessment, now_s)
        orders = [one for one in inputs.shed_orders if one[0] not in busy]
        hard = [plan for plan in plans if plan.hard and not plan.held]
        soft = [] if hard else [plan for plan in plans if not plan.hard and not plan.held]
        for service, who in orders:
            batch.add((service,), None, hard=False, by=who)
        if hard:  # all of them are about memory, and one relief counts in each: what covers the largest covers all
            plan = max(hard, key=lambda one: one.deficit.open)
            for one in plan.picked:
                batch.add(one.group, plan, hard=True)
        if soft and not orders and not decision.actions:
            plan = max(soft, key=lambda one: one.deficit.open / (one.signal.capacity or 1.0))
            if _may_throttle(plan, state):
                batch.throttle(plan)
            else:
                batch.add(plan.picked[0].group, plan, hard=False)
            decision = replace(decision, signal=plan.signal, deficit=plan.deficit, candidates=plan.ranking)
        if any(plan.hard for plan in plans):
            batch.hasten(assessment, config)
        actions, flights, state = batch.actions, batch.flights, batch.state
        if state.rising is not None and any(flight.action.service == state.rising.service for flight in flights):
            decision = replace(decision, restored=(*decision.restored, state.rising.service))  # it was up, or is given up
            state = replace(state, rising=None)
        if soft and any(action.kind is ActionKind.SHED and not action.by for action in actions):
            state = replace(state, soft_sheds_s=(*state.soft_sheds_s, now_s))
    state = replace(state, flights=(*state.flights, *flights))
    return replace(decision, actions=tuple(actions), held=(*decision.held, *held)), state


def without_owed(platform: Platform, entries: tuple[Entry, ...]) -> Platform:
    """The platform without containers that guardian is known to have stopped: a list older than their end still shows them."""
    down = {
        one.id
        for entry in entries
        if entry.state is EntryState.SHED and entry.means is not Means.THROTTLE and entry.returned_wall_s is None
        for one in entry.owed
    }
    services = {
        key: replace(service, containers=tuple(one for one in service.containers if one.id not in down))
        for key, service in platform.services.items()
        if down and any(one.id in down and one.state.up for one in service.containers)
    }
    return replace(platform, services={**platform.services, **services}) if services else platform


def _why_none(plans: list[shed.Plan], inputs: Inputs) -> tuple[Held, ...]:
    held = []
    for plan in plans:
        why = "standby" if inputs.standby else "engine" if not inputs.engine_ready else plan.held
        if why:
            victim = plan.picked[0].service.key if plan.picked else None
            held.append(Held(ActionKind.SHED, why, victim, f"{plan.signal.signal.value}"))
    return tuple(held)


def _exhausted(plans: list[shed.Plan], state: PolicyState, now_s: float) -> tuple[PolicyState, bool]:
    """Memory hard on a newer reading, nothing in flight, all possible relief below the deficit, for 10 s."""
    hopeless = any(
        plan.hard and not state.flights and plan.held != "reading_not_newer" and plan.possible < plan.deficit.open
        for plan in plans
    )
    if not hopeless:
        unsure = not state.flights and any(plan.hard and plan.held == "reading_not_newer" for plan in plans)
        return replace(state, exhausted_since_s=state.exhausted_since_s if unsure else None), False
    since = now_s if state.exhausted_since_s is None else state.exhausted_since_s
    return replace(state, exhausted_since_s=since), now_s - since >= EXHAUSTED_S


def _may_throttle(plan: shed.Plan, state: PolicyState) -> bool:
    """CPU pressure lowers a quota first where the service asks for it, has a reservation, and was not throttled yet."""
    service = plan.picked[0].service
    return (
        shed.resource_of(plan.signal.signal) is Resource.CPU
        and service.throttle
        and service.cpu_reservation_cores is not None
        and service.key not in state.throttled
    )


class _Batch:
    """Collects the actions of one tick, each service once, with ids, order and grace."""

    def __init__(
        self, platform: Platform, state: PolicyState, present: shed.Uses, config: Config, assessment: Assessment, now_s: float
    ) -> None:
        self.platform, self.state, self.present, self.config = platform, state, present, config
        self.assessment, self.now_s = assessment, now_s
        self.actions: list[Action] = []
        self.flights: list[Flight] = []
        self._ids: dict[ServiceKey, str] = {}
        self._name = self._next_id()

    def _next_id(self) -> str:
        self.state = replace(self.state, actions=self.state.actions + 1)
        return f"{self.state.run_id}-{self.state.actions}"

    def add(self, group: tuple[ServiceKey, ...], plan: shed.Plan | None, hard: bool, by: str = "") -> None:
        """Stop a service and what requires it. Under hard memory nobody waits for anybody."""
        order = sorted(group, key=lambda key: self.platform.stop_order.get(key, 0))
        for key in order:
            service = self.platform.services[key]
            if key in self._ids or not service.up or any(flight.action.service == key for flight in self.state.flights):
                continue
            grace = service.stop_timeout_s
            if hard and not service.kill_never:
                grace = min(grace, shed.hard_grace_s(self.assessment.full_in_s, self.config.shedding.hard_grace))
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
                reason="operator" if plan is None else plan.signal.signal.value,
                grace_s=grace,
                kill_after_grace=not service.kill_never,
                deadline_s=grace + self.config.engine.timeout,
                after=() if hard else tuple(self._ids[other] for other in order if other in self._ids),
                hard=hard,
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

    def hasten(self, assessment: Assessment, config: Config) -> None:
        """Under hard memory a stop in flight gets no more grace than a new one, unless it must never be killed."""
        grace = shed.hard_grace_s(assessment.full_in_s, config.shedding.hard_grace)
        hastened = []
        for flight in self.state.flights:
            action = flight.action
            left = flight.since_s + action.grace_s - self.now_s
            if action.kind is ActionKind.SHED and action.kill_after_grace and not flight.hastened and left > grace:
                self.actions.append(
                    replace(
                        action,
                        kind=ActionKind.HASTEN,
                        grace_s=grace,
                        deadline_s=grace + config.engine.timeout,
                        hard=True,
                        after=(),
                    )
                )
                hastened.append(replace(flight, hastened=True))
            else:
                hastened.append(flight)
        self.state = replace(self.state, flights=tuple(hastened))

    def _launch(self, action: Action, signal: Signal | None, plan: shed.Plan | None) -> None:
        resource = Resource.MEMORY if signal is None else shed.resource_of(signal)
        measured_by: SignalStatus | None = self.assessment.signal(Signal.MEMORY) if plan is None else plan.signal
        baseline = Baseline(None if measured_by is None else shed.amount(measured_by), self.present.of(resource))
        self.actions.append(action)
        self.flights.append(Flight(action, self.now_s, self._name, signal, baseline))


# --- restore --------------------------------------------------------------------------------------------------------


def _restore(
    decision: Decision,
    assessment: Assessment,
    platform: Platform,
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> tuple[Decision, PolicyState]:
    """At most one start a tick, and none while anything is in flight or on its way up."""
    owed = inputs.entries
    if inputs.observe:  # what was stopped before guardian left enforce is started only by order
        owed = tuple(entry for entry in owed if any(entry.service == service for service, _ in state.ordered))
    found = restore.waiting(owed, state.virtual, platform)
    throttled = _throttled(inputs, state, platform, now_s)
    there = {one.service for one in found} | set(throttled)
    state = replace(state, ordered=tuple(one for one in state.ordered if one[0] in there))
    if not there:
        return decision, state
    gates: tuple[tuple[str, bool], ...] = (
        ("standby", inputs.standby),
        *((reason, reason in decision.holds) for reason in ("engine", "operator", "disk")),
        ("in_flight", bool(state.flights)),
        ("rising", state.rising is not None),
    )
    closed = next((reason for reason, shut in gates if shut), "")
    who = dict(state.ordered)
    ordered = [one for one in found if one.service in who]
    if ordered and not closed and assessment.level is not Level.HARD:
        one = restore.in_order(ordered, platform)[0]
        return _start(decision, one, assessment, platform, state, config, now_s, by=who[one.service])
    lifted = [key for key in throttled if key in who]
    if lifted and not closed:
        return _unthrottle(decision, lifted[0], inputs, platform, state, config, now_s, by=who[lifted[0]])
    if not closed and not config.restoring.enabled:
        closed = "disabled"
    if not closed and _only_assumed(state, config, now_s):
        closed = "starting"
    if not closed and "pressure" in decision.holds:
        closed = "pressure"
    if not closed and (state.landings or any(signals.counting for key, signals in state.signals.items() if key in SUPPORTING)):
        closed = "settling"
    choice = restore.choose(found, assessment, platform, state, config, now_s)
    if closed:
        held = tuple(Held(ActionKind.RESTORE, closed, one.service) for one in found)
        following = None if choice.take is None else choice.take.service
        return replace(decision, held=(*decision.held, *held), next_restore=following), state
    state = replace(state, memos=choice.memos)
    decision = replace(decision, held=(*decision.held, *choice.held))
    if throttled:
        return _unthrottle(decision, throttled[0], inputs, platform, state, config, now_s)
    if choice.take is None:
        return decision, state
    return _start(decision, choice.take, assessment, platform, state, config, now_s)


def _only_assumed(state: PolicyState, config: Config, now_s: float) -> bool:
    """Guardian began a moment ago: that the host is ok is not known before `recover_for` has passed."""
    marks = [config.thresholds.of(signal) for signal in SHEDDING]
    longest = max((float(one.recover_for) for one in marks if one is not None), default=0.0)
    return state.began_s is not None and now_s - state.began_s < longest


def _throttled(inputs: Inputs, state: PolicyState, platform: Platform, now_s: float) -> list[ServiceKey]:
    """Services whose quota is to be put back, lowest phase first. They are the ledger's, so that a crash forgets none.

    Observe mode lifts what it pretended, and what is owed in truth only by order.
    """
    keys = set(_owed_throttles(inputs.entries))
    if inputs.observe:
        keys = {key for key in keys if any(key == service for service, _ in state.ordered)} | set(state.throttled)

    def ready(key: ServiceKey) -> bool:
        retry_s = state.memo(key).retry_at_s
        return key in platform.services and bool(platform.services[key].up) and (retry_s is None or now_s >= retry_s)

    return sorted(filter(ready, keys), key=lambda key: (platform.services[key].phase, key))


def _start(
    decision: Decision,
    one: restore.Waiting,
    assessment: Assessment,
    platform: Platform,
    state: PolicyState,
    config: Config,
    now_s: float,
    by: str = "",
) -> tuple[Decision, PolicyState]:
    bases = {status.signal: used for status in assessment.signals if (used := shed.amount(status)) is not None}
    memo = replace(
        state.memo(one.service), restored_bytes=one.expected_bytes, restored_cores=one.expected_cores, base_bytes=bases
    )
    state = replace(_with_memo(state, one.service, memo), actions=state.actions + 1)
    action = Action(
        id=f"{state.run_id}-{state.actions}",
        kind=ActionKind.RESTORE,
        service=one.service,
        phase=one.phase,
        containers=tuple(container_id for container_id in one.containers if container_id in platform.containers),
        reason="operator" if by else "room",
        deadline_s=config.engine.timeout + shed.CPU_WINDOW_S,
        expected_bytes=one.expected_bytes,
        expected_cores=one.expected_cores,
        by=by,
    )
    flight = Flight(action, now_s, action.id, None)
    return replace(decision, actions=(action,), next_restore=one.service), replace(state, flights=(*state.flights, flight))


def _unthrottle(
    decision: Decision,
    key: ServiceKey,
    inputs: Inputs,
    platform: Platform,
    state: PolicyState,
    config: Config,
    now_s: float,
    by: str = "",
) -> tuple[Decision, PolicyState]:
    service = platform.services[key]
    entry = _owed_throttles(inputs.entries).get(key)
    state = replace(state, actions=state.actions + 1)
    action = Action(
        id=f"{state.run_id}-{state.actions}",
        kind=ActionKind.UNTHROTTLE,
        service=key,
        phase=service.phase,
        containers=tuple(container.id for container in service.up),
        reason="operator" if by else "room",
        deadline_s=float(config.engine.timeout),
        cores=None if entry is None else entry.expected_cores,
        by=by,
    )
    return replace(decision, actions=(action,)), replace(
        state, flights=(*state.flights, Flight(action, now_s, action.id, None))
    )


def exclusions(platform: Platform, pins: frozenset[ServiceKey], state: PolicyState, now_s: float) -> Mapping[ServiceKey, str]:
    """Why each service that can be no victim is none, for `status` and `check`."""
    return candidates(platform, frozenset(), pins, state, now_s, {}, {})[1]
