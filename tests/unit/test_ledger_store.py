"""The file: what was put survives; a slow, full, broken or lost one costs nothing that is in memory."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from support.ledgers import KIBANA, T0, Counting, a_container, a_store, intended, sent, shed
from support.scarcity import limited

from guardian.clock import VirtualClock
from guardian.errors import LedgerError
from guardian.ledger.entries import Closed, Controls, HistoryRow, ServiceMemory
from guardian.ledger.history import read_rows
from guardian.ledger.schema import connect, own_uri
from guardian.ledger.store import HISTORY_PENDING, Store
from guardian.ledger.transitions import close
from guardian.model import ActionKind, Result, ServiceKey

ENTRY = shed(a_container())
WAIT_S = 10.0


class Gate:
    """A disk that holds every commit up until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.labels: list[str] = []

    def __call__(self, label: str) -> None:
        self.labels.append(label)
        self.reached.set()
        assert self.open.wait(WAIT_S)


class FailingDisk:
    """Hands out connections whose COMMIT fails while `full`."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, path: Path) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
                if disk.full and sql == "COMMIT":
                    super().execute("ROLLBACK")
                    raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *values)  # type: ignore[arg-type]

        return sqlite3.connect(own_uri(path), uri=True, isolation_level=None, check_same_thread=False, factory=Connection)


def row(number: int = 0, **fields: object) -> HistoryRow:
    return replace(HistoryRow(T0 + number, ActionKind.SHED, KIBANA, 5, "memory", Result.DONE), **fields)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = a_store(tmp_path)
    yield opened
    opened.close(WAIT_S)


def reopened(tmp_path: Path) -> Store:
    """The file as another process would find it."""
    again = a_store(tmp_path)
    again.close(WAIT_S)
    return again


def test_open_entries_memories_and_controls_survive(tmp_path: Path, store: Store) -> None:
    """Open entries, memories and controls survive."""
    memory = ServiceMemory(KIBANA, backoff_s=60, flaps_wall_s=(T0, T0 + 1), quarantined=True, early_bytes=5)
    controls = Controls("ann", T0 + 60, "bob", frozenset({KIBANA, ServiceKey("", "lone")}))
    assert store.put(entries=[ENTRY], memories=[memory], controls=controls, deadline_s=WAIT_S)
    loaded = reopened(tmp_path).load()
    assert loaded.entries == (ENTRY,)
    assert loaded.memories == (memory,)
    assert loaded.controls == controls


def test_a_standby_without_an_end_survives(tmp_path: Path, store: Store) -> None:
    """A standby without an end survives."""
    store.put(controls=Controls(standby_until_wall_s=inf), deadline_s=WAIT_S)
    assert reopened(tmp_path).load().controls.standby_until_wall_s == inf


def test_a_closed_entry_is_not_loaded(tmp_path: Path, store: Store) -> None:
    """A closed entry is not loaded."""
    store.put(entries=[ENTRY], deadline_s=WAIT_S)
    store.put(entries=[close(ENTRY, Closed.FORGOTTEN, T0)], deadline_s=WAIT_S)
    assert reopened(tmp_path).load().entries == ()


def test_a_new_file_holds_nothing(store: Store) -> None:
    """A new file holds nothing."""
    assert (store.load().entries, store.load().memories, store.load().controls) == ((), (), Controls())


def test_history_is_read_newest_first_by_time_and_service(store: Store) -> None:
    """History is read newest first, by time and service."""
    lone = ServiceKey("", "lone")
    store.put(history=[row(1), row(2, service=lone), row(3, service=None, result="observed")], deadline_s=WAIT_S)
    assert [one.at_wall_s - T0 for one in store.history(10)] == [3, 2, 1]
    assert [one.at_wall_s - T0 for one in store.history(1)] == [3]
    assert [one.at_wall_s - T0 for one in store.history(10, since_wall_s=T0 + 2)] == [3, 2]
    assert store.history(10, service=lone) == (row(2, service=lone),)
    assert store.history(10, service=KIBANA)[0].action is ActionKind.SHED


def test_measured_relief_completes_the_history_of_its_action(store: Store) -> None:
    """Measured relief completes the history of its action."""
    store.put(history=[row(1, action_id="a1"), row(2, action_id="a2")], deadline_s=WAIT_S)
    store.submit(measured={"a1": 99}).wait(WAIT_S)
    assert [(one.action_id, one.measured_bytes) for one in store.history()] == [("a2", None), ("a1", 99)]


def test_history_can_be_read_while_no_daemon_runs(tmp_path: Path) -> None:
    """History can be read while no daemon runs."""
    stopped = a_store(tmp_path)
    stopped.put(history=[row(1)], deadline_s=0)
    assert stopped.close(WAIT_S)
    assert read_rows(tmp_path / "ledger.db", 10) == (row(1),)


def test_history_without_a_ledger_says_what_to_check(tmp_path: Path) -> None:
    """History without a ledger says what to check."""
    with pytest.raises(LedgerError, match="state_dir"):
        read_rows(tmp_path / "ledger.db", 10)


def test_old_history_is_pruned_and_open_entries_are_not(tmp_path: Path) -> None:
    """Old history is pruned and open entries are not."""
    clock = VirtualClock(wall_s=T0)
    old = a_store(tmp_path, clock=clock)
    old.put(entries=[ENTRY], history=[row(1), row(86400 * 10)], deadline_s=WAIT_S)
    clock.advance(86400 * 15)
    old.put(history=[row(86400 * 15)], deadline_s=WAIT_S)
    assert old.close(WAIT_S)
    again = reopened(tmp_path)
    assert [one.at_wall_s - T0 for one in again.history()] == [86400 * 15, 86400 * 10]
    assert again.load().entries == (ENTRY,)


# --- slow and failing disks -----------------------------------------------------------------------------------------


def test_a_slow_disk_is_not_waited_for_beyond_the_deadline_and_the_write_follows(tmp_path: Path) -> None:
    """A slow disk is not waited for beyond the deadline, and the write follows."""
    gate, counting = Gate(), Counting()
    slow = a_store(tmp_path, on_commit=gate, telemetry=counting)
    assert slow.put(entries=[ENTRY], deadline_s=0.01) is False
    assert (counting.late, slow.pending) == (1, 1)
    gate.open.set()
    assert slow.close(WAIT_S)
    assert slow.pending == 0
    assert reopened(tmp_path).load().entries == (ENTRY,)


def test_a_write_that_is_not_waited_for_is_not_late(tmp_path: Path) -> None:
    """A write that is not waited for is not late."""
    gate, counting = Gate(), Counting()
    slow = a_store(tmp_path, on_commit=gate, telemetry=counting)
    slow.put(entries=[ENTRY], deadline_s=0)
    gate.open.set()
    assert slow.close(WAIT_S)
    assert counting.late == 0


def test_what_comes_together_during_a_slow_write_is_written_once_in_its_newest_state(tmp_path: Path) -> None:
    """What comes together during a slow write is written once, in its newest state."""
    gate = Gate()
    slow = a_store(tmp_path, on_commit=gate)
    slow.put(entries=[intended(a_container("c9", service=KIBANA._replace(name="other")))], deadline_s=0)
    assert gate.reached.wait(WAIT_S)
    for entry in (intended(a_container()), sent(a_container()), ENTRY):
        slow.put(entries=[entry], deadline_s=0)
    gate.open.set()
    assert slow.close(WAIT_S)
    assert gate.labels == ["before:intended", "after:intended", "before:settled", "after:settled"]
    assert ENTRY in reopened(tmp_path).load().entries


def test_a_full_disk_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    """A full disk loses nothing and is tried again."""
    disk, counting = FailingDisk(), Counting()
    notices = list[str]()
    full = a_store(tmp_path, connecting=disk, telemetry=counting, on_notice=notices.append)
    disk.full = True
    assert full.put(entries=[sent(a_container())], history=[row(1)], deadline_s=None) is False
    assert counting.failed_once.wait(WAIT_S)
    assert full.put(entries=[ENTRY], history=[row(2)], deadline_s=0.01) is False
    disk.full = False
    assert full.put(deadline_s=WAIT_S)
    assert full.close(WAIT_S)
    assert len(notices) == 1
    assert "disk is full" in notices[0]
    again = reopened(tmp_path)
    assert again.load().entries == (ENTRY,)
    assert len(again.history()) == 2


def test_closing_on_a_full_disk_ends_and_says_that_something_is_lost(tmp_path: Path) -> None:
    """Closing on a full disk ends, and says that something is lost."""
    disk = FailingDisk()
    full = a_store(tmp_path, connecting=disk)
    disk.full = True
    full.put(entries=[ENTRY], deadline_s=0)
    assert full.close(WAIT_S) is False


def test_too_much_history_for_a_full_disk_gives_up_what_was_only_observed_first(tmp_path: Path) -> None:
    """Too much history for a full disk gives up what was only observed first."""
    disk = FailingDisk()
    full = a_store(tmp_path, connecting=disk)
    disk.full = True
    full.put(history=[row(0), row(1, result=Result.OBSERVED), row(2)], deadline_s=0)
    full.put(history=[row(number) for number in range(3, HISTORY_PENDING + 2)], deadline_s=None)
    disk.full = False
    assert full.put(deadline_s=WAIT_S)
    kept = {one.at_wall_s - T0 for one in full.history(HISTORY_PENDING * 2)}
    full.close(WAIT_S)
    assert {0, 1, 2} & kept == {2}


def test_a_closed_ledger_takes_nothing_more(tmp_path: Path) -> None:
    """A closed ledger takes nothing more."""
    ended = reopened(tmp_path)
    with pytest.raises(LedgerError, match="closed"):
        ended.put(entries=[ENTRY], deadline_s=0)


def test_a_file_deleted_while_running_is_written_anew_with_all_that_is_owed(tmp_path: Path) -> None:
    """A file deleted while running is written anew with all that is owed."""
    running = a_store(tmp_path)
    memory = ServiceMemory(KIBANA, quarantined=True)
    running.put(entries=[ENTRY], memories=[memory], controls=Controls(hold="ann"), deadline_s=WAIT_S)
    for file in tmp_path.iterdir():
        file.unlink()
    other = sent(a_container("c2", service=KIBANA._replace(name="other")))
    other = replace(other, id="a2")
    assert running.put(entries=[other], deadline_s=WAIT_S)
    running.close(WAIT_S)
    loaded = reopened(tmp_path).load()
    assert set(loaded.entries) == {ENTRY, other}
    assert loaded.memories == (memory,)
    assert loaded.controls.hold == "ann"


# --- files that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"not a database, and long enough to have a header" * 100, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_broken_file_is_put_aside_with_a_notice_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    """A broken file is put aside with a notice, and a new one begun."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    (tmp_path / "ledger.db-wal").write_bytes(b"more")
    notices = list[str]()
    fresh = a_store(tmp_path, on_notice=notices.append)
    assert fresh.put(entries=[ENTRY], deadline_s=WAIT_S)
    fresh.close(WAIT_S)
    (aside,) = tmp_path.glob("ledger.db.broken-*[0-9]Z")
    assert aside.read_bytes() == content
    assert len(notices) == 1
    assert str(aside) in notices[0]
    assert reopened(tmp_path).load().entries == (ENTRY,)


