"""The ledger's file: SQLite, WAL, one writer thread. Nothing that was put is dropped while the process lives.

Callers hand over new values and may wait for their commit; the writer takes everything that has come together into one
transaction. What cannot be written (slow or full disk, a lock) stays in memory, the newest value of each entry, and is
tried again. One row of JSON per entry and per service, so that `sqlite3 ledger.db` can read it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from guardian.clock import Clock
from guardian.errors import LedgerError
from guardian.lasting import lasting
from guardian.ledger.entries import Controls, Entry, EntryState, HistoryRow, ServiceMemory
from guardian.ledger.history import append_history, read_rows
from guardian.ledger.schema import apply_schema, connect, is_broken, put_aside
from guardian.model import ServiceKey
from guardian.telemetry import Telemetry

HISTORY_PENDING = 10_000
"""Rows of history that may wait for the disk; entries and memories are few by nature."""

RETRY_MIN_S = 0.1
RETRY_MAX_S = 5.0
KEEP_S = 14 * 86400.0
KEEP_ROWS = 100_000
PRUNE_EVERY_S = 3600.0

_LABELS = {
    EntryState.INTENDED: "intended",
    EntryState.SENT: "sent",
    EntryState.SHED: "settled",
    EntryState.RESTORING: "restoring",
    EntryState.CLOSED: "closed",
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the file held when it was opened. `entries`: the open ones, oldest first."""

    entries: tuple[Entry, ...]
    memories: tuple[ServiceMemory, ...]
    controls: Controls


@dataclass(slots=True)
class _Batch:
    """Values that wait to be written, the newest of each."""

    entries: dict[str, Entry] = field(default_factory=dict)
    memories: dict[ServiceKey, ServiceMemory] = field(default_factory=dict)
    controls: Controls | None = None
    history: deque[HistoryRow] = field(default_factory=deque)
    measured: dict[str, int] = field(default_factory=dict)  # action id -> bytes

    def __len__(self) -> int:
        count = len(self.entries) + len(self.memories) + len(self.history) + len(self.measured)
        return count + (self.controls is not None)

    def add_state(self, newer: _Batch) -> None:
        """Take the newer entries, memories and controls over."""
        self.entries.update(newer.entries)
        self.memories.update(newer.memories)
        self.controls = newer.controls if newer.controls is not None else self.controls

    def add(self, newer: _Batch) -> None:
        """Take all newer values over."""
        self.add_state(newer)
        self.history.extend(newer.history)
        self.measured.update(newer.measured)


