"""What a container is short of, from cgroup files that are opened when they are read: few seconds matter little here.

An open file that was read holds 6 KiB of kernel memory, charged to whoever opened it, and four of them a container would
cost a large host more memory than the time is worth.
"""

from __future__ import annotations

import os

from guardian.model import Strain
from guardian.sense.cgroup_parse import number, value
from guardian.sense.cgroup_paths import Hierarchy
from guardian.sense.proc import pressure

_LONGEST = 4096


def read_strain(hierarchy: Hierarchy, path: str) -> Strain:
    """Of the cgroup at `path` (relative). Never raises: what cannot be read, or is not there (an old kernel, v1), is None."""
    memory, v2 = f"{hierarchy.memory}/{path}", hierarchy.version == 2
    pids = _content(f"{hierarchy.pids}/{path}/pids.current") if hierarchy.pids else b""
    limits = _content(f"{hierarchy.limits}/{path}/cpu.stat") if hierarchy.limits else b""
    memory_some, memory_full = pressure(_content(f"{memory}/memory.pressure")) if v2 else (None, None)
    cpu_some, cpu_full = pressure(_content(f"{hierarchy.cpu}/{path}/cpu.pressure")) if v2 else (None, None)
    return Strain(
        oom_kills=value(_content(f"{memory}/memory.events" if v2 else f"{memory}/memory.oom_control"), "oom_kill"),
        pids=number(pids),
        cpu_periods=value(limits, "nr_periods"),
        cpu_throttled_periods=value(limits, "nr_throttled"),
        memory_some_avg10_ratio=memory_some,
        memory_full_avg10_ratio=memory_full,
        cpu_some_avg10_ratio=cpu_some,
        cpu_full_avg10_ratio=cpu_full,
    )


def _content(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _LONGEST)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
