"""From sums to verdicts: pure. An objective that unknown time could decide either way is neither met nor missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from guardian.model import ServiceKey
from guardian.objectives.figures import answer_s, merge_phase, merge_service, percentile, slower
from guardian.objectives.rows import NO_TARGETS, Hour, PhaseHour, ServiceHour, Targets

PART = 0.95  # of answers, and of the time for utilisation


class Aim(StrEnum):
    RESPONSE_TIME = "response_time"
    AVAILABILITY = "availability"
    UTILISATION = "utilisation"
    HEALTHY = "healthy"


@dataclass(slots=True)
class Window:
    """All sums of a time, from `from_wall_s` to `until_wall_s`."""

    from_wall_s: float
    until_wall_s: float
    watched_s: float = 0.0
    first_wall_s: float = 0.0  # from when …
    last_wall_s: float = 0.0  # … until when guardian has looked
    targets: Targets = NO_TARGETS
    services: dict[ServiceKey, ServiceHour] = field(default_factory=dict)
    phases: dict[int, PhaseHour] = field(default_factory=dict)

    def add(self, hour: Hour) -> None:
        """A later hour than those before."""
        self.first_wall_s = min(self.first_wall_s, hour.first_wall_s) if self.watched_s else hour.first_wall_s
        self.watched_s += hour.watched_s
        self.last_wall_s = max(self.last_wall_s, hour.last_wall_s)
        self.targets = hour.targets
        for service in hour.services:
            key = ServiceKey(service.project, service.name)
            self.services[key] = merge_service(self.services.get(key), service)
        for phase in hour.phases:
            self.phases[phase.phase] = merge_phase(self.phases.get(phase.phase), phase)

    def copy(self) -> Window:
        """With sums of its own."""
        services = {key: merge_service(None, one) for key, one in self.services.items()}
        phases = {number: merge_phase(None, one) for number, one in self.phases.items()}
        return replace(self, services=services, phases=phases)

    def as_hour(self, number: int) -> Hour:
        """Its sums as those of one hour."""
        services, phases = list(self.services.values()), list(self.phases.values())
        return Hour(number, self.watched_s, self.first_wall_s, self.last_wall_s, self.targets, services, phases)

    @property
    def unknown_s(self) -> float:
        """When guardian did not run, or the engine did not answer."""
        return max(0.0, self.until_wall_s - self.from_wall_s - self.watched_s)

    def unknown_of(self, service: ServiceHour) -> float:
        """The same of one service: of the time since it was first seen, up to when it was last, if it has left since."""
        left = service.last_wall_s < self.last_wall_s
        until_wall_s = service.last_wall_s if left else self.until_wall_s
        return max(0.0, until_wall_s - max(self.from_wall_s, service.first_wall_s) - watched_s(service))


def watched_s(one: ServiceHour) -> float:
    return one.up_s + one.unhealthy_s + one.down_s + one.shed_s + one.absent_s + one.completed_s


def counted_s(one: ServiceHour) -> float:
    """The time that availability is a part of: not when there is no container of it, or when it has completed."""
    return one.up_s + one.unhealthy_s + one.down_s + one.shed_s


def availability(one: ServiceHour) -> float | None:
    """Up / (up + unhealthy + down + shed), of the time that is known."""
    counted = counted_s(one)
    return one.up_s / counted if counted > 0 and not is_one_shot(one) else None


def is_one_shot(one: ServiceHour) -> bool:
    """Whether it has mostly been done with its work: being there is not what it is for."""
    return one.completed_s > one.up_s + one.unhealthy_s


def healthy(one: ServiceHour) -> float | None:
    """Healthy / (healthy + unhealthy): of the time in which a check said either."""
    checked = one.healthy_s + one.unhealthy_s
    return one.healthy_s / checked if checked > 0 else None


@dataclass(frozen=True, slots=True)
class Finding:
    """One objective of one service or phase. `budget_ratio` is what is left of its error budget: 1 all, 0 none, below 0 overdrawn."""

    subject: str
    value: float | None
    met: bool | None  # None: unknown
    budget_ratio: float | None = None
    budget_s: float | None = None  # likewise in seconds, of objectives of time


@dataclass(frozen=True, slots=True)
class Verdict:
    """One objective of all that it is about: met if each is, missed if one is."""

    aim: Aim
    target: float  # seconds for the response time, else a ratio
    findings: tuple[Finding, ...] = ()

    @property
    def met(self) -> bool | None:
        answers = {one.met for one in self.findings}
        return False if False in answers else None if None in answers or not answers else True

    @property
    def worst(self) -> Finding | None:
        """The one that is farthest from the target."""
        known = [one for one in self.findings if one.value is not None]
        sign = -1 if self.aim in (Aim.AVAILABILITY, Aim.HEALTHY) else 1
        return max(known, key=lambda one: (one.met is False, sign * (one.value or 0.0), one.subject), default=None)


def verdicts(window: Window, targets: Targets | None = None) -> tuple[Verdict, ...]:
    """Of each objective that is set, by `targets`, or by those of the newest hour."""
    aims = targets or window.targets
    services = sorted(window.services.items())
    found: list[Verdict] = []
    if (target := aims.response_time_s) is not None:
        probed = ((str(key), one) for key, one in services if one.http)
        found.append(Verdict(Aim.RESPONSE_TIME, target, tuple(_response(name, one, target) for name, one in probed)))
    if (target := aims.availability_ratio) is not None:
        each = (_available(str(key), one, window.unknown_of(one), target) for key, one in services if _is_there(one))
        found.append(Verdict(Aim.AVAILABILITY, target, tuple(each)))
    if (target := aims.utilisation_ratio) is not None:
        found.append(Verdict(Aim.UTILISATION, target, tuple(_used(window.phases, target))))
    if (target := aims.healthy_ratio) is not None:
        checked = (_well(str(key), one, target) for key, one in services if one.healthy_s + one.unhealthy_s > 0)
        found.append(Verdict(Aim.HEALTHY, target, tuple(checked)))
    return tuple(found)


def _is_there(one: ServiceHour) -> bool:
    """Whether it has, or had, a container: what was never deployed has no availability, and neither has a one-shot."""
    return counted_s(one) > 0 and not is_one_shot(one)


def _response(subject: str, one: ServiceHour, target_s: float) -> Finding:
    value = answer_s(one.answers, PART)
    count = sum(one.answers.values())
    if value is None:
        return Finding(subject, None, None)
    left = 1 - slower(one.answers, target_s) / ((1 - PART) * count)
    return Finding(subject, value, value <= target_s, left)


def _available(subject: str, one: ServiceHour, unknown_s: float, target: float) -> Finding:
    """Met, or missed, whatever was in the time that is not known; else unknown."""
    counted, lost_s = counted_s(one), counted_s(one) - one.up_s
    allowed_s = (1 - target) * (counted + unknown_s)
    if lost_s > allowed_s + 1e-6:
        met: bool | None = False
    else:
        met = True if lost_s + unknown_s <= allowed_s + 1e-6 else None
    left = (allowed_s - lost_s) / allowed_s if allowed_s > 0 else None
    return Finding(subject, availability(one), met, left, allowed_s - lost_s)


def _used(phases: Mapping[int, PhaseHour], target: float) -> Iterable[Finding]:
    for number, phase in sorted(phases.items()):
        for resource, seconds in (("memory", phase.memory_s), ("cpu", phase.cpu_s)):
            found = percentile(seconds, PART)
            if found is not None:
                over_s = sum(part_s for percent, part_s in seconds.items() if percent > round(target * 100, 6))
                left = 1 - over_s / ((1 - PART) * sum(seconds.values()))
                yield Finding(f"phase {number} {resource}", found / 100, found / 100 <= target, left)


def _well(subject: str, one: ServiceHour, target: float) -> Finding:
    allowed_s = (1 - target) * (one.healthy_s + one.unhealthy_s)
    left = (allowed_s - one.unhealthy_s) / allowed_s if allowed_s > 0 else None
    return Finding(subject, healthy(one), one.unhealthy_s <= allowed_s + 1e-6, left, allowed_s - one.unhealthy_s)
