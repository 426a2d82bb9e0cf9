"""How soon to look again: far from every mark as seldom as the file says, close to one up to ten times a second.

The rule is earlyoom's (`sleep_time_ms` in its main.c): sleep no longer than memory needs for the way to the next mark
when it fills as fast as is plausible. earlyoom reckons with 6 GB/s whatever the host; here the plausible is bounded by
what a stop could still answer, and by what is seen, so that a host which is merely small, or well used, is left in peace.
CPU signals are means of ten seconds, and pressure and swap only support: they are in no hurry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from guardian.config.schema import Config, Thresholds
from guardian.model import MEMORY_SIGNALS, Assessment, HostReading, Inventory, Level, Signal, SignalStatus
from guardian.policy.assess import SHEDDING
from guardian.policy.levels import FIT_S, FIT_SLACK_S
from guardian.policy.shed import amount
from guardian.policy.state import PolicyState

SHORTEST_S = 0.1
CALM_S = 3.0  # a pace is given up only after nothing has asked for it for this long
PLAUSIBLE_BYTES_PER_S = 2.0 * 1024**3  # one process that writes to each 4 KiB page of a new GiB: 1.5 to 2.2 measured
PLAUSIBLE_PART = 0.25  # … of the capacity, a second: a faster one is full, from a hard mark at 90%, before a stop can end
DOUBT = 2.0  # what is seen to rise may rise this many times as fast
RISE_LEAST_S = 1.0  # a rise within less is taken as one within this: two readings close together show noise
BUSY_CONTAINERS_S = 1.0  # between two rounds with the engine while all is not ok
AFTER_S = 0.02  # a crossing that is seen to come is looked at this long after it
TICK_PART = 4  # a tick is followed by a pause of three times its length at least


@dataclass(frozen=True, slots=True)
class Pace:
    """The present pace, and what the next one depends on. Times are monotonic seconds."""

    host_s: float  # from one tick to the next
    containers_s: float  # from one round with the engine to the next
    asked_s: float  # when `host_s`, or less, was last called for
    next_s: float  # to the next tick: `host_s`, or a little more, to come just after a crossing rather than long after it
    read_s: float | None = None  # when the use of the platform's containers was read …
    host_bytes: float | None = None  # … and what the host used then


def at_start(config: Config, now_s: float) -> Pace:
    """Before the first tick."""
    host_s = float(config.sampling.host)
    return Pace(host_s, min(float(config.sampling.containers), BUSY_CONTAINERS_S), now_s, host_s)


def follow(
    before: Pace,
    assessment: Assessment,
    host: HostReading | None,
    state: PolicyState,
    owing: bool,
    config: Config,
    now_s: float,
) -> Pace:
    """The pace after a tick. `owing`: the ledger has open entries; `state` is what the tick left.

    It quickens at once, and slows down only after CALM_S. Never above `sampling.host`, never below SHORTEST_S unless
    the file itself says so. What is unknown calls for nothing.
    """
    used = _used_bytes(host)
    read_s, host_bytes = _last_read(before, assessment, used)
    calm_s, at_rest_s = float(config.sampling.host), float(config.sampling.containers)
    reaches = tuple(_reaches(assessment, state, host_bytes, used, config, now_s))
    host_s, asked_s = _in_tenths(min((reach.at_worst_s for reach in reaches), default=math.inf), calm_s), now_s
    if host_s > before.host_s and now_s - before.asked_s < CALM_S:
        host_s, asked_s = before.host_s, before.asked_s
    busy = owing or host_s < calm_s or assessment.level is not Level.OK or any(map(_is_near, assessment.signals))
    containers_s = min(at_rest_s, max(BUSY_CONTAINERS_S, calm_s)) if busy else at_rest_s
    next_s = _just_after(min((reach.as_seen_s for reach in reaches), default=math.inf), host_s, calm_s)
    return Pace(host_s, containers_s, asked_s, next_s, read_s, host_bytes)


def use_age_s(
    pace: Pace,
    before: Assessment | None,
    listed: Inventory | None,
    state: PolicyState,
    owing: bool,
    host: HostReading | None,
    config: Config,
) -> float:
    """How old the containers' use may be in a tick that has just read `host`, in seconds; 0: read it now.

    `before` and `listed` are of the last tick. It may be old only where this tick can decide nothing by it: all was ok,
    nothing is owed or under way, and neither the host nor, by what the host has gained since, the platform can have come
    to a recover mark. It is never older than a round: then it would be unknown.
    """
    if before is None or listed is None or before.level is not Level.OK:
        return 0.0
    if owing or state.flights or pace.host_s < config.sampling.host:
        return 0.0
    used = _used_bytes(host)
    for status in before.signals:
        if status.signal is Signal.MEMORY:
            value = used
        elif status.signal is Signal.CPU:
            value = None if host is None or host.cpu_ratio is None else host.cpu_ratio * host.cores
        elif status.signal in (Signal.PLATFORM_MEMORY, Signal.PLATFORM_CPU):
            value = None if status.value is None else amount(status)
            if status.signal is Signal.PLATFORM_MEMORY:
                value = _at_worst(value, pace.host_bytes, used)
        else:
            continue
        if value is None or status.capacity is None or value >= status.recover * status.capacity:
            return 0.0
    return min(float(config.sampling.containers), listed.round_s)


def bearable_s(took_s: float, calm_s: float) -> float:
    """The quickest pace for a host on which a tick takes `took_s`: where all is slow, guardian must not add to it."""
    return min(calm_s, round(max(1, math.ceil(TICK_PART * took_s / SHORTEST_S)) * SHORTEST_S, 1))


@dataclass(frozen=True, slots=True)
class _Reach:
    """Seconds until a mark might act: at the fastest that is plausible, and at the speed that is seen."""

    at_worst_s: float
    as_seen_s: float = math.inf


def _reaches(
    assessment: Assessment,
    state: PolicyState,
    host_then: float | None,
    host_now: float | None,
    config: Config,
    now_s: float,
) -> Iterator[_Reach]:
    """Of each mark that would act."""
    rise = _rise(state, now_s)
    for status in assessment.signals:
        marks, used = config.thresholds.of(status.signal), amount(status)
        if status.signal not in MEMORY_SIGNALS or not isinstance(marks, Thresholds) or used is None or not status.capacity:
            continue
        if status.level is Level.HARD and (state.flights or state.landings):
            yield _Reach(0.0)  # relief is on its way, and what it brings decides what is next
        if status.signal is Signal.PLATFORM_MEMORY:
            used = max(used, _at_worst(used, host_then, host_now) or 0.0)
        rate = DOUBT * rise
        if used >= marks.recover * status.capacity:
            rate = max(rate, min(PLAUSIBLE_BYTES_PER_S, PLAUSIBLE_PART * status.capacity))
        for mark, lasting_s in ((marks.soft, marks.soft_for), (marks.hard, marks.hard_for)):
            if (left := mark * status.capacity - used) > 0 and rate > 0:
                yield _Reach(left / rate + lasting_s, left / rise + lasting_s if rise > 0 else math.inf)
        if rise > 0:  # at this rate memory is full, or within the horizon of it, in so long
            acts_at = status.capacity
            if status.signal is Signal.MEMORY and status.level is not Level.HARD:
                acts_at = max(marks.recover * status.capacity, status.capacity - rise * config.shedding.horizon)
            left = max(0.0, acts_at - used)
            yield _Reach(left / (DOUBT * rise), left / rise)


def _just_after(crossing_s: float, host_s: float, calm_s: float) -> float:
    """When to tick next, where a crossing is seen to come: between two ticks at the quickest pace, the next waits for it."""
    if host_s < 2 * SHORTEST_S and SHORTEST_S <= crossing_s < 2 * SHORTEST_S:
        return min(calm_s, crossing_s + AFTER_S)
    return host_s


def _rise(state: PolicyState, now_s: float) -> float:
    """Bytes a second: the steepest rise of the host's memory from one of the newest readings to the last; 0: it did not."""
    recent = [reading for reading in state.memory_readings if now_s - reading[0] <= FIT_S + FIT_SLACK_S]
    if not recent:
        return 0.0
    at_s, used = recent[-1]
    return max((used - before) / max(RISE_LEAST_S, at_s - before_s) for before_s, before in recent)


