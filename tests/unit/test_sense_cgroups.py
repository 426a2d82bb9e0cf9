"""Containers' use from cgroup files, on trees as cgroup v1 and v2 make them."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.cgroup_trees import MIB, CgroupTree, Use, as_the_kernel_reads, v2_files

from guardian.clock import VirtualClock
from guardian.engine.parse import footprint_bytes
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine
from guardian.model import UNKNOWN_STRAIN, Container, ContainerState, ServiceKey, Strain, Usage
from guardian.sense.cgroups import CgroupReader

OUTER = "f" * 64
PLAIN = "docker/{id}"

LAYOUTS = {
    "v1, cgroupfs driver": (1, PLAIN),
    "v1, systemd driver": (1, "system.slice/docker-{id}.scope"),
    "v1, custom parent": (1, "tenants/blue/{id}"),
    "v1, systemd driver, custom slice": (1, "blue.slice/docker-{id}.scope"),
    "v1, nested engine": (1, f"docker/{OUTER}/docker/{{id}}"),
    "v1, nested engine, outer one with systemd driver": (1, f"system.slice/docker-{OUTER}.scope/docker/{{id}}"),
    "v1, the parent of Docker Desktop's machine": (1, "docker-ce/docker/{id}"),
    "v2, cgroupfs driver": (2, PLAIN),
    "v2, systemd driver": (2, "system.slice/docker-{id}.scope"),
    "v2, custom slice": (2, "tenants.slice/tenants-blue.slice/docker-{id}.scope"),
    "v2, cgroupfs driver, custom parent": (2, "tenants/blue/{id}"),
    "v2, nested engine": (2, f"system.slice/docker-{OUTER}.scope/docker/{{id}}"),
    "v2, nested engine, both with cgroupfs driver": (2, f"docker/{OUTER}/docker/{{id}}"),
    "v2, nested engine with systemd": (2, f"system.slice/docker-{OUTER}.scope/system.slice/docker-{{id}}.scope"),
    "v2, in a system container": (2, "lxc/101/ns/system.slice/docker-{id}.scope"),
    "v2, in a container of systemd-nspawn": (2, "machine.slice/systemd-nspawn@web.service/payload/docker/{id}"),
    "v2, for Kubernetes": (2, "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice/docker-{id}.scope"),
    "v2, for Kubernetes, cgroupfs": (2, "kubepods/besteffort/pod12/{id}"),
    "v2, systemd below another root": (2, "wsl-user/distro-1/systemd/system.slice/docker-{id}.scope"),
    "v2, rootless, app.slice": (2, "user.slice/user-1000.slice/user@1000.service/app.slice/docker-{id}.scope"),
    "v2, rootless, user.slice": (2, "user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope"),
    "v2, rootless, below another root": (
        2,
        "wsl-user/distro-1/systemd/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope",
    ),
    "v2, rootless, cgroupfs": (2, "user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/{id}"),
}


def id_of(number: int) -> str:
    return f"{number:064x}"


def container(number: int = 1, *, state: ContainerState = ContainerState.RUNNING, run: float | None = 1.0) -> Container:
    name = f"service-{number}"
    return Container(id_of(number), name, ServiceKey("demo", name), state=state, started_wall_s=run)


def descriptors(folder: Path) -> int:
    """How many are open of files below it, removed ones too: what else runs in this process has its own."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the list's own
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
    return count


