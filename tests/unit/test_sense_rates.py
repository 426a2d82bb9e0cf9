"""CPU rates from counters."""

from __future__ import annotations

import pytest

from guardian.engine.protocol import RawStats
from guardian.sense.rates import CpuMean, CpuRate, advance


def rates(*readings: tuple[float, float | None]) -> list[float | None]:
    """Readings are (at, CPU seconds)."""
    rate: CpuRate | None = None
    found = []
    for at_s, cpu_s in readings:
        rate = advance(rate, RawStats(at_s, cpu_total_s=cpu_s))
        found.append(rate.cores)
    return found


def test_a_first_reading_has_no_rate() -> None:
    """A first reading has no rate: unknown, not zero."""
    assert rates((100.0, 5.0)) == [None]


def test_the_rate_is_cpu_seconds_over_our_own_seconds() -> None:
    """The rate is CPU seconds over the seconds between our own stamps."""
    assert rates((100.0, 5.0), (104.0, 7.0), (106.0, 7.0)) == [None, 0.5, 0.0]


def test_a_counter_that_goes_back_has_no_rate() -> None:
    """A counter that goes back, as after a restart, has no rate until the next reading."""
    assert rates((100.0, 5.0), (105.0, 0.2), (110.0, 1.2)) == [None, None, pytest.approx(0.2)]


def test_a_reading_without_the_counter_has_no_rate() -> None:
    """A reading without the counter has no rate, and gives none to the next."""
    assert rates((100.0, 5.0), (105.0, None), (110.0, 6.0), (115.0, 7.0)) == [None, None, None, 0.2]


def test_a_reading_too_soon_keeps_the_rate() -> None:
    """A reading within 0.2 s keeps the rate before it."""
    assert rates((100.0, 5.0), (101.0, 6.0), (101.1, 6.4)) == [None, 1.0, 1.0]


def test_readings_that_all_come_soon_still_add_up_to_a_rate() -> None:
    """Readings that all come within 0.2 s of each other still add up to a rate."""
    found = rates(*((100.0 + tick / 8, tick / 16) for tick in range(9)))
    assert found[:2] == [None, None]
    assert found[2:] == [0.5] * 7


# --- the mean -------------------------------------------------------------------------------------------------------


def test_the_mean_is_over_the_newest_ten_seconds() -> None:
    """The mean is unknown at first, and then that of at most ten seconds."""
    mean, total_s = CpuMean(), 50.0
    assert mean.add(100.0, total_s) is None
    for second in range(1, 11):
        total_s += 0.5
        assert mean.add(100.0 + second, total_s) == pytest.approx(0.5)
    for second in range(1, 11):
        total_s += 1.5
        assert mean.add(110.0 + second, total_s) == pytest.approx(0.5 + second / 10)


def test_a_counter_that_went_back_is_unknown_and_not_negative() -> None:
    """After a restart the counter begins anew: the mean is unknown until there is a second of it."""
    mean = CpuMean()
    assert [mean.add(0.0, 10.0), mean.add(1.0, 11.0)] == [None, 1.0]
    assert mean.add(2.0, 0.2) is None
    assert mean.add(2.5, 0.4) is None
    assert mean.add(3.0, 0.7) == pytest.approx(0.5)


def test_a_counter_that_is_unknown_is_an_unknown_mean() -> None:
    """A counter that cannot be read is no zero, and does not end the readings before it."""
    mean = CpuMean()
    mean.add(0.0, 10.0)
    assert mean.add(1.0, None) is None
    assert mean.add(2.0, 12.0) == pytest.approx(1.0)


def test_many_readings_a_second_give_the_same_mean() -> None:
    """Readings at a quick pace change neither the window nor the mean."""
    mean = CpuMean()
    means = [mean.add(tick / 10, tick / 20) for tick in range(300)]
    assert means[:9] == [None] * 9
    assert [one for one in means[9:] if one != pytest.approx(0.5)] == []
