"""`guardian check`, as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from guardian.cli.main import main
from guardian.clock import Clock
from guardian.config.schema import Config
from guardian.engine.protocol import Scope
from guardian.errors import EngineUnreachable
from guardian.model import Container, ServiceKey
from guardian.telemetry import Telemetry

REFERENCE = Path(__file__).parents[2] / "config" / "guardian.yaml"
LEAST = "version: 1\nproject: demo\nphases: [{phase: 1, services: [db, web]}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guardian.yaml"
    path.write_text(LEAST)
    return path


def check(*arguments: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)], env=environ)


class FakeEngine:
    """Has these containers, or is not there."""

    def __init__(self, containers: Sequence[Container] | None) -> None:
        self._containers = containers
        self.closed = False

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        if self._containers is None:
            raise EngineUnreachable("no connection to the engine; is Docker running?")
        return tuple(one for one in self._containers if one.service.project in scope.projects)

    def close(self) -> None:
        self.closed = True


def plug(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    def open_engine(config: Config, clock: Clock, telemetry: Telemetry) -> FakeEngine:
        return engine

    monkeypatch.setattr("guardian.engine.connect.open_engine", open_engine)


def test_a_good_file_ends_with_0_and_a_summary() -> None:
    """A good file ends with 0 and a table of phases, budgets and thresholds."""
    result = check(REFERENCE)
    assert result.exit_code == 0
    assert result.stderr == ""
    for shown in ("observability", "512MiB", "elasticsearch", "protected", "80% for 10s", "no mistakes"):
        assert shown in result.stdout


def test_a_bad_file_ends_with_78_and_every_mistake(file: Path) -> None:
    """A bad file ends with 78 and every mistake on stderr, each on its line, and nothing on stdout."""
    file.write_text(LEAST + "mdoe: enforce\nlog: {level: loud}\n")
    result = check(file)
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{file}:4: mdoe: unknown key")
    assert lines[1].startswith(f"{file}:5: log.level: expected debug, info, warning or error")
    assert lines[2].startswith("2 mistakes")


def test_a_file_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    """A file that is not there ends with 78 and says so."""
    result = check(tmp_path / "none.yaml")
    assert result.exit_code == 78
    assert "No such file" in result.stderr


def test_json_says_the_same(file: Path) -> None:
    """With --json, the summary of a good file and the mistakes of a bad one are JSON."""
    good = json.loads(check(file, "--json").stdout)
    assert good["ok"] is True
    assert good["phases"][0]["services"] == ["db", "web"]
    assert good["thresholds"]["memory"]["soft"] == 0.8
    assert good["findings"] is None
    file.write_text(LEAST + "mdoe: enforce\n")
    result = check(file, "--json")
    bad = json.loads(result.stdout)
    assert result.exit_code == 78
    assert bad["ok"] is False
    assert (bad["problems"][0]["line"], bad["problems"][0]["path"]) == (4, "mdoe")


def test_variables_count_as_they_do_for_the_daemon(file: Path) -> None:
    """A variable wins over the file here too, and an unknown one is warned of."""
    assert "mode enforce" in check(file, GUARDIAN_MODE="enforce").stdout
    wrong = check(file, GUARDIAN_MODE="on")
    assert wrong.exit_code == 78
    assert "environment: GUARDIAN_MODE" in wrong.stderr
    warned = check(file, GUARDIAN_MDOE="enforce")
    assert warned.exit_code == 0
    assert "warning: GUARDIAN_MDOE" in warned.stdout


def test_the_engine_is_compared_with(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --engine, what runs is compared with the file, the connection is closed, and findings end with 0."""
    engine = FakeEngine([Container(id="1", name="demo-db-1", service=ServiceKey("demo", "db"))])
    plug(monkeypatch, engine)
    result = check(file, "--engine")
    assert result.exit_code == 0
    assert engine.closed
    for shown in ("3 findings", "missing", "demo/web", "no memory limit", "no health check"):
        assert shown in result.stdout
    findings: list[dict[str, Any]] = json.loads(check(file, "--engine", "--json").stdout)["findings"]
    assert {finding["kind"] for finding in findings} == {"missing", "no_memory_limit", "no_health_check"}


def test_no_engine_ends_with_69(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --engine and none that answers, the file is still checked, and the end is 69."""
    plug(monkeypatch, FakeEngine(None))
    result = check(file, "--engine")
    assert result.exit_code == 69
    assert "no mistakes" in result.stdout
    assert "is Docker running?" in result.stderr


def test_a_file_cannot_steer_the_terminal(file: Path) -> None:
    """What a file holds is printed without what could steer a terminal."""
    file.write_text('version: 1\nproject: demo\nphases: [{phase: 1, name: "\\e[2J", services: [db]}]\n"\\e[31m": 1\n')
    assert "\x1b" not in check(file).output
    file.write_text('version: 1\nproject: demo\nphases: [{phase: 1, name: "\\e[2J", services: [db]}]\n')
    result = check(file)
    assert result.exit_code == 0
    assert "\x1b" not in result.output


def test_help_has_examples() -> None:
    """--help has examples."""
    assert "guardian check config/guardian.yaml" in check("--help").stdout