Open = Callable[[CgroupTree], CgroupReader]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def open_reader(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Makes readers of a tree, under a kernel that removes cgroups."""
    monkeypatch.setattr(os, "pread", as_the_kernel_reads(os.pread))
    readers = []

    def make(tree: CgroupTree) -> CgroupReader:
        readers.append(CgroupReader(clock, str(tree.root), str(tree.proc)))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


# --- finding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "layout"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_container_is_found_by_its_id_in_every_layout(tmp_path: Path, open_reader: Open, version: int, layout: str) -> None:
    """A container is found by its id in every layout, among other cgroups."""
    tree = CgroupTree(tmp_path, version)
    for other in ("init.scope", "system.slice/ssh.service", "user.slice/user-1000.slice/session-1.scope"):
        tree.add(other)
    for number in (1, 2):
        tree.add(layout.format(id=id_of(number)), Use(anon=number * 100 * MIB))
    reader = open_reader(tree)
    reader.follow([container(1), container(2)])
    assert reader.covered == {id_of(1), id_of(2)}
    usage = reader.read().usage
    assert usage[id_of(2)].footprint_bytes - usage[id_of(1)].footprint_bytes == 100 * MIB


@pytest.mark.parametrize("cpuacct", ["cpuacct", "cpu,cpuacct", "cpuacct,cpu"])
def test_v1_controllers_that_share_a_mount_are_found(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, cpuacct: str
) -> None:
    """On v1, CPU time and throttling are found whether or not cpuacct and cpu share a mount."""
    tree = CgroupTree(tmp_path, 1, cpuacct=cpuacct)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(cpu_s=7.25, periods=40, throttled=4))
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].strain.cpu_throttled_periods == 4
    tree.add(path, Use(cpu_s=7.75))
    clock.advance(1)
    assert reader.read().usage[id_of(1)].cpu_cores == 0.5


def test_a_hybrid_host_is_read_where_its_memory_controller_is(tmp_path: Path, open_reader: Open) -> None:
    """A hybrid host is read on v1 where memory is there, and in `unified` where it was moved there."""
    for name, tree in {
        "v1": CgroupTree(tmp_path / "v1", 1, unified=True),
        "v2": CgroupTree(tmp_path / "v2", 2, unified_memory=True),
    }.items():
        tree.add(PLAIN.format(id=id_of(1)))
        reader = open_reader(tree)
        reader.follow([container(1)])
        assert reader.covered == {id_of(1)}, name


def test_an_engine_in_our_own_container_is_found_however_wide_the_host_is(tmp_path: Path, open_reader: Open) -> None:
    """The containers of an engine that runs beside guardian in one container are found without a search of the whole host."""
    tree = CgroupTree(tmp_path, 2, own=f"/deep/{'d/' * 8}docker/{OUTER}")
    tree.add(f"deep/{'d/' * 8}docker/{OUTER}/docker/{id_of(1)}")
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.covered == {id_of(1)}


def test_in_a_cgroup_namespace_the_engine_s_containers_are_found_at_its_root(tmp_path: Path, open_reader: Open) -> None:
    """In a container with a cgroup namespace and an engine of its own, the containers of that engine lie at its root."""
    tree = CgroupTree(tmp_path, 2, own="/init")
    tree.add("init")
    tree.add(PLAIN.format(id=id_of(1)))
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.covered == {id_of(1)}


@pytest.mark.parametrize("own", ["/", f"/system.slice/docker-{OUTER}.scope", "/../../system.slice/docker.service"])
def test_in_a_container_that_shows_the_host_s_cgroups_the_host_s_containers_are_found(
    tmp_path: Path, open_reader: Open, own: str
) -> None:
    """In a container with the host's cgroups mounted, its containers are found, whatever namespace the process is in."""
    tree = CgroupTree(tmp_path, 2, own=own)
    tree.add(f"system.slice/docker-{OUTER}.scope")
    tree.add(f"system.slice/docker-{id_of(1)}.scope")
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.covered == {id_of(1)}


def test_a_container_that_shows_only_its_own_cgroup_covers_no_other(tmp_path: Path, open_reader: Open) -> None:
    """Where a cgroup namespace hides the host's cgroups, nothing is covered, and its own cgroup is nobody else's."""
    tree = CgroupTree(tmp_path, 2)
    for file, content in v2_files(Use()).items():
        (tree.root / file).write_text(content)
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.covered == set()


def test_a_mount_unit_with_the_id_in_its_name_is_no_container(tmp_path: Path, open_reader: Open) -> None:
    """The cgroup of a mount unit of systemd has the container's id in its name, and is not taken for the container's."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(f"system.slice/var-lib-docker-containers-{id_of(1)}-mounts-shm.mount")
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.covered == set()


@pytest.mark.parametrize("version", [1, 2])
def test_what_has_no_cgroup_here_is_not_covered(tmp_path: Path, open_reader: Open, version: int) -> None:
    """A container of an engine elsewhere is not covered, nor is a stopped one, or an id that is none."""
    tree = CgroupTree(tmp_path, version)
    tree.add(PLAIN.format(id=id_of(2)))
    tree.add("docker/escape")
    reader = open_reader(tree)
    reader.follow([container(1), container(2, state=ContainerState.EXITED), replace(container(3), id="../docker/escape")])
    assert reader.covered == set()
    assert reader.read().usage == {}


def test_without_any_cgroup_hierarchy_nothing_is_covered(tmp_path: Path, clock: VirtualClock) -> None:
    """Where there are no cgroups at all, nothing is covered and nothing fails."""
    reader = CgroupReader(clock, str(tmp_path / "none"), str(tmp_path / "none"))
    reader.follow([container(1)])
    assert (reader.covered, reader.read().usage) == (frozenset(), {})


def test_a_cgroup_without_memory_is_not_covered(tmp_path: Path, open_reader: Open) -> None:
    """A cgroup without memory files, as a rootless engine without delegation makes it, is not covered and leaks nothing."""
    tree = CgroupTree(tmp_path, 2)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    tree.file(path, "memory.current").unlink()
    reader = open_reader(tree)
    before = descriptors(tmp_path)
    reader.follow([container(1)])
    assert reader.covered == set()
    assert descriptors(tmp_path) == before


def test_files_that_may_not_be_read_are_left_to_the_engine(
    tmp_path: Path, open_reader: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container whose files this process may not open is not covered, and leaks nothing."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(PLAIN.format(id=id_of(1)))
    open_file = os.open

    def refused(path: str, flags: int) -> int:
        if path.endswith("memory.current"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", refused)
    reader = open_reader(tree)
    before = descriptors(tmp_path)
    reader.follow([container(1)])
    assert (reader.covered, descriptors(tmp_path)) == (set(), before)


def test_a_fruitless_search_is_repeated_only_after_half_a_minute(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that was not found is searched for again after 30 s, and the tree is not walked before."""
    tree = CgroupTree(tmp_path, 2)
    reader = open_reader(tree)
    walks = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walks.append(path) or scandir(path))
    reader.follow([container(1)])
    tree.add(f"somewhere/{id_of(1)}")
    first = len(walks)
    clock.advance(29)
    reader.follow([container(1)])
    assert (len(walks), reader.covered) == (first, set())
    clock.advance(1)
    reader.follow([container(1)])
    assert reader.covered == {id_of(1)}


