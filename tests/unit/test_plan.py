"""`guardian plan` and `guardian simulate`: what would go is what goes, and what each says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.fake_daemon import FakeDaemon
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.cli.main import main
from guardian.clock import VirtualClock
from guardian.config.schema import ServiceConfig
from guardian.engine.simulated import SimulatedEngine
from guardian.engine.simulated.behaviour import steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service
from guardian.expose.orders import OrderKind
from guardian.expose.snapshot import Snapshot
from guardian.model import Level, Mode, Signal
from guardian.policy.outlook import Outlook, outlook

Run = Callable[..., Result]
JUMP_S = 40.0

YAML = """
version: 1
project: openpolicy
phases:
  - {phase: 1, protected: true, services: [db]}
  - {phase: 2, services: [web, worker]}
  - {phase: 3, services: [logs, metrics, tiny]}
"""


def a_host(jump_mib: int = 0) -> VirtualHost:
    """3 GiB of 4 are in use by six services, and `jump_mib` more from JUMP_S on."""
    scenario = Scenario(
        host=Host(steps=(HostStep(at=JUMP_S, memory=steady(jump_mib * MIB)),)),
        services={
            "db": Service(memory=800 * MIB),
            "web": Service(memory=600 * MIB),
            "worker": Service(memory=500 * MIB),
            "logs": Service(memory=300 * MIB),
            "metrics": Service(memory=200 * MIB),
            "tiny": Service(memory=4 * MIB),
        },
    )
    config = a_config(
        Phase(("db",), protected=True),
        ("web", "worker"),
        ("logs", "metrics", "tiny"),
        services={"worker": ServiceConfig(priority=-1)},
    )
    return VirtualHost(scenario, config)


def asked(snapshot: Snapshot, at_ratio: float | None, signal: Signal = Signal.MEMORY) -> Outlook:
    assert snapshot.state.tally is not None
    platform = snapshot.state.tally.of.platform
    pins = snapshot.controls.pins
    found = outlook(
        signal, at_ratio, snapshot.sample.host, platform, snapshot.entries, pins, snapshot.state, snapshot.config, snapshot.at_s
    )
    assert isinstance(found, Outlook)
    return found


# --- what it says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_mib", [1000, 1150, 1290])
def test_what_would_go_is_what_goes(jump_mib: int) -> None:
    """Whom the plan names for a hard value, in its order, the loop stops in one batch once memory is there."""
    before = a_host().run(JUMP_S - 5)
    host = a_host(jump_mib)
    hard = host.run_until(lambda snapshot: snapshot.assessment.level is Level.HARD, within_s=JUMP_S + 10)
    value = hard.assessment.signal(Signal.MEMORY)
    assert value is not None
    planned = asked(before, value.value)
    assert planned.hard
    assert {one.service for one in planned.picked} == {action.service for action in hard.decision.actions}
    assert planned.covered >= planned.deficit


def test_where_it_would_stop_depends_on_the_value() -> None:
    """A soft value asks for less than a hard one, and who is not needed is told so."""
    snapshot = a_host().run(20)
    soft, hard = asked(snapshot, 0.76), asked(snapshot, 0.95)
    assert [one.service.name for one in soft.picked] == ["logs"]
    assert [one.service.name for one in hard.picked][:2] == ["logs", "metrics"]
    why = {one.service.name: one.passed_over for one in soft.left}
    assert why == {"metrics": "not_needed", "web": "not_needed", "worker": "not_needed", "tiny": "not_needed"}
    assert {one.service.name: one.passed_over for one in hard.left}["tiny"] == "too_small"
    assert dict(soft.excluded) == {key("db"): "protected"}


def test_without_a_value_it_is_the_hard_mark() -> None:
    """Asked for nothing in particular, it plans for the hard mark."""
    assert asked(a_host().run(20), None).at_ratio == 0.9


def test_a_pinned_service_stays_and_is_told() -> None:
    """Who is pinned is left out, with the reason."""
    host = a_host()
    host.run(20)
    host.order(OrderKind.PIN, "logs")
    found = asked(host.tick(), 0.95)
    assert key("logs") not in {one.service for one in found.picked}
    assert dict(found.excluded)[key("logs")] == "pinned"


def test_a_signal_that_is_off_has_no_plan() -> None:
    """Of a signal that the file does not use it says so in words."""
    snapshot = a_host().run(20)
    assert snapshot.state.tally is not None
    platform = snapshot.state.tally.of.platform
    found = outlook(
        Signal.PLATFORM_MEMORY,
        0.9,
        snapshot.sample.host,
        platform,
        (),
        frozenset(),
        snapshot.state,
        snapshot.config,
        snapshot.at_s,
    )
    assert isinstance(found, str)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(tmp_path / "control.sock")
    daemon.snapshot = a_host().run(20)
    yield daemon
    daemon.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "guardian.yaml").write_text(YAML)
    runner = CliRunner(env={"GUARDIAN_WEB_CONTROL": str(tmp_path / "control.sock"), "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(main, arguments, prog_name="guardian")


def test_the_daemon_is_asked_for_the_plan(run: Run, daemon: FakeDaemon) -> None:
    """`plan` shows the order, what each gives back and in sum, where it stops, and why others stay."""
    result = run("plan", "--memory", "95%")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert (
        "If memory were at 95.0% (now 67.2%), 1.0 GiB would have to be given back to reach 70.0%: all of these at once." in text
    )
    assert "1 3 openpolicy/logs 300 MiB 300 MiB" in text
    assert "2 3 openpolicy/metrics 200 MiB 500 MiB" in text
    assert "There it would stop." in text
    assert "openpolicy/db its phase is protected" in text


def test_the_plan_is_there_as_json(run: Run, daemon: FakeDaemon) -> None:
    """With --json amounts are bytes, or cores for CPU, and several signals may be asked for."""
    result = run("plan", "--memory", "0.76", "--cpu", "100%", "--json")
    memory, cpu = json.loads(result.output)["plans"]
    assert [one["service"] for one in memory["sheds"]] == ["openpolicy/logs"]
    assert memory["unit"] == "bytes"
    assert memory["enough"] is True
    assert (cpu["signal"], cpu["unit"]) == ("cpu", "cores")


def test_a_plan_that_is_not_enough_says_what_is_missing(run: Run, daemon: FakeDaemon) -> None:
    """Where all that may go gives back too little, it says how much is missing."""
    assert daemon.snapshot is not None
    daemon.snapshot = a_host().run(20)
    for name in ("web", "worker"):
        pins = daemon.snapshot.controls.pins | {key(name)}
        daemon.snapshot = replace(daemon.snapshot, controls=replace(daemon.snapshot.controls, pins=pins))
    text = " ".join(run("plan", "--memory", "95%").output.split())
    assert "That is not enough" in text
    assert "openpolicy/web pinned by an operator" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--memory", "95"), "did you mean 95%?"), (("--platform-cpu", "90%"), "platform_cpu is off")],
)
def test_a_question_that_cannot_be_answered_is_told_why(
    run: Run, daemon: FakeDaemon, arguments: tuple[str, ...], says: str
) -> None:
    """A share that is none, and a signal that is off, are errors in words."""
    result = run("plan", *arguments)
    assert result.exit_code != 0
    assert says in result.output


def test_without_a_daemon_the_engine_is_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no daemon answers, the plan is made of the file and of what the engine says, and that is told."""
    engine = SimulatedEngine(a_host().scenario, VirtualClock())
    monkeypatch.setattr("guardian.engine.connect.open_engine", lambda *_: engine)
    monkeypatch.setattr("guardian.cli.plan.BETWEEN_S", 0.0)
    result = run("plan", "--memory", "100%", "--config", tmp_path / "guardian.yaml")
    assert result.exit_code == 0, result.output
    assert "pins are not known" in result.output
    assert "openpolicy/logs" in result.output


