"""Every metric there is: name, type, labels, help. What is exposed and `docs/metrics.md` both come from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SERVICE = ("project", "service", "phase")  # labels of everything about one service; a lone container's project is empty

# Buckets are few on purpose: each is a series, and of most histograms only "is it slow?" matters.
CALL_BUCKETS_S = (0.01, 0.1, 0.5, 2.0, 10.0)
TICK_BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 2.0)
ACTION_BUCKETS_S = (0.5, 1.0, 3.0, 10.0, 30.0)
PROBE_BUCKETS_S = (0.01, 0.05, 0.2, 0.5, 2.0)
REACTION_BUCKETS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 90.0)  # soft marks wait for soft_for: up to a minute and more


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric. `name` is as a query writes it, so a counter's ends in `_total`."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_ALL = (
    Spec("guardian_build_info", "gauge", "Always 1; the version of guardian that runs.", ("version",)),
    Spec("guardian_mode", "gauge", "1 for the mode in force, 0 for the other: observe or enforce.", ("mode",)),
    Spec(
        "guardian_hold",
        "gauge",
        "1 while nothing is started for this reason: pressure, operator, engine or disk.",
        ("reason",),
    ),
    Spec("guardian_standby", "gauge", "1 while an operator has ordered that nothing is stopped or started."),
    Spec(
        "guardian_config_last_reload_successful", "gauge", "1 if the newest attempt to read the configuration worked, else 0."
    ),
    Spec(
        "guardian_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration was last read without a mistake, in seconds since the epoch.",
    ),
    Spec("guardian_config_pending", "gauge", "1 while an edit of the file waits for SIGHUP or `guardian reload`."),
    Spec("guardian_target_phase", "gauge", "The highest phase that the file lets run; absent where it sets none."),
    Spec("guardian_rollout_goal_phase", "gauge", "The phase to which the newest roll-out goes, up or down."),
    Spec("guardian_rollout_reached_phase", "gauge", "The highest phase that has passed every gate of the newest roll-out."),
    Spec(
        "guardian_rollout_state",
        "gauge",
        "1 for what has become of the newest roll-out, 0 for the rest: running, done, failed or broken_off.",
        ("state",),
    ),
    Spec(
        "guardian_rollout_began_timestamp_seconds", "gauge", "When the newest roll-out was begun, in seconds since the epoch."
    ),
    Spec(
        "guardian_rollout_due_timestamp_seconds",
        "gauge",
        "By when a roll-out that runs has to have taken its next step, by its own waits; absent while none runs.",
    ),
    Spec("guardian_engine_up", "gauge", "1 while the engine answers, else 0."),
    Spec(
        "guardian_engine_request_duration_seconds",
        "histogram",
        "How long calls to the engine took, failed ones included.",
        ("operation",),
        CALL_BUCKETS_S,
    ),
    Spec(
        "guardian_engine_request_errors_total",
        "counter",
        "Calls to the engine that failed, by why: unreachable, timeout, refused, protocol.",
        ("operation", "reason"),
    ),
    Spec(
        "guardian_event_stream_reconnects_total", "counter", "How often the engine's stream of events had to be opened again."
    ),
    Spec("guardian_tick_duration_seconds", "histogram", "How long one whole tick took.", (), TICK_BUCKETS_S),
    Spec("guardian_tick_lag_seconds", "gauge", "How late the newest tick began."),
    Spec("guardian_tick_interval_seconds", "gauge", "The present pace: the planned time from one tick to the next."),
    Spec(
        "guardian_pressure_wakes_total",
        "counter",
        "How often the kernel reported that tasks wait for the resource, and a tick came at once.",
        ("resource",),
    ),
    Spec(
        "guardian_time_jumps_total",
        "counter",
        "Times that time passed unseen: late (a tick began over 5 s late), suspend (the host slept), clock_set (the wall clock).",
        ("kind",),
    ),
    Spec(
        "guardian_sample_duration_seconds",
        "histogram",
        "How long one reading took, of the host or of all containers.",
        ("source",),
        CALL_BUCKETS_S,
    ),
    Spec(
        "guardian_sample_last_success_timestamp_seconds",
        "gauge",
        "When the source was last read, in seconds since the epoch.",
        ("source",),
    ),
    Spec(
        "guardian_sample_failures_total", "counter", "Readings that failed; what they would have said is unknown.", ("source",)
    ),
    Spec(
        "guardian_task_failures_total",
        "counter",
        "Runs of guardian's own tasks that broke off, for want of memory or by a mistake: tick, containers, config. "
        "The next run makes up for it.",
        ("task",),
    ),
    Spec(
        "guardian_connections_cut_total",
        "counter",
        "Connections of readers that were cut because they took too long, by side: web or control.",
        ("side",),
    ),
    Spec("guardian_log_lines_dropped_total", "counter", "Log lines lost because whoever reads the log was too slow."),
    Spec("guardian_host_memory_total_bytes", "gauge", "Memory of the host."),
    Spec("guardian_host_memory_available_bytes", "gauge", "Memory that the kernel could give out without swapping."),
    Spec("guardian_host_cpu_usage_ratio", "gauge", "Use of all cores, mean of 10 s, without iowait and steal: 0 to 1."),
    Spec(
        "guardian_host_pressure_ratio",
        "gauge",
        "Share of the last 10 s in which some or all tasks waited for the resource (PSI avg10): 0 to 1.",
        ("resource", "kind"),
    ),
    Spec("guardian_host_disk_available_bytes", "gauge", "Room left on the engine's file system."),
    Spec("guardian_host_disk_total_bytes", "gauge", "Size of the engine's file system."),
    Spec(
        "guardian_host_disk_full_in_seconds",
        "gauge",
        "Time until the engine's file system is full at its growth over seven days; +Inf where it does not grow; absent where that is unknown.",
    ),
    Spec(
        "guardian_storage_last_success_timestamp_seconds",
        "gauge",
        "When storage was last measured, in seconds since the epoch.",
    ),
    Spec("guardian_signal_ratio", "gauge", "The value that this signal's thresholds are compared with: 0 to 1.", ("signal",)),
    Spec("guardian_threshold_ratio", "gauge", "Thresholds in force: soft, hard and recover.", ("signal", "level")),
    Spec("guardian_signal_level", "gauge", "Level of the signal: 0 ok, 1 soft, 2 hard.", ("signal",)),
    Spec("guardian_level", "gauge", "Level of the host: 0 ok, 1 soft, 2 hard."),
    Spec("guardian_memory_fill_bytes_per_second", "gauge", "Rate at which memory fills; absent where it is not known to fill."),
    Spec("guardian_memory_full_in_seconds", "gauge", "Time until memory is full at that rate; +Inf where it is not filling."),
    Spec("guardian_deficit_bytes", "gauge", "Memory that must be given back to reach the recover mark, less pending relief."),
    Spec("guardian_deficit_cores", "gauge", "CPU that must be given back to reach the recover mark, less pending relief."),
    Spec("guardian_pending_relief_bytes", "gauge", "Memory that stops in flight are expected to give back."),
    Spec("guardian_exhausted", "gauge", "1 while memory is hard and nothing that is left to shed would be enough."),
    Spec(
        "guardian_shedding_ineffective",
        "gauge",
        "1 while soft shedding for this signal pauses, because it brought next to nothing.",
        ("signal",),
    ),
    Spec(
        "guardian_phase_memory_usage_bytes",
        "gauge",
        "Working sets of phases 1 to this one together; absent while one is unknown.",
        ("phase",),
    ),
    Spec("guardian_phase_memory_budget_bytes", "gauge", "What phases 1 to this one may use together.", ("phase",)),
    Spec(
        "guardian_phase_cpu_usage_cores",
        "gauge",
        "CPU of phases 1 to this one together; absent while one is unknown.",
        ("phase",),
    ),
    Spec("guardian_phase_cpu_budget_cores", "gauge", "What phases 1 to this one may use together.", ("phase",)),
    Spec(
        "guardian_phase_storage_usage_bytes",
        "gauge",
        "Storage of phases 1 to this one together; absent while unknown.",
        ("phase",),
    ),
    Spec("guardian_phase_storage_budget_bytes", "gauge", "What phases 1 to this one may use together.", ("phase",)),
    Spec(
        "guardian_phase_over_budget",
        "gauge",
        "1 while phases 1 to this one use more than their budget, else 0; absent without a budget or while the use is unknown.",
        ("phase", "resource"),
    ),
    Spec(
        "guardian_phase_services",
        "gauge",
        "Services of this phase alone by state: running, unhealthy, shed, quarantined, completed, stopped, missing.",
        ("phase", "state"),
    ),
    Spec("guardian_service_info", "gauge", "Always 1, for each container; `name` joins to cAdvisor's.", (*SERVICE, "name")),
    Spec(
        "guardian_service_memory_working_set_bytes", "gauge", "Memory as `docker stats` shows it, over all replicas.", SERVICE
    ),
    Spec("guardian_service_memory_footprint_bytes", "gauge", "Memory that the host gets back when the service ends.", SERVICE),
    Spec("guardian_service_memory_limit_bytes", "gauge", "Memory limit; absent where there is none.", SERVICE),
    Spec(
        "guardian_service_limit_drift",
        "gauge",
        "1 while a running container has another limit, or none, than the file's `limits`; absent where the file has none.",
        (*SERVICE, "resource"),
    ),
    Spec("guardian_service_cpu_usage_cores", "gauge", "CPU in use, over all replicas.", SERVICE),
    Spec(
        "guardian_service_oom_kills_total", "counter", "Processes of the service that the kernel's OOM killer ended.", SERVICE
    ),
    Spec(
        "guardian_service_cpu_periods_total",
        "counter",
        "Periods of the service's CPU quota in which it ran; absent without a quota.",
        SERVICE,
    ),
    Spec(
        "guardian_service_cpu_throttled_periods_total",
        "counter",
        "Those of them in which the quota held it back.",
        SERVICE,
    ),
    Spec(
        "guardian_service_pressure_ratio",
        "gauge",
        "PSI of its cgroup, mean of 10 s; kind is some or full; the highest of its replicas. cgroup v2 only.",
        (*SERVICE, "resource", "kind"),
    ),
    Spec(
        "guardian_service_restarts_total", "counter", "Restarts that the engine made by the service's restart policy.", SERVICE
    ),
    Spec(
        "guardian_service_storage_bytes",
        "gauge",
        "What its containers have written and its volumes, as last measured: every six hours. Logs and bind mounts are not in it.",
        SERVICE,
    ),
    Spec(
        "guardian_service_up",
        "gauge",
        "1 if at least one replica runs, else 0; absent for a one-shot that has completed.",
        SERVICE,
    ),
    Spec(
        "guardian_service_healthy",
        "gauge",
        "What the health checks say, the container's own and guardian's probe; absent where there is none or it is starting.",
        SERVICE,
    ),
    Spec(
        "guardian_probe_duration_seconds",
        "histogram",
        "How long services took to answer probes of guardian's own; failed probes are not in it.",
        SERVICE[:2],
        PROBE_BUCKETS_S,
    ),
    Spec(
        "guardian_probe_failures_total",
        "counter",
        "Probes of guardian's own that failed, less those of services that are starting.",
        SERVICE[:2],
    ),
    Spec("guardian_service_pinned", "gauge", "1 while an operator has pinned the service: it is no victim.", SERVICE),
    Spec("guardian_service_shed", "gauge", "1 while the service is down because guardian stopped it, else 0.", SERVICE),
    Spec(
        "guardian_service_shed_timestamp_seconds",
        "gauge",
        "Since when it is down because guardian stopped it, in seconds since the epoch; absent otherwise.",
        SERVICE,
    ),
    Spec(
        "guardian_actions_total",
        "counter",
        "Actions that ended, by how: done, gone, refused, timed_out, failed, observed (decided in observe mode, not done).",
        ("action", "phase", "reason", "result"),
    ),
    Spec(
        "guardian_action_duration_seconds",
        "histogram",
        "How long actions took, failed ones included, observed ones not.",
        ("action",),
        ACTION_BUCKETS_S,
    ),
    Spec(
        "guardian_relief_bytes_total",
        "counter",
        "Relief of sheds of which both are known: predicted when decided, and measured afterwards.",
        ("kind",),
    ),
    Spec(
        "guardian_reaction_seconds",
        "histogram",
        "From the crossing of a threshold to the sending of the stop that answers it.",
        (),
        REACTION_BUCKETS_S,
    ),
    Spec(
        "guardian_held_actions_total",
        "counter",
        "Decisions not to act, each counted once when it begins to hold.",
        ("action", "reason"),
    ),
    Spec(
        "guardian_overrides_total",
        "counter",
        "Times that somebody else started or stopped a service; a stop counts after 30 s, unless the engine has ended by then.",
        ("kind",),
    ),
    Spec(
        "guardian_objective_target",
        "gauge",
        "What the file aims at: seconds for response_time, a ratio for the others; absent where it is not set.",
        ("objective",),
    ),
    Spec(
        "guardian_objective_value",
        "gauge",
        "What came of it over the last 30 days, where it is worst; absent while unknown.",
        ("objective",),
    ),
    Spec(
        "guardian_objective_met",
        "gauge",
        "1 if each service or phase that it is about meets it over the last 30 days, 0 if one does not; absent while unknown.",
        ("objective",),
    ),
    Spec(
        "guardian_objective_error_budget_ratio",
        "gauge",
        "What is left of the error budget of the last 30 days where it is least: 1 all, 0 none, below 0 overdrawn.",
        ("objective",),
    ),
    Spec("guardian_ledger_open", "gauge", "Sheds that guardian still owes a restore for."),
    Spec("guardian_ledger_late_writes_total", "counter", "Times that guardian acted before the ledger had written it down."),
    Spec("guardian_ledger_write_failures_total", "counter", "Writes of the ledger that failed."),
    Spec(
        "guardian_ledger_put_aside_total",
        "counter",
        "Times that the ledger's file was broken and put aside: what was owed before is not known any more.",
    ),
    Spec(
        "guardian_record_dropped_total",
        "counter",
        "Ticks, or rows of several, that the recording will never have: see its log.",
    ),
    Spec("guardian_record_write_failures_total", "counter", "Writes of the recording that failed; they are tried again."),
    Spec("guardian_record_size_bytes", "gauge", "What the recording takes of its file; at most 200 MB."),
    Spec(
        "guardian_notifications_total", "counter", "Notifications by channel and how sending them ended.", ("channel", "result")
    ),
)

CATALOG = {spec.name: spec for spec in _ALL}
