"""Tables and figures for people. Only commands that draw import this: rich takes its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardian.cli.replies import printable

LEAST_WIDTH = 80  # a narrower terminal wraps the lines of a table: better than a letter on each
PIPED_WIDTH = 200  # where nobody's screen limits it, nothing is cut off
STYLES = {
    **dict.fromkeys(("ok", "running", "up", "done"), "green"),
    **dict.fromkeys(("soft", "shed", "over", "warn", "unhealthy", "missing", "stopped"), "yellow"),
    **dict.fromkeys(("hard", "down", "quarantined", "failed", "refused", "timed_out", "fail"), "bold red"),
}
"""Colours repeat what a word already says: none carries a meaning of its own."""


def console(least_width: int = LEAST_WIDTH) -> Console:
    """Writes to stdout; with colours only on a terminal, and none where NO_COLOR is set."""
    made = Console(markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = PIPED_WIDTH
    elif made.width < least_width:
        made.width = least_width
    return made


def word(text: str) -> Text:
    return Text(printable(text), STYLES.get(text, ""))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Iterable[str] = ()) -> Table:
    """A plain table; columns named in `right` are figures."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    figures = set(right)
    for name in columns:
        drawn.add_column(name, justify="right" if name in figures else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else printable(cell) for cell in row))
    return drawn
