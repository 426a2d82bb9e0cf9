"""The JSON Schema that editors check and complete a `guardian.yaml` with, from the same types as the loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from guardian.config.schema import Config, DiskThresholds, SupportThresholds, Thresholds
from guardian.config.secret import SecretUrl
from guardian.config.shape import Shape, keys
from guardian.units import Bytes, Cores, Ratio, Seconds, Share, spell

_NUMBER = r"[0-9]+(\.[0-9]+)?"
_UNITS: Mapping[type, list[dict[str, Any]]] = {
    Bytes: [
        {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*([kKmMgGtT]([iI])?)?[bB]?\s*$"},
        {"type": "number", "minimum": 0},
    ],
    Ratio: [{"type": "string", "pattern": rf"^\s*{_NUMBER}\s*%?\s*$"}, {"type": "number", "minimum": 0, "maximum": 1}],
    Cores: [{"type": "string", "pattern": rf"^\s*{_NUMBER}(\s*cores?)?\s*$"}, {"type": "number", "exclusiveMinimum": 0}],
    Share: [{"type": "string", "pattern": rf"^\s*{_NUMBER}\s*(%|cores?)?\s*$"}, {"type": "number", "exclusiveMinimum": 0}],
    Seconds: [
        {"type": "string", "pattern": rf"^\s*({_NUMBER}\s*(ms|[sSmMhHdDwW])\s*)+$|^\s*{_NUMBER}\s*$"},
        {"type": "number", "minimum": 0},
    ],
    SecretUrl: [{"type": "string", "pattern": r"^https?://[^/\s]\S*$"}],
}  # fmt: skip
_LEAVES: Mapping[type, dict[str, Any]] = {bool: {"type": "boolean"}, int: {"type": "integer"}, str: {"type": "string"}}
# Partly given, they keep the default of the rest, which differs from signal to signal: nothing in them is required, and defaults stand above.
_PARTIAL = (Thresholds, SupportThresholds, DiskThresholds)


def json_schema() -> dict[str, Any]:
    """The schema of the whole file. Rules between values (soft below hard) are for `guardian check`: no schema can say them."""
    definitions: dict[str, Any] = {}
    _define(Config, definitions)
    whole = definitions.pop(Config.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "guardian.yaml",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _define(section: type[Struct], definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the section, which is in `definitions` afterwards."""
    name = section.__name__
    if name not in definitions:
        definitions[name] = {}  # before its keys: one of them may lead back here
        properties = {}
        for key in keys(section):
            properties[key.name] = _value(key.shape, definitions, blank=not key.required)
            default = _default(key.default)
            if not key.required and default is not None and section not in _PARTIAL:
                properties[key.name]["default"] = default
        definitions[name] = {
            "type": "object",
            "description": " ".join((section.__doc__ or "").split()),
            "properties": properties,
            "additionalProperties": False,
        }
        required = [key.name for key in keys(section) if key.required]
        if required and section not in _PARTIAL:
            definitions[name]["required"] = required
    return {"$ref": f"#/$defs/{name}"}


def _value(shape: Shape, definitions: dict[str, Any], blank: bool = False) -> dict[str, Any]:
    """What may stand there. `blank`: a section or list may be empty, with every line below it commented out."""
    forms: list[dict[str, Any]] = []
    if shape.section is not None:
        forms.append(_define(shape.section, definitions))
    if shape.values is not None:
        forms.append({"type": "object", "additionalProperties": _value(shape.values, definitions, blank=True)})
    if shape.leaf is not None and shape.leaf in _UNITS:
        forms.extend(dict(form) for form in _UNITS[shape.leaf])
    elif shape.leaf is not None:
        forms.append(dict(_LEAVES[shape.leaf]) | ({} if shape.least is None else {"minimum": shape.least}))
    if shape.words:
        forms.append({"enum": list(shape.words)})
    if shape.version:
        forms.append({"enum": list(shape.version)})
    if shape.items is not None:
        forms.append(
            {"type": "array", "items": _value(shape.items, definitions)}
            | ({"minItems": shape.least_items} if shape.least_items else {})
        )
    if shape.nullable or (blank and forms and not shape.single):
        forms.append({"type": "null"})
    described = {"description": shape.description} if shape.description else {}
    if len(forms) == 1:
        return described | forms[0]
    return described | ({"anyOf": forms} if forms else {})


def _default(value: Any) -> Any:
    """As the file would have it; None where there is nothing to show."""
    if isinstance(value, Struct):
        return None if not value.__struct_fields__ else _struct(value)
    if isinstance(value, bool) or type(value) is int:
        return value
    if value is None or value in ((), {}):
        return None
    return spell(value)


def _struct(value: Struct) -> dict[str, Any] | None:
    fields = {name: _default(getattr(value, name)) for name in value.__struct_fields__}
    return {name: default for name, default in fields.items() if default is not None} or None
