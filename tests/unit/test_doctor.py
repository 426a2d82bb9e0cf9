"""What the doctor says of a host, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.fake_daemon import FakeDaemon
from support.messages import never_made, reached
from support.waiting import eventually

from guardian.cli.main import main
from guardian.config.compare import Finding, FindingKind
from guardian.config.load import loads
from guardian.doctor import look as looks
from guardian.doctor.facts import Diagnosis, Facts, Process, Room, Unit, Verdict
from guardian.doctor.judge import judge
from guardian.doctor.look import look
from guardian.model import EngineInfo

GIB = 1024**3
LEAST = "version: 1\nproject: demo\nphases: [{phase: 1, services: [db, web]}]\n"
ENGINE = EngineInfo("id", "host1", "26.1.5", "1.45", 2, 4, 8 * GIB, "/var/lib/docker")
HEALTHY = Facts(
    user="guardian",
    config_path="/etc/guardian/guardian.yaml",
    config=loads(LEAST, "guardian.yaml"),
    engine_url="unix:///var/run/docker.sock",
    engine=ENGINE,
    images=(("demo-db-1", "postgres:16"),),
    cgroup_version=2,
    state_dir=Room("/var/lib/guardian", True, True, 10 * GIB, 20 * GIB),
    engine_root=Room("/var/lib/docker", True, False, 60 * GIB, 100 * GIB),
    systemd=True,
    unit=Unit("loaded", "active", "enabled"),
    status={"version": "0.1.0", "mode": "enforce", "level": "ok", "config_pending": [], "shed": []},
    oom_score_adj=-900,
    clock_synchronised=True,
)


def troubles(facts: Facts) -> list[Diagnosis]:
    return [one for one in judge(facts) if one.verdict is not Verdict.OK]


def test_a_host_that_is_well_has_nothing_to_mend() -> None:
    """On a host where all is well every diagnosis is ok, there is one for each thing that is looked at, and nothing to do."""
    found = judge(HEALTHY)
    assert troubles(HEALTHY) == []
    assert {one.check for one in found} == {
        *("configuration", "engine", "api", "cgroups", "psi", "permissions", "disk", "clock", "unit", "daemon", "platform"),
        "peers",
    }
    assert not any(one.do for one in found)


def with_status(**changes: Any) -> Facts:
    return replace(HEALTHY, status={**(HEALTHY.status or {}), **changes})


def found(kind: FindingKind, *subjects: str) -> Facts:
    return replace(HEALTHY, compared=tuple(Finding(kind, subject, f"{subject} is odd") for subject in subjects))


def runs(name: str, *arguments: str) -> Facts:
    return replace(HEALTHY, processes=(Process(name, arguments),))


def contains(image: str) -> Facts:
    return replace(HEALTHY, images=(("helper", image),))


ROOM = HEALTHY.engine_root or Room("", False, False)
STATE = HEALTHY.state_dir or Room("", False, False)
# What is the matter -> check, verdict, a part of what is said, a part of what to do.
CASES: dict[str, tuple[Facts, str, str, str, str]] = {
    "mistakes": (replace(HEALTHY, config=None, mistakes=("f:3: mode: no", "f:4: x: no")), "configuration", "fail", "f:3: mode: no (and 1 more)", "guardian check"),
    "no file": (replace(HEALTHY, config=None, missing=True, mistakes=("f: cannot be read",)), "configuration", "fail", "f: cannot be read", "guardian init"),
    "doubts": (replace(HEALTHY, doubts=("mode: nothing will be done",)), "configuration", "warn", "nothing will be done", "unless"),
    "no engine": (replace(HEALTHY, engine=None, engine_problem="no connection"), "engine", "fail", "no connection", "start Docker"),
    "old api": (replace(HEALTHY, engine=replace(ENGINE, api_version="1.40")), "api", "fail", "1.41 is needed", "20.10"),
    "no cgroups": (replace(HEALTHY, cgroup_version=None), "cgroups", "warn", "cannot be read", "cgroup_enable=memory"),
    "other cgroups": (replace(HEALTHY, cgroup_version=1), "cgroups", "warn", "cgroup v2, and this host has v1", "own host"),
    "no psi": (replace(HEALTHY, pressure_problem="this kernel tells no pressure"), "psi", "warn", "no pressure", "psi=1"),
    "no triggers": (replace(HEALTHY, trigger_problem="not permitted"), "psi", "warn", "not permitted", "CAP_SYS_RESOURCE"),
    "no state dir": (replace(HEALTHY, state_dir=replace(STATE, exists=False, writable=False)), "permissions", "warn", "not there yet", "install -d"),
    "read-only state dir": (replace(HEALTHY, state_dir=replace(STATE, writable=False)), "permissions", "warn", "may not write", "guardian doctor --help"),
    "no signals": (replace(HEALTHY, signal_problem="no CAP_KILL"), "permissions", "warn", "no CAP_KILL", "as the unit does"),
    "soft disk": (replace(HEALTHY, engine_root=replace(ROOM, free_bytes=10 * GIB)), "disk", "warn", "90.0% in use", "guardian storage"),
    "full disk": (replace(HEALTHY, engine_root=replace(ROOM, free_bytes=GIB)), "disk", "fail", "nothing is started", "guardian storage"),
    "unseen disk": (replace(HEALTHY, engine_root=None), "disk", "skip", "not seen from here", ""),
    "small state dir": (replace(HEALTHY, state_dir=replace(STATE, free_bytes=1000)), "disk", "warn", "1000 B left", "make room"),
    "clock": (replace(HEALTHY, clock_synchronised=False), "clock", "warn", "not synchronised", "timesyncd"),
    "unknown clock": (replace(HEALTHY, clock_synchronised=None), "clock", "skip", "cannot be told", ""),
    "no systemd": (replace(HEALTHY, systemd=False, unit=None), "unit", "skip", "no systemd", ""),
    "no unit": (replace(HEALTHY, unit=Unit("not-found", "inactive", "")), "unit", "warn", "does not know", "install systemd/guardian.service"),
    "not at boot": (replace(HEALTHY, unit=Unit("loaded", "active", "disabled")), "unit", "warn", "disabled", "systemctl enable guardian"),
    "not running": (replace(HEALTHY, unit=Unit("loaded", "failed", "enabled")), "unit", "fail", "is failed", "journalctl"),
    "no daemon": (replace(HEALTHY, status=None, daemon_problem="nobody answers"), "daemon", "warn", "nobody answers", "--control"),
    "edits wait": (with_status(config_pending=["a", "b"]), "daemon", "warn", "2 changes", "guardian reload"),
    "left enforce": (with_status(mode="observe", shed=[{}]), "daemon", "warn", "nothing restores them", "restore --all"),
    "oom score": (replace(HEALTHY, oom_score_adj=0), "daemon", "warn", "adjustment is 0", "OOMScoreAdjust=-900"),
    "missing": (found(FindingKind.MISSING, "a", "b", "c", "d"), "platform", "warn", "4 in the file without a container: a, b, c and 1 more", "check --engine"),
    "unmanaged": (found(FindingKind.UNMANAGED, "x"), "platform", "warn", "1 running in no phase: never stopped: x", "into a phase"),
    "unsheddable": (found(FindingKind.UNSHEDDABLE, "x"), "platform", "warn", "requires them", "requires"),
    "no limit": (found(FindingKind.NO_MEMORY_LIMIT, "x"), "platform", "warn", "without a memory limit", "limits"),
    "no health": (found(FindingKind.NO_HEALTH_CHECK, "x"), "platform", "warn", "without a health check", "health"),
    "a label": (found(FindingKind.PROBLEM, "x"), "platform", "warn", "x is odd", "mend"),
    "earlyoom": (runs("earlyoom", "-r", "60"), "peers", "warn", "10% of memory is left", "-m 3"),
    "early earlyoom": (runs("earlyoom", "-m", "15,10"), "peers", "warn", "15% of memory is left", "-m 3"),
    "systemd-oomd": (runs("systemd-oomd"), "peers", "warn", "whole cgroups", "oomctl"),
    "oomd": (runs("oomd"), "peers", "warn", "whatever its phase", "stop it"),
    "nohang": (runs("nohang"), "peers", "warn", "whatever its phase", "stop it"),
    "kubelet": (runs("kubelet"), "peers", "warn", "evicts", "leave this host"),
    "autoheal": (contains("willfarrell/autoheal:1.2.0"), "peers", "warn", "restarts what is unhealthy", "health.restart"),
    "watchtower": (contains("ghcr.io/nicholas-fedor/watchtower@sha256:0123"), "peers", "warn", "creates containers anew", "watchtower.enable=false"),
    "in a container": (replace(HEALTHY, in_container=True), "peers", "skip", "not seen", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_with_what_to_do(case: str) -> None:
    """Each trouble is the only one that is found, with its weight, what it is, and what to do."""
    facts, check, verdict, says, do = CASES[case]
    (one,) = troubles(facts)
    assert (one.check, one.verdict.value) == (check, verdict)
    assert says in one.says
    assert do in one.do
    assert bool(one.do) is (verdict != "skip")


def test_no_diagnosis_is_missing_here() -> None:
    """Every diagnosis that there is comes of a host that is well, or of a trouble of this table."""
    elsewhere = replace(HEALTHY, engine_url="tcp://other:2376")
    slow = replace(HEALTHY, engine=replace(ENGINE, api_version="1.41"), cgroup_version=None)
    with reached("doctor/judge.py") as lines:
        for facts in (HEALTHY, elsewhere, slow, runs("earlyoom", "-m", "4"), *(row[0] for row in CASES.values())):
            judge(facts)
    assert not never_made(lines, {"Diagnosis"}, "doctor/judge.py")


def test_an_engine_that_is_slow_to_tell_use_is_a_trouble_only_where_files_do_not_tell() -> None:
    """An engine that takes a second for each reading is warned of where cgroup files cannot be read, and else not."""
    old = replace(HEALTHY, engine=replace(ENGINE, api_version="1.41"))
    assert troubles(old) == []
    slow = {one.check: one for one in troubles(replace(old, cgroup_version=None))}
    assert slow.keys() == {"api", "cgroups"}
    assert "Docker 23" in slow["api"].do


@pytest.mark.parametrize("arguments", [("-m", "4"), ("-m", "9,5"), ("-m5",), ("-r", "60", "-m", "3", "-s", "100")])
def test_an_earlyoom_that_comes_after_guardian_is_no_trouble(arguments: tuple[str, ...]) -> None:
    """An earlyoom whose mark is below what guardian's hard mark leaves free is a last resort, and no trouble."""
    assert troubles(runs("earlyoom", *arguments)) == []