def _in_tenths(reach_s: float, calm_s: float) -> float:
    """A pace in whole steps of SHORTEST_S, so that it does not change with every reading."""
    if reach_s >= calm_s:
        return calm_s
    return min(calm_s, round(max(1, int(reach_s / SHORTEST_S + 1e-9)) * SHORTEST_S, 1))


def _last_read(before: Pace, assessment: Assessment, used: float | None) -> tuple[float | None, float | None]:
    """When the platform's containers were last read, and what the host used then; what is not known stays as it was."""
    platform = assessment.signal(Signal.PLATFORM_MEMORY)
    if platform is None or platform.at_s is None or platform.at_s == before.read_s or used is None:
        return before.read_s, before.host_bytes
    return platform.at_s, used


def _at_worst(known: float | None, host_then: float | None, host_now: float | None) -> float | None:
    """What the platform may use: what was read of it, and all that the host has gained since. None where that is not known."""
    if known is None or host_then is None or host_now is None:
        return None
    return known + max(0.0, host_now - host_then)


def _used_bytes(host: HostReading | None) -> float | None:
    if host is None or host.memory_total_bytes is None or host.memory_available_bytes is None:
        return None
    return float(host.memory_total_bytes - host.memory_available_bytes)


def _is_near(status: SignalStatus) -> bool:
    """Whether a shedding signal is at its recover mark, or above."""
    value = status.floor if status.value is None else status.value
    return status.signal in SHEDDING and value is not None and value >= status.recover
