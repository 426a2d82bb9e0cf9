"""`guardian limits` on a real engine, checked by the kernel's own files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from support.compose_projects import FOLDER, REFUSED, SIZES
from support.images import BUSYBOX
from support.private_engine import PrivateEngine

from guardian.cli.main import main
from guardian.compose.command import ComposeCalls, find_compose
from guardian.compose.files import find_files, read_files, variables_of
from guardian.errors import ComposeError
from guardian.limits.override import Override, override_text

MIB = 1 << 20
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
HOLDER = "dd if=/dev/zero of=/dev/shm/held bs=1M count={} 2>/dev/null; sleep 1000"


class Containers:
    """Services of a project on the engine, one container each."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.client = engine.client()
        self.ids: dict[str, str] = {}

    def add(self, service: str, held_mib: int = 0, **host: Any) -> None:
        labels = {"com.docker.compose.project": "limited", "com.docker.compose.service": service}
        config = self.client.create_host_config(network_mode="none", shm_size=256 * MIB, **host)
        command = ["sh", "-c", HOLDER.format(held_mib)]
        made = self.client.create_container(BUSYBOX, command, name=f"limited-{service}", labels=labels, host_config=config)
        self.ids[service] = made["Id"]
        self.client.start(made["Id"])

    def host_config(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.inspect_container(self.ids[service])["HostConfig"]
        return found

    def started(self) -> dict[str, str]:
        return {service: self.client.inspect_container(id_)["State"]["StartedAt"] for service, id_ in self.ids.items()}

    def kernel_memory_bytes(self, service: str) -> int | None:
        return _number(self._file(service, "memory", "memory.max" if V2 else "memory.limit_in_bytes"))

    def kernel_cores(self, service: str) -> float | None:
        if V2:
            quota, _, period = self._file(service, "cpu", "cpu.max").partition(" ")
            return None if quota == "max" else int(quota) / int(period)
        quota_us = int(self._file(service, "cpu", "cpu.cfs_quota_us"))
        return None if quota_us < 0 else quota_us / int(self._file(service, "cpu", "cpu.cfs_period_us"))

    def close(self) -> None:
        for id_ in self.ids.values():
            self.client.remove_container(id_, force=True)
        self.client.close()

    def _file(self, service: str, controller: str, name: str) -> str:
        pid = self.client.inspect_container(self.ids[service])["State"]["Pid"]
        rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        path = next(path for _, controllers, path in rows if controller in controllers.split(",") or (V2 and not controllers))
        folder = (
            Path("/sys/fs/cgroup")
            if V2
            else next(one for one in Path("/sys/fs/cgroup").iterdir() if controller in one.name.split(","))
        )
        return (folder / path.lstrip("/") / name).read_text().strip()


def _number(text: str) -> int | None:
    return None if text == "max" or int(text) > 1 << 60 else int(text)


@pytest.fixture
def containers(engine_host: PrivateEngine) -> Iterator[Containers]:
    made = Containers(engine_host)
    yield made
    made.close()


@pytest.fixture
def limits(engine_host: PrivateEngine, tmp_path: Path) -> Callable[..., Result]:
    """Run `guardian limits …` with a file that has these services in one phase."""

    def run(services: dict[str, Any], *arguments: str) -> Result:
        file = tmp_path / "guardian.yaml"
        settings = {
            "version": 1, "project": "limited", "engine": {"url": engine_host.url}, "state_dir": str(tmp_path),
            "phases": [{"phase": 1, "services": list(services)}], "services": {name: one for name, one in services.items() if one},
        }  # fmt: skip
        file.write_text(yaml.safe_dump(settings))
        return CliRunner().invoke(main, ["limits", "--config", str(file), *arguments])

    return run


def wants(memory: str | None = None, cpus: float | None = None) -> dict[str, Any]:
    return {"limits": {key: value for key, value in (("memory", memory), ("cpus", cpus)) if value is not None}}


def test_limits_reach_the_kernel_without_a_restart(containers: Containers, limits: Callable[..., Result]) -> None:
    """Limits of the file reach the kernel's files of running containers, whatever they had before, and none is restarted."""
    containers.add("bare")
    containers.add("smaller", mem_limit=64 * MIB, nano_cpus=250_000_000)
    containers.add("free-swap", mem_limit=64 * MIB, memswap_limit=-1)
    containers.add("little-swap", mem_limit=64 * MIB, memswap_limit=80 * MIB)
    containers.add("quota", cpu_quota=20_000, cpu_period=50_000)
    containers.add("right", mem_limit=96 * MIB, nano_cpus=300_000_000)
    containers.add("others", mem_limit=64 * MIB)
    before = containers.started()
    services = {name: wants("96MiB", 0.3) for name in ("bare", "smaller", "free-swap", "little-swap", "quota", "right")}
    result = limits({**services, "others": None}, "--apply")
    assert result.exit_code == 0, result.output
    assert "5 updated, 0 not, 2 as they were" in result.stdout
    for name in services:
        assert containers.kernel_memory_bytes(name) == 96 * MIB, name
        assert containers.kernel_cores(name) == pytest.approx(0.3), name
    assert containers.kernel_memory_bytes("others") == 64 * MIB
    assert containers.started() == before
    swaps = {name: containers.host_config(name)["MemorySwap"] for name in ("bare", "free-swap", "little-swap")}
    assert swaps == {"bare": 192 * MIB, "free-swap": -1, "little-swap": 112 * MIB}
    shown = json.loads(limits(services, "--json", "--sample", "0").stdout)["services"]
    assert [one["drift"] for one in shown] == [[]] * len(services)


def test_a_limit_below_what_is_held_is_refused_unless_forced(containers: Containers, limits: Callable[..., Result]) -> None:
    """A limit below what a container holds is refused and the rest is done; --force asks the engine all the same."""
    containers.add("holder", held_mib=80)
    containers.add("light")
    _wait_until_held(containers, "holder", 80)
    services = {"holder": wants("48MiB"), "light": wants("48MiB")}
    result = limits(services, "--apply")
    assert result.exit_code == 1
    assert "limited-holder: refused: the limit of 48.0 MiB is below the" in result.stderr
    assert containers.kernel_memory_bytes("holder") is None
    assert containers.kernel_memory_bytes("light") == 48 * MIB
    forced = json.loads(limits(services, "holder", "--apply", "--force", "--json").stdout)
    assert forced["refused"] == {}
    assert (forced["applied"] == ["limited-holder"]) != bool(forced["failed"])


def test_what_the_engine_refuses_is_told_and_counts_as_failed(containers: Containers, limits: Callable[..., Result]) -> None:
    """What the engine refuses is told in its words, and nothing else is held up by it."""
    containers.add("greedy")
    containers.add("modest")
    result = limits({"greedy": wants(cpus=4096), "modest": wants(cpus=0.5)}, "--apply")
    assert result.exit_code == 1
    assert "limited-greedy: the engine refused it" in result.stderr
    assert containers.kernel_cores("modest") == pytest.approx(0.5)


def test_the_table_has_use_and_drift(containers: Containers, limits: Callable[..., Result]) -> None:
    """What is shown has limits of the file and in force, use, a proposal, and what is not as in the file."""
    containers.add("holder", held_mib=40, mem_limit=128 * MIB)
    _wait_until_held(containers, "holder", 40)
    services = {"holder": wants("256MiB", 0.5)}
    result = limits(services, "--json", "--sample", "2s")
    assert result.exit_code == 0, result.output
    (shown,) = json.loads(result.stdout)["services"]
    assert shown["configured"] == {"memory_bytes": 256 * MIB, "cores": 0.5}
    assert shown["in_force"] == {"limited-holder": {"memory_bytes": 128 * MIB, "swap_bytes": 256 * MIB, "cores": None}}
    assert 40 * MIB <= shown["used_p95"]["memory_bytes"] < 48 * MIB
    assert shown["proposed"]["memory_bytes"] in (64 * MIB, 80 * MIB)
    assert shown["drift"] == ["memory", "cpu"]
    assert "memory and cpu not as in the file" in limits(services, "--sample", "0").stdout


def test_compose_takes_what_is_written(containers: Containers, limits: Callable[..., Result], tmp_path: Path) -> None:
    """`--write` makes a file that the installed Compose takes over the project's own, and never overwrites one."""
    containers.add("web", mem_limit=64 * MIB)
    base, output = tmp_path / "compose.yml", tmp_path / "compose.limits.yml"
    base.write_text(f'version: "3.8"\nservices: {{web: {{image: "{BUSYBOX}", cpus: 0.25, ports: ["8080:80"]}}}}\n')
    arguments = ("--write", str(output), "-f", str(base), "--sample", "0")
    result = limits({"web": wants("128MiB")}, *arguments)
    assert result.exit_code == 0, result.output
    assert "takes it over your files" in result.stdout
    assert limits({"web": wants("128MiB")}, *arguments).exit_code == 1
    web = read_files([base, output], tmp_path, {}).services["web"]
    assert (web.memory_limit_bytes, web.cpu_limit_cores, web.health_check) == (128 * MIB, 0.25, True)


@pytest.mark.parametrize("name", SIZES)
def test_compose_takes_an_override_of_every_project(name: str, tmp_path: Path) -> None:
    """Compose takes limits and health checks for every service over each of the projects that it takes by itself."""
    files = find_files(FOLDER / name, {})
    project = read_files(files, FOLDER / name, variables_of(FOLDER / name, {}))
    output = tmp_path / "override.yml"
    output.write_text(override_text(project, [Override(one, 192 * MIB, 64 * MIB, 0.75) for one in project.services]))
    compose = find_compose(os.environ)[0]
    calls = ComposeCalls(compose, (*files, output), FOLDER / name, name)
    profiles = [profile for one in project.services.values() for profile in one.profiles]
    if name in REFUSED:
        with pytest.raises(ComposeError, match=REFUSED[name]):
            ComposeCalls(compose, files, FOLDER / name, name).config(profiles)
        own = read_files([*files, output], FOLDER / name, {})
        assert all(one.memory_limit_bytes == 192 * MIB for one in own.services.values())
        return
    written = yaml.safe_load(calls.config(profiles))
    for service in project.services:
        resources = written["services"][service]["deploy"]["resources"]
        assert (resources["limits"]["memory"], float(resources["limits"]["cpus"])) in (("192m", 0.75), (str(192 * MIB), 0.75))
    healthy = {one for one, service in written["services"].items() if "healthcheck" in service}
    assert {one for one, service in project.services.items() if service.health_check} <= healthy


def _wait_until_held(containers: Containers, service: str, held_mib: int) -> None:
    from support.waiting import eventually

    def held() -> bool:
        stats = containers.client.stats(containers.ids[service], stream=False)["memory_stats"]
        return bool(stats.get("usage", 0) >= held_mib * MIB)

    eventually(held, f"{service} holds {held_mib} MiB", 30)
