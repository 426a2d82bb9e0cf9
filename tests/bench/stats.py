"""Numbers about numbers. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Of `count` runs of one measurement, all in the figure's unit."""

    count: int
    least: float
    median: float
    p99: float
    most: float

    def plus(self, offset: float) -> Summary:
        """The same runs, each with `offset` added."""
        return Summary(self.count, self.least + offset, self.median + offset, self.p99 + offset, self.most + offset)


def summarise(values: Sequence[float]) -> Summary:
    """Raises ValueError where there is no value: a figure that was not measured has none."""
    if not values:
        raise ValueError("no run, no figure")
    return Summary(len(values), min(values), statistics.median(values), percentile(values, 0.99), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed: nearest rank, never between two runs."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
