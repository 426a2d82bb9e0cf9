"""What one container uses, from cgroup files that are kept open and read at offset 0.

Most of the time of a reading is the kernel's, which writes the whole of `memory.stat` for it: so that one is left out where
it would say the same again.
"""

from __future__ import annotations

import errno
import math
import os
from contextlib import suppress

from guardian.model import Usage
from guardian.sense.cgroup_parse import cpu_s, memory, number
from guardian.sense.cgroup_paths import Hierarchy
from guardian.sense.cgroup_strain import read_strain
from guardian.sense.rates import CPU_FIRST_S, CpuMean

DESCRIPTORS = 3  # of one container
CPU_EVERY_S = CPU_FIRST_S  # a mean over ten seconds gains nothing from more
STAT_EVERY_S = 15.0  # pages may change lists while nothing runs: that moves the working set, never the footprint

_LONGEST = 8192  # bytes of one file; a memory.stat has about 2,000
_NUMBER = 32  # bytes of one number
_GONE = (errno.ENODEV, errno.ENOENT)  # what the kernel answers for an open file of a removed cgroup


class CgroupGone(Exception):
    """The kernel removed the cgroup behind an open file."""


class CgroupFiles:
    """The cgroup at `path` (relative) in `hierarchy`. Raises OSError where one of its three files cannot be opened."""

    __slots__ = (
        "_cores",
        "_cpu",
        "_cpu_content",
        "_cpu_read_s",
        "_footprint_bytes",
        "_hierarchy",
        "_mean",
        "_opened",
        "_path",
        "_stat",
        "_stat_read_s",
        "_strain",
        "_usage",
        "_usage_content",
        "_working_set_bytes",
        "newest",
    )

    def __init__(self, hierarchy: Hierarchy, path: str) -> None:
        self.newest: Usage | None = None
        self._hierarchy = hierarchy
        self._path = path
        self._mean = CpuMean()
        self._cores: float | None = None
        self._working_set_bytes: int | None = None
        self._footprint_bytes: int | None = None
        self._cpu_content = self._usage_content = b""
        self._cpu_read_s = self._stat_read_s = -math.inf
        self._opened: list[int] = []
        memory, cpu = f"{hierarchy.memory}/{path}", f"{hierarchy.cpu}/{path}"
        v1 = hierarchy.version == 1
        try:
            self._stat = self._open(f"{memory}/memory.stat")
            self._usage = self._open(f"{memory}/memory.usage_in_bytes" if v1 else f"{memory}/memory.current")
            self._cpu = self._open(f"{cpu}/cpuacct.usage" if v1 else f"{cpu}/cpu.stat")
        except OSError:
            self.close()
            raise
        self.read_strain()

    def read(self, at_s: float) -> Usage:
        """What it uses now, stamped `at_s`. Raises CgroupGone; a figure that is not there or not understood is None.

        Memory is looked at each time, CPU time once a second.
        """
        usage = _content(self._usage, _NUMBER)
        ran = at_s - self._cpu_read_s >= CPU_EVERY_S and self._read_cpu(at_s)
        if ran or usage != self._usage_content or at_s - self._stat_read_s >= STAT_EVERY_S:
            self._read_stat(usage, at_s)
        self.newest = Usage(at_s, self._working_set_bytes, self._footprint_bytes, self._cores, self._strain)
        return self.newest

    def read_strain(self) -> None:
        """Read anew what is wanted more rarely. Opens files of its own, so that another thread may call it."""
        self._strain = read_strain(self._hierarchy, self._path)

    def close(self) -> None:
        """May be called twice."""
        while self._opened:
            with suppress(OSError):
                os.close(self._opened.pop())

    def _read_cpu(self, at_s: float) -> bool:
        """Whether the counter is another than the last time, or cannot be told."""
        content = _content(self._cpu, _LONGEST)
        self._cores = self._mean.add(at_s, cpu_s(content, self._hierarchy.version))
        moved = content != self._cpu_content or not content
        self._cpu_content, self._cpu_read_s = content, at_s
        return moved

    def _read_stat(self, usage: bytes, at_s: float) -> None:
        inactive_file, self._footprint_bytes = memory(_content(self._stat, _LONGEST), self._hierarchy.version)
        used = number(usage)
        self._working_set_bytes = None if used is None or inactive_file is None else max(0, used - inactive_file)
        self._usage_content, self._stat_read_s = usage, at_s

    def _open(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened.append(descriptor)
        return descriptor


def _content(descriptor: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, 0)
    except OSError as error:
        if error.errno in _GONE:
            raise CgroupGone from error
        return b""
