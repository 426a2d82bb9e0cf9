"""What containers receive and send, from `/proc/PID/net/dev` of one of their processes: the counters of its network namespace.

Anybody may read it. A container in the host's network has the host's counters, and one in another's has that one's: unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guardian.model import Container, ContainerState, ServiceKey
from guardian.objectives.accumulate import Traffic

ELSEWHERE = {"host": "host network", "container": "another's network"}


@dataclass(frozen=True, slots=True)
class _Reading:
    pid: int
    at_s: float
    rx_bytes: int
    tx_bytes: int


class TrafficReader:
    """For one thread. Each `read` tells what has come and gone since the one before."""

    def __init__(self, proc_root: str = "/proc") -> None:
        self._proc = Path(proc_root)
        self._known: dict[str, _Reading] = {}

    def read(self, containers: Iterable[Container], now_s: float, now_wall_s: float) -> list[Traffic]:
        """Of each service that runs; one with a replica whose counters are not known is left out, or says why."""
        services: dict[ServiceKey, list[Container]] = {}
        for one in containers:
            if one.state is ContainerState.RUNNING and not one.oneoff:
                services.setdefault(one.service, []).append(one)
        before, self._known = self._known, {}
        found = []
        for key, replicas in services.items():
            elsewhere = next((ELSEWHERE[one.network] for one in replicas if one.network in ELSEWHERE), "")
            if elsewhere:
                found.append(Traffic(key, now_wall_s, unknown=elsewhere))
                continue
            parts = [self._since(one, before.get(one.id), now_s) for one in replicas]
            known = [part for part in parts if part is not None]
            if known and len(known) == len(parts):
                seconds = min(part[0] for part in known)
                found.append(Traffic(key, now_wall_s, seconds, sum(part[1] for part in known), sum(part[2] for part in known)))
        return found

    def _since(self, container: Container, before: _Reading | None, now_s: float) -> tuple[float, int, int] | None:
        """Seconds, bytes received and sent since the reading before; None at the first of a run, or where it cannot be read."""
        counters = self._counters(container)
        if counters is None or container.pid is None:
            return None
        self._known[container.id] = _Reading(container.pid, now_s, *counters)
        if before is None or before.pid != container.pid:
            return None
        rx, tx = counters[0] - before.rx_bytes, counters[1] - before.tx_bytes
        return (now_s - before.at_s, rx, tx) if rx >= 0 and tx >= 0 else None

    def _counters(self, container: Container) -> tuple[int, int] | None:
        """Of all its interfaces but the loopback. The process must be one of the container: numbers are used again."""
        if container.pid is None:
            return None
        process = self._proc / str(container.pid)
        try:
            if container.id not in (process / "cgroup").read_text():
                return None
            lines = (process / "net" / "dev").read_text().splitlines()[2:]
        except (OSError, UnicodeDecodeError):
            return None
        rx = tx = 0
        for line in lines:
            name, _, figures = line.partition(":")
            columns = figures.split()
            if name.strip() == "lo" or len(columns) < 9 or not (columns[0].isdecimal() and columns[8].isdecimal()):
                continue
            rx, tx = rx + int(columns[0]), tx + int(columns[8])
        return rx, tx
