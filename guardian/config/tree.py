"""A YAML text as a tree of values that know where they stand. Nothing here knows what a configuration means.

Bounded against hostile and broken files: size, nesting and what aliases expand to. Never recurses deeper than MAX_DEPTH.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from guardian.errors import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 100_000  # once every alias is expanded


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is read of a text at most, and which tags beside YAML's own have a meaning to whoever reads the tree."""

    what: str = "a configuration of guardian"
    size_bytes: int = MAX_BYTES
    values: int = MAX_VALUES
    tags: frozenset[str] = frozenset()


CONFIGURATION = Bounds()

# A C loader that nests deeper takes time that grows with the square of the depth; so depth is looked at before composing.
LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value comes from. `name` is the variable or flag that set it, and then there is no line.

    `tag` is a tag of `Bounds.tags` that stands before the value.
    """

    file: str
    line: int | None = None
    column: int | None = None
    name: str = ""
    tag: str = ""

    def problem(self, path: str, message: str) -> Problem:
        """On one line, whatever the file calls its keys."""
        return Problem(self.file, self.line, self.column, _one_line(self.name or path), _one_line(message))


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value: None, bool, int, float or str. `text` is how it was written.

    Only `true` and `false` are booleans here: `off`, `no` and `on` are texts, as in YAML 1.2, so that `cpu: off` says off.
    """

    value: bool | int | float | str | None
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    place: Place  # of the key
    value: Tree


@dataclass(frozen=True, slots=True)
class Section:
    entries: dict[str, Entry]
    place: Place


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[Tree, ...]
    place: Place


Tree: TypeAlias = Scalar | Section | Items


