"""Promise O: `guardian rollout` brings a platform up phase by phase, by Compose where containers do not exist, behind its gates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import small
from support.daemon import GuardianProcess
from support.engine_events import EngineEvents
from support.images import BUSYBOX
from support.platform import COMPOSE_FILE, ReferencePlatform
from support.private_engine import PrivateEngine
from support.standin import IMAGE
from support.waiting import eventually

MIB = 1024 * 1024
PHASES = {"postgres": 1, "redis": 1, "auth-service": 2, "config-service": 2, "grafana": 3, "kibana": 3}
JOB = "migrate"  # of phase 2
NEEDS = {
    JOB: {"postgres": "service_healthy"},
    "auth-service": {"postgres": "service_healthy", JOB: "service_completed_successfully"},
    "config-service": {"auth-service": "service_started"},
}
EACH_BYTES = 40 * MIB
QUICK = ("--soak", "1s", "--healthy-within", "20s")


class Compose:
    """A Compose file for six services in three phases and a job of the second, and a guardian's file for them."""

    def __init__(self, home: Path, engine: PrivateEngine, **environment: dict[str, str]) -> None:
        self.home, self.engine = home, engine
        self.file = home / "docker-compose.yml"
        self.platform = ReferencePlatform(engine.url, only=PHASES)
        services = {
            name: {
                "image": IMAGE,
                "network_mode": "none",
                "restart": "unless-stopped",
                "depends_on": {other: {"condition": condition} for other, condition in NEEDS.get(name, {}).items()},
                "environment": {"STANDIN_MEMORY": "40MiB", **environment.get(name.replace("-", "_"), {})},
                "healthcheck": {"test": ["CMD", "/standin", "health"], "interval": "1s", "timeout": "5s", "retries": 2},
            }
            for name in PHASES
        }
        job = {"image": BUSYBOX, "network_mode": "none", "restart": "no", "command": ["sh", "-c", "sleep 0.5"]}
        services[JOB] = {**job, "depends_on": {other: {"condition": condition} for other, condition in NEEDS[JOB].items()}}
        home.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump({"services": services}))

    def settings(self, capacity_bytes: int = 1024 * MIB) -> dict[str, Any]:
        settings = small.small_settings(self.engine.url)
        settings["host"] = {"memory": f"{capacity_bytes}B"}
        settings["restoring"] = {"stable_for": "1s", "probation": "2s"}
        settings["state_dir"] = str(self.home / "guardian" / "state")
        settings["web"] = {"control": str(self.home / "guardian" / "control.sock")}
        settings["phases"] = [
            {
                "phase": number,
                "name": name,
                "protected": number == 1,
                "budget": {"memory": f"{number * 100}MiB"},
                "services": [each for each, phase in PHASES.items() if phase == number] + [JOB] * (number == 2),
            }
            for number, name in enumerate(("core", "business", "observability"), start=1)
        ]
        settings["services"] = {}
        return settings

    def create_the_rest(self) -> None:
        """Every container that is not there, by Compose itself: without dependencies, as v1 would wait for conditions."""
        services = yaml.safe_load(self.file.read_text())["services"]
        file = self.file.with_name("alone.yml")
        file.write_text(yaml.safe_dump({"services": {name: {**one, "depends_on": []} for name, one in services.items()}}))
        words = ["docker-compose", "--file", str(file), "--project-name", "openpolicy", "up", "--no-start", "--no-recreate"]
        subprocess.run(words, env={**os.environ, "DOCKER_HOST": self.engine.url}, capture_output=True, timeout=120, check=True)

    def command(self, *arguments: str, compose: bool = True) -> list[str]:
        config = str(self.home / "guardian" / "guardian.yaml")
        files = ("--compose", str(self.file)) if compose else ()
        return [sys.executable, "-m", "guardian", "rollout", "--config", config, *files, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, check=False)


def of_phases(last: int) -> set[str]:
    return {name for name, phase in PHASES.items() if phase <= last}


@pytest.fixture
def make_compose(standin_engine: PrivateEngine, tmp_path: Path) -> Iterator[Callable[..., Compose]]:
    made: list[Compose] = []

    def make(capacity_bytes: int = 1024 * MIB, **environment: dict[str, str]) -> Compose:
        one = Compose(tmp_path, standin_engine, **environment)
        (tmp_path / "guardian").mkdir()
        (tmp_path / "guardian" / "guardian.yaml").write_text(small.as_yaml(one.settings(capacity_bytes)))
        made.append(one)
        return one

    yield make
    for one in made:
        one.platform.remove()


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def services(guardian: GuardianProcess, action: str) -> list[str]:
    """Of which services history has that action, newest first."""
    return [row["service"].partition("/")[2] for row in guardian.history() if row["action"] == action]


