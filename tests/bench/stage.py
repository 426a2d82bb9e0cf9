"""The stage for what needs a real engine: a private one with some number of containers, which may only grow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import yaml
from support.platform import MIB, ReferencePlatform, reference_services
from support.private_engine import PrivateEngine
from support.settings import REFERENCE_FILE
from support.standin import IMAGE, import_standin
from support.waiting import eventually

from bench.procs import pids_of_engine

PROJECT = "openpolicy"
REFERENCE_COUNT = 32
EXTRA_BYTES = 2 * MIB
EXTRA_CORES = 0.0005  # something moves in every container between two readings, as in real ones
REFERENCE_CORES = 0.1
_AT_ONCE = 6  # more only make dockerd wait for itself
_LABEL = "com.docker.compose."


def extra_names(count: int) -> tuple[str, ...]:
    """Services beyond the reference platform, where `count` containers are wanted in all."""
    return tuple(f"extra-{number:03}" for number in range(1, count - REFERENCE_COUNT + 1))


def settings(url: str, names: Sequence[str], changes: Mapping[str, Any]) -> str:
    """YAML: config/guardian.yaml with those of its services that are in `names`; all others of them in its last phase.

    `changes` replace whole keys.
    """
    written = yaml.safe_load(REFERENCE_FILE.read_text())
    listed = {service for phase in written["phases"] for service in phase["services"]}
    for phase in written["phases"]:
        phase["services"] = [service for service in phase["services"] if service in names]
    written["phases"][-1]["services"] += [name for name in names if name not in listed]
    written["services"] = {name: value for name, value in written["services"].items() if name in names}
    written["emergency"]["keep"] = [name for name in written["emergency"]["keep"] if name in names]
    return yaml.safe_dump({**written, "engine": {"url": url}, **changes}, sort_keys=False)


class Stage:
    """A context manager: everything is gone at its end."""

    def __init__(self, memory_bytes: int | None = None) -> None:
        """`memory_bytes`: what the whole reference platform holds, where it is not as in its Compose file."""
        self.engine = PrivateEngine()
        self._memory_bytes = memory_bytes
        self.platforms: list[ReferencePlatform] = []
        self._extras: list[str] = []
        self._client: docker.APIClient | None = None

    def __enter__(self) -> Stage:
        try:
            self.engine.start()
            import_standin(self.engine)
        except BaseException:
            self.engine.remove()
            raise
        self._client = self.engine.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.remove()

    @property
    def client(self) -> docker.APIClient:
        assert self._client is not None
        return self._client

    @property
    def names(self) -> tuple[str, ...]:
        """Of every service, in the order of the reference, then the extra ones."""
        return (*(service.name for platform in self.platforms for service in platform.services), *self._extras)

    @property
    def size(self) -> int:
        return len(self.names)

    def grow_to(self, count: int) -> None:
        """The first services of the reference platform, and small ones beyond its 32."""
        reference = reference_services()[:count]
        more = [service for service in reference if service.name not in self.names]
        if more:
            total_cores = sum(service.cores for service in reference_services())
            total_bytes = sum(service.memory_bytes for service in reference_services())
            platform = ReferencePlatform(
                self.engine.url,
                only=[service.name for service in more],
                cores=REFERENCE_CORES * sum(service.cores for service in more) / total_cores,
                memory_bytes=None
                if self._memory_bytes is None
                else int(self._memory_bytes * sum(service.memory_bytes for service in more) / total_bytes),
            )
            platform.up()
            self.platforms.append(platform)
        self.add([name for name in extra_names(count) if name not in self._extras], EXTRA_BYTES, EXTRA_CORES)

    def add(self, names: Sequence[str], memory_bytes: int, cores: float) -> None:
        """Small services beside the reference platform; returns once they run."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self._add(name, memory_bytes, cores), names))
        self._extras += names

    def hold(self, name: str) -> ReferencePlatform:
        """The platform that has this service."""
        return next(platform for platform in self.platforms if name in {service.name for service in platform.services})

    def engine_pids(self) -> tuple[int, ...]:
        return pids_of_engine(self.engine.home)

    def settle(self) -> None:
        """Wait until the engine is done with what was asked of it."""
        eventually(lambda: len(self.client.containers(quiet=True)) >= self.size, "all containers run", 60)

    @property
    def docker_program(self) -> str:
        """The client that came with the engine, where it is known."""
        folder = os.environ.get("GUARDIAN_TEST_DOCKERD_DIR")
        places = ":".join([*([f"{folder}/usr/bin"] if folder else []), "/usr/bin", os.environ.get("PATH", "")])
        found = shutil.which("docker", path=places)
        assert found is not None, "no docker command: apt-get install docker.io"
        return found

    @property
    def docker_environ(self) -> dict[str, str]:
        """For programs that follow DOCKER_HOST."""
        config = self.engine.home / "client"
        config.mkdir(exist_ok=True)
        return {**os.environ, "DOCKER_HOST": self.engine.url, "DOCKER_CONFIG": str(config), "HOME": str(self.engine.home)}

    def config(self, **changes: Any) -> str:
        return settings(self.engine.url, self.names, changes)

    def _add(self, name: str, memory_bytes: int, cores: float) -> None:
        labels = {
            f"{_LABEL}project": PROJECT, f"{_LABEL}service": name, f"{_LABEL}container-number": "1",
            f"{_LABEL}oneoff": "False", f"{_LABEL}version": "2.24.0",
        }  # fmt: skip
        config = {
            "Image": IMAGE,
            "Env": [f"STANDIN_MEMORY={memory_bytes}", f"STANDIN_CPU={cores:g}"],
            "Labels": labels,
            "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": "unless-stopped"}},
        }
        self.client.create_container_from_config(config, f"{PROJECT}-{name}-1")
        self.client.start(f"{PROJECT}-{name}-1")
