"""The history in the ledger's file: appended by the writer, read by anybody, also while no daemon runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from guardian.errors import LedgerError
from guardian.ledger.entries import HistoryRow
from guardian.ledger.schema import check_version, own_uri
from guardian.model import ActionKind, Outcome, Result, ServiceKey

READ_TIMEOUT_S = 2.0

_COLUMNS = (
    "at_wall_s, action, project, service, phase, reason, result, signal, value, threshold, deficit, expected_bytes, "
    "measured_bytes, by, detail, action_id"
)


def row_of(outcome: Outcome) -> HistoryRow:
    """What history says of an action that ended, as far as the outcome knows it."""
    action = outcome.action
    return HistoryRow(
        at_wall_s=outcome.at_wall_s,
        action=action.kind,
        service=action.service,
        phase=action.phase,
        reason=action.reason,
        result=outcome.result,
        expected_bytes=action.relief_bytes,
        by=action.by,
        detail=outcome.detail,
        action_id=action.id,
    )


def append_history(connection: sqlite3.Connection, rows: Iterable[HistoryRow], measured: Mapping[str, int]) -> None:
    """Within the writer's transaction: add rows, then complete those of actions whose relief was `measured`."""
    marks = ", ".join("?" * len(_COLUMNS.split(",")))
    connection.executemany(
        f"INSERT INTO history ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants of this module
        [
            (
                row.at_wall_s, str(row.action), *(row.service or (None, None)), row.phase, row.reason, str(row.result),
                row.signal, row.value, row.threshold, row.deficit, row.expected_bytes, row.measured_bytes, row.by, row.detail,
                row.action_id,
            )
            for row in rows
        ],
    )  # fmt: skip
    connection.executemany(
        "UPDATE history SET measured_bytes = ? WHERE action_id = ?",
        [(relief_bytes, action_id) for action_id, relief_bytes in measured.items()],
    )


def read_rows(
    path: Path, limit: int, since_wall_s: float | None = None, service: ServiceKey | None = None, *, own: bool = False
) -> tuple[HistoryRow, ...]:
    """The newest `limit` rows, newest first, read-only. `own`: this process has the file open for writing.

    LedgerError if the file is not there or cannot be read.
    """
    where, values = ["1"], list[object]()
    if since_wall_s is not None:
        where.append("at_wall_s >= ?")
        values.append(since_wall_s)
    if service is not None:
        where.append("project = ? AND service = ?")
        values.extend(service)
    query = f"SELECT {_COLUMNS} FROM history WHERE {' AND '.join(where)} ORDER BY at_wall_s DESC, id DESC LIMIT ?"  # noqa: S608
    if not path.exists():
        raise LedgerError(f"{path}: there is no ledger here; check `state_dir`, or start guardian once")
    try:
        uri = own_uri(path, "ro") if own else f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=READ_TIMEOUT_S)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None
    try:
        check_version(connection.execute("PRAGMA user_version").fetchone()[0], path)
        return tuple(_row(values) for values in connection.execute(query, (*values, limit)))
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None
    finally:
        connection.close()


def _unreadable(path: Path, error: sqlite3.Error) -> LedgerError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return LedgerError(f"{path}: guardian has it open; ask guardian, without --state-dir")
    return LedgerError(f"{path}: the history cannot be read: {error}; read it as the user that guardian runs as")


def _row(values: tuple[Any, ...]) -> HistoryRow:
    at_wall_s, action, project, name, phase, reason, result, *rest = values
    service = None if name is None else ServiceKey(project, name)
    kind = ActionKind(action) if action in list(ActionKind) else action
    ended = Result(result) if result in list(Result) else result
    return HistoryRow(at_wall_s, kind, service, phase, reason, ended, *rest)
