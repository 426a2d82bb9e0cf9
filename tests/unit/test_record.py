"""The recording's file and its thread: what is written is read, within bounds, and nothing that fails reaches the tick."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from support.moments import an_overload, plain
from support.virtual_host import MIB, key
from support.waiting import eventually

from guardian.clock import VirtualClock
from guardian.record import recorder
from guardian.record.moment import Moment
from guardian.record.packer import Packer
from guardian.record.reader import RecordError, minutes, service_use, settings_of
from guardian.record.recorder import Recorder
from guardian.record.rows import Row
from guardian.record.store import RecordFile
from guardian.telemetry import NullTelemetry

WALL_S = 1_700_000_000.0


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.dropped = self.failures = self.size_bytes = 0

    def record_dropped(self, count: int) -> None:
        self.dropped += count

    def record_failed(self) -> None:
        self.failures += 1

    def record_size(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def written(path: Path, moments: list[Moment]) -> None:
    packer, file = Packer(), RecordFile(path)
    rows = [row for moment in moments for row in packer.take(moment)] + packer.flush()
    file.write(rows, moments[-1].now_wall_s)
    file.close()


def record(path: Path, moments: list[Moment]) -> Heard:
    """A thread's whole life."""
    heard = Heard()
    one = Recorder(path, VirtualClock(), heard)
    one.start()
    for moment in moments:
        one.note(moment)
    assert one.close(10.0)
    return heard


# --- reading --------------------------------------------------------------------------------------------------------


def test_use_of_services_is_read_by_minutes(tmp_path: Path) -> None:
    """A service's use is the sum of its replicas, with the 95th percentile of all minutes."""
    host, moments = an_overload(pressed_s=1e6)
    host.run(300)
    written(tmp_path / "record.db", moments)
    use = service_use(tmp_path / "record.db", 0.0)
    assert set(use) == {key("db"), key("web"), key("logs")}
    web = use[key("web")]
    assert (web.samples, web.replicas) == (5, 2)
    assert web.footprint_p95_bytes == 1000 * MIB
    assert web.cores_p95 == pytest.approx(0.2, abs=0.01)


def test_use_is_read_of_the_time_that_is_asked_for(tmp_path: Path) -> None:
    """Minutes before and after are left out; their list of containers may come from before."""
    moments = list(plain(600))
    written(tmp_path / "record.db", moments)
    found = service_use(tmp_path / "record.db", WALL_S + 1000 + 181, WALL_S + 1000 + 420)
    assert found[key("service-1")].samples == 4
    assert len(list(minutes(tmp_path / "record.db", WALL_S + 1000 + 181))) == 7


def test_use_that_was_never_measured_is_unknown(tmp_path: Path) -> None:
    """Where a replica's reading is missing in every minute, the service's figures are None and not zero."""
    host, moments = an_overload(pressed_s=1e6)
    host.run(130)
    (blind, *_) = host.engine.ids("web")
    for moment in moments:
        assert moment.sample.inventory is not None
        moment.sample.inventory.usage.pop(blind, None)  # type: ignore[attr-defined]
    written(tmp_path / "record.db", moments)
    web = service_use(tmp_path / "record.db", 0.0)[key("web")]
    assert web.samples > 0
    assert (web.footprint_p95_bytes, web.working_set_p95_bytes, web.cores_p95) == (None, None, None)


def test_the_file_is_read_while_guardian_writes(tmp_path: Path) -> None:
    """Another connection reads what is written while the writer has it open."""
    packer, file = Packer(), RecordFile(tmp_path / "record.db")
    rows = [row for moment in plain(200) for row in packer.take(moment)]
    file.write(rows, WALL_S)
    assert service_use(tmp_path / "record.db", 0.0)[key("service-0")].samples == 3
    file.write(rows, WALL_S)
    file.close()


def test_settings_are_kept_once(tmp_path: Path) -> None:
    """The configuration in force is in the file once, however many rows name it, and comes back equal."""
    moments = list(plain(200))
    written(tmp_path / "record.db", moments)
    (config,) = settings_of(tmp_path / "record.db").values()
    assert config.phases == moments[0].config.phases
    assert config.thresholds == moments[0].config.thresholds


