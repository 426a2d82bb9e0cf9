"""Files of `/proc` that are read at every tick: kept open, read anew at offset 0, parsed as bytes. Opening one costs more than reading it.

Each parser gives None for what it does not understand, never a zero.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

_LONGEST = 16_384  # bytes; /proc/meminfo has about 1,500, and of /proc/stat only the first line counts
_KIB = 1024
_MOST_DIGITS = 16  # of a size in KiB or a count of ticks: what is longer is none
_CPU_FIELDS = 8  # user nice system idle iowait irq softirq steal; guest time is part of user and nice
_CPU_LEAST = 4  # what every kernel has
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class ProcFile:
    """One file, opened when it is first read. One that cannot be read any more is opened anew: it may be another by now."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self, most: int = _LONGEST) -> bytes:
        """Its beginning, now. Raises OSError."""
        if self._descriptor is not None:
            try:
                return os.pread(self._descriptor, most, 0)
            except OSError:
                self.close()
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._descriptor, most, 0)

    def close(self) -> None:
        """May be called twice; `read` would open it again."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


# --- meminfo --------------------------------------------------------------------------------------------------------


def memory_bytes(meminfo: bytes) -> tuple[int, int] | None:
    """Total and available bytes.

    None where they cannot be believed as they stand: a kernel before 3.14 has no MemAvailable, some containers show one
    that is zero or above the total.
    """
    total, available = _kib(meminfo, b"MemTotal:"), _kib(meminfo, b"MemAvailable:")
    if total is None or available is None or not 0 < available <= total:
        return None
    return total * _KIB, available * _KIB


def swap_bytes(meminfo: bytes) -> tuple[int, int] | None:
    """Total and used bytes: zeros on a host without swap."""
    total, free = _kib(meminfo, b"SwapTotal:"), _kib(meminfo, b"SwapFree:")
    return None if total is None or free is None or free > total else (total * _KIB, (total - free) * _KIB)


def _is_count(field: bytes) -> bool:
    return field.isdigit() and len(field) <= _MOST_DIGITS


def _kib(meminfo: bytes, name: bytes) -> int | None:
    start = meminfo.find(name)
    if start < 0 or (start > 0 and meminfo[start - 1] != ord("\n")):
        return None
    start += len(name)
    number, _, unit = meminfo[start : meminfo.find(b"\n", start)].strip().partition(b" ")
    return int(number) if _is_count(number) and unit == b"kB" else None


# --- stat -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Seconds of CPU time since boot, over all cores: spent working, and in all."""

    busy_s: float
    total_s: float


def cpu_ticks(stat: bytes) -> CpuTicks | None:
    """Of the first line, as proc_stat(5) has it.

    Steal is no work of this host, so it is not busy, but it stays in the total: the ratio then is cores in use by cores
    of the host, the same scale on which reliefs are counted. Without it, a host whose neighbours take four fifths would
    read as full while its own services use next to nothing, and stopping all of them would not bring the ratio down.
    """
    line, newline, _ = stat.partition(b"\n")
    name, *fields = line.split()[: 1 + _CPU_FIELDS] or [b""]
    if not newline or name != b"cpu" or len(fields) < _CPU_LEAST or not all(map(_is_count, fields)):
        return None
    ticks = [int(field) for field in fields] + [0] * (_CPU_FIELDS - len(fields))
    user, nice, system, idle, iowait, irq, softirq, steal = ticks
    busy = user + nice + system + irq + softirq
    return CpuTicks(busy / _TICKS_A_SECOND, (busy + idle + iowait + steal) / _TICKS_A_SECOND)


# --- pressure -------------------------------------------------------------------------------------------------------


def pressure(text: bytes) -> tuple[float | None, float | None]:
    """PSI of one resource: the share of the last 10 s in which some, and in which all tasks waited for it."""
    return _avg10(text, b"some avg10="), _avg10(text, b"full avg10=")


def _avg10(text: bytes, prefix: bytes) -> float | None:
    """`some avg10=12.50 avg60=…` -> 0.125."""
    start = text.find(prefix)
    if start < 0:
        return None
    start += len(prefix)
    number = text[start : start + len(b"100.00")].split(b" ", 1)[0]
    if not number.replace(b".", b"", 1).isdigit():
        return None
    percent = float(number)
    return percent / 100 if percent <= 100 else None