def test_what_is_never_found_is_searched_for_ever_more_rarely(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of a remote engine costs eight searches in the first two hours, and then one an hour."""
    reader = open_reader(CgroupTree(tmp_path, 2))
    walks: list[float] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walks.append(clock.monotonic()) or scandir(path))
    for _ in range(4 * 360):
        reader.follow([container(1)])
        clock.advance(10)
    waits = [later - sooner for sooner, later in pairwise(walks)]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_three_hundred_containers_in_an_unusual_place_cost_one_walk(
    tmp_path: Path, open_reader: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hundred containers in an unusual place are found by one walk, and a newcomer there by none."""
    tree = CgroupTree(tmp_path, 2)
    for number in range(301):
        tree.add(f"odd.slice/docker-{id_of(number)}.scope")
    reader = open_reader(tree)
    walks: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walks.append(path) or scandir(path))
    reader.follow([container(number) for number in range(300)])
    assert len(reader.covered) == 300
    assert len(walks) == 2
    reader.follow([container(number) for number in range(301)])
    assert len(reader.covered) == 301
    assert len(walks) == 2


def test_a_search_is_bounded(tmp_path: Path, open_reader: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search looks into no more than a thousand directories, and no deeper than eight levels."""
    tree = CgroupTree(tmp_path, 2)
    for number in range(1200):
        (tree.root / f"many/{number}/below").mkdir(parents=True)
    tree.add(f"{'deep/' * 9}{id_of(1)}")
    reader = open_reader(tree)
    walks: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walks.append(path) or scandir(path))
    reader.follow([container(1), container(2)])
    assert reader.covered == set()
    assert len(walks) <= 1000
    assert max(path.removeprefix(str(tree.root)).strip("/").count("/") for path in walks) < 8


# --- figures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_the_figures_are_without_what_can_be_reclaimed(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, version: int
) -> None:
    """Working set is usage less inactive file pages; the footprint is what cannot be reclaimed, without page cache."""
    tree = CgroupTree(tmp_path, version)
    use = Use(anon=50 * MIB, shmem=5 * MIB, inactive_file=900 * MIB, active_file=100 * MIB)
    tree.add(PLAIN.format(id=id_of(1)), use)
    reader = open_reader(tree)
    reader.follow([container(1)])
    readings = reader.read()
    read = readings.usage[id_of(1)]
    kernel = use.kernel + 16384 if version == 2 else 0  # v1 cannot tell which of it is reclaimable
    assert read[:4] == (clock.monotonic(), use.usage - 900 * MIB, 55 * MIB + kernel, None)
    assert readings.at_s == clock.monotonic()


def test_on_v2_strain_has_kills_pids_throttling_and_pressure(tmp_path: Path, open_reader: Open) -> None:
    """On v2 a container's strain is known at once: OOM kills, pids, throttled periods, and pressure of memory and CPU."""
    tree = CgroupTree(tmp_path, 2)
    use = Use(oom_kills=4, pids=9, periods=70, throttled=6, memory_pressure=(0.125, 0.03), cpu_pressure=(0.5, 0.25))
    tree.add(PLAIN.format(id=id_of(1)), use)
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].strain == Strain(4, 9, 70, 6, 0.125, 0.03, 0.5, 0.25)


