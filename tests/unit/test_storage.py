"""What lies on the engine's disk: whose it is, how fast it grows, when it is measured, and what would free some of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.snapshots import AT_S, AT_WALL_S, GIB, MIB, config, key, service, snapshot
from support.waiting import eventually

from guardian.clock import VirtualClock
from guardian.engine.disk import parse_disk
from guardian.engine.protocol import Scope
from guardian.errors import EngineRefused
from guardian.expose.snapshot import Snapshot
from guardian.expose.status import status
from guardian.model import Level, ServiceKey
from guardian.policy.budgets import phase_uses
from guardian.storage import advice, shelf
from guardian.storage.growth import slope, storage_of
from guardian.storage.keeper import AGAIN_S, CHECK_S, EVERY_S, FIRST_S, StorageKeeper
from guardian.storage.values import (
    Command,
    ContainerDisk,
    EngineDisk,
    ImageDisk,
    Reading,
    ServiceDisk,
    VolumeDisk,
    by_service,
)

DAY_S = 86400.0
HOUR_S = 3600.0
SCOPE = Scope(("demo",), ("lone",))
DB, WEB, LONE = ServiceKey("demo", "db"), ServiceKey("demo", "web"), ServiceKey("", "lone")

# --- the engine's answer ----------------------------------------------------------------------------------------------


def a_container(name: str, project: str = "", service_name: str = "", **fields: Any) -> dict[str, Any]:
    labels = {"com.docker.compose.project": project, "com.docker.compose.service": service_name} if project else {}
    return {"Names": [f"/{name}", "/other/alias"], "State": "running", "Labels": labels, "SizeRw": 5 * MIB, **fields}


CONTAINERS = [
    a_container("demo-db-1", "demo", "db", Mounts=[{"Type": "volume", "Name": "data"}, {"Type": "bind", "Source": "/etc"}]),
    a_container("demo-web-1", "demo", "web", SizeRw=None),  # it has written nothing
    a_container("lone", Labels=None, State="exited"),
    a_container("stranger", State="exited", SizeRw=9 * MIB),
]
VOLUMES = [
    {"Name": "data", "Labels": None, "UsageData": {"Size": 700 * MIB, "RefCount": 1}},
    {"Name": "remote", "Labels": {}, "UsageData": {"Size": -1, "RefCount": -1}},
    {"Name": "f" * 64, "Labels": {}, "UsageData": {"Size": 3 * MIB, "RefCount": 0}},
    {"Name": "old", "Labels": {}, "UsageData": {"Size": 40 * MIB, "RefCount": 0}},
]
IMAGES = [
    {"RepoTags": ["app:1"], "RepoDigests": [], "Size": 500 * MIB, "SharedSize": 100 * MIB, "Containers": 2},
    {"RepoTags": ["app:0"], "RepoDigests": [], "Size": 450 * MIB, "SharedSize": 100 * MIB, "Containers": 0},
    {"RepoTags": ["<none>:<none>"], "RepoDigests": None, "Size": 60 * MIB, "SharedSize": 0, "Containers": 0},
    {"RepoTags": ["b:1"], "RepoDigests": [], "Size": 90 * MIB, "SharedSize": -1, "Containers": 0},
]
CACHE = [
    {"Size": 2 * GIB, "InUse": False, "Shared": False},
    {"Size": GIB, "InUse": True, "Shared": False},
    {"Size": GIB, "InUse": False, "Shared": True},
]
OLD = {"Containers": CONTAINERS, "Volumes": VOLUMES, "Images": IMAGES, "BuildCache": CACHE, "LayersSize": GIB}
NEW = {
    "ContainerUsage": {"Items": CONTAINERS},
    "VolumeUsage": {"Items": VOLUMES},
    "ImageUsage": {"Items": IMAGES},
    "BuildCacheUsage": {"Items": CACHE},
}
DISK = parse_disk(OLD, SCOPE)


def test_old_and_new_forms_of_the_answer_say_the_same() -> None:
    """Engines up to API 1.51 and those from 1.52 on are understood alike, and an engine without anything too."""
    assert parse_disk(NEW, SCOPE) == DISK
    assert [(one.name, one.service, one.up, one.writable_bytes, one.volumes) for one in DISK.containers] == [
        ("demo-db-1", DB, True, 5 * MIB, ("data",)),
        ("demo-web-1", WEB, True, 0, ()),
        ("lone", LONE, False, 5 * MIB, ()),
        ("stranger", None, False, 9 * MIB, ()),
    ]
    assert DISK.volumes[1] == VolumeDisk("remote", None, None)
    assert [one.anonymous for one in DISK.volumes] == [False, False, True, False]
    assert [one.dangling for one in DISK.images] == [False, False, True, False]
    assert DISK.build_cache_bytes == 2 * GIB
    assert parse_disk({"Containers": None, "Volumes": None, "Images": [], "BuildCache": None}, SCOPE) == EngineDisk(
        build_cache_bytes=0
    )


def test_a_volume_counts_once_for_the_most_important_of_its_services() -> None:
    """A volume that two services share counts for the one of the lower phase."""
    disk = EngineDisk(
        (
            ContainerDisk("a", WEB, True, 10, ("shared",)),
            ContainerDisk("b", DB, True, 1, ("shared", "own")),
            ContainerDisk("b2", DB, False, 2, ("own",)),
        ),
        (VolumeDisk("shared", 100, 2), VolumeDisk("own", 1000, 2)),
    )
    found = by_service(disk, {DB: 1, WEB: 2})
    assert found == {WEB: ServiceDisk(10, 0), DB: ServiceDisk(3, 1100)}
    assert by_service(disk, {DB: 2, WEB: 1})[WEB] == ServiceDisk(10, 100)


def test_what_cannot_be_sized_makes_the_sum_unknown() -> None:
    """A service with a volume of unknown size uses an unknown amount, and not none."""
    disk = EngineDisk((ContainerDisk("a", WEB, True, 10, ("remote",)),), (VolumeDisk("remote", None, 1),))
    assert by_service(disk, {})[WEB] == ServiceDisk(10, None)
    assert by_service(disk, {})[WEB].total_bytes is None


# --- phases -----------------------------------------------------------------------------------------------------------


def storage_by_phase(storage: Mapping[ServiceKey, int | None] | None) -> list[int | None]:
    statuses = tuple(service(name, phase) for name, phase in (("api", 1), ("etl-service", 3), ("kibana", 5)))
    return [use.storage_bytes for use in phase_uses(config(), statuses, 2.0, storage)]


def test_storage_of_phases_is_cumulative() -> None:
    """Phases 1 to n together use what their services keep, running or not; over the budget it is said."""
    stored = {key("api"): 600 * 10**6, key("etl-service"): 10**9, key("kibana"): 10**6}
    assert storage_by_phase(stored) == [600 * 10**6, 600 * 10**6, 1600 * 10**6, 1600 * 10**6, 1601 * 10**6]
    statuses = (service("api", 1, running=0),)
    over = [use.over for use in phase_uses(config(), statuses, 2.0, {key("api"): 2 * 10**9 + 1})]
    assert over[0] == over[1] == ("storage",)
    assert over[2] == ()


def test_storage_that_was_not_measured_is_unknown() -> None:
    """Before it is measured, and for phases with a service that came since, the use of storage is unknown."""
    assert storage_by_phase(None) == [None] * 5
    assert storage_by_phase({key("api"): 5, key("kibana"): 7}) == [5, 5, None, None, None]
    assert storage_by_phase({key("api"): None, key("etl-service"): 1, key("kibana"): 7}) == [None] * 5


# --- growth -----------------------------------------------------------------------------------------------------------


def readings(*used: tuple[float, int], size: int = 100 * GIB) -> list[Reading]:
    """Of hours and bytes: `web` holds them, and the file system 10 GiB more."""
    return [Reading(AT_WALL_S + hours * HOUR_S, value + 10 * GIB, size, {WEB: ServiceDisk(value, 0)}) for hours, value in used]


def test_growth_is_the_rate_of_the_last_days() -> None:
    """A service that writes a GiB in six hours grows by four a day, and the disk is full when its room is used up at that rate."""
    storage = storage_of(readings(*((6.0 * step, step * GIB) for step in range(9))))
    assert storage is not None
    (growth,) = storage.growth
    assert growth.bytes_per_s == pytest.approx(4 * GIB / DAY_S)
    assert storage.full_in_s == pytest.approx(82 / 4 * DAY_S)


def test_one_jump_does_not_turn_the_rate() -> None:
    """Neither a prune nor a dump that is deleted again turns the rate of all the rest."""
    points = [(step * 21600.0, step * GIB + (30 * GIB if step == 7 else 0)) for step in range(15)]
    assert slope(points) == pytest.approx(GIB / 21600, rel=0.2)


def test_growth_over_too_little_is_unknown() -> None:
    """Two readings, or some within an hour, tell no rate."""
    few = storage_of(readings((0, GIB), (6, 2 * GIB)))
    soon = storage_of(readings((0, GIB), (0.2, 2 * GIB), (0.4, 3 * GIB)))
    for storage in (few, soon):
        assert storage is not None
        assert storage.growth[0].bytes_per_s is None
        assert storage.full_in_s is None
        assert not storage.growth_known
        assert storage.fastest == ()
    assert storage_of([]) is None


def test_what_does_not_grow_is_never_full() -> None:
    """A disk whose use falls has no time to full."""
    storage = storage_of(readings((0, 3 * GIB), (6, 2 * GIB), (12, GIB)))
    assert storage is not None
    assert (storage.growth_known, storage.full_in_s, storage.fastest) == (True, None, ())


def test_only_the_last_seven_days_count() -> None:
    """What was written before the last seven days says nothing of today's rate."""
    before = [(24.0 * day, 0) for day in range(10)]
    now = [(240 + 24.0 * day, day * GIB) for day in range(8)]
    storage = storage_of(readings(*before, *now))
    assert storage is not None
    assert storage.growth[0].bytes_per_s == pytest.approx(GIB / DAY_S)


