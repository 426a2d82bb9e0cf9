"""What a roll-out has to do: which services, in which phase, after what, and how much each is expected to use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guardian.compose.model import ComposeProject, Condition
from guardian.config.schema import Config
from guardian.model import ServiceKey
from guardian.policy.platform import Platform, Service


class Need(NamedTuple):
    """What has to be so before a service is started."""

    service: ServiceKey
    condition: Condition


class Expected(NamedTuple):
    """What a service is expected to use, in bytes and cores; None: unknown. `measured`: it was seen to, else it is set."""

    memory_bytes: int | None = None
    cores: float | None = None
    measured: bool = False


UNKNOWN = Expected()
_NO_PHASE = 1_000_000  # above all of them


@dataclass(frozen=True, slots=True)
class Member:
    """One service of a roll-out. `phase` is the one that it comes up with: its own, or that of what depends on it."""

    key: ServiceKey
    phase: int
    needs: tuple[Need, ...] = ()
    one_shot: bool = False
    expected: Expected = UNKNOWN
    needed_by: ServiceKey | None = None  # what brings it up before its own phase, or although it has none
    managed: bool = True  # False: no phase lists it, and it is only started because another needs it; never stopped


class PhasePlan(NamedTuple):
    """One phase; members in the order in which they are started. `part_…`: what the budget grants beyond that of the phase before."""

    phase: int
    name: str
    members: tuple[Member, ...]
    part_bytes: float | None = None
    part_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All phases of the file, lowest first, those above the goal too: what runs of them is stopped on the way down."""

    phases: tuple[PhasePlan, ...]

    def phase(self, number: int) -> PhasePlan:
        return next(one for one in self.phases if one.phase == number)

    def after(self, number: int, goal: int) -> int | None:
        """The next phase up to the goal; None where there is none."""
        return next((one.phase for one in self.phases if number < one.phase <= goal), None)

    def member(self, key: ServiceKey) -> Member | None:
        return next((one for phase in self.phases for one in phase.members if one.key == key), None)

    def dependents(self, key: ServiceKey) -> frozenset[ServiceKey]:
        """Those that need it directly."""
        return frozenset(
            one.key for phase in self.phases for one in phase.members if any(need.service == key for need in one.needs)
        )


def make_plan(
    platform: Platform,
    config: Config,
    cpus: float | None,
    measured: Mapping[ServiceKey, Expected],
    project: ComposeProject | None = None,
) -> Plan:
    """Sort the managed services into phases, each after what it needs.

    `platform` has the services; `project`, where there is a Compose file, has their conditions. `measured` is what was seen
    of them; where a figure is missing it is the limit, else the share, as for a restore. A service that one of a lower phase
    needs comes up with that one; so does what no phase lists, such as a job that has to be completed first.
    """
    needs = {key: _needs(service, platform, project) for key, service in platform.services.items()}
    needs |= _unlisted(needs, project)
    own = {key: platform.services[key].phase if key in platform.services else _NO_PHASE for key in needs}
    phases, needed_by = _phases(own, needs)
    jobs = {name for name, one in project.services.items() if one.job} if project is not None else set()
    made = []
    before_bytes: float | None = 0.0
    before_cores: float | None = 0.0
    for phase in sorted(config.phases, key=lambda one: one.phase):
        keys = [key for key, number in phases.items() if number == phase.phase]
        members = tuple(
            Member(
                key=key,
                phase=phase.phase,
                needs=needs[key],
                one_shot=key.name in jobs or key in platform.awaited or _is_awaited(key, needs),
                expected=_expected(platform.services.get(key), measured.get(key, UNKNOWN)),
                needed_by=needed_by.get(key),
                managed=key in platform.services,
            )
            for key in _in_order(keys, needs)
        )
        memory, share = phase.budget.memory, phase.budget.cpu
        cores = None if share is None or (cpus is None and share.cores is None) else share.of(cpus or 0.0)
        made.append(
            PhasePlan(
                phase.phase,
                phase.name,
                members,
                None if memory is None or before_bytes is None else max(0.0, memory - before_bytes),
                None if cores is None or before_cores is None else max(0.0, cores - before_cores),
            )
        )
        before_bytes, before_cores = memory, cores
    return Plan(tuple(made))


