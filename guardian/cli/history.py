"""`guardian history`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from guardian.cli import completing
from guardian.cli.client import Client
from guardian.cli.options import Duration, daemon_command, directory_option, state_dir
from guardian.cli.replies import show_json
from guardian.errors import LedgerError, UnreachableError
from guardian.expose.orders import find_or_parse
from guardian.expose.status import history_row
from guardian.ledger.history import read_rows
from guardian.ledger.schema import LEDGER_NAME
from guardian.units import format_bytes, format_ratio, format_time

MAX_ROWS = 10_000

Rows = Sequence[Mapping[str, Any]]


@click.command()
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=30, show_default=True, help="How many rows, newest first.")
@click.option("--since", "since_s", type=Duration(), metavar="DURATION", help="Only what happened within this, such as 2h.")
@click.option("--service", metavar="SERVICE", shell_complete=completing.managed, help="Only this service.")
@directory_option("Read the ledger in this directory, without the daemon.")
@daemon_command
def history(
    limit: int, since_s: float | None, service: str | None, directory: Path | None, client: Client, as_json: bool
) -> None:
    """Show what was done, when and why.

    Also the relief that was expected and what was measured, how it ended, and who ordered it. While the daemon is down, the ledger is
    read from its file, where you may.

    \b
    Examples:
      guardian history
      guardian history --since 24h --service kibana
      guardian history --state-dir /var/lib/guardian --json
    """
    since_wall_s = None if since_s is None else time.time() - since_s
    if directory is not None:
        rows = _from_file(directory, limit, since_wall_s, service)
    else:
        rows = _from_daemon(client, limit, since_wall_s, service)
    if as_json:
        show_json({"history": rows})
    else:
        _draw(rows)


def history_rows(client: Client | None, directory: Path, limit: int, since_wall_s: float) -> Rows:
    """Newest first: from the daemon, or where that is not up, or not asked, from the ledger in `directory`."""
    if client is not None:
        with suppress(UnreachableError):
            return client.history(limit, since_wall_s, None)
    return _from_file(directory, limit, since_wall_s, None)


def _from_daemon(client: Client, limit: int, since_wall_s: float | None, service: str | None) -> Rows:
    try:
        return client.history(limit, since_wall_s, service)
    except UnreachableError as unreachable:
        directory = state_dir(click.get_current_context().params.get("config"))
        try:
            rows = _from_file(directory, limit, since_wall_s, service)
        except LedgerError as error:
            raise UnreachableError(f"{unreachable}\nNor can the ledger be read: {error}") from None
        click.echo(f"{unreachable}\nThis is from {directory / LEDGER_NAME}:", err=True)
        return rows


def _from_file(directory: Path, limit: int, since_wall_s: float | None, service: str | None) -> Rows:
    path = directory / LEDGER_NAME
    try:
        if service is None:
            return [history_row(row) for row in read_rows(path, limit, since_wall_s)]
        known = {row.service for row in read_rows(path, MAX_ROWS) if row.service is not None}
        return [history_row(row) for row in read_rows(path, limit, since_wall_s, find_or_parse(service, known))]
    except OSError as error:  # the directory may not be looked into
        raise LedgerError(f"{path}: {error.strerror or error}; read it as the user that guardian runs as") from None


def _draw(rows: Rows) -> None:
    from guardian.cli.tables import console, table, word

    if not rows:
        click.echo("Nothing has happened yet.")
        return
    console().print(
        table(
            "",
            ("when", "action", "service", "why", "result", "expected", "measured", "by", "detail"),
            (
                (
                    format_time(row["at_wall_s"]),
                    row["action"],
                    row["service"] or "-",
                    _why(row),
                    word(row["result"]),
                    _relief(row["expected_relief_bytes"]),
                    _relief(row["measured_relief_bytes"]),
                    row["by"] or "guardian",
                    row["detail"],
                )
                for row in rows
            ),
            right=("expected", "measured"),
        )
    )


def _relief(relief_bytes: float | None) -> str:
    return "-" if relief_bytes is None else format_bytes(relief_bytes)


def _why(row: Mapping[str, Any]) -> str:
    """`memory 84.0% ≥ 80.0%` where a signal was the reason, else the reason alone."""
    if row["value_ratio"] is None:
        return str(row["reason"])
    mark = "" if row["threshold_ratio"] is None else f", mark {format_ratio(row['threshold_ratio'])}"
    return f"{row['signal'] or row['reason']} at {format_ratio(row['value_ratio'])}{mark}"