class Ticket:
    """A hand-over to the writer; `wait` for its commit."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._number = number

    def wait(self, deadline_s: float | None) -> bool:
        """True once it is committed. False after `deadline_s`: it goes on in the background, and is counted as late.

        0 does not wait and counts nothing. None waits until it is committed, or has failed once (and goes on).
        """
        return self._store._wait(self._number, deadline_s)


class Store:
    """One file, one writer thread. Every method may be called from any thread.

    Raises LedgerError at once where the file cannot be opened or written, or comes from a newer guardian. A broken file
    is put aside, and a new one begun; `on_notice` gets the words for it. `on_commit` is called on the writer's thread
    with `before:LABEL` and `after:LABEL` around each commit (intended, sent, settled, restoring, closed, other): tests
    crash the process there.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        telemetry: Telemetry,
        *,
        on_notice: Callable[[str], None] = lambda _: None,
        on_commit: Callable[[str], None] | None = None,
        connecting: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        self._path = path
        self._clock = clock
        self._telemetry = telemetry
        self._on_notice = on_notice
        self._on_commit = on_commit
        self._connecting = connecting
        self._changed = threading.Condition()
        self._pending = _Batch()
        self._handed_over = 0  # tickets given out
        self._committed = 0  # all tickets up to this one are on disk
        self._failed = 0  # all tickets up to this one were tried
        self._closing = False
        self._pruned_s: float | None = None
        self._image = _Batch()  # all that must be in the file, to write it anew if the file is lost
        self._connection: sqlite3.Connection | None = self._open()
        self._loaded = self._read(self._connection)
        self._image.entries = {entry.id: entry for entry in self._loaded.entries}
        self._image.memories = {memory.service: memory for memory in self._loaded.memories}
        self._image.controls = self._loaded.controls
        self._inode = self._file_id()
        self._lost = False  # the file is another one than before: all of the image must be written to it
        self._writer = lasting(self._run, "ledger")
        self._writer.start()

    def load(self) -> Loaded:
        """What the file held when it was opened."""
        return self._loaded

    def put(
        self,
        *,
        entries: Iterable[Entry] = (),
        memories: Iterable[ServiceMemory] = (),
        controls: Controls | None = None,
        history: Iterable[HistoryRow] = (),
        deadline_s: float | None,
    ) -> bool:
        """Write all of it in one transaction; the result and `deadline_s` are those of `Ticket.wait`."""
        ticket = self.submit(entries=entries, memories=memories, controls=controls, history=history)
        return ticket.wait(deadline_s)

    def submit(
        self,
        *,
        entries: Iterable[Entry] = (),
        memories: Iterable[ServiceMemory] = (),
        controls: Controls | None = None,
        history: Iterable[HistoryRow] = (),
        measured: Mapping[str, int] | None = None,
    ) -> Ticket:
        """Hand values over, in order; `measured` completes the history of earlier actions. LedgerError once closed."""
        newer = _Batch(
            {entry.id: entry for entry in entries},
            {memory.service: memory for memory in memories},
            controls,
            deque(history),
            dict(measured or {}),
        )
        with self._changed:
            if self._closing:
                raise LedgerError(f"{self._path}: the ledger is closed; nothing more can be written")
            self._pending.add(newer)
            self._bound_history()
            self._handed_over += 1
            self._changed.notify_all()
            return Ticket(self, self._handed_over)

    def history(
        self, limit: int = 100, since_wall_s: float | None = None, service: ServiceKey | None = None
    ) -> tuple[HistoryRow, ...]:
        """Newest first, of what is on disk, read on a connection of its own."""
        return read_rows(self._path, limit, since_wall_s, service, own=True)

    @property
    def pending(self) -> int:
        """Hand-overs that are not on disk yet."""
        with self._changed:
            return self._handed_over - self._committed

    def close(self, timeout_s: float) -> bool:
        """Write what waits, and end; True if all of it was committed. What failed is tried once more, not again."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_s)
        with self._changed:
            return self._committed == self._handed_over

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _wait(self, number: int, deadline_s: float | None) -> bool:
        with self._changed:
            if deadline_s == 0:
                return self._committed >= number
            if deadline_s is None:
                self._changed.wait_for(lambda: max(self._committed, self._failed) >= number)
            else:
                self._changed.wait_for(lambda: self._committed >= number, deadline_s)
            committed = self._committed >= number
        if not committed and deadline_s is not None:
            self._telemetry.ledger_late()
        return committed

    def _bound_history(self) -> None:
        """Give up rows beyond the bound: first the oldest that only observed, then the oldest."""
        rows = self._pending.history
        while len(rows) > HISTORY_PENDING:
            observed = next((place for place, row in enumerate(rows) if row.result == "observed"), 0)
            del rows[observed]

    # --- the writer -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = RETRY_MIN_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._handed_over > self._committed or self._closing)
                batch, number, closing = self._pending, self._handed_over, self._closing
                self._pending = _Batch()
            try:
                error = self._write(batch) if len(batch) else None
            except MemoryError as failure:  # while it gave up the connection
                error = failure
            with self._changed:
                if error is None:
                    self._committed = number
                else:
                    batch.add(self._pending)
                    self._pending = batch
                    self._bound_history()
                    self._failed = number
                self._changed.notify_all()
            if error is None:
                pause_s = RETRY_MIN_S
                self._prune()
                if closing:
                    break
                continue
            self._telemetry.ledger_failed()
            if pause_s == RETRY_MIN_S:
                self._on_notice(f"{self._path}: cannot write the ledger, and will try again: {error}")
            if closing:
                break
            with self._changed:
                self._changed.wait_for(lambda: self._closing, pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)
        self._disconnect()

    def _write(self, batch: _Batch) -> Exception | None:
        """One transaction. Afterwards the connection is usable, or will be opened anew."""
        try:
            connection = self._usable()
            labels = _labels(batch)
            connection.execute("BEGIN IMMEDIATE")
            if self._lost:
                _write_state(connection, self._image)
            _write_state(connection, batch)
            append_history(connection, batch.history, batch.measured)
            self._report("before", labels)
            connection.execute("COMMIT")
            self._lost = False
            self._image.add_state(batch)
            self._image.entries = {entry.id: entry for entry in self._image.entries.values() if entry.open}
            self._report("after", labels)
        except Exception as error:  # whatever it is, the values stay and are tried again: this thread must not end
            self._disconnect()
            return error
        return None

    def _report(self, moment: str, labels: Iterable[str]) -> None:
        if self._on_commit is not None:
            for label in labels:
                self._on_commit(f"{moment}:{label}")

    def _usable(self) -> sqlite3.Connection:
        """A connection to the file that is at `path` now; SQLite itself would go on writing to a deleted one."""
        self._lost = self._lost or self._file_id() != self._inode  # looked at first: a new file may get the old one's number
        if self._connection is None or self._lost:
            self._disconnect()
            self._connection = self._open()
            known, self._inode = self._inode, self._file_id()
            self._lost = self._lost or self._inode != known  # put aside
        return self._connection

    def _file_id(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        """Open the file, or put a broken one aside and begin a new one. LedgerError says what to do."""
        if not self._path.parent.is_dir():
            raise LedgerError(
                f"{self._path.parent}: the state directory does not exist; create it, or set `state_dir` to one that does"
            )
        try:
            return self._prepare()
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise LedgerError(
                    f"{self._path}: cannot open the ledger: {error}; check that the directory can be written to and has room"
                ) from None
        aside = put_aside(self._path, self._clock.wall())
        self._telemetry.ledger_put_aside()
        self._on_notice(
            f"{self._path}: the ledger was broken and is now {aside}; a new one is begun. What guardian had stopped before is "
            "not known any more: compare with `docker ps --all`, and start what is missing"
        )
        try:
            return self._prepare()
        except sqlite3.DatabaseError as error:
            raise LedgerError(
                f"{self._path}: cannot begin a new ledger: {error}; check that the directory can be written to and has room"
            ) from None

    def _prepare(self) -> sqlite3.Connection:
        connection = self._connecting(self._path)
        try:
            apply_schema(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                self._on_notice(f"{self._path}: the ledger could not be closed: {error}")

    def _prune(self) -> None:
        """Rarely: forget history and closed entries that are old. A failure only means that it is done later."""
        now_s = self._clock.monotonic()
        if self._connection is None or (self._pruned_s is not None and now_s - self._pruned_s < PRUNE_EVERY_S):
            return
        self._pruned_s = now_s
        before_wall_s = self._clock.wall() - KEEP_S
        try:
            self._connection.execute("DELETE FROM history WHERE at_wall_s < ?", (before_wall_s,))
            self._connection.execute("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (KEEP_ROWS,))
            self._connection.execute("DELETE FROM entries WHERE open = 0 AND closed_wall_s < ?", (before_wall_s,))
        except sqlite3.Error as error:
            self._on_notice(f"{self._path}: old history could not be removed: {error}")

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, connection: sqlite3.Connection) -> Loaded:
        entries = connection.execute("SELECT body FROM entries WHERE open = 1 ORDER BY decided_wall_s, id").fetchall()
        memories = connection.execute("SELECT body FROM memories ORDER BY project, service").fetchall()
        controls = connection.execute("SELECT hold, standby_until_wall_s, standby_by, pins FROM controls").fetchone()
        return Loaded(
            self._decode((body for (body,) in entries), Entry),
            self._decode((body for (body,) in memories), ServiceMemory),
            Controls() if controls is None else _controls(controls),
        )

    def _decode(self, bodies: Iterable[str], kind: type[_T]) -> tuple[_T, ...]:
        """Each row by itself: one that cannot be understood is reported and left where it is."""
        found = []
        for body in bodies:
            try:
                found.append(msgspec.json.decode(body, type=kind))
            except msgspec.MsgspecError as error:
                self._on_notice(f"{self._path}: a row is not understood and is left alone: {error}: {body[:200]}")
        return tuple(found)


def _labels(batch: _Batch) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_LABELS[entry.state] for entry in batch.entries.values())) or ("other",)


def _write_state(connection: sqlite3.Connection, batch: _Batch) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO entries (id, open, decided_wall_s, closed_wall_s, body) VALUES (?, ?, ?, ?, ?)",
        [(one.id, one.open, one.decided_wall_s, one.closed_wall_s, _json(one)) for one in batch.entries.values()],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO memories (project, service, body) VALUES (?, ?, ?)",
        [(*service, _json(memory)) for service, memory in batch.memories.items()],
    )
    if batch.controls is not None:
        one = batch.controls
        connection.execute(
            "INSERT OR REPLACE INTO controls (id, hold, standby_until_wall_s, standby_by, pins) VALUES (1, ?, ?, ?, ?)",
            (one.hold, one.standby_until_wall_s, one.standby_by, _json(sorted(one.pins))),
        )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _controls(row: tuple[str, float | None, str, str]) -> Controls:
    hold, standby_until_wall_s, standby_by, pins = row
    return Controls(hold, standby_until_wall_s, standby_by, frozenset(msgspec.json.decode(pins, type=list[ServiceKey])))
