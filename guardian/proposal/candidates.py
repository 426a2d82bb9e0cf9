"""From what a Compose project says, or from what runs, to services that can be placed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from guardian.compose.model import ComposeProject, ComposeService, Condition, Port
from guardian.engine.survey import Seen
from guardian.model import Container, ServiceKey
from guardian.proposal.model import Candidate, Use

PHASE_LABEL = "guardian.phase"
_REPEATED = ("always", "unless-stopped")
_MOST_PORTS = 64  # of one range that is written out
_Number = TypeVar("_Number", int, float)


def of_project(project: ComposeProject) -> list[Candidate]:
    """In the order of the files."""
    one_shots = project.one_shots()
    awaited = {
        dependency.service
        for service in project.services.values()
        for dependency in service.depends_on
        if dependency.condition is Condition.COMPLETED
    }
    return [
        replace(_of_service(service), one_shot=name in one_shots, awaited=name in awaited)
        for name, service in project.services.items()
    ]


def _of_service(service: ComposeService) -> Candidate:
    label = service.labels.get(PHASE_LABEL, "").strip()
    return Candidate(
        name=service.name,
        image=service.image,
        needs=service.needs,
        shares=service.shares,
        ports=tuple(dict.fromkeys(number for port in service.ports for number in _numbers(port))),
        published=bool(service.ports),
        optional=bool(service.profiles),
        restarts=service.restart in _REPEATED,
        memory_limit_bytes=None
        if service.memory_limit_bytes is None
        else service.memory_limit_bytes * max(1, service.replicas),
        cpu_limit_cores=None if service.cpu_limit_cores is None else service.cpu_limit_cores * max(1, service.replicas),
        memory_limit_each_bytes=service.memory_limit_bytes,
        cpu_limit_each_cores=service.cpu_limit_cores,
        label_phase=int(label) if re.fullmatch(r"[1-9][0-9]{0,2}", label, re.ASCII) else None,
    )


def _numbers(port: Port) -> Iterable[int]:
    """Published ports; those of a range each, up to a bound."""
    first, _, last = port.published.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        return ()
    return range(int(first), int(last or first) + 1)[:_MOST_PORTS]


def of_running(containers: Sequence[Container], seen: Mapping[str, Seen]) -> list[Candidate]:
    """One for each service, by name: those of several projects with one name are one. `seen` are by container id.

    Containers of `compose run` are none of a service.
    """
    groups: dict[str, list[Container]] = {}
    for container in containers:
        if not container.oneoff:
            groups.setdefault(container.service.name, []).append(container)
    owners = {handle: one.service.name for one in containers for handle in (one.id, one.name)}
    awaited = frozenset(name for one in containers for name in one.awaits)
    return [_of_containers(name, members, seen, owners, name in awaited) for name, members in sorted(groups.items())]


def _of_containers(
    name: str, members: Sequence[Container], seen: Mapping[str, Seen], owners: Mapping[str, str], awaited: bool
) -> Candidate:
    rows = [seen[one.id] for one in members if one.id in seen]
    shares = dict.fromkeys(owners[owner] for one in members for owner in one.shares if owner in owners)
    shares.pop(name, None)
    memory = [one.memory_limit_bytes for one in members]
    cores = [one.cpu_limit_cores for one in members]
    most_bytes = max((size for size in memory if size is not None), default=None)
    most_cores = max((value for value in cores if value is not None), default=None)
    labels = [one.labels.phase for one in members if one.labels.phase is not None]
    return Candidate(
        name=name,
        image=next((row.image for row in rows if row.image), None),
        needs=tuple(dict.fromkeys([*(other for one in members for other in one.depends_on if other != name), *shares])),
        shares=tuple(shares),
        ports=tuple(sorted({port for row in rows for port in row.ports})),
        published=any(row.ports for row in rows),
        one_shot=all(one.completed for one in members),
        awaited=awaited,
        restarts=any(one.restart_policy in _REPEATED for one in members),
        memory_limit_bytes=_sum(memory),
        cpu_limit_cores=_sum(cores),
        memory_limit_each_bytes=None if None in memory else most_bytes,
        cpu_limit_each_cores=None if None in cores else most_cores,
        label_phase=min(labels, default=None),
        lone=all(not one.service.project for one in members),
        unfit="a Swarm task: Swarm would start it again" if any(one.swarm for one in members) else "",
    )


def by_name(uses: Mapping[ServiceKey, Use]) -> dict[str, Use]:
    """Use by the names that candidates have: of several projects' services of one name, the sum; unknown where one is."""
    found: dict[str, list[Use]] = {}
    for key, use in uses.items():
        found.setdefault(key.name, []).append(use)
    return {
        name: Use(
            min(use.samples for use in members),
            _sum([use.memory_bytes for use in members]),
            _sum([use.cpu_cores for use in members]),
        )
        for name, members in found.items()
    }


def _sum(values: Sequence[_Number | None]) -> _Number | None:
    return None if None in values else sum(value for value in values if value is not None)
