"""`guardian rollout` as it is typed: what it refuses, shows, says and ends with; on a simulated engine in real time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from guardian.cli.main import main
from guardian.clock import SystemClock
from guardian.engine.simulated import SimulatedEngine
from guardian.engine.simulated.scenario import Host, Scenario, Service, Step
from guardian.rollout import open as opening
from guardian.rollout import run as running
from guardian.rollout.progress import FILE_NAME, ProgressFile, read_progress

MIB = 1024 * 1024
Run = Callable[..., Result]
QUICK = ("--soak", "0s", "--wait", "300ms", "--healthy-within", "2s")


def settings(tmp_path: Path, **fields: Any) -> dict[str, Any]:
    """Two phases of an engine that is not there, and 512 MiB for the platform; nothing of this machine counts."""
    return {
        "version": 1,
        "project": "openpolicy",
        "engine": {"url": f"unix://{tmp_path}/none.sock"},
        "host": {"memory": "512MiB"},
        "sampling": {"source": "engine"},
        "state_dir": str(tmp_path / "state"),
        "web": {"control": str(tmp_path / "none-either.sock")},
        "thresholds": {
            **dict.fromkeys(("memory", "cpu", "swap", "memory_pressure", "disk"), "off"),
            "platform_memory": {"soft": "80%", "hard": "90%", "recover": "70%"},
        },
        "restoring": {"stable_for": "50ms"},
        "phases": [
            {"phase": 1, "name": "core", "budget": {"memory": "100MiB"}, "services": ["db", "api"]},
            {"phase": 2, "name": "rest", "budget": {"memory": "300MiB"}, "services": ["logs"]},
        ],
        **fields,
    }


@pytest.fixture
def rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on services that do not run yet; `services` and `config` replace some of them."""
    every = {name: Service(memory=30 * MIB, running=False) for name in ("db", "api", "logs")}
    engines: list[SimulatedEngine] = []
    monkeypatch.setattr(running, "LOOK_EVERY_S", 0.05)

    def invoke(*arguments: str, services: dict[str, Service] | None = None, config: dict[str, Any] | None = None) -> Result:
        if not engines:
            scenario = Scenario(host=Host(memory=1024 * MIB), services={**every, **(services or {})})
            engines.append(SimulatedEngine(scenario, SystemClock()))
        monkeypatch.setattr(opening, "open_engine", lambda *_: engines[0])
        monkeypatch.setattr(engines[0], "close", lambda: None)  # the next command finds it as it was left
        file = tmp_path / "guardian.yaml"
        file.write_text(yaml.safe_dump(settings(tmp_path, **(config or {}))))
        runner = CliRunner(env={"NO_COLOR": "1"})
        return runner.invoke(main, ("rollout", "--config", str(file), *arguments), prog_name="guardian")

    return invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give one of --to, --down-to and --resume"),
        (("--to", "1", "--down-to", "1"), "Give one of --to, --down-to and --resume"),
        (("--down-to", "1", "--from-zero"), "--from-zero goes with --to"),
        (("--to", "3"), "there is no phase 3: give one up to 2"),
        (("--resume",), "there is nothing to resume"),
        (("--to", "1", "--compose", "no-such.yml"), "no-such.yml: there is no such file"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(rollout: Run, arguments: tuple[str, ...], said: str) -> None:
    """Wrong usage ends with 2 and says what is wrong."""
    result = rollout(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_a_goal_above_the_target_phase_is_refused(rollout: Run) -> None:
    """What the daemon would stop again is not rolled out: it says what to raise."""
    result = rollout("--to", "2", config={"target_phase": 1})
    assert result.exit_code == 2
    assert "target_phase of the file is 1" in result.stderr


def test_the_plan_shows_each_phase_with_its_needs_and_does_nothing(rollout: Run, tmp_path: Path) -> None:
    """`--plan` shows services in order, what each is expected to use, and whether there is room; nothing is started or written."""
    result = rollout("--to", "2", "--plan")
    assert result.exit_code == 0, result.output
    assert "Phase 1 core: needs 100 MiB more; there is room" in result.stdout
    assert "Phase 2 rest: needs 200 MiB more; there is room" in result.stdout
    planned = json.loads(rollout("--to", "2", "--plan", "--json").stdout)
    assert [[one["service"] for one in phase["services"]] for phase in planned["phases"]] == [
        ["openpolicy/api", "openpolicy/db"],
        ["openpolicy/logs"],
    ]
    assert not (tmp_path / "state" / FILE_NAME).exists()


def test_the_plan_says_what_is_missing_counting_the_phases_before(rollout: Run) -> None:
    """Each phase fits alone, and both together do not: the plan says so of the second."""
    phases = settings(Path("/"))["phases"]
    phases[0]["budget"]["memory"] = "250MiB"
    phases[1]["budget"]["memory"] = "500MiB"
    planned = json.loads(rollout("--to", "2", "--plan", "--json", config={"phases": phases}).stdout)
    assert [phase["fits"] for phase in planned["phases"]] == [True, False]
    assert "116 MiB missing" in planned["phases"][1]["room"]  # 500 of 512 * (80% - 5%) = 384


def test_it_tells_each_step_and_ends_with_0(rollout: Run, tmp_path: Path) -> None:
    """One line for each event; afterwards nothing is left to resume."""
    result = rollout("--to", "2", *QUICK)
    assert result.exit_code == 0, result.output
    for said in ("phase 1: start openpolicy/db", "phase 1: passed: phases 1 to 1 use", "phases 1 to 2 are up: 3 services"):
        assert said in result.stdout
    assert rollout("--resume").exit_code == 2
    down = rollout("--down-to", "0", *QUICK)
    assert down.exit_code == 0
    assert "phase 2: stop openpolicy/logs" in down.stdout


def test_a_failure_names_the_service_and_resume_goes_on(rollout: Run, tmp_path: Path) -> None:
    """A phase that fails ends with 1, says which service, why, and what stays up; `--resume` tries that phase again."""
    ends = {"logs": Service(memory=30 * MIB, running=False, restart="no", steps=(Step(after=0, exit=4),))}
    result = rollout("--to", "2", *QUICK, services=ends)
    assert result.exit_code == 1
    assert "Error: phase 2: openpolicy/logs: it ended with 4" in result.stderr
    assert "phases 1 to 1 stay up; `guardian rollout --resume` tries again" in result.stderr
    lines = [json.loads(line) for line in rollout("--resume", "--json").stdout.splitlines()]
    assert [line["phase"] for line in lines if line["event"] == "failed"] == [2]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["failure"]["service"] == "openpolicy/logs"
    saved = read_progress(tmp_path / "state" / FILE_NAME)
    assert saved is not None
    assert (saved.reached, saved.settings.soak_s) == (1, 0.0)


def test_a_roll_out_goes_by_the_compose_files_of_the_one_before(
    rollout: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once given, Compose files need not be given for the next phase, also after a way down; once they are gone they are forgotten."""
    monkeypatch.setenv("PATH", "/nowhere")  # no Compose
    file = tmp_path / "compose.yml"
    file.write_text(
        "services: {db: {image: a}, api: {image: a}, logs: {image: a, depends_on: {db: {condition: service_healthy}}}}"
    )
    assert rollout("--to", "1", *QUICK, "--compose", str(file)).exit_code == 0

    def after() -> list[str]:
        (logs,) = json.loads(rollout("--to", "2", "--plan", "--json").stdout)["phases"][1]["services"]
        return [need["condition"] for need in logs["after"]]

    assert after() == ["service_healthy"]
    file.write_text("services: [")
    assert rollout("--down-to", "0", *QUICK).exit_code == 0  # a way down needs none
    assert "compose.yml" in rollout("--to", "2", "--plan").stderr
    file.unlink()
    assert after() == []


def test_there_is_one_roll_out_at_a_time(rollout: Run, tmp_path: Path) -> None:
    """While another process rolls out, the second is told so, and does nothing."""
    other = ProgressFile(tmp_path / "state")
    result = rollout("--to", "1")
    other.release()
    assert result.exit_code == 1
    assert "another roll-out is under way" in result.stderr


def test_what_does_not_exist_is_named_where_no_compose_file_is(rollout: Run) -> None:
    """A service without a container, and no --compose: it says which, and what to give."""
    phases = settings(Path("/"))["phases"]
    phases[1]["services"].append("ghost")
    result = rollout("--to", "2", *QUICK, config={"phases": phases})
    assert result.exit_code == 1
    assert "there is no container of ghost: name the Compose file by --compose" in result.stderr