def test_on_v1_strain_has_no_pressure(tmp_path: Path, open_reader: Open) -> None:
    """On v1 a container's strain is known at once, save its pressure, which v1 does not tell."""
    tree = CgroupTree(tmp_path, 1)
    tree.add(PLAIN.format(id=id_of(1)), Use(oom_kills=4, pids=9, periods=70, throttled=6))
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].strain == Strain(4, 9, 70, 6)


def test_strain_is_read_anew_every_ten_seconds(tmp_path: Path, open_reader: Open, clock: VirtualClock) -> None:
    """Asked for more often, strain is read anew after ten seconds, and shows in the next reading."""
    tree = CgroupTree(tmp_path, 2)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(pids=1))
    reader = open_reader(tree)
    reader.follow([container(1)])
    reader.read_strain()
    tree.add(path, Use(pids=2, oom_kills=1))
    clock.advance(9.9)
    reader.read_strain()
    assert reader.read().usage[id_of(1)].strain.pids == 1
    clock.advance(0.1)
    reader.read_strain()
    strain = reader.read().usage[id_of(1)].strain
    assert (strain.pids, strain.oom_kills) == (2, 1)


def test_strain_of_what_has_gone_is_unknown(tmp_path: Path, open_reader: Open, clock: VirtualClock) -> None:
    """Strain that is read while a cgroup is being removed is unknown, and no error."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(PLAIN.format(id=id_of(1)))
    reader = open_reader(tree)
    reader.follow([container(1)])
    tree.remove(PLAIN.format(id=id_of(1)))
    before = descriptors(tmp_path)
    reader.read_strain()
    assert reader.read().gone == {id_of(1)}
    assert descriptors(tmp_path) == before - 3


@pytest.mark.parametrize("version", [1, 2])
def test_the_footprint_is_the_engine_s_formula(tmp_path: Path, open_reader: Open, version: int) -> None:
    """The footprint is what the engine's stats would give of the same memory.stat."""
    tree = CgroupTree(tmp_path, version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=123 * MIB, shmem=45 * MIB))
    reader = open_reader(tree)
    reader.follow([container(1)])
    lines = tree.file(path, "memory.stat").read_text().splitlines()
    listed = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
    assert reader.read().usage[id_of(1)].footprint_bytes == footprint_bytes(listed)


@pytest.mark.parametrize("version", [1, 2])
def test_each_read_shows_what_is_used_now(tmp_path: Path, open_reader: Open, clock: VirtualClock, version: int) -> None:
    """Each read shows the memory of its moment; CPU follows within a second."""
    tree = CgroupTree(tmp_path, version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=10 * MIB, cpu_s=1.0))
    reader = open_reader(tree)
    reader.follow([container(1)])
    first = reader.read().usage[id_of(1)]
    tree.add(path, Use(anon=500 * MIB, cpu_s=1.5))
    clock.advance(0.1)
    second = reader.read().usage[id_of(1)]
    assert second.footprint_bytes - first.footprint_bytes == 490 * MIB
    assert (second.at_s, second.cpu_cores) == (clock.monotonic(), None)
    clock.advance(0.9)
    assert reader.read().usage[id_of(1)].cpu_cores == 0.5


@pytest.mark.parametrize("version", [1, 2])
def test_memory_that_changed_kind_within_the_same_usage_shows_within_a_second(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, version: int
) -> None:
    """At its limit a container trades page cache for its own memory while its usage stays: that shows within a second."""
    tree = CgroupTree(tmp_path, version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=10 * MIB, active_file=90 * MIB, cpu_s=1.0))
    reader = open_reader(tree)
    reader.follow([container(1)])
    first = reader.read().usage[id_of(1)]
    tree.add(path, Use(anon=90 * MIB, active_file=10 * MIB, cpu_s=1.1))
    clock.advance(1)
    assert reader.read().usage[id_of(1)].footprint_bytes - first.footprint_bytes == 80 * MIB


