"""From a tree to a Config, key by key: one mistake hides no other. Every value gets its place; what is wrong gets its default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from guardian.config.schema import RESTING, Config, ThresholdsConfig
from guardian.config.secret import hide_secrets
from guardian.config.shape import UNITS, Key, Shape, keys
from guardian.config.tree import Items, Place, Scalar, Section, Tree
from guardian.errors import Problem

# What stands for a required value that is missing or wrong, so that all the rest can still be looked at.
_PLACEHOLDERS: dict[type, Any] = {str: "", int: 0, bool: False}
_BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(slots=True)
class Draft:
    """A configuration as far as it can be read, where its values stand, and which of them are only defaults for wrong ones."""

    config: Config
    root: Place
    places: dict[str, Place] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def given(self, path: str) -> bool:
        return path in self.places

    def place(self, path: str) -> Place:
        """Of the value, else of the nearest section around it."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.root

    def trusted(self, *paths: str) -> bool:
        """Whether nothing at, in or around these paths was wrong."""
        return not any(
            bad in {"", path}  # empty: nothing at all could be read
            or path.startswith((f"{bad}.", f"{bad}["))
            or bad.startswith((f"{path}.", f"{path}["))
            for path in paths
            for bad in self.wrong
        )


def read(tree: Tree | None, file: str) -> Draft:
    """Every mistake of names and types is in the draft's problems."""
    reader = _Reader()
    root = tree.place if tree is not None else Place(file)
    if tree is None or (isinstance(tree, Scalar) and tree.value is None):
        reader.problem(root, "", "empty: a configuration needs at least version and phases")
        tree = Section({}, root)
        reader.silent = True
    elif not isinstance(tree, Section):
        reader.problem(root, "", "expected a section with keys such as version and phases; nothing else can be at the top")
        tree = Section({}, root)
        reader.silent = True
    config = reader.section(tree, Config, "", None)
    return Draft(config, root, reader.places, reader.wrong, reader.problems)


def suggestion(name: str, among: Iterable[str]) -> str:
    """` (did you mean …?)`, or nothing."""
    known = {other.lower(): other for other in among}
    close = difflib.get_close_matches(name.lower()[:100], known, n=1, cutoff=0.6)
    return f" (did you mean {known[close[0]]}?)" if close else ""


@dataclass(slots=True)
class _Reader:
    problems: list[Problem] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    silent: bool = False  # nothing is there: that each required key is missing needs no saying

    def problem(self, place: Place, path: str, message: str) -> None:
        if not self.silent:
            self.problems.append(place.problem(path, message))
        self.wrong.add(path)

    def section(self, tree: Section, kind: type[Struct], path: str, base: Struct | None) -> Any:
        """A section. Keys that are not given come from `base` where there is one, else from the schema."""
        known = {key.name: key for key in keys(kind)}
        for name, entry in tree.entries.items():
            if name not in known:
                hint = suggestion(name, known) or f"; known are {', '.join(known)}"
                self.problem(entry.place, _join(path, name), f"unknown key{hint}")
        values: dict[str, Any] = {}
        for key in known.values():
            here = _join(path, key.name)
            default = _default(kind, key, values, base)
            given = tree.entries.get(key.name)
            if given is not None:
                self.places[here] = given.value.place if isinstance(given.value, Scalar) else given.place
                values[key.name] = self.value(given.value, key.shape, here, default)
            elif key.required and base is None:
                self.problem(tree.place, here, f"missing: expected {key.shape.allowed}")
                values[key.name] = _placeholder(key.shape)
            else:
                values[key.name] = _resting(default)
        return kind(**values)

    def value(self, tree: Tree, shape: Shape, path: str, default: Any) -> Any:
        """Whatever stands at `path`; its default, or a placeholder, where that cannot be."""
        if shape.anything:
            return _written(tree)
        if isinstance(tree, Section):
            if shape.section is not None:
                base = getattr(default, "base", default)
                return self.section(tree, shape.section, path, base if isinstance(base, shape.section) else None)
            if shape.values is not None:
                return self._mapping(tree, shape.values, path)
        elif isinstance(tree, Items):
            if shape.items is not None:
                return self._items(tree, shape, path)
        elif tree.value is None and (shape.nullable or not shape.single):
            return self._nothing(tree, shape, path, default)
        elif shape.single:
            return self._single(tree, shape, path, default)
        self.problem(tree.place, path, f"expected {shape.allowed}, got {_shown(tree)}")
        return _fallback(shape, default)

    def _nothing(self, tree: Scalar, shape: Shape, path: str, default: Any) -> Any:
        """A section or a list whose every line is commented out is as good as not there."""
        if shape.least_items:
            self.problem(tree.place, path, f"expected {shape.allowed}, got nothing")
        if shape.section is not None and not shape.nullable and default is None:
            return self.section(Section({}, tree.place), shape.section, path, None)
        return None if shape.nullable else _fallback(shape, default)

    def _mapping(self, tree: Section, shape: Shape, path: str) -> dict[str, Any]:
        values = {}
        for name, entry in tree.entries.items():
            here = _join(path, name)
            self.places[here] = entry.place
            values[name] = self.value(entry.value, shape, here, None)
        return values

    def _items(self, tree: Items, shape: Shape, path: str) -> tuple[Any, ...]:
        assert shape.items is not None  # noqa: S101 - for the type checker; the caller looked
        if len(tree.items) < shape.least_items:
            self.problem(tree.place, path, f"expected at least {shape.least_items} of them, got an empty list")
        values = []
        for index, item in enumerate(tree.items):
            here = f"{path}[{index}]"
            self.places[here] = item.place
            values.append(self.value(item, shape.items, here, None))
        return tuple(values)

    def _single(self, tree: Scalar, shape: Shape, path: str, default: Any) -> Any:
        try:
            return _parse(tree, shape)
        except ValueError as error:
            self.problem(tree.place, path, str(error))
            return _fallback(shape, default)


