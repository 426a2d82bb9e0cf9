"""`guardian top`."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from guardian.cli.client import Client
from guardian.cli.options import Duration, client_command
from guardian.cli.replies import printable
from guardian.cli.status import headline, notes
from guardian.cli.tables import STYLES, console, table, word
from guardian.errors import UnreachableError, UsageError
from guardian.units import format_bytes, format_cores, format_ratio, format_time, format_use

BAR = 30  # characters, where there is room
ACTIONS, NOTES = 5, 6  # of history, and of what is out of the ordinary …
LOW, LOW_ACTIONS, LOW_NOTES = 30, 2, 3  # … and on a screen of fewer lines
WIDE, MEDIUM = 100, 60  # columns: on a narrower screen fewer figures are shown, and no name is broken
SORTS = {"m": "memory", "c": "cpu", "p": "phase"}  # key -> order of services

Values = Mapping[str, Any]


@click.command()
@client_command
@click.option("--interval", type=Duration(), default="1s", show_default=True, help="Time from one look to the next.")
def top(client: Client, interval: float) -> None:
    """Watch levels, phases and services live in the terminal.

    Keys: m, c and p sort services by memory, CPU and phase; q ends it.

    \b
    Examples:
      guardian top
      ssh -t host guardian top --interval 5s
    """
    screen = console(least_width=0)
    if not screen.is_terminal or not sys.stdin.isatty():
        raise UsageError("top draws on a terminal; for scripts there is `guardian status --json`")
    if interval <= 0:
        raise UsageError("--interval: expected more than 0 s")
    seen = Seen(client)
    with _keys() as key, Live(console=screen, screen=True, auto_refresh=False) as live:
        order = "m"
        while True:
            live.update(draw(seen, SORTS[order], screen.width, screen.height), refresh=True)
            pressed = key(interval)
            if pressed == "q":
                return
            if pressed in SORTS:
                order = pressed
            else:
                seen.look()


class Seen:
    """What the daemon last said. It stays when the daemon falls silent, with `trouble` saying why. UnreachableError if it never spoke."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.status: Values = client.status()
        self.rows: Sequence[Values] = client.history(ACTIONS, None, None)
        self.trouble = ""

    def look(self) -> None:
        try:
            self.status = self._client.status()
            self.rows = self._client.history(ACTIONS, None, None)
            self.trouble = ""
        except UnreachableError as error:
            self.trouble = str(error)


