"""Rates from counters, taken over our own monotonic stamps: the engine's `precpu` is empty in one-shot stats. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from guardian.engine.protocol import RawStats

CPU_WINDOW_S = 10.0  # a container's CPU and the host's are means over this, so that the two can be compared
CPU_FIRST_S = 0.9  # … and unknown below this
SHORTEST_S = 0.2  # over less, the counter's steps and the answer's delay outweigh the use


@dataclass(frozen=True, slots=True)
class CpuRate:
    """CPU use of one container, in cores; `base` is the reading that the next rate is taken from."""

    base: RawStats
    cores: float | None = None


def advance(rate: CpuRate | None, reading: RawStats) -> CpuRate:
    """The rate as of `reading`.

    Unknown for a first reading, for one without the counter, and when the counter went back (the container was restarted).
    A reading that comes too soon after the last one keeps its rate, and its base, so that frequent readings still add up.
    """
    if rate is None or rate.base.cpu_total_s is None or reading.cpu_total_s is None:
        return CpuRate(reading)
    used_s = reading.cpu_total_s - rate.base.cpu_total_s
    passed_s = reading.at_s - rate.base.at_s
    if used_s < 0:
        return CpuRate(reading)
    if passed_s < SHORTEST_S:
        return rate
    return CpuRate(reading, used_s / passed_s)


class CpuMean:
    """Cores in use, as the mean over the newest 10 s of readings."""

    __slots__ = ("_readings",)

    def __init__(self) -> None:
        self._readings: deque[tuple[float, float]] = deque()

    def add(self, at_s: float, total_s: float | None) -> float | None:
        """None before a second of readings is there, and after a counter that went back (a restart)."""
        if total_s is None:
            return None
        readings = self._readings
        if readings and total_s < readings[-1][1]:
            readings.clear()
        if not readings or at_s - readings[-1][0] >= CPU_FIRST_S:
            readings.append((at_s, total_s))
        while len(readings) > 2 and at_s - readings[1][0] >= CPU_WINDOW_S:
            readings.popleft()
        first_s, first_total_s = readings[0]
        return None if at_s - first_s < CPU_FIRST_S else (total_s - first_total_s) / (at_s - first_s)
