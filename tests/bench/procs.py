"""What processes use, as the kernel tells it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024
_PROCESS_CLOCK = 2  # clock_getcpuclockid(3): the CPU time of a whole process, threads that ended included, in nanoseconds


def cpu_s(pid: int) -> float:
    """User and system time of all threads since it began. Raises OSError once it has ended."""
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


@dataclass(frozen=True, slots=True)
class Memory:
    rss_mib: float
    pss_mib: float
    uss_mib: float


def memory(pid: int) -> Memory:
    """From /proc/PID/smaps_rollup."""
    sizes: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) / 1024
    return Memory(sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])


def pids_of_engine(home: Path) -> tuple[int, ...]:
    """dockerd, containerd and every shim of a private engine: they have its home on their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command and Path(command[0]).name.startswith(("dockerd", "containerd")) and str(home) in " ".join(command):
            found.append(process.pid)
    return tuple(found)


def cpu_each(pids: Iterable[int]) -> dict[int, float]:
    """By pid, in seconds; those that have ended are left out."""
    found = {}
    for pid in pids:
        try:
            found[pid] = cpu_s(pid)
        except OSError:
            continue
    return found


def spent_s(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """By those that were there both times."""
    return sum(after[pid] - before[pid] for pid in before.keys() & after.keys())


@dataclass(frozen=True, slots=True)
class Rates:
    """CPU over one window, in milliseconds each second."""

    own: float
    engine: float


def measure(own: Iterable[int], engine: Iterable[int], window_s: float) -> Rates:
    """Wait for `window_s` and see what both have used meanwhile."""
    own, engine = tuple(own), tuple(engine)
    began_s, own_before, engine_before = time.monotonic(), cpu_each(own), cpu_each(engine)
    time.sleep(window_s)
    own_s, engine_s = spent_s(own_before, cpu_each(own)), spent_s(engine_before, cpu_each(engine))
    took_s = time.monotonic() - began_s
    return Rates(own_s / took_s * 1000, engine_s / took_s * 1000)
