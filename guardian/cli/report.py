"""`guardian report`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from guardian.cli.client import Client
from guardian.cli.history import MAX_ROWS, history_rows
from guardian.cli.options import PATH, Duration, daemon_command, directory_option, state_dir
from guardian.cli.replies import printable, show_json
from guardian.errors import GuardianError
from guardian.objectives import baseline as baselines
from guardian.objectives.episodes import restarts, sheds
from guardian.objectives.reader import window
from guardian.objectives.report import report as figures
from guardian.objectives.rows import OBJECTIVES_NAME

DAY_S = 86400.0
BEFORE_S = 7 * DAY_S  # a service may have been shed for so long before the time that a report is about


@click.command()
@click.option(
    "--since",
    "since_s",
    type=Duration(),
    default="30d",
    metavar="DURATION",
    show_default=True,
    help="The time it is about, such as 7d.",
)
@click.option("--html", "html", type=PATH, metavar="FILE", help="Write a page to this file.")
@click.option("--baseline", "name", metavar="NAME", help="Compare with this baseline.  [default: the newest]")
@directory_option("Where the figures are.  [default: as in the file]")
@daemon_command
def report(since_s: float, html: Path | None, name: str | None, directory: Path | None, client: Client, as_json: bool) -> None:
    """Show which objectives are met, and what each service's time was spent on.

    Also error budgets, response times, use against budgets, what was shed and for how long, top consumers, and what has changed since a
    baseline. Needs `objectives` in the file; works while the daemon is down. Time that nobody watched is unknown, never up.

    \b
    Examples:
      guardian report
      guardian report --since 7d --html report.html
      guardian report --since 24h --baseline after-phase-1 --json
    """
    made = collect(directory, since_s, client)
    directory = directory or state_dir(click.get_current_context().params.get("config"))
    compared = _baseline(directory, name)
    if compared is not None:
        made["baseline"] = {
            "name": compared["name"],
            "from_wall_s": compared["from_wall_s"],
            "until_wall_s": compared["until_wall_s"],
            "changes": baselines.compare(compared, made),
        }
    if html is not None:
        _write(html, made, compared)
    if as_json:
        show_json(made)
    elif html is None:
        _draw(made, compared)


def collect(asked: Path | None, since_s: float, client: Client) -> dict[str, Any]:
    """The report of the time until now. What was shed is unknown where neither the daemon nor the ledger tells.

    `asked` is the directory that the command line names: then it is not the daemon that is asked.
    """
    now_wall_s = time.time()
    directory = asked or state_dir(click.get_current_context().params.get("config"))
    found = window(directory / OBJECTIVES_NAME, now_wall_s - since_s, now_wall_s)
    try:
        rows = history_rows(client if asked is None else None, directory, MAX_ROWS, found.from_wall_s - BEFORE_S)
    except GuardianError as error:
        click.echo(f"what was shed is not known: {error}", err=True)
        return figures(found, None, None, now_wall_s)
    return figures(found, sheds(rows, found.from_wall_s), restarts(rows, found.from_wall_s), now_wall_s)


def _baseline(directory: Path, name: str | None) -> Mapping[str, Any] | None:
    if name is not None:
        return baselines.load(directory, name)
    try:
        every = baselines.every(directory)
    except GuardianError as error:
        click.echo(f"not compared with a baseline: {printable(str(error))}", err=True)
        return None
    return every[-1] if every else None


def _draw(made: Mapping[str, Any], compared: Mapping[str, Any] | None) -> None:
    from guardian.cli.tables import console, table, word
    from guardian.objectives.sheets import heading, sheets

    screen = console()
    click.echo(heading(made))
    for sheet in sheets(made, compared):
        screen.print()
        if sheet.rows:
            screen.print(
                table(sheet.title, sheet.columns, ([word(cell) for cell in row] for row in sheet.rows), right=sheet.right)
            )
        else:
            click.echo(sheet.title)
        if sheet.note:
            click.echo(sheet.note)


def _write(path: Path, made: Mapping[str, Any], compared: Mapping[str, Any] | None) -> None:
    from guardian.objectives.page import page
    from guardian.objectives.sheets import heading, sheets

    try:
        path.write_text(page("Guardian report", heading(made), sheets(made, compared)), encoding="utf-8")
    except OSError as error:
        raise GuardianError(f"{path}: {error.strerror or error}; name a file that you may write") from None
    click.echo(f"written to {path}", err=True)
