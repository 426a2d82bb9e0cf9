"""The cgroup files of one container: kept open, read at offset 0, and parsed as bytes because that is what costs the time.

cgroup v1 and v2 as the kernel's admin guide has them (cgroup-v1/memory.rst, cgroup-v2.rst).
"""

from __future__ import annotations

import errno
import math
import os
from contextlib import suppress

from guardian.engine.parse import footprint_bytes
from guardian.engine.protocol import RawStats
from guardian.sense.cgroup_paths import Hierarchy

DESCRIPTORS = 5  # at most, of one container
SLOW_FIGURES_S = 5.0  # OOM kills and pids are only shown: reading them each time would cost a fifth more

_LONGEST = 8192  # bytes of one file; a memory.stat has about 2,000
_LONGEST_NUMBER = 20  # digits of 2**64
_GONE = (errno.ENODEV, errno.ENOENT)  # what the kernel answers for an open file of a removed cgroup

# What the footprint is made of: the same figures, by the same formula, as with the engine's stats. v1's kernel memory is
# left out there and here: it counts slab that can be reclaimed, and nothing tells how much.
_PARTS = {
    1: ("total_rss", "total_shmem", "total_active_anon", "total_inactive_anon", "total_unevictable"),
    2: ("anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables"),
}
_PART_KEYS = {version: tuple((name, b"\n%b " % name.encode()) for name in names) for version, names in _PARTS.items()}
_INACTIVE_KEY = {1: b"\ntotal_inactive_file ", 2: b"\ninactive_file "}


class CgroupGone(Exception):
    """The kernel removed the cgroup behind an open file."""


class CgroupFiles:
    """The cgroup at `path` (relative) in `hierarchy`.

    Raises OSError where memory or CPU time cannot be opened; the other files may be absent (an old kernel, no pids controller).
    """

    __slots__ = (
        "_cpu",
        "_memory",
        "_memory_of",
        "_oom",
        "_opened",
        "_pids",
        "_slow",
        "_slow_at_s",
        "_stat",
        "_usage",
        "_version",
    )

    def __init__(self, hierarchy: Hierarchy, path: str) -> None:
        self._version = hierarchy.version
        self._opened: list[int] = []
        self._memory: tuple[int | None, int | None] = (None, None)  # inactive file pages and footprint, in bytes
        self._memory_of: tuple[bytes, bytes] | None = None  # usage and CPU time at which they were read
        self._slow: tuple[int | None, int | None] = (None, None)  # OOM kills, pids
        self._slow_at_s = -math.inf
        memory, cpu = f"{hierarchy.memory}/{path}", f"{hierarchy.cpu}/{path}"
        v1 = hierarchy.version == 1
        try:
            self._stat = self._open(f"{memory}/memory.stat")
            self._usage = self._open(f"{memory}/memory.usage_in_bytes" if v1 else f"{memory}/memory.current")
            self._cpu = self._open(f"{cpu}/cpuacct.usage" if v1 else f"{cpu}/cpu.stat")
            self._oom = self._open_if_there(f"{memory}/memory.oom_control" if v1 else f"{memory}/memory.events")
            self._pids = self._open_if_there(f"{hierarchy.pids}/{path}/pids.current") if hierarchy.pids else None
        except OSError:
            self.close()
            raise

    def read(self, at_s: float) -> RawStats:
        """All counters, stamped `at_s`. Raises CgroupGone; a figure that is not there or not understood is None."""
        usage, cpu = _content(self._usage), _content(self._cpu)
        if at_s - self._slow_at_s >= SLOW_FIGURES_S:
            self._read_slow(at_s)
        # `memory.stat` takes most of the time. Where nothing ran and nothing was charged or reclaimed, it says the same.
        if self._memory_of != (usage, cpu):
            self._read_memory()
            self._memory_of = usage, cpu
        inactive_file, footprint = self._memory
        used = _number(usage)
        return RawStats(
            at_s,
            None if used is None or inactive_file is None else max(0, used - inactive_file),
            footprint,
            _cpu_s(cpu, self._version),
            *self._slow,
        )

    def _read_memory(self) -> None:
        stat = b"\n" + _content(self._stat)
        self._memory = _value(stat, _INACTIVE_KEY[self._version]), _footprint_bytes(stat, self._version)

    def _read_slow(self, at_s: float) -> None:
        oom_kills = pids = None
        if self._oom is not None:
            oom_kills = _value(b"\n" + _content(self._oom), b"\noom_kill ")
        if self._pids is not None:
            pids = _number(_content(self._pids))
        self._slow, self._slow_at_s = (oom_kills, pids), at_s
        self._memory_of = None  # pages may change lists by themselves

    def close(self) -> None:
        """May be called twice."""
        while self._opened:
            with suppress(OSError):
                os.close(self._opened.pop())

    def _open(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened.append(descriptor)
        return descriptor

    def _open_if_there(self, path: str) -> int | None:
        try:
            return self._open(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return None


def _content(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, _LONGEST, 0)
    except OSError as error:
        if error.errno in _GONE:
            raise CgroupGone from error
        return b""


def _number(text: bytes) -> int | None:
    """A count as the kernel writes it, without sign; None for anything else."""
    text = text.rstrip(b"\n")
    return int(text) if text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def _value(lines: bytes, key: bytes) -> int | None:
    """The number on the line that begins with `key`, which has its newline before and its space behind; None where there is none."""
    start = lines.find(key)
    if start < 0:
        return None
    start += len(key)
    end = lines.find(b"\n", start)
    return _number(lines[start:end]) if end > 0 else None


def _footprint_bytes(stat: bytes, version: int) -> int | None:
    """Unknown as soon as one part cannot be read; a part that this kernel does not list counts as the formula says."""
    figures: dict[str, int] = {}
    for name, key in _PART_KEYS[version]:
        value = _value(stat, key)
        if value is not None:
            figures[name] = value
        elif key in stat:
            return None
    return footprint_bytes(figures)


def _cpu_s(content: bytes, version: int) -> float | None:
    """v1 counts nanoseconds, v2 microseconds."""
    if version == 1:
        nanoseconds = _number(content)
        return None if nanoseconds is None else nanoseconds / 1e9
    microseconds = _value(b"\n" + content, b"\nusage_usec ")
    return None if microseconds is None else microseconds / 1e6
