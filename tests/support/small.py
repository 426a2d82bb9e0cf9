"""Four services of the reference in half a GiB, and a guardian on them: enough to shed one and restore it, and fast.

Under `press` platform_memory is soft and the first victim, kibana, is all that is needed; its restore finds room only
after `relax`. All other signals are off, so that nothing but the test decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from support.daemon import GuardianProcess
from support.platform import MIB, ReferencePlatform
from support.socket_proxy import Recorded, SocketProxy
from support.waiting import eventually

SERVICES = frozenset({"postgres", "auth-service", "grafana", "kibana"})
VICTIM = "kibana"
CAPACITY_BYTES = 512 * MIB
CALM_BYTES = 120 * MIB
PRESSED_BYTES = 220 * MIB
SOON = {"soft_for": "500ms", "hard_for": "500ms", "recover_for": "500ms"}


def small_settings(url: str) -> dict[str, Any]:
    """A configuration for it, to be changed at will and written by `as_yaml`."""
    return {
        "version": 1,
        "mode": "enforce",
        "project": "openpolicy",
        "engine": {"url": url},
        "host": {"memory": "512MiB"},
        "sampling": {"host": "250ms", "containers": "1s"},
        "thresholds": {
            **dict.fromkeys(("memory", "cpu", "swap", "memory_pressure", "disk"), "off"),
            "platform_memory": {"soft": "80%", "hard": "95%", "recover": "70%", **SOON},
        },
        "restoring": {"stable_for": "500ms", "probation": "5s", "backoff": {"min": "1s", "max": "5s"}},
        "phases": [
            {"phase": 1, "name": "core", "protected": True, "services": ["postgres"]},
            {"phase": 2, "name": "business", "services": ["auth-service"]},
            {"phase": 3, "name": "observability", "services": ["grafana", "kibana"]},
        ],
        "services": {"grafana": {"priority": 10}},
    }


def as_yaml(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(settings), sort_keys=False)


def press(platform: ReferencePlatform) -> None:
    """Memory past soft: 415 MiB and a little of 512."""
    platform.hold("postgres", PRESSED_BYTES)


def relax(platform: ReferencePlatform) -> None:
    platform.hold("postgres", CALM_BYTES)


def reset(platform: ReferencePlatform) -> None:
    """All run and hold what they hold from the start, whatever a test did to them."""
    for service in sorted(SERVICES - platform.running()):
        platform.start(service)
    relax(platform)
    eventually(lambda: all(_holds(platform, service) for service in SERVICES), "every service holds its memory")


def _holds(platform: ReferencePlatform, service: str) -> bool:
    try:
        return platform.status(service).held_bytes >= platform.memory_bytes(service)
    except AssertionError:  # its program does not answer yet
        return False


def start(guardian: GuardianProcess, under: Sequence[str] = (), log: int | None = None, **environ: str) -> None:
    """Start it, and return once it has seen the platform."""
    guardian.start(under=under, log=log, **environ)
    eventually(lambda: guardian.status()["engine"]["up"], "guardian sees the engine")


def after_ticks(guardian: GuardianProcess, count: int = 6) -> dict[str, Any]:
    """The status once the daemon has made `count` more ticks: what it would do by now, it has begun."""
    ticks = guardian.status()["ticks"] + count

    def reached() -> dict[str, Any] | None:
        status = guardian.status()
        return status if status["ticks"] >= ticks else None

    return eventually(reached, f"{count} more ticks")


def is_stop(request: Recorded) -> bool:
    return request.method == "POST" and request.route.endswith(("/stop", "/kill"))


def is_start(request: Recorded) -> bool:
    return request.method == "POST" and request.route.endswith("/start")


def is_list(request: Recorded) -> bool:
    return request.method == "GET" and request.route == "/containers/json"


def services_of(platform: ReferencePlatform, requests: Iterable[Recorded]) -> list[str]:
    """Whose containers these requests are about."""
    names = platform.ids()
    return [names[request.route.split("/")[2]] for request in requests]


def stopped_by(platform: ReferencePlatform, proxy: SocketProxy) -> list[str]:
    """Services for which a stop came through to the engine."""
    return services_of(platform, (one for one in proxy.requests if is_stop(one) and one.forwarded_s is not None))


def started_by(platform: ReferencePlatform, proxy: SocketProxy) -> list[str]:
    return services_of(platform, filter(is_start, proxy.requests))