def in_calls(members: Iterable[Member], waits: bool) -> list[list[Member]]:
    """The same members, in the same order, as Compose is to create them: in one call, if it does not wait for conditions there.

    Of services that are named in one call Compose v1 waits until others are healthy or completed, also where it is told to start none
    of them: for ever. So what waits for another comes in a later call. Compose v2 does not, and has to have them in one: into the
    labels of a container it writes only those dependencies that the call names.
    """
    calls: list[list[Member]] = []
    for one in members:
        awaited = {need.service for need in one.needs if waits and need.condition is not Condition.STARTED}
        if not calls or any(other.key in awaited for other in calls[-1]):
            calls.append([])
        calls[-1].append(one)
    return calls


def _needs(service: Service, platform: Platform, project: ComposeProject | None) -> tuple[Need, ...]:
    """Of the Compose file, else of the container's labels, which tell the order and one-shots; and what the file says it requires."""
    awaited = {ServiceKey(service.key.project, name) for one in service.containers for name in one.awaits}
    found = {key: Condition.COMPLETED if key in awaited else Condition.STARTED for key in sorted(service.depends_on)}
    found |= {
        need.service: need.condition
        for need, required in _written(service.key, project)
        if required or need.service in platform.services
    }
    for key in sorted(service.requires):
        found[key] = max(found.get(key, Condition.HEALTHY), Condition.HEALTHY, key=_strictness)
    return tuple(Need(key, condition) for key, condition in found.items() if key != service.key)


def _written(key: ServiceKey, project: ComposeProject | None) -> list[tuple[Need, bool]]:
    """What the Compose file says that it depends on, and whether that has to be there."""
    written = None if project is None else project.services.get(key.name)
    if written is None:
        return []
    return [(Need(ServiceKey(key.project, one.service), one.condition), one.required) for one in written.depends_on]


def _unlisted(
    needs: Mapping[ServiceKey, tuple[Need, ...]], project: ComposeProject | None
) -> dict[ServiceKey, tuple[Need, ...]]:
    """What no phase lists, the Compose file has, and one of `needs` needs, directly or through others; with its own needs."""
    found: dict[ServiceKey, tuple[Need, ...]] = {}
    waiting = [need.service for each in needs.values() for need in each]
    while waiting and project is not None:
        key = waiting.pop()
        if key not in needs and key not in found and key.name in project.services:
            found[key] = tuple(need for need, required in _written(key, project) if required)
            waiting.extend(need.service for need in found[key])
    return found


def _strictness(condition: Condition) -> int:
    return (Condition.STARTED, Condition.HEALTHY, Condition.COMPLETED).index(condition)


def _phases(
    own: Mapping[ServiceKey, int], needs: Mapping[ServiceKey, tuple[Need, ...]]
) -> tuple[dict[ServiceKey, int], dict[ServiceKey, ServiceKey]]:
    """The phase that each comes up with, and who brings it up before its own."""
    phases = dict(own)
    needed_by: dict[ServiceKey, ServiceKey] = {}
    waiting = sorted(phases, key=lambda key: (phases[key], key))
    while waiting:
        key = waiting.pop(0)
        for need in needs[key]:
            if need.service in phases and phases[need.service] > phases[key]:
                phases[need.service] = phases[key]
                needed_by[need.service] = key
                waiting.append(need.service)
    return phases, needed_by


def _in_order(keys: Iterable[ServiceKey], needs: Mapping[ServiceKey, tuple[Need, ...]]) -> list[ServiceKey]:
    """What others need before them, otherwise by name. Members of a cycle keep the order of their names."""
    left = sorted(keys)
    ordered: list[ServiceKey] = []
    while left:
        among = set(left)
        free = [key for key in left if not any(need.service in among for need in needs[key])] or left[:1]
        ordered.extend(free)
        left = [key for key in left if key not in free]
    return ordered


def _is_awaited(key: ServiceKey, needs: Mapping[ServiceKey, tuple[Need, ...]]) -> bool:
    return any(Need(key, Condition.COMPLETED) in one for one in needs.values())


def _expected(service: Service | None, measured: Expected) -> Expected:
    if service is None:
        return measured
    memory, cores = measured.memory_bytes, measured.cores
    if memory is None:
        part = service.memory_limit_bytes or service.memory_share_bytes
        memory = None if part is None else int(part)
    if cores is None:
        cores = service.cpu_limit_cores or service.cpu_share_cores
    return Expected(memory, cores, measured.measured and measured.memory_bytes is not None)
