"""The rules and the dashboard that come with guardian, in a real Prometheus that scrapes it amid an overload."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import brief_overload, dashboard
from support.alertmanager import Alertmanager
from support.daemon import GuardianProcess
from support.prometheus import Prometheus
from support.receiver import Receiver
from support.waiting import eventually

RULES = Path(__file__).parents[2] / "config/prometheus/guardian.rules.yml"
HOSTS = ("alpha", "beta")  # one guardian by two names: a fleet
EXPECTED = {"GuardianPressure", "GuardianHardPressure", "GuardianExhausted"}


def test_an_overload_raises_its_alerts_and_no_other_and_fills_the_dashboard(
    make_guardian: Callable[..., GuardianProcess], tmp_path: Path
) -> None:
    """Of an overload that nothing can end, the three alerts for it reach a receiver through a real Prometheus and a real
    Alertmanager, each is taken back after it, no other comes; and every query of the dashboard has something to show.

    The rules wait for seconds here where they wait for minutes.
    """
    rules = tmp_path / "rules.yml"
    rules.write_text(re.sub(r"for: (\d+)m\b", r"for: \1s", RULES.read_text()))
    scenario = brief_overload.write_scenario(tmp_path / "scenario.yaml", brief_overload.EXHAUSTING)
    guardian = make_guardian(brief_overload.config(web_protected=True), "--engine", "simulated", "--scenario", scenario)
    guardian.start()
    assert guardian.cli("storage", "--refresh").returncode == 0
    target = guardian.url.removeprefix("http://")
    with (
        Receiver() as people,
        Alertmanager(tmp_path / "alertmanager", people.url) as alertmanager,
        Prometheus(tmp_path / "prometheus", target, HOSTS, rules, alertmanager.address) as prometheus,
    ):
        wanted = {(name, host) for name in EXPECTED for host in HOSTS}
        eventually(lambda: _told(people.bodies, "firing") >= wanted, "the alerts", 60)
        eventually(lambda: _told(people.bodies, "resolved") >= wanted, "their end", 60)
        assert _told(people.bodies, "firing") == wanted

        assert guardian.cli("restore", brief_overload.VICTIM).returncode == 0
        board = dashboard.load()
        left = dict(dashboard.queries(board))
        eventually(lambda: not _empty(prometheus, left), f"a value for each of {left}", 20, every_s=1)
        for target_of_table in next(panel for panel in board["panels"] if panel["title"] == "Hosts")["targets"]:
            rows = prometheus.query(dashboard.filled(target_of_table["expr"]))
            assert {row["metric"]["instance"] for row in rows} == set(HOSTS)
        assert {labels["instance"] for labels in prometheus.series("guardian_build_info")} == set(HOSTS)


def _empty(prometheus: Prometheus, left: dict[str, str]) -> list[str]:
    """Those of `left` that give nothing; the others are taken out of it."""
    for where in [where for where, query in left.items() if prometheus.query(dashboard.filled(query))]:
        del left[where]
    return list(left)


def _told(bodies: list[Any], status: str) -> set[tuple[str, str]]:
    return {
        (alert["labels"]["alertname"], alert["labels"]["instance"])
        for body in bodies
        for alert in body["alerts"]
        if alert["status"] == status
    }
