"""What reaches people from a running guardian, without any Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import brief_overload
from support.alertmanager import Alertmanager
from support.daemon import GuardianProcess
from support.receiver import Receiver
from support.waiting import eventually

Make = Callable[..., GuardianProcess]


def test_an_overload_reaches_an_alertmanager_and_a_webhook_and_is_taken_back(make_guardian: Make, tmp_path: Path) -> None:
    """A real Alertmanager gets an overload's two alerts while they hold and their end after it, and a webhook the same in
    words, both from an edit of the file on; the address of the webhook is in no log, status or metric.
    """
    with (
        Receiver() as pager,
        Receiver() as people,
        Alertmanager(tmp_path / "alertmanager", pager.url) as alertmanager,
    ):
        notify = f"notify: [{{webhook: '{people.url}/S3CRET', format: slack}}, {{alertmanager: '{alertmanager.url}'}}]\n"
        scenario = brief_overload.write_scenario(tmp_path / "scenario.yaml")
        guardian = make_guardian(brief_overload.config(), "--engine", "simulated", "--scenario", scenario)
        guardian.start()
        guardian.write_config(brief_overload.config(notify))
        eventually(lambda: guardian.log_lines("configuration changed"), "the receivers are taken over")

        eventually(lambda: len(alertmanager.alerts()) == 2, "both alerts hold", 40)
        labels = {one["labels"]["alertname"]: one["labels"] for one in alertmanager.alerts()}
        assert labels["GuardianShed"]["service"] == f"demo/{brief_overload.VICTIM}"
        assert labels["GuardianPressure"]["severity"] == "warning"

        eventually(lambda: guardian.status()["level"] == "ok", "the host is ok", 60)
        assert guardian.cli("restore", brief_overload.VICTIM).returncode == 0  # by itself it would wait for a minute
        eventually(lambda: alertmanager.alerts() == [], "no alert holds", 60)
        told = eventually(lambda: _complete(pager.bodies), "the pager has all of it", 20)
        assert told == {
            ("GuardianPressure", "firing"), ("GuardianPressure", "resolved"), ("GuardianShed", "firing"), ("GuardianShed", "resolved")
        }  # fmt: skip

        texts = [body["text"] for body in people.wait_for(2)]
        assert "soft: memory" in texts[0]
        assert f"stopped demo/{brief_overload.VICTIM} (phase 3) for memory" in texts[0]
        assert "over: " in texts[-1]
        shown = guardian.log_path.read_text() + str(guardian.status()) + guardian.get("/metrics").decode()
        assert "S3CRET" not in shown
        assert guardian.metric("guardian_notifications_total", channel="webhook", result="sent") >= 2
        assert guardian.metric("guardian_notifications_total", channel="alertmanager", result="sent") >= 2


def _complete(bodies: list[Any]) -> set[tuple[str, str]]:
    told = {(alert["labels"]["alertname"], alert["status"]) for body in bodies for alert in body["alerts"]}
    return told if len(told) >= 4 else set()
