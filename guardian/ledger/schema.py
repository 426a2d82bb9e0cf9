"""The tables of the ledger's file, and what is done with a file that cannot be used."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from guardian.errors import LedgerError

VERSION = 1
LEDGER_NAME = "ledger.db"  # in the state directory
"""`PRAGMA user_version` of the files that this guardian writes. A step to a newer one goes into `apply_schema`."""

BUSY_S = 5.0
"""How long to wait for another process that holds the file locked (somebody's `sqlite3`, a back-up)."""

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, open INTEGER NOT NULL, decided_wall_s REAL NOT NULL, closed_wall_s REAL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_open ON entries (open);
CREATE TABLE IF NOT EXISTS memories (
    project TEXT NOT NULL, service TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (project, service)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS controls (
    id INTEGER PRIMARY KEY CHECK (id = 1), hold TEXT NOT NULL, standby_until_wall_s REAL, standby_by TEXT NOT NULL,
    pins TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, at_wall_s REAL NOT NULL, action TEXT NOT NULL, project TEXT, service TEXT, phase INTEGER,
    reason TEXT NOT NULL, result TEXT NOT NULL, signal TEXT NOT NULL, value REAL, threshold REAL, deficit REAL,
    expected_bytes INTEGER, measured_bytes INTEGER, by TEXT NOT NULL, detail TEXT NOT NULL, action_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS history_at ON history (at_wall_s);
CREATE INDEX IF NOT EXISTS history_action ON history (action_id);
PRAGMA user_version = {VERSION};
COMMIT;
"""


def connect(path: Path) -> sqlite3.Connection:
    """For writing; usable from any one thread at a time."""
    return sqlite3.connect(own_uri(path), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def own_uri(path: Path, mode: str = "rwc") -> str:
    """The file for this process alone, for as long as it has it open for writing; every connection of it must use this.

    SQLite then keeps the index of its WAL in memory (the VFS `unix-excl`, https://www.sqlite.org/vfs.html). Otherwise that
    is a mapped file, and on a disk that is full the kernel ends who writes to one, by SIGBUS.
    """
    return f"file:{quote(str(path))}?mode={mode}&vfs=unix-excl"


def apply_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make the file ready for use. LedgerError for one of a newer guardian; sqlite3.DatabaseError for a broken one."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    check_version(version, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit outlives a power cut
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found}")
    if version < VERSION:  # it always writes, and a full disk has no room for that
        connection.executescript(_TABLES)


def check_version(version: int, path: Path) -> None:
    """Raise LedgerError if a newer guardian wrote the file."""
    if version > VERSION:
        raise LedgerError(
            f"{path}: the ledger is of version {version}, and this guardian knows versions up to {VERSION}; "
            "run the newer guardian again, or move the file away (what it says is stopped then stays stopped)"
        )


def is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, and not the disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "malformed" in str(error)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def put_aside(path: Path, now_wall_s: float) -> Path:
    """Rename a broken file, with its -wal and -shm, to `NAME.broken-TIME`; never delete it, nor one put aside before."""
    stamp = datetime.fromtimestamp(now_wall_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    base = aside = path.with_name(f"{path.name}.broken-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = base.with_name(f"{base.name}-{count}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            try:
                part.rename(aside.with_name(aside.name + suffix))
            except OSError as error:
                raise LedgerError(f"{part}: broken, and cannot be put aside: {error.strerror}; move it away by hand") from None
    return aside
