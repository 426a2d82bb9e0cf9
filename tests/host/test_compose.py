"""The life of the platform on the Debian 13 host, by the Compose that it has: version 2, as `docker compose`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from host.guarded import GUARDIAN, Host
from host.machine import Done
from host.scenarios import CORE, MIB, PHASES

# All 32 up use three quarters of this host, and phase 5 is expected to use its part of the budget, which is a quarter more. On
# an emulated CPU the engine is slow to answer while Compose has it work.
_CONFIG = {
    "mode": "enforce",
    "engine": {"timeout": "30s"},
    "thresholds": {"memory": {"soft": "93%", "hard": "97%", "recover": "88%"}, "cpu": "off"},
    "restoring": {"margin": "2%", "probation": "10s"},
}
FILES = ("config/compose.reference.yml", "compose.host.yml", "/root/no-restarts.yml")
NEVER_WELL = "/root/never-well.yml"
SICK = "policy-service"


@pytest.fixture(scope="module")
def composed(resume: Callable[[str], Host]) -> Host:
    """The host with guardian on it, and nothing of the platform. What Compose then makes is started by guardian alone, after a boot too."""
    host = resume(GUARDIAN)
    host.configure(**_CONFIG)
    host.must("tee", FILES[-1], stdin=json.dumps({"services": {name: {"restart": "no"} for name in PHASES}}))
    never_well = {"services": {SICK: {"environment": {"STANDIN_HEALTHY_AFTER": "3600s"}}}}
    host.must("tee", NEVER_WELL, stdin=json.dumps(never_well))
    host.sh(f"cd /srv/in; docker compose {_files('--file')} down --timeout 1", timeout_s=600)
    assert host.must("docker", "ps", "--all", "--quiet") == ""
    return host


def _files(option: str, *more: str) -> str:
    return " ".join(f"{option} {file}" for file in (*FILES, *more))


def _roll_out(host: Host, arguments: str, *files: str) -> Done:
    command = f"cd /srv/in; guardian rollout {arguments} {_files('--compose', *files)} --soak 2s"
    return host.run("bash", "-c", command, timeout_s=1500)


def _bring_to(host: Host, phase: int) -> None:
    """Phases 1 to `phase` are up afterwards, and nothing else."""
    for direction in ("--to", "--down-to"):
        done = _roll_out(host, f"{direction} {phase}")
        assert done.ok, done.err
    assert host.running() == _of_phases(phase)


def _of_phases(last: int) -> set[str]:
    return {service for service, phase in PHASES.items() if phase <= last}


def test_init_proposes_from_what_compose_says(composed: Host) -> None:
    """`guardian init` reads the reference file through `docker compose config`; its proposal places every service, and `check` accepts it."""
    proposed = "/root/proposed.yaml"
    composed.sh(f"cd /srv/in; guardian init {_files('--file')} --output {proposed}", timeout_s=120)
    text = composed.must("cat", proposed)
    assert "read by docker compose" in text
    values = yaml.safe_load(text)
    assert values["project"] == "openpolicy"
    assert {service for phase in values["phases"] for service in phase["services"]} == set(PHASES)
    composed.must("guardian", "check", proposed)


def test_one_command_brings_it_up_from_nothing_and_another_takes_it_down(composed: Host) -> None:
    """`rollout --from-zero --to 5` has Compose v2 make all 32 and passes each phase's gates; `--down-to 1` leaves the core."""
    composed.sh(f"cd /srv/in; docker compose {_files('--file')} up --detach redis", timeout_s=120)
    up = _roll_out(composed, "--from-zero --to 5 --json")
    assert up.ok, up.out + up.err
    events = [json.loads(line) for line in up.out.splitlines()]
    assert [event["service"] for event in events if event["event"] == "stop"] == ["openpolicy/redis"]
    assert [event["phase"] for event in events if event["event"] == "passed"] == [1, 2, 3, 4, 5]
    assert composed.running() == set(PHASES)
    made_by = composed.must("docker", "ps", "--format", '{{.Label "com.docker.compose.version"}}').split()
    assert {version.partition(".")[0] for version in made_by} == {"2"}

    down = _roll_out(composed, "--down-to 1")
    assert down.ok, down.err
    assert composed.running() == set(CORE)
    assert composed.status()["shed"] == []


def test_a_service_that_never_gets_healthy_ends_it_at_its_phase(composed: Host) -> None:
    """It names the service and why; phase 1 stays up, and of phase 3 nothing is begun."""
    _bring_to(composed, 1)
    composed.must("docker", "rm", "--force", f"openpolicy-{SICK}-1")
    ended = _roll_out(composed, "--to 3 --healthy-within 2m", NEVER_WELL)
    composed.must("docker", "rm", "--force", f"openpolicy-{SICK}-1")
    assert ended.code == 1
    assert f"phase 2: openpolicy/{SICK}: it is not healthy after" in ended.err
    assert set(CORE) <= composed.running() < _of_phases(2)


def test_compose_takes_the_limits_that_guardian_writes(composed: Host) -> None:
    """`limits --write` writes a file that `docker compose config` accepts over the others, and `up` gives containers the limits in it."""
    _bring_to(composed, 1)
    written = composed.sh(f"cd /srv/in; guardian limits --write /root/limits.yml {_files('--file')}", timeout_s=180)
    assert "docker compose takes it over your files" in written
    wanted = _limits(yaml.safe_load(composed.must("cat", "/root/limits.yml")))
    assert wanted.keys() >= set(CORE)
    laid_over = f"docker compose {_files('--file', '/root/limits.yml')}"
    composed.sh(f"cd /srv/in; {laid_over} config --quiet; {laid_over} up --detach --no-deps redis gateway", timeout_s=180)
    for service in ("redis", "gateway"):
        container = composed.must("docker", "inspect", "--format", "{{.Id}}", f"openpolicy-{service}-1").strip()
        limit = composed.must("cat", f"/sys/fs/cgroup/system.slice/docker-{container}.scope/memory.max")
        assert int(limit) == wanted[service]


def _limits(override: dict[str, Any]) -> dict[str, int]:
    return {
        name: int(service["mem_limit"].removesuffix("m")) * MIB
        for name, service in override["services"].items()
        if "mem_limit" in service
    }


def test_after_a_reboot_the_host_comes_back_to_its_target(composed: Host) -> None:
    """With `target_phase: 2` what is above is stopped; after a reboot the ten below come back by admission, one after the other, and no other."""
    _bring_to(composed, 3)
    composed.configure(target_phase=2)
    composed.await_(lambda: composed.running() == _of_phases(2), "phase 3 is stopped", 300)
    before = len(_restored(composed))
    composed.reboot()
    composed.await_(lambda: composed.running() == _of_phases(2), "phases 1 and 2 run again", 600)
    composed.await_(lambda: len(_restored(composed)) == before + len(_of_phases(2)), "guardian has started each of them", 120)
    phases = [PHASES[service] for service in _restored(composed)[before:]]
    assert phases == sorted(phases)
    assert composed.status()["target_phase"] == 2


def _restored(host: Host) -> list[str]:
    """The services that guardian has started again, in order."""
    rows = [row for row in host.history() if row["action"] == "restore" and row["result"] == "done"]
    return [row["service"].partition("/")[2] for row in rows]
