"""A slice of what `make soak` does for weeks."""

from __future__ import annotations

from chaos.soak import soak


def test_after_each_trouble_of_half_a_day_all_is_back() -> None:
    """Through half a day of loads that do not fit and of faults at random, all is back after each, and nobody else was touched."""
    done = soak(seed=7, days=0.5)
    assert done.troubles >= 8
    assert done.sheds > 10
    assert done.restores > 10