def test_the_three_fastest_are_named() -> None:
    """The three services that grow fastest, by rate; those that do not grow are none."""
    rates = {"a": 5, "b": 0, "c": 9, "d": 7, "e": 1}
    kept = [
        Reading(
            AT_WALL_S + hour * HOUR_S,
            services={ServiceKey("demo", name): ServiceDisk(hour * rate, 0) for name, rate in rates.items()},
        )
        for hour in range(4)
    ]
    storage = storage_of(kept)
    assert storage is not None
    assert [one.service.name for one in storage.fastest] == ["c", "d", "a"]


# --- what would free some of it ---------------------------------------------------------------------------------------


def test_commands_say_what_they_would_free_at_least() -> None:
    """Each command comes with what it frees at least, the largest first; what cannot be sized is not counted."""
    assert [(one.command, one.frees_bytes) for one in advice.commands(DISK)] == [
        ("docker builder prune", 2 * GIB),
        ("docker image prune --all", 410 * MIB),
        ("docker image prune", 60 * MIB),
        ("docker volume rm old", 40 * MIB),
        ("docker rm stranger", 9 * MIB),
        ("docker volume prune", 3 * MIB),
    ]
    assert advice.spelled(advice.commands(DISK)[0]) == "`docker builder prune` frees 2.0 GiB: builds take longer once"


