"""Which places of the code made an error while something was provoked."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from guardian.errors import GuardianError, Problem
from guardian.messages import PACKAGE, Site


@dataclass(frozen=True, slots=True)
class Made:
    """An error that was made, where, and what it says."""

    file: str
    line: int
    says: str

    def at(self, site: Site) -> bool:
        return self.file == site.file and site.line <= self.line <= site.last_line


@contextmanager
def watched() -> Iterator[list[Made]]:
    """What is made of errors and problems while this is open, on any thread."""
    made: list[Made] = []
    before = {kind: kind.__init__ for kind in (GuardianError, click.ClickException, Problem)}

    def noting(init: Callable[..., None]) -> Callable[..., None]:
        def noted(self: Any, *args: Any, **fields: Any) -> None:
            init(self, *args, **fields)
            file, line = _maker(self)
            made.append(Made(file, line, getattr(self, "message", None) or str(self)))

        return noted

    try:
        for kind, init in before.items():
            kind.__init__ = noting(init)  # type: ignore[method-assign]
        yield made
    finally:
        for kind, init in before.items():
            kind.__init__ = init  # type: ignore[method-assign]


def _maker(error: object) -> tuple[str, int]:
    """Who made it: the first that is no constructor of its own."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_locals.get("self") is error:
        frame = frame.f_back
    if frame is None:
        return "", 0
    path = Path(frame.f_code.co_filename)
    return (str(path.relative_to(PACKAGE)), frame.f_lineno) if path.is_relative_to(PACKAGE) else (str(path), frame.f_lineno)


@contextmanager
def reached(*files: str) -> Iterator[set[tuple[str, int]]]:
    """The lines of these files of the package that run while this is open, on this thread."""
    lines: set[tuple[str, int]] = set()
    by_path = {str(PACKAGE / file): file for file in files}

    def enter(frame: FrameType, _event: str, _arg: object) -> Any:
        file = by_path.get(frame.f_code.co_filename)
        if file is None:
            return None

        def look(frame: FrameType, _event: str, _arg: object) -> Any:
            lines.add((file, frame.f_lineno))
            return look

        return look(frame, "", None)

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield lines
    finally:
        sys.settrace(before)


def never_made(lines: set[tuple[str, int]], names: Collection[str], *files: str) -> list[str]:
    """The calls of these names in these files of which no line has run."""
    return [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file in files
        for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in names
        and not any((file, line) in lines for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))
    ]
