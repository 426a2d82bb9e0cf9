"""Rates from counters, taken over our own monotonic stamps: the engine's `precpu` is empty in one-shot stats. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.engine.protocol import RawStats

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
