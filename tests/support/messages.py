"""Every place of the code that makes a message for a user, and which of them made one while something was provoked."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import click

import guardian
from guardian.errors import GuardianError, Problem

PACKAGE = Path(guardian.__file__).parent
ERRORS = "GuardianError"
OF_CLICK = frozenset({"UsageError", "BadParameter", "CommandFailed"})  # the last is of guardian.cli.main


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One call that makes an error. `words` is its source, so that it stays the same while lines move."""

    file: str
    words: str
    line: int
    last_line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words}"


@dataclass(frozen=True, slots=True)
class Made:
    """An error that was made, where, and what it says."""

    file: str
    line: int
    says: str

    def at(self, site: Site) -> bool:
        return self.file == site.file and site.line <= self.line <= site.last_line


@cache
def _trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@cache
def error_names() -> frozenset[str]:
    """Every class of the package that is a GuardianError, and click's own that commands raise."""
    below = {
        node.name: {_name(base) for base in node.bases}
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {ERRORS}
    while more := {name for name, bases in below.items() if bases & found} - found:
        found |= more
    return frozenset(found | OF_CLICK)


@cache
def sites(names: frozenset[str]) -> tuple[Site, ...]:
    """Every call of one of these names, in the order of files and lines."""
    found = [
        Site(file, ast.unparse(node), node.lineno, node.end_lineno or node.lineno)
        for file, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) in names
    ]
    return tuple(sorted(found, key=lambda one: (one.file, one.line)))


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
