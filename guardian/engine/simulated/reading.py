"""A scenario from YAML: every mistake at once, each with its file and line.

`extends: NAME` takes another scenario as it is and changes what is written beside it, key by key; NAME is one of the
scenarios that come with Guardian, or a file beside this one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from msgspec import Struct

from guardian.engine.simulated.behaviour import Kind, Shape
from guardian.engine.simulated.scenario import Scenario, Step
from guardian.errors import ConfigError, Problem
from guardian.units import Bytes, Cores, Ratio, Seconds, parse_bytes, parse_cores, parse_ratio, parse_seconds

BUILT_IN = Path(__file__).parent / "scenarios"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Any = TypeVar("_Any")
_DEEPEST = 5  # scenarios that extend each other
_PLAIN = {str: "text", int: "a whole number", bool: "true or false"}


def built_in() -> tuple[str, ...]:
    """Names of the scenarios that come with Guardian."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.yaml")))


def load(name_or_path: str | Path) -> Scenario:
    """A scenario by its built-in name, or from a file. Raises ConfigError with every mistake that was found."""
    reader = _Reader()
    root = reader.tree(_path(str(name_or_path), Path()), 0)
    scenario = reader.struct(Scenario, root, "")
    reader.check(root, scenario)
    if reader.problems:
        raise ConfigError(tuple(sorted(reader.problems, key=lambda one: (one.file, one.line or 0))))
    return scenario


def _path(name: str, beside: Path) -> Path:
    return BUILT_IN / f"{name}.yaml" if name in built_in() else beside / name


def _fail(file: str, message: str, line: int | None = None, path: str = "") -> ConfigError:
    return ConfigError((Problem(file, line, None, path, message),))


