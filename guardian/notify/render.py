"""A message as each kind of receiver wants it: bytes of JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from guardian import __version__
from guardian.notify.message import Alert, Message

RUNBOOK = "docs/operations.md#"


def webhook_json(message: Message) -> bytes:
    """The text and every figure behind it. Names of fields are stable, with units in them; new ones may be added; null is unknown."""
    relief = message.relief
    return _bytes(
        {
            "version": __version__,
            "host": message.host,
            "at_wall_s": message.at_wall_s,
            "mode": message.mode.value,
            "level": str(message.level),
            "title": message.title,
            "text": message.text,
            "cause": message.cause,
            "now": message.now,
            "done": list(message.done),
            "relief": {
                "expected_bytes": relief.expected_bytes,
                "measured_bytes": relief.measured_bytes,
                "expected_cores": relief.expected_cores,
                "measured_cores": relief.measured_cores,
            },
            "top": [
                {
                    "service": str(one.service),
                    "phase": one.phase,
                    "working_set_bytes": one.memory_bytes,
                    "cpu_cores": one.cpu_cores,
                }
                for one in message.top
            ],
            "disk": list(message.disk),
            "began": [_alert(one) for one in message.began],
            "ended": [_alert(one) for one in message.ended],
            "active": [_alert(one) for one in message.active],
        }
    )


def slack(message: Message) -> bytes:
    """`{"text": …}`, with the three characters escaped that mean something there; the title is bold."""
    title, _, rest = message.text.partition("\n")
    text = f"*{title}*\n{rest}" if rest else f"*{title}*"
    return _bytes({"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")})


def alertmanager(
    host: str, firing: Mapping[Alert, str], resolved: Mapping[Alert, tuple[str, float]], ends_wall_s: float
) -> bytes:
    """The body of `POST /api/v2/alerts`: each alert with its description. What fires ends by itself at `ends_wall_s` unless
    it is sent again; what is resolved carries the time at which it was over.
    """
    alerts = [_posted(host, alert, text, ends_wall_s) for alert, text in firing.items()]
    alerts += [_posted(host, alert, text, over_wall_s) for alert, (text, over_wall_s) in resolved.items()]
    return _bytes(alerts)


def _posted(host: str, alert: Alert, description: str, ends_wall_s: float) -> Mapping[str, Any]:
    return {
        "labels": {"alertname": alert.name, "instance": host, "severity": alert.severity.value, **dict(alert.labels)},
        "annotations": {
            "summary": f"{host}: {alert.summary}",
            "description": description,
            "runbook": f"{RUNBOOK}{alert.name.lower()}",
        },
        "startsAt": _time(min(alert.since_wall_s, ends_wall_s)),
        "endsAt": _time(ends_wall_s),
    }


def _alert(alert: Alert) -> Mapping[str, Any]:
    return {
        "name": alert.name,
        "severity": alert.severity.value,
        "summary": alert.summary,
        "since_wall_s": alert.since_wall_s,
        "labels": dict(alert.labels),
    }


def _time(wall_s: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")


def _bytes(value: Mapping[str, Any] | Iterable[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
