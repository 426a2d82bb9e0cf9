"""The level of one signal: `for` times, hysteresis, unknown readings, crossings and the fill rate."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from support.policy import marks, support_marks

from guardian.config.schema import SupportThresholds, Thresholds
from guardian.model import Level
from guardian.policy.levels import count_support, fill_rate, keep_newest, run, step, without_runs
from guardian.policy.state import SignalState

OK, SOFT, HARD = Level.OK, Level.SOFT, Level.HARD
MEMORY = marks(soft_for=10, recover_for=60)
CPU = marks(soft=0.85, hard=0.97, recover=0.65, soft_for=60, hard_for=20, recover_for=60)


def play(
    values: Iterable[float | None],
    thresholds: Thresholds | SupportThresholds = MEMORY,
    state: SignalState | None = None,
    dt_s: float = 1.0,
) -> SignalState:
    """One reading every `dt_s`, from second 0 on."""
    state = state or SignalState()
    for number, value in enumerate(values):
        state = step(state, thresholds, value, value, number * dt_s, dt_s)
    return state


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ([0.8] * 10, OK),  # for 9 s
        ([0.8] * 11, SOFT),  # for 10 s, and exactly at the mark
        ([0.7999] * 100, OK),
        ([0.85] * 9 + [0.79] + [0.85] * 9, OK),  # the run ended in between
        ([0.85] * 6 + [None] * 30 + [0.85] * 4, OK),  # 9 s known
        ([0.85] * 6 + [None] * 30 + [0.85] * 5, SOFT),
        ([None] * 100, OK),
        ([0.9], HARD),  # memory: no waiting
    ],
)
def test_a_level_rises_once_the_value_was_at_its_mark_for_its_time(values: list[float | None], level: Level) -> None:
    """A level rises once the value was at its mark for its time; the wrong side ends the run, an unknown reading does not."""
    assert play(values).level is level


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ([0.98] * 20, OK),
        ([0.98] * 21, HARD),
        ([0.98] * 20 + [0.96] + [0.98] * 20, OK),  # soft has not lasted, nor has hard
        ([0.98] * 20 + [0.96] * 41, SOFT),
    ],
)
def test_cpu_is_hard_only_after_its_own_time(values: list[float | None], level: Level) -> None:
    """CPU is hard only after its own time, and soft meanwhile only after that of soft."""
    assert play(values, CPU).level is level


@pytest.mark.parametrize(
    ("after", "level"),
    [
        ([0.85] * 5, HARD),
        ([0.85] * 6, SOFT),
        ([0.85] * 4 + [0.95] + [0.85] * 5, HARD),
        ([0.85] * 3 + [None] * 20 + [0.85] * 2, HARD),
        ([0.85] * 3 + [None] * 20 + [0.85] * 3, SOFT),
        ([0.5] * 6, SOFT),
        ([0.5] * 60, SOFT),
        ([0.5] * 61, OK),
    ],
)
def test_hard_falls_to_soft_after_five_seconds_below_hard(after: list[float | None], level: Level) -> None:
    """Hard falls to soft after five seconds below hard, and to ok like soft."""
    assert play([0.95, *after]).level is level


@pytest.mark.parametrize(
    ("after", "level"),
    [
        ([0.69] * 60, SOFT),
        ([0.69] * 61, OK),
        ([0.70] * 500, SOFT),  # at recover is not below it
        ([0.79] * 500, SOFT),
        ([0.69] * 50 + [0.71] + [0.69] * 50, SOFT),
        ([0.69] * 50 + [None] * 100 + [0.69] * 10, SOFT),
        ([0.69] * 50 + [None] * 100 + [0.69] * 11, OK),
        ([None] * 500, SOFT),
    ],
)
def test_soft_is_over_only_after_lasting_below_recover(after: list[float | None], level: Level) -> None:
    """Soft is over only after lasting below recover: not in between the marks, and not by unknown readings."""
    assert play([0.85] * 11 + after).level is level


def test_wobble_between_recover_and_soft_changes_nothing_from_ok() -> None:
    """Starting from ok, wobble between recover and soft changes nothing."""
    state = play([0.71, 0.79, 0.75, 0.70] * 100)
    assert (state.level, state.since_s) == (OK, 0.0)


def test_an_unknown_reading_neither_ends_nor_lengthens_a_run() -> None:
    """An unknown reading neither ends nor lengthens a run; a known one on the wrong side ends it."""
    assert [run(4.0, None, 1.0), run(4.0, True, 1.0), run(4.0, False, 1.0), run(None, True, 1.0), run(None, None, 1.0)] == [
        4.0,
        5.0,
        None,
        0.0,
        None,
    ]


@pytest.mark.parametrize(
    ("value", "rise", "level"),
    [
        (0.95, 0.5, OK),  # all of it is start-up
        (None, 0.95, HARD),  # what is known suffices
        (None, 0.5, OK),  # a lower bound below soft says nothing
        (0.95, None, OK),  # nobody knows what part of it may raise
    ],
)
def test_only_what_may_raise_a_level_raises_it(value: float | None, rise: float | None, level: Level) -> None:
    """Only what may raise a level raises it, be the whole more or unknown."""
    assert step(SignalState(), marks(), value, rise, 0.0, 1.0).level is level


@pytest.mark.parametrize(
    ("value", "rise", "running"), [(None, 0.75, None), (None, 0.5, 3.0), (0.5, None, 4.0), (0.75, 0.1, None)]
)
def test_only_the_whole_value_lets_a_level_fall(value: float | None, rise: float | None, running: float | None) -> None:
    """Only the whole value lets a level fall; a known part of it that is too much ends the calm."""
    before = SignalState(level=SOFT, recover_run_s=3.0)
    assert step(before, MEMORY, value, rise, 0.0, 1.0).recover_run_s == running


def test_a_known_whole_below_soft_ends_the_run_even_where_its_part_is_unknown() -> None:
    """A known whole below soft ends the run, even where the part that may raise is unknown."""
    before = SignalState(soft_run_s=9.0)
    assert step(before, MEMORY, 0.5, None, 0.0, 1.0).soft_run_s is None
    assert step(before, MEMORY, 0.85, None, 0.0, 1.0).soft_run_s == 9.0


def test_the_fill_rate_makes_memory_hard_at_once() -> None:
    """The fill rate makes memory hard at once, and its calm begins only when it no longer does."""
    state = step(SignalState(), MEMORY, 0.75, 0.75, 0.0, 1.0, hard_at_once=True)
    assert state.level is HARD
    for now_s in range(1, 7):
        assert state.level is HARD
        state = step(state, MEMORY, 0.75, 0.75, float(now_s), 1.0)
    assert state.level is SOFT


def test_a_signal_that_only_supports_is_never_hard() -> None:
    """A signal that only supports memory is never hard."""
    assert play([1.0] * 100, support_marks(0.2, 0.05, soft_for=10)).level is SOFT


def test_since_is_when_the_level_was_reached() -> None:
    """`since` is when the level was reached, and stays while it lasts."""
    assert play([0.85] * 50).since_s == 10.0


# --- crossings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "soft_s", "hard_s"),
    [
        ([0.7, 0.9], 0.5, 1.0),
        ([0.6, 1.0], 0.5, 0.75),
        ([0.85, 0.95], 0.0, 0.5),  # the first reading of all was above soft
        ([0.7, 0.9, 0.95, 0.99], 0.5, 1.0),  # stays where it was first crossed
        ([0.7, None, None, 1.0], 1.0, 2.0),  # over what is unknown, too
        ([0.7, 0.9, 0.7, 0.9], 2.5, 3.0),  # a new run, a new crossing
        ([0.7, 0.9, 0.6], None, None),
    ],
)
def test_a_crossing_is_dated_by_interpolation(values: list[float | None], soft_s: float | None, hard_s: float | None) -> None:
    """A crossing is dated by interpolation between the last reading below the mark and the first one at or above it."""
    state = play(values)
    assert state.crossed_soft_s == (None if soft_s is None else pytest.approx(soft_s))
    assert state.crossed_hard_s == (None if hard_s is None else pytest.approx(hard_s))


def test_a_crossing_is_dated_by_the_time_of_its_reading() -> None:
    """A crossing is dated by the time of its reading, not of the tick that sees it."""
    state = step(SignalState(), MEMORY, 0.7, 0.7, 10.4, 1.0, at_s=10.0)
    state = step(state, MEMORY, 0.9, 0.9, 11.4, 1.0, at_s=11.0)
    assert state.crossed_soft_s == pytest.approx(10.5)


def test_a_suspend_clears_every_timer_and_keeps_the_level() -> None:
    """A suspend clears every timer and keeps the level."""
    state = without_runs(play([0.95] + [0.65] * 3))
    assert state.level is HARD
    assert (state.soft_run_s, state.hard_run_s, state.calm_run_s, state.recover_run_s, state.previous) == (None,) * 5


# --- support --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "counting", "memory", "counts"),
    [
        (SOFT, False, 0.70, True),
        (SOFT, False, 0.69, False),
        (SOFT, False, None, False),  # not known to be at recover
        (SOFT, True, None, True),  # nor known to be below it
        (SOFT, True, 0.69, True),  # a moment below does not end it
        (OK, True, 0.75, False),
        (OK, False, 0.75, False),
    ],
)
def test_support_begins_to_count_only_at_or_above_recover(
    level: Level, counting: bool, memory: float | None, counts: bool
) -> None:
    """A supporting signal begins to count only while memory is known to be at or above recover."""
    assert count_support(SignalState(level=level, counting=counting), True, memory, 0.7, 60, 1.0).counting is counts


def test_support_that_is_unknown_does_not_begin_to_count() -> None:
    """A supporting signal whose value is unknown does not begin to count."""
    assert not count_support(SignalState(level=SOFT), False, 0.75, 0.7, 60, 1.0).counting


@pytest.mark.parametrize(
    ("memory", "counts"),
    [([0.6] * 60, True), ([0.6] * 61, False), ([0.6] * 60 + [0.7] + [0.6] * 60, True), ([0.6] * 60 + [None] * 60, True)],
)
def test_support_ceases_once_memory_was_below_recover_for_its_time(memory: list[float | None], counts: bool) -> None:
    """A supporting signal ceases to count once memory was below recover for its time."""
    state = SignalState(level=SOFT, counting=True)
    for value in memory:
        state = count_support(state, True, value, 0.7, 60, 1.0)
    assert state.counting is counts


# --- fill rate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "rate"),
    [
        ([(0, 0), (1, 100), (2, 200), (3, 300)], 100.0),
        ([(0, 0), (0.8, 80), (1.9, 190), (3, 300)], 100.0),  # ticks are not exact
        ([(0, 0), (1, 100), (2, 200)], None),  # three are too few
        ([(0, 300), (1, 200), (2, 100), (3, 0)], None),
        ([(0, 100), (1, 100), (2, 100), (3, 100)], None),
        ([(0, 0), (1, 200), (2, 300), (3, 290)], None),  # it has begun to fall
        ([(0, 0), (1, 0), (2, 900), (3, 900)], None),  # one jump is a service that started
        ([(0, 0), (1, 100), (2, 1100), (3, 1200)], 100.0),  # a jump while it fills counts once, not for ever
        ([(0, 0), (0.2, 100), (0.4, 200), (0.6, 300)], None),  # woken ticks, close together, show noise
        ([], None),
    ],
)
def test_the_fill_rate_is_a_line_through_at_least_four_readings_that_do_not_fall(
    readings: list[tuple[float, float]], rate: float | None
) -> None:
    """The fill rate is a line through at least four readings that do not fall; one jump is no line."""
    assert fill_rate(tuple(readings)) == (None if rate is None else pytest.approx(rate))


def test_only_the_newest_three_seconds_are_kept_and_each_reading_once() -> None:
    """Only the newest three seconds of readings are kept, and each reading once."""
    readings: tuple[tuple[float, float], ...] = ()
    for at_s in (0.0, 1.0, 1.0, 2.0, 3.0, 2.5, 4.0, 5.0):
        readings = keep_newest(readings, at_s, 10 * at_s)
    assert readings == ((2.0, 20.0), (3.0, 30.0), (4.0, 40.0), (5.0, 50.0))


@pytest.mark.parametrize("step_s", [0.1, 0.3, 1.0])
def test_the_fill_rate_does_not_depend_on_the_pace(step_s: float) -> None:
    """A steady fill has the same rate at any pace, from no more readings than a slow pace has."""
    readings: tuple[tuple[float, float], ...] = ()
    for number in range(round(6.0 / step_s) + 1):
        readings = keep_newest(readings, number * step_s, 100 * number * step_s)
    assert fill_rate(readings) == pytest.approx(100.0)
    assert len(readings) <= 6
    assert readings[-1] == (pytest.approx(6.0), pytest.approx(600.0))


@pytest.mark.parametrize("step_s", [0.1, 1.0])
@pytest.mark.parametrize("starts_s", [1.0, 1.25, 1.5, 1.75])
def test_a_jump_that_a_quick_pace_sees_in_steps_is_still_a_jump(step_s: float, starts_s: float) -> None:
    """A service that takes its memory in half a second looks no more like a filling host at a quick pace than at a slow one."""
    readings: tuple[tuple[float, float], ...] = ()
    for number in range(round(5.0 / step_s)):
        at_s = number * step_s
        readings = keep_newest(readings, at_s, 500 * min(1.0, max(0.0, (at_s - starts_s) / 0.5)))
        assert (fill_rate(readings) or 0.0) <= 500 / 4 + 1e-6
