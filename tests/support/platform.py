"""The reference platform, made by the engine's API with the labels that Compose v2 writes: faster than Compose, and the same to see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import docker
import yaml
from support.standin import IMAGE, Stamp, StandinStatus, read_stamps, read_status
from support.waiting import eventually

from guardian.units import parse_bytes

MIB = 1024 * 1024
COMPOSE_FILE = Path(__file__).parents[2] / "config" / "compose.reference.yml"
_LABEL = "com.docker.compose."
_AT_ONCE = 6  # more only make dockerd wait for itself
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Standin:
    """One service as compose.reference.yml has it."""

    name: str
    memory_bytes: int
    cores: float
    depends_on: tuple[str, ...]
    memory_limit_bytes: int | None
    memory_reservation_bytes: int | None
    cpu_limit_cores: float | None


def reference_services() -> tuple[Standin, ...]:
    """All 32, in the order of the file: phase 1 first."""
    written = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    return tuple(_standin(name, service) for name, service in written.items())


def _standin(name: str, service: Mapping[str, Any]) -> Standin:
    def size(key: str) -> int | None:
        return parse_bytes(service[key].replace("m", "MiB").replace("g", "GiB")) if key in service else None

    return Standin(
        name=name,
        memory_bytes=parse_bytes(service["environment"]["STANDIN_MEMORY"]),
        cores=float(service["environment"]["STANDIN_CPU"]),
        depends_on=tuple(service.get("depends_on", ())),
        memory_limit_bytes=size("mem_limit"),
        memory_reservation_bytes=size("mem_reservation"),
        cpu_limit_cores=service.get("cpus"),
    )


def _once_ended(exec_: dict[str, Any]) -> dict[str, Any] | None:
    return None if exec_["Running"] else exec_


class ReferencePlatform:
    """The 32 services (or `only` some) of one project on the engine at `url`, which needs the stand-in's image.

    `memory_bytes` and `cores` are totals: each service gets its part of them as in the file. `environment` adds to the
    environment of single services (`{"kibana": {"STANDIN_STOP": "slow:5s"}}`), `options` to what the API is asked
    for (`{"redis": {"HostConfig": {"RestartPolicy": {"Name": "always"}}}}`, merged a level deep).
    """

    def __init__(
        self,
        url: str,
        *,
        project: str = "openpolicy",
        only: Collection[str] | None = None,
        memory_bytes: int | None = None,
        cores: float | None = None,
        health_every_s: float | None = None,
        restart_policy: str = "unless-stopped",
        environment: Mapping[str, Mapping[str, str]] | None = None,
        options: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        self.project = project
        self.services = tuple(service for service in reference_services() if only is None or service.name in only)
        total_bytes = sum(service.memory_bytes for service in self.services)
        total_cores = sum(service.cores for service in self.services)
        self._memory_factor = 1.0 if memory_bytes is None else memory_bytes / total_bytes
        self._cpu_factor = 1.0 if cores is None else cores / total_cores
        self._health_every_s = health_every_s
        self._restart_policy = restart_policy
        self._environment = environment or {}
        self._options = options or {}
        self._client = docker.APIClient(url, version="auto", timeout=60)

    # --- its life ---------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Create and start every service, and return once each holds its memory."""
        self._each(self._create, self.services)
        self._each(lambda service: self._client.start(self.container(service.name)), self.services)
        eventually(lambda: self._each(self._holds, self.services), "every service holds its memory", timeout_s=120, every_s=0.2)

    def remove(self) -> None:
        """Remove every container of the project, whatever became of it, and close the connection."""
        eventually(lambda: self._each(self._removed, [row["Id"] for row in self._rows()]), "every container is removed")
        self._client.close()

    def container(self, service: str) -> str:
        """The name of its container, as Compose v2 builds it."""
        return f"{self.project}-{service}-1"

    def memory_bytes(self, service: str) -> int:
        """What it holds from the start."""
        if written := self._environment.get(service, {}).get("STANDIN_MEMORY"):
            return parse_bytes(written)
        return int(next(each.memory_bytes for each in self.services if each.name == service) * self._memory_factor)

    # --- what it is -------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """Service -> state, as `docker ps -a` shows it."""
        return {row["Labels"][f"{_LABEL}service"]: row["State"] for row in self._rows()}

    def ids(self) -> dict[str, str]:
        """Container id -> service."""
        return {row["Id"]: row["Labels"][f"{_LABEL}service"] for row in self._rows()}

    def running(self) -> set[str]:
        return {service for service, state in self.states().items() if state == "running"}

    def status(self, service: str) -> StandinStatus:
        # A busy engine loses now and then what a command printed.
        return read_status(eventually(lambda: self.ctl(service, "status"), f"{service}: ctl status prints something"))

    def stamps(self, service: str) -> list[Stamp]:
        """When it took its memory, block by block; of every run of it."""
        return read_stamps(self._client.logs(self.container(service), stdout=True, stderr=False).decode())

    # --- orders to a stand-in ---------------------------------------------------------------------------------------

    def hold(self, service: str, size_bytes: int) -> None:
        """Returns once it holds that much."""
        self.ctl(service, "hold", str(size_bytes))

    def jump(self, service: str, size_bytes: int) -> None:
        """As `hold`, without waiting."""
        self.ctl(service, "jump", str(size_bytes))

    def grow(self, service: str, to_bytes: int, bytes_per_s: int) -> None:
        """Grow steadily; does not wait."""
        self.ctl(service, "grow", str(to_bytes), f"{bytes_per_s}B/s")

    def cpu(self, service: str, cores: float) -> None:
        self.ctl(service, "cpu", f"{cores:g}")

    def cache(self, service: str, size_bytes: int) -> None:
        """Returns once the page cache is filled with a file of that size."""
        self.ctl(service, "cache", str(size_bytes))

    def sick(self, service: str) -> None:
        self.ctl(service, "sick")

    def well(self, service: str) -> None:
        self.ctl(service, "well")

    def ctl(self, service: str, *words: str) -> str:
        """One order to the stand-in, and its answer."""
        made = self._client.exec_create(self.container(service), ["/standin", "ctl", *words])
        answer = self._client.exec_start(made["Id"]).decode()
        # On a busy host its output may end a moment before the engine has seen its end.
        ended = eventually(lambda: _once_ended(self._client.exec_inspect(made["Id"])), f"{service}: ctl {words[0]} ends")
        assert ended["ExitCode"] == 0, f"{service}: ctl {' '.join(words)}: {answer}"
        return answer

    def order(self, service: str, *words: str) -> None:
        """One order to the stand-in, whose answer nobody waits for."""
        made = self._client.exec_create(self.container(service), ["/standin", "ctl", *words])
        self._client.exec_start(made["Id"], detach=True)

    # --- what an operator does --------------------------------------------------------------------------------------

    def stop(self, service: str) -> None:
        self._client.stop(self.container(service), timeout=10)

    def start(self, service: str) -> None:
        self._client.start(self.container(service))

    def discard(self, service: str) -> None:
        """Remove its container, as `docker rm -f` does."""
        self._client.remove_container(self.container(service), force=True)

    def create(self, service: str) -> None:
        """A new container for it, not started, as `docker compose create` does."""
        self._create(next(one for one in self.services if one.name == service))

    # --- how --------------------------------------------------------------------------------------------------------

    def _create(self, service: Standin) -> None:
        environment = {
            "STANDIN_MEMORY": str(int(service.memory_bytes * self._memory_factor)),
            "STANDIN_CPU": f"{service.cores * self._cpu_factor:g}",
            **self._environment.get(service.name, {}),
        }
        host = {
            "NetworkMode": "none",
            "RestartPolicy": {"Name": self._restart_policy},
            "Memory": service.memory_limit_bytes or 0,
            "MemoryReservation": service.memory_reservation_bytes or 0,
            "NanoCpus": int((service.cpu_limit_cores or 0) * 1e9),
        }
        config: dict[str, Any] = {
            "Image": IMAGE,
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Labels": self._labels(service),
            "HostConfig": host,
        }
        if self._health_every_s is not None:
            every_ns = int(self._health_every_s * 1e9)
            config["Healthcheck"] = {"Test": ["CMD", "/standin", "health"], "Interval": every_ns, "Timeout": 5_000_000_000}
        for section, values in self._options.get(service.name, {}).items():
            config[section] = {**config.get(section, {}), **values}
        self._client.create_container_from_config(config, self.container(service.name))

    def _labels(self, service: Standin) -> dict[str, str]:
        return {
            f"{_LABEL}project": self.project,
            f"{_LABEL}service": service.name,
            f"{_LABEL}container-number": "1",
            f"{_LABEL}oneoff": "False",
            f"{_LABEL}config-hash": hashlib.sha256(service.name.encode()).hexdigest(),
            f"{_LABEL}depends_on": ",".join(f"{name}:service_started:false" for name in service.depends_on),
            f"{_LABEL}version": "2.24.0",
        }

    def _removed(self, container_id: str) -> bool:
        """False where the engine has to be asked again: another program may hold the mount of its root for a moment."""
        try:
            self._client.remove_container(container_id, force=True)
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError:
            return False
        return True

    def _holds(self, service: Standin) -> bool:
        wanted_bytes = self.memory_bytes(service.name)
        return any(stamp.to_bytes >= wanted_bytes - 4096 for stamp in self.stamps(service.name))

    def _rows(self) -> list[dict[str, Any]]:
        return self._client.containers(all=True, filters={"label": f"{_LABEL}project={self.project}"})

    def _each(self, work: Callable[[Any], _Value], items: Iterable[Any]) -> bool:
        """Do it for all, some at a time; whether every answer was a yes."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return all(list(pool.map(work, items)))
