"""The processes of stand-ins, seen and ordered past the engine: for tests in which that hangs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.standin import standin_program


class Processes:
    """Those of `services`, as they run now."""

    def __init__(self, platform: ReferencePlatform, engine: PrivateEngine, services: Iterable[str]) -> None:
        client = engine.client()
        self._pids = {one: client.inspect_container(platform.container(one))["State"]["Pid"] for one in services}
        client.close()

    def alive(self) -> set[str]:
        return {name for name, pid in self._pids.items() if _lives(pid)}

    def hangs(self, service: str) -> bool:
        """Whether a thread of it waits for a disk, and cannot be killed."""
        tasks = Path(f"/proc/{self._pids[service]}/task").iterdir()
        return any((task / "stat").read_text().rpartition(")")[2].split()[0] == "D" for task in tasks)

    def grow(self, service: str, size_bytes: int) -> None:
        """At 200 MiB a second; does not wait."""
        self._ctl(service, "grow", str(size_bytes), f"{200 * MIB}B/s")

    def jump(self, service: str, size_bytes: int) -> None:
        """Up or down, as fast as it can; does not wait."""
        self._ctl(service, "jump", str(size_bytes))

    def _ctl(self, service: str, *words: str) -> None:
        """One order, by the socket in the container's root."""
        socket = f"/proc/{self._pids[service]}/root/standin.sock"
        order = [standin_program(), "ctl", *words]
        subprocess.run(order, env={"STANDIN_SOCKET": socket}, check=True, capture_output=True, timeout=10)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
