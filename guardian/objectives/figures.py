"""How sums become figures: pure. Percentiles come from buckets, and are rounded up: by at most `ERROR` of their value.

Buckets are a ninth of a power of two apart (2^(1/8) = 1.0905), as in histograms with exponential buckets (Prometheus' native
ones, schema 3): small to keep, to add up and to search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from guardian.objectives.rows import PhaseHour, ServiceHour

PER_DOUBLING = 8
ERROR = 2 ** (1 / PER_DOUBLING) - 1  # 0.0905: a percentile is at most so much above the true one
LEAST_S = 1e-4  # shorter answers are in the first bucket

_Number = TypeVar("_Number", int, float)


def bucket(seconds: float) -> int:
    """The number of the bucket that an answer belongs to: the smallest whose bound is not below it."""
    return math.ceil(round(PER_DOUBLING * math.log2(max(seconds, LEAST_S)), 9))


def bound_s(number: int) -> float:
    """The longest answer in that bucket."""
    return float(2.0 ** (number / PER_DOUBLING))


def percentile(weights: Mapping[int, float], part: float) -> int | None:
    """The smallest key that keys up to it make at least `part` of all weight; None where there is none (nearest rank)."""
    total = math.fsum(weights.values())
    if total <= 0:
        return None
    reached = 0.0
    for key in sorted(weights):
        reached += weights[key]
        if reached >= part * total - 1e-9 * total:
            return key
    return max(weights)


def answer_s(answers: Mapping[int, int], part: float) -> float | None:
    """A percentile of the time that answers took, rounded up by at most ERROR; None where there was no answer."""
    found = percentile(answers, part)
    return None if found is None else bound_s(found)


def slower(answers: Mapping[int, int], than_s: float) -> int:
    """How many answers may have taken longer: those in a bucket whose bound is above `than_s`."""
    return sum(count for number, count in answers.items() if bound_s(number) > than_s)


def percent(ratio: float) -> int:
    """In whole percent, rounded up."""
    return math.ceil(round(ratio * 100, 6))


def add(into: dict[int, _Number], more: Mapping[int, _Number]) -> None:
    for key, value in more.items():
        into[key] = into.get(key, type(value)(0)) + value


_SUMS = (
    "up_s", "unhealthy_s", "down_s", "shed_s", "absent_s", "healthy_s", "probes", "failures", "use_s", "byte_s", "core_s",
    "network_s", "rx_bytes", "tx_bytes", "completed_s",
)  # fmt: skip


def merge_service(into: ServiceHour | None, more: ServiceHour) -> ServiceHour:
    """The sum of both; `more` is the later. `into` is changed; None: a copy of `more`."""
    if into is None:
        copied = msgspec.structs.replace(more)
        copied.answers = dict(more.answers)
        return copied
    for name in _SUMS:
        setattr(into, name, getattr(into, name) + getattr(more, name))
    add(into.answers, more.answers)
    into.first_wall_s, into.last_wall_s = min(into.first_wall_s, more.first_wall_s), max(into.last_wall_s, more.last_wall_s)
    into.most_bytes, into.most_cores = max(into.most_bytes, more.most_bytes), max(into.most_cores, more.most_cores)
    into.phase, into.http, into.network = more.phase, more.http or into.http, more.network
    return into


def merge_phase(into: PhaseHour | None, more: PhaseHour) -> PhaseHour:
    """Likewise."""
    if into is None:
        copied = msgspec.structs.replace(more)
        copied.memory_s, copied.cpu_s = dict(more.memory_s), dict(more.cpu_s)
        return copied
    add(into.memory_s, more.memory_s)
    add(into.cpu_s, more.cpu_s)
    for name in ("use_s", "byte_s", "core_s"):
        setattr(into, name, getattr(into, name) + getattr(more, name))
    into.name, into.memory_budget_bytes, into.cpu_budget_cores = more.name, more.memory_budget_bytes, more.cpu_budget_cores
    return into
