"""One sampling of all containers by their cgroup files: guardian's reader, and the floor that does the same reads."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from bench.figures import FLOOR, GUARDIAN, Figure
from bench.programs import program
from bench.stage import PROJECT
from bench.stats import summarise
from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.engine.protocol import Scope
from guardian.model import Container
from guardian.sense.cgroup_paths import CgroupFinder, find_hierarchy
from guardian.sense.cgroups import CgroupReader
from guardian.telemetry import NullTelemetry

ROUNDS = 40
PAUSE_MS = 110  # stand-ins work once each 100 ms
_WARM_UP = 3
_ROOT = "/sys/fs/cgroup"


def listed(url: str) -> tuple[Container, ...]:
    """The project's containers, as guardian knows them."""
    engine = DockerEngine(url, 30.0, SystemClock(), NullTelemetry())
    try:
        return engine.containers(Scope((PROJECT,), ()))
    finally:
        engine.close()


def measure_sampling(
    containers: Sequence[Container], size: int, rounds: int = ROUNDS, pause_ms: int = PAUSE_MS
) -> list[Figure]:
    """Between two rounds, something moves in every container: `pause_ms` has to be as long as that takes."""
    reader = CgroupReader(SystemClock())
    try:
        reader.follow(containers)
        assert len(reader.covered) == size, f"{len(reader.covered)} of {size} containers have a cgroup that can be read"
        walls, cpus = [], []
        for _ in range(rounds + _WARM_UP):
            time.sleep(pause_ms / 1000)
            began_ns, used_ns = time.perf_counter_ns(), time.thread_time_ns()
            readings = reader.read()
            cpus.append((time.thread_time_ns() - used_ns) / 1e6)
            walls.append((time.perf_counter_ns() - began_ns) / 1e6)
            assert len(readings.usage) == size
    finally:
        reader.close()
    floor_walls, floor_cpus = _floor([container.id for container in containers], rounds, pause_ms)
    return [
        Figure("sampling", GUARDIAN, size, summarise(walls[_WARM_UP:])),
        Figure("sampling_cpu", GUARDIAN, size, summarise(cpus[_WARM_UP:])),
        Figure("sampling", FLOOR, size, summarise(floor_walls)),
        Figure("sampling_cpu", FLOOR, size, summarise(floor_cpus)),
    ]


def _floor(ids: Sequence[str], rounds: int, pause_ms: int) -> tuple[list[float], list[float]]:
    """Wall and CPU milliseconds of each round."""
    hierarchy = find_hierarchy(_ROOT)
    assert hierarchy is not None, "no cgroup hierarchy that can be read"
    paths = CgroupFinder(SystemClock(), hierarchy.memory).locate(ids)
    usage, cpu = ("memory.usage_in_bytes", "cpuacct.usage") if hierarchy.version == 1 else ("memory.current", "cpu.stat")
    files = [
        file
        for path in paths.values()
        for file in (
            f"{hierarchy.memory}/{path}/memory.stat",
            f"{hierarchy.memory}/{path}/{usage}",
            f"{hierarchy.cpu}/{path}/{cpu}",
        )
    ]
    ran = subprocess.run(
        [program("floor"), str(rounds + _WARM_UP), str(pause_ms)],
        input="\n".join(files), capture_output=True, text=True, check=True,
    )  # fmt: skip
    read = [line.split() for line in ran.stdout.splitlines()][_WARM_UP:]
    return [int(wall) / 1e6 for wall, _ in read], [int(cpu) / 1e6 for _, cpu in read]
