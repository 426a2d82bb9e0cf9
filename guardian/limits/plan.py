"""What is to be done to which container, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardian.config.schema import Resources, ServiceConfig
from guardian.engine.limits import InForce
from guardian.limits.drift import same_cores
from guardian.model import Container, ServiceKey
from guardian.proposal.model import Use
from guardian.units import format_bytes

MEMORY_ROOM = 1.5  # over the 95th percentile: two thirds used in a busy hour, below the 80% at which an alert is raised
FOOTPRINT_ROOM = 1.25  # over what it holds now
CPU_ROOM = 2.0
MEMORY_STEP_BYTES = 16 << 20
CPU_STEP_CORES = 0.05
_LEAST_BYTES = 32 << 20
_LEAST_CORES = 0.1


@dataclass(frozen=True, slots=True)
class Proposed:
    """Limits for one container that its use calls for; None where use is not known."""

    memory_bytes: int | None = None
    cores: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One service: per container, what is wanted, in force, used and proposed."""

    service: ServiceKey
    wanted: Resources
    reserved: Resources
    containers: tuple[tuple[Container, InForce], ...]
    use: Use | None = None  # of one container
    proposed: Proposed = Proposed()


@dataclass(frozen=True, slots=True)
class Change:
    """An update of one container, or why there is none."""

    container: Container
    memory_bytes: int | None = None
    reservation_bytes: int | None = None
    cores: float | None = None
    refused: str = ""


def proposal_of(use: Use | None) -> Proposed:
    """Of one container's use: half again its 95th percentile of memory, twice that of CPU, in round steps."""
    if use is None:
        return Proposed()
    memory: float | None = None
    if use.memory_bytes is not None:
        memory = max(_LEAST_BYTES, use.memory_bytes * MEMORY_ROOM, (use.footprint_bytes or 0) * FOOTPRINT_ROOM)
    cores = None if use.cpu_cores is None else max(_LEAST_CORES, use.cpu_cores * CPU_ROOM)
    return Proposed(
        None if memory is None else math.ceil(memory / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES,
        None if cores is None else round(math.ceil(round(cores / CPU_STEP_CORES, 6)) * CPU_STEP_CORES, 2),
    )


def each(use: Use | None, replicas: int) -> Use | None:
    """A service's use as that of one of its replicas, all being alike."""
    if use is None or replicas < 2:
        return use
    return Use(
        use.samples,
        _part(use.memory_bytes, replicas),
        None if use.cpu_cores is None else use.cpu_cores / replicas,
        _part(use.footprint_bytes, replicas),
    )


def changes(rows: Sequence[Row], footprint_bytes: Mapping[str, int | None], force: bool) -> list[Change]:
    """One for each running container that is not as the file wants it. `footprint_bytes` are by container id, as of now."""
    found = []
    for row in rows:
        wanted = ServiceConfig(limits=row.wanted, reservations=row.reserved)
        for container, now in row.containers:
            if container.state.up and (change := _change(wanted, container, now)) is not None:
                refused = "" if force else _refusal(change, now, footprint_bytes.get(container.id))
                found.append(Change(container, refused=refused) if refused else change)
    return found


def outcome(change: Change, after: InForce | None) -> str:
    """Empty where what the engine says afterwards is what was asked for; else what is not."""
    if after is None:
        return "it is gone"
    if change.memory_bytes is not None and after.memory_bytes != change.memory_bytes:
        return f"its memory limit is {_size(after.memory_bytes)}, not {_size(change.memory_bytes)}"
    if change.reservation_bytes is not None and after.reservation_bytes != change.reservation_bytes:
        return f"its memory reservation is {_size(after.reservation_bytes)}, not {_size(change.reservation_bytes)}"
    if change.cores is not None and not same_cores(after.cores, change.cores):
        return f"its CPU limit is {after.cores or 'none'}, not {change.cores:g}"
    return ""


def _change(wanted: ServiceConfig, container: Container, now: InForce) -> Change | None:
    memory = wanted.limits.memory if wanted.limits.memory != now.memory_bytes else None
    reservation = wanted.reservations.memory if wanted.reservations.memory != now.reservation_bytes else None
    cores = wanted.limits.cpus if wanted.limits.cpus is not None and not same_cores(now.cores, wanted.limits.cpus) else None
    if memory is None and reservation is None and cores is None:
        return None
    return Change(
        container,
        None if memory is None else int(memory),
        None if reservation is None else int(reservation),
        None if cores is None else float(cores),
    )


def _refusal(change: Change, now: InForce, footprint_bytes: int | None) -> str:
    """Only a memory limit that comes closer may hurt: the kernel would end processes at once."""
    if change.memory_bytes is None or (now.memory_bytes is not None and change.memory_bytes >= now.memory_bytes):
        return ""
    if footprint_bytes is None:
        return "what it holds now is not known, so the limit might end it; use --force if you know better"
    if change.memory_bytes < footprint_bytes:
        limit, held = _size(change.memory_bytes), _size(footprint_bytes)
        return f"the limit of {limit} is below the {held} that it holds now: the kernel would end it; use --force to do it all the same"
    return ""


def _size(size_bytes: int | None) -> str:
    return "none" if size_bytes is None else format_bytes(size_bytes)


def _part(value: int | None, replicas: int) -> int | None:
    return None if value is None else -(-value // replicas)
