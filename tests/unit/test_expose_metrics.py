"""What a scrape shows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec
import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from support.snapshots import AT_WALL_S, MIB, MISSING, PROJECT, SHED, UNHEALTHY, key, snapshot

from guardian import __version__
from guardian.clock import VirtualClock
from guardian.config.schema import HealthConfig, Resources, ServiceConfig
from guardian.expose import reference
from guardian.expose.catalog import CATALOG
from guardian.expose.exposition import encode
from guardian.expose.metrics import Metrics
from guardian.expose.snapshot import Snapshot
from guardian.model import (
    Action,
    ActionKind,
    Held,
    HostReading,
    Outcome,
    Result,
    Sample,
    ServiceKey,
    ServiceState,
    Signal,
    Strain,
)
from guardian.policy.budgets import phase_uses
from guardian.rollout.progress import RollOutState
from guardian.storage.growth import storage_of
from guardian.storage.values import KnownStorage, Reading, ServiceDisk
from guardian.telemetry import Objective
from guardian.units import Bytes

Key = tuple[str, frozenset[tuple[str, str]]]


def scrape(metrics: Metrics) -> dict[Key, float]:
    """Every sample of one scrape, by name and labels; a duplicate fails."""
    found: dict[Key, float] = {}
    for family in parse_text(metrics.exposition()[1].decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scrape(metrics).get((name, frozenset(labels.items())))


def showing(shown: Snapshot) -> Metrics:
    metrics = Metrics(VirtualClock())
    metrics.update(shown)
    return metrics


def outcome(kind: ActionKind, result: Result, reason: str = "memory", duration_s: float = 0.4) -> Outcome:
    action = Action("id", kind, SHED, 5, ("c",), reason)
    return Outcome(action, result, at_s=1.0, at_wall_s=2.0, duration_s=duration_s)


def with_host(shown: Snapshot, change: Callable[[HostReading], HostReading]) -> Snapshot:
    assert shown.sample.host is not None
    return replace(shown, sample=Sample(change(shown.sample.host), shown.inventory))


def exercise(telemetry: Metrics) -> None:
    """Report everything that can be reported, with every label value that there is."""
    for operation in ("info", "list", "inspect", "stats", "stop", "kill", "start", "update", "events"):
        for error in (None, "timeout", "refused", "unreachable", "protocol"):
            telemetry.engine_request(operation, 0.02, error)
    telemetry.event_stream_reconnected()
    for source in ("host", "containers"):
        telemetry.sampled(source, 0.002, ok=True)
        telemetry.sampled(source, 0.002, ok=False)
    telemetry.ticked(0.003, 0.001, 1.0)
    for resource in ("memory", "io", "cpu"):
        telemetry.pressed(resource)
    for kind in ActionKind:
        for result in Result:
            telemetry.acted(outcome(kind, result))
    telemetry.relief(100, 90)
    telemetry.reacted(1.2)
    for reason in ("pressure", "operator", "engine", "disk", "backoff", "room", "max_per_hour", "ineffective", "settling"):
        telemetry.held(Held(ActionKind.RESTORE, reason))
        telemetry.held(Held(ActionKind.SHED, reason))
    telemetry.overridden("started")
    telemetry.time_jumped("late")
    telemetry.engine_not_understood("list")
    telemetry.job_failed("tick")
    telemetry.connection_cut("web")
    telemetry.ledger_put_aside()
    telemetry.log_dropped(3)
    telemetry.ledger_late()
    telemetry.ledger_failed()
    telemetry.record_dropped(2)
    telemetry.record_failed()
    telemetry.record_size(4096)
    telemetry.config_reloaded(True, AT_WALL_S)
    telemetry.notified("webhook", "done")
    telemetry.objectives([Objective("availability", 0.995, 0.99, False, -1.0)])
    telemetry.probed(ServiceKey("openpolicy", "api"), 0.03, ok=True)
    telemetry.probed(ServiceKey("openpolicy", "api"), 2.0, ok=False)


def test_no_label_is_one_that_prometheus_gives_itself() -> None:
    """A label `job` or `instance` would come out of Prometheus under another name, as it gives every series its own."""
    assert not {label for spec in CATALOG.values() for label in spec.labels} & {"job", "instance"}


def test_an_objective_is_there_as_far_as_it_is_known() -> None:
    """An objective shows its target, its value and whether it is met; what is unknown, or no longer set, is absent."""
    metrics = Metrics()
    labels = {"objective": "availability"}
    metrics.objectives([Objective("availability", 0.995, 0.99, False, -1.0)])
    shown = [
        value(metrics, f"guardian_objective_{name}", **labels) for name in ("target", "value", "met", "error_budget_ratio")
    ]
    assert shown == [0.995, 0.99, 0, -1]
    metrics.objectives([Objective("availability", 0.995, None, None, None)])
    shown = [
        value(metrics, f"guardian_objective_{name}", **labels) for name in ("target", "value", "met", "error_budget_ratio")
    ]
    assert shown == [0.995, None, None, None]
    metrics.objectives([])
    assert value(metrics, "guardian_objective_target", **labels) is None


def test_probes_are_timed_where_they_succeed_and_counted_where_they_fail() -> None:
    """A probe that succeeds is timed and one that fails is counted; the counter is there at 0 from the first probe on."""
    metrics = Metrics()
    labels = {"project": "openpolicy", "service": "api"}
    metrics.probed(ServiceKey("openpolicy", "api"), 0.03, ok=True)
    assert value(metrics, "guardian_probe_failures_total", **labels) == 0
    metrics.probed(ServiceKey("openpolicy", "api"), 10.0, ok=False)
    assert value(metrics, "guardian_probe_failures_total", **labels) == 1
    assert value(metrics, "guardian_probe_duration_seconds_count", **labels) == 1
    assert value(metrics, "guardian_probe_duration_seconds_sum", **labels) == pytest.approx(0.03)


def test_every_metric_of_the_catalog_is_exposed_once_there_is_something_to_show() -> None:
    """Every metric of the catalog is exposed once there is something to show, and nothing else but the process's own."""
    shown = snapshot()
    phases = tuple(replace(use, storage_bytes=10**9) for use in shown.assessment.phases)
    stored = storage_of([Reading(AT_WALL_S + hour * 3600, hour, 100, {key("api"): ServiceDisk(hour, 0)}) for hour in range(3)])
    assessment = replace(shown.assessment, phases=phases)
    limited = msgspec.structs.replace(shown.config, services={"api": ServiceConfig(limits=Resources(memory=Bytes(2**30)))})
    assert shown.rollout is not None
    rollout = shown.rollout._replace(state=RollOutState.RUNNING, due_wall_s=AT_WALL_S)
    metrics = showing(replace(shown, assessment=assessment, config=limited, storage=KnownStorage(stored), rollout=rollout))
    exercise(metrics)
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in scrape(metrics)}
    assert {name for name in names if not name.startswith("process_")} == set(CATALOG)