def test_pages_that_change_lists_by_themselves_show_within_fifteen_seconds(
    tmp_path: Path, open_reader: Open, clock: VirtualClock
) -> None:
    """Where nothing ran and the usage is the same, memory.stat is read again after fifteen seconds all the same."""
    tree = CgroupTree(tmp_path, 2)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(inactive_file=10 * MIB, active_file=30 * MIB))
    reader = open_reader(tree)
    reader.follow([container(1)])
    first = reader.read().usage[id_of(1)]
    tree.add(path, Use(inactive_file=30 * MIB, active_file=10 * MIB))
    clock.advance(15)
    assert first.working_set_bytes - reader.read().usage[id_of(1)].working_set_bytes == 20 * MIB


HIDES = {
    1: {
        "memory.stat": {"working_set_bytes", "footprint_bytes"},
        "memory.usage_in_bytes": {"working_set_bytes"},
        "memory.oom_control": {"oom_kills"},
        "cpuacct.usage": {"cpu_cores"},
        "cpu.stat": {"cpu_periods", "cpu_throttled_periods"},
        "pids.current": {"pids"},
    },
    2: {
        "memory.stat": {"working_set_bytes", "footprint_bytes"},
        "memory.current": {"working_set_bytes"},
        "memory.events": {"oom_kills"},
        "cpu.stat": {"cpu_cores", "cpu_periods", "cpu_throttled_periods"},
        "pids.current": {"pids"},
        "memory.pressure": {"memory_some_avg10_ratio", "memory_full_avg10_ratio"},
        "cpu.pressure": {"cpu_some_avg10_ratio", "cpu_full_avg10_ratio"},
    },
}
PRESSURES = {"memory_some_avg10_ratio", "memory_full_avg10_ratio", "cpu_some_avg10_ratio", "cpu_full_avg10_ratio"}


def figures(read: Usage) -> dict[str, float | None]:
    """Every figure of a reading, by name."""
    use = {name: getattr(read, name) for name in ("working_set_bytes", "footprint_bytes", "cpu_cores")}
    return use | asdict(read.strain)


@pytest.mark.parametrize(("version", "file"), [(version, file) for version, files in HIDES.items() for file in files])
@pytest.mark.parametrize("content", [b"", b"\n", b"max\n", b"-5\n", b"\xff\x00\n", b"anon 12"], ids=repr)
def test_a_file_that_cannot_be_understood_hides_its_own_figures_only(
    tmp_path: Path, open_reader: Open, clock: VirtualClock, version: int, file: str, content: bytes
) -> None:
    """A file that cannot be understood makes its own figures unknown, never zero, and leaves the others."""
    tree = CgroupTree(tmp_path, version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    tree.write(path, file, content)
    reader = open_reader(tree)
    reader.follow([container(1)])
    reader.read()
    clock.advance(1)
    read = reader.read().usage[id_of(1)]
    unknown = {name for name, figure in figures(read).items() if figure is None}
    assert unknown - (PRESSURES if version == 1 else set()) == HIDES[version][file]


@pytest.mark.parametrize("version", [1, 2])
def test_the_order_of_lines_does_not_matter(tmp_path: Path, open_reader: Open, version: int) -> None:
    """A kernel that lists the lines of memory.stat in another order is understood as well."""
    tree = CgroupTree(tmp_path, version)
    for number in (1, 2):
        tree.add(PLAIN.format(id=id_of(number)), Use(anon=123 * MIB, shmem=45 * MIB))
    path = PLAIN.format(id=id_of(2))
    lines = tree.file(path, "memory.stat").read_bytes().splitlines(keepends=True)
    tree.write(path, "memory.stat", b"".join(reversed(lines)))
    reader = open_reader(tree)
    reader.follow([container(1), container(2)])
    usage = reader.read().usage
    assert usage[id_of(1)] == usage[id_of(2)]


@pytest.mark.parametrize("version", [1, 2])
def test_a_number_that_is_cut_off_is_unknown(tmp_path: Path, open_reader: Open, version: int) -> None:
    """A memory.stat that ends within a number hides what it would have said; half a number is never taken for one."""
    tree = CgroupTree(tmp_path, version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    last = {1: b"total_inactive_file 1048", 2: b"inactive_file 1048"}[version]
    text = tree.file(path, "memory.stat").read_bytes()
    tree.write(path, "memory.stat", text[: text.index(last) + len(last)])
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].working_set_bytes is None


def test_a_kernel_that_lists_fewer_parts_is_understood(tmp_path: Path, open_reader: Open) -> None:
    """A kernel before 5.11 counts no page tables: the footprint is the rest."""
    tree = CgroupTree(tmp_path, 2)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=50 * MIB, kernel=2 * MIB))
    text = tree.file(path, "memory.stat").read_bytes()
    tree.write(path, "memory.stat", text.replace(b"\npagetables ", b"\nfile_thp_2 "))
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].footprint_bytes == 51 * MIB + 16384


