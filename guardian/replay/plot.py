"""A replay as a picture: memory and CPU over time with their marks, and how many services were away. SVG, written by hand.

Two configurations differ by dashes as well as by colour, and every line has its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from xml.sax.saxutils import escape

from guardian.model import Signal
from guardian.replay.summary import Summary, thinned

WIDTH, LEFT, RIGHT, TOP = 1000, 60, 20, 40
PANEL, GAP = 200, 50  # heights
COLOURS = ("#0b5cad", "#b3541e")
DASHES = ("", "6 4")
SHOWN = (Signal.MEMORY, Signal.PLATFORM_MEMORY, Signal.CPU, Signal.PLATFORM_CPU)
TICKS = 5  # on the axis of time

Named = Sequence[tuple[str, Summary]]


def drawing(found: Named, when: Callable[[float], str]) -> str:
    """The whole file. `when` writes a time for the axis. `found` has at most two, and something was recorded."""
    since_s = min(one.since_wall_s or 0.0 for _, one in found)
    until_s = max(one.until_wall_s or 0.0 for _, one in found)
    span_s = max(1.0, until_s - since_s)

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_s - since_s) / span_s

    signals = [signal for signal in SHOWN if any(signal in one.curves for _, one in found)]
    parts = [_legend(found)]
    top = TOP + GAP
    for signal in signals:
        parts += _panel(signal, found, x, top)
        top += PANEL + GAP
    parts += _away(found, x, top)
    top += PANEL + GAP
    for number in range(TICKS + 1):
        at_s = since_s + span_s * number / TICKS
        anchor = "start" if number == 0 else "end" if number == TICKS else "middle"
        parts.append(_text(x(at_s), top - GAP + 18, when(at_s), anchor))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="guardian replay">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(signal: Signal, found: Named, x: Callable[[float], float], top: float) -> Iterable[str]:
    """One signal from 0 to 100%, with the marks of each configuration."""

    def y(ratio: float) -> float:
        return top + PANEL * (1.0 - min(1.0, ratio))

    yield _frame(top, signal.value.replace("_", " "))
    for ratio in (0.0, 0.5, 1.0):
        yield _text(LEFT - 8, y(ratio) + 4, f"{ratio:.0%}", "end")
    for place, (_, one) in enumerate(found):
        soft, hard, _recover = one.marks.get(signal, (None, None, None))
        for name, mark in (("soft", soft), ("hard", hard)):
            if mark is not None:
                yield _line(LEFT, y(mark), WIDTH - RIGHT, y(mark), COLOURS[place], "2 3")
                yield _text(WIDTH - RIGHT - 4 - 90 * place, y(mark) - 3, f"{name} {mark:.0%}", "end", COLOURS[place])
        points = " ".join(f"{x(at_s):.1f},{y(ratio):.1f}" for at_s, ratio in thinned(one.curves.get(signal, [])))
        yield _curve(points, place)


def _away(found: Named, x: Callable[[float], float], top: float) -> Iterable[str]:
    """How many services were stopped or throttled, in steps."""
    steps = [_steps(one) for _, one in found]
    most = max((count for one in steps for _, count in one), default=0)

    def y(count: int) -> float:
        return top + PANEL * (1.0 - count / max(1, most))

    yield _frame(top, "services away")
    yield _text(LEFT - 8, y(0) + 4, "0", "end")
    if most:
        yield _text(LEFT - 8, y(most) + 4, str(most), "end")
    for place, one in enumerate(steps):
        points, before = [], 0
        for at_s, count in one:
            points += [f"{x(at_s):.1f},{y(before):.1f}", f"{x(at_s):.1f},{y(count):.1f}"]
            before = count
        yield _curve(" ".join(points), place)


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


def _legend(found: Named) -> str:
    lines = []
    for place, (name, _) in enumerate(found):
        at_y = 20 + 18 * place
        lines.append(_line(LEFT, at_y, LEFT + 40, at_y, COLOURS[place], DASHES[place], 2))
        lines.append(_text(LEFT + 48, at_y + 4, name, "start"))
    return "\n".join(lines)


def _frame(top: float, title: str) -> str:
    box = (
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}" fill="none" stroke="#999999" '
        f'stroke-width="1"/>'
    )
    return f"{box}\n{_text(LEFT, top - 8, title, 'start')}"


def _curve(points: str, place: int) -> str:
    dash = f' stroke-dasharray="{DASHES[place]}"' if DASHES[place] else ""
    return f'<polyline points="{points}" fill="none" stroke="{COLOURS[place]}" stroke-width="1.5"{dash}/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str, width: float = 1) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
