"""The host's memory, swap, CPU, disk and pressure. One reading takes a small part of a millisecond and never raises.

Memory, swap and CPU come from `/proc`, which shows the host even to a process in a container: a limit on guardian's own
cgroup does not change what the host has. What cannot be read is None, each part by itself.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from guardian.clock import Clock
from guardian.model import HostReading
from guardian.sense.proc import CpuTicks, ProcFile, cpu_ticks, memory_bytes, pressure, swap_bytes
from guardian.sense.rates import CPU_WINDOW_S

_CPU_WINDOW_TOLERANCE_S = 0.5  # ticks jitter: the window is complete a little before its full length
CORES_INTERVAL_S = 10.0
DISK_INTERVAL_S = 10.0
DISK_STALE_S = 60.0

DiskPath = Callable[[], str | None] | str | None

_Pair = tuple[int | None, int | None]
_UNKNOWN: _Pair = (None, None)
_TOO_MUCH = 1 << 63  # bytes
_FIRST_LINE = 512  # bytes of /proc/stat; it is a quarter of that


class HostSensor:
    """Reads the host. Not thread-safe: one job reads at a time.

    `disk_path` names a directory of the file system behind the signal `disk`, or is asked for it at each disk reading
    (the engine says it only once it answers). psutil has one `/proc` for the whole process: another `proc_root` is for tests.
    """

    def __init__(self, clock: Clock, disk_path: DiskPath, proc_root: str = "/proc") -> None:
        psutil.PROCFS_PATH = proc_root
        self._clock = clock
        self._meminfo = ProcFile(f"{proc_root}/meminfo")
        self._stat = ProcFile(f"{proc_root}/stat")
        self._pressure = tuple(ProcFile(f"{proc_root}/pressure/{name}") for name in ("cpu", "memory", "io"))
        self._cores = 1
        self._cores_s: float | None = None  # when they were counted
        self._cpu = CpuWindow()
        self._disk = DiskReader(clock, disk_path)

    def read(self) -> HostReading:
        """The host now: bytes, ratios and cores. Never raises, and never waits for a disk."""
        at_s = self._clock.monotonic()
        (memory_total, memory_available), (swap_total, swap_used) = self._memory_and_swap()
        disk = self._disk.newest()
        cpu, memory, io = (read_pressure(file) for file in self._pressure)
        return HostReading(
            at_s=at_s,
            cores=self._count_cores(at_s),
            memory_total_bytes=memory_total,
            memory_available_bytes=memory_available,
            swap_total_bytes=swap_total,
            swap_used_bytes=swap_used,
            cpu_ratio=self._cpu.add(at_s, self._cpu_ticks()),
            cpu_some_avg10_ratio=cpu.some,
            memory_some_avg10_ratio=memory.some,
            memory_full_avg10_ratio=memory.full,
            io_some_avg10_ratio=io.some,
            io_full_avg10_ratio=io.full,
            psi_present=cpu.present or memory.present or io.present,
            disk_total_bytes=disk.total_bytes if disk else None,
            disk_available_bytes=disk.available_bytes if disk else None,
        )

    def _memory_and_swap(self) -> tuple[_Pair, _Pair]:
        """(total, available) and (total, used) bytes. What the file does not plainly say, psutil may know how to work out."""
        try:
            meminfo = self._meminfo.read()
        except OSError:
            return _UNKNOWN, _UNKNOWN
        memory = memory_bytes(meminfo) or _by_psutil(psutil.virtual_memory, "available")
        memory = memory if memory[0] else _UNKNOWN
        said = swap_bytes(meminfo)
        if said == (0, 0):
            return memory, (0, None)  # no swap: there is no use to know
        swap = said or _by_psutil(psutil.swap_memory, "used")
        return memory, swap if swap[0] else _UNKNOWN

    def _cpu_ticks(self) -> CpuTicks | None:
        try:
            return cpu_ticks(self._stat.read(_FIRST_LINE))
        except OSError:
            return None

    def _count_cores(self, at_s: float) -> int:
        """Cores come and go with a virtual machine's size, if ever."""
        if self._cores_s is None or at_s - self._cores_s >= CORES_INTERVAL_S:
            self._cores, self._cores_s = psutil.cpu_count() or 1, at_s
        return self._cores