def test_a_garbled_part_makes_the_footprint_unknown(tmp_path: Path, open_reader: Open) -> None:
    """One part of the footprint that cannot be read makes it unknown, not smaller."""
    tree = CgroupTree(tmp_path, 2)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    text = tree.file(path, "memory.stat").read_bytes()
    tree.write(path, "memory.stat", text.replace(b"\nshmem 0\n", b"\nshmem ?\n"))
    reader = open_reader(tree)
    reader.follow([container(1)])
    assert reader.read().usage[id_of(1)].footprint_bytes is None


def test_an_old_kernel_s_missing_files_are_unknown_figures(tmp_path: Path, open_reader: Open) -> None:
    """A kernel without OOM counts, and a host without the controllers pids and cpu, leave these figures unknown."""
    tree = CgroupTree(tmp_path, 1)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    tree.file(path, "memory.oom_control").unlink()
    tree.file(path, "pids.current").unlink()
    tree.file(path, "cpu.stat").unlink()
    reader = open_reader(tree)
    reader.follow([container(1)])
    read = reader.read().usage[id_of(1)]
    assert read.strain == UNKNOWN_STRAIN
    assert read.footprint_bytes == 50 * MIB


lines = st.lists(
    st.tuples(
        st.sampled_from(["anon", "shmem", "inactive_file", "total_rss", "oom_kill", "usage_usec", "x"]), st.text(max_size=25)
    ),
    max_size=8,
).map(lambda pairs: "\n".join(f"{name} {value}" for name, value in pairs).encode("utf-8", "replace"))
contents = st.one_of(
    st.binary(max_size=200),
    lines,
    st.integers().map(lambda number: f"{number}\n".encode()),
    st.integers(min_value=0, max_value=9000).map(lambda digits: b"9" * digits),
)


@pytest.mark.parametrize("version", [1, 2])
@given(written=st.lists(contents, min_size=7, max_size=7))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_content_raises_or_gives_a_negative_figure(tmp_path: Path, version: int, written: list[bytes]) -> None:
    """Whatever the files hold, a read neither raises nor gives a negative figure."""
    tree = CgroupTree(tmp_path / str(len(os.listdir(tmp_path))), version)
    path = PLAIN.format(id=id_of(1))
    tree.add(path)
    for file, content in zip(HIDES[version], written, strict=False):
        tree.write(path, file, content)
    reader = CgroupReader(VirtualClock(), str(tree.root), str(tree.proc))
    try:
        reader.follow([container(1)])
        read = reader.read().usage[id_of(1)]
    finally:
        reader.close()
    assert all(figure is None or figure >= 0 for figure in figures(read).values())


# --- coming and going -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_that_vanished_is_gone_and_not_zero(tmp_path: Path, open_reader: Open, version: int) -> None:
    """A container whose cgroup vanished between two reads is gone, told once, and has no figures; the others have theirs."""
    tree = CgroupTree(tmp_path, version)
    for number in (1, 2):
        tree.add(PLAIN.format(id=id_of(number)))
    reader = open_reader(tree)
    reader.follow([container(1), container(2)])
    tree.remove(PLAIN.format(id=id_of(1)))
    readings = reader.read()
    assert readings.gone == {id_of(1)}
    assert readings.usage.keys() == {id_of(2)} == reader.covered
    assert reader.read().gone == frozenset()


def test_a_container_that_ended_and_is_still_listed_costs_no_walk(
    tmp_path: Path, open_reader: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that ended, and that a list still shows as running, is not searched for."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(PLAIN.format(id=id_of(1)))
    reader = open_reader(tree)
    reader.follow([container(1)])
    tree.remove(PLAIN.format(id=id_of(1)))
    reader.read()
    walks: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walks.append(path) or scandir(path))
    reader.follow([container(1)])
    assert (reader.covered, walks) == (frozenset(), [])


@pytest.mark.parametrize("seen", [True, False], ids=["gone was seen", "gone was missed"])
def test_a_restarted_container_is_read_from_its_new_cgroup(tmp_path: Path, open_reader: Open, seen: bool) -> None:
    """A restarted container is read from the cgroup of its new run, whether or not the end of the old one was seen."""
    tree = CgroupTree(tmp_path, 1)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=500 * MIB))
    reader = open_reader(tree)
    reader.follow([container(1, run=1.0)])
    tree.remove(path)
    if seen:
        reader.read()
    tree.add(path, Use(anon=20 * MIB))
    reader.follow([container(1, run=2.0)])
    assert reader.read().usage[id_of(1)].footprint_bytes == 20 * MIB


