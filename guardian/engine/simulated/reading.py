"""A scenario from YAML: every mistake at once, each with its file and line.

`extends: NAME` takes another scenario as it is and changes what is written beside it, key by key; NAME is one of the
scenarios that come with Guardian, or a file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from guardian.config.read import suggestion
from guardian.config.tree import MAX_BYTES, Bounds, Entry, Items, Place, Scalar, Section, Tree, parse
from guardian.engine.simulated.behaviour import Kind, Shape
from guardian.engine.simulated.scenario import Scenario, Step
from guardian.errors import ConfigError, Problem
from guardian.units import Bytes, Cores, Ratio, Seconds, parse_bytes, parse_cores, parse_ratio, parse_seconds

BUILT_IN = Path(__file__).parent / "scenarios"
_BOUNDS = Bounds("a scenario")
_DEEPEST = 5  # scenarios that extend each other
_LIMITS = {"host.memory": 1, "host.cores": 1}  # least values: without them there is no host

_Kind = TypeVar("_Kind", bound=Struct)
_Amount = Callable[[object], float]


def built_in() -> tuple[str, ...]:
    """Names of the scenarios that come with Guardian."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.yaml")))


def find_scenario(name_or_path: str | Path) -> Scenario:
    """A scenario by its built-in name, or from a file. Raises ConfigError with every mistake that was found."""
    reader = _Reader()
    root = reader.tree(_path(str(name_or_path), Path()), 0)
    scenario = reader.struct(Scenario, root, "")
    reader.check_names(root, scenario)
    if reader.problems:
        raise ConfigError(tuple(sorted(reader.problems, key=lambda one: (one.file, one.line or 0))))
    return scenario


def _path(name: str, beside: Path) -> Path:
    return BUILT_IN / f"{name}.yaml" if name in built_in() else beside / name


def _merged(under: Section, over: Section) -> Section:
    """`over`, and the keys of `under` that it does not give."""
    entries = dict(under.entries)
    for key, entry in over.entries.items():
        known, value = entries.get(key), entry.value
        if known is not None and isinstance(known.value, Section) and isinstance(value, Section):
            value = _merged(known.value, value)
        entries[key] = Entry(entry.place, value)
    return Section(entries, over.place)


def _rate(amount: _Amount) -> _Amount:
    """An amount per second, as in `8MB/s`."""

    def parsed(value: object) -> float:
        if not isinstance(value, str) or not value.strip().endswith("/s"):
            raise ValueError(f"expected an amount per second such as 8MB/s or 0.1/s, got {value!r}")
        return amount(value.strip().removesuffix("/s"))

    return parsed


def _cores(value: object) -> float:
    """Like `parse_cores`, but nothing is an amount too."""
    return 0.0 if value == 0 and value is not False else parse_cores(value)


_UNITS: Mapping[Any, _Amount] = {Bytes: parse_bytes, Cores: _cores, Seconds: parse_seconds, Ratio: parse_ratio}
_FORMS = {str: "text", int: "a whole number", bool: "true or false"}
_TIMES = {Kind.SPIKE: ("for",), Kind.BURST: ("for", "every")}