def _by_psutil(read: Callable[[], Any], field: str) -> _Pair:
    try:
        found = read()
        total, part = found.total, getattr(found, field)
        return (total, part) if 0 <= part <= total < _TOO_MUCH else _UNKNOWN
    except Exception:  # psutil raises OSError, KeyError, ValueError … for what it cannot read: all of them mean unknown
        return _UNKNOWN


# --- CPU ------------------------------------------------------------------------------------------------------------


class CpuWindow:
    """The mean CPU use over the shortest window of at least 10 s that the readings allow."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, CpuTicks]] = deque()

    def add(self, at_s: float, ticks: CpuTicks | None) -> float | None:
        """The ratio as of `at_s`; unknown without a reading, and until the history is long enough.

        A shorter mean would make the signal jump at every start of guardian.
        """
        if ticks is None:
            return None
        if self._history and _went_back(self._history[-1][1], ticks):
            self._history.clear()
        self._history.append((at_s, ticks))
        oldest_start_s = at_s - CPU_WINDOW_S + _CPU_WINDOW_TOLERANCE_S
        while len(self._history) > 1 and self._history[1][0] <= oldest_start_s:
            self._history.popleft()
        start_s, start = self._history[0]
        passed_s = ticks.total_s - start.total_s
        if start_s > oldest_start_s or passed_s <= 0:
            return None
        return min(1.0, max(0.0, (ticks.busy_s - start.busy_s) / passed_s))


def _went_back(before: CpuTicks, now: CpuTicks) -> bool:
    return now.busy_s < before.busy_s or now.total_s < before.total_s


# --- pressure -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI of one resource: the share of the last 10 s in which some, or all, tasks waited for it."""

    present: bool  # the kernel offers it
    some: float | None = None
    full: float | None = None


def read_pressure(file: ProcFile) -> Pressure:
    """Read one of `/proc/pressure/*`.

    A kernel without PSI has no such file; one that was booted with `psi=0` has it and refuses to open it with EOPNOTSUPP.
    """
    try:
        some, full = pressure(file.read())
    except OSError as error:
        return Pressure(present=error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP))
    return Pressure(True, some, full)


# --- disk -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskReading:
    """A file system at `at_s`. `total_bytes` leaves out what is reserved for root, as `df` does for its Use%."""

    at_s: float
    total_bytes: int
    available_bytes: int


class DiskReader:
    """Reads a file system now and then on a thread of its own: statvfs of a dead network mount never returns."""

    def __init__(self, clock: Clock, path: DiskPath) -> None:
        self._clock = clock
        self._path = path
        self._asked_s: float | None = None
        self._thread: threading.Thread | None = None
        self._newest: DiskReading | None = None

    def newest(self) -> DiskReading | None:
        """The newest reading, None before the first and once it is older than 60 s. Asks for a new one every 10 s."""
        now_s = self._clock.monotonic()
        due = self._asked_s is None or now_s - self._asked_s >= DISK_INTERVAL_S
        if due and not (self._thread and self._thread.is_alive()):
            self._ask(now_s)
        newest = self._newest
        return newest if newest and now_s - newest.at_s <= DISK_STALE_S else None

    def _ask(self, now_s: float) -> None:
        self._asked_s = now_s
        thread = threading.Thread(target=self._read, args=(now_s,), name="disk", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread: the reading grows old, and is then unknown
            return
        self._thread = thread

    def _read(self, asked_s: float) -> None:
        try:
            path = self._path() if callable(self._path) else self._path
            if path is None:
                return
            usage = psutil.disk_usage(path)
        except Exception:  # a directory that is gone, an engine that does not answer: unknown once it is old
            return
        self._newest = DiskReading(asked_s, usage.used + usage.free, usage.free)