def test_one_command_brings_it_up_beside_the_daemon_and_takes_it_down(
    make_compose: Callable[..., Compose], make_guardian: Callable[..., GuardianProcess]
) -> None:
    """From nothing to phase 3 by one command, each start admitted by the daemon; back to phase 1, and no stop is taken for an override."""
    one = make_compose()
    guardian = make_guardian(small.as_yaml(one.settings()))
    small.start(guardian)
    up = one.run("--to", "3", "--json", *QUICK)
    assert up.returncode == 0, up.stdout + up.stderr
    assert one.platform.running() == set(PHASES)
    words = [(each["event"], (each.get("service") or "").partition("/")[2]) for each in events(up.stdout)]
    order = [("up", "postgres"), ("start", JOB), ("up", JOB), ("start", "auth-service"), ("start", "config-service")]
    assert sorted(order, key=words.index) == order
    assert {each["service"]: each["state"] for each in guardian.status()["services"]}[f"openpolicy/{JOB}"] == "completed"
    assert [each["phase"] for each in events(up.stdout) if each["event"] == "passed"] == [1, 2, 3]
    admitted = services(guardian, "start")
    assert sorted(admitted) == sorted([*PHASES, JOB])

    down = one.run("--down-to", "1", *QUICK)
    assert down.returncode == 0, down.stderr
    assert one.platform.running() == of_phases(1)
    status = small.after_ticks(guardian)
    assert status["shed"] == []
    assert guardian.metric("guardian_overrides_total") == 0
    stopped = services(guardian, "stop")
    assert sorted(stopped) == sorted(PHASES.keys() - of_phases(1))


@pytest.mark.alone
@pytest.mark.timeout(900)  # it waits for as long as the host has no room
def test_the_reference_platform_comes_up_and_goes_down_by_one_command_each(
    standin_engine: PrivateEngine, tmp_path: Path, make_guardian: Callable[..., GuardianProcess]
) -> None:
    """All 32 services of the reference, every signal and gate on: nothing is shed.

    By its own Compose file and configuration, but for a quicker health check and a shorter probation, which are what it would wait for.
    """
    file = tmp_path / "docker-compose.yml"
    file.write_text(COMPOSE_FILE.read_text().replace("interval: 10s", "interval: 2s"))
    settings = yaml.safe_load((COMPOSE_FILE.parent / "guardian.yaml").read_text())
    settings["restoring"]["probation"] = "20s"
    home = tmp_path / "guardian"
    settings |= {"engine": {"url": standin_engine.url}, "mode": "enforce", "state_dir": str(home / "state")}
    settings["web"] = {"control": str(home / "control.sock")}
    platform = ReferencePlatform(standin_engine.url)
    phases = {service: each["phase"] for each in settings["phases"] for service in each["services"]}
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)

    def rollout(*arguments: str) -> list[dict[str, Any]]:
        where = ("--config", str(guardian.config_path), "--compose", str(file))
        words = [sys.executable, "-m", "guardian", "rollout", *where, "--json", *arguments]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return events(ended.stdout)

    try:
        said = rollout("--to", "5", "--soak", "2s")
        assert platform.running() == set(phases)
        assert [each["phase"] for each in said if each["event"] == "passed"] == [1, 2, 3, 4, 5]
        started = [phases[service] for service in reversed(services(guardian, "start"))]
        assert started == sorted(phases.values())
        rollout("--down-to", "1")
        assert platform.running() == {service for service, phase in phases.items() if phase == 1}
        assert guardian.status()["shed"] == []
        assert not services(guardian, "shed")
        assert guardian.metric("guardian_overrides_total") == 0
    finally:
        platform.remove()


def test_a_service_that_never_gets_healthy_ends_it_at_its_phase(make_compose: Callable[..., Compose]) -> None:
    """It names the service, why, and what its health check and its log said last; phase 1 stays up, phase 3 is not begun."""
    one = make_compose(config_service={"STANDIN_HEALTHY_AFTER": "3600s"})
    ended = one.run("--to", "3", "--soak", "1s", "--healthy-within", "5s")
    assert ended.returncode == 1
    assert "phase 2: openpolicy/config-service: it is not healthy after 5s" in ended.stderr
    assert "its health check said last" in ended.stderr
    assert "touched from=" in ended.stderr  # of its log
    assert one.platform.running() == of_phases(2)
    undone = one.run("--resume", "--rollback")
    assert undone.returncode == 1
    assert one.platform.running() == of_phases(1)