def _composed(path: Path) -> yaml.MappingNode:
    """The file as YAML nodes. What makes it unreadable as a whole is raised."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = f"cannot be read: {error.strerror}; name a file, or one of {', '.join(built_in())}"
        raise _fail(file, why) from error
    except UnicodeDecodeError as error:
        raise _fail(file, "is not UTF-8 text") from error
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise _fail(file, f"is no YAML: {error.problem}", line) from error
    except yaml.YAMLError as error:
        raise _fail(file, f"is no YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise _fail(file, "expected keys such as `host:` and `services:`", 1)
    return node


def _merge(under: yaml.Node, over: yaml.Node) -> None:
    """Add to `over` the keys of `under` that it does not give."""
    if not (isinstance(under, yaml.MappingNode) and isinstance(over, yaml.MappingNode)):
        return
    below = {key.value: (key, value) for key, value in under.value}
    for key, value in over.value:
        if key.value in below:
            _merge(below[key.value][1], value)
        below[key.value] = (key, value)
    over.value = list(below.values())


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """Turns nodes into the types of a scenario, and collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def tree(self, path: Path, depth: int) -> yaml.MappingNode:
        """The file as nodes, with what it extends underneath."""
        node = _composed(path)
        self.mark(node, str(path))
        extends = next((value for key, value in node.value if key.value == "extends"), None)
        if extends is None:
            return node
        if depth >= _DEEPEST or not isinstance(extends, yaml.ScalarNode):
            raise _fail(str(path), "expected the name of a scenario, which does not extend this one", _line(extends), "extends")
        node.value = [(key, value) for key, value in node.value if key.value != "extends"]
        _merge(self.tree(_path(extends.value, path.parent), depth + 1), node)
        return node

    def mark(self, node: yaml.Node, file: str) -> None:
        """Let every node know its file, which the C loader does not say; and see that no key is there twice."""
        node.file = file  # type: ignore[attr-defined]
        if isinstance(node, yaml.SequenceNode):
            for one in node.value:
                self.mark(one, file)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                self.mark(key, file)
                self.mark(value, file)
                if key.value in seen:
                    self.wrong(key, "", f"{key.value} is there twice")
                seen.add(key.value)

    def wrong(self, node: yaml.Node, path: str, message: str) -> None:
        self.problems.append(Problem(node.file, _line(node), int(node.start_mark.column) + 1, path, message))  # type: ignore[attr-defined]

    def struct(self, kind: type[_Any], node: yaml.Node, path: str) -> _Any:
        """Mistakes leave the default in their place."""
        if _empty(node):
            return kind()
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, path, "expected keys and values")
            return kind()
        hints = get_type_hints(kind, include_extras=True)
        self.unknown_keys(node, path, list(hints))
        values = {}
        for key, value in _pairs(node):
            if key in hints:
                found = self.value(hints[key], value, f"{path}.{key}" if path else key)
                if found is not None:
                    values[key] = found
        if issubclass(kind, Step) and ("at" in values) == ("after" in values):
            self.wrong(node, path, "a step needs one of `at` (since the beginning) and `after` (since the container's start)")
        return kind(**values)

    def unknown_keys(self, node: yaml.MappingNode, path: str, known: list[str]) -> None:
        for key, _ in node.value:
            if key.value not in known:
                self.wrong(key, path, f"unknown key {key.value}{_meant(key.value, known)}")

    def value(self, hint: Any, node: yaml.Node, path: str) -> Any:
        """The node as `hint` says; None where it is wrong."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            if arguments[1] in ("bytes", "cores"):
                return self.shape(arguments[1], node, path)
            return self.value(arguments[0], node, path)
        if origin in (Union, type(int | None)):
            wanted = [one for one in arguments if one is not type(None)]
            return None if _empty(node) and len(wanted) < len(arguments) else self.value(wanted[0], node, path)
        if origin is tuple:
            return self.items(arguments[0], node, path)
        if origin is dict:
            return self.mapping(arguments[1], node, path)
        if origin is Literal:
            return self.choice(arguments, node, path)
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self.struct(hint, node, path)
        return self.scalar(hint, node, path)

    def items(self, hint: Any, node: yaml.Node, path: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node, path, "expected a list")
            return ()
        found = (self.value(hint, one, f"{path}[{number}]") for number, one in enumerate(node.value))
        return tuple(one for one in found if one is not None)

    def mapping(self, hint: Any, node: yaml.Node, path: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, path, "expected keys and values")
            return {}
        found = ((key, self.value(hint, value, f"{path}.{key}")) for key, value in _pairs(node))
        return {key: value for key, value in found if value is not None}

    def choice(self, allowed: tuple[str, ...], node: yaml.Node, path: str) -> str | None:
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        if text in allowed:
            return str(text)
        self.wrong(node, path, f"expected one of {', '.join(allowed)}")
        return None

    def scalar(self, hint: Any, node: yaml.Node, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(node, path, "expected a single value")
            return None
        try:
            value = _plain(node)
            if hint in _PARSERS:
                return _PARSERS[hint](value)
            if hint is str and isinstance(value, str | int | float):
                return str(node.value)
            if type(value) is hint:
                return value
            raise ValueError(f"expected {_PLAIN[hint]}, got {node.value!r}")
        except ValueError as error:
            self.wrong(node, path, str(error))
            return None

    def shape(self, unit: str, node: yaml.Node, path: str) -> Shape | None:
        """A plain amount is steady; else one kind with its amount, and its `rate`, `for` and `every`."""
        amount = _SIZES if unit == "bytes" else _CORES
        if not isinstance(node, yaml.MappingNode):
            value = self.parsed(amount, node, path)
            return None if value is None else Shape(Kind.STEADY, value)
        given = dict(_pairs(node))
        kinds = [kind for kind in Kind if kind.value in given]
        if len(kinds) != 1:
            self.wrong(node, path, f"expected an amount, or one of {', '.join(kind.value for kind in Kind)} with its amount")
            return None
        kind = kinds[0]
        takes = {kind.value: _rate(amount) if kind is Kind.LEAK else amount, **_FURTHER[kind]}
        if "rate" in takes:
            takes["rate"] = _rate(amount)
        self.unknown_keys(node, path, list(takes))
        values = {key: self.parsed(takes[key], one, f"{path}.{key}") for key, one in given.items() if key in takes}
        missing = [key for key in takes if key not in given and key != "rate"]
        if missing:
            self.wrong(node, path, f"{kind.value} needs {' and '.join(missing)}")
        if missing or None in values.values():
            return None
        first = values.pop(kind.value)
        if kind is Kind.LEAK:
            values["rate"], first = first, 0.0
        names = {"rate": "rate", "for": "for_s", "every": "every_s"}
        try:
            return Shape(kind, first or 0.0, **{names[key]: value for key, value in values.items() if value is not None})
        except ValueError as error:
            self.wrong(node, path, str(error))
            return None

    def parsed(self, parse: Callable[[object], float], node: yaml.Node, path: str) -> float | None:
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(node, path, "expected a single value")
            return None
        try:
            return float(parse(_plain(node)))
        except ValueError as error:
            self.wrong(node, path, str(error))
            return None

    def check(self, root: yaml.MappingNode, scenario: Scenario) -> None:
        """What no single value can tell: `depends_on` and `network_mode` name services of the file, for one."""
        host = next((value for key, value in _pairs(root) if key == "host"), root)
        if scenario.host.memory < 1 or scenario.host.cores < 1:
            self.wrong(host, "host", "a host has memory, and at least one core")
        services = next((value for key, value in _pairs(root) if key == "services"), None)
        for name, node in _pairs(services):
            for key, value in _pairs(node):
                named = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for one in named if key in ("depends_on", "network_mode") else ():
                    if one.value not in scenario.services:
                        hint = _meant(one.value, list(scenario.services))
                        self.wrong(one, f"services.{name}.{key}", f"there is no service {one.value}{hint}")


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _plain(node: yaml.ScalarNode) -> object:
    """A scalar as YAML understands it."""
    return yaml.constructor.SafeConstructor().construct_object(node)


def _meant(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _rate(amount: Callable[[object], float]) -> Callable[[object], float]:
    """An amount per second, as in `8MB/s`."""

    def parse(value: object) -> float:
        if not isinstance(value, str) or not value.strip().endswith("/s"):
            raise ValueError(f"expected an amount per second such as 8MB/s or 0.1/s, got {value!r}")
        return amount(value.strip().removesuffix("/s"))

    return parse


def _cores(value: object) -> float:
    """Like `parse_cores`, but nothing is an amount too."""
    return 0.0 if value in (0, "0") and value is not False else parse_cores(value)


_SIZES: Callable[[object], float] = parse_bytes
_CORES: Callable[[object], float] = _cores
_PARSERS: dict[Any, Callable[[object], float]] = {Bytes: parse_bytes, Cores: _cores, Seconds: parse_seconds, Ratio: parse_ratio}
_FURTHER: dict[Kind, dict[str, Callable[[object], float]]] = {
    Kind.STEADY: {},
    Kind.RAMP: {"rate": _SIZES},
    Kind.RAMP_TO: {"rate": _SIZES},
    Kind.LEAK: {},
    Kind.SPIKE: {"for": parse_seconds},
    Kind.BURST: {"for": parse_seconds, "every": parse_seconds},
}
