"""Health, restarts and the report, on a real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.ports import free_port
from support.private_engine import PrivateEngine
from support.waiting import eventually

SICK = "auth-service"


def test_an_outage_is_probed_restarted_by_rule_and_named_by_the_report(
    standin_engine: PrivateEngine,
    make_platform: Callable[..., ReferencePlatform],
    make_guardian: Callable[..., GuardianProcess],
    tmp_path: Path,
) -> None:
    """A service that answers 503 is unhealthy by its probe and restarted by rule, once; it is well again, nothing is owed,
    nobody is said to have stopped it, and the report names the outage and the restart.
    """
    port = free_port()
    platform = make_platform(
        only={"postgres", SICK},
        memory_bytes=40 << 20,
        environment={SICK: {"STANDIN_PORT": str(port)}},
        options={SICK: {"HostConfig": {"NetworkMode": "host"}}},
    )
    settings: dict[str, Any] = small.small_settings(standin_engine.url)
    settings["thresholds"] = dict.fromkeys(settings["thresholds"], "off")
    settings["phases"] = [{"phase": 1, "services": ["postgres"]}, {"phase": 2, "services": [SICK]}]
    health = {"http": f"http://127.0.0.1:{port}/", "interval": "1s", "timeout": "1s", "retries": 2, "start_period": "0s"}
    settings["services"] = {SICK: {"health": {**health, "restart": True}}}
    settings["objectives"] = {"response_time": "2s", "availability": "99.9%", "healthy": "100%"}
    settings["state_dir"] = str(tmp_path / "guardian" / "state")
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    labels = {"project": "openpolicy", "service": SICK}
    eventually(lambda: guardian.metric("guardian_service_healthy", **labels) == 1, "it is well by its probe")

    platform.sick(SICK)
    eventually(lambda: guardian.metric("guardian_actions_total", action="restart", result="done") == 1, "it is restarted")
    eventually(lambda: guardian.metric("guardian_service_healthy", **labels) == 1, "it is well again")
    assert platform.status(SICK).well
    assert guardian.metric("guardian_probe_failures_total", **labels) >= 2
    assert guardian.metric("guardian_service_shed") == 0
    assert guardian.metric("guardian_ledger_open") == 0
    assert [row["action"] for row in guardian.history()] == ["restart"]
    save = ("baseline", "save", "before", "--config", str(guardian.config_path))
    eventually(lambda: guardian.cli(*save).returncode == 0, "figures are there to make a baseline of", every_s=1.0)

    assert guardian.stop() == 0
    report = guardian.cli("report", "--json", "--config", str(guardian.config_path))
    assert report.returncode == 0, report.stderr
    found = json.loads(report.stdout)
    services = {one["service"]: one for one in found["services"]}
    assert [(one["service"], one["result"]) for one in found["restarts"]] == [(f"openpolicy/{SICK}", "done")]
    assert services[f"openpolicy/{SICK}"]["unhealthy_s"] > 0
    assert services[f"openpolicy/{SICK}"]["failures"] >= 2
    assert services[f"openpolicy/{SICK}"]["network_unknown"] == "host network"
    assert (services["openpolicy/postgres"]["unhealthy_s"], services["openpolicy/postgres"]["down_s"]) == (0, 0)
    assert {one["objective"]: one["met"] for one in found["objectives"]} == {
        "response_time": True, "availability": False, "healthy": False,
    }  # fmt: skip
    assert found["sheds"] == []
    assert found["baseline"]["name"] == "before"
