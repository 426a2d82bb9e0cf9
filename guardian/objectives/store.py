"""The file of the hours. Written by the daemon, read by any process meanwhile: see `record.store` for why it has a rollback journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from guardian.errors import GuardianError
from guardian.ledger.schema import BUSY_S, is_broken, put_aside
from guardian.objectives.rows import VERSION, Hour, decode, encode

KEEP_HOURS = 35 * 24
MOST_BYTES = 100 * 1000 * 1000
AT_ONCE = 24  # hours that are removed at once where there is no room

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS hours (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
PRAGMA user_version = {VERSION};
COMMIT;
"""


class ObjectivesError(GuardianError):
    """The figures are not there or cannot be read."""


class HoursFile:
    """For one thread. Methods raise sqlite3.Error or OSError where the disk or the file fails; then `close` and begin anew."""

    def __init__(self, path: Path, now_wall_s: float, most_bytes: int = MOST_BYTES) -> None:
        """A broken file is put aside and a new one begun; one of a newer guardian is left as it is: ObjectivesError."""
        self._most_bytes = most_bytes
        self.put_aside: Path | None = None
        try:
            self._connection = _connect(path)
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            self.put_aside = put_aside(path, now_wall_s)
            self._connection = _connect(path)

    def write(self, hours: Iterable[Hour]) -> None:
        """These hours as they are now, in one transaction; what is too old, or has no room, goes."""
        rows = [(hour.number, encode(hour)) for hour in hours]
        newest = max((number for number, _ in rows), default=0)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO hours VALUES (?, ?)", rows)
            self._connection.execute("DELETE FROM hours WHERE number <= ?", (newest - KEEP_HOURS,))
            while self._size_bytes() > self._most_bytes:
                oldest = "DELETE FROM hours WHERE number IN (SELECT number FROM hours WHERE number < ? ORDER BY number LIMIT ?)"
                if self._connection.execute(oldest, (newest, AT_ONCE)).rowcount <= 0:
                    break
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def hours(self, since: int, until: int | None = None) -> Iterator[Hour]:
        """Those of these numbers, oldest first; `until` is not among them."""
        return _hours(self._connection, since, until)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def _size_bytes(self) -> int:
        pages, free, size = (
            self._connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """For reading, from any process; what goes wrong with the file while it is open becomes an ObjectivesError."""
    try:
        there = path.exists()
    except OSError as error:
        raise ObjectivesError(f"{path}: {error.strerror or error}; read it as the user that guardian runs as") from None
    if not there:
        raise ObjectivesError(
            f"{path}: there are no figures here; set `objectives` in the file, let guardian run for a minute, or check `state_dir`"
        )
    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
        _check(connection, path)
        yield connection
    except (sqlite3.Error, msgspec.MsgspecError, ValueError) as error:
        raise ObjectivesError(f"{path}: cannot be read: {error}; read it as the user that guardian runs as") from None
    finally:
        if connection is not None:
            connection.close()


def hours_of(connection: sqlite3.Connection, since: int) -> Iterator[Hour]:
    """From the hour of that number on, oldest first."""
    return _hours(connection, since, None)


def oldest(connection: sqlite3.Connection) -> Hour | None:
    """The first hour of all; None where there is none."""
    row = connection.execute("SELECT body FROM hours ORDER BY number LIMIT 1").fetchone()
    return None if row is None else decode(row[0])


def _hours(connection: sqlite3.Connection, since: int, until: int | None) -> Iterator[Hour]:
    query = "SELECT body FROM hours WHERE number >= ? AND number < ? ORDER BY number"
    for (body,) in connection.execute(query, (since, 1 << 40 if until is None else until)):
        yield decode(body)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last minutes
        connection.execute("PRAGMA cache_size = -256")  # KiB
        connection.executescript(_TABLES)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ObjectivesError(
            f"{path}: is of version {version}, and this guardian knows versions up to {VERSION}: run the newer one again, or move "
            "the file away"
        )
