"""Whatever a file holds, the loader answers with a configuration or with mistakes; and what is written is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config.load import loads
from guardian.config.reload import Kind, apply, changes
from guardian.config.rules import verify
from guardian.config.schema import Config
from guardian.config.shape import walk
from guardian.errors import ConfigError, Problem
from guardian.units import (
    Bytes,
    Cores,
    Ratio,
    Seconds,
    Share,
    parse_bytes,
    parse_cores,
    parse_ratio,
    parse_seconds,
    parse_share,
    spell,
)

REFERENCE = (Path(__file__).parents[2] / "config" / "guardian.yaml").read_text()
PATHS = [".".join(path) for path, _ in walk(Config)]
KEYS = sorted({name for path, _ in walk(Config) for name in path} | {"phase", "services", "requires", "limits", "memory", "<<"})

words = st.sampled_from(
    ["off", "on", "true", "80%", "5s", "512MiB", "db", "web", "1", "auto", "enforce", "a: b", "*a", "~", "", "1e3"]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), words, st.dates(), st.binary(max_size=4)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), words), inner, max_size=5),
    ),
    max_leaves=20,
)


def answer(text: str | bytes, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> Config | None:
    """The configuration, or None for mistakes; each of them is in words, and the configuration breaks no rule."""
    problems: tuple[Problem, ...] = ()
    try:
        config: Config | None = loads(text, "f.yaml", environ or {}, flags or {})
    except ConfigError as error:
        config, problems = None, error.problems
    assert (config is None) == bool(problems)
    assert all(problem.message and "\n" not in str(problem) for problem in problems)
    assert config is None or verify(config) == []
    return config


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_any_text_is_answered(text: str | bytes) -> None:
    """Any text or bytes are answered with a configuration or with mistakes."""
    answer(text)


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}&*<!%>|'\"#?,~\n\t 019.", max_size=60))
def test_any_text_of_yaml_signs_is_answered(text: str) -> None:
    """Any text made of the signs of YAML is answered, alone and below a good configuration."""
    answer(text)
    answer(f"version: 1\nproject: p\nphases: [{{phase: 1, services: [a, b]}}]\n{text}")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=8))
def test_any_structure_is_answered(data: dict[str, Any]) -> None:
    """Any structure that YAML can hold, under the keys of the schema, is answered."""
    answer(yaml.dump({"version": 1, "project": "p", "phases": [{"phase": 1, "services": ["db"]}], **data}))


@settings(deadline=None)
@given(st.integers(0, len(REFERENCE)), st.integers(0, 40), st.text(max_size=10))
def test_a_damaged_reference_file_is_answered(at: int, cut: int, put: str) -> None:
    """The reference file with any piece cut out and another put in is answered."""
    answer(REFERENCE[:at] + put + REFERENCE[at + cut :])


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(PATHS), st.one_of(scalars, st.lists(words, max_size=3)), max_size=4), st.text(max_size=12)
)
def test_any_variable_and_flag_is_answered(flags: dict[str, object], value: str) -> None:
    """Any value of any variable or flag is answered."""
    environ = {f"GUARDIAN_{path.upper().replace('.', '_')}": value for path in flags}
    answer(REFERENCE, {}, flags)
    answer(REFERENCE, environ)


@given(st.integers(0, 2**53))
def test_a_size_is_read_back(value: int) -> None:
    """A size up to 8 PiB as it is spelled is read back the same."""
    assert parse_bytes(spell(Bytes(value))) == value


@given(st.floats(0, 1))
def test_a_ratio_is_read_back(value: float) -> None:
    """A ratio as it is spelled is read back the same."""
    assert parse_ratio(spell(Ratio(value))) == value


@given(st.floats(0, 1e6, exclude_min=True))
def test_cores_are_read_back(value: float) -> None:
    """Cores as they are spelled are read back the same, alone and as a share."""
    assert parse_cores(spell(Cores(value))) == value
    assert parse_share(spell(Share(cores=value))) == Share(cores=value)


@given(st.one_of(st.integers(0, 10**9).map(float), st.floats(0, 1e9), st.integers(0, 10**6).map(lambda ms: ms / 1000)))
def test_a_duration_is_read_back(value: float) -> None:
    """A duration as it is spelled is read back the same."""
    assert parse_seconds(spell(Seconds(value))) == value


@given(st.one_of(st.text(max_size=20), scalars))
def test_a_unit_is_a_value_or_a_sentence(value: object) -> None:
    """Whatever is asked to be a size, a share, cores or a duration becomes one, or a ValueError that says what is allowed."""
    for parse in (parse_bytes, parse_ratio, parse_cores, parse_share, parse_seconds):
        said = "expected "
        try:
            parse(value)
        except ValueError as error:
            said = str(error)
        assert said.startswith("expected ")


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    """Small ones, all good, that differ in what an edit may change."""
    names = draw(st.permutations(["a", "b", "c", "d", "e"]))
    count = draw(st.integers(1, 4))
    sizes = sorted(draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)))
    phases = [
        {
            "phase": number + 1,
            "services": list(names[number :: count + 1]),
            "protected": draw(st.booleans()),
            "mode": draw(st.sampled_from(["observe", "enforce"])),
            "budget": {"memory": f"{sizes[number]}GiB"},
        }
        for number in range(count)
    ]
    known = [name for phase in phases for name in phase["services"]]
    data = {
        "version": 1,
        "project": draw(st.sampled_from(["p", ["p", "q"]])),
        "mode": draw(st.sampled_from(["observe", "enforce"])),
        "phases": phases,
        "thresholds": {"memory": draw(st.sampled_from(["off", {"soft": "75%"}, {"hard": "95%"}]))},
        "restoring": {"margin": draw(st.sampled_from(["5%", "10%"]))},
        "services": {
            name: {
                "protect": draw(st.booleans()),
                "kill": draw(st.sampled_from(["allow", "never"])),
                "priority": draw(st.integers(0, 2)),
            }
            for name in draw(st.lists(st.sampled_from(known), unique=True))
        },
        "emergency": {"keep": draw(st.lists(st.sampled_from(known), unique=True))},
        "state_dir": draw(st.sampled_from(["/a", "/b"])),
        "reload": draw(st.sampled_from(["thresholds", "all", "none"])),
    }
    return loads(yaml.dump(data), "f")


@settings(deadline=None)
@given(configurations(), configurations())
def test_a_reload_always_leaves_a_whole_configuration(old: Config, new: Config) -> None:
    """Of any edit, what is applied breaks no rule, loses no protection by itself, and every change is in exactly one list."""
    found = changes(old, new)
    alone = apply(old, new)
    assert verify(alone.config) == []
    assert len(alone.applied) + len(alone.pending) + len(alone.refused_until_restart) == len(found)
    assert {change.path for change in changes(old, alone.config)} == {change.path for change in alone.applied}
    if old.reload == "thresholds":
        assert all(change.kind is Kind.SAFE for change in alone.applied)
        assert [phase.services for phase in alone.config.phases] == [phase.services for phase in old.phases]
        for before, after in zip(old.phases, alone.config.phases, strict=True):
            assert after.protected or not before.protected


@settings(deadline=None)
@given(configurations(), configurations())
def test_an_ordered_reload_leaves_only_what_needs_a_restart(old: Config, new: Config) -> None:
    """After an ordered reload nothing differs but what needs a restart; and a second one changes nothing more."""
    ordered = apply(old, new, ordered=True)
    assert ordered.pending == ()
    assert changes(ordered.config, new) == ordered.refused_until_restart
    assert all(change.kind is Kind.RESTART for change in ordered.refused_until_restart)
    assert apply(ordered.config, new, ordered=True).config == ordered.config


@settings(deadline=None)
@given(configurations())
def test_a_configuration_has_no_changes_against_itself(config: Config) -> None:
    """A configuration has no changes against itself."""
    assert changes(config, config) == ()
    assert apply(config, config).config == config
