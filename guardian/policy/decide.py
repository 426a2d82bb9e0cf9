"""From an assessment to a decision: what to do now, and why not more.

One pass: take in what has ended, see what it brought, shed if a signal asks for it, else restore if all is calm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from guardian.config.schema import Config
from guardian.ledger.entries import Entry, EntryState, Means
from guardian.model import (
    MEMORY_SIGNALS,
    TARGET_PHASE,
    Action,
    ActionKind,
    Assessment,
    Decision,
    Deficit,
    Held,
    HostReading,
    Level,
    ServiceKey,
    Signal,
)
from guardian.policy import demand, restore, shed
from guardian.policy.assess import SHEDDING, SUPPORTING
from guardian.policy.batch import EMERGENCY, Batch, is_urgent
from guardian.policy.health import restart
from guardian.policy.inputs import Inputs
from guardian.policy.outcomes import absorb, follow_restore, owed_throttles, with_memo, with_throttled
from guardian.policy.platform import Platform, Service
from guardian.policy.rank import Ranked, Resource, candidates
from guardian.policy.relief import settle
from guardian.policy.room import with_admitted
from guardian.policy.state import Breaker, Flight, PolicyState
from guardian.policy.target import is_above, is_missed, next_stop

EXHAUSTED_S = 10.0


def refusal(service: Service | None, platform: Platform, pins: frozenset[ServiceKey]) -> str:
    """Why an operator's shed of this service is refused; empty where it is not."""
    if service is None:
        return "is not managed: put it into a phase of the file"
    if not service.up:
        return "does not run, so there is nothing to stop"
    if service.protect or service.protected:
        return "is protected: stop it with docker, or change the file"
    if service.key in pins:
        return "is pinned: `guardian unpin` it first"
    for other in sorted(platform.requirers.get(service.key, frozenset())):
        one = platform.services[other]
        if one.up and (one.protect or one.protected or other in pins):
            return f"is required by {other}, which is protected or pinned: stop that first, or change `requires` in the file"
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
    state = absorb(inputs, state, config, now_s, notes)
    if inputs.admitted:
        state = with_admitted(state, inputs.admitted, assessment, config, now_s)
    if not inputs.observe and state.virtual:
        state = replace(state, virtual=())  # from here on it is real: none of these was stopped
    state = with_throttled(inputs, state, now_s)
    state = demand.remember(platform, state, now_s)
    state, settled = settle(assessment, platform, state, config, now_s, notes)
    state, restored, fallen = follow_restore(inputs, platform, state, config, now_s, notes)
    deficits = shed.deficits(assessment, platform, state, config, now_s)
    holds = holds_of(assessment, inputs)
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
    if state.emergency and not (config.emergency.enabled and _memory_is_hard(assessment)):
        state = replace(state, emergency=False)
    urgent = inputs.ends or any(is_urgent(flight.action) for flight in state.flights)
    missed = is_missed(platform, config)
    if deficits or inputs.shed_orders or urgent or inputs.resend or state.exhausted_since_s is not None or missed:
        decision, state = _shed(decision, deficits, assessment, host, platform, inputs, state, config, now_s)
    if not decision.actions and (inputs.entries or state.virtual or state.throttled or state.ordered):
        decision, state = _restore(decision, assessment, platform, inputs, state, config, now_s)
    if platform.sick and not decision.actions:
        decision, state = restart(decision, assessment, platform, inputs, state, config, now_s)
    return replace(decision, notes=tuple(notes)) if notes else decision, state


def holds_of(assessment: Assessment, inputs: Inputs) -> tuple[str, ...]:
    """Why nothing may be started."""
    held = (
        ("pressure", assessment.level is not Level.OK),
        ("operator", bool(inputs.controls.hold)),
        ("engine", not inputs.engine_ready),
        ("disk", assessment.disk_level is Level.HARD),
    )
    return tuple(reason for reason, holds in held if holds)


def _memory_is_hard(assessment: Assessment) -> bool:
    return any(one.level is Level.HARD for one in assessment.signals if one.signal in MEMORY_SIGNALS)


def _breaker_open(state: PolicyState, signal: Signal, now_s: float) -> bool:
    until = state.breakers.get(signal, Breaker()).open_until_s
    return until is not None and now_s < until


