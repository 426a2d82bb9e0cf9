"""The generated reference and the JSON Schema for editors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from guardian.config.jsonschema import json_schema
from guardian.config.load import loads
from guardian.config.reference import files, reference
from guardian.config.schema import Config
from guardian.config.shape import walk
from guardian.errors import ConfigError
from guardian.generated import DOCS
from guardian.model import Signal
from guardian.units import spell

REFERENCE = DOCS.parent / "config" / "guardian.yaml"


class CoreLoader(yaml.SafeLoader):
    """Booleans as YAML 1.2 and editors have them: true and false only."""


CoreLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def complaints(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What a JSON Schema validator says of `value`; as much of the standard as the schema uses, and an error for more."""
    left = set(schema) - {"description", "title", "default", "$schema", "$defs", "required"}
    if "$ref" in left:
        left.discard("$ref")
        yield from complaints(value, DEFINITIONS[schema["$ref"].removeprefix("#/$defs/")], path)
    if "anyOf" in left:
        left.discard("anyOf")
        if all(any(complaints(value, option, path)) for option in schema["anyOf"]):
            yield f"{path}: {value!r} is none of what it may be"
    if "enum" in left:
        left.discard("enum")
        if value not in schema["enum"]:
            yield f"{path}: {value!r} is not in {schema['enum']}"
    if "type" in left:
        left.discard("type")
        if not TYPES[schema["type"]](value):
            yield f"{path}: {value!r} is no {schema['type']}"
            return
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, item in value.items():
            below = properties.get(name, schema.get("additionalProperties", {}))
            if below is False:
                yield f"{path}.{name}: unknown"
            else:
                yield from complaints(item, below, f"{path}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from complaints(item, schema.get("items", {}), f"{path}[{index}]")
        if len(value) < schema.get("minItems", 0):
            yield f"{path}: too few"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{path}: {value!r} does not match"
    if isinstance(value, int | float):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{path}: {value!r} is out of bounds"
        if value <= schema.get("exclusiveMinimum", value - 1):
            yield f"{path}: {value!r} is too small"
    known = {"properties", "additionalProperties", "items", "minItems", "pattern", "minimum", "maximum", "exclusiveMinimum"}
    assert left <= known, f"this check does not know {left - known}"


TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
DEFINITIONS = json_schema()["$defs"]


def says(text: str) -> list[str]:
    return list(complaints(yaml.load(text, CoreLoader), json_schema()))


def test_the_generated_files_are_current() -> None:
    """docs/configuration.md and docs/guardian.schema.json are what the code says; else run the module with --write."""
    stale = [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []


def test_every_key_is_in_the_reference_with_its_meaning() -> None:
    """Every key of the schema has a row in the reference, and a meaning."""
    page = reference()
    for path, key in walk(Config):
        assert f"| `{key.name}` |" in page, path
        assert key.shape.description, path
    assert "|  |\n" not in page


def test_the_schema_accepts_the_reference_file() -> None:
    """The JSON Schema accepts the reference file."""
    assert says(REFERENCE.read_text()) == []


LEAST = "version: 1\nproject: demo\nphases: [{phase: 1, services: [db]}]\n"


def defaults(section: str) -> dict[str, str]:
    """Key -> default, as the page's table of the section has them."""
    table = reference().partition(f"### `{section}`\n")[2].partition("\n###")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {name.strip("| `"): default for name, _, default, _ in rows}


@pytest.mark.parametrize("signal", [signal for signal in Signal if not signal.value.startswith("platform_")])
@pytest.mark.parametrize("given", ["soft_for", "recover_for"])
def test_the_page_has_the_defaults_of_a_threshold_that_is_partly_given(signal: Signal, given: str) -> None:
    """The page's defaults of a threshold are what loading a part of it gives."""
    thresholds = loads(LEAST + f"thresholds: {{{signal.value}: {{{given}: 90s}}}}\n", "f").thresholds
    marks = getattr(thresholds, signal.value)
    shown = defaults(f"thresholds.{signal.value}")
    assert shown.keys() == set(marks.__struct_fields__)
    assert {name: f"`{spell(getattr(marks, name))}`" for name in shown if name != given} == {
        name: default for name, default in shown.items() if name != given
    }


@pytest.mark.parametrize("own", ["memory", "cpu"])
def test_the_page_names_the_threshold_on_which_one_of_the_platform_rests(own: str) -> None:
    """Where a threshold of the platform is partly given, the rest is as in the one that the page names."""
    text = LEAST + f"thresholds: {{{own}: {{soft: 75%, soft_for: 7s, hard_for: 2s}}, platform_{own}: {{recover: 50%}}}}\n"
    thresholds = loads(text, "f").thresholds
    shown = defaults(f"thresholds.platform_{own}")
    assert set(shown.values()) == {f"as in `thresholds.{own}`"}
    for name in shown.keys() - {"recover"}:
        assert getattr(getattr(thresholds, f"platform_{own}"), name) == getattr(getattr(thresholds, own), name), name


@pytest.mark.parametrize("section", ["Thresholds", "SupportThresholds", "DiskThresholds"])
def test_the_schema_has_the_defaults_of_thresholds_with_each_signal_alone(section: str) -> None:
    """The JSON Schema has no default within a threshold, as several signals with other defaults share it, but one at each signal."""
    assert not any("default" in value for value in DEFINITIONS[section]["properties"].values())
    assert DEFINITIONS["ThresholdsConfig"]["properties"]["cpu"]["default"]["soft_for"] == "1m"


@pytest.mark.parametrize(
    "extra",
    [
        "thresholds: {cpu: off, memory: {soft: 75%}, platform_memory: {soft: 0.85}}\n",
        "host: {memory: 4 GiB, cpu: 1.5 cores}\n",
        "host: {memory: 1073741824, cpu: 2}\n",
        "engine: {timeout: 1h30m}\n",
        "engine: {timeout: 2.5}\n",
        "engine:\nservices:\n  db:\n",
        'services: {db: {protect: true, stop_timeout: 500ms, requires: [db2], health: {http: "http://x/"}}, db2: {}}\n',
        "notify: [{webhook: http://x}]\nobjectives: {healthy: 100%}\n",
        "project: [a, b]\n",
    ],
)
def test_what_the_loader_takes_the_schema_takes(extra: str) -> None:
    """What the loader takes, the JSON Schema takes."""
    text = LEAST.replace("project: demo\n", "") + extra if extra.startswith("project") else LEAST + extra
    assert isinstance(loads(text, "f"), Config)
    assert says(text) == []


@pytest.mark.parametrize(
    "extra",
    [
        "mdoe: observe\n",
        "mode: maybe\n",
        "thresholds: {cpu: on}\n",
        "thresholds: {memory: {soft: 80}}\n",
        "host: {memory: much}\n",
        "engine: {timeout: 5 sec}\n",
        "restoring: {max_flaps: 0}\n",
        "containers: agent\n",
        "web: {tls: {cert: a}}\n",
        "services: {db: {requires: db}}\n",
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(extra: str) -> None:
    """What the JSON Schema refuses, the loader refuses."""
    assert says(LEAST + extra) != []
    with pytest.raises(ConfigError):
        loads(LEAST + extra, "f")
