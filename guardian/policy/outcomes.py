"""What has ended since the last tick, and what it means: failures, probation, flaps, restores on their way up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from guardian.config.schema import Config
from guardian.ledger.entries import Entry, EntryState, Means
from guardian.model import (
    ActionKind,
    Outcome,
    Result,
    ServiceKey,
)
from guardian.policy import restore, shed
from guardian.policy.inputs import Inputs
from guardian.policy.platform import Platform
from guardian.policy.rank import Resource
from guardian.policy.state import Flight, Landing, Memo, PolicyState, Rising, Virtual

OVERRIDE_S = 600.0  # somebody started a shed service: no soft victim for this long
RETRY_S = (2.0, 60.0)  # after a failed stop or start: first and longest pause
RETHROTTLE_S = 600.0  # a throttle that failed counts as tried for this long


def absorb(
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
    notes: list[str],
) -> PolicyState:
    """Take in outcomes, overrides and restore orders."""
    if inputs.overrides or inputs.restore_orders or state.soft_sheds_s:
        memos = dict(state.memos)
        for service in inputs.overrides:
            memos[service] = replace(
                memos.get(service, Memo()), override_until_s=now_s + OVERRIDE_S, not_before_s=None, refused_since_s=None
            )
        state = replace(
            state,
            memos=memos if inputs.overrides else state.memos,
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
        elif outcome.action.kind is ActionKind.RESTART:
            state = _restart_ended(outcome, state, notes)
    return state


def _without_lost(inputs: Inputs, state: PolicyState, now_s: float) -> PolicyState:
    """An action that nobody carries out and that has no outcome has failed: it must not hold up others for ever."""
    if inputs.under_way is None or not state.flights:
        return state
    known = inputs.under_way | {outcome.action.id for outcome in inputs.outcomes}
    for flight in state.flights:
        if flight.action.id not in known:
            service = flight.action.service
            state = with_memo(state, service, failed(state.memo(service), now_s))
    return replace(state, flights=tuple(flight for flight in state.flights if flight.action.id in known))


def with_memo(state: PolicyState, service: ServiceKey, memo: Memo) -> PolicyState:
    return replace(state, memos={**state.memos, service: memo})


def failed(memo: Memo, now_s: float) -> Memo:
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
        again_s = now_s + RETRY_S[1] if action.by_signal else None  # without the engine no list shows that it is gone
        return with_memo(state, action.service, replace(memo, failures=0, retry_at_s=again_s))
    if outcome.result is not Result.DONE:
        return with_memo(state, action.service, failed(memo, now_s))
    if flight.signal is not None:
        used = None if flight.baseline is None else flight.baseline.used
        own = action.relief_bytes if shed.resource_of(flight.signal) is Resource.MEMORY else action.relief_cores
        after = restore.after_shed(memo, flight.signal, used, own, config, flight.since_s, now_s)
        if after.quarantined and not memo.quarantined:
            notes.append(f"{action.service} is quarantined: it brought the pressure back {len(after.flaps_s)} times in a day")
        state = with_memo(state, action.service, after)
    landing = Landing(action, outcome.at_s, flight.batch, flight.signal, flight.baseline)
    return replace(state, landings=(*state.landings, landing))


def _restore_ended(outcome: Outcome, state: PolicyState, config: Config, now_s: float, notes: list[str]) -> PolicyState:
    service, memo = outcome.action.service, state.memo(outcome.action.service)
    state = replace(state, ordered=tuple(one for one in state.ordered if one[0] != service))
    if outcome.result is Result.OBSERVED:
        return replace(state, virtual=tuple(one for one in state.virtual if one.service != service))
    if outcome.result is not Result.DONE:
        notes.append(f"{service} did not start: {outcome.detail or outcome.result}")
        return with_memo(state, service, failed(memo, now_s))
    memo = replace(memo, quarantined=False, probation_until_s=now_s + config.restoring.probation)
    return replace(with_memo(state, service, memo), rising=Rising(service, now_s))


def _restart_ended(outcome: Outcome, state: PolicyState, notes: list[str]) -> PolicyState:
    """However it ended it counts as one, and what comes after it counts from its end."""
    service = outcome.action.service
    if outcome.result not in (Result.DONE, Result.GONE, Result.OBSERVED):
        notes.append(f"{service} was not restarted: {outcome.detail or outcome.result}")
    times = (*state.restarts.get(service, ())[:-1], outcome.at_s)
    return replace(state, restarts={**state.restarts, service: times})


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
    return with_memo(state, service, failed(state.memo(service), now_s))


def with_throttled(inputs: Inputs, state: PolicyState, now_s: float) -> PolicyState:
    """What is throttled, as the ledger has it. What failed counts as tried for a while; observe mode pretends all of it."""
    if inputs.observe:
        return state
    owed = owed_throttles(inputs.entries)
    tried = {key: since_s for key, since_s in state.throttled.items() if key in owed or now_s - since_s < RETHROTTLE_S}
    return replace(state, throttled={**dict.fromkeys(owed, now_s), **tried}) if owed or state.throttled else state


def owed_throttles(entries: tuple[Entry, ...]) -> Mapping[ServiceKey, Entry]:
    return {one.service: one for one in entries if one.means is Means.THROTTLE and one.state is EntryState.SHED}


def follow_restore(
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
    if not how or (how == "fell" and not inputs.engine_ready):  # what ended with the engine may come back with it
        return replace(state, rising=rising), (), ()
    state = replace(state, rising=None)
    if how == "fell":
        memo = failed(state.memo(rising.service), now_s)
        notes.append(f"{rising.service} was started and did not stay up")
        return (
            with_memo(state, rising.service, replace(memo, probation_until_s=None, restored_bytes=None, restored_cores=None)),
            (),
            (rising.service,),
        )
    up = replace(state.memo(rising.service), failures=0, retry_at_s=None)
    state = with_memo(state, rising.service, up)
    if how == "late":
        notes.append(f"{rising.service} runs, and is not healthy after {restore.HEALTHY_WITHIN_S:.0f} s; it is left as it is")
    return state, (rising.service,), ()
