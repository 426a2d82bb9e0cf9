"""What the environment and flags put over the file. Names of variables come from the paths: `web.listen` is GUARDIAN_WEB_LISTEN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from guardian.config.read import suggestion
from guardian.config.schema import Config
from guardian.config.shape import keys, walk
from guardian.config.tree import Entry, Items, Place, Scalar, Section, Tree, plain
from guardian.errors import Problem

PREFIX = "GUARDIAN_"
RESERVED = frozenset({"GUARDIAN_CONFIG"})  # the file itself


@cache
def variables() -> Mapping[str, str]:
    """Of each variable, the path that it sets. Only single values have one."""
    return {
        PREFIX + "_".join(path).upper(): ".".join(path)
        for path, key in walk(Config)
        if key.shape.single and path != ("version",)
    }


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that look as if they were meant for guardian, with what to say of them."""
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in variables() and name not in RESERVED:
            yield name, f"sets no key of the configuration{suggestion(name, variables())}"


def overlay(
    tree: Tree | None, environ: Mapping[str, str], flags: Mapping[str, object], file: str
) -> tuple[Tree | None, list[Problem]]:
    """The tree with variables over it, and flags over those. Values are not looked at here."""
    problems = []
    for name, path in variables().items():
        if name in environ:
            tree = _put(tree, path.split("."), plain(environ[name], Place("environment", name=name)), file)
    for path, value in flags.items():
        if value is None:  # not given
            continue
        place = Place("command line", name=path)
        if not _exists(path):
            problems.append(place.problem(path, f"unknown key{suggestion(path, map('.'.join, (p for p, _ in walk(Config))))}"))
        else:
            tree = _put(tree, path.split("."), _tree(value, place), file)
    return tree, problems


def _exists(path: str) -> bool:
    section: type | None = Config
    for name in path.split("."):
        key = next((key for key in keys(section) if key.name == name), None) if section else None
        if key is None:
            return False
        section = key.shape.section
    return True


def _tree(value: object, place: Place) -> Tree:
    if isinstance(value, list | tuple):
        return Items(tuple(_tree(item, place) for item in value), place)
    if isinstance(value, bool | int | float):
        return Scalar(value, str(value), place)
    return plain(str(value), place)


def _put(tree: Tree | None, path: list[str], value: Tree, file: str) -> Tree:
    """A copy with `value` at `path`. What stands in the way is replaced where it is nothing or off, else left to be a mistake."""
    if not path:
        return value
    if tree is None or (isinstance(tree, Scalar) and tree.value in (None, "off")):
        tree = Section({}, tree.place if tree is not None else Place(file))
    if not isinstance(tree, Section):
        return tree
    entry = tree.entries.get(path[0])
    below = _put(entry.value if entry else None, path[1:], value, file)
    place = below.place if entry is None else entry.place
    return Section({**tree.entries, path[0]: Entry(place, below)}, tree.place)
