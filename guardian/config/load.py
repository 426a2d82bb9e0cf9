"""A configuration from a file, the environment and flags, with every mistake at once. A file yields to a variable, a variable to a flag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from guardian.config.overlay import overlay
from guardian.config.read import read
from guardian.config.rules import check, warnings
from guardian.config.schema import Config
from guardian.config.tree import MAX_BYTES, parse
from guardian.errors import ConfigError, Problem, unreadable

__all__ = ["load", "loads", "read_bytes", "warnings"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


def load(path: Path, environ: Mapping[str, str] = _NOTHING, flags: Mapping[str, object] = _NOTHING) -> Config:
    """The configuration in the file at `path`. ConfigError carries every mistake, a file that cannot be read included.

    `environ` may be all of `os.environ`: only GUARDIAN_* is looked at. `flags` are dotted paths with values, as
    `{"engine.url": "simulated"}`; None is a flag that was not given.
    """
    return loads(read_bytes(path), str(path), environ, flags)


def loads(
    text: str | bytes, file: str, environ: Mapping[str, str] = _NOTHING, flags: Mapping[str, object] = _NOTHING
) -> Config:
    """The same from a text; `file` is the name for messages."""
    tree, malformed = parse(text, file)
    if malformed and tree is None:
        raise ConfigError(tuple(malformed))
    whole, unknown = overlay(tree, environ, flags, file)
    draft = read(whole, file)
    problems = [*malformed, *unknown, *draft.problems, *check(draft)]
    if whole is not tree:  # what a variable or a flag replaces must be right too
        problems += read(tree, file).problems
    if problems:
        raise ConfigError(tuple(sorted(set(problems), key=_position)))
    return _settled(draft.config)


def read_bytes(path: Path) -> bytes:
    """What the file holds, at most a little more than a configuration may. ConfigError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise ConfigError((Problem(str(path), None, None, "", unreadable(error)),)) from None


def _settled(config: Config) -> Config:
    """Phases in their order, and each setting that has two places in the one that readers use."""
    sampling, shedding = config.sampling, config.shedding
    if config.source is not None:
        sampling = msgspec.structs.replace(sampling, source=config.source)
    return msgspec.structs.replace(
        config,
        phases=tuple(sorted(config.phases, key=lambda phase: phase.phase)),
        sampling=sampling,
        source=None,
        dependencies=shedding.dependencies or config.dependencies,
        shedding=msgspec.structs.replace(shedding, dependencies=None),
    )


def _position(problem: Problem) -> tuple[bool, int, int, str, str]:
    """From the top of the file down; what has no line comes last."""
    return problem.line is None, problem.line or 0, problem.column or 0, problem.path, problem.message
