"""From a sample to an assessment: what every signal is at, and so the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from guardian.config.schema import Config, SupportThresholds, Thresholds
from guardian.ledger.entries import Entry
from guardian.model import (
    ActionKind,
    Assessment,
    HostReading,
    Level,
    ServiceKey,
    Signal,
    SignalStatus,
)
from guardian.policy.levels import count_support, fill_rate, keep_newest, step, without_runs
from guardian.policy.platform import Platform
from guardian.policy.state import PolicyState, SignalState
from guardian.policy.tally import Basis, Sum, Tally, tally

SHEDDING = (Signal.MEMORY, Signal.PLATFORM_MEMORY, Signal.CPU, Signal.PLATFORM_CPU)
SUPPORTING = (Signal.SWAP, Signal.MEMORY_PRESSURE)
MAX_LATE_TICKS = 3.0  # a late tick adds at most this many intervals to a running timer


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal's value now. `rise` is what may raise the level where that is less than `value`, or all that is known."""

    value: float | None
    rise: float | None
    capacity: float | None = None
    at_s: float | None = None


def assess(
    host: HostReading | None,
    platform: Platform,
    entries: tuple[Entry, ...],
    pins: frozenset[ServiceKey],
    state: PolicyState,
    config: Config,
    now_s: float,
    interval_s: float = 1.0,
    suspended: bool = False,
    storage: Mapping[ServiceKey, int | None] | None = None,
) -> tuple[Assessment, PolicyState]:
    """One tick: the newest host reading (None: unreadable) and the platform as last read -> levels.

    `interval_s` is the present pace; `suspended` says that the host slept since the last tick; `storage` is as of `phase_uses`.
    """
    if host is not None and now_s - host.at_s > MAX_LATE_TICKS * interval_s:
        host = None  # stale is unknown
    dt_s = 0.0 if state.tick_s is None else min(max(0.0, now_s - state.tick_s), MAX_LATE_TICKS * interval_s)
    memory_readings = () if suspended else state.memory_readings
    quarantined = frozenset([entry.service for entry in entries if state.memo(entry.service).quarantined])
    basis = Basis(platform, config, entries, pins, quarantined, cpu_capacity(config, host), storage)
    tallied = tally(state.tally, basis, now_s)
    readings = _readings(host, platform, tallied, config, now_s)
    gone = {signal for signal in state.signals if signal not in readings}  # left out of the configuration since
    if host is not None and host.swap_total_bytes == 0:
        gone.add(Signal.SWAP)  # turned off
    signals = {signal: without_runs(one) if suspended else one for signal, one in state.signals.items() if signal not in gone}
    memory = readings[Signal.MEMORY]
    if memory.value is not None and memory.capacity is not None and memory.at_s is not None:
        memory_readings = keep_newest(memory_readings, memory.at_s, memory.value * memory.capacity)
    rate = fill_rate(memory_readings)
    full_in = _full_in(memory, rate)

    statuses = []
    memory_marks = config.thresholds.of(Signal.MEMORY)
    for signal, reading in readings.items():
        thresholds = config.thresholds.of(signal)
        if thresholds is None:
            signals.pop(signal, None)
            continue
        # Memory that would be full within the horizon is hard at once.
        at_once = (
            signal is Signal.MEMORY
            and memory.value is not None
            and memory.value >= thresholds.recover
            and full_in is not None
            and full_in <= config.shedding.horizon
            and not _was_admitted(memory, thresholds.soft, state, now_s)
        )
        before = signals.get(signal) or SignalState(since_s=now_s)
        after = step(before, thresholds, reading.value, reading.rise, now_s, dt_s, hard_at_once=at_once, at_s=reading.at_s)
        if isinstance(thresholds, SupportThresholds):
            if isinstance(memory_marks, Thresholds):
                after = count_support(
                    after, reading.value is not None, memory.value, memory_marks.recover, memory_marks.recover_for, dt_s
                )
            else:
                after = replace(after, counting=False)
        signals[signal] = after
        statuses.append(
            SignalStatus(
                signal=signal,
                value=reading.value,
                level=after.level,
                since_s=after.since_s,
                soft=float(thresholds.soft),
                hard=None if isinstance(thresholds, SupportThresholds) else float(thresholds.hard),
                recover=float(thresholds.recover),
                capacity=reading.capacity,
                at_s=reading.at_s,
                floor=reading.rise if reading.value is None else None,
            )
        )

    level = host_level(signals)
    disk = signals.get(Signal.DISK)
    assessment = Assessment(
        at_s=now_s,
        level=level,
        signals=tuple(statuses),
        services=tallied.services,
        phases=tallied.phases,
        fill_bytes_per_s=rate,
        full_in_s=full_in,
        unmanaged=platform.unmanaged,
        disk_level=disk.level if disk else Level.OK,
    )
    return assessment, replace(
        state,
        began_s=now_s if state.began_s is None else state.began_s,
        tick_s=now_s,
        signals=signals,
        memory_readings=memory_readings,
        level=level,
        level_since_s=now_s if level is not state.level else state.level_since_s,
        tally=tallied,
    )


def host_level(signals: Mapping[Signal, SignalState]) -> Level:
    """The worst of the shedding signals; a supporting one that counts makes it soft. Disk stands outside."""
    level = max((signals[signal].level for signal in SHEDDING if signal in signals), default=Level.OK)
    if level is Level.OK and any(signals[signal].counting for signal in SUPPORTING if signal in signals):
        return Level.SOFT
    return level


