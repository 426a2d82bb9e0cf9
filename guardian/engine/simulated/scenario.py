"""What a simulated host and its services do over time: the types of a scenario, with a default for everything.

A scenario is written in YAML (`scenarios/*.yaml` are examples; `find_scenario` reads one) or built in code:

    Scenario(services={"web": Service(memory=200 * MIB, steps=(Step(at=30, memory=leak(2 * MIB)),))})

Times: `at` counts from the beginning of the scenario, `after` from the beginning of each run of the container (for what
runs when the scenario begins: from there). The newest step that sets a figure holds. A container that is started
begins with its service's `memory`, `cache` and `cpu`, and with what holds then, anew.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from guardian.engine.simulated.behaviour import Shape
from guardian.units import Bytes, Cores, Ratio, Seconds

SizeShape = Annotated[Shape, "bytes"]
CoresShape = Annotated[Shape, "cores"]

MIB = 1024 * 1024
GIB = 1024 * MIB


class Base(Struct, frozen=True, kw_only=True):
    """Every section is frozen."""


class HostStep(Base, frozen=True, kw_only=True):
    """What the host does outside of the services from `at` on: a build, a backup, a log that fills the disk."""

    at: Seconds | float = 0.0
    memory: SizeShape | None = None
    cpu: CoresShape | None = None
    disk: SizeShape | None = None


class Disk(Base, frozen=True, kw_only=True):
    size: Bytes | int = 40 * GIB
    used: Bytes | int = 12 * GIB


class Host(Base, frozen=True, kw_only=True):
    memory: Annotated[Bytes | int, Meta(description="all of it")] = 4 * GIB
    cores: int = 4
    base: Annotated[Bytes | int, Meta(description="memory that the system itself holds, and never gives back")] = 350 * MIB
    base_cpu: Annotated[Cores | float, Meta(description="cores that the system itself uses")] = 0.05
    swap: Annotated[Bytes | int, Meta(description="used only once memory is full")] = 0
    disk: Disk = field(default_factory=Disk)
    psi: Annotated[bool, Meta(description="the kernel offers pressure figures")] = True
    steps: tuple[HostStep, ...] = ()


class Limits(Base, frozen=True, kw_only=True):
    memory: Annotated[Bytes | int | None, Meta(description="the container is killed (137) when it reaches this")] = None
    cpus: Annotated[Cores | float | None, Meta(description="it gets no more cores than this")] = None


class Stop(Base, frozen=True, kw_only=True):
    """How a container ends on SIGTERM."""

    takes: Annotated[Seconds | float, Meta(description="from SIGTERM to the end")] = 0.3
    ignores_sigterm: Annotated[bool, Meta(description="only a kill ends it")] = False
    code: Annotated[int, Meta(description="what it exits with")] = 0


class Health(Base, frozen=True, kw_only=True):
    """A health check. It says healthy unless a step says otherwise."""

    healthy_after: Annotated[Seconds | float, Meta(description="from its start to the first verdict")] = 5.0


class Step(Base, frozen=True, kw_only=True):
    """What changes, and when: one of `at` and `after`."""

    at: Annotated[Seconds | float | None, Meta(description="since the scenario began")] = None
    after: Annotated[Seconds | float | None, Meta(description="since the container started")] = None
    memory: SizeShape | None = None
    cache: SizeShape | None = None
    cpu: CoresShape | None = None
    healthy: Annotated[bool | None, Meta(description="what the health check says from here on")] = None
    exit: Annotated[int | None, Meta(description="the container ends by itself with this code, if it runs")] = None


class Service(Base, frozen=True, kw_only=True):
    memory: Annotated[Bytes | int, Meta(description="footprint of one replica when it starts")] = 50 * MIB
    cpu: Annotated[Cores | float, Meta(description="cores that one replica wants")] = 0.01
    cache: Annotated[Bytes | int, Meta(description="page cache: file contents, which the kernel takes back at need")] = 0
    cache_active: Annotated[Ratio | float, Meta(description="the part of it in the working set (not `inactive_file`)")] = 0.0
    storage: Annotated[
        Bytes | int, Meta(description="what one replica has written to the engine's disk when the scenario begins")
    ] = 0
    storage_rate: Annotated[Bytes | int, Meta(description="bytes that it writes each second from then on")] = 0
    replicas: int = 1
    project: Annotated[str | None, Meta(description="another than the scenario's; empty: a lone container")] = None
    limits: Limits = field(default_factory=Limits)
    reservation: Bytes | int | None = None
    depends_on: tuple[str, ...] = ()
    network_mode: Annotated[str | None, Meta(description="the service whose network it shares")] = None
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "unless-stopped"
    health: Health | None = None
    stop: Stop = field(default_factory=Stop)
    stop_timeout: Annotated[Seconds | float | None, Meta(description="Compose's stop_grace_period; the engine's is 10s")] = None
    labels: dict[str, str] = field(default_factory=dict)
    running: Annotated[bool, Meta(description="whether it runs when the scenario begins")] = True
    starts: Annotated[
        Literal["well", "refused", "exits"],
        Meta(description="how a later start goes: the engine refuses it, or it exits with 1 at once"),
    ] = "well"
    steps: tuple[Step, ...] = ()


class Scenario(Base, frozen=True, kw_only=True):
    description: str = ""
    project: str = "openpolicy"
    duration: Annotated[Seconds | float, Meta(description="how long it is interesting; then all stays as it is")] = 300.0
    uptime: Annotated[Seconds | float, Meta(description="for how long everything has run when it begins")] = 3600.0
    host: Host = field(default_factory=Host)
    services: dict[str, Service] = field(default_factory=dict)
