"""Worlds for the contract: an engine with services in it that a test can make, behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import docker
from support.images import BUSYBOX
from support.private_engine import PrivateEngine

from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.engine.protocol import Engine, Scope
from guardian.engine.simulated import Scenario, SimulatedEngine
from guardian.engine.simulated.scenario import Service, Stop
from guardian.telemetry import NullTelemetry

PROJECT = "contract"
MIB = 1024 * 1024

_FOREVER = "while :; do sleep 1000 & wait $!; done"
BEHAVIOURS = {
    "steady": f"trap 'exit 0' TERM; {_FOREVER}",
    "ignores_sigterm": f"trap '' TERM; {_FOREVER}",
    "slow_stopper": f"trap 'sleep 2; exit 0' TERM; {_FOREVER}",
    "ends": "exit 0",
    "fails": "exit 3",
    "fails_to_start": "",
    # The subshells ignore SIGTERM as the first process does without a handler: they end with it.
    "holds_memory": "{ head -c 52428800 /dev/zero; exec sleep 100000; } | dd bs=64M iflag=fullblock of=/dev/null",
    "holds_shared_memory": "head -c 52428800 /dev/zero > /dev/shm/held; exec sleep 100000",
    "fills_page_cache": "head -c 104857600 /dev/zero > /file; sync; cat /file > /dev/null; exec sleep 100000",
    "burns": "while :; do :; done",
}


class World(Protocol):
    """Containers of any kind on some engine, and that engine as Guardian sees it."""

    engine: Engine
    scope: Scope

    def service(self, name: str, behaviour: str = "steady", *, number: int = 1, run: bool = True) -> str:
        """A container of the service `name` in the project in scope; returns its id."""
        ...

    def remove(self, container_id: str) -> None: ...


class RealWorld:
    """On a private Docker Engine."""

    def __init__(self, host: PrivateEngine) -> None:
        self.host = host
        self.scope = Scope((PROJECT,), ("lone",))
        self.engine: Engine = self.open()
        self._client = host.client()
        self._made: list[str] = []

    def open(self, timeout_s: float = 10.0) -> DockerEngine:
        return DockerEngine(self.host.url, timeout_s, SystemClock(), NullTelemetry())

    def service(self, name: str, behaviour: str = "steady", *, number: int = 1, run: bool = True) -> str:
        labels = {
            "com.docker.compose.project": PROJECT,
            "com.docker.compose.service": name,
            "com.docker.compose.container-number": str(number),
        }
        command = ["/no/such/program"] if behaviour == "fails_to_start" else None
        return self.container(f"{PROJECT}_{name}_{number}", behaviour, labels=labels, run=run, command=command)

    def container(
        self,
        name: str,
        behaviour: str = "steady",
        *,
        labels: Mapping[str, str] | None = None,
        run: bool = True,
        command: list[str] | None = None,
        stop_timeout: int | None = None,
        healthcheck: Mapping[str, object] | None = None,
        **host_config: object,
    ) -> str:
        """Any container at all; `host_config` as docker-py's `create_host_config` takes it."""
        made = self._client.create_container(
            BUSYBOX,
            command or ["sh", "-c", BEHAVIOURS[behaviour]],
            name=name,
            labels=dict(labels or {}),
            stop_timeout=stop_timeout,
            healthcheck=healthcheck,
            host_config=self._client.create_host_config(network_mode=host_config.pop("network_mode", "none"), **host_config),
        )
        self._made.append(made["Id"])
        if run:
            self._client.start(made["Id"])
        return str(made["Id"])

    def remove(self, container_id: str) -> None:
        self._client.remove_container(container_id, force=True)

    def pause(self, container_id: str) -> None:
        self._client.pause(container_id)

    def rename(self, container_id: str, name: str) -> None:
        self._client.rename(container_id, name)

    def restart(self, container_id: str) -> None:
        """As an operator does, at once."""
        self._client.restart(container_id, timeout=0)

    def execute(self, container_id: str, command: list[str]) -> None:
        self._client.exec_start(self._client.exec_create(container_id, command)["Id"])

    def exists(self, container_id: str, path: str) -> bool:
        """Whether there is such a file in it."""
        try:
            self._client.get_archive(container_id, path)
        except docker.errors.NotFound:
            return False
        return True

    def usage_bytes(self, container_id: str) -> int:
        """All memory charged to it, page cache included."""
        return int(self._client.stats(container_id, stream=False, one_shot=True)["memory_stats"]["usage"])

    def reset(self) -> None:
        self.engine.close()
        for container_id in self._made:
            try:
                self.remove(container_id)
            except docker.errors.NotFound:
                continue
        for volume in self._client.volumes()["Volumes"] or ():
            self._client.remove_volume(volume["Name"])
        self._client.close()


class SimulatedWorld:
    """On the simulated engine, on the real clock."""

    def __init__(self) -> None:
        self.scope = Scope((PROJECT,), ("lone",))
        self._simulated = SimulatedEngine(Scenario(project=PROJECT), SystemClock())
        self.engine: Engine = self._simulated

    def service(self, name: str, behaviour: str = "steady", *, number: int = 1, run: bool = True) -> str:
        specs = {
            "steady": Service(memory=5 * MIB),
            "ignores_sigterm": Service(stop=Stop(ignores_sigterm=True)),
            "slow_stopper": Service(stop=Stop(takes=2.0)),
            "fails_to_start": Service(starts="refused"),
            "holds_memory": Service(memory=50 * MIB),
        }
        return self._simulated.external_create(name, specs[behaviour], number, start=run)

    def remove(self, container_id: str) -> None:
        self._simulated.external_remove(container_id)
