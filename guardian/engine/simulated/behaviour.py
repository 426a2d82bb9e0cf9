"""How one figure (bytes of memory or of page cache, cores of CPU) moves over time: as pieces of straight lines.

Straight lines let the simulation jump from one change to the next and still be exact in between, so that a calm day
costs nothing and a reading does not depend on how often one looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import ceil, inf
from typing import NamedTuple

STEP_S = 1.0


class Kind(StrEnum):
    STEADY = "steady"  # this much, at once
    RAMP = "ramp"  # this much more, at a rate; then it stays
    RAMP_TO = "ramp_to"  # up or down to this much, at a rate; then it stays
    LEAK = "leak"  # more and more, at a rate, without end
    SPIKE = "spike"  # this much more at once, for a while; then back
    BURST = "burst"  # a spike again and again


@dataclass(frozen=True, slots=True)
class Shape:
    """One behaviour of one figure. `amount` in bytes or cores, `rate` per second; what a kind does not use is 0."""

    kind: Kind
    amount: float = 0.0
    rate: float = inf
    for_s: float = 0.0
    every_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind is Kind.BURST and not 0 < self.for_s < self.every_s:
            raise ValueError("a burst needs `for` > 0, shorter than `every`")
        if self.rate <= 0 or min(self.amount, self.for_s) < 0:
            raise ValueError("amounts and times are at least 0, and rates more than 0")


def steady(amount: float) -> Shape:
    return Shape(Kind.STEADY, amount)


def ramp(amount: float, rate: float = inf) -> Shape:
    return Shape(Kind.RAMP, amount, rate)


def ramp_to(amount: float, rate: float = inf) -> Shape:
    return Shape(Kind.RAMP_TO, amount, rate)


def leak(rate: float) -> Shape:
    return Shape(Kind.LEAK, rate=rate)


def spike(amount: float, for_s: float) -> Shape:
    return Shape(Kind.SPIKE, amount, for_s=for_s)


def burst(amount: float, for_s: float, every_s: float) -> Shape:
    return Shape(Kind.BURST, amount, for_s=for_s, every_s=every_s)


class Piece(NamedTuple):
    """From `at_s` on, `value` and `slope` per second hold, until the next piece."""

    at_s: float
    value: float
    slope: float = 0.0


def pieces(shape: Shape, start: float, at_s: float) -> Iterator[Piece]:
    """The pieces of a figure that behaves like this from `at_s` on, having been `start` until then. May be endless."""
    if shape.kind is Kind.STEADY:
        yield Piece(at_s, shape.amount)
    elif shape.kind is Kind.LEAK:
        yield Piece(at_s, start, shape.rate)
    elif shape.kind is Kind.SPIKE:
        yield Piece(at_s, start + shape.amount)
        yield Piece(at_s + shape.for_s, start)
    elif shape.kind is Kind.BURST:
        for number in count():
            began_s = at_s + number * shape.every_s
            yield Piece(began_s, start + shape.amount)
            yield Piece(began_s + shape.for_s, start)
    else:
        end = shape.amount if shape.kind is Kind.RAMP_TO else start + shape.amount
        if shape.rate != inf and end != start:
            yield Piece(at_s, start, shape.rate if end > start else -shape.rate)
        yield Piece(at_s + abs(end - start) / shape.rate, end)


def stairs(steps: Iterator[Piece]) -> Iterator[Piece]:
    """The same with flat pieces only: a slope becomes steps of `STEP_S`, each at the slope's mean.

    CPU moves in stairs, because what each gets of shared cores is then constant between two changes.
    """
    piece = next(steps)
    while True:
        following = next(steps, None)
        if piece.slope == 0.0:
            yield piece
        else:
            lasts_s = inf if following is None else following.at_s - piece.at_s
            for number in count() if lasts_s == inf else range(ceil(lasts_s / STEP_S)):
                middle_s = (number * STEP_S + min((number + 1) * STEP_S, lasts_s)) / 2
                yield Piece(piece.at_s + number * STEP_S, piece.value + piece.slope * middle_s)
        if following is None:
            return
        piece = following


class Track:
    """A figure now: the piece that holds, and those to come."""

    __slots__ = ("_following", "_piece", "_rest", "next_s")

    def __init__(self, rest: Iterator[Piece]) -> None:
        self._rest = rest
        self._piece = next(rest)
        self._peek()

    def _peek(self) -> None:
        self._following = next(self._rest, None)
        self.next_s = inf if self._following is None else self._following.at_s

    def step(self) -> None:
        """Go on to the next piece, at `next_s`."""
        if self._following is not None:
            self._piece = self._following
            self._peek()

    @property
    def slope(self) -> float:
        return self._piece.slope

    def at(self, now_s: float) -> float:
        piece = self._piece
        value = piece.value + piece.slope * (now_s - piece.at_s) if piece.slope else piece.value
        return max(0.0, value)


def flat(value: float, at_s: float) -> Track:
    """A figure that stays as it is."""
    return Track(iter((Piece(at_s, value),)))
