"""What a Compose project says, as values: in base units, names resolved, short forms written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from guardian.config.tree import Place
from guardian.errors import Problem


class Condition(StrEnum):
    """What a dependent waits for."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class Dependency(NamedTuple):
    """One entry of `depends_on`. Where `required` is false, Compose only warns if the other is missing."""

    service: str
    condition: Condition = Condition.STARTED
    required: bool = True


class Port(NamedTuple):
    """A published port. `published` is empty where the engine chooses one; both may be ranges, as `3000-3005`."""

    target: str
    published: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One service of a project. Limits and reservations are of one replica; None: none is set."""

    name: str
    place: Place
    image: str | None = None  # None: it is only built
    depends_on: tuple[Dependency, ...] = ()
    shares: tuple[str, ...] = ()  # services whose network, pid or ipc namespace it lives in
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()  # ports for other services
    health_check: bool = False  # one that is written in the file; an image may bring its own
    memory_limit_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    cpu_limit_cores: float | None = None
    cpu_reservation_cores: float | None = None
    pids_limit: bool = False  # whether `pids_limit` is written
    profiles: tuple[str, ...] = ()  # empty: always active
    replicas: int = 1
    restart: str | None = None  # no, on-failure, always, unless-stopped; None: not written, which is `no`
    job: bool = False  # `deploy.mode` is one of jobs
    stop_grace_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """Services that go before it, for whatever reason, each once."""
        return tuple(dict.fromkeys([*(dependency.service for dependency in self.depends_on), *self.shares]))


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """A whole project. `services` has those of every profile, in the order of the files."""

    name: str
    directory: Path  # which relative paths start at, and where .env lies
    files: tuple[Path, ...]
    services: Mapping[str, ComposeService]
    version: str | None = None  # the key `version`, as written in the first file
    read_by: str = "guardian"  # "docker compose", "docker-compose", or guardian itself
    problems: tuple[Problem, ...] = ()  # what is wrong in the files and did not keep the services from being read

    def one_shots(self) -> frozenset[str]:
        """Services that end by themselves once their work is done: migrations, seeds, jobs.

        That is what a dependent waits to be completed, what runs as a job, and what is told not to be started again after
        it ended well, and neither publishes a port nor has a health check.
        """
        awaited = {
            dependency.service
            for service in self.services.values()
            for dependency in service.depends_on
            if dependency.condition is Condition.COMPLETED
        }
        return frozenset(name for name, service in self.services.items() if name in awaited or _ends(service))


def _ends(service: ComposeService) -> bool:
    never_repeated = service.restart in ("no", "on-failure") and not service.ports and not service.health_check
    return service.job or never_repeated
