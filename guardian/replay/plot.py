"""A replay as a picture: memory and CPU over time with their marks, and how many services were away. svg.py and png.py make files of it.

Two configurations differ by dashes as well as by colour, and every line has its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from guardian.model import Signal
from guardian.replay.summary import Summary, thinned

WIDTH, LEFT, TOP = 1000, 60, 40
PANEL, GAP = 200, 50  # heights
FONT_SIZE = 12
COLOURS = ("#0b5cad", "#b3541e")
INK, FRAME, GRID, BOTH = "#222222", "#999999", "#e4e4e4", "#555555"  # `BOTH`: a mark that both configurations have
DASHES = ((), (6, 4))
MARK_DASH = (2, 3)
LABEL = 72  # the width of a mark's label, right of the panel
SHOWN = (Signal.MEMORY, Signal.PLATFORM_MEMORY, Signal.CPU, Signal.PLATFORM_CPU)
TICKS = 5  # on the axis of time

Named = Sequence[tuple[str, Summary]]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Path:
    """Straight lines from point to point, and back to the first where it is `closed`. Dashes: lengths drawn and left out, in turn."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    dash: tuple[int, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A line of it on its baseline, which begins, ends or has its middle at `x`."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"]
    colour: str = INK


Shape = Path | Text


@dataclass(frozen=True, slots=True)
class Picture:
    """On white, in pixels from the upper left corner; what comes later lies above."""

    width: int
    height: int
    shapes: tuple[Shape, ...]


def drawn(found: Named, when: Callable[[float], str]) -> Picture:
    """`when` writes a time for the axis. `found` has one or two, and something was recorded."""
    since_s = min(one.since_wall_s or 0.0 for _, one in found)
    until_s = max(one.until_wall_s or 0.0 for _, one in found)
    span_s = max(1.0, until_s - since_s)
    right = WIDTH - LABEL * len(found) - 8

    def x(at_s: float) -> float:
        return LEFT + (right - LEFT) * (at_s - since_s) / span_s

    times_s = [since_s + span_s * number / TICKS for number in range(TICKS + 1)]
    signals = [signal for signal in SHOWN if any(signal in one.curves for _, one in found)]
    shapes = [*_legend(found)]
    top = TOP + GAP
    for signal in signals:
        shapes += [*_frame(top, right, signal.value.replace("_", " "), map(x, times_s)), *_signal(signal, found, x, top, right)]
        top += PANEL + GAP
    shapes += [*_frame(top, right, "services away", map(x, times_s)), *_away(found, x, top)]
    for at_s in times_s:
        shapes.append(Text(x(at_s), top + PANEL + 18, when(at_s), "start" if at_s == since_s else "middle"))
    return Picture(WIDTH, top + PANEL + GAP, tuple(shapes))


def _signal(signal: Signal, found: Named, x: Callable[[float], float], top: float, right: float) -> Iterable[Shape]:
    """From 0 to 100%, with the marks of each configuration, or those of both where they are the same."""

    def y(ratio: float) -> float:
        return top + PANEL * (1.0 - min(1.0, ratio))

    for ratio in (0.0, 0.5, 1.0):
        yield Text(LEFT - 8, y(ratio) + 4, f"{ratio:.0%}", "end")
    marks = [one.marks.get(signal, (None, None, None))[:2] for _, one in found]
    same = marks[0] == marks[-1]
    for place, (soft, hard) in enumerate(marks[:1] if same else marks):
        colour = COLOURS[place] if len(found) == 1 or not same else BOTH
        lowest = -1.0  # of the labels so far
        for name, mark in (("hard", hard), ("soft", soft)):
            if mark is not None:
                yield Path(((LEFT, y(mark)), (right, y(mark))), colour, 1.0, MARK_DASH)
                lowest = max(y(mark) + 4, lowest + FONT_SIZE + 1)
                yield Text(right + 8 + LABEL * place, lowest, f"{name} {mark:.0%}", "start", colour)
    for place, (_, one) in enumerate(found):
        yield _curve(((x(at_s), y(ratio)) for at_s, ratio in thinned(one.curves.get(signal, []))), place)


def _away(found: Named, x: Callable[[float], float], top: float) -> Iterable[Shape]:
    """How many services were stopped or throttled, in steps."""
    steps = [_steps(one) for _, one in found]
    most = max((count for one in steps for _, count in one), default=0)

    def y(count: int) -> float:
        return top + PANEL * (1.0 - count / max(1, most))

    for count in {0, most}:
        yield Text(LEFT - 8, y(count) + 4, str(count), "end")
    for place, one in enumerate(steps):
        corners = [(at_s, count) for (_, before), (at_s, after) in pairwise(one) for count in (before, after)]
        yield _curve(((x(at_s), y(count)) for at_s, count in [one[0], *corners]), place)


def _steps(one: Summary) -> list[tuple[float, int]]:
    """(time, how many are away from then on)."""
    since_s, until_s = one.since_wall_s or 0.0, one.until_wall_s or 0.0
    changes = [(absence.at_wall_s, 1) for absence in one.absences]
    changes += [(absence.until_wall_s, -1) for absence in one.absences if absence.until_wall_s is not None]
    found, count = [(since_s, 0)], 0
    for at_s, change in sorted(changes):
        count += change
        found.append((at_s, count))
    return [*found, (until_s, count)]


def _legend(found: Named) -> Iterable[Shape]:
    for place, (name, _) in enumerate(found):
        y = 20 + 18 * place
        yield Path(((LEFT, y), (LEFT + 40, y)), COLOURS[place], 2.0, DASHES[place])
        yield Text(LEFT + 48, y + 4, name, "start")


def _frame(top: float, right: float, title: str, at: Iterable[float]) -> Iterable[Shape]:
    """Around a panel; `at`: where the axis of time has figures."""
    bottom = top + PANEL
    for x in at:
        yield Path(((x, top), (x, bottom)), GRID)
    yield Path(((LEFT, top + PANEL / 2), (right, top + PANEL / 2)), GRID)
    yield Path(((LEFT, top), (right, top), (right, bottom), (LEFT, bottom)), FRAME, closed=True)
    yield Text(LEFT, top - 8, title, "start")


def _curve(points: Iterable[Point], place: int) -> Path:
    return Path(tuple(points), COLOURS[place], 1.5, DASHES[place])
