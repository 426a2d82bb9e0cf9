"""From readings to levels: one small state machine per signal."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from guardian.config.schema import DiskThresholds, SupportThresholds, Thresholds
from guardian.model import Level
from guardian.policy.state import SignalState

CALM_S = 5.0  # hard -> soft after this long below hard
FIT_S = 3.0  # the fill rate is fitted over the newest readings of this span
FIT_SLACK_S = 0.5  # ticks are not exact: the fourth reading back may be a little older
FIT_LEAST_S = 2.0  # readings closer together than this (ticks that were woken) show noise, not a rate
FIT_READINGS = 4
FIT_STEP_S = 0.75  # ticks may be closer together than this: a jump would then be many steps, and look like a line


def run(running: float | None, on_side: bool | None, dt_s: float) -> float | None:
    """How long a value has been on one side: None when it is not; an unknown reading (None) neither ends nor lengthens it."""
    if on_side is None:
        return running
    if not on_side:
        return None
    return 0.0 if running is None else running + dt_s


def reached(running: float | None, needed_s: float) -> bool:
    return running is not None and running >= needed_s


def step(
    state: SignalState,
    thresholds: Thresholds | SupportThresholds | DiskThresholds,
    value: float | None,
    rise: float | None,
    now_s: float,
    dt_s: float,
    hard_at_once: bool = False,
    at_s: float | None = None,
) -> SignalState:
    """One reading later.

    `value` lowers the level and `rise` raises it; they differ where part of the value must not raise (CPU of young
    containers) or where only a lower bound is known. `dt_s` is the time since the last tick, already bounded.
    `hard_at_once` is the fill rate's verdict.
    """
    hard = None if isinstance(thresholds, SupportThresholds) else thresholds.hard
    hard_for = 0.0 if isinstance(thresholds, SupportThresholds) else thresholds.hard_for
    soft_run = run(state.soft_run_s, _at_least(value, rise, thresholds.soft), dt_s)
    hard_run = None if hard is None else run(state.hard_run_s, _at_least(value, rise, hard), dt_s)
    calm_run = None if hard is None else run(state.calm_run_s, _below(value, rise, hard), dt_s)
    recover_run = run(state.recover_run_s, _below(value, rise, thresholds.recover), dt_s)

    level = state.level
    if hard_at_once or (hard is not None and reached(hard_run, hard_for)):
        level = Level.HARD
    elif level is Level.HARD and reached(calm_run, CALM_S):
        level = Level.SOFT
    elif level is Level.OK and reached(soft_run, thresholds.soft_for):
        level = Level.SOFT
    if not hard_at_once and level is not Level.OK and reached(recover_run, thresholds.recover_for):
        level = Level.OK

    when = now_s if at_s is None else at_s
    return SignalState(
        level=level,
        since_s=now_s if level is not state.level else state.since_s,
        soft_run_s=soft_run,
        hard_run_s=hard_run,
        calm_run_s=calm_run if level is Level.HARD and not hard_at_once else None,
        recover_run_s=recover_run,
        counting=state.counting,
        uncounted_run_s=state.uncounted_run_s,
        crossed_soft_s=_crossed(state.crossed_soft_s, state.previous, soft_run, rise, thresholds.soft, when),
        crossed_hard_s=None if hard is None else _crossed(state.crossed_hard_s, state.previous, hard_run, rise, hard, when),
        previous=state.previous if rise is None else (when, rise),
    )


def _at_least(value: float | None, rise: float | None, mark: float) -> bool | None:
    """Whether what may raise the level is at `mark`; a known whole below it says no, even where that part is unknown."""
    if rise is None:
        return False if value is not None and value < mark else None
    return rise >= mark


def _below(value: float | None, rise: float | None, mark: float) -> bool | None:
    """Whether the whole is below `mark`; a known part at or above it says no, even where the whole is unknown."""
    if value is None:
        return False if rise is not None and rise >= mark else None
    return value < mark


def _crossed(
    known_s: float | None,
    previous: tuple[float, float] | None,
    running: float | None,
    value: float | None,
    mark: float,
    at_s: float,
) -> float | None:
    """When the value crossed `mark` upwards: between the last reading below it and the first one at or above it."""
    if running is None or value is None:
        return known_s if running is not None else None
    if known_s is not None:
        return known_s
    if previous is None or previous[1] >= mark or value <= previous[1]:
        return at_s
    before_s, before = previous
    return before_s + (at_s - before_s) * (mark - before) / (value - before)


def without_runs(state: SignalState) -> SignalState:
    """After a suspend: the level stays, every timer starts anew."""
    return replace(
        state, soft_run_s=None, hard_run_s=None, calm_run_s=None, recover_run_s=None, uncounted_run_s=None, previous=None
    )


def count_support(
    state: SignalState, known: bool, memory: float | None, recover: float, recover_for_s: float, dt_s: float
) -> SignalState:
    """Whether a supporting signal (swap, memory pressure), whose value is `known` now or not, makes memory soft.

    It begins to count only while that is known, and memory known to be at or above its recover mark. It ceases when the
    signal itself is ok again, or memory has been below that mark for `recover_for_s`.
    """
    above = None if memory is None else memory >= recover
    uncounted = run(state.uncounted_run_s, None if above is None else not above, dt_s) if state.counting else None
    if state.level is Level.OK or reached(uncounted, recover_for_s):
        return replace(state, counting=False, uncounted_run_s=None) if state.counting else state
    return replace(state, counting=state.counting or (known and above is True), uncounted_run_s=uncounted)


def keep_newest(readings: tuple[tuple[float, float], ...], at_s: float, used_bytes: float) -> tuple[tuple[float, float], ...]:
    """Add a memory reading, drop those older than the fit's span. The same reading twice counts once.

    The newest is always the last; before it stand only such as are FIT_STEP_S apart, however often memory is read.
    """
    if readings and at_s <= readings[-1][0]:
        return readings
    if len(readings) > 1 and readings[-1][0] - readings[-2][0] < FIT_STEP_S:
        readings = readings[:-1]
    kept = tuple(reading for reading in readings if at_s - reading[0] <= FIT_S + FIT_SLACK_S)
    return (*kept, (at_s, used_bytes))


def fill_rate(readings: tuple[tuple[float, float], ...]) -> float | None:
    """Bytes a second, by least squares; None where there are too few readings or memory is not filling.

    The newest reading must be the highest: one that has begun to fall is not filling, whatever the line says. Neither is
    one jump a line: a service that starts takes its memory at once, and then no more; so the largest step is left out.
    """
    if len(readings) < FIT_READINGS or readings[-1][1] < max(used for _, used in readings):
        return None
    origin = readings[0][0]
    if readings[-1][0] - origin < FIT_LEAST_S:
        return None
    times = [at_s - origin for at_s, _ in readings]
    mean_t = sum(times) / len(times)
    mean_u = sum(used for _, used in readings) / len(readings)
    spread = sum((t - mean_t) ** 2 for t in times)
    if spread <= 0:
        return None
    slope = sum((t - mean_t) * (used - mean_u) for t, (_, used) in zip(times, readings, strict=True)) / spread
    steps = [(after[1] - before[1], after[0] - before[0]) for before, after in pairwise(readings)]
    largest, lasted_s = max(steps)
    without_jump = (readings[-1][1] - readings[0][1] - largest) / (readings[-1][0] - origin - lasted_s)
    rate = min(slope, without_jump)
    return rate if rate > 0 else None
