"""Services as sections of a tree: short forms are written out, so that sections of several files can be laid over each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from guardian.compose.interpolate import Interpolation
from guardian.config.tree import Entry, Items, Place, Scalar, Section, Tree, plain
from guardian.errors import Problem

RESET, OVERRIDE = "!reset", "!override"
TAGS = frozenset({RESET, OVERRIDE})

_PORT = re.compile(
    r"(?:(?:\[[^]]*\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<published>\d+(?:-\d+)?)?:)?(?P<target>\d+(?:-\d+)?)(?:/(?P<protocol>[a-z]+))?"
)
# A list in the file below is continued by these, and replaced by every other.
_CONTINUED = frozenset({"ports", "expose", "volumes", "profiles", "dns", "dns_search", "tmpfs", "external_links", "devices"})


def interpolated(tree: Tree, variables: Mapping[str, str]) -> tuple[Tree, list[Problem]]:
    """Every value with its variables put in, read again as the same text in the file would be. Keys stay as they are."""
    problems: list[Problem] = []

    def walk(part: Tree, path: str) -> Tree:
        if isinstance(part, Section):
            entries = {
                name: replace(entry, value=walk(entry.value, f"{path}.{name}" if path else name))
                for name, entry in part.entries.items()
            }
            return Section(entries, part.place)
        if isinstance(part, Items):
            return Items(tuple(walk(item, f"{path}[{index}]") for index, item in enumerate(part.items)), part.place)
        if not isinstance(part.value, str) or "$" not in part.value:
            return part
        interpolation = Interpolation(variables)
        text = interpolation.text(part.value)
        problems.extend(part.place.problem(path, complaint) for complaint in interpolation.complaints)
        return replace(plain(text, part.place), place=part.place) if text != part.value else part

    return walk(tree, ""), problems


def canonical(service: Section) -> Section:
    """A service with the short forms of those keys written out that other files, or `extends`, may add to."""
    entries = dict(service.entries)
    for key, write_out in _LONG.items():
        if key in entries:
            entries[key] = replace(entries[key], value=write_out(entries[key].value))
    return Section(entries, service.place)


def laid_over(below: Section, above: Section) -> Section:
    """`above` over `below`: sections key by key, some lists continued, everything else replaced."""
    entries = dict(below.entries)
    for name, entry in above.entries.items():
        old = entries.get(name)
        if entry.value.place.tag == RESET:
            entries.pop(name, None)
        elif old is None or entry.value.place.tag == OVERRIDE:
            entries[name] = entry
        elif isinstance(old.value, Section) and isinstance(entry.value, Section):
            entries[name] = Entry(entry.place, laid_over(old.value, entry.value))
        elif isinstance(old.value, Items) and isinstance(entry.value, Items) and name in _CONTINUED:
            entries[name] = Entry(entry.place, Items((*old.value.items, *entry.value.items), entry.value.place))
        else:
            entries[name] = entry
    return Section(entries, above.place)


def text_of(tree: Tree | None) -> str:
    """A single value as text; empty for what is none."""
    return tree.text if isinstance(tree, Scalar) and tree.value is not None else ""


def child(tree: Tree | None, *path: str) -> Tree | None:
    """What stands at `path` below a section; None where there is nothing."""
    for name in path:
        entry = tree.entries.get(name) if isinstance(tree, Section) else None
        tree = entry.value if entry is not None else None
    return tree


def _named(tree: Tree) -> Tree:
    """`[a, b]` as `{a: , b: }`."""
    if not isinstance(tree, Items):
        return tree
    entries = {text_of(item): Entry(item.place, Section({}, item.place)) for item in tree.items if text_of(item)}
    return Section(entries, tree.place)


def _assigned(tree: Tree) -> Tree:
    """`["a=1", b]` as `{a: 1, b: }`."""
    if not isinstance(tree, Items):
        return tree
    entries: dict[str, Entry] = {}
    for item in tree.items:
        name, _, value = text_of(item).partition("=")
        entries[name] = Entry(item.place, Scalar(value, value, item.place))
    return Section(entries, tree.place)


def _ports(tree: Tree) -> Tree:
    return Items(tuple(_port(item) for item in tree.items), tree.place) if isinstance(tree, Items) else tree


def _port(item: Tree) -> Tree:
    """`127.0.0.1:8080:80/udp` as a section; what is no such thing stays as it is."""
    match = _PORT.fullmatch(text_of(item).strip())
    if isinstance(item, Section) or match is None:
        return item
    parts = {name: match[name] for name in ("published", "target", "protocol")}
    return Section({name: _entry(item.place, text) for name, text in parts.items() if text}, item.place)


def _listed(tree: Tree) -> Tree:
    """A single value where a list may stand."""
    return Items((tree,), tree.place) if isinstance(tree, Scalar) and tree.value is not None else tree


def _entry(place: Place, text: str) -> Entry:
    return Entry(place, Scalar(text, text, place))


_LONG: Mapping[str, Callable[[Tree], Tree]] = {
    "depends_on": _named,
    "links": _listed,
    "labels": _assigned,
    "ports": _ports,
    "profiles": _listed,
}