# --- shed ----------------------------------------------------------------------------------------------------------


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
    present = shed.uses(platform, now_s) if deficits or inputs.shed_orders or inputs.ends or inputs.resend else shed.Uses()
    found: list[Ranked] = []
    excluded: dict[ServiceKey, str] = {}
    if deficits:
        found, excluded = candidates(platform, busy, pins, state, now_s, present.footprints, present.cores)
    plans = [
        shed.plan(status, deficit, found, assessment, host, platform, state, config, present, now_s)
        for deficit in deficits
        if (status := assessment.signal(deficit.signal)) is not None
    ]

    def widened() -> list[shed.Plan]:
        """The same, where hard memory may take phases that are protected as phases."""
        wide = platform.in_emergency(frozenset(config.emergency.keep))
        all_found, _ = candidates(wide, busy, pins, state, now_s, present.footprints, present.cores)
        return [
            shed.plan(one.signal, one.deficit, all_found, assessment, host, platform, state, config, present, now_s)
            if one.hard
            else one
            for one in plans
        ]

    if state.emergency:
        plans = widened()
    state, exhausted = _exhausted(plans, state, now_s)
    if exhausted and config.emergency.enabled and not state.emergency:
        state = replace(state, emergency=True)
        plans = widened()
    decision = replace(decision, exhausted=exhausted, emergency=state.emergency, excluded=excluded)
    if plans:
        first = max(plans, key=lambda plan: (plan.hard, plan.deficit.open / (plan.signal.capacity or 1.0)))
        following = next((one for one in first.ranking if not one.passed_over), None)
        decision = replace(decision, candidates=first.ranking, next_shed=following, signal=first.signal, deficit=first.deficit)

    held = _why_none(plans, inputs)
    actions: list[Action] = []
    flights: list[Flight] = []
    if not inputs.standby and (inputs.engine_ready or _may_signal(inputs)):
        batch = Batch(platform, state, present, config, assessment, now_s, by_signal=not inputs.engine_ready)
        orders = [one for one in inputs.shed_orders if one[0] not in busy and inputs.engine_ready]
        hard = [plan for plan in plans if plan.hard and not plan.held]
        soft = [] if hard or not inputs.engine_ready else [plan for plan in plans if not plan.hard and not plan.held]
        for entry in _to_resend(inputs, platform, state, now_s):
            batch.resend(entry, hard=any(plan.hard for plan in plans))
        for service, who in inputs.ends:
            batch.add((service,), None, hard=True, by=who, reason=EMERGENCY)
        for service, who in orders:
            batch.add((*platform.requirers.get(service, ()), service), None, hard=False, by=who)
        if hard:  # all of them are about memory, and one relief counts in each: what covers the largest covers all
            plan = max(hard, key=lambda one: one.deficit.open)
            for one in plan.picked:
                batch.add(one.group, plan, hard=True)
        if soft and not orders and not batch.actions:
            plan = max(soft, key=lambda one: one.deficit.open / (one.signal.capacity or 1.0))
            if _may_throttle(plan, state):
                batch.throttle(plan)
            else:
                batch.add(plan.picked[0].group, plan, hard=False)
            decision = replace(decision, signal=plan.signal, deficit=plan.deficit, candidates=plan.ranking)
        if not plans and not orders and not batch.actions and not state.flights and inputs.engine_ready:
            group = next_stop(platform, busy, pins, state, config, now_s) if is_missed(platform, config) else ()
            batch.add(group, None, hard=False, reason=TARGET_PHASE)
        batch.hasten(assessment, config, inputs.signals, any(plan.hard for plan in plans))
        actions, flights, state = batch.actions, batch.flights, replace(batch.state, actions=batch.handed_out)
        if state.rising is not None and any(flight.action.service == state.rising.service for flight in flights):
            decision = replace(decision, restored=(*decision.restored, state.rising.service))  # it was up, or is given up
            state = replace(state, rising=None)
        if soft and any(action.kind is ActionKind.SHED and not action.by for action in actions):
            state = replace(state, soft_sheds_s=(*state.soft_sheds_s, now_s))
    state = replace(state, flights=(*state.flights, *flights))
    return replace(decision, actions=tuple(actions), held=(*decision.held, *held)), state


def _may_signal(inputs: Inputs) -> bool:
    """Where the engine does not answer, what hard memory needs is ended by signal."""
    return inputs.signals and inputs.engine_down


def _to_resend(inputs: Inputs, platform: Platform, state: PolicyState, now_s: float) -> list[Entry]:
    """Entries of what was ended by signal and started again by the engine, which knew of no stop: it is asked for one now.

    What an operator has pinned or put under protect since stays up.
    """
    found = []
    for entry in inputs.entries if inputs.resend and inputs.engine_ready and not inputs.observe else ():
        service = platform.services.get(entry.service)
        if entry.service not in inputs.resend or entry.means is not Means.SIGNAL or service is None:
            continue
        retry_s = state.memo(entry.service).retry_at_s
        kept = service.protect or entry.service in inputs.controls.pins
        if not kept and (retry_s is None or now_s >= retry_s):
            found.append(entry)
    return found


