"""What cgroup files say, parsed as bytes: numbers that are not plainly there are None, never zero. Pure.

cgroup v1 and v2 as the kernel's admin guide has them (cgroup-v1/memory.rst, cgroup-v2.rst).
"""

from __future__ import annotations

import re

from guardian.engine.parse import footprint_bytes, footprint_v1_bytes

_LONGEST_NUMBER = 20  # digits of 2**64


def _lines(*names: str) -> re.Pattern[bytes]:
    """Lines of these names in this order, with whatever lines between them; a group for each number."""
    return re.compile(rb"(?:.*\n)*?".join(rb"%b (\d{1,%d})\n" % (name.encode(), _LONGEST_NUMBER) for name in names))


# The footprint is the engine's stats' formula on the same figures. v1's kernel memory is left out there and here: it counts
# slab that can be reclaimed, and nothing tells how much.
_PARTS = {
    1: ("total_rss", "total_shmem", "total_inactive_anon", "total_active_anon", "total_unevictable"),
    2: ("anon", "kernel_stack", "pagetables", "shmem", "slab_unreclaimable"),
}
_INACTIVE_FILE = {1: "total_inactive_file", 2: "inactive_file"}
# One search for all, in the order of kernels since 5.11 (v1: 4.19): three times as fast as one for each.
_V1_LINES = _lines("\ntotal_rss", *_PARTS[1][1:4], _INACTIVE_FILE[1], _PARTS[1][4])
_V2_LINES = _lines(*_PARTS[2][:4], _INACTIVE_FILE[2], _PARTS[2][4])


def number(text: bytes) -> int | None:
    """A count as the kernel writes it, without sign; None for anything else."""
    text = text.rstrip(b"\n")
    return int(text) if text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def value(text: bytes, name: str) -> int | None:
    """The number on the line `NAME NUMBER`; None where there is none, or where the line has no end."""
    return _value(b"\n" + text, b"\n%b " % name.encode())


def memory(stat: bytes, version: int) -> tuple[int | None, int | None]:
    """Inactive file pages and footprint, in bytes, of a `memory.stat`. The footprint is unknown as soon as one part cannot be
    read; a part that this kernel does not list counts as the formula says.
    """
    found = _V1_LINES.search(stat) if version == 1 else _V2_LINES.match(stat)
    if found is None:
        return _memory_in_any_order(b"\n" + stat, version)
    if version == 1:
        rss, shmem, inactive_anon, active_anon, inactive_file, unevictable = map(int, found.groups())
        return inactive_file, footprint_v1_bytes(rss, shmem, inactive_anon + active_anon + unevictable)
    anon, kernel_stack, pagetables, shmem, inactive_file, slab = map(int, found.groups())
    return inactive_file, anon + kernel_stack + pagetables + shmem + slab


def cpu_s(content: bytes, version: int) -> float | None:
    """CPU seconds of a `cpuacct.usage` (v1, in nanoseconds) or a `cpu.stat` (v2, in microseconds)."""
    if version == 1:
        nanoseconds = number(content)
        return None if nanoseconds is None else nanoseconds / 1e9
    microseconds = value(content, "usage_usec")
    return None if microseconds is None else microseconds / 1e6


def _memory_in_any_order(lines: bytes, version: int) -> tuple[int | None, int | None]:
    figures: dict[str, int] = {}
    whole = True
    for name in _PARTS[version]:
        key = b"\n%b " % name.encode()
        figure = _value(lines, key)
        if figure is not None:
            figures[name] = figure
        elif key in lines:
            whole = False
    return _value(lines, b"\n%b " % _INACTIVE_FILE[version].encode()), footprint_bytes(figures) if whole else None


def _value(lines: bytes, key: bytes) -> int | None:
    """`key` has its newline before and its space behind."""
    start = lines.find(key)
    if start < 0:
        return None
    start += len(key)
    end = lines.find(b"\n", start)
    return number(lines[start:end]) if end > 0 else None