def test_the_reference_platform_has_fewer_than_1200_series() -> None:
    """The reference platform has fewer than 1,200 series, whatever has happened."""
    metrics = showing(snapshot())
    exercise(metrics)
    assert len(scrape(metrics)) < 1200


def test_openmetrics_is_served_to_those_who_ask_for_it() -> None:
    """OpenMetrics is served to those who ask for it, and is well formed."""
    metrics = showing(snapshot())
    exercise(metrics)
    content_type, body = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {"guardian_level", "guardian_actions"} <= {family.name for family in parse_openmetrics(body.decode())}


class Collected(Collector):
    """Metrics as they were collected once."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4",
        "application/openmetrics-text; version=0.0.1",
    ],
)
def test_what_is_served_is_what_the_client_library_makes_of_the_same_metrics(accept: str) -> None:
    """What is served is, to the byte, what the client library makes of the same metrics, whatever is asked for."""
    metrics = showing(snapshot())
    exercise(metrics)
    strange = ServiceKey('a "quoted" project', "back\\slash\nand new line, \u00fcmlaut")
    services = tuple(replace(one, key=strange) if one.key == SHED else one for one in snapshot().assessment.services)
    metrics.update(replace(snapshot(), assessment=replace(snapshot().assessment, services=services)))
    collected = Collected(metrics._registry.collect())
    by_library, content_type = choose_encoder(accept)
    assert encode(collected.collect(), accept) == (content_type, by_library(collected))


def test_the_text_format_is_served_by_default() -> None:
    """The text format is served by default."""
    assert Metrics().exposition()[0].startswith("text/plain; version=0.0.4")


def test_before_the_first_tick_only_what_is_known_is_shown() -> None:
    """Before the first tick only what is known is shown: the version, and counters at zero."""
    metrics = Metrics()
    assert value(metrics, "guardian_build_info", version=__version__) == 1
    assert value(metrics, "guardian_ledger_late_writes_total") == 0
    assert value(metrics, "guardian_sample_failures_total", source="containers") == 0
    assert not {name for name, _ in scrape(metrics)} & {"guardian_level", "guardian_engine_up", "guardian_tick_lag_seconds"}


def test_the_mode_in_force_is_1_and_the_other_0() -> None:
    """The mode in force is 1 and the other 0."""
    metrics = showing(snapshot())
    assert value(metrics, "guardian_mode", mode="enforce") == 1
    assert value(metrics, "guardian_mode", mode="observe") == 0


def test_every_reason_of_a_hold_is_shown_with_1_for_those_that_hold() -> None:
    """Every reason of a hold is shown, with 1 for those that hold."""
    metrics = showing(snapshot())
    shown = {reason: value(metrics, "guardian_hold", reason=reason) for reason in ("pressure", "operator", "engine", "disk")}
    assert shown == {"pressure": 1, "operator": 0, "engine": 0, "disk": 0}


def test_signals_show_value_level_and_thresholds() -> None:
    """Signals show value, level and thresholds; a signal without a hard mark has no hard threshold."""
    metrics = showing(snapshot())
    assert value(metrics, "guardian_signal_ratio", signal="memory") == 0.83
    assert value(metrics, "guardian_signal_level", signal="memory") == 1
    assert value(metrics, "guardian_threshold_ratio", signal="memory", level="hard") == 0.9
    assert value(metrics, "guardian_threshold_ratio", signal="swap", level="soft") == 0.8
    assert value(metrics, "guardian_threshold_ratio", signal="swap", level="hard") is None


def test_an_unknown_signal_has_no_value_and_keeps_its_level() -> None:
    """An unknown signal has no value, and keeps its level."""
    shown = snapshot()
    signals = tuple(replace(one, value=None) for one in shown.assessment.signals)
    metrics = showing(
        replace(shown, assessment=replace(shown.assessment, signals=signals), decision=replace(shown.decision, deficits=()))
    )
    assert value(metrics, "guardian_signal_ratio", signal="memory") is None
    assert value(metrics, "guardian_signal_level", signal="memory") == 1
    assert value(metrics, "guardian_deficit_bytes") is None


def test_an_unreadable_host_has_no_samples() -> None:
    """An unreadable host has no samples: unknown is not zero."""
    shown = snapshot()
    unread = replace(shown, sample=Sample(None, shown.inventory))
    metrics = showing(replace(unread, assessment=replace(shown.assessment, fill_bytes_per_s=None, full_in_s=None)))
    names = {name for name, _ in scrape(metrics)}
    assert not [name for name in names if name.startswith("guardian_host_")]
    assert "guardian_memory_full_in_seconds" not in names
    assert "guardian_memory_fill_bytes_per_second" not in names


def test_a_kernel_without_psi_shows_no_pressure() -> None:
    """A kernel without PSI shows no pressure."""

    def without(host: HostReading) -> HostReading:
        return HostReading(at_s=host.at_s, memory_total_bytes=host.memory_total_bytes)

    assert "guardian_host_pressure_ratio" not in {name for name, _ in scrape(showing(with_host(snapshot(), without)))}


def test_a_service_shows_its_own_pressure_and_what_its_quota_held_back() -> None:
    """A service shows the pressure of its cgroup by resource and kind, and in how many periods its CPU quota held it back."""
    metrics, labels = showing(snapshot()), {"project": PROJECT, "service": "api", "phase": "1"}
    assert value(metrics, "guardian_service_cpu_periods_total", **labels) == 600
    assert value(metrics, "guardian_service_cpu_throttled_periods_total", **labels) == 3
    shown = {
        (resource, kind): value(metrics, "guardian_service_pressure_ratio", **labels, resource=resource, kind=kind)
        for resource in ("memory", "cpu")
        for kind in ("some", "full")
    }
    assert shown == {("memory", "some"): 0.01, ("memory", "full"): 0.0, ("cpu", "some"): 0.02, ("cpu", "full"): 0.0}


def test_a_service_without_a_quota_shows_no_periods_and_one_without_psi_no_pressure() -> None:
    """Without a CPU quota there are no series of its periods, and where its pressure is not known none of that."""
    services = tuple(replace(one, strain=Strain(0, 5, 0, 0)) for one in snapshot().assessment.services)
    metrics = showing(replace(snapshot(), assessment=replace(snapshot().assessment, services=services)))
    names = {name for name, _ in scrape(metrics)}
    assert "guardian_service_oom_kills_total" in names
    assert not {name for name in names if name.startswith(("guardian_service_cpu_periods", "guardian_service_pressure"))}


def test_memory_that_is_not_filling_is_full_in_infinite_time() -> None:
    """Memory that is known and not filling is full in infinite time."""
    shown = snapshot()
    metrics = showing(replace(shown, assessment=replace(shown.assessment, full_in_s=None, fill_bytes_per_s=None)))
    assert value(metrics, "guardian_memory_full_in_seconds") == math.inf


def test_the_deficit_is_less_pending_relief_and_zero_where_there_is_none() -> None:
    """The deficit is less pending relief, and zero where there is none."""
    metrics = showing(snapshot())
    assert value(metrics, "guardian_deficit_bytes") == 330 * MIB
    assert value(metrics, "guardian_pending_relief_bytes") == 200 * MIB
    assert value(metrics, "guardian_deficit_cores") == 0


def test_an_open_circuit_breaker_is_shown_for_its_signal() -> None:
    """An open circuit breaker is shown for its signal."""
    shown = snapshot()
    metrics = showing(replace(shown, decision=replace(shown.decision, ineffective=(Signal.MEMORY,))))
    assert value(metrics, "guardian_shedding_ineffective", signal="memory") == 1
    assert value(metrics, "guardian_shedding_ineffective", signal="cpu") == 0


def test_a_phase_whose_use_is_unknown_is_neither_over_nor_under_its_budget() -> None:
    """A phase whose use is unknown is neither over nor under its budget."""
    shown = snapshot()
    phases = tuple(replace(use, memory_bytes=None, over=()) for use in shown.assessment.phases)
    metrics = showing(replace(shown, assessment=replace(shown.assessment, phases=phases)))
    assert value(metrics, "guardian_phase_over_budget", phase="5", resource="memory") is None
    assert value(metrics, "guardian_phase_over_budget", phase="5", resource="cpu") == 0
    assert value(metrics, "guardian_phase_memory_usage_bytes", phase="5") is None
    assert value(metrics, "guardian_phase_memory_budget_bytes", phase="5") == 4000 * MIB


def test_services_of_a_phase_are_counted_by_state() -> None:
    """Services of a phase are counted by state, zeros included."""
    metrics = showing(snapshot())
    counts = {
        state: value(metrics, "guardian_phase_services", phase="5", state=state)
        for state in ("running", "unhealthy", "shed", "quarantined", "stopped", "missing")
    }
    assert counts == {"running": 4, "unhealthy": 0, "shed": 1, "quarantined": 1, "stopped": 0, "missing": 0}


def labels_of(key: ServiceKey, phase: int) -> dict[str, str]:
    return {"project": key.project, "service": key.name, "phase": str(phase)}


def test_a_shed_service_says_so_and_since_when_and_has_no_use() -> None:
    """A shed service says so, and since when, and has no use."""
    metrics, labels = showing(snapshot()), labels_of(SHED, 5)
    assert value(metrics, "guardian_service_shed", **labels) == 1
    assert value(metrics, "guardian_service_shed_timestamp_seconds", **labels) == AT_WALL_S - 90
    assert value(metrics, "guardian_service_up", **labels) == 0
    assert value(metrics, "guardian_service_memory_footprint_bytes", **labels) is None


def test_a_service_without_a_health_check_is_neither_healthy_nor_unhealthy() -> None:
    """A service without a health check is neither healthy nor unhealthy."""
    metrics = showing(snapshot())
    assert value(metrics, "guardian_service_healthy", **labels_of(SHED, 5)) is None
    assert value(metrics, "guardian_service_healthy", **labels_of(UNHEALTHY, 3)) == 0


def test_service_info_names_each_container_and_a_missing_service_has_none() -> None:
    """`guardian_service_info` names each container, and a missing service has none."""
    names = [dict(labels) for name, labels in scrape(showing(snapshot())) if name == "guardian_service_info"]
    assert {"project": PROJECT, "service": "kibana", "phase": "5", "name": f"{PROJECT}-kibana-1"} in names
    assert MISSING.name not in {labels["service"] for labels in names}


def test_a_one_shot_that_has_completed_is_neither_up_nor_down() -> None:
    """Of a one-shot that has completed nothing says that it is down, and its phase counts it as completed."""
    shown = snapshot()
    services = tuple(
        replace(one, state=ServiceState.COMPLETED) if one.key == MISSING else one for one in shown.assessment.services
    )
    phases = phase_uses(shown.config, services, 2.0)
    metrics = showing(replace(shown, assessment=replace(shown.assessment, services=services, phases=phases)))
    labels = next(
        labels
        for name, labels in scrape(showing(shown))
        if name == "guardian_service_up" and ("service", MISSING.name) in labels
    )
    assert value(metrics, "guardian_service_up", **dict(labels)) is None
    phase = dict(labels)["phase"]
    assert value(metrics, "guardian_phase_services", phase=phase, state="completed") == 1
    assert value(metrics, "guardian_phase_services", phase=phase, state="missing") == 0


def test_series_of_a_removed_service_vanish() -> None:
    """The series of a removed service vanish, its counters too."""
    metrics = showing(snapshot())
    before = {dict(labels).get("service") for _, labels in scrape(metrics)}
    shown = snapshot()
    left = tuple(one for one in shown.assessment.services if one.key != SHED)
    metrics.update(replace(shown, assessment=replace(shown.assessment, services=left)))
    after = {dict(labels).get("service") for _, labels in scrape(metrics)}
    assert before - after == {SHED.name}


@pytest.mark.parametrize("action", ["shed", "restore"])
@pytest.mark.parametrize("result", ["done", "failed", "refused", "timed_out"])
def test_counters_of_sheds_and_restores_are_at_zero_before_the_first(action: str, result: str) -> None:
    """Counters of sheds and restores are at 0 before the first, so that an alert sees the first grow."""
    metrics = showing(snapshot())
    reason = "memory" if action == "shed" else "room"
    assert value(metrics, "guardian_actions_total", action=action, phase="5", reason=reason, result=result) == 0


def test_counters_of_restarts_are_there_where_the_file_asks_for_restarts() -> None:
    """Counters of restarts are at 0 before the first where the file asks for restarts, and are not there elsewhere."""
    labels = {"action": "restart", "phase": "1", "reason": "unhealthy", "result": "failed"}
    shown = snapshot()
    assert value(showing(shown), "guardian_actions_total", **labels) is None
    services = {"api": ServiceConfig(health=HealthConfig(restart=True))}
    asked = showing(replace(shown, config=msgspec.structs.replace(shown.config, services=services)))
    assert value(asked, "guardian_actions_total", **labels) == 0


def test_counters_for_platform_signals_are_there_once_the_signal_is() -> None:
    """Counters for platform signals are there once the signal is, and not before."""
    shown = snapshot()
    without = tuple(one for one in shown.assessment.signals if one.signal is not Signal.PLATFORM_CPU)
    metrics = showing(replace(shown, assessment=replace(shown.assessment, signals=without)))
    labels = {"action": "shed", "phase": "3", "reason": "platform_cpu", "result": "failed"}
    assert value(metrics, "guardian_actions_total", **labels) is None
    metrics.update(shown)
    assert value(metrics, "guardian_actions_total", **labels) == 0


def test_actions_are_counted_by_result_and_timed() -> None:
    """Actions are counted by result and timed; an observed one took no time."""
    metrics = showing(snapshot())
    metrics.acted(outcome(ActionKind.SHED, Result.DONE, duration_s=2.0))
    metrics.acted(outcome(ActionKind.SHED, Result.TIMED_OUT, duration_s=15.0))
    metrics.acted(outcome(ActionKind.SHED, Result.OBSERVED, duration_s=0.0))
    labels = {"action": "shed", "phase": "5", "reason": "memory"}
    assert value(metrics, "guardian_actions_total", **labels, result="done") == 1
    assert value(metrics, "guardian_actions_total", **labels, result="timed_out") == 1
    assert value(metrics, "guardian_actions_total", **labels, result="observed") == 1
    assert value(metrics, "guardian_action_duration_seconds_count", action="shed") == 2
    assert value(metrics, "guardian_action_duration_seconds_sum", action="shed") == 17.0


def test_relief_is_counted_only_where_both_sides_are_known() -> None:
    """Relief is counted only where both sides are known; one that got worse counts as none."""
    metrics = Metrics()
    metrics.relief(100, None)
    metrics.relief(None, 50)
    metrics.relief(200, 150)
    metrics.relief(10, -5)
    assert value(metrics, "guardian_relief_bytes_total", kind="predicted") == 210
    assert value(metrics, "guardian_relief_bytes_total", kind="measured") == 150


def test_a_failed_sample_keeps_the_time_of_the_last_good_one() -> None:
    """A failed sample is counted, and keeps the time of the last good one."""
    clock = VirtualClock()
    metrics = Metrics(clock)
    metrics.sampled("containers", 0.1, ok=True)
    good_s = clock.wall()
    clock.advance(30)
    metrics.sampled("containers", 2.0, ok=False)
    assert value(metrics, "guardian_sample_last_success_timestamp_seconds", source="containers") == good_s
    assert value(metrics, "guardian_sample_failures_total", source="containers") == 1


def test_a_failed_reload_keeps_the_time_of_the_last_good_one() -> None:
    """A failed reload is shown, and keeps the time of the last good one."""
    metrics = Metrics()
    metrics.config_reloaded(True, 100.0)
    metrics.config_reloaded(False, 200.0)
    assert value(metrics, "guardian_config_last_reload_successful") == 0
    assert value(metrics, "guardian_config_last_reload_success_timestamp_seconds") == 100.0


def test_a_failed_engine_call_is_counted_by_reason_and_timed_like_the_others() -> None:
    """A failed engine call is counted by reason, and timed like the others."""
    metrics = Metrics()
    metrics.engine_request("stop", 0.3)
    metrics.engine_request("stop", 5.0, "timeout")
    assert value(metrics, "guardian_engine_request_errors_total", operation="stop", reason="timeout") == 1
    assert value(metrics, "guardian_engine_request_duration_seconds_count", operation="stop") == 2


def test_two_sets_of_metrics_share_nothing() -> None:
    """Two sets of metrics share nothing."""
    one, other = Metrics(), Metrics()
    one.ledger_late()
    assert value(other, "guardian_ledger_late_writes_total") == 0


def test_names_follow_the_conventions() -> None:
    """Names follow the conventions: a counter, and nothing else, ends in `_total`; helps are sentences."""
    for spec in CATALOG.values():
        assert spec.name.endswith("_total") == (spec.kind == "counter"), spec.name
        assert bool(spec.buckets) == (spec.kind == "histogram"), spec.name
        assert spec.help.endswith("."), spec.name


def test_the_reference_in_docs_is_what_the_code_says() -> None:
    """The reference in docs is what the code says."""
    assert reference.PATH.read_text(encoding="utf-8") == reference.reference()
