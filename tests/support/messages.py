"""Which places of the code made an error while something was provoked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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
