"""Ending a container by signal on the kernel's own cgroups, v1 and v2. The system tests do it with the engine's containers."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.act_signals import Signaller
from guardian.clock import SystemClock
from guardian.model import Result

ID = "ef" * 32
LONG_S = 20.0  # only a test that fails waits so long


class Group:
    """A real cgroup named as a container's, with one below it, where `Signaller` at `root` finds it."""

    def __init__(self, mount: Path, root: Path, version: int) -> None:
        self._top = mount / "guardian-test-signals"
        self._folders = (self._top, self._top / ID, self._top / ID / "below")
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
        top = root
        if version == 1:
            top = root / "memory"
            (root / "cpuacct").mkdir()
        top.mkdir(exist_ok=True)
        (top / "memory.stat").touch()
        if version == 2:
            (top / "cgroup.controllers").write_text("memory\n")
        (top / "docker").symlink_to(self._top)
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def home(self) -> Path:
        return self._folders[1]

    def add(self, *, below: bool = False) -> subprocess.Popen[bytes]:
        """A new process in it, reaped as a shim does."""
        process = subprocess.Popen(["sleep", "1000"])
        (self._folders[2 if below else 1] / "cgroup.procs").write_text(str(process.pid))
        threading.Thread(target=process.wait, daemon=True).start()
        self.processes.append(process)
        return process

    def remove(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(LONG_S)
        for folder in reversed(self._folders):
            folder.rmdir()


def mounts(kind: str, option: str = "") -> list[Path]:
    rows = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(row[1]) for row in rows if row[2] == kind and (not option or option in row[3].split(","))]


@pytest.fixture(params=(*mounts("cgroup", "memory")[:1], *mounts("cgroup2")[:1]), ids=str)
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Group, Signaller]]:
    """On each hierarchy that this kernel has mounted."""
    version = 2 if request.param in mounts("cgroup2") else 1
    group = Group(request.param, tmp_path, version)
    yield group, Signaller(SystemClock(), str(tmp_path))
    group.remove()


def test_all_processes_of_a_real_cgroup_are_killed(group: tuple[Group, Signaller]) -> None:
    """All processes of a real cgroup are killed, those of cgroups below it too, and then none is left."""
    cgroup, signaller = group
    assert signaller.problem() == ""
    processes = [cgroup.add(), cgroup.add(), cgroup.add(below=True)]
    assert signaller.stop(ID, 0.0, LONG_S) is Result.DONE
    assert [process.wait(LONG_S) for process in processes] == [-signal.SIGKILL] * 3
    assert (cgroup.home / "cgroup.procs").read_text() == ""
    assert signaller.stop(ID, 0.0, LONG_S) is Result.GONE


def test_a_real_process_is_asked_first(group: tuple[Group, Signaller]) -> None:
    """With a grace a real process gets SIGTERM, and no SIGKILL where it obeys."""
    cgroup, signaller = group
    process = cgroup.add()
    assert signaller.stop(ID, LONG_S, LONG_S) is Result.DONE
    assert process.wait(LONG_S) == -signal.SIGTERM
