"""What `/api/v1/status` and `guardian status` show: one snapshot as plain values, ready for JSON.

Names of fields are stable, with units in them; new ones may be added. None means unknown. Services are written as
`project/service`. Times ending in `_wall_s` are seconds since the Unix epoch. Nothing of a container's environment, labels
or command is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardian import __version__
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import Entry, HistoryRow
from guardian.model import (
    CPU_SIGNALS,
    Candidate,
    Deficit,
    EngineInfo,
    Held,
    HostReading,
    PhaseUse,
    ServiceState,
    ServiceStatus,
    SignalStatus,
)
from guardian.rollout.progress import KnownRollOut


def status(snapshot: Snapshot) -> dict[str, Any]:
    """Everything that one tick knew and decided."""
    assessment, decision, controls = snapshot.assessment, snapshot.decision, snapshot.controls
    return {
        "version": __version__,
        "mode": snapshot.mode.value,
        "at_wall_s": snapshot.at_wall_s,
        "ticks": snapshot.ticks,
        "level": str(assessment.level),
        "disk_level": str(assessment.disk_level),
        "engine": {"up": snapshot.engine_up, **_engine(snapshot.engine)},
        "host": _host(snapshot.sample.host),
        "memory_fill_bytes_per_s": assessment.fill_bytes_per_s,
        "memory_full_in_s": assessment.full_in_s,
        "signals": [_signal(one, snapshot) for one in assessment.signals],
        "deficits": [_deficit(one) for one in snapshot.decision.deficits],
        "phases": [_phase(one) for one in assessment.phases],
        "services": [_service(one) for one in assessment.services],
        "shed": [_entry(one) for one in snapshot.entries],
        "quarantined": [str(key) for key in snapshot.quarantined],
        "held": [_held(one) for one in decision.held],
        "holds": list(decision.holds),
        "hold_by": controls.hold or None,
        "standby": {
            "active": decision.standby,
            "until_wall_s": controls.standby_until_wall_s,  # JSON has no infinity: null while active means until told otherwise
            "by": controls.standby_by or None,
        },
        "pins": sorted(str(key) for key in controls.pins),
        "next": {
            "shed": None if decision.next_shed is None else _candidate(decision.next_shed),
            "restore": None if decision.next_restore is None else str(decision.next_restore),
        },
        "candidates": [_candidate(one) for one in decision.candidates],
        "exhausted": decision.exhausted,
        "emergency": decision.emergency,
        "ineffective": [signal.value for signal in decision.ineffective],
        "in_flight": list(snapshot.in_flight),
        "unmanaged": list(assessment.unmanaged),
        "config_pending": list(snapshot.config_pending),
        "storage": _storage(snapshot),
        "target_phase": snapshot.config.target_phase,
        "rollout": None if snapshot.rollout is None else _rollout(snapshot.rollout),
    }


def _rollout(known: KnownRollOut) -> Mapping[str, Any]:
    one = known.progress
    return {
        "state": known.state.value,
        "goal_phase": one.goal,
        "down": one.down,
        "phase": one.phase,
        "reached_phase": one.reached,
        "by": one.by,
        "began_wall_s": one.began_wall_s,
        "ended_wall_s": one.ended_wall_s,
        "failed_service": one.failure.service or None if one.failure is not None else None,
        "failed_because": None if one.failure is None else one.failure.why,
    }


def history_row(row: HistoryRow) -> dict[str, Any]:
    """One row of `/api/v1/history`. `deficit` is in bytes, or cores where `signal` is one of CPU."""
    return {
        "at_wall_s": row.at_wall_s,
        "action": str(row.action),
        "service": None if row.service is None else str(row.service),
        "phase": row.phase,
        "reason": row.reason,
        "result": str(row.result),
        "signal": row.signal or None,
        "value_ratio": row.value,
        "threshold_ratio": row.threshold,
        "deficit": row.deficit,
        "expected_relief_bytes": row.expected_bytes,
        "measured_relief_bytes": row.measured_bytes,
        "by": row.by or None,
        "detail": row.detail,
        "id": row.action_id or None,
    }


def _engine(engine: EngineInfo | None) -> Mapping[str, Any]:
    """Empty before the engine has answered once."""
    if engine is None:
        return {}
    return {
        "name": engine.name,
        "version": engine.version,
        "api_version": engine.api_version,
        "cgroup_version": engine.cgroup_version,
        "cpus": engine.cpus,
        "memory_bytes": engine.memory_bytes,
    }


def _host(host: HostReading | None) -> Mapping[str, Any] | None:
    if host is None:
        return None
    return {
        "cores": host.cores,
        "memory_total_bytes": host.memory_total_bytes,
        "memory_available_bytes": host.memory_available_bytes,
        "swap_total_bytes": host.swap_total_bytes,
        "swap_used_bytes": host.swap_used_bytes,
        "cpu_ratio": host.cpu_ratio,
        "cpu_some_avg10_ratio": host.cpu_some_avg10_ratio,
        "memory_some_avg10_ratio": host.memory_some_avg10_ratio,
        "memory_full_avg10_ratio": host.memory_full_avg10_ratio,
        "io_some_avg10_ratio": host.io_some_avg10_ratio,
        "io_full_avg10_ratio": host.io_full_avg10_ratio,
        "disk_total_bytes": host.disk_total_bytes,
        "disk_available_bytes": host.disk_available_bytes,
    }


def _signal(one: SignalStatus, snapshot: Snapshot) -> Mapping[str, Any]:
    level_for_s = max(0.0, snapshot.at_s - one.since_s)
    return {
        "signal": one.signal.value,
        "value_ratio": one.value,
        "level": str(one.level),
        "since_wall_s": snapshot.at_wall_s - level_for_s,
        "level_for_s": level_for_s,
        "soft_ratio": one.soft,
        "hard_ratio": one.hard,
        "recover_ratio": one.recover,
    }


def _deficit(one: Deficit) -> Mapping[str, Any]:
    unit = "cores" if one.signal in CPU_SIGNALS else "bytes"
    return {
        "signal": one.signal.value,
        "level": str(one.level),
        f"total_{unit}": one.total,
        f"pending_{unit}": one.pending,
        f"open_{unit}": one.open,
    }


def _phase(one: PhaseUse) -> Mapping[str, Any]:
    return {
        "phase": one.phase,
        "name": one.name,
        "memory_bytes": one.memory_bytes,
        "memory_budget_bytes": one.memory_budget_bytes,
        "cpu_cores": one.cpu_cores,
        "cpu_budget_cores": one.cpu_budget_cores,
        "storage_bytes": one.storage_bytes,
        "storage_budget_bytes": one.storage_budget_bytes,
        "over": list(one.over),
        "services": {state.value: one.services.get(state, 0) for state in ServiceState},
    }


def _service(one: ServiceStatus) -> Mapping[str, Any]:
    return {
        "service": str(one.key),
        "phase": one.phase,
        "state": one.state.value,
        "containers": list(one.containers),
        "running": one.running,
        "healthy": one.healthy,
        "protected": one.protected or one.protect,
        "pinned": one.pinned,
        "enforced": one.enforced,
        "working_set_bytes": one.working_set_bytes,
        "footprint_bytes": one.footprint_bytes,
        "memory_limit_bytes": one.memory_limit_bytes,
        "cpu_cores": one.cpu_cores,
        "restarts": one.restarts,
        "oom_kills": one.strain.oom_kills,
        "pids": one.strain.pids,
        "cpu_periods": one.strain.cpu_periods,
        "cpu_throttled_periods": one.strain.cpu_throttled_periods,
        "memory_some_avg10_ratio": one.strain.memory_some_avg10_ratio,
        "memory_full_avg10_ratio": one.strain.memory_full_avg10_ratio,
        "cpu_some_avg10_ratio": one.strain.cpu_some_avg10_ratio,
        "cpu_full_avg10_ratio": one.strain.cpu_full_avg10_ratio,
        "shed_wall_s": one.shed_wall_s,
    }


def _entry(one: Entry) -> Mapping[str, Any]:
    return {
        "service": str(one.service),
        "phase": one.phase,
        "since_wall_s": one.settled_wall_s or one.sent_wall_s or one.decided_wall_s,
        "reason": one.reason,
        "by": one.by or None,
        "state": one.state.value,
        "means": one.means.value,
        "containers": [container.name for container in one.containers],
        "expected_relief_bytes": one.expected_relief_bytes,
        "measured_relief_bytes": one.measured_relief_bytes,
        "expected_bytes": one.expected_bytes,
        "expected_cores": one.expected_cores,
        "id": one.id,
    }


def _storage(snapshot: Snapshot) -> Mapping[str, Any]:
    """As it was last measured; `at_wall_s` is null before that."""
    known, newest = snapshot.storage, snapshot.storage.newest
    phases = {service.key: service.phase for service in snapshot.assessment.services}
    reading = None if newest is None else newest.reading
    return {
        "at_wall_s": None if reading is None else reading.at_wall_s,
        "busy": known.busy,
        "attempts": known.attempts,
        "problem": known.problem or None,
        "used_bytes": None if reading is None else reading.used_bytes,
        "size_bytes": None if reading is None else reading.size_bytes,
        "full_in_s": None if newest is None else newest.full_in_s,
        "services": [
            {
                "service": str(one.service),
                "phase": phases.get(one.service),
                "layers_bytes": one.disk.layers_bytes,
                "volumes_bytes": one.disk.volumes_bytes,
                "grows_bytes_per_s": one.bytes_per_s,
            }
            for one in (() if newest is None else newest.growth)
        ],
        "fastest": [str(one.service) for one in (() if newest is None else newest.fastest)],
        "commands": [
            {"command": one.command, "frees_bytes": one.frees_bytes, "note": one.note}
            for one in (() if newest is None else newest.commands)
        ],
    }


def _held(one: Held) -> Mapping[str, Any]:
    return {
        "action": one.action.value,
        "reason": one.reason,
        "service": None if one.service is None else str(one.service),
        "detail": one.detail,
    }


def _candidate(one: Candidate) -> Mapping[str, Any]:
    return {
        "service": str(one.service),
        "phase": one.phase,
        "rank": one.rank,
        "group": [str(key) for key in one.group],
        "relief_bytes": one.relief_bytes,
        "relief_cores": one.relief_cores,
        "over_share": one.over_share,
        "priority": one.priority,
        "on_probation": one.on_probation,
        "passed_over": one.passed_over or None,
    }