def test_a_second_broken_file_does_not_replace_the_first(tmp_path: Path) -> None:
    """A second broken file does not replace the first."""
    for content in (b"one" * 1000, b"two" * 1000):
        (tmp_path / "ledger.db").write_bytes(content)
        reopened(tmp_path)
    assert len(list(tmp_path.glob("ledger.db.broken-*"))) == 2


def test_a_file_damaged_in_the_middle_is_noticed(tmp_path: Path) -> None:
    """A file damaged in the middle is noticed."""
    damaged = a_store(tmp_path)
    damaged.put(history=[row(number, detail="x" * 200) for number in range(500)], deadline_s=WAIT_S)
    damaged.close(WAIT_S)
    path = tmp_path / "ledger.db"
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\x5a" * (40960 - 8192)
    path.write_bytes(content)
    notices = list[str]()
    a_store(tmp_path, on_notice=notices.append).close(WAIT_S)
    assert "broken" in notices[0]


def test_a_row_that_is_not_understood_is_reported_and_left_alone(tmp_path: Path) -> None:
    """A row that is not understood is reported and left alone."""
    some = a_store(tmp_path)
    some.put(entries=[ENTRY], deadline_s=WAIT_S)
    some.close(WAIT_S)
    connection = connect(tmp_path / "ledger.db")
    connection.execute("INSERT INTO entries VALUES ('x', 1, 0, NULL, '{\"id\": 5}')")
    connection.close()
    notices = list[str]()
    again = a_store(tmp_path, on_notice=notices.append)
    again.close(WAIT_S)
    assert again.load().entries == (ENTRY,)
    assert "not understood" in notices[0]