@pytest.mark.parametrize("image", ["registry:5000/team/heal:1", "demo/watch-tower", "postgres", "autoheal.example/app:2"])
def test_an_image_of_another_name_is_no_peer(image: str) -> None:
    """Only the program's own name counts, not the registry's or a part of another word."""
    assert troubles(contains(image)) == []


def test_an_engine_elsewhere_is_judged_by_what_is_seen_from_here() -> None:
    """With the engine on another host, this host's cgroups and signals say nothing."""
    facts = replace(HEALTHY, engine_url="tcp://other:2376", cgroup_version=None, signal_problem="no", engine_root=None)
    assert [(one.check, one.verdict) for one in troubles(facts)] == [("cgroups", Verdict.SKIP), ("disk", Verdict.SKIP)]


# --- looking --------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guardian.yaml"
    path.write_text(
        LEAST
        + f"engine: {{url: 'unix://{tmp_path}/docker.sock'}}\nstate_dir: {tmp_path}/state\nweb: {{control: {tmp_path}/c.sock}}\n"
    )
    return path


def test_what_is_not_there_is_a_fact_and_no_failure(file: Path, tmp_path: Path) -> None:
    """Without an engine, a daemon and a state directory all the rest is found out, and nothing is made."""
    facts = look(file, None, {})
    assert facts.config is not None
    assert facts.engine is None
    assert "no such socket" in facts.engine_problem
    assert facts.state_dir == replace(facts.state_dir or STATE, path=f"{tmp_path}/state", exists=False, writable=False)
    assert facts.state_dir.free_bytes
    assert facts.oom_score_adj is None
    assert facts.user
    assert not (tmp_path / "state").exists()


