"""What a series of probes says of one service: pure. The rules are those of Docker's own health checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from guardian.config.schema import HealthConfig
from guardian.model import Health


@dataclass(frozen=True, slots=True)
class Course:
    """Of one run of a service, which began at `since_s` (monotonic); None where the engine does not tell."""

    since_s: float | None
    health: Health = Health.STARTING
    failures: int = 0  # in a row, those that count
    detail: str = ""  # why the newest probe failed; empty: it did not, or there was none


def after(course: Course, problem: str, at_s: float, config: HealthConfig) -> Course:
    """The course after one more probe, which ended at `at_s`; `problem` says why it failed, empty: it did not.

    One success makes it healthy, `retries` failures in a row unhealthy. Until the first success, failures within
    `start_period` of the start do not count.
    """
    if not problem:
        return replace(course, health=Health.HEALTHY, failures=0, detail="")
    if is_young(course, at_s, config):
        return replace(course, detail=problem)
    failures = course.failures + 1
    health = Health.UNHEALTHY if failures >= config.retries else course.health
    return replace(course, health=health, failures=failures, detail=problem)


def is_young(course: Course, at_s: float, config: HealthConfig) -> bool:
    """Whether it has not been well yet, and need not be."""
    young = course.since_s is not None and at_s - course.since_s < config.start_period
    return course.health is Health.STARTING and young


def worse(one: Health, other: Health) -> Health:
    """Of two checks of the same container; NONE where neither says anything."""
    order = (Health.UNHEALTHY, Health.STARTING, Health.HEALTHY, Health.NONE)
    return min(one, other, key=order.index)
