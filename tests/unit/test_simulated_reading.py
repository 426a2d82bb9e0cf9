"""Scenario files: what they may say, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.engine.simulated import built_in, find_scenario
from guardian.engine.simulated.behaviour import burst, leak, ramp, ramp_to, spike, steady
from guardian.engine.simulated.scenario import GIB, MIB, Health, HostStep, Limits, Scenario, Service, Step, Stop
from guardian.errors import ConfigError


def read(tmp_path: Path, text: str) -> Scenario:
    file = tmp_path / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return find_scenario(file)


def mistakes(tmp_path: Path, text: str) -> list[tuple[int | None, str, str]]:
    """Line, path and message of each."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert all(problem.file == str(tmp_path / "scenario.yaml") for problem in caught.value.problems)
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def test_every_key_is_read_into_base_units(tmp_path: Path) -> None:
    """Every key is read into base units."""
    scenario = read(
        tmp_path,
        """
description: all of it
project: demo
duration: 2m
uptime: 1h
host:
  memory: 8GiB
  cores: 2
  base: 300MiB
  base_cpu: 0.1
  swap: 1GiB
  disk: {size: 20GiB, used: 5GiB}
  psi: false
  steps:
    - {at: 5s, memory: {spike: 1GiB, for: 10s}, cpu: 0, disk: {leak: 1MiB/s}}
services:
  db:
    memory: 100MiB
    cpu: 0.5
    cache: 1GiB
    cache_active: 10%
    replicas: 2
    limits: {memory: 1GiB, cpus: 1.5}
    reservation: 64MiB
    restart: always
    health: {healthy_after: 3s}
    stop: {takes: 2s, ignores_sigterm: true, code: 143}
    stop_timeout: 1m
    labels: {guardian.phase: "1"}
    running: false
    starts: exits
    steps:
      - {at: 10s, memory: {ramp: 10MiB, rate: 1MiB/s}, cpu: {burst: 1, for: 1s, every: 5s}}
      - {after: 20s, memory: {ramp_to: 50MiB}, cache: 0, healthy: false}
      - {after: 30s, exit: 3}
  web: {project: "", depends_on: [db], network_mode: db}
""",
    )
    assert scenario.host.steps == (HostStep(at=5.0, memory=spike(GIB, 10), cpu=steady(0), disk=leak(MIB)),)
    assert (scenario.project, scenario.duration, scenario.uptime) == ("demo", 120, 3600)
    assert (scenario.host.memory, scenario.host.cores, scenario.host.swap, scenario.host.psi) == (8 * GIB, 2, GIB, False)
    assert scenario.services["db"] == Service(
        memory=100 * MIB,
        cpu=0.5,
        cache=GIB,
        cache_active=0.1,
        replicas=2,
        limits=Limits(memory=GIB, cpus=1.5),
        reservation=64 * MIB,
        restart="always",
        health=Health(healthy_after=3.0),
        stop=Stop(takes=2.0, ignores_sigterm=True, code=143),
        stop_timeout=60.0,
        labels={"guardian.phase": "1"},
        running=False,
        starts="exits",
        steps=(
            Step(at=10.0, memory=ramp(10 * MIB, MIB), cpu=burst(1, 1, 5)),
            Step(after=20.0, memory=ramp_to(50 * MIB), cache=steady(0), healthy=False),
            Step(after=30.0, exit=3),
        ),
    )
    assert scenario.services["web"] == Service(project="", depends_on=("db",), network_mode="db")


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    """What is left out has its default."""
    assert read(tmp_path, "services:\n  web:\n") == Scenario(services={"web": Service()})


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Every mistake is told at once, with its line."""
    found = mistakes(
        tmp_path,
        """
hots: {}
host: {memory: 0, cores: many}
services:
  db:
    memory: lots
    restart: sometimes
    steps:
      - {at: 1s, after: 2s, cpu: 1}
      - {at: 1s, memory: {grow: 5MiB}}
      - {at: 1s, memory: {ramp: 5MiB, rate: 5MiB}}
      - {at: 1s, memory: {burst: 5MiB, for: 5s}}
      - {at: 1s, memory: {burst: 5MiB, for: 5s, every: 2s}}
      - {at: 1s, cpu: {leak: fast}}
  db: {}
  web: {depends_on: [wed], stop: quickly, replicas: 1.5}
