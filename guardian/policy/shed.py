"""What to stop, and what not to: deficits, plans and the reasons that hold them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from guardian.config.schema import Config
from guardian.model import (
    CPU_SIGNALS,
    Action,
    ActionKind,
    Assessment,
    Candidate,
    Deficit,
    HostReading,
    Level,
    ServiceKey,
    Signal,
    SignalStatus,
)
from guardian.policy.assess import SHEDDING, SUPPORTING
from guardian.policy.platform import Platform, Service
from guardian.policy.rank import USEFUL_BYTES, Ranked, Resource, sort, useful
from guardian.policy.state import Flight, PolicyState, Virtual

KILL_BELOW_S = 1.0  # a grace shorter than this is a kill at once
KILL_TAKES_S = 0.5  # how long a killed container's memory may take to come back, for the projection
CPU_WINDOW_S = 10.0  # host CPU is a mean over this: relief shows only when it has passed
CPU_WAITING_RATIO = 0.20  # PSI cpu some avg10: full use without waiting is a good use of the host
BREAKER_S = 600.0


def resource_of(signal: Signal) -> Resource:
    return Resource.CPU if signal in CPU_SIGNALS else Resource.MEMORY


@dataclass(frozen=True, slots=True)
class Plan:
    """What one signal asks for. `held` says why nothing of it may be done now; empty: it may."""

    signal: SignalStatus
    deficit: Deficit
    hard: bool  # the whole set at once, with short grace
    picked: tuple[Ranked, ...] = ()
    ranking: tuple[Candidate, ...] = ()
    held: str = ""
    possible: float = 0.0  # all relief that there is


@dataclass(frozen=True, slots=True)
class Uses:
    """Present use of every service, read at most a round ago."""

    footprints: Mapping[ServiceKey, int | None] = field(default_factory=dict)
    cores: Mapping[ServiceKey, float | None] = field(default_factory=dict)

    def of(self, resource: Resource) -> Mapping[ServiceKey, float | None]:
        return self.footprints if resource is Resource.MEMORY else self.cores


def uses(platform: Platform, now_s: float) -> Uses:
    return Uses(
        {key: platform.footprint(service, now_s) for key, service in platform.services.items()},
        {key: platform.cores(service, now_s) for key, service in platform.services.items()},
    )


def use(service: Service, platform: Platform, resource: Resource, now_s: float) -> float | None:
    """Of one service, read at most two rounds ago."""
    if resource is Resource.MEMORY:
        return platform.footprint(service, now_s, rounds=2)
    return platform.cores(service, now_s, rounds=2)


def amount(status: SignalStatus) -> float | None:
    """A signal's value in bytes or cores; what is known for sure where a part is unknown."""
    value = status.floor if status.value is None else status.value
    return None if value is None or status.capacity is None else value * status.capacity


def hard_grace_s(full_in_s: float | None, hard_grace: float) -> float:
    """Grace under hard memory: at most half of the time that is left; 0 is a kill."""
    grace = hard_grace if full_in_s is None else min(hard_grace, full_in_s / 2)
    return grace if grace >= KILL_BELOW_S else 0.0


def is_hard_now(status: SignalStatus, assessment: Assessment, config: Config) -> bool:
    """A hard level on a reading that is itself hard, or that the fill rate makes so."""
    if status.level is not Level.HARD or status.hard is None:
        return False
    value = status.floor if status.value is None else status.value
    return value is not None and (value >= status.hard or is_filling(status, assessment, config))


def is_filling(status: SignalStatus, assessment: Assessment, config: Config) -> bool:
    """Whether the host's memory is at or above recover, and would be full within the horizon."""
    return (
        status.signal is Signal.MEMORY
        and status.value is not None
        and status.value >= status.recover
        and assessment.full_in_s is not None
        and assessment.full_in_s <= config.shedding.horizon
    )


def supported(assessment: Assessment, state: PolicyState) -> bool:
    """Whether swap or memory pressure makes memory soft now, by a value that is known now."""
    memory = assessment.signal(Signal.MEMORY)
    if memory is None or memory.value is None or memory.value < memory.recover:
        return False
    known = [one.signal for one in assessment.signals if one.value is not None]
    return any(state.signals[signal].counting for signal in SUPPORTING if signal in known)


