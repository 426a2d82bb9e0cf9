"""What a host may run out of, taken from one process alone."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    """Within, the soft limit `resource.RLIMIT_…` of the process is this one."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@contextmanager
def no_more_threads(pid: int) -> Iterator[None]:
    """Within, the kernel grants the process no thread and no child beside those that it has, as on a host out of pids."""
    top = Path("/sys/fs/cgroup/pids")
    if not top.is_dir():  # cgroup v2
        top = Path("/sys/fs/cgroup")
        (top / "cgroup.subtree_control").write_text("+pids")
    group = top / f"guardian-test-{pid}"
    group.mkdir()
    (group / "cgroup.procs").write_text(str(pid))
    (group / "pids.max").write_text((group / "pids.current").read_text())
    try:
        yield
    finally:
        (top / "cgroup.procs").write_text(str(pid))
        group.rmdir()