""",
    )
    assert [(line, path) for line, path, _ in found] == [
        (2, "hots"),
        (3, "host.memory"),
        (3, "host.cores"),
        (6, "services.db.memory"),
        (7, "services.db.restart"),
        (9, "services.db.steps[0]"),
        (10, "services.db.steps[1].memory"),
        (11, "services.db.steps[2].memory.rate"),
        (12, "services.db.steps[3].memory"),
        (13, "services.db.steps[4].memory"),
        (14, "services.db.steps[5].cpu.leak"),
        (15, "services.db"),
        (16, "services.web.stop"),
        (16, "services.web.replicas"),
        (16, "services.web.depends_on"),
    ]
    messages = {path: message for _, path, message in found}
    assert "did you mean host?" in messages["hots"]
    assert "512MiB" in messages["services.db.memory"]
    assert "did you mean web?" in messages["services.web.depends_on"]
    assert "always" in messages["services.db.restart"]


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "\tx: 1\n", "just words\n"])
def test_what_is_no_scenario_at_all_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    """What is no scenario at all is told in one line."""
    assert len(mistakes(tmp_path, text)) == 1


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("description: [x]\n", "description", "expected a single value"),
        ("host: {memory: [1]}\n", "host.memory", "expected a single value"),
        ("services: [a]\n", "services", "expected a section with keys"),
        ("services: {db: {depends_on: web}}\n", "services.db.depends_on", "expected a list"),
    ],
)
def test_a_value_of_another_shape_is_told_with_its_line(tmp_path: Path, text: str, path: str, said: str) -> None:
    """A list, a section or a single value in the place of another is told, with its line and what is expected."""
    assert (1, path, said) in mistakes(tmp_path, text)


def test_a_missing_file_names_the_scenarios_that_there_are(tmp_path: Path) -> None:
    """A missing file names the scenarios that there are."""
    with pytest.raises(ConfigError, match=r"nowhere.*calm, cpu, demo, hog, overload"):
        find_scenario(tmp_path / "nowhere")


def test_extending_changes_key_by_key(tmp_path: Path) -> None:
    """Extending a scenario changes it key by key."""
    (tmp_path / "base.yaml").write_text("host: {cores: 8, memory: 2GiB}\nservices: {db: {cpu: 2, memory: 1MiB}, web: {}}\n")
    scenario = read(tmp_path, "extends: base.yaml\nhost: {cores: 2}\nservices: {db: {cpu: 1}, api: {depends_on: [web]}}\n")
    assert (scenario.host.cores, scenario.host.memory) == (2, 2 * GIB)
    assert list(scenario.services) == ["db", "web", "api"]
    assert scenario.services["db"] == Service(cpu=1.0, memory=MIB)


def test_a_mistake_in_what_is_extended_is_told_with_its_own_file(tmp_path: Path) -> None:
    """A mistake in what is extended is told with its own file."""
    (tmp_path / "base.yaml").write_text("\n\nhost: {cores: none}\n")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(ConfigError) as caught:
        find_scenario(tmp_path / "over.yaml")
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [(str(tmp_path / "base.yaml"), 3)]


def test_a_scenario_that_extends_itself_is_refused(tmp_path: Path) -> None:
    """A scenario that extends itself is refused."""
    assert [path for _, path, _ in mistakes(tmp_path, "extends: scenario.yaml\n")] == ["extends"]


@pytest.mark.parametrize("name", built_in())
def test_every_scenario_that_comes_with_guardian_is_the_reference_platform(name: str) -> None:
    """Every scenario that comes with Guardian is the reference platform."""
    scenario = find_scenario(name)
    assert len(scenario.services) == 32
    assert sum(service.memory for service in scenario.services.values()) == pytest.approx(2.3 * GIB, rel=0.01)
    assert scenario.description
    assert all(service.restart == "unless-stopped" and service.health for service in scenario.services.values())