def present_relief(flight: Flight, platform: Platform, resource: Resource, now_s: float) -> float:
    """What a stop in flight will still give back: its containers' use at this tick, else what was predicted."""
    action = flight.action
    if now_s - flight.since_s > action.deadline_s:
        return 0.0  # late is a failure: nothing is counted on any more
    predicted = (action.relief_bytes if resource is Resource.MEMORY else action.relief_cores) or 0.0
    total = 0.0
    for container_id in action.containers:
        container = platform.containers.get(container_id)
        listed_since = platform.read_s is not None and platform.read_s > flight.since_s
        if listed_since and (container is None or not container.state.up):
            continue  # gone: what it held is back
        usage = None if container is None else platform.fresh(container, now_s)
        value = None if usage is None else (usage.footprint_bytes if resource is Resource.MEMORY else usage.cpu_cores)
        total += predicted / len(action.containers) if value is None else value
    return total


def pending_relief(state: PolicyState, platform: Platform, signal: Signal, now_s: float) -> float:
    """Of all stops in flight, of what observe mode only pretends to have stopped, and of CPU not yet out of the mean."""
    resource = resource_of(signal)
    total = sum(
        present_relief(flight, platform, resource, now_s) for flight in state.flights if flight.action.kind is ActionKind.SHED
    )
    for virtual in state.virtual:
        service = platform.services.get(virtual.service)
        if service is None or not service.up:
            continue
        now = use(service, platform, resource, now_s)
        predicted = virtual.relief_bytes if resource is Resource.MEMORY else virtual.relief_cores
        total += (predicted or 0.0) if now is None else now
    if signal is Signal.CPU:
        total += sum(landing.action.relief_cores or 0.0 for landing in state.landings if now_s - landing.gone_s < CPU_WINDOW_S)
    return total


def relief_unknown(state: PolicyState, platform: Platform, resource: Resource, settle_s: float, now_s: float) -> bool:
    """Whether a stop under way, or one that observe mode pretends, brings nobody knows how much: that is seen first.

    A stop that takes longer than `settle_s` is not waited for: the next victim may be needed before it ends.
    """
    under_way: list[Action | Virtual] = [
        flight.action for flight in state.flights if flight.action.kind is ActionKind.SHED and now_s - flight.since_s < settle_s
    ]
    for one in (*under_way, *state.virtual):
        service = platform.services.get(one.service)
        predicted = one.relief_bytes if resource is Resource.MEMORY else one.relief_cores
        if predicted is None and service is not None and use(service, platform, resource, now_s) is None:
            return True
    return False


def deficits(
    assessment: Assessment, platform: Platform, state: PolicyState, config: Config, now_s: float
) -> tuple[Deficit, ...]:
    """Of each shedding signal that is soft or hard, and whose value is known: how much must be given back."""
    found = []
    for signal in SHEDDING:
        status = assessment.signal(signal)
        if status is None or status.capacity is None:
            continue
        used = amount(status)
        by_support = signal is Signal.MEMORY and status.level is Level.OK and supported(assessment, state)
        if used is None or (status.level is Level.OK and not by_support):
            continue
        if status.level is Level.HARD and is_filling(status, assessment, config) and assessment.fill_bytes_per_s:
            stop_takes = max(hard_grace_s(assessment.full_in_s, config.shedding.hard_grace), KILL_TAKES_S)
            used = max(used, used + assessment.fill_bytes_per_s * stop_takes)
        total = used - status.recover * status.capacity
        if by_support:
            total = max(total, float(USEFUL_BYTES))  # at least one useful victim
        if total <= 0:
            continue
        found.append(
            Deficit(
                signal=signal,
                level=Level.SOFT if by_support else status.level,
                total=total,
                pending=pending_relief(state, platform, signal, now_s),
                value=status.value,
                threshold=status.hard if status.level is Level.HARD and status.hard is not None else status.soft,
            )
        )
    return tuple(found)


def choose(
    ranked: list[Ranked], need: float, uses_of: Mapping[ServiceKey, float | None], resource: Resource, hard: bool
) -> tuple[tuple[Ranked, ...], dict[ServiceKey, str]]:
    """The front of `ranked` that covers `need`, then without those of its lowest phase that the need can do without.

    A victim of unknown relief ends the plan: what it brings is seen before anything more valuable goes. Only a hard plan
    stops one; a soft one waits for its reading. Those that are not worth a stop are passed over; a hard plan takes them
    where all useful ones together do not suffice. Also returned: why each of the others was not picked.
    """
    picked: list[Ranked] = []
    members: set[ServiceKey] = set()
    total = 0.0
    ended = False
    passed: dict[ServiceKey, str] = {}
    for worth in (True, False) if hard else (True,):
        for one in ranked:
            key, relief = one.service.key, one.relief(resource)
            if key in members:
                continue
            if useful(relief, need, resource) is not worth:
                passed.setdefault(key, "unknown_use" if relief is None else "too_small")
            elif total >= need:
                passed.setdefault(key, "not_needed")
            elif ended:
                passed.setdefault(key, "after_unknown")
            elif relief is None and not hard:
                ended = True
                passed[key] = "unknown_use"
            elif worth or relief:
                ended = relief is None
                total += sum(uses_of.get(other) or 0.0 for other in one.group if other not in members)
                members.update(one.group)
                picked.append(one)
                passed.pop(key, None)
    if picked:
        lowest = min(one.service.phase for one in picked)
        holders = Counter(key for one in picked for key in one.group)
        for one in reversed([one for one in picked if one.service.phase == lowest]):
            alone = sum(uses_of.get(key) or 0.0 for key in one.group if holders[key] == 1)
            if total - alone >= need:
                total -= alone
                holders.subtract(one.group)
                passed[one.service.key] = "not_needed"
        picked = [one for one in picked if one.service.key not in passed]
    return tuple(picked), passed


