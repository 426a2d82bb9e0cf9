"""Guardian's metrics: counts and durations as they are reported, gauges from the newest snapshot when somebody scrapes."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from guardian import __version__
from guardian.clock import Clock, SystemClock
from guardian.errors import EngineProtocolError
from guardian.expose.catalog import CATALOG
from guardian.expose.exposition import encode
from guardian.expose.gauges import Families, render
from guardian.expose.snapshot import Snapshot
from guardian.model import ActionKind, Held, Outcome, Result, ServiceKey, Signal
from guardian.policy.health import UNHEALTHY
from guardian.telemetry import Objective

SOURCES = ("host", "containers")
TASKS = ("tick", "containers", "config")
# Alerts ask how these grow, and a counter that first appears at 1 has not grown: they are there at 0 before anything happens.
ALERTED_RESULTS = (Result.DONE, Result.FAILED, Result.REFUSED, Result.TIMED_OUT)
SHED_REASONS = (Signal.MEMORY.value, Signal.CPU.value, "operator")
RESTORE_REASONS = ("room", "operator")
PLATFORM_SIGNALS = (Signal.PLATFORM_MEMORY, Signal.PLATFORM_CPU)  # their reasons are there once a snapshot shows the signal


class Metrics:
    """Implements `guardian.telemetry.Telemetry`. Each has a registry of its own; nothing is global."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._snapshot: Snapshot | None = None
        self._created: set[tuple[str, str, str]] = set()  # (action, phase, reason) whose counters exist
        self._lock = threading.Lock()
        self._last: dict[tuple[str, ...], float] = {("guardian_build_info", __version__): 1.0}  # (name, labels…): as last told

        self._requests = _histogram("guardian_engine_request_duration_seconds")
        self._request_errors = _counter("guardian_engine_request_errors_total")
        self._reconnects = _counter("guardian_event_stream_reconnects_total")
        self._ticks = _histogram("guardian_tick_duration_seconds")
        self._samples = _histogram("guardian_sample_duration_seconds")
        self._sample_failures = _counter("guardian_sample_failures_total")
        self._time_jumps = _counter("guardian_time_jumps_total")
        self._task_failures = _counter("guardian_task_failures_total")
        self._cut = _counter("guardian_connections_cut_total")
        self._log_dropped = _counter("guardian_log_lines_dropped_total")
        self._actions = _counter("guardian_actions_total")
        self._action_durations = _histogram("guardian_action_duration_seconds")
        self._relief = _counter("guardian_relief_bytes_total")
        self._reactions = _histogram("guardian_reaction_seconds")
        self._held = _counter("guardian_held_actions_total")
        self._overrides = _counter("guardian_overrides_total")
        self._late_writes = _counter("guardian_ledger_late_writes_total")
        self._write_failures = _counter("guardian_ledger_write_failures_total")
        self._put_aside = _counter("guardian_ledger_put_aside_total")
        self._record_dropped = _counter("guardian_record_dropped_total")
        self._record_failures = _counter("guardian_record_write_failures_total")
        self._notifications = _counter("guardian_notifications_total")
        self._pressed = _counter("guardian_pressure_wakes_total")
        self._probes = _histogram("guardian_probe_duration_seconds")
        self._probe_failures = _counter("guardian_probe_failures_total")
        self._counted = [value for value in vars(self).values() if isinstance(value, Counter | Histogram)]

        self._sampled = {source: (self._samples.labels(source), self._sample_failures.labels(source)) for source in SOURCES}
        for kind in ("predicted", "measured"):
            self._relief.labels(kind)
        for resource in ("memory", "io", "cpu"):
            self._pressed.labels(resource)
        for kind in ("started", "stopped"):
            self._overrides.labels(kind)
        for kind in ("late", "suspend", "clock_set"):
            self._time_jumps.labels(kind)
        for task in TASKS:
            self._task_failures.labels(task)
        for side in ("web", "control"):
            self._cut.labels(side)

        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(self))
        ProcessCollector(registry=self._registry)

    # --- the snapshot ------------------------------------------------------------------------------------------------

    def update(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the newest. Scrapes render it; this only keeps it."""
        self._snapshot = snapshot

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest; None before the first tick."""
        return self._snapshot

    # --- for scrapers ------------------------------------------------------------------------------------------------

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """`(content type, body)` in the format that the `Accept` header asks for: Prometheus text or OpenMetrics."""
        return encode(self._registry.collect(), accept)

    def collect(self) -> Iterable[Metric]:
        """Every metric but those of the process, as of now."""
        snapshot = self._snapshot
        if snapshot is not None:
            self._create_counters(snapshot)
        for counted in self._counted:
            yield from map(_without_created, counted.collect())
        out = Families()
        for (name, *labels), value in self._last.copy().items():
            out.add(name, value, *labels)
        yield from out.metrics()
        if snapshot is not None:
            yield from render(snapshot)

    def _create_counters(self, snapshot: Snapshot) -> None:
        seen = {status.signal for status in snapshot.assessment.signals}
        shed_reasons = (*SHED_REASONS, *(signal.value for signal in PLATFORM_SIGNALS if signal in seen))
        kinds = [(ActionKind.SHED.value, reason) for reason in shed_reasons]
        kinds += [(ActionKind.RESTORE.value, reason) for reason in RESTORE_REASONS]
        if any(one.health is not None and one.health.restart for one in snapshot.config.services.values()):
            kinds.append((ActionKind.RESTART.value, UNHEALTHY))
        with self._lock:
            wanted = {(action, str(use.phase), reason) for use in snapshot.assessment.phases for action, reason in kinds}
            for labels in wanted - self._created:
                for result in ALERTED_RESULTS:
                    self._actions.labels(*labels, result.value)
            self._created |= wanted

    # --- guardian.telemetry.Telemetry --------------------------------------------------------------------------------

    def engine_request(self, operation: str, seconds: float, error: str | None = None) -> None:
        self._requests.labels(operation).observe(seconds)
        if error is not None:
            self._request_errors.labels(operation, error).inc()

    def engine_not_understood(self, operation: str) -> None:
        self._request_errors.labels(operation, EngineProtocolError.reason).inc()

    def event_stream_reconnected(self) -> None:
        self._reconnects.inc()

    def sampled(self, source: str, seconds: float, ok: bool) -> None:
        durations, failures = self._sampled[source]
        durations.observe(seconds)
        if ok:
            self._last["guardian_sample_last_success_timestamp_seconds", source] = self._clock.wall()
        else:
            failures.inc()

    def ticked(self, seconds: float, lag_s: float, interval_s: float) -> None:
        self._ticks.observe(seconds)
        self._last["guardian_tick_lag_seconds",] = lag_s
        self._last["guardian_tick_interval_seconds",] = interval_s

    def pressed(self, resource: str) -> None:
        """The kernel reported that tasks wait for `memory`, `io` or `cpu`."""
        self._pressed.labels(resource).inc()

    def acted(self, outcome: Outcome) -> None:
        action = outcome.action
        self._actions.labels(action.kind.value, str(action.phase), action.reason, outcome.result.value).inc()
        if outcome.result is not Result.OBSERVED:
            self._action_durations.labels(action.kind.value).observe(outcome.duration_s)

    def relief(self, predicted_bytes: int | None, measured_bytes: int | None) -> None:
        # Either alone would skew the ratio of the two, which is what people look at.
        if predicted_bytes is not None and measured_bytes is not None:
            self._relief.labels("predicted").inc(max(0, predicted_bytes))
            self._relief.labels("measured").inc(max(0, measured_bytes))

    def reacted(self, seconds: float) -> None:
        self._reactions.observe(seconds)

    def held(self, held: Held) -> None:
        self._held.labels(held.action.value, held.reason).inc()

    def overridden(self, kind: str) -> None:
        self._overrides.labels(kind).inc()

    def time_jumped(self, kind: str) -> None:
        self._time_jumps.labels(kind).inc()

    def job_failed(self, job: str) -> None:
        """A run of the daemon's `tick`, `containers` or `config` job raised something."""
        self._task_failures.labels(job).inc()

    def connection_cut(self, side: str) -> None:
        """A reader on the `web` or `control` side took too long."""
        self._cut.labels(side).inc()

    def log_dropped(self, lines: int) -> None:
        self._log_dropped.inc(lines)

    def ledger_late(self) -> None:
        self._late_writes.inc()

    def ledger_failed(self) -> None:
        self._write_failures.inc()

    def record_dropped(self, count: int) -> None:
        self._record_dropped.inc(count)

    def record_failed(self) -> None:
        self._record_failures.inc()

    def record_size(self, size_bytes: int) -> None:
        self._last["guardian_record_size_bytes",] = float(size_bytes)

    def ledger_put_aside(self) -> None:
        self._put_aside.inc()

    def config_reloaded(self, ok: bool, at_wall_s: float) -> None:
        self._last["guardian_config_last_reload_successful",] = float(ok)
        if ok:
            self._last["guardian_config_last_reload_success_timestamp_seconds",] = at_wall_s

    def notified(self, channel: str, result: str) -> None:
        self._notifications.labels(channel, result).inc()

    def objectives(self, told: Iterable[Objective]) -> None:
        known: dict[tuple[str, ...], float | None] = {}
        for one in told:
            known["guardian_objective_target", one.name] = one.target
            known["guardian_objective_value", one.name] = one.value
            known["guardian_objective_met", one.name] = None if one.met is None else float(one.met)
            known["guardian_objective_error_budget_ratio", one.name] = one.budget_ratio
        for key in [key for key in list(self._last) if key[0].startswith("guardian_objective_")]:
            if known.get(key) is None:
                self._last.pop(key, None)
        self._last.update({key: value for key, value in known.items() if value is not None})

    def probed(self, service: ServiceKey, seconds: float, ok: bool) -> None:
        """A probe of guardian's own that counts has ended."""
        # Both are there from the first probe on: a rate of failures needs both to have begun at 0.
        durations, failures = self._probes.labels(*service), self._probe_failures.labels(*service)
        if ok:
            durations.observe(seconds)
        else:
            failures.inc()


class _Collector(Collector):
    """What the registry sees of `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()


def _counter(name: str) -> Counter:
    spec = CATALOG[name]
    return Counter(name, spec.help, spec.labels, registry=None)


def _histogram(name: str) -> Histogram:
    spec = CATALOG[name]
    return Histogram(name, spec.help, spec.labels, buckets=spec.buckets, registry=None)


def _without_created(metric: Metric) -> Metric:
    """The client library adds a `_created` time to every counter: a series each, which nothing here asks for."""
    metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
    return metric