def without_owed(platform: Platform, entries: tuple[Entry, ...]) -> Platform:
    """The platform without containers that guardian is known to have stopped: a list older than their end still shows them."""
    down = {
        one.id
        for entry in entries
        if entry.state is EntryState.SHED and entry.means is not Means.THROTTLE and entry.returned_wall_s is None
        for one in entry.owed
    }
    changed = {
        key: tuple(one for one in service.containers if one.id not in down)
        for key, service in platform.services.items()
        if down and any(one.id in down and one.state.up for one in service.containers)
    }
    return platform.with_containers(changed) if changed else platform


def _why_none(plans: list[shed.Plan], inputs: Inputs) -> tuple[Held, ...]:
    held = []
    for plan in plans:
        able = inputs.engine_ready or (plan.hard and _may_signal(inputs))
        why = "standby" if inputs.standby else plan.held if able else "engine"
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


# --- restore -------------------------------------------------------------------------------------------------------


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
    lifts = _lifts(inputs, state, platform, now_s)
    there = {one.service for one in found} | {one.service for one in lifts}
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
    ordered = [one for one in found if one.service in who and not is_above(one.phase, config)]
    if ordered and not closed and assessment.level is not Level.HARD:
        one = restore.in_order(ordered, platform)[0]
        return _start(decision, one, assessment, platform, state, config, now_s, by=who[one.service])
    lifted = next((one for one in lifts if one.service in who), None)
    if lifted is not None and not closed:
        return _unthrottle(decision, lifted, state, config, now_s, by=who[lifted.service])
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
    if lifts:
        return _unthrottle(decision, lifts[0], state, config, now_s)
    if choice.take is None:
        return decision, state
    return _start(decision, choice.take, assessment, platform, state, config, now_s)


def _only_assumed(state: PolicyState, config: Config, now_s: float) -> bool:
    """Guardian began a moment ago: that the host is ok is not known before `recover_for` has passed."""
    marks = [config.thresholds.of(signal) for signal in SHEDDING]
    longest = max((float(one.recover_for) for one in marks if one is not None), default=0.0)
    return state.began_s is not None and now_s - state.began_s < longest


@dataclass(frozen=True, slots=True)
class _Lift:
    """A quota to put back: `cores` as it was (None: there was none), on those of its containers that run."""

    service: ServiceKey
    phase: int
    containers: tuple[str, ...]
    cores: float | None = None


def _lifts(inputs: Inputs, state: PolicyState, platform: Platform, now_s: float) -> list[_Lift]:
    """Quotas to put back now, lowest phase first. They are the ledger's, so that a crash forgets none.

    Each is put back on the very containers on which it was lowered, whether or not the file lists their service still: a
    container that was created since has its own. Observe mode lifts what it pretended, and what is owed in truth only by order.
    """
    owed = owed_throttles(inputs.entries)
    found = []
    for key in owed.keys() | (state.throttled.keys() if inputs.observe else set()):
        service, entry = platform.services.get(key), owed.get(key)
        if entry is not None and (not inputs.observe or any(key == ordered for ordered, _ in state.ordered)):
            there = (platform.containers[one.id] for one in entry.owed if one.id in platform.containers)
            running = tuple(one.id for one in there if one.state.up)
            found.append(_Lift(key, entry.phase if service is None else service.phase, running, entry.expected_cores))
        elif service is not None and key in state.throttled:
            found.append(_Lift(key, service.phase, tuple(one.id for one in service.up)))

    def ready(one: _Lift) -> bool:
        retry_s = state.memo(one.service).retry_at_s
        return bool(one.containers) and (retry_s is None or now_s >= retry_s)

    return sorted(filter(ready, found), key=lambda one: (one.phase, one.service))


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
    state = replace(with_memo(state, one.service, memo), actions=state.actions + 1)
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
    decision: Decision, lift: _Lift, state: PolicyState, config: Config, now_s: float, by: str = ""
) -> tuple[Decision, PolicyState]:
    state = replace(state, actions=state.actions + 1)
    action = Action(
        id=f"{state.run_id}-{state.actions}",
        kind=ActionKind.UNTHROTTLE,
        service=lift.service,
        phase=lift.phase,
        containers=lift.containers,
        reason="operator" if by else "room",
        deadline_s=float(config.engine.timeout),
        cores=lift.cores,
        by=by,
    )
    return replace(decision, actions=(action,)), replace(
        state, flights=(*state.flights, Flight(action, now_s, action.id, None))
    )
