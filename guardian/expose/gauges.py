"""From a snapshot to the metrics that show it. Pure; what is unknown gives no sample, never a zero."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from guardian.expose.catalog import CATALOG
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import Means
from guardian.limits.drift import drifted
from guardian.model import (
    CPU_SIGNALS,
    MEMORY_SIGNALS,
    HostReading,
    Mode,
    PhaseUse,
    ServiceKey,
    ServiceState,
    ServiceStatus,
    Signal,
)
from guardian.rollout.progress import KnownRollOut, RollOutState
from guardian.storage.values import Storage

HOLD_REASONS = ("pressure", "operator", "engine", "disk")


class Families:
    """Samples by metric, in the order in which metrics were first added."""

    def __init__(self) -> None:
        self._families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}

    def add(self, name: str, value: float | None, *labels: object) -> None:
        """One sample, with its label values in the catalog's order; None (unknown) adds nothing."""
        if value is None:
            return
        family = self._families.get(name)
        if family is None:
            spec = CATALOG[name]
            kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            family = self._families[name] = kind(spec.name, spec.help, labels=spec.labels)
        family.add_metric([str(label) for label in labels], float(value))

    def metrics(self) -> Iterable[Metric]:
        return self._families.values()


def render(snapshot: Snapshot) -> Iterable[Metric]:
    """Every gauge, and every counter that is read rather than counted here."""
    out = Families()
    decision = snapshot.decision
    for mode in Mode:
        out.add("guardian_mode", mode is snapshot.mode, mode.value)
    for reason in dict.fromkeys((*HOLD_REASONS, *decision.holds)):
        out.add("guardian_hold", reason in decision.holds, reason)
    out.add("guardian_standby", decision.standby)
    out.add("guardian_config_pending", bool(snapshot.config_pending))
    out.add("guardian_target_phase", snapshot.config.target_phase)
    if snapshot.rollout is not None:
        _rollout(out, snapshot.rollout)
    out.add("guardian_engine_up", snapshot.engine_up)
    out.add("guardian_exhausted", decision.exhausted)
    out.add("guardian_ledger_open", len(snapshot.entries))
    if snapshot.sample.host is not None:
        _host(out, snapshot.sample.host)
    _signals(out, snapshot)
    for phase in snapshot.assessment.phases:
        _phase(out, phase)
    for service in snapshot.assessment.services:
        _service(out, service)
    _limit_drift(out, snapshot)
    if snapshot.storage.newest is not None:
        _storage(out, snapshot, snapshot.storage.newest)
    return out.metrics()


def _rollout(out: Families, known: KnownRollOut) -> None:
    out.add("guardian_rollout_goal_phase", known.progress.goal)
    out.add("guardian_rollout_reached_phase", known.progress.reached)
    for state in RollOutState:
        out.add("guardian_rollout_state", state is known.state, state.value)
    out.add("guardian_rollout_began_timestamp_seconds", known.progress.began_wall_s)
    out.add("guardian_rollout_due_timestamp_seconds", known.due_wall_s)


def _host(out: Families, host: HostReading) -> None:
    out.add("guardian_host_memory_total_bytes", host.memory_total_bytes)
    out.add("guardian_host_memory_available_bytes", host.memory_available_bytes)
    out.add("guardian_host_cpu_usage_ratio", host.cpu_ratio)
    out.add("guardian_host_pressure_ratio", host.cpu_some_avg10_ratio, "cpu", "some")
    out.add("guardian_host_pressure_ratio", host.memory_some_avg10_ratio, "memory", "some")
    out.add("guardian_host_pressure_ratio", host.memory_full_avg10_ratio, "memory", "full")
    out.add("guardian_host_pressure_ratio", host.io_some_avg10_ratio, "io", "some")
    out.add("guardian_host_pressure_ratio", host.io_full_avg10_ratio, "io", "full")
    out.add("guardian_host_disk_available_bytes", host.disk_available_bytes)
    out.add("guardian_host_disk_total_bytes", host.disk_total_bytes)


def _signals(out: Families, snapshot: Snapshot) -> None:
    assessment = snapshot.assessment
    out.add("guardian_level", assessment.level)
    for status in assessment.signals:
        signal = status.signal
        out.add("guardian_signal_ratio", status.value, signal)
        out.add("guardian_signal_level", status.level, signal)
        out.add("guardian_threshold_ratio", status.soft, signal, "soft")
        out.add("guardian_threshold_ratio", status.hard, signal, "hard")
        out.add("guardian_threshold_ratio", status.recover, signal, "recover")
        if signal in MEMORY_SIGNALS or signal in CPU_SIGNALS:
            out.add("guardian_shedding_ineffective", signal in snapshot.decision.ineffective, signal)
    host = snapshot.sample.host
    out.add("guardian_memory_fill_bytes_per_second", assessment.fill_bytes_per_s)
    if assessment.full_in_s is not None:
        out.add("guardian_memory_full_in_seconds", assessment.full_in_s)
    elif host is not None and host.memory_available_bytes is not None:
        out.add("guardian_memory_full_in_seconds", math.inf)
    out.add("guardian_deficit_bytes", largest_deficit(snapshot, MEMORY_SIGNALS))
    out.add("guardian_deficit_cores", largest_deficit(snapshot, CPU_SIGNALS))
    out.add(
        "guardian_pending_relief_bytes",
        max((deficit.pending for deficit in snapshot.decision.deficits if deficit.signal in MEMORY_SIGNALS), default=0.0),
    )


