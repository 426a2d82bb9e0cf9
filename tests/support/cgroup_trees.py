"""Trees of cgroup files in a folder: v1 as recorded from a 6.18 kernel, v2 after the kernel's cgroup-v2.rst.

Files of a folder that is removed can be read on through open descriptors; those of a cgroup give ENODEV: see `as_the_kernel_reads`.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Use:
    """What a container uses, in bytes and seconds."""

    anon: int = 50 * MIB
    shmem: int = 0
    inactive_file: int = 10 * MIB
    active_file: int = 2 * MIB
    kernel: int = 1 * MIB  # stacks and page tables, one half each (v2)
    cpu_s: float = 1.5
    oom_kills: int = 0
    pids: int = 3
    periods: int = 0
    throttled: int = 0
    memory_pressure: tuple[float, float] = (0.0, 0.0)  # some, full, as ratios
    cpu_pressure: tuple[float, float] = (0.0, 0.0)

    @property
    def usage(self) -> int:
        return self.anon + self.shmem + self.inactive_file + self.active_file + self.kernel


def v1_memory_stat(use: Use) -> str:
    figures = {
        "cache": use.inactive_file + use.active_file + use.shmem, "rss": use.anon, "rss_huge": 0, "shmem": use.shmem,
        "mapped_file": 1507328, "dirty": 0, "writeback": 0, "workingset_refault_anon": 0, "workingset_refault_file": 473,
        "swap": 0, "swapcached": 0, "pgpgin": 14160, "pgpgout": 848, "pgfault": 14086, "pgmajfault": 1,
        "inactive_anon": use.anon + use.shmem - 4096, "active_anon": 4096,
        "inactive_file": use.inactive_file, "active_file": use.active_file, "unevictable": 0,
    }  # fmt: skip
    limits = "hierarchical_memory_limit 268435456\nhierarchical_memsw_limit 536870912\n"
    return _lines(figures) + limits + _lines({f"total_{name}": value for name, value in figures.items()})


def v2_memory_stat(use: Use) -> str:
    return _lines(
        {
            "anon": use.anon, "file": use.inactive_file + use.active_file + use.shmem, "kernel": use.kernel + 65536,
            "kernel_stack": use.kernel // 2, "pagetables": use.kernel // 2, "sec_pagetables": 0, "percpu": 720, "sock": 0,
            "vmalloc": 0, "shmem": use.shmem, "zswap": 0, "zswapped": 0, "file_mapped": 1507328, "file_dirty": 0,
            "file_writeback": 0, "swapcached": 0, "anon_thp": 0, "file_thp": 0, "shmem_thp": 0,
            "inactive_anon": use.anon + use.shmem, "active_anon": 0, "inactive_file": use.inactive_file,
            "active_file": use.active_file, "unevictable": 0, "slab_reclaimable": 49152, "slab_unreclaimable": 16384,
            "slab": 65536, "workingset_refault_anon": 0, "pgscan": 0, "pgsteal": 0, "pgfault": 14086, "pgmajfault": 1,
        }
    )  # fmt: skip


def v1_files(use: Use) -> dict[str, dict[str, str]]:
    """By controller, the files that are read."""
    return {
        "memory": {
            "memory.stat": v1_memory_stat(use),
            "memory.usage_in_bytes": f"{use.usage}\n",
            "memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {use.oom_kills}\n",
        },
        "cpuacct": {"cpuacct.usage": f"{int(use.cpu_s * 1e9)}\n"},
        "cpu": {
            "cpu.stat": f"nr_periods {use.periods}\nnr_throttled {use.throttled}\nthrottled_time {use.throttled * 90_000}\n"
        },
        "pids": {"pids.current": f"{use.pids}\n"},
    }


def v2_files(use: Use) -> dict[str, str]:
    microseconds = int(use.cpu_s * 1e6)
    return {
        "memory.stat": v2_memory_stat(use),
        "memory.current": f"{use.usage}\n",
        "memory.events": f"low 0\nhigh 0\nmax 4\noom 1\noom_kill {use.oom_kills}\noom_group_kill 0\n",
        "cpu.stat": f"usage_usec {microseconds}\nuser_usec {microseconds}\nsystem_usec 0\n"
        f"nr_periods {use.periods}\nnr_throttled {use.throttled}\nthrottled_usec {use.throttled * 90}\n",
        "memory.pressure": v2_pressure(use.memory_pressure),
        "cpu.pressure": v2_pressure(use.cpu_pressure),
        "pids.current": f"{use.pids}\n",
    }


def v2_pressure(ratios: tuple[float, float]) -> str:
    kinds = zip(("some", "full"), ratios, strict=True)
    return "".join(f"{kind} avg10={ratio * 100:.2f} avg60=1.00 avg300=0.20 total=9\n" for kind, ratio in kinds)


class CgroupTree:
    """`root` stands for /sys/fs/cgroup, `proc` for /proc.

    `version` is of the memory controller. `cpuacct` names v1's mount of it, `unified` puts v2 beside v1 (hybrid).
    """

    def __init__(
        self,
        folder: Path,
        version: int,
        *,
        cpuacct: str = "cpuacct",
        unified: bool = False,
        own: str = "/",
        unified_memory: bool = False,
    ) -> None:
        self.root = folder / "cgroup"
        self.proc = folder / "proc"
        self._version = version
        cpu = cpuacct if "," in cpuacct else "cpu"
        self._mounts = {"memory": "memory", "cpuacct": cpuacct, "cpu": cpu, "pids": "pids"}
        self._v2 = self.root / "unified" if unified_memory else self.root
        if version == 1:
            for mount in {"cpuset", "systemd", *self._mounts.values()}:
                (self.root / mount).mkdir(parents=True)
            (self.root / "memory/memory.stat").write_text(v1_memory_stat(Use()))
        else:
            self._v2.mkdir(parents=True)
            (self._v2 / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma\n")
        if unified:
            (self.root / "unified").mkdir()
            (self.root / "unified/cgroup.controllers").write_text("hugetlb\n")
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text(f"4:memory:{own}\n2:cpu,cpuacct:{own}\n0::{own}\n")

    def add(self, path: str, use: Use | None = None) -> None:
        """The cgroup at `path`, or what it uses now."""
        use = use or Use()
        if self._version == 1:
            for controller, files in v1_files(use).items():
                self._write(self.root / self._mounts[controller] / path, files)
        else:
            self._write(self._v2 / path, v2_files(use))

    def write(self, path: str, file: str, content: bytes) -> None:
        """Any content in one file of the cgroup at `path`."""
        self.file(path, file).write_bytes(content)

    def file(self, path: str, file: str) -> Path:
        if self._version == 2:
            return self._v2 / path / file
        return self.root / self._mounts[file.partition(".")[0]] / path / file

    def remove(self, path: str) -> None:
        tops = [self.root / mount for mount in self._mounts.values()] if self._version == 1 else [self._v2]
        for top in dict.fromkeys(tops):
            shutil.rmtree(top / path)

    @staticmethod
    def _write(folder: Path, files: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)


def as_the_kernel_reads(pread: Callable[[int, int, int], bytes]) -> Callable[[int, int, int], bytes]:
    """`os.pread` as cgroup files have it: ENODEV for a file that was removed since it was opened."""

    def read(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_nlink == 0:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return pread(descriptor, size, offset)

    return read


def _lines(figures: dict[str, int]) -> str:
    return "".join(f"{name} {value}\n" for name, value in figures.items())