@dataclass(frozen=True, slots=True)
class _Inherited:
    """None unless given, and then the rest comes from `base`."""

    base: Any


def _default(kind: type[Struct], key: Key, values: dict[str, Any], base: Struct | None) -> Any:
    """What holds where the key is not given. `platform_memory` and `platform_cpu` rest on what memory and cpu came to."""
    if kind is ThresholdsConfig and key.name in RESTING:
        own, last = RESTING[key.name]
        return _Inherited(last if values[own] == "off" else values[own])
    return key.default if base is None else getattr(base, key.name)


def _resting(default: Any) -> Any:
    return None if isinstance(default, _Inherited) else default


def _placeholder(shape: Shape) -> Any:
    """A value of the right type that means nothing."""
    if shape.nullable or shape.anything:
        return None
    if shape.section is not None:
        return shape.section(
            **{key.name: _placeholder(key.shape) if key.required else key.default for key in keys(shape.section)}
        )
    if shape.values is not None:
        return {}
    if shape.items is not None:
        return ()
    if shape.version:
        return shape.version[0]
    if shape.words:
        return shape.enum(shape.words[0]) if shape.enum else shape.words[0]
    return _PLACEHOLDERS.get(shape.leaf, 0) if shape.leaf not in UNITS else shape.leaf()  # type: ignore[arg-type, misc]


def _fallback(shape: Shape, default: Any) -> Any:
    value = _resting(default)
    return _placeholder(shape) if value is None else value


def _parse(tree: Scalar, shape: Shape) -> Any:
    """A single value. ValueError says what is allowed."""
    value = tree.value
    if shape.words and isinstance(value, str) and value in shape.words:
        return shape.enum(value) if shape.enum else value
    if shape.version and not isinstance(value, bool) and value in shape.version:
        return value
    if shape.leaf is not None and shape.leaf in UNITS:
        return UNITS[shape.leaf].parse(value)
    if shape.leaf is bool:
        truth = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
        if isinstance(truth, bool):
            return truth
    if (
        shape.leaf is int
        and isinstance(value, int)
        and not isinstance(value, bool)
        and (shape.least is None or value >= shape.least)
    ):
        return value
    if shape.leaf is str:
        if isinstance(value, str):
            return value
        if tree.place.name:  # a variable or a flag has no quotes that could say so
            return tree.text
        raise ValueError(f"expected {shape.allowed}, got {_shown(tree)}; write it in quotes")
    hint = ""
    if shape.words:
        hint = "; write off" if value is False and "off" in shape.words else suggestion(tree.text, shape.words)
    raise ValueError(f"expected {shape.allowed}, got {_shown(tree)}{hint}")


def _written(tree: Tree) -> Any:
    """As plain Python values."""
    if isinstance(tree, Section):
        return {name: _written(entry.value) for name, entry in tree.entries.items()}
    if isinstance(tree, Items):
        return [_written(item) for item in tree.items]
    return tree.value


def _shown(tree: Tree) -> str:
    if isinstance(tree, Section):
        return "a section"
    if isinstance(tree, Items):
        return "a list"
    if tree.value is None:
        return "nothing"
    text = hide_secrets(repr(tree.text)) if isinstance(tree.value, str) else tree.text
    return text if len(text) <= 60 else f"{text[:57]}…"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