class _Reader:
    """Turns a tree into the types of a scenario, and collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, place: Place, path: str, message: str) -> None:
        self.problems.append(place.problem(path, message))

    def tree(self, path: Path, depth: int) -> Section:
        """The file, with what it extends underneath. Raises ConfigError where it cannot be read as a whole."""
        file, place = str(path), Place(str(path))
        try:
            with path.open("rb") as opened:
                tree, problems = parse(opened.read(MAX_BYTES + 1), file, _BOUNDS)
        except OSError as error:
            why = f"cannot be read: {error.strerror}; name a file, or one of {', '.join(built_in())}"
            raise ConfigError((place.problem("", why),)) from error
        self.problems += problems
        if not isinstance(tree, Section):
            self.problems += [] if problems else [place.problem("", "expected keys such as `host` and `services`")]
            raise ConfigError(tuple(self.problems))
        extends = tree.entries.pop("extends", None)
        if extends is None:
            return tree
        if depth >= _DEEPEST or not isinstance(extends.value, Scalar) or not extends.value.text:
            why = "expected the name of a scenario, which does not itself extend this one"
            raise ConfigError((extends.place.problem("extends", why),))
        return _merged(self.tree(_path(extends.value.text, path.parent), depth + 1), tree)

    def struct(self, kind: type[_Kind], tree: Tree, path: str) -> _Kind:
        """A section; what is wrong in it gets its default."""
        if not isinstance(tree, Section):
            if not (isinstance(tree, Scalar) and tree.value is None):
                self.wrong(tree.place, path, "expected a section with keys")
            return kind()
        hints = get_type_hints(kind, include_extras=True)
        self.unknown(tree, path, hints)
        values = {}
        for key, entry in tree.entries.items():
            if key in hints:
                found = self.value(hints[key], entry.value, _join(path, key))
                if found is not None:
                    values[key] = found
        if kind is Step and ("at" in tree.entries) == ("after" in tree.entries):
            self.wrong(tree.place, path, "a step needs one of at (since the beginning) and after (since the container's start)")
        return kind(**values)

    def unknown(self, tree: Section, path: str, known: Mapping[str, object]) -> None:
        for key, entry in tree.entries.items():
            if key not in known:
                hint = suggestion(key, known) or f"; known are {', '.join(known)}"
                self.wrong(entry.place, _join(path, key), f"unknown key{hint}")

    def value(self, hint: Any, tree: Tree, path: str) -> Any:
        """The value as `hint` says; None where it is wrong, or not given."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            if arguments[1] in ("bytes", "cores"):
                return self.shape(parse_bytes if arguments[1] == "bytes" else _cores, tree, path)
            return self.value(arguments[0], tree, path)
        if origin in (Union, UnionType):  # the first is what YAML gives; the others are for scenarios made in code
            return self.value(arguments[0], tree, path)
        if origin is tuple:
            return self.items(arguments[0], tree, path)
        if origin is dict:
            return self.mapping(arguments[1], tree, path)
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self.struct(hint, tree, path)
        if not isinstance(tree, Scalar):
            self.wrong(tree.place, path, "expected a single value")
            return None
        if origin is Literal:
            if tree.text in arguments:
                return tree.text
            self.wrong(tree.place, path, f"expected one of {', '.join(arguments)}, got {tree.text}")
            return None
        return self.scalar(hint, tree, path)

    def items(self, hint: Any, tree: Tree, path: str) -> tuple[Any, ...]:
        if not isinstance(tree, Items):
            self.wrong(tree.place, path, "expected a list")
            return ()
        found = (self.value(hint, one, f"{path}[{number}]") for number, one in enumerate(tree.items))
        return tuple(one for one in found if one is not None)

    def mapping(self, hint: Any, tree: Tree, path: str) -> dict[str, Any]:
        if not isinstance(tree, Section):
            self.wrong(tree.place, path, "expected a section with keys")
            return {}
        found = {key: self.value(hint, entry.value, _join(path, key)) for key, entry in tree.entries.items()}
        return {key: value for key, value in found.items() if value is not None}

    def scalar(self, hint: Any, tree: Scalar, path: str) -> Any:
        if hint in _UNITS:
            value = self.amount(_UNITS[hint], tree, path)
            if value is not None and value < _LIMITS.get(path, 0):
                self.wrong(tree.place, path, "expected more than nothing")
                return None
            return value if value is None or hint is not Bytes else Bytes(value)
        if hint is str and tree.value is not None:
            return tree.text
        if type(tree.value) is hint and not (hint is int and tree.value < _LIMITS.get(path, 0)):  # type: ignore[operator]
            return tree.value
        self.wrong(tree.place, path, f"expected {_FORMS[hint]}, got {tree.text or 'nothing'}")
        return None

    def amount(self, parsed: _Amount, tree: Tree, path: str) -> float | None:
        if not isinstance(tree, Scalar):
            self.wrong(tree.place, path, "expected a single value")
            return None
        try:
            return parsed(tree.value)
        except ValueError as error:
            self.wrong(tree.place, path, str(error))
            return None

    def shape(self, amount: _Amount, tree: Tree, path: str) -> Shape | None:
        """A plain amount is steady; else one kind with its amount, and its rate or times."""
        if not isinstance(tree, Section):
            value = self.amount(amount, tree, path)
            return None if value is None else Shape(Kind.STEADY, value)
        given = [kind for kind in Kind if kind.value in tree.entries]
        if len(given) != 1:
            self.wrong(
                tree.place, path, f"expected an amount, or one of {', '.join(kind.value for kind in Kind)} with its amount"
            )
            return None
        kind = given[0]
        takes: dict[str, _Amount] = {kind.value: _rate(amount) if kind is Kind.LEAK else amount}
        if kind in (Kind.RAMP, Kind.RAMP_TO):
            takes["rate"] = _rate(amount)
        takes.update(dict.fromkeys(_TIMES.get(kind, ()), parse_seconds))
        self.unknown(tree, path, takes)
        missing = [key for key in _TIMES.get(kind, ()) if key not in tree.entries]
        if missing:
            self.wrong(tree.place, path, f"a {kind.value} needs {' and '.join(missing)}")
        values: dict[str, float] = {}
        for key in takes.keys() & tree.entries.keys():
            value = self.amount(takes[key], tree.entries[key].value, _join(path, key))
            if value is None:
                return None
            values[key] = value
        try:
            first = values.pop(kind.value)
            if kind is Kind.LEAK:
                return Shape(kind, rate=first)
            times = {f"{key}_s": values[key] for key in ("for", "every") if key in values}
            rate = {"rate": values["rate"]} if "rate" in values else {}
            return None if missing else Shape(kind, first, **rate, **times)
        except ValueError as error:
            self.wrong(tree.place, path, str(error))
            return None

    def check_names(self, root: Section, scenario: Scenario) -> None:
        """`depends_on` and `network_mode` name services of the scenario."""
        services = root.entries["services"].value if "services" in root.entries else None
        for name, service in services.entries.items() if isinstance(services, Section) else ():
            for key in ("depends_on", "network_mode"):
                entry = service.value.entries.get(key) if isinstance(service.value, Section) else None
                named = () if entry is None else entry.value.items if isinstance(entry.value, Items) else (entry.value,)
                for one in named:
                    if isinstance(one, Scalar) and one.text not in scenario.services:
                        hint = suggestion(one.text, scenario.services)
                        self.wrong(one.place, f"services.{name}.{key}", f"there is no service {one.text}{hint}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