def draw(seen: Seen, order: str, width: int, height: int) -> RenderableType:
    """One screen: services get the lines that the rest leaves."""
    shown, low = seen.status, height < LOW
    head = headline(shown)
    parts: list[RenderableType] = [head]
    if seen.trouble:
        parts.append(Text(printable(f"old, no newer answer: {seen.trouble}"), "bold red", no_wrap=True, overflow="ellipsis"))
    parts += [
        Text(printable(line), no_wrap=True, overflow="ellipsis") for line in islice(notes(shown), LOW_NOTES if low else NOTES)
    ]
    parts += [_signal(one, width) for one in shown["signals"]]
    parts += [_phase(one, width) for one in shown["phases"]]
    actions = [_action(row, width) for row in seen.rows[: LOW_ACTIONS if low else ACTIONS]]
    # Left for services: also without the head of the table, its two lines, what was left out, and where the first line goes on.
    free = height - len(parts) - len(actions) - 5 - head.cell_len // width
    services = sorted(shown["services"], key=_SORT_KEYS[order])
    lines = services[: max(3, free)]
    parts.append(_table(lines, width, named={one["service"].partition("/")[0] for one in services}))
    left = len(services) - len(lines)
    more = f"… and {left} more; " if left else ""
    parts.append(Text(f"{more}by {order}; m, c, p: by memory, CPU, phase; q ends", "dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts, *actions)


def _signal(one: Values, width: int) -> Text:
    """`memory  ██████|··|··· 67% soft`, with a bar at each mark."""
    value = one["value_ratio"]
    length = max(8, min(BAR, width - 30))
    full = 0 if value is None else round(min(1.0, value) * length)
    bar = ["█" if at < full else "·" for at in range(length)]
    for mark, letter in ((one["recover_ratio"], "r"), (one["soft_ratio"], "s"), (one["hard_ratio"], "h")):
        if mark is not None:
            bar[min(length - 1, int(mark * length))] = letter
    line = Text(f"{one['signal']:<16}", no_wrap=True)
    line.append("".join(bar), STYLES.get(one["level"], ""))
    line.append(f" {format_ratio(value):>6} ")
    return line.append_text(word(one["level"]))


def _phase(one: Values, width: int) -> Text:
    services = ", ".join(f"{count} {state}" for state, count in one["services"].items() if count)
    memory = format_use(one["memory_bytes"], one["memory_budget_bytes"], format_bytes)
    cores = format_use(one["cpu_cores"], one["cpu_budget_cores"], format_cores)
    if width >= WIDE:
        said = f"phase {one['phase']:<2} {one['name']:<14} {memory:<24} {cores:<26} {services}"
    elif width >= MEDIUM:
        said = f"phase {one['phase']:<2} {one['name']:<14} {memory:<20} {services}"
    else:
        said = f"{one['phase']:<2} {one['name'][:13]:<14}{memory}"
    line = Text(printable(said), no_wrap=True, overflow="ellipsis")
    if one["over"]:
        line.append(f"  over: {', '.join(one['over'])}", "yellow")
    return line


def _table(services: Sequence[Values], width: int, named: set[str]) -> RenderableType:
    """A line each, with their projects where there are several (`named`)."""
    columns, others = ["service", "state", "memory"], 29  # `others`: what the columns beside the names take
    if width >= MEDIUM:
        columns, others = ["phase", *columns, "cpu"], 50
    if width >= WIDE:
        columns[4:4], others = ["footprint", "limit"], 73
    cells = (_service(one, len(named) == 1, width - others) for one in services)
    rows = ([row[column] for column in columns] for row in cells)
    return table("", columns, rows, right=("memory", "footprint", "limit", "cpu"))


def _service(one: Values, bare: bool, room: int) -> Mapping[str, str | Text]:
    runs = one["running"] > 0
    limit = one["memory_limit_bytes"]
    name = one["service"].rpartition("/")[2] if bare else one["service"]
    return {
        "phase": str(one["phase"]),
        "service": name if len(name) <= room else f"{name[: max(1, room - 1)]}…",
        "state": word(one["state"]),
        "memory": format_bytes(one["working_set_bytes"]) if runs else "-",
        "footprint": format_bytes(one["footprint_bytes"]) if runs else "-",
        "limit": "-" if limit is None else format_bytes(limit),
        "cpu": format_cores(one["cpu_cores"]) if runs else "-",
    }


def _action(row: Values, width: int) -> Text:
    by = f" by {row['by']}" if row["by"] else ""
    at = format_time(row["at_wall_s"])
    line = f"{at if width >= MEDIUM else at[-8:]} {row['action']} {row['service'] or ''} for {row['reason']}{by}: "
    return Text(printable(line), no_wrap=True, overflow="ellipsis").append_text(word(row["result"]))


_SORT_KEYS = {
    "memory": lambda one: (-(one["working_set_bytes"] or 0), one["service"]),
    "cpu": lambda one: (-(one["cpu_cores"] or 0.0), one["service"]),
    "phase": lambda one: (one["phase"], one["service"]),
}


@contextmanager
def _keys() -> Iterator[Any]:
    """Keys without waiting for Enter: a function of seconds that gives the key pressed within them, or an empty text."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def key(within_s: float) -> str:
        ends_s = time.monotonic() + within_s
        while (left_s := ends_s - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left_s)[0]:
                pressed = os.read(descriptor, 1).decode(errors="replace")
                if pressed in (*SORTS, "q"):
                    return pressed
                if not pressed:  # the terminal has gone
                    return "q"
        return ""

    tty.setcbreak(descriptor)
    try:
        yield key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
