"""The containers with what guardian's own probes say of their health, so that everything behind sees one health alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from guardian.clock import Clock
from guardian.config.schema import Config, HealthConfig
from guardian.health.course import worse
from guardian.model import Container, ContainerState, EngineInfo, Inventory, ServiceKey

if TYPE_CHECKING:
    from guardian.health.prober import Probe, Prober


class Containers(Protocol):
    """What `loop.ContainerSource` asks for."""

    def current(self, max_age_s: float = 0.0) -> Inventory | None: ...

    @property
    def ready(self) -> bool: ...

    @property
    def down(self) -> bool: ...

    @property
    def engine(self) -> EngineInfo | None: ...

    @property
    def excluded(self) -> frozenset[str]: ...


class ProbedContainers:
    """`containers` as they are, with the health of probed services: the worse of what the engine and the probe say.

    Where nothing new was read or probed, `current` is the same object as before: what was made of it still holds. Without
    a probe in the file it is that of `containers`, and no prober is there.
    """

    def __init__(self, containers: Containers, make: Callable[[], Prober]) -> None:
        """`make` makes a prober when the file first asks for one."""
        self._containers = containers
        self._make = make
        self._prober: Prober | None = None
        self._seen: tuple[Container, ...] | None = None  # what the prober was told of
        self._of: tuple[Inventory | None, int] = (None, -1)  # the inventory and the version that `_shown` was made of
        self._shown: Inventory | None = None

    def configure(self, config: Config) -> None:
        """Take over the probes of the file."""
        wanted = probes_of(config)
        if self._prober is None and wanted:
            self._prober = self._make()
        if self._prober is not None:
            self._prober.configure(wanted)
            self._seen = None

    def current(self, max_age_s: float = 0.0) -> Inventory | None:
        inventory, prober = self._containers.current(max_age_s), self._prober
        if inventory is None or prober is None:
            return inventory
        if inventory.containers is not self._seen:
            self._seen = inventory.containers
            prober.follow(_running(inventory.containers, prober))
        (before, then), now = self._of, prober.version
        if before is inventory and then == now:
            return self._shown
        same = before is not None and before.containers is inventory.containers and then == now
        self._of = (inventory, now)
        if same and self._shown is not None:
            self._shown = replace(inventory, containers=self._shown.containers)
        else:
            self._shown = replace(inventory, containers=tuple(_probed(one, prober) for one in inventory.containers))
        return self._shown

    @property
    def ready(self) -> bool:
        return self._containers.ready

    @property
    def down(self) -> bool:
        return self._containers.down

    @property
    def engine(self) -> EngineInfo | None:
        return self._containers.engine

    @property
    def excluded(self) -> frozenset[str]:
        return self._containers.excluded

    def close(self) -> None:
        if self._prober is not None:
            self._prober.close()


def probes_of(config: Config) -> Mapping[str, HealthConfig]:
    """Those that the file sets, by the name of the service."""
    return {
        name: service.health
        for name, service in config.services.items()
        if service.health is not None and (service.health.http or service.health.tcp or service.health.command)
    }


def start_prober(clock: Clock, on_probe: Callable[[Probe], None], on_change: Callable[[], None]) -> Prober:
    """One that probes from now on."""
    from guardian.health.prober import Prober  # noqa: PLC0415 - only where the file has a probe

    prober = Prober(clock, on_probe, on_change)
    prober.start()
    return prober


def _running(containers: tuple[Container, ...], prober: Prober) -> Mapping[ServiceKey, float | None]:
    """Since when each probed service runs: as long as its oldest replica does."""
    found: dict[ServiceKey, list[float | None]] = {}
    for one in containers:
        if one.state is ContainerState.RUNNING and not one.oneoff and prober.probes(one.service.name):
            found.setdefault(one.service, []).append(one.started_s)
    return {key: min((at_s for at_s in starts if at_s is not None), default=None) for key, starts in found.items()}


def _probed(container: Container, prober: Prober) -> Container:
    course = prober.course(container.service)
    if course is None or container.state is not ContainerState.RUNNING or container.oneoff:
        return container
    health = worse(container.health, course.health)
    return container if health is container.health else replace(container, health=health)