def test_nothing_is_said_that_would_remove_what_guardian_has_shed() -> None:
    """A stopped container of a managed service is in no command, however large it is."""
    shed = ContainerDisk("demo-web-1", WEB, False, 50 * GIB)
    said = advice.commands(EngineDisk((shed,), (), (ImageDisk(GIB, 1),), 0))
    assert said == ()


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_readings_outlive_a_restart(tmp_path: Path) -> None:
    """What is kept is read back as it was, the newest sixty of it."""
    kept = [
        replace(one, services={**one.services, LONE: ServiceDisk(None, 1)}) for one in readings(*((h, h) for h in range(70)))
    ]
    said = (Command("docker builder prune", 5, "x"),)
    shelf.save(tmp_path / "storage.json", kept, said)
    assert shelf.load(tmp_path / "storage.json") == (tuple(kept[-60:]), said)
    assert [path.name for path in tmp_path.iterdir()] == ["storage.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":2,"readings":[],"commands":[]}'])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    """A broken file is no reading."""
    (tmp_path / "storage.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        shelf.load(tmp_path / "storage.json")


# --- when it is measured ----------------------------------------------------------------------------------------------


class SlowEngine:
    """Answers what it is told to; while `gate` is closed it thinks."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: EngineDisk | Exception = EngineDisk((ContainerDisk("api", key("api"), True, MIB),))
        self.gate = threading.Event()
        self.gate.set()

    def disk(self, scope: Scope, deadline_s: float) -> EngineDisk:
        self.asked += 1
        self.gate.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Host:
    """A keeper, and ticks of a host that is ok unless said otherwise."""

    def __init__(self, path: Path, later_s: float = 0.0) -> None:
        self.engine = SlowEngine()
        self.clock = VirtualClock(AT_S, AT_WALL_S + later_s)
        self.keeper = StorageKeeper(self.engine, lambda: SCOPE, path, self.clock)
        only = (service("api", 1),)
        shown = snapshot()
        self.shown = replace(shown, assessment=replace(shown.assessment, level=Level.OK, services=only))

    def tick(self, seconds: float = 0.0, **assessment: Any) -> Snapshot:
        self.clock.advance(seconds)
        changed = replace(self.shown.assessment, **assessment)
        shown = replace(self.shown, at_s=self.clock.monotonic(), assessment=changed, storage=self.keeper.known)
        self.keeper.look(shown)
        return shown

    def settled(self) -> int:
        """How often the engine was asked, once it has answered."""
        eventually(lambda: not self.keeper.known.busy, "the measurement ends")
        return self.engine.asked


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "storage.json")


def test_it_is_measured_ten_minutes_after_the_start_and_every_six_hours(host: Host) -> None:
    """Not at the start, then after ten minutes, and from there on every six hours."""
    host.tick()
    host.tick(FIRST_S - 1)
    assert host.settled() == 0
    host.tick(1)
    assert host.settled() == 1
    host.tick(EVERY_S - 1)
    assert host.settled() == 1
    host.tick(1)
    assert host.settled() == 2
    assert host.keeper.known.newest is not None
    assert host.keeper.known.newest.totals == {key("api"): MIB}


@pytest.mark.parametrize("level", [Level.SOFT, Level.HARD])
def test_it_is_never_measured_under_pressure(host: Host, level: Level) -> None:
    """While the host is not ok it waits, and comes as soon as it is; an order is refused, and says why."""
    host.tick(FIRST_S, level=level)
    assert host.settled() == 0
    reply = host.keeper.order(host.tick(1, level=level))
    assert not reply.ok
    assert f"the host is {level}" in reply.message
    host.tick(1)
    assert host.settled() == 1


def test_it_is_not_asked_of_an_engine_that_does_not_answer(host: Host) -> None:
    """While the engine is down nothing is asked of it."""
    host.shown = replace(host.shown, engine_up=False)
    shown = host.tick(FIRST_S)
    assert host.settled() == 0
    assert not host.keeper.order(shown).ok


def test_an_order_has_it_measured_at_once(host: Host) -> None:
    """By an operator's order it is measured with the next tick."""
    assert host.keeper.order(host.tick()).ok
    assert host.keeper.known.busy
    host.tick(1)
    assert host.settled() == 1
    assert host.keeper.known.attempts == 1


def test_a_measurement_that_hangs_holds_up_no_tick_and_gets_no_second(host: Host) -> None:
    """While the engine thinks, ticks go on, and it is not asked again."""
    host.engine.gate.clear()
    host.tick(FIRST_S)
    for _ in range(10):
        host.tick(EVERY_S)
    eventually(lambda: host.engine.asked == 1, "it is asked")
    assert host.keeper.known.busy
    host.engine.gate.set()
    assert host.settled() == 1


def test_a_disk_that_fills_is_measured_sooner_but_not_again_and_again(host: Host) -> None:
    """When the disk leaves ok it is measured within a minute, and from then on once an hour."""
    host.tick(FIRST_S)
    assert host.settled() == 1
    host.tick(AGAIN_S, disk_level=Level.SOFT)
    assert host.settled() == 2
    for _ in range(50):
        host.tick(CHECK_S, disk_level=Level.HARD)
    assert host.settled() == 2
    host.tick(AGAIN_S, disk_level=Level.HARD)
    assert host.settled() == 3


def test_a_service_that_came_since_is_measured_within_the_hour(host: Host) -> None:
    """A service that the newest reading does not have is measured sooner than the rest would be."""
    host.tick(FIRST_S)
    assert host.settled() == 1
    host.tick(AGAIN_S, services=(service("api", 1), service("web", 1)))
    assert host.settled() == 2


def test_a_refusal_leaves_what_is_known_and_is_said(host: Host) -> None:
    """Where the engine refuses, what is known stays as it was, and the status says why."""
    host.tick(FIRST_S)
    assert host.settled() == 1
    host.engine.answer = EngineRefused("a filter says no")
    host.tick(EVERY_S)
    assert host.settled() == 2
    shown = status(host.tick(1))["storage"]
    assert shown["problem"] == "a filter says no"
    assert shown["services"][0]["layers_bytes"] == MIB


def test_a_restart_of_guardian_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    """After a restart the use is known at once, and is measured again when it would have been."""
    path = tmp_path / "storage.json"
    first = Host(path)
    first.tick(FIRST_S)
    assert first.settled() == 1
    second = Host(path, later_s=FIRST_S + HOUR_S)
    known = second.keeper.known.newest
    assert known is not None
    assert known.totals == {key("api"): MIB}
    second.tick(EVERY_S - HOUR_S - 1)
    assert second.settled() == 0
    second.tick(1)
    assert second.settled() == 1


def test_a_file_that_cannot_be_used_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """With a broken file the readings begin anew."""
    path = tmp_path / "storage.json"
    path.write_text("{")
    host = Host(path)
    assert host.keeper.known.newest is None
    host.tick(FIRST_S)
    assert host.settled() == 1
    assert len(json.loads(path.read_text())["readings"]) == 1