def test_a_container_that_left_the_list_is_no_longer_read(tmp_path: Path, open_reader: Open) -> None:
    """A container that left the list, or that no longer runs, is no longer read; a paused one is."""
    tree = CgroupTree(tmp_path, 2)
    for number in (1, 2, 3):
        tree.add(PLAIN.format(id=id_of(number)))
    reader = open_reader(tree)
    reader.follow([container(1), container(2), container(3)])
    reader.follow([container(2, state=ContainerState.EXITED), container(3, state=ContainerState.PAUSED)])
    assert reader.read().usage.keys() == {id_of(3)}


@pytest.mark.parametrize("version", [1, 2])
def test_descriptors_come_back(tmp_path: Path, open_reader: Open, version: int) -> None:
    """After 300 containers were followed and left, or vanished, as many descriptors are open as before."""
    tree = CgroupTree(tmp_path, version)
    reader = open_reader(tree)
    before = descriptors(tmp_path)
    for number in range(300):
        path = PLAIN.format(id=id_of(number))
        tree.add(path)
        reader.follow([container(number)])
        assert reader.covered == {id_of(number)}
        tree.remove(path)
        if number % 2:
            assert reader.read().gone == {id_of(number)}
    reader.follow([])
    assert descriptors(tmp_path) == before


def test_ten_thousand_starts_and_stops_leave_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 10,000 containers of the simulated engine started and stopped, seen or unseen, as many descriptors are open as before."""
    services, rounds = 50, 200
    clock = VirtualClock()
    engine = SimulatedEngine(Scenario(project="demo"), clock)
    ids = [engine.external_create(f"service-{number}") for number in range(services)]
    tree = CgroupTree(tmp_path, 2)
    running, stopped = f"{tree.root}/docker", f"{tree.root}/stopped"
    for id_ in ids:
        tree.add(f"docker/{id_}")
    os.mkdir(stopped)

    def move(source: str, target: str) -> None:
        for id_ in ids:
            os.rename(f"{source}/{id_}", f"{target}/{id_}")

    pread = os.pread

    def read(descriptor: int, size: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(stopped):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", read)
    reader = CgroupReader(clock, str(tree.root), str(tree.proc))
    before = descriptors(tmp_path)
    most = 0
    for number in range(rounds):
        reader.follow(engine.containers(Scope(("demo",))))
        assert reader.read().usage.keys() == set(ids)
        most = max(most, descriptors(tmp_path))
        for id_ in ids:
            engine.external_kill(id_)
        move(running, stopped)
        if number % 2:
            assert reader.read().gone == set(ids)
        if number % 3:
            reader.follow(engine.containers(Scope(("demo",))))
        clock.advance(1)
        for id_ in ids:
            engine.external_start(id_)
        move(stopped, running)
    reader.follow([])
    assert (most, descriptors(tmp_path)) == (before + 3 * services, before)


def test_close_gives_every_descriptor_back(tmp_path: Path, open_reader: Open) -> None:
    """Closing gives every descriptor back, may be repeated, and the reader can be used again."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(PLAIN.format(id=id_of(1)))
    reader = open_reader(tree)
    before = descriptors(tmp_path)
    reader.follow([container(1)])
    assert descriptors(tmp_path) == before + 3
    reader.close()
    reader.close()
    assert descriptors(tmp_path) == before
    reader.follow([container(1)])
    assert reader.covered == {id_of(1)}


def test_where_descriptors_are_few_the_rest_is_not_covered(tmp_path: Path, open_reader: Open) -> None:
    """Half of the descriptors are left to others: what does not fit is not covered, and that is said once."""
    tree = CgroupTree(tmp_path, 2)
    for number in range(40):
        tree.add(PLAIN.format(id=id_of(number)))
    reader = open_reader(tree)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        with capture_logs() as logged:
            reader.follow([container(number) for number in range(40)])
            reader.follow([container(number) for number in range(40)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(reader.covered) == 33
    assert [line["log_level"] for line in logged] == ["warning"]


def test_when_descriptors_run_out_nothing_fails(tmp_path: Path, open_reader: Open) -> None:
    """When the process has no descriptor left, the container is not covered, and none is lost."""
    tree = CgroupTree(tmp_path, 2)
    tree.add(PLAIN.format(id=id_of(1)))
    reader = open_reader(tree)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors(tmp_path)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, limits[1]))
    try:
        while True:
            fillers.append(os.dup(0))
    except OSError:
        for _ in range(2):  # enough to look for the hierarchy, too few for the three files
            os.close(fillers.pop())
        reader.follow([container(1)])
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert reader.covered == set()
    assert descriptors(tmp_path) == before