def test_a_broken_file_keeps_nothing_from_being_looked_at(file: Path) -> None:
    """With a file that cannot be used the kernel and the peers are looked at all the same."""
    file.write_text("version: 1\nmdoe: x\n")
    facts = look(file, None, {})
    assert facts.config is None
    assert len(facts.mistakes) >= 2
    assert facts.clock_synchronised is not None


def test_a_program_that_fights_is_found_by_its_name(file: Path, tmp_path: Path) -> None:
    """A running program of the name earlyoom is found, with its arguments."""
    program = tmp_path / "earlyoom"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            eventually(lambda: Process("earlyoom", ("60",)) in look(file, None, {}).processes, "it is found")
        finally:
            process.kill()


def test_the_unit_is_asked_of_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What systemctl says of the unit is read; without systemctl nothing is known of it."""
    program = tmp_path / "systemctl"
    program.write_text(
        "#!/bin/sh\n[ $1 = show ] && printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert looks._unit() == Unit("loaded", "active", "enabled")
    monkeypatch.setenv("PATH", "/nowhere")
    assert looks._unit() is None


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def doctor(file: Path) -> Callable[..., Any]:
    return lambda *arguments: CliRunner(env={"NO_COLOR": "1"}).invoke(main, ["doctor", "--config", str(file), *arguments])


def test_it_ends_with_1_where_something_is_in_the_way(doctor: Callable[..., Any]) -> None:
    """Without an engine it ends with 1, and says so in words and in JSON, each with what to do."""
    result = doctor()
    assert result.exit_code == 1
    assert "fail  engine" in result.stdout
    assert "→ start Docker" in result.stdout
    shown = json.loads(doctor("--json").stdout)
    assert shown["ok"] is False
    (engine,) = [one for one in shown["findings"] if one["check"] == "engine"]
    assert (engine["verdict"], engine["do"].startswith("start Docker")) == ("fail", True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(tmp_path / "c.sock")
    yield daemon
    daemon.close()


def test_it_ends_with_0_where_guardian_can_work(
    doctor: Callable[..., Any], daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With warnings alone it ends with 0; the daemon is asked, and its own process looked at."""
    seen: list[Facts] = []

    def looked(path: Path, control: Path | None) -> Facts:
        seen.append(look(path, control))
        return replace(HEALTHY, clock_synchronised=False, status=None, oom_score_adj=seen[0].oom_score_adj)

    monkeypatch.setattr("guardian.cli.doctor.look", looked)
    result = doctor()
    assert result.exit_code == 0, result.stdout
    assert "warn  clock" in result.stdout
    assert "ok    daemon" in result.stdout
    assert seen[0].oom_score_adj == int(Path("/proc/self/oom_score_adj").read_text())
