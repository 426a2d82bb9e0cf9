"""The recording's file: SQLite, and never larger than it may be: the oldest goes first.

Other processes read it while the daemon writes, which the ledger's way of opening (its WAL's index in memory) does not
allow; and the usual WAL maps a file, which on a full disk ends who writes to it. So it has a rollback journal, as SQLite had
before there was a WAL: who writes waits for who reads, and here that is a thread of its own.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from guardian.ledger.schema import BUSY_S, is_broken
from guardian.record.rows import VERSION, Row

KEEP_S = 14 * 86400.0
MOST_BYTES = 200 * 1000 * 1000
DAY_S = 86400.0
ROW_BYTES = 100  # what a row takes beside its body, in the table and its index
AT_ONCE = 200  # rows that are removed in one statement

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_wall_s REAL NOT NULL, until_wall_s REAL NOT NULL, about TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_kind ON rows (kind, until_wall_s);
CREATE TABLE IF NOT EXISTS settings (digest TEXT PRIMARY KEY, last_wall_s REAL NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""


class RecordFile:
    """For one thread. Every method raises sqlite3.Error or OSError where the disk or the file fails; then `close` and begin anew."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES, keep_s: float = KEEP_S) -> None:
        """A file that is broken, or of another version, is removed: it is a recording, and owes nobody anything."""
        self._most_bytes = most_bytes
        self._keep_s = keep_s
        self._settings: dict[str, float] = {}  # digest -> when the file was last told that it is in use
        try:
            self._connection = _connect(path)
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            for suffix in ("", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._connection = _connect(path)
        self._page_bytes: int = self._connection.execute("PRAGMA page_size").fetchone()[0]

    def write(self, rows: Sequence[Row], now_wall_s: float) -> None:
        """In one transaction, in which room is made for it first."""
        with self._transaction():
            self._make_room(sum(len(row.body) + len(row.about) + ROW_BYTES for row in rows), now_wall_s)
            for (digest, body), until_wall_s in {row.settings: row.until_wall_s for row in rows if row.settings}.items():
                if abs(until_wall_s - self._settings.get(digest, -math.inf)) >= DAY_S:
                    self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (digest, until_wall_s, body))
                    self._settings[digest] = until_wall_s
            self._connection.executemany(
                "INSERT INTO rows (kind, at_wall_s, until_wall_s, about, body) VALUES (?, ?, ?, ?, ?)",
                [(row.kind.value, row.at_wall_s, row.until_wall_s, row.about, row.body) for row in rows],
            )

    @property
    def size_bytes(self) -> int:
        """What the rows take of the file; the rest of it is free for the next."""
        pages, free = (self._connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count"))
        return int((pages - free) * self._page_bytes)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def _make_room(self, more_bytes: int, now_wall_s: float) -> None:
        """Remove what is too old, then what is oldest as long as there is no room."""
        oldest = "DELETE FROM rows WHERE id IN (SELECT id FROM rows ORDER BY id LIMIT ?)"
        self._connection.execute(f"{oldest} AND until_wall_s < ?", (AT_ONCE, now_wall_s - self._keep_s))
        self._connection.execute("DELETE FROM settings WHERE last_wall_s < ?", (now_wall_s - 2 * self._keep_s,))
        while self.size_bytes + 2 * more_bytes > self._most_bytes:
            if self._connection.execute(oldest, (AT_ONCE,)).rowcount <= 0:
                break

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """COMMIT at the end, ROLLBACK on any error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        else:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"malformed: version {version}")
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last minutes, not the file
        connection.execute("PRAGMA cache_size = -256")  # KiB: rows are written once
        connection.executescript(_TABLES)
    except BaseException:
        connection.close()
        raise
    return connection
