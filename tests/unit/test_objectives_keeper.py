"""The thread that keeps the figures: what reaches the file, and what happens where that cannot be written."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.looks import AIMS, BEGIN_WALL_S
from support.snapshots import snapshot
from support.virtual_host import key
from support.waiting import eventually
from support.watched_host import Told, WatchedHost

from guardian.clock import SystemClock
from guardian.health.prober import Probe
from guardian.model import Container, ContainerState, ServiceKey
from guardian.objectives.keeper import Keeper
from guardian.objectives.network import TrafficReader
from guardian.objectives.rows import HOUR_S, Hour, ServiceHour
from guardian.objectives.store import HoursFile, ObjectivesError, hours_of, opened

NOW = int(BEGIN_WALL_S // HOUR_S)


def hours(path: Path) -> list[Hour]:
    with opened(path) as connection:
        return list(hours_of(connection, 0))


def up_s(path: Path, name: str = "db") -> float:
    return sum(one.up_s for hour in hours(path) for one in hour.services if one.name == name)


def test_a_thread_writes_what_ticks_and_probes_say(tmp_path: Path) -> None:
    """What ticks and probes say is in the file within a minute, and at the end; the objectives are told as metrics."""
    path, telemetry = tmp_path / "objectives.db", Told()
    keeper = Keeper(path, SystemClock(), telemetry)
    keeper.start()
    shown = snapshot()
    config = msgspec.structs.replace(shown.config, objectives=AIMS)
    clock = SystemClock()
    for _ in range(2):
        now_s = clock.monotonic()
        keeper.note(replace(shown, assessment=replace(shown.assessment, at_s=now_s), at_wall_s=clock.wall(), config=config))
        eventually(lambda: clock.monotonic() > now_s + 0.05, "time passes")  # noqa: B023
    keeper.probed(Probe(key("postgres"), clock.monotonic(), 0.1, http=True))
    assert keeper.close(10.0)
    (hour,) = hours(path)[-1:]
    postgres = next(one for one in hour.services if one.name == "postgres")
    assert postgres.up_s > 0
    assert (postgres.probes, postgres.http) == (1, True)
    assert telemetry.told["availability"].target == 0.995


def test_what_cannot_be_written_waits(tmp_path: Path) -> None:
    """While the file cannot be written the figures are kept, and written once it can be: nothing is lost or counted twice."""
    path = tmp_path / "state" / "objectives.db"
    watched = WatchedHost(path)
    watched.until(300)
    assert not path.exists()
    path.parent.mkdir()
    watched.until(600)
    assert up_s(path) == 600
    watched.keeper._file.close()  # type: ignore[union-attr]
    path.unlink()
    watched.until(900)
    assert up_s(path) == 900


def test_an_hour_that_was_begun_is_gone_on_with_once(tmp_path: Path) -> None:
    """After a restart of guardian the hour is gone on with, and a file that is opened anew later is not added again."""
    path = tmp_path / "objectives.db"
    watched = WatchedHost(path)
    watched.until(120)
    watched.away(60)
    watched.until(300)
    assert up_s(path) == 240
    watched.keeper._fail(OSError("for a moment"), watched.host.clock.monotonic())
    watched.until(600)
    assert up_s(path) == 540


def test_a_new_hour_is_a_new_row(tmp_path: Path) -> None:
    """At the end of an hour the next row begins, and what was before is kept."""
    path = tmp_path / "objectives.db"
    watched = WatchedHost(path)
    watched.until(3900)
    assert [(hour.number - NOW, hour.watched_s) for hour in hours(path)] == [(0, 3600), (1, 300)]
    assert list(watched.keeper._accumulator.hours) == [NOW + 1]


def test_a_broken_file_is_put_aside(tmp_path: Path) -> None:
    """A broken file is put aside, never deleted, and a new one begun."""
    path = tmp_path / "objectives.db"
    path.write_bytes(b"no database at all" * 100)
    watched = WatchedHost(path)
    watched.until(60)
    assert up_s(path) == 60
    assert len(list(tmp_path.glob("objectives.db.broken-*"))) == 1


def test_a_file_of_a_newer_guardian_is_left_alone(tmp_path: Path) -> None:
    """A file of a newer guardian is neither written nor read, and the message says what to do."""
    path = tmp_path / "objectives.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    WatchedHost(path).until(120)
    assert path.read_bytes() == before
    with pytest.raises(ObjectivesError, match="version 99"):
        hours(path)


def test_a_file_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    """Where there are no figures, the message says what to do."""
    with pytest.raises(ObjectivesError, match="set `objectives` in the file"):
        hours(tmp_path / "objectives.db")


def test_the_file_has_a_bound(tmp_path: Path) -> None:
    """Where the file is as large as it may be, the oldest hours go."""
    path = tmp_path / "objectives.db"
    file = HoursFile(path, BEGIN_WALL_S, most_bytes=60_000)
    for number in range(60):
        services = [ServiceHour("p", f"{number * 997 % 7919}-{place * 31 % 101}", 1, number, place) for place in range(400)]
        file.write([Hour(NOW + number, services=services)])
    file.close()
    numbers = [hour.number - NOW for hour in hours(path)]
    assert numbers == list(range(numbers[0], 60))
    assert 0 < numbers[0] < 60
    assert path.stat().st_size < 200_000


# --- traffic --------------------------------------------------------------------------------------------------------

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999999      10    0    0    0     0          0         0   999999      10    0    0    0     0       0          0
  eth0: {rx}      10    0    0    0     0          0         0   {tx}      10    0    0    0     0       0          0
  eth1: 1000      10    0    0    0     0          0         0   2000      10    0    0    0     0       0          0
"""
ID = "c" * 64