def parse(text: str | bytes, file: str, bounds: Bounds = CONFIGURATION) -> tuple[Tree | None, list[Problem]]:
    """The tree and every mistake of form. The tree is None where nothing can be made of the text, or it is empty."""
    if len(text) > bounds.size_bytes:
        return None, [Problem(file, None, None, "", f"larger than {bounds.size_bytes >> 20} MiB: not {bounds.what}")]
    try:
        raw = text.encode() if isinstance(text, str) else text
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return None, [
            Problem(file, line, None, "", f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8")
        ]
    except UnicodeEncodeError as error:
        line = error.object[: error.start].count("\n") + 1
        return None, [Problem(file, line, None, "", "not UTF-8: half a surrogate pair; save the file as UTF-8")]
    try:
        if (deep := _too_deep(content)) is not None:
            return None, [Problem(file, *deep, "", f"nested deeper than {MAX_DEPTH} levels")]
        node = yaml.compose(content, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = _position(error.problem_mark or error.context_mark)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return None, [Problem(file, *mark, "", f"not valid YAML: {said}")]
    except yaml.YAMLError as error:
        return None, [_unreadable(error, content, file)]
    if node is None:
        return None, []
    builder = _Builder(file, bounds)
    try:
        return builder.build(node, ""), builder.problems
    except _TooMuch as error:
        return None, [*builder.problems, error.problem]


def plain(text: str, place: Place) -> Scalar:
    """A value from outside the file (a variable, a flag), read as the same text in the file would be."""
    try:
        node = yaml.compose(text, Loader=LOADER) if text.strip() else None
    except (yaml.YAMLError, UnicodeEncodeError):
        node = None
    tag = node.tag if isinstance(node, yaml.ScalarNode) and node.value == text.strip() else f"{_TAG}str"
    return Scalar(_scalar(tag, text.strip()), text, place)


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _too_deep(content: str) -> tuple[int | None, int | None] | None:
    """Where the text nests deeper than is allowed. Raises YAMLError where it is no YAML."""
    depth = 0
    for event in yaml.parse(content, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return _position(event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _position(mark: Any) -> tuple[int | None, int | None]:
    """Line and column, from 1; the C loader's marks are of another type than the pure one's."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (None, None)


def _unreadable(error: yaml.YAMLError, content: str, file: str) -> Problem:
    """A character that YAML does not allow has a position, and no mark."""
    position = getattr(error, "position", 0)
    bad = next((index for index, char in enumerate(content) if ord(char) == getattr(error, "character", -1)), position)
    line = content.count("\n", 0, bad) + 1
    reason = getattr(error, "reason", error)
    return Problem(file, line, None, "", f"not valid YAML: {reason} (U+{getattr(error, 'character', 0):04X})")


class _TooMuch(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class _Builder:
    """Turns composed nodes into a tree. A node that aliases share is built once; its expanded size counts each time."""

    file: str
    bounds: Bounds = CONFIGURATION
    problems: list[Problem] = field(default_factory=list)
    built: dict[yaml.Node, tuple[Tree, int, int]] = field(default_factory=dict)  # tree, depth, values
    open: set[yaml.Node] = field(default_factory=set)

    def build(self, node: yaml.Node, path: str) -> Tree:
        return self._build(node, path)[0]

    def _build(self, node: yaml.Node, path: str) -> tuple[Tree, int, int]:
        if node in self.built:
            return self.built[node]
        place = self._place(node)
        if node in self.open:
            raise _TooMuch(place.problem(path, "an anchor that holds an alias of itself"))
        self.open.add(node)
        if isinstance(node, yaml.MappingNode):
            built = self._section(node, path, place)
        elif isinstance(node, yaml.SequenceNode):
            built = self._items(node, path, place)
        else:
            built = Scalar(_scalar(node.tag, node.value), node.value, place), 1, 1
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq" if isinstance(node, yaml.SequenceNode) else ""
        known = {f"{_TAG}{kind}"} if kind else {_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp")}
        known |= set() if kind else {f"{_TAG}value", f"{_TAG}merge"}
        if node.tag not in known | self.bounds.tags:
            self.problems.append(
                place.problem(path, f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here; leave it out")
            )
        if built[1] > MAX_DEPTH:
            raise _TooMuch(place.problem(path, f"nested deeper than {MAX_DEPTH} levels, once its aliases are expanded"))
        if built[2] > self.bounds.values:
            raise _TooMuch(place.problem(path, f"more than {self.bounds.values:,} values, once its aliases are expanded"))
        self.open.discard(node)
        self.built[node] = built
        return built

    def _items(self, node: yaml.SequenceNode, path: str, place: Place) -> tuple[Tree, int, int]:
        built = [self._build(child, f"{path}[{index}]") for index, child in enumerate(node.value)]
        depth, values = max((item[1] for item in built), default=0), sum(item[2] for item in built)
        return Items(tuple(item[0] for item in built), place), depth + 1, values + 1

    def _section(self, node: yaml.MappingNode, path: str, place: Place) -> tuple[Tree, int, int]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        depth, values = 0, 1
        for key, child in node.value:
            where = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(where.problem(path, "a key must be a single word, not a list or a section"))
                continue
            here = f"{path}.{key.value}" if path else key.value
            value, child_depth, child_values = self._build(child, path if key.tag == f"{_TAG}merge" else here)
            depth, values = max(depth, child_depth), values + child_values
            if key.tag == f"{_TAG}merge":
                merged = self._merge(value, path) | merged
            elif key.value in entries:
                first = entries[key.value].place.line
                self.problems.append(where.problem(here, f"given twice; first in line {first}: keep one of the two"))
            else:
                entries[key.value] = Entry(where, value)
        return Section(merged | entries, place), depth + 1, values

    def _merge(self, value: Tree, path: str) -> dict[str, Entry]:
        """What `<<` brings in: of several sections, the first that has a key."""
        sections = value.items if isinstance(value, Items) else (value,)
        merged: dict[str, Entry] = {}
        for section in sections:
            if isinstance(section, Section):
                merged = section.entries | merged
            else:
                self.problems.append(section.place.problem(path, "<< takes a section, or a list of sections"))
        return merged

    def _place(self, node: yaml.Node) -> Place:
        tag = node.tag if node.tag in self.bounds.tags else ""
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1, tag=tag)


def _scalar(tag: str, text: str) -> bool | int | float | str | None:
    """What a scalar is. Octal, sexagesimal and grouped numbers of YAML 1.1 stay texts: nobody means them here."""
    if tag == f"{_TAG}null":
        return None
    if tag == f"{_TAG}bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if tag == f"{_TAG}int" and _WHOLE.fullmatch(text):
            return int(text)
        if tag == f"{_TAG}float":
            number = float(text)
            return number if math.isfinite(number) else text
    except ValueError:  # sexagesimal, or more digits than Python converts
        return text
    return text