def test_too_little_room_for_a_phase_is_held_and_said(make_compose: Callable[..., Compose]) -> None:
    """Where phase 3 does not fit below soft, it is not begun, and what is missing is said."""
    one = make_compose(capacity_bytes=330 * MIB)  # 75% of it are 247 MiB: four services fit, and 100 MiB more do not
    ended = one.run("--to", "3", "--wait", "3s", *QUICK)
    assert ended.returncode == 1
    assert "phase 3: platform_memory: needs" in ended.stderr
    assert "MiB missing" in ended.stderr
    assert one.platform.running() == of_phases(2)


def test_killed_at_each_step_and_resumed_it_ends_the_same(make_compose: Callable[..., Compose]) -> None:
    """SIGKILL at each step of a roll-out from zero through three phases, then `--resume` each time: it is as if there had been none."""
    one = make_compose()
    killed = killed_and_resumed(one.command("--to", "1", "--json", *QUICK), one.command("--resume", "--json"), {"create"})
    assert killed == [("create", 1)]
    one.create_the_rest()

    made = one.platform.ids()
    began = one.command("--to", "3", "--from-zero", "--json", "--soak", "200ms", compose=False)
    kinds = ("start", "up", "soak", "passed")
    with EngineEvents(one.engine.url) as heard:
        killed = killed_and_resumed(began, one.command("--resume", "--json", compose=False), {"stop", "phase", *kinds})
    assert killed == [("stop", 1), ("phase", 1), *((kind, phase) for phase in (1, 2, 3) for kind in kinds)]
    assert one.platform.running() == set(PHASES)
    assert one.platform.ids() == made
    assert sorted(each.service for each in heard.changes if each.running) == sorted([*PHASES, JOB])
    assert sorted(each.service for each in heard.changes if not each.running) == sorted([*of_phases(1), JOB])


def test_it_goes_on_while_the_daemon_is_killed_and_started_again(
    make_compose: Callable[..., Compose], make_guardian: Callable[..., GuardianProcess]
) -> None:
    """The daemon is killed after phase 1 and is back after phase 2: all is up by the one command, and the new daemon sheds nothing."""
    one = make_compose()
    guardian = make_guardian(small.as_yaml(one.settings()))
    small.start(guardian)
    process = subprocess.Popen(
        one.command("--to", "3", "--json", *QUICK), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if (event["event"], event["phase"]) == ("passed", 1):
            guardian.kill()
        elif (event["event"], event["phase"]) == ("passed", 2):
            small.start(guardian)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert one.platform.running() == set(PHASES)
    assert small.after_ticks(guardian)["shed"] == []
    by_daemon = set(services(guardian, "start"))
    assert by_daemon >= of_phases(3) - of_phases(2)


def killed_and_resumed(begin: list[str], resume: list[str], kinds: set[str]) -> list[tuple[str, int]]:
    """Kill it at the first event of each of these kinds in each phase, and go on each time. Returned: where it was killed, in turn."""
    killed: list[tuple[str, int]] = []
    command = begin
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        event: dict[str, Any] = {}
        for line in process.stdout:
            event = json.loads(line)
            point = event["event"], event["phase"]
            if point[0] in kinds and point not in killed:
                process.kill()
                killed.append(point)
                break
        _, said = process.communicate()
        if event.get("event") == "end" or "nothing to resume" in said:  # it was killed just after its end
            assert event.get("failure") is None, event
            return killed
        assert process.returncode == -signal.SIGKILL, said
        command = resume


def test_a_target_phase_stops_what_is_above_and_gives_it_back_when_raised(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, standin_engine: PrivateEngine
) -> None:
    """With target_phase 2 both services of phase 3 are stopped, for that reason; after a reload with 3 they are restored."""
    settings = small.small_settings(standin_engine.url)
    settings["restoring"] |= {"stable_for": "500ms", "probation": "1s"}
    guardian = make_guardian(small.as_yaml({**settings, "target_phase": 2}))
    small.start(guardian)
    eventually(lambda: platform.running() == {"postgres", "auth-service"}, "phase 3 is down", 30)
    rows = [row for row in guardian.history() if row["action"] == "shed"]
    assert {row["reason"] for row in rows} == {"target_phase"}
    assert guardian.metric("guardian_target_phase") == 2
    refused = guardian.cli("restore", "kibana")
    assert refused.returncode == 1
    assert "above target_phase 2" in refused.stdout
    guardian.write_config(small.as_yaml({**settings, "target_phase": 3}))
    assert guardian.cli("reload").returncode == 0
    eventually(lambda: platform.running() == small.SERVICES, "phase 3 is back", 30)