def covered(picked: Iterable[Ranked], uses_of: Mapping[ServiceKey, float | None]) -> float:
    """The relief of all picked groups together, each service counted once; unknown counts nothing."""
    members = {key for one in picked for key in one.group}
    return sum(uses_of.get(key) or 0.0 for key in members)


def plan(
    status: SignalStatus,
    deficit: Deficit,
    found: list[Ranked],
    assessment: Assessment,
    host: HostReading | None,
    platform: Platform,
    state: PolicyState,
    config: Config,
    present: Uses,
    now_s: float,
) -> Plan:
    """One signal's plan, held or not."""
    resource = resource_of(status.signal)
    hard = resource is Resource.MEMORY and is_hard_now(status, assessment, config)
    barred = {one.service.key: why for one in found if (why := _barred(one, resource, hard, platform, state, config, now_s))}
    ranked = sort([one for one in found if one.service.key not in barred], resource)
    uses_of = present.of(resource)
    need = deficit.open
    picked, passed = choose(ranked, need, uses_of, resource, hard) if need > 0 else ((), {})
    ranking = tuple(one.candidate(rank, resource, passed.get(one.service.key, "")) for rank, one in enumerate(ranked, start=1))
    ranking += tuple(one.candidate(0, resource, barred[one.service.key]) for one in found if one.service.key in barred)
    return Plan(
        signal=status,
        deficit=deficit,
        hard=hard,
        picked=picked,
        ranking=ranking,
        held=_held(status, deficit, picked, passed, hard, host, platform, state, config, now_s),
        possible=covered(ranked, uses_of),
    )


def _barred(
    one: Ranked, resource: Resource, hard: bool, platform: Platform, state: PolicyState, config: Config, now_s: float
) -> str:
    """Why a possible victim is none for this plan."""
    for key in one.group:
        until = state.memo(key).override_until_s
        if not hard and until is not None and now_s < until:
            return "overridden"  # somebody wants it up: guardian yields, short of hard memory
    if resource is Resource.CPU:
        for key in one.group:
            for container in platform.services[key].up:
                if container.started_s is None or now_s - container.started_s < config.shedding.startup_grace:
                    return "starting_up"
    return ""


def _held(
    status: SignalStatus,
    deficit: Deficit,
    picked: tuple[Ranked, ...],
    passed: Mapping[ServiceKey, str],
    hard: bool,
    host: HostReading | None,
    platform: Platform,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> str:
    """Why a plan must wait, in one word; the first that applies."""
    if deficit.open <= 0:
        return "relief_pending"
    if state.last_outcome_s is not None and (status.at_s is None or status.at_s <= state.last_outcome_s):
        return "reading_not_newer"
    if relief_unknown(state, platform, resource_of(status.signal), config.shedding.settle, now_s):
        return "relief_unknown"
    if hard:
        return "" if picked else "no_victim"
    if any(flight.action.kind in (ActionKind.SHED, ActionKind.THROTTLE) for flight in state.flights):
        return "in_flight"
    if state.landings:
        return "settling"
    breaker = state.breakers.get(status.signal)
    if breaker is not None and breaker.open_until_s is not None and now_s < breaker.open_until_s:
        return "ineffective"
    if sum(1 for at_s in state.soft_sheds_s if now_s - at_s < 3600.0) >= config.shedding.max_per_hour:
        return "max_per_hour"
    if status.signal is Signal.CPU and host is not None and host.psi_present:
        if host.cpu_some_avg10_ratio is None:
            return "waiting_unknown"
        if host.cpu_some_avg10_ratio < CPU_WAITING_RATIO:
            return "no_waiting"
    if picked:
        return ""
    return "unknown_use" if "unknown_use" in passed.values() else "no_useful_victim"
