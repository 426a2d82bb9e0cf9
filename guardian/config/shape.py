"""What the types of `schema` allow at one key, taken apart once: for the loader, the reference and the JSON Schema alike."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from guardian import units
from guardian.config.secret import HIDDEN_FORM, SecretUrl, parse_secret_url
from guardian.units import Bytes, Cores, Ratio, Seconds, Share


@dataclass(frozen=True, slots=True)
class Leaf:
    """A kind of single value. `parse` takes what YAML says and raises ValueError for anything else."""

    form: str
    parse: Callable[[object], Any]


UNITS: Mapping[type, Leaf] = {
    Bytes: Leaf(units.SIZE_FORM, units.parse_bytes),
    Ratio: Leaf(units.RATIO_FORM, units.parse_ratio),
    Cores: Leaf(units.CORES_FORM, units.parse_cores),
    Share: Leaf(units.SHARE_FORM, units.parse_share),
    Seconds: Leaf(units.DURATION_FORM, units.parse_seconds),
    SecretUrl: Leaf(HIDDEN_FORM, parse_secret_url),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at a key: any of a section, a mapping by name, a list, and one kind of single value."""

    section: type[Struct] | None = None
    values: Shape | None = None  # of a mapping whose keys are names
    items: Shape | None = None  # of a list
    leaf: type | None = None  # bool, int, str, or one of UNITS
    words: tuple[str, ...] = ()  # the only texts allowed
    enum: type[StrEnum] | None = None  # what `words` become
    version: tuple[int, ...] = ()  # the only numbers allowed
    nullable: bool = False
    anything: bool = False  # kept as written
    least: int | None = None  # of a whole number
    least_items: int = 0
    description: str = ""

    @property
    def single(self) -> bool:
        """Whether a single value may stand here, and not only a section or a list."""
        return self.leaf is not None or bool(self.words) or bool(self.version)

    @property
    def allowed(self) -> str:
        """In words, as after "expected"."""
        forms = []
        if self.section is not None:
            forms.append(f"a section ({', '.join(key.name for key in keys(self.section))})")
        if self.values is not None:
            forms.append("a section")
        if self.leaf is not None and self.leaf in UNITS:
            forms.append(UNITS[self.leaf].form)
        elif self.leaf is bool:
            forms.append("true or false")
        elif self.leaf is int:
            forms.append("a whole number" + ("" if self.least is None else f" of at least {self.least}"))
        elif self.leaf is str:
            forms.append("text")
        if self.words:
            forms.append(" or ".join(filter(None, (", ".join(self.words[:-1]), self.words[-1]))))
        forms.extend(str(number) for number in self.version)
        if self.items is not None:
            forms.append("a list" if self.items.section is None and self.items.leaf is not str else "a list of names")
            if self.items.section is not None or self.items.values is not None:
                forms[-1] = "a list of sections"
        return ", or ".join(forms) if forms else "anything"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `default` is None where it has none of its own, or None is what it is."""

    name: str
    shape: Shape
    required: bool
    default: Any = None


@cache
def keys(section: type[Struct]) -> tuple[Key, ...]:
    """The keys of a section, in the order of the schema."""
    found = []
    for info in msgspec.structs.fields(section):
        default = None if info.default is msgspec.NODEFAULT else info.default
        if info.default_factory is not msgspec.NODEFAULT:
            default = info.default_factory()
        found.append(Key(info.name, shape(info.type), info.required, default))
    return tuple(found)


def shape(annotation: Any) -> Shape:
    """The shape of a type annotation. TypeError for one that a configuration has no form for: a mistake in the schema."""
    return Shape(**_parts(annotation))


def walk(section: type[Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key of fixed name, with its path: not what stands in lists or under names."""
    for key in keys(section):
        here = (*path, key.name)
        yield here, key
        if key.shape.section is not None:
            yield from walk(key.shape.section, here)


def _parts(annotation: Any) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        parts = _parts(arguments[0])
        for meta in (argument for argument in arguments[1:] if isinstance(argument, Meta)):
            parts |= {"least": meta.ge} if meta.ge is not None else {}
            parts |= {"least_items": meta.min_length} if meta.min_length is not None else {}
            parts |= {"description": meta.description} if meta.description is not None else {}
        return parts
    if origin in (Union, types.UnionType):
        united: dict[str, Any] = {}
        for argument in arguments:
            united |= _parts(argument)
        return united
    if origin is Literal:
        if all(isinstance(argument, str) for argument in arguments):
            return {"words": arguments}
        return {"version": arguments}
    if origin is tuple:
        return {"items": shape(arguments[0])}
    if origin is dict:
        return {"values": shape(arguments[1])}
    if annotation is None or annotation is types.NoneType:
        return {"nullable": True}
    if annotation is Any:
        return {"anything": True}
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return {"section": annotation}
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return {"words": tuple(member.value for member in annotation), "enum": annotation}
    if annotation in UNITS or annotation in (bool, int, str):
        return {"leaf": annotation}
    raise TypeError(f"a configuration has no form for {annotation!r}")