def test_a_ledger_of_a_newer_guardian_is_refused_and_untouched(tmp_path: Path) -> None:
    """A ledger of a newer guardian is refused and untouched."""
    connection = connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match=r"version 99.*newer guardian"):
        a_store(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.db"]


def test_a_missing_state_directory_says_what_to_do(tmp_path: Path) -> None:
    """A missing state directory says what to do."""
    with pytest.raises(LedgerError, match="does not exist; create it"):
        a_store(tmp_path / "nowhere")


def test_a_file_that_cannot_be_opened_says_what_to_check(tmp_path: Path) -> None:
    """A file that cannot be opened says what to check, and is not put aside."""
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerError, match="check that the directory can be written"):
        a_store(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.db"]


def test_a_ledger_is_opened_on_a_full_disk_and_written_once_there_is_room(tmp_path: Path) -> None:
    """A ledger is opened on a full disk with all that is owed, and is written once there is room."""
    before = a_store(tmp_path)
    before.put(entries=[ENTRY], deadline_s=WAIT_S)
    assert before.close(WAIT_S)
    closed = close(ENTRY, Closed.RESTORED, T0 + 9)
    with limited(os.getpid(), resource.RLIMIT_FSIZE, 0):
        full = a_store(tmp_path)
        assert full.load().entries == (ENTRY,)
        assert full.put(entries=[closed], deadline_s=None) is False
    assert full.put(deadline_s=WAIT_S)
    assert full.close(WAIT_S)
    after = a_store(tmp_path)
    assert after.load().entries == ()
    after.close(WAIT_S)


def test_a_first_start_on_a_full_disk_says_what_to_check(tmp_path: Path) -> None:
    """A first start on a full disk, which has no room for a ledger, says what to check."""
    with limited(os.getpid(), resource.RLIMIT_FSIZE, 0), pytest.raises(LedgerError, match="has room"):
        a_store(tmp_path)


def test_an_empty_put_waits_for_all_before_it(store: Store) -> None:
    """An empty put waits for all before it, and for nothing where all is written."""
    assert store.put(deadline_s=None)
    store.put(entries=[ENTRY], deadline_s=0)
    assert store.put(deadline_s=None)
    assert store.pending == 0