def largest_deficit(snapshot: Snapshot, signals: tuple[Signal, ...]) -> float | None:
    """The largest open deficit of `signals`; 0 where none has one, None where that is not known of any."""
    found = [deficit.open for deficit in snapshot.decision.deficits if deficit.signal in signals]
    if found:
        return max(found)
    known = any(status.signal in signals and status.value is not None for status in snapshot.assessment.signals)
    return 0.0 if known else None


def _phase(out: Families, use: PhaseUse) -> None:
    phase = use.phase
    out.add("guardian_phase_memory_usage_bytes", use.memory_bytes, phase)
    out.add("guardian_phase_memory_budget_bytes", use.memory_budget_bytes, phase)
    out.add("guardian_phase_cpu_usage_cores", use.cpu_cores, phase)
    out.add("guardian_phase_cpu_budget_cores", use.cpu_budget_cores, phase)
    out.add("guardian_phase_storage_usage_bytes", use.storage_bytes, phase)
    out.add("guardian_phase_storage_budget_bytes", use.storage_budget_bytes, phase)
    for resource, used, budget in (
        ("memory", use.memory_bytes, use.memory_budget_bytes),
        ("cpu", use.cpu_cores, use.cpu_budget_cores),
        ("storage", use.storage_bytes, use.storage_budget_bytes),
    ):
        if used is not None and budget is not None:
            out.add("guardian_phase_over_budget", resource in use.over, phase, resource)
    for state in ServiceState:
        out.add("guardian_phase_services", use.services.get(state, 0), phase, state.value)


def _storage(out: Families, snapshot: Snapshot, storage: Storage) -> None:
    out.add("guardian_storage_last_success_timestamp_seconds", storage.reading.at_wall_s)
    if storage.growth_known:
        out.add("guardian_host_disk_full_in_seconds", math.inf if storage.full_in_s is None else storage.full_in_s)
    for service in snapshot.assessment.services:
        labels = (service.key.project, service.key.name, service.phase)
        out.add("guardian_service_storage_bytes", storage.totals.get(service.key), *labels)


def _limit_drift(out: Families, snapshot: Snapshot) -> None:
    """Of services that run and have limits in the file. While guardian itself throttles one, its quota is another on purpose."""
    wanted = {name: one for name, one in snapshot.config.services.items() if one.limits.memory or one.limits.cpus}
    if not wanted or snapshot.inventory is None:
        return
    found: dict[ServiceKey, dict[str, bool]] = {}
    for container in snapshot.inventory.containers:
        if container.state.up and container.service.name in wanted:
            of_service = found.setdefault(container.service, {})
            for resource, differs in drifted(wanted[container.service.name], container).items():
                of_service[resource] = differs or of_service.get(resource, False)
    throttled = {entry.service for entry in snapshot.entries if entry.means is Means.THROTTLE}
    for service in snapshot.assessment.services:
        for resource, differs in found.get(service.key, {}).items():
            if resource != "cpu" or service.key not in throttled:
                out.add("guardian_service_limit_drift", differs, service.key.project, service.key.name, service.phase, resource)


def _service(out: Families, status: ServiceStatus) -> None:
    labels = (status.key.project, status.key.name, status.phase)
    for name in status.containers:
        out.add("guardian_service_info", 1, *labels, name)
    out.add("guardian_service_memory_working_set_bytes", status.working_set_bytes, *labels)
    out.add("guardian_service_memory_footprint_bytes", status.footprint_bytes, *labels)
    out.add("guardian_service_memory_limit_bytes", status.memory_limit_bytes, *labels)
    out.add("guardian_service_cpu_usage_cores", status.cpu_cores, *labels)
    strain = status.strain
    out.add("guardian_service_oom_kills_total", strain.oom_kills, *labels)
    if strain.cpu_periods:  # without a quota the counters are there, and stay at zero
        out.add("guardian_service_cpu_periods_total", strain.cpu_periods, *labels)
        out.add("guardian_service_cpu_throttled_periods_total", strain.cpu_throttled_periods, *labels)
    out.add("guardian_service_pressure_ratio", strain.memory_some_avg10_ratio, *labels, "memory", "some")
    out.add("guardian_service_pressure_ratio", strain.memory_full_avg10_ratio, *labels, "memory", "full")
    out.add("guardian_service_pressure_ratio", strain.cpu_some_avg10_ratio, *labels, "cpu", "some")
    out.add("guardian_service_pressure_ratio", strain.cpu_full_avg10_ratio, *labels, "cpu", "full")
    out.add("guardian_service_restarts_total", status.restarts, *labels)
    if status.state is not ServiceState.COMPLETED:  # that it does not run is no fault
        out.add("guardian_service_up", status.running > 0, *labels)
    out.add("guardian_service_healthy", status.healthy, *labels)
    out.add("guardian_service_pinned", status.pinned, *labels)
    out.add("guardian_service_shed", status.state in (ServiceState.SHED, ServiceState.QUARANTINED), *labels)
    out.add("guardian_service_shed_timestamp_seconds", status.shed_wall_s, *labels)