# --- checking -------------------------------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path: Path, open_reader: Open) -> CgroupReader:
    """One container of 100 MiB working set, of which 98 MiB are anonymous."""
    tree = CgroupTree(tmp_path, 1)
    tree.add(PLAIN.format(id=id_of(1)), Use(anon=98 * MIB, inactive_file=50 * MIB, active_file=1 * MIB, kernel=1 * MIB))
    reader = open_reader(tree)
    reader.follow([container(1)])
    return reader


def said(working_set: float | None, footprint: float | None) -> Usage:
    """What the engine says, in MiB."""
    return Usage(0.0, *(None if value is None else int(value * MIB) for value in (working_set, footprint)))


def test_figures_that_agree_are_checked_once(followed: CgroupReader) -> None:
    """A container is unchecked until the engine's figures agree within 5%."""
    assert followed.unchecked == {id_of(1)}
    followed.check(id_of(1), said(104.9, 93.5))
    assert (followed.unchecked, followed.covered) == (frozenset(), {id_of(1)})


@pytest.mark.parametrize(("working_set", "footprint"), [(110, 98), (100, 80), (None, 130), (0, 98)])
def test_figures_that_disagree_twice_are_not_believed(
    followed: CgroupReader, working_set: float | None, footprint: float | None
) -> None:
    """A working set or footprint that disagrees on two looks takes the container out, with one line in the log."""
    with capture_logs() as logged:
        followed.check(id_of(1), said(working_set, footprint))
        assert followed.covered == followed.unchecked == {id_of(1)}
        followed.check(id_of(1), said(working_set, footprint))
    assert followed.covered == followed.unchecked == followed.read().usage.keys() == set()
    assert [(line["log_level"], line["container"]) for line in logged] == [("warning", "service-1")]


def test_what_is_not_believed_stays_out_for_this_run(followed: CgroupReader) -> None:
    """A container that is not believed is not covered again by following, until it was restarted."""
    for _ in range(2):
        followed.check(id_of(1), said(300, 300))
    followed.follow([container(1, run=1.0), container(2)])
    assert followed.covered == set()
    followed.follow([container(1, run=2.0)])
    assert followed.covered == {id_of(1)}


def test_one_disagreement_is_forgiven(followed: CgroupReader) -> None:
    """A second look that agrees clears a first that did not: the figures were not read at the same moment."""
    followed.check(id_of(1), said(150, 150))
    followed.check(id_of(1), said(100, 98))
    assert (followed.unchecked, followed.covered) == (frozenset(), {id_of(1)})


def test_unknown_figures_decide_nothing(followed: CgroupReader) -> None:
    """An engine that says nothing of memory neither confirms nor refutes; so does one asked for what is not covered."""
    for _ in range(3):
        followed.check(id_of(1), said(None, None))
        followed.check(id_of(2), said(5000, 5000))
    assert followed.unchecked == followed.covered == {id_of(1)}


def test_a_small_container_may_differ_by_four_mebibytes(tmp_path: Path, open_reader: Open) -> None:
    """Of a small container, 4 MiB of difference are more than 5% and still agree."""
    tree = CgroupTree(tmp_path, 1)
    tree.add(PLAIN.format(id=id_of(1)), Use(anon=3 * MIB, active_file=0, kernel=0))
    reader = open_reader(tree)
    reader.follow([container(1)])
    reader.check(id_of(1), said(6.9, 6.9))
    assert reader.unchecked == frozenset()


def test_a_container_that_grew_between_the_readings_agrees(tmp_path: Path, open_reader: Open, clock: VirtualClock) -> None:
    """What the engine said while a container grew lies between the reading before and the one after: that agrees."""
    tree = CgroupTree(tmp_path, 1)
    path = PLAIN.format(id=id_of(1))
    tree.add(path, Use(anon=100 * MIB, cpu_s=1))
    reader = open_reader(tree)
    reader.follow([container(1)])
    reader.read()
    tree.add(path, Use(anon=400 * MIB, cpu_s=2))
    clock.advance(1)
    reader.check(id_of(1), said(200, 200))
    assert (reader.unchecked, reader.covered) == (frozenset(), {id_of(1)})
