"""The daemon's own memory: little of it, and none that the kernel takes back while the host is short of it."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
from pathlib import Path

_ARENAS = 2
_M_ARENA_MAX = -8  # malloc.h of glibc
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # asm-generic/mman-common.h …
_OTHER_FLAGS = ("alpha", "ppc", "sparc")  # … which these do not use
_CAP_IPC_LOCK = 14


def limit_arenas() -> None:
    """Before the first thread: each would get a pool of its own from glibc, and what it once read would stay in it."""
    if (mallopt := getattr(_libc(), "mallopt", None)) is not None:  # other C libraries have one pool
        mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Once all that stays is there: leave it out of garbage collections, and give back what making it left over."""
    gc.collect()
    gc.freeze()
    if (trim := getattr(_libc(), "malloc_trim", None)) is not None:
        trim(0)


def lock() -> str:
    """Keep every page that is or will be in use in memory, programs and libraries too. Empty, or why that cannot be.

    After `settle`: locked memory cannot be given back. Tried only where nothing limits it: below a limit it might succeed
    now, and a later allocation fail for it.
    """
    if platform.machine().startswith(_OTHER_FLAGS):
        return f"not known for {platform.machine()}"
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock_all(Path("/proc/self/status").read_text()):
        return (
            f"locked memory is limited to {soft // 1024} KiB; set LimitMEMLOCK=infinity, or --ulimit memlock=-1 for a container"
        )
    if _libc().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return os.strerror(ctypes.get_errno())
    return ""


def _may_lock_all(status: str) -> bool:
    """Whether a process of this `/proc/PID/status` has CAP_IPC_LOCK, which no limit binds."""
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_IPC_LOCK & 1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
