"""A report as data: pure. Units stand in the names; None is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from guardian.objectives.episodes import Restart, Shed
from guardian.objectives.evaluate import Aim, Window, availability, healthy, verdicts
from guardian.objectives.figures import ERROR, answer_s, percentile
from guardian.objectives.rows import PhaseHour, ServiceHour

TOP = 5
VERSION = 1


def report(
    window: Window,
    sheds: Iterable[Shed] | None,
    restarts: Iterable[Restart] | None,
    made_wall_s: float,
) -> dict[str, Any]:
    """All that a report says. `sheds` and `restarts` None: the history could not be read."""
    services = [_service(str(key), one, window) for key, one in sorted(window.services.items(), key=_by_phase)]
    return {
        "version": VERSION,
        "made_wall_s": made_wall_s,
        "from_wall_s": window.from_wall_s,
        "until_wall_s": window.until_wall_s,
        "watched_s": window.watched_s,
        "unknown_s": window.unknown_s,
        "percentile_error_ratio": ERROR,
        "objectives": [_objective(one.aim, one.target, one.met, one.findings) for one in verdicts(window)],
        "services": services,
        "phases": [_phase(one, services) for _, one in sorted(window.phases.items())],
        "sheds": None if sheds is None else [{**asdict(one), "seconds": one.seconds(made_wall_s)} for one in sheds],
        "restarts": None if restarts is None else [asdict(one) for one in restarts],
        "top": {
            figure: [one["service"] for one in sorted(services, key=lambda one: -(one[figure] or 0))[:TOP] if one[figure]]
            for figure in ("memory_mean_bytes", "cpu_mean_cores")
        },
    }


def _by_phase(item: tuple[Any, ServiceHour]) -> tuple[int, str, str]:
    key, one = item
    return one.phase, key.project, key.name


def _objective(aim: Aim, target: float, met: bool | None, findings: Iterable[Any]) -> dict[str, Any]:
    return {
        "objective": aim.value,
        "target": target,
        "met": met,
        "of": [
            {
                "subject": one.subject,
                "value": one.value,
                "met": one.met,
                "error_budget_ratio": one.budget_ratio,
                "error_budget_s": one.budget_s,
            }
            for one in findings
        ],
    }


def _service(name: str, one: ServiceHour, window: Window) -> dict[str, Any]:
    return {
        "service": name,
        "phase": one.phase,
        "availability_ratio": availability(one),
        "up_s": one.up_s,
        "unhealthy_s": one.unhealthy_s,
        "down_s": one.down_s,
        "shed_s": one.shed_s,
        "absent_s": one.absent_s,
        "completed_s": one.completed_s,
        "unknown_s": window.unknown_of(one),
        "healthy_ratio": healthy(one),
        "probes": one.probes,
        "failures": one.failures,
        "error_ratio": one.failures / one.probes if one.probes else None,
        "response_p50_s": answer_s(one.answers, 0.5),
        "response_p95_s": answer_s(one.answers, 0.95),
        "memory_mean_bytes": one.byte_s / one.use_s if one.use_s else None,
        "memory_most_bytes": one.most_bytes if one.use_s else None,
        "cpu_mean_cores": one.core_s / one.use_s if one.use_s else None,
        "cpu_most_cores": one.most_cores if one.use_s else None,
        "rx_bytes_per_s": one.rx_bytes / one.network_s if one.network_s else None,
        "tx_bytes_per_s": one.tx_bytes / one.network_s if one.network_s else None,
        "network_unknown": one.network or None,
    }


def _phase(one: PhaseHour, services: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Use is of phases 1 to this one together, as budgets are; traffic is of this one alone, as far as it is known."""
    own = [service for service in services if service["phase"] == one.phase]
    traffic = [
        service["rx_bytes_per_s"] + service["tx_bytes_per_s"] for service in own if service["rx_bytes_per_s"] is not None
    ]
    return {
        "phase": one.phase,
        "name": one.name,
        "memory_budget_bytes": one.memory_budget_bytes,
        "memory_mean_bytes": one.byte_s / one.use_s if one.use_s else None,
        "memory_p95_ratio": _ratio(percentile(one.memory_s, 0.95)),
        "memory_most_ratio": _ratio(max(one.memory_s, default=None)),
        "cpu_budget_cores": one.cpu_budget_cores,
        "cpu_mean_cores": one.core_s / one.use_s if one.use_s else None,
        "cpu_p95_ratio": _ratio(percentile(one.cpu_s, 0.95)),
        "cpu_most_ratio": _ratio(max(one.cpu_s, default=None)),
        "traffic_bytes_per_s": sum(traffic) if traffic else None,
        "traffic_of_services": len(traffic),
        "services": len(own),
    }


def _ratio(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
