"""What the engine says of its disk, and what is kept of it. Sizes are bytes; None is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from guardian.model import ServiceKey


@dataclass(frozen=True, slots=True)
class ContainerDisk:
    """One container, in scope (it has a service) or not. `writable_bytes` is its own layer: logs and volumes are not in it."""

    name: str
    service: ServiceKey | None
    up: bool
    writable_bytes: int | None
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeDisk:
    """`containers`: how many use it, stopped ones too. `anonymous`: nobody gave it a name."""

    name: str
    size_bytes: int | None
    containers: int | None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class ImageDisk:
    """`unique_bytes` is what no other image shares. `dangling`: it has no name any more."""

    unique_bytes: int | None
    containers: int | None
    dangling: bool = False


@dataclass(frozen=True, slots=True)
class EngineDisk:
    """All that the engine keeps, at one moment. `build_cache_bytes` is the part that nothing uses."""

    containers: tuple[ContainerDisk, ...] = ()
    volumes: tuple[VolumeDisk, ...] = ()
    images: tuple[ImageDisk, ...] = ()
    build_cache_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceDisk:
    """What one service's containers have written, and its volumes. The sum is None where a part is."""

    layers_bytes: int | None = None
    volumes_bytes: int | None = None

    @property
    def total_bytes(self) -> int | None:
        if self.layers_bytes is None or self.volumes_bytes is None:
            return None
        return self.layers_bytes + self.volumes_bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What is kept of one moment: the file system's use, and each service's."""

    at_wall_s: float
    used_bytes: int | None = None  # of the engine's file system, by everything
    size_bytes: int | None = None
    services: Mapping[ServiceKey, ServiceDisk] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A `docker` command that frees something. `note` says what to think of before."""

    command: str
    frees_bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Growth:
    """A service, what it holds, and how fast that grows: bytes per second, None while there are too few readings."""

    service: ServiceKey
    disk: ServiceDisk
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Storage:
    """The newest reading with what follows from it and from those before."""

    reading: Reading
    growth: tuple[Growth, ...] = ()  # by service
    growth_known: bool = False  # of the file system
    full_in_s: float | None = None  # None: not growing, or not known
    commands: tuple[Command, ...] = ()
    totals: Mapping[ServiceKey, int | None] = field(default_factory=dict)  # bytes by service

    @property
    def fastest(self) -> tuple[Growth, ...]:
        """The three that grow fastest; none that does not grow."""
        growing = [one for one in self.growth if one.bytes_per_s is not None and one.bytes_per_s > 0]
        return tuple(sorted(growing, key=lambda one: (-(one.bytes_per_s or 0.0), one.service))[:3])


@dataclass(frozen=True, slots=True)
class KnownStorage:
    """What a tick knows of storage. `busy`: it is being measured; `problem`: why the newest of the `attempts` failed, empty where
    it did not.
    """

    newest: Storage | None = None
    busy: bool = False
    problem: str = ""
    attempts: int = 0  # that have ended since the start


NOTHING_KNOWN = KnownStorage()


def by_service(disk: EngineDisk, phases: Mapping[ServiceKey, int]) -> Mapping[ServiceKey, ServiceDisk]:
    """Layers and volumes summed by service. A volume that several use counts for the one of the lowest phase, then by name."""
    layers: dict[ServiceKey, list[int | None]] = {}
    owners: dict[str, ServiceKey] = {}
    for container in disk.containers:
        service = container.service
        if service is None:
            continue
        layers.setdefault(service, []).append(container.writable_bytes)
        for volume in container.volumes:
            owner = owners.get(volume, service)
            owners[volume] = min(owner, service, key=lambda one: (phases.get(one, max(phases.values(), default=0) + 1), one))
    sizes = {volume.name: volume.size_bytes for volume in disk.volumes}
    volumes: dict[ServiceKey, list[int | None]] = {}
    for name, service in owners.items():
        volumes.setdefault(service, []).append(sizes.get(name))
    return {service: ServiceDisk(_sum(parts), _sum(volumes.get(service, ()))) for service, parts in layers.items()}


def _sum(parts: Iterable[int | None]) -> int | None:
    known = list(parts)
    return None if any(part is None for part in known) else sum(part for part in known if part is not None)