def cpu_capacity(config: Config, host: HostReading | None) -> float | None:
    """Cores that CPU budgets are shares of: `host.cpu`, else all of the host's."""
    if config.host.cpu is not None:
        return config.host.cpu
    return None if host is None else float(host.cores)


def _readings(
    host: HostReading | None, platform: Platform, tallied: Tally, config: Config, now_s: float
) -> dict[Signal, Reading]:
    unknown = Reading(None, None)
    readings: dict[Signal, Reading] = dict.fromkeys(
        (Signal.MEMORY, Signal.CPU, Signal.SWAP, Signal.MEMORY_PRESSURE, Signal.DISK), unknown
    )
    if host is not None:
        memory = _used_ratio(host.memory_total_bytes, host.memory_available_bytes)
        readings[Signal.MEMORY] = Reading(memory, memory, host.memory_total_bytes, host.at_s)
        rise = _less_young(host.cpu_ratio, float(host.cores), platform, config.shedding.startup_grace, now_s)
        readings[Signal.CPU] = Reading(host.cpu_ratio, rise, float(host.cores), host.at_s)
        if host.swap_total_bytes and host.swap_used_bytes is not None:
            swap = host.swap_used_bytes / host.swap_total_bytes
            readings[Signal.SWAP] = Reading(swap, swap, host.swap_total_bytes, host.at_s)
        pressure = host.memory_full_avg10_ratio
        readings[Signal.MEMORY_PRESSURE] = Reading(pressure, pressure, None, host.at_s)
        disk = _used_ratio(host.disk_total_bytes, host.disk_available_bytes)
        readings[Signal.DISK] = Reading(disk, disk, host.disk_total_bytes, host.at_s)
    if config.host.memory is not None:
        readings[Signal.PLATFORM_MEMORY] = _platform_memory(float(config.host.memory), tallied.memory)
    if config.host.cpu is not None:
        grace_s = config.shedding.startup_grace
        readings[Signal.PLATFORM_CPU] = _platform_cpu(config.host.cpu, tallied.cores, platform, grace_s, now_s)
    return readings


def _used_ratio(total: int | None, available: int | None) -> float | None:
    if not total or available is None:
        return None
    return min(1.0, max(0.0, (total - available) / total))


def _young_cores(platform: Platform, grace_s: float, now_s: float) -> float | None:
    """CPU of managed containers younger than `grace_s`; None where that of one is unknown. No inventory: nobody is known."""
    if platform.read_s is None:
        return None
    if now_s - platform.newest_start_s >= grace_s:
        return 0.0
    total = 0.0
    for service in platform.services.values():
        for container in service.holding:
            if container.started_s is not None and now_s - container.started_s >= grace_s:
                continue
            usage = platform.fresh(container, now_s, rounds=2)
            if usage is None or usage.cpu_cores is None:
                return None
            total += usage.cpu_cores
    return total


def _less_young(ratio: float | None, capacity: float, platform: Platform, grace_s: float, now_s: float) -> float | None:
    """What may raise a CPU level: use without that of containers that are starting up."""
    if ratio is None:
        return None
    young = _young_cores(platform, grace_s, now_s)
    return None if young is None else max(0.0, ratio - young / capacity)


def _platform_memory(capacity: float, sum_: Sum | None) -> Reading:
    """Footprints of all managed containers over `capacity`."""
    if sum_ is None:
        return Reading(None, None, capacity)
    return Reading(None if sum_.total is None else sum_.total / capacity, sum_.known / capacity, capacity, sum_.at_s)


def _platform_cpu(capacity: float, sum_: Sum | None, platform: Platform, grace_s: float, now_s: float) -> Reading:
    """Likewise their cores; those of young containers do not raise the level."""
    if sum_ is None:
        return Reading(None, None, capacity)
    return Reading(
        None if sum_.total is None else sum_.total / capacity,
        _less_young(sum_.known / capacity, capacity, platform, grace_s, now_s),
        capacity,
        sum_.at_s,
    )


def _full_in(memory: Reading, rate: float | None) -> float | None:
    """Seconds until memory is full at the fitted rate; None where it is not filling."""
    if rate is None or memory.value is None or memory.capacity is None:
        return None
    return max(0.0, memory.capacity * (1.0 - memory.value)) / rate


def _was_admitted(memory: Reading, soft: float, state: PolicyState, now_s: float) -> bool:
    """Whether memory is below soft, and no higher than starts were admitted to bring it: theirs is no filling host.

    Above the use at one's admission there may be what it was expected to need, and what all have that were admitted after it.
    """
    if memory.value is None or memory.capacity is None or memory.value >= soft:
        return False
    used = memory.value * memory.capacity
    starting = {flight.action.service for flight in state.flights if flight.action.kind is ActionKind.RESTORE}
    admitted = [
        (memo.base_bytes.get(Signal.MEMORY, 0.0), memo.restored_bytes or 0)
        for key, memo in state.memos.items()
        if key in starting or (memo.probation_until_s is not None and now_s < memo.probation_until_s)
    ]
    return any(used <= base + sum(need for later, need in admitted if later >= base) for base, _ in admitted)
