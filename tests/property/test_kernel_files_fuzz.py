"""Whatever the files of the kernel hold, a reading never raises, and a figure that is not plainly there is unknown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.cgroup_trees import CgroupTree, Use, v1_files, v2_files
from support.mangling import damaged, is_sound

from guardian.clock import VirtualClock
from guardian.model import Container, HostReading, ServiceKey
from guardian.sense.cgroups import CgroupReader
from guardian.sense.host import HostSensor

ID = "ab" * 32
PROC = {
    "meminfo": b"MemTotal:        4028700 kB\nMemFree:          200000 kB\nMemAvailable:    2028700 kB\nBuffers: 1 kB\n"
    b"Cached: 900 kB\nActive: 5 kB\nInactive: 5 kB\nShmem: 9 kB\nSlab: 9 kB\nSReclaimable: 4 kB\nSwapTotal: 1048576 kB\nSwapFree: 524288 kB\n",
    "stat": b"cpu  84282747 2349 58000000 4000000000 100000 0 2349 12 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nbtime 1790000000\n",
    "vmstat": b"pswpin 5\npswpout 9\n",
    "pressure/cpu": b"some avg10=1.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "pressure/memory": b"some avg10=12.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=7.25 avg60=0.00 avg300=0.00 total=0\n",
    "pressure/io": b"some avg10=100.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=99.99 avg60=0.00 avg300=0.00 total=0\n",
}
RATIOS = (
    "cpu_ratio", "cpu_some_avg10_ratio", "memory_some_avg10_ratio", "memory_full_avg10_ratio", "io_some_avg10_ratio",
    "io_full_avg10_ratio",
)  # fmt: skip
BY_VERSION = {1: {name: text for files in v1_files(Use()).values() for name, text in files.items()}, 2: v2_files(Use())}


@pytest.fixture(scope="module")
def proc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, before = tmp_path_factory.mktemp("proc"), psutil.PROCFS_PATH
    (folder / "pressure").mkdir()
    yield folder
    psutil.PROCFS_PATH = before


def is_possible(reading: HostReading) -> bool:
    """Each figure is unknown or one that can be."""
    ratios = [getattr(reading, name) for name in RATIOS]
    pairs = (
        (reading.memory_available_bytes, reading.memory_total_bytes),
        (reading.swap_used_bytes, reading.swap_total_bytes),
    )
    return (
        is_sound(reading)
        and all(ratio is None or 0 <= ratio <= 1 for ratio in ratios)
        and all((part is None) == (whole is None) and (part is None or 0 <= part <= whole) for part, whole in pairs)
    )


@given(st.sampled_from(sorted(PROC)).flatmap(lambda name: st.tuples(st.just(name), damaged(PROC[name]), damaged(PROC[name]))))
@example(("meminfo", PROC["meminfo"].replace(b"4028700", b"-4028700"), b"MemTotal: 1 kB\n"))
@example(("meminfo", PROC["meminfo"].replace(b"4028700", b"9" * 5000), b""))
@example(("stat", PROC["stat"].replace(b"2349", b"9" * 400), b""))
def test_any_proc_file_is_read(proc: Path, damage: tuple[str, bytes, bytes]) -> None:
    """Whatever one file of /proc holds, and then another time, the host is read: what it does not plainly say is unknown."""
    name, *contents = damage
    for file, content in PROC.items():
        (proc / file).write_bytes(content)
    clock = VirtualClock()
    sensor = HostSensor(clock, None, str(proc))
    for content in (PROC[name], *contents):
        (proc / name).write_bytes(content)
        clock.advance(10)
        assert is_possible(sensor.read())


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[int, CgroupTree]:
    made = {version: CgroupTree(tmp_path_factory.mktemp(f"v{version}"), version) for version in (1, 2)}
    for tree in made.values():
        tree.add(f"docker/{ID}")
    return made


@given(
    st.sampled_from([(version, file) for version, files in BY_VERSION.items() for file in files]).flatmap(
        lambda one: st.tuples(st.just(one), damaged(BY_VERSION[one[0]][one[1]].encode()))
    )
)
def test_any_cgroup_file_is_read(trees: dict[int, CgroupTree], damage: tuple[tuple[int, str], bytes]) -> None:
    """Whatever one file of a cgroup holds, the container is read, before and after: each figure can be, or is unknown."""
    (version, file), content = damage
    tree, path = trees[version], f"docker/{ID}"
    tree.write(path, file, BY_VERSION[version][file].encode())
    clock = VirtualClock()
    reader = CgroupReader(clock, str(tree.root), str(tree.proc))
    container = Container(ID, "demo-web-1", ServiceKey("demo", "web"), started_wall_s=1.0)
    descriptors = len(os.listdir("/proc/self/fd"))
    try:
        for change in (None, content, None):
            if change is not None:
                tree.write(path, file, change)
            reader.follow([replace(container)])
            reader.read_strain()
            usage = reader.read().usage.get(ID)
            clock.advance(20)
            if usage is not None:
                assert is_sound(usage)
                assert all(one is None or one >= 0 for one in (usage.working_set_bytes, usage.footprint_bytes, usage.cpu_cores))
    finally:
        reader.follow([])
    assert len(os.listdir("/proc/self/fd")) == descriptors