class Proc:
    """A /proc with processes of containers in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reader = TrafficReader(str(root))
        self.now_s = 0.0

    def process(self, pid: int, rx: int, tx: int, container_id: str = ID) -> None:
        (self.root / str(pid) / "net").mkdir(parents=True, exist_ok=True)
        (self.root / str(pid) / "cgroup").write_text(f"0::/system.slice/docker-{container_id}.scope\n")
        (self.root / str(pid) / "net" / "dev").write_text(DEV.format(rx=rx, tx=tx))

    def read(self, *containers: Container) -> list[tuple[float, int, int, str]]:
        self.now_s += 60
        return [(one.seconds, one.rx_bytes, one.tx_bytes, one.unknown) for one in self.reader.read(containers, self.now_s, 0.0)]


def a_container(**fields: object) -> Container:
    given: dict[str, object] = {"id": ID, "name": "web-1", "service": ServiceKey("p", "web"), "pid": 10, **fields}
    return Container(**given)  # type: ignore[arg-type]


def test_traffic_is_what_has_come_and_gone_since_the_reading_before(tmp_path: Path) -> None:
    """Traffic is what has come and gone since the reading before, over all interfaces but the loopback."""
    proc = Proc(tmp_path)
    proc.process(10, 5000, 100)
    assert proc.read(a_container()) == []
    proc.process(10, 5600, 1300)
    assert proc.read(a_container()) == [(60.0, 600, 1200, "")]


def test_a_new_run_begins_anew(tmp_path: Path) -> None:
    """After a restart of the container its counters begin anew: the first reading says nothing, and nothing is negative."""
    proc = Proc(tmp_path)
    proc.process(10, 5000, 100)
    proc.read(a_container())
    proc.process(11, 10, 10)
    assert proc.read(a_container(pid=11)) == []
    proc.process(11, 5, 5)
    assert proc.read(a_container(pid=11)) == []


def test_a_process_that_is_none_of_the_container_says_nothing(tmp_path: Path) -> None:
    """A process of that number which is none of the container says nothing, nor does one that cannot be read."""
    proc = Proc(tmp_path)
    proc.process(10, 5000, 100, container_id="d" * 64)
    assert proc.read(a_container()) == proc.read(a_container()) == []
    assert proc.read(a_container(pid=12)) == proc.read(a_container(pid=None)) == []


def test_replicas_are_summed_and_unknown_where_one_is(tmp_path: Path) -> None:
    """Replicas are summed; where that of one is unknown, so is the service's."""
    proc = Proc(tmp_path)
    two = a_container(id="e" * 64, pid=20)
    proc.process(10, 0, 0)
    proc.process(20, 0, 0, container_id="e" * 64)
    proc.read(a_container(), two)
    proc.process(10, 100, 10)
    proc.process(20, 50, 5, container_id="e" * 64)
    assert proc.read(a_container(), two) == [(60.0, 150, 15, "")]
    assert proc.read(a_container(), a_container(id="f" * 64, pid=30)) == []


@pytest.mark.parametrize(("network", "why"), [("host", "host network"), ("container", "another's network")])
def test_traffic_of_another_s_network_is_unknown_and_said_so(tmp_path: Path, network: str, why: str) -> None:
    """A service in the host's network, or in another's, has no traffic of its own: unknown, and why."""
    proc = Proc(tmp_path)
    proc.process(10, 5000, 100)
    assert proc.read(a_container(network=network)) == [(0.0, 0, 0, why)]
    assert proc.read(a_container(network=network, state=ContainerState.EXITED)) == []
