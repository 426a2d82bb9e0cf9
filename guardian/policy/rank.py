"""Who goes first: a total order, composed of named comparators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from guardian.model import Candidate, ServiceKey
from guardian.policy.platform import Platform, Service
from guardian.policy.state import PolicyState


class Resource(Enum):
    MEMORY = "memory"
    CPU = "cpu"


USEFUL_BYTES = 16 * 1024 * 1024  # a relief below this and below USEFUL_PART of the deficit is not worth a stop
USEFUL_PART = 0.01
USEFUL_CORES = 0.1
USEFUL_CPU_PART = 0.1


@dataclass(frozen=True, slots=True)
class Ranked:
    """A possible victim with all that its rank depends on. Reliefs are of the whole group; None: unknown."""

    service: Service
    group: tuple[ServiceKey, ...]  # what stops with it, dependents first, itself last
    relief_bytes: int | None
    relief_cores: float | None
    over_memory: bool
    over_cpu: bool
    on_probation: bool

    def relief(self, resource: Resource) -> float | None:
        return self.relief_bytes if resource is Resource.MEMORY else self.relief_cores

    def over_share(self, resource: Resource) -> bool:
        return self.over_memory if resource is Resource.MEMORY else self.over_cpu

    def candidate(self, rank: int, resource: Resource, passed_over: str = "") -> Candidate:
        return Candidate(
            service=self.service.key,
            phase=self.service.phase,
            rank=rank,
            group=self.group,
            relief_bytes=self.relief_bytes,
            relief_cores=self.relief_cores,
            over_share=self.over_share(resource),
            priority=self.service.priority,
            on_probation=self.on_probation,
            passed_over=passed_over,
        )


# Each comparator maps a candidate to a key; smaller goes first.


def highest_phase(ranked: Ranked, _: Resource) -> float:
    return -ranked.service.phase


def unknown_last(ranked: Ranked, resource: Resource) -> float:
    return 1 if ranked.relief(resource) is None else 0


def over_share_first(ranked: Ranked, resource: Resource) -> float:
    return 0 if ranked.over_share(resource) else 1


def lowest_priority(ranked: Ranked, _: Resource) -> float:
    return ranked.service.priority


def on_probation_first(ranked: Ranked, _: Resource) -> float:
    return 0 if ranked.on_probation else 1


def largest_relief(ranked: Ranked, resource: Resource) -> float:
    return -(ranked.relief(resource) or 0.0)


ORDER = (highest_phase, unknown_last, over_share_first, lowest_priority, on_probation_first, largest_relief)


def sort(candidates: list[Ranked], resource: Resource) -> list[Ranked]:
    """In the order in which they would be shed; ties end at the name."""
    return sorted(candidates, key=lambda r: (*(comparator(r, resource) for comparator in ORDER), r.service.key))


def useful(relief: float | None, deficit: float, resource: Resource) -> bool:
    """Whether a stop is worth it: below this a service is passed over while any useful one is left."""
    if relief is None:  # under memory it may be, so it is ranked last in its phase; CPU can wait for a reading
        return resource is Resource.MEMORY
    if resource is Resource.MEMORY:
        return relief >= USEFUL_BYTES or (relief > 0 and relief >= USEFUL_PART * deficit)
    return relief >= USEFUL_CORES and relief >= USEFUL_CPU_PART * deficit


def exclusion(
    service: Service,
    platform: Platform,
    busy: frozenset[ServiceKey],
    pins: frozenset[ServiceKey],
    state: PolicyState,
    now_s: float,
) -> str:
    """Why a service can be no victim now, in one word; empty where it can be one."""
    if not service.up:
        return "not_running"
    if service.protect:
        return "protect"
    if service.protected:
        return "protected"
    if service.key in pins:
        return "pinned"
    if not service.enforced:
        return "phase_observed"
    if service.shielded_by is not None:
        return "required"
    for other in platform.requirers.get(service.key, ()):
        requirer = platform.services[other]
        if requirer.up and (other in pins or not requirer.enforced):
            return "required"
    if service.key in busy:
        return "in_flight"
    retry = state.memo(service.key).retry_at_s
    if retry is not None and now_s < retry:
        return "retry_later"
    return ""


def candidates(
    platform: Platform,
    busy: frozenset[ServiceKey],
    pins: frozenset[ServiceKey],
    state: PolicyState,
    now_s: float,
    footprints: Mapping[ServiceKey, int | None],
    cores: Mapping[ServiceKey, float | None],
) -> tuple[list[Ranked], dict[ServiceKey, str]]:
    """Every possible victim (unsorted), and why each other service is none. Uses are those of one round ago at most."""
    found: list[Ranked] = []
    excluded: dict[ServiceKey, str] = {}
    for key, service in platform.services.items():
        why = exclusion(service, platform, busy, pins, state, now_s)
        if why:
            excluded[key] = why
            continue
        with_it = [other for other in platform.requirers.get(key, ()) if platform.services[other].up and other not in busy]
        group = (*sorted(with_it, key=lambda other: platform.stop_order.get(other, 0)), key)
        memo = state.memo(key)
        footprint, cpu = footprints.get(key), cores.get(key)
        found.append(
            Ranked(
                service=service,
                group=group,
                relief_bytes=_all_known([footprints.get(other) for other in group]),
                relief_cores=_all_known([cores.get(other) for other in group]),
                over_memory=footprint is not None
                and service.memory_share_bytes is not None
                and footprint > service.memory_share_bytes,
                over_cpu=cpu is not None and service.cpu_share_cores is not None and cpu > service.cpu_share_cores,
                on_probation=memo.probation_until_s is not None and now_s < memo.probation_until_s,
            )
        )
    return found, excluded


def _all_known(values: list[Any]) -> Any:
    """The sum; None where one is unknown."""
    return None if None in values else sum(values)