# --- simulate -------------------------------------------------------------------------------------------------------


def test_a_scenario_is_tried_without_an_engine(run: Run, tmp_path: Path) -> None:
    """`simulate` runs the whole of guardian on a scenario, enforced, and says what was shed and when since it began."""
    (tmp_path / "host.yaml").write_text(
        "services:\n"
        "  db: {memory: 800MiB}\n"
        "  web: {memory: 600MiB}\n"
        "  logs: {memory: 700MiB, steps: [{at: 30s, memory: {ramp: 1GiB, rate: 100MiB/s}}]}\n"
        "duration: 2m\n"
    )
    result = run("simulate", str(tmp_path / "host.yaml"), "--config", str(tmp_path / "guardian.yaml"), "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)["simulations"]
    shed = found["sheds"][0]
    assert {one["service"] for one in found["sheds"]} == {"openpolicy/logs"}
    assert 30 < shed["at_wall_s"] - found["since_wall_s"] < 60
    text = run("simulate", str(tmp_path / "host.yaml"), "--config", str(tmp_path / "guardian.yaml")).output
    assert "Times are since it began." in text


def test_a_scenario_that_is_none_is_told(run: Run, tmp_path: Path) -> None:
    """A scenario that cannot be read ends it with 78."""
    result = run("simulate", "no-such", "--config", tmp_path / "guardian.yaml")
    assert result.exit_code == 78
    assert "no-such" in result.output


def test_a_plan_changes_nothing(daemon: FakeDaemon, run: Run) -> None:
    """After a plan nothing was ordered, in whatever mode."""
    run("plan")
    assert daemon.orders == []
    assert daemon.snapshot is not None
    assert daemon.snapshot.mode is Mode.ENFORCE
