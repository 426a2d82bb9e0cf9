"""How a figure of a simulated container moves over time."""

from __future__ import annotations

from itertools import islice

import pytest

from guardian.engine.simulated.behaviour import (
    Kind,
    Piece,
    Shape,
    Track,
    burst,
    leak,
    pieces,
    ramp,
    ramp_to,
    spike,
    stairs,
    steady,
)


def value_at(shape: Shape, start: float, at_s: float) -> float:
    """Of a figure that was `start` and behaves so from 10 s on."""
    track = Track(pieces(shape, start, 10.0))
    while track.next_s <= at_s:
        track.step()
    return track.at(at_s)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (steady(30), {10: 30, 99: 30}),
        (ramp(40, 10), {10: 100, 12: 120, 14: 140, 99: 140}),
        (ramp(40), {10: 140, 99: 140}),
        (ramp_to(60, 10), {10: 100, 12: 80, 14: 60, 99: 60}),
        (ramp_to(100, 10), {10: 100, 99: 100}),
        (leak(2), {10: 100, 60: 200, 1010: 2100}),
        (spike(50, 5), {10: 150, 14.9: 150, 15: 100, 99: 100}),
        (burst(50, 2, 10), {10: 150, 12: 100, 19: 100, 20: 150, 21: 150, 22: 100, 1010: 150, 1013: 100}),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Shape) else "",
)
def test_each_behaviour_follows_its_course(shape: Shape, expected: dict[float, float]) -> None:
    """Each behaviour follows its course."""
    assert {at_s: value_at(shape, 100, at_s) for at_s in expected} == pytest.approx(expected)


def test_stairs_keep_the_mean_of_a_slope_and_end_where_it_ends() -> None:
    """Stairs keep the mean of a slope, and end where it ends."""
    steps = list(stairs(pieces(ramp(2.5, 1.0), 0.0, 10.0)))
    assert steps == [Piece(10, 0.5), Piece(11, 1.5), Piece(12, 2.25), Piece(12.5, 2.5)]


def test_stairs_of_a_leak_never_end() -> None:
    """Stairs of a leak never end."""
    values = [piece.value for piece in islice(stairs(pieces(leak(1.0), 0.0, 0.0)), 4)]
    assert values == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": Kind.BURST, "amount": 1, "for_s": 10, "every_s": 10},
        {"kind": Kind.BURST, "amount": 1, "for_s": 0, "every_s": 10},
        {"kind": Kind.RAMP, "amount": 1, "rate": 0},
        {"kind": Kind.SPIKE, "amount": -1, "for_s": 1},
    ],
)
def test_a_behaviour_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """A behaviour that makes no sense is refused."""
    with pytest.raises(ValueError, match=r"at least 0|shorter than"):
        Shape(**wrong)  # type: ignore[arg-type]
