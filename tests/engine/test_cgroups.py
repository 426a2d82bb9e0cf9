"""The cgroup reader beside a real engine: the same containers, the same figures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.waiting import eventually
from worlds import MIB, RealWorld

from guardian.clock import SystemClock
from guardian.model import Container, Result, Usage
from guardian.sense.cgroups import CgroupReader

CGROUPS = Path("/sys/fs/cgroup")

# 50 MiB held in dd's buffer, and a file of 50 MiB read into the page cache.
_HOLDS_BOTH = """head -c 52428800 /dev/zero > /file; sync; cat /file > /dev/null
{ head -c 52428800 /dev/zero; exec sleep 100000; } | dd bs=64M iflag=fullblock of=/dev/null"""


@pytest.fixture
def reader() -> Iterator[CgroupReader]:
    reader = CgroupReader(SystemClock())
    yield reader
    reader.close()


def listed(world: RealWorld, container_id: str) -> Container:
    return next(container for container in world.engine.containers(world.scope) if container.id == container_id)


def test_anonymous_memory_is_footprint_and_page_cache_is_not(real: RealWorld, reader: CgroupReader) -> None:
    """A container with 50 MiB of its own and 50 MiB of page cache has a footprint of 50 to 70 MiB, as the engine says too."""
    id_ = real.container("lone", command=["sh", "-c", _HOLDS_BOTH])
    reader.follow([listed(real, id_)])
    assert reader.covered == {id_}
    eventually(lambda: (reader.read().usage[id_].footprint_bytes or 0) >= 50 * MIB, "the memory is held")
    eventually(lambda: real.usage_bytes(id_) >= 100 * MIB, "the page cache is filled")

    said = real.engine.stats([id_])[id_]
    read = reader.read().usage[id_]
    assert read.footprint_bytes is not None
    assert 50 * MIB <= read.footprint_bytes < 70 * MIB
    assert read.footprint_bytes == pytest.approx(said.footprint_bytes, rel=0.05)
    assert read.working_set_bytes == pytest.approx(said.working_set_bytes, rel=0.05)
    reader.check(id_, Usage(said.at_s, said.working_set_bytes, said.footprint_bytes))
    assert (reader.unchecked, reader.covered) == (frozenset(), {id_})


def test_a_stopped_container_is_gone(real: RealWorld, reader: CgroupReader) -> None:
    """A container that stops is gone at the next reads, and another in the same engine is not."""
    ends, stays = real.service("ends-soon"), real.service("stays")
    reader.follow(real.engine.containers(real.scope))
    assert reader.read().usage.keys() == {ends, stays}
    real.engine.kill(ends, 10.0)
    assert eventually(lambda: reader.read().gone, "its cgroup is removed") == {ends}
    assert reader.read().usage.keys() == {stays}


def test_a_restarted_container_is_read_anew(real: RealWorld, reader: CgroupReader) -> None:
    """A restarted container is found again, with the counters of its new run."""
    id_ = real.service("again", "holds_memory")
    reader.follow([listed(real, id_)])
    eventually(lambda: (reader.read().usage[id_].footprint_bytes or 0) >= 50 * MIB, "the memory is held")
    real.restart(id_)
    assert reader.read().gone == {id_}
    reader.follow([listed(real, id_)])
    read = eventually(lambda: reader.read().usage[id_], "its new cgroup is read")
    assert (read.footprint_bytes or 0) < 80 * MIB


@pytest.fixture
def parent() -> Iterator[str]:
    """A --cgroup-parent that is removed afterwards: the engine leaves it behind."""
    name = f"guardian-test-{os.getpid()}"
    yield f"/{name}/blue"
    for top in (CGROUPS, *CGROUPS.iterdir()):
        for folder in (top / name / "blue", top / name):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder.rmdir()


def test_a_container_under_a_custom_parent_is_found(parent: str, real: RealWorld, reader: CgroupReader) -> None:
    """A container under its own --cgroup-parent is found beside one in the usual place."""
    usual = real.service("usual")
    custom = real.container("lone", cgroup_parent=parent)
    reader.follow(real.engine.containers(real.scope))
    assert reader.covered == {usual, custom}


def test_strain_is_right_at_once(real: RealWorld, reader: CgroupReader) -> None:
    """The first reading has pids as the engine counts them, and a process killed for its container's limit."""
    command = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; exec sleep 100000"]
    id_ = real.container("lone", command=command, mem_limit=30 * MIB, memswap_limit=30 * MIB)
    # One process is left once dd was killed and the shell has become the sleep.
    said = eventually(
        lambda: [s for s in real.engine.stats([id_]).values() if s.strain.pids == 1 and _runs_sleep(real, id_)], "dd ended"
    )
    reader.follow([listed(real, id_)])
    read = reader.read().usage[id_]
    assert (read.strain.pids, read.strain.oom_kills) == (said[0].strain.pids, 1)


def _runs_sleep(world: RealWorld, container_id: str) -> bool:
    client = world.host.client()
    try:
        return "sleep" in client.top(container_id)["Processes"][0][-1]
    finally:
        client.close()


def test_three_hundred_starts_and_stops_leave_no_descriptor(real: RealWorld, reader: CgroupReader) -> None:
    """After 300 containers were started, read and stopped, and the engine was left, no more descriptors are open than before."""
    ids = [real.service(f"comes-and-goes-{number}", run=False) for number in range(30)]
    before = len(os.listdir("/proc/self/fd"))  # tests before may leave some that are closed meanwhile
    engine = real.open(timeout_s=30.0)
    with ThreadPoolExecutor(8) as at_once:

        def each(call: Callable[[str, float], Result]) -> None:
            assert set(at_once.map(lambda id_: call(id_, 30.0), ids)) == {Result.DONE}

        for _ in range(10):
            each(engine.start)
            engine.invalidate(ids)
            reader.follow(engine.containers(real.scope))
            assert reader.read().usage.keys() == set(ids)
            each(engine.kill)
            eventually(lambda: reader.read() and not reader.covered, "the cgroups are removed")
    engine.close()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "every descriptor is given back")
