"""Guardian as a service of systemd on Debian 13, installed as the README says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import yaml
from host.guarded import CONFIG, Host


@pytest.fixture(autouse=True)
def _running(host: Host) -> None:
    """Every test begins with guardian running."""
    host.must("systemctl", "start", "guardian", timeout_s=120)


def _main_pid(host: Host) -> str:
    return host.unit("MainPID")["MainPID"]


def test_what_the_readme_says_installs_and_starts_it(host: Host) -> None:
    """The README's commands install it, and systemd holds it for started once it says READY."""
    assert host.unit("Type", "ActiveState", "SubState", "NRestarts", "UnitFileState") == {
        "Type": "notify",
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
        "UnitFileState": "enabled",
    }
    assert host.must("guardian", "version").strip()


def test_it_sees_the_engine_and_every_service(host: Host) -> None:
    """It sees Debian 13's Docker 26 with cgroup v2, and all 32 services running."""
    status = host.status()
    assert status["engine"]["up"]
    assert status["engine"]["version"].startswith("26.")
    assert int(status["engine"]["cgroup_version"]) == 2
    assert {service["state"] for service in status["services"]} == {"running"}
    assert len(status["services"]) == 32


def test_it_reads_all_that_the_host_offers(host: Host) -> None:
    """The unit's hardening hides nothing that it reads: every signal but swap, which there is none of, has a value, and no reading failed."""
    signals = {one["signal"]: one["value_ratio"] for one in host.status()["signals"]}
    unknown = {signal for signal, value in signals.items() if value is None}
    assert unknown <= {"swap"}
    failures = {
        series: value for series, value in host.metrics().items() if series.startswith("guardian_sample_failures_total")
    }
    assert failures
    assert {series: value for series, value in failures.items() if value} == {}


def test_its_log_has_no_error(host: Host) -> None:
    """It logs neither an error nor a traceback from its installation on."""
    log = host.must("journalctl", "--unit", "guardian", "--output", "cat", "--no-pager")
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if '"level":"error"' in line.replace(" ", "")] == []


def test_its_exposure_is_recorded(host: Host, record: Callable[[str, object], None]) -> None:
    """`systemd-analyze security` of systemd 257 knows its exposure."""
    said = host.must("systemd-analyze", "security", "--no-pager", "guardian")
    found = re.search(r"Overall exposure level for guardian.service: ([\d.]+)", said)
    assert found
    record("exposure", {"guardian.service": float(found[1])})


def test_reload_applies_the_file(host: Host) -> None:
    """`systemctl reload` applies an edited file, and the process stays."""
    pid = _main_pid(host)
    text = host.must("cat", CONFIG)
    try:
        host.configure(thresholds={"memory": {"soft": "81%"}})
        host.await_(lambda: _soft(host) == pytest.approx(0.81), "the edited threshold is in use", 30)
        assert _main_pid(host) == pid
    finally:
        host.must("tee", CONFIG, stdin=text)
        host.must("systemctl", "reload", "guardian")
    host.await_(lambda: _soft(host) == pytest.approx(0.80), "the old threshold is in use again", 30)


def _soft(host: Host) -> float:
    return next(float(one["soft_ratio"]) for one in host.status()["signals"] if one["signal"] == "memory")


def test_a_file_with_mistakes_changes_nothing(host: Host) -> None:
    """A reload of a file with mistakes leaves it running with the old one."""
    text = host.must("cat", CONFIG)
    values = yaml.safe_load(text)
    try:
        host.must("tee", CONFIG, stdin=yaml.safe_dump({**values, "phases": "none"}))
        host.run("systemctl", "reload", "guardian")
        host.await_(
            lambda: host.metrics()["guardian_config_last_reload_successful"] == 0,
            "the mistake is shown",
            30,
        )
        assert len(host.status()["services"]) == 32
    finally:
        host.must("tee", CONFIG, stdin=text)
        host.must("systemctl", "reload", "guardian")


def test_stop_ends_it_well_and_start_begins_anew(host: Host) -> None:
    """`systemctl stop` ends it within its time-out and with success, and `start` returns once it is ready again."""
    begun, ended = host.sh("date +%s.%N; systemctl stop guardian; date +%s.%N").split()
    assert float(ended) - float(begun) < 10
    assert host.unit("Result", "ActiveState", "ExecMainStatus") == {
        "Result": "success",
        "ExecMainStatus": "0",
        "ActiveState": "inactive",
    }
    host.must("systemctl", "start", "guardian", timeout_s=120)
    assert host.status()["engine"]["up"]
    assert len(host.running()) == 32


def test_systemd_restarts_a_frozen_loop(host: Host, record: Callable[[str, object], None]) -> None:
    """A process that is frozen feeds the watchdog no more: systemd ends it, and starts another that is ready."""
    pid = _main_pid(host)
    host.must("kill", "-STOP", pid)
    host.await_(lambda: _main_pid(host) not in (pid, "0"), "systemd starts another", 180)
    host.await_(lambda: host.unit("ActiveState")["ActiveState"] == "active", "the other is ready", 120)
    log = host.must("journalctl", "--unit", "guardian", "--output", "json", "--no-pager", "--lines", "200")
    lines = [json.loads(line) for line in log.splitlines()]
    said = " ".join(str(line["MESSAGE"]) for line in lines)
    assert "Watchdog timeout" in said
    assert int(host.unit("NRestarts")["NRestarts"]) == 1
    assert len(host.status()["services"]) == 32
    record("watchdog", {"restarts": 1})
