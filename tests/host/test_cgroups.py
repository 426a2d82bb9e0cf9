"""What guardian says of each container on cgroup v2, beside what the engine and the kernel say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from host.guarded import Host

MIB = 1024 * 1024
# Of each container's cgroup, in one look: what the kernel counts, and what it says of pressure.
_LOOK = """
import json, re, subprocess
from pathlib import Path
listed = subprocess.run(["docker", "ps", "--no-trunc", "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}'],
                        capture_output=True, text=True, check=True).stdout
seen = {}
for container, service in (line.split() for line in listed.splitlines()):
    group = Path(f"/sys/fs/cgroup/system.slice/docker-{container}.scope")
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    seen[service] = {
        "current": int((group / "memory.current").read_text()),
        "stat": {key: int(value) for key, value in stat.items()},
        "full_avg10": float(re.search(r"full avg10=([0-9.]+)", (group / "memory.pressure").read_text())[1]),
    }
print(json.dumps(seen))
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """Of one moment, as near as three programs can be: service -> what each says."""

    guardian: dict[str, dict[str, Any]]
    engine: dict[str, int]  # what `docker stats` shows as memory
    kernel: dict[str, dict[str, Any]]
    host: dict[str, Any]
    host_full_avg10: float


@pytest.fixture(scope="module")
def sight(host: Host, record: Callable[[str, object], None]) -> Sight:
    host.await_(lambda: all(one["footprint_bytes"] for one in host.status()["services"]), "guardian knows every footprint", 60)
    kernel = json.loads(host.must("python3", "-c", _LOOK))
    status = host.status()
    full = float(host.sh("grep -oP 'full avg10=\\K[0-9.]+' /proc/pressure/memory"))
    stats = host.must("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", timeout_s=120)
    engine = {
        name.split("-", 1)[1].rsplit("-", 1)[0]: _bytes(used)
        for name, used in (line.split()[:2] for line in stats.splitlines())
    }
    guardian = {one["service"].partition("/")[2]: one for one in status["services"]}
    record("cgroups", {service: [guardian[service]["working_set_bytes"], engine[service]] for service in guardian})
    return Sight(guardian, engine, kernel, status["host"], full)


def _bytes(shown: str) -> int:
    number = shown.rstrip("KMGiB")
    return int(float(number) * {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}[shown.removeprefix(number)])


def test_working_sets_are_those_of_docker_stats(sight: Sight) -> None:
    """For each of the 32, guardian's working set is what `docker stats` shows, within 2 MiB."""
    assert set(sight.guardian) == set(sight.engine)
    for service, one in sight.guardian.items():
        assert one["working_set_bytes"] == pytest.approx(sight.engine[service], abs=2 * MIB), service


def test_footprints_are_the_unreclaimable_part_of_the_cgroup(sight: Sight) -> None:
    """For each, its footprint is what the kernel counts as anonymous, shared, unreclaimable slab, stacks and page tables, within 2 MiB."""
    for service, one in sight.guardian.items():
        stat = sight.kernel[service]["stat"]
        held = sum(stat[part] for part in ("anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables"))
        assert one["footprint_bytes"] == pytest.approx(held, abs=2 * MIB), service
        assert one["footprint_bytes"] <= sight.kernel[service]["current"] + 2 * MIB


def test_the_footprint_is_what_a_service_holds(sight: Sight) -> None:
    """The footprints of all 32 sum up to the 2.3 GiB that the stand-ins hold, and a little for their processes."""
    total = sum(one["footprint_bytes"] for one in sight.guardian.values())
    assert 2300 * MIB < total < 2500 * MIB


def test_pressure_is_the_kernels(sight: Sight) -> None:
    """The kernel gives PSI for every container and the host, and guardian's figure for the host is that."""
    assert sight.host["memory_full_avg10_ratio"] == pytest.approx(sight.host_full_avg10 / 100, abs=0.05)
    assert all(one["full_avg10"] >= 0 for one in sight.kernel.values())