def test_without_a_recording_it_is_said_what_to_do(tmp_path: Path) -> None:
    """A missing file, and one that is none, are each an error in words."""
    with pytest.raises(RecordError, match="there is no recording here"):
        service_use(tmp_path / "record.db", 0.0)
    (tmp_path / "other.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RecordError, match="cannot be read"):
        service_use(tmp_path / "other.db", 0.0)


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_what_is_old_is_removed(tmp_path: Path) -> None:
    """Rows that ended longer ago than they are kept go, and newer ones stay."""
    packer, file = Packer(), RecordFile(tmp_path / "record.db", keep_s=3600.0)
    for moment in plain(7200 // 10, every_s=10.0):
        file.write(packer.take(moment), moment.now_wall_s)
    oldest = min(one.minute.until_wall_s for one in minutes(tmp_path / "record.db", 0.0))
    assert moment.now_wall_s - 3600 - 120 <= oldest <= moment.now_wall_s - 3600 + 120
    file.close()


# --- the thread -----------------------------------------------------------------------------------------------------


def test_what_is_handed_over_is_written_at_the_end(tmp_path: Path) -> None:
    """A thread that is closed has written the minute that was under way."""
    heard = record(tmp_path / "record.db", list(plain(30)))
    assert service_use(tmp_path / "record.db", 0.0)[key("service-0")].samples == 1
    assert heard.size_bytes > 0
    assert (heard.dropped, heard.failures) == (0, 0)


def test_a_broken_file_is_begun_anew(tmp_path: Path) -> None:
    """What is no database any more is replaced, and the recording goes on."""
    path = tmp_path / "record.db"
    path.write_bytes(b"\x00garbage" * 1000)
    record(path, list(plain(30)))
    assert service_use(path, 0.0)[key("service-0")].samples == 1


def test_a_file_that_cannot_be_written_costs_the_recording_alone(tmp_path: Path) -> None:
    """Where there is no directory for it, the failure is counted and the thread ends in order."""
    heard = record(tmp_path / "missing" / "record.db", list(plain(30)))
    assert heard.failures == 1


def test_after_a_failure_the_recording_is_written_again(tmp_path: Path) -> None:
    """What the disk refused is written once it takes it."""
    failing = [True]

    class Full(RecordFile):
        def write(self, rows: list[Row], now_wall_s: float) -> None:  # type: ignore[override]
            if failing:
                failing.clear()
                raise sqlite3.OperationalError("database or disk is full")
            super().write(rows, now_wall_s)

    heard, clock = Heard(), VirtualClock()
    one = Recorder(tmp_path / "record.db", clock, heard, opening=Full)
    for moment in plain(70):
        one.note(moment)
    one._take(closing=False)
    assert heard.failures == 1
    clock.advance(recorder.RETRY_S)
    one._take(closing=True)
    assert service_use(tmp_path / "record.db", 0.0)[key("service-0")].samples == 2


def test_a_removed_file_is_made_again(tmp_path: Path) -> None:
    """Rows do not go on into a file that somebody has deleted."""
    one = Recorder(tmp_path / "record.db", VirtualClock(), NullTelemetry())
    for moment in plain(70):
        one.note(moment)
    one._take(closing=False)
    (tmp_path / "record.db").unlink()
    for later in plain(200, first=71, now_s=moment.now_s):
        one.note(later)
    one._take(closing=True)
    assert service_use(tmp_path / "record.db", 0.0)[key("service-0")].samples >= 1


def test_a_disk_that_hangs_holds_up_no_tick(tmp_path: Path) -> None:
    """While the thread waits for the disk, ticks are handed over, and beyond a bound dropped and counted."""
    there, go_on = threading.Event(), threading.Event()

    def hanging(path: Path) -> RecordFile:
        there.set()
        go_on.wait(20)
        return RecordFile(path)

    heard = Heard()
    one = Recorder(tmp_path / "record.db", VirtualClock(), heard, opening=hanging)
    one.start()
    for moment in plain(recorder.WAITING // 4):
        one.note(moment)
    eventually(there.is_set, "the thread waits for the disk")
    for moment in plain(recorder.WAITING + 50, first=1000):
        one.note(moment)
    assert heard.dropped == 50
    go_on.set()
    assert one.close(10.0)
