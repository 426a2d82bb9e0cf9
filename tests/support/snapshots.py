"""A snapshot of the reference platform in trouble: 32 services, memory soft, one shed, one quarantined, one never started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from guardian.config.schema import Budget, Config, HostConfig, PhaseConfig
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import Controls, Entry, EntryContainer, EntryState
from guardian.model import (
    UNKNOWN_STRAIN,
    ActionKind,
    Assessment,
    Candidate,
    Container,
    ContainerState,
    Decision,
    Deficit,
    EngineInfo,
    Health,
    Held,
    HostReading,
    Inventory,
    Level,
    Mode,
    PhaseUse,
    Sample,
    ServiceKey,
    ServiceState,
    ServiceStatus,
    Signal,
    SignalStatus,
    Strain,
    Usage,
)
from guardian.rollout.progress import KnownRollOut, Progress, RollOutState, Stage
from guardian.units import Bytes, Cores, Share

MIB = 1024 * 1024
GIB = 1024 * MIB
PROJECT = "openpolicy"
AT_S = 5000.0
AT_WALL_S = 1_700_000_000.0

PHASES = tuple(
    (name, tuple(services.split()))
    for name, services in (
        ("core", "postgres redis api web gateway"),
        ("business", "auth-service config-service policy-service dashboard-service monitoring-service"),
        (
            "data",
            (
                "etl-service analytics-service search-service data-management-service reporting-service plotly-service "
                "files-service scraper-service"
            ),
        ),
        (
            "advanced",
            (
                "workflow-service integration-service notification-service representatives-service mobile-api legacy-django "
                "api-gateway scraper-runner"
            ),
        ),
        ("observability", "prometheus grafana elasticsearch logstash kibana fluentd"),
    )
)
SHED = ServiceKey(PROJECT, "kibana")
QUARANTINED = ServiceKey(PROJECT, "logstash")
MISSING = ServiceKey(PROJECT, "scraper-runner")
UNHEALTHY = ServiceKey(PROJECT, "etl-service")


def key(name: str) -> ServiceKey:
    return ServiceKey(PROJECT, name)


def config() -> Config:
    """The reference platform with `host.memory` and `host.cpu`, so that every signal is there."""
    budgets = ((512 * MIB, 0.25, 10**9), (GIB, 0.5, 2 * 10**9), (2 * GIB, 0.75, 5 * 10**9), (3 * GIB, 0.9, 8 * 10**9))
    budgets += ((4 * GIB, 1.0, 15 * 10**9),)
    return Config(
        version=1,
        mode=Mode.ENFORCE,
        project=PROJECT,
        target_phase=5,
        host=HostConfig(memory=Bytes(4 * GIB), cpu=Cores(2)),
        phases=tuple(
            PhaseConfig(
                phase=number,
                name=name,
                protected=number == 1,
                budget=Budget(memory=Bytes(memory), cpu=Share(ratio=cpu), storage=Bytes(storage)),
                services=services,
            )
            for number, ((name, services), (memory, cpu, storage)) in enumerate(zip(PHASES, budgets, strict=True), start=1)
        ),
    )


def service(name: str, phase: int, **changes: Any) -> ServiceStatus:
    """A running service with every reading known."""
    status = ServiceStatus(
        key=key(name),
        phase=phase,
        state=ServiceState.RUNNING,
        containers=(f"{PROJECT}-{name}-1",),
        running=1,
        protected=phase == 1,
        healthy=True,
        working_set_bytes=120 * MIB,
        footprint_bytes=100 * MIB,
        cpu_cores=0.05,
        memory_limit_bytes=512 * MIB,
        restarts=1,
        strain=Strain(0, 5, 600, 3, 0.01, 0.0, 0.02, 0.0),
    )
    return replace(status, **changes)


def services() -> tuple[ServiceStatus, ...]:
    down = {
        "running": 0, "healthy": None, "working_set_bytes": None, "footprint_bytes": None, "cpu_cores": None,
        "strain": UNKNOWN_STRAIN,
    }  # fmt: skip
    special: dict[ServiceKey, dict[str, Any]] = {
        SHED: {**down, "state": ServiceState.SHED, "shed_wall_s": AT_WALL_S - 90},
        QUARANTINED: {**down, "state": ServiceState.QUARANTINED, "shed_wall_s": AT_WALL_S - 3600},
        MISSING: {**down, "state": ServiceState.MISSING, "containers": (), "memory_limit_bytes": None},
        UNHEALTHY: {"state": ServiceState.UNHEALTHY, "healthy": False},
        key("grafana"): {"pinned": True},
    }
    return tuple(
        service(name, phase, **special.get(key(name), {})) for phase, (_, names) in enumerate(PHASES, start=1) for name in names
    )


def signal(name: Signal, value: float | None, level: Level = Level.OK, hard: float | None = 0.9) -> SignalStatus:
    return SignalStatus(name, value, level, since_s=AT_S - 30, soft=0.8, hard=hard, recover=0.7, capacity=4.0 * GIB)


def phase_uses(statuses: tuple[ServiceStatus, ...]) -> tuple[PhaseUse, ...]:
    uses = []
    for number, (name, _) in enumerate(PHASES, start=1):
        within = [one for one in statuses if one.phase <= number and one.running]
        own = [one.state for one in statuses if one.phase == number]
        memory, cores = sum(one.working_set_bytes or 0 for one in within), sum(one.cpu_cores or 0.0 for one in within)
        budget = number * 800 * MIB
        uses.append(
            PhaseUse(
                phase=number,
                name=name,
                memory_bytes=memory,
                memory_budget_bytes=budget,
                cpu_cores=cores,
                cpu_budget_cores=number * 0.4,
                storage_bytes=None,
                storage_budget_bytes=number * 10**9,
                over=("memory",) if memory > budget else (),
                services={state: own.count(state) for state in ServiceState},
            )
        )
    return tuple(uses)


def entry(service: ServiceKey, since_wall_s: float, **changes: Any) -> Entry:
    one = Entry(
        id=f"shed-{service.name}",
        service=service,
        phase=5,
        containers=(EntryContainer(id="c" * 64, name=f"{PROJECT}-{service.name}-1", number=1, stopped=True),),
        reason="memory",
        state=EntryState.SHED,
        decided_wall_s=since_wall_s - 2,
        sent_wall_s=since_wall_s - 1,
        settled_wall_s=since_wall_s,
        expected_relief_bytes=200 * MIB,
        measured_relief_bytes=190 * MIB,
        expected_bytes=220 * MIB,
        expected_cores=0.1,
    )
    return replace(one, **changes)


def inventory(statuses: tuple[ServiceStatus, ...]) -> Inventory:
    """The containers behind `statuses`, with what a status page must never show in reach: nothing of it is modelled."""
    containers = tuple(
        Container(
            id=f"{one.key.name:0<64}",
            name=name,
            service=one.key,
            state=ContainerState.RUNNING if one.running else ContainerState.EXITED,
            health=Health.HEALTHY,
        )
        for one in statuses
        for name in one.containers
    )
    return Inventory(AT_S, containers, {one.id: Usage(AT_S, 120 * MIB, 100 * MIB, 0.05, Strain(0, 5)) for one in containers})


def snapshot(**changes: Any) -> Snapshot:
    """The whole platform; `changes` replace fields of the snapshot."""
    statuses = services()
    victim = Candidate(
        key("fluentd"), 5, 1, (key("fluentd"),), 100 * MIB, 0.05, over_share=False, priority=0, on_probation=False
    )
    host = HostReading(
        at_s=AT_S,
        cores=2,
        memory_total_bytes=4 * GIB,
        memory_available_bytes=700 * MIB,
        swap_total_bytes=GIB,
        swap_used_bytes=100 * MIB,
        cpu_ratio=0.42,
        cpu_some_avg10_ratio=0.1,
        memory_some_avg10_ratio=0.2,
        memory_full_avg10_ratio=0.05,
        io_some_avg10_ratio=0.01,
        io_full_avg10_ratio=0.0,
        psi_present=True,
        disk_total_bytes=50 * GIB,
        disk_available_bytes=20 * GIB,
    )
    assessment = Assessment(
        at_s=AT_S,
        level=Level.SOFT,
        signals=(
            signal(Signal.MEMORY, 0.83, Level.SOFT),
            signal(Signal.CPU, 0.42),
            signal(Signal.PLATFORM_MEMORY, 0.79),
            signal(Signal.PLATFORM_CPU, 0.7),
            signal(Signal.SWAP, 0.1, hard=None),
            signal(Signal.MEMORY_PRESSURE, 0.05, hard=None),
            signal(Signal.DISK, 0.6),
        ),
        services=statuses,
        phases=phase_uses(statuses),
        fill_bytes_per_s=5.0 * MIB,
        full_in_s=140.0,
        unmanaged=("openpolicy-debug-1",),
    )
    decision = Decision(
        at_s=AT_S,
        held=(Held(ActionKind.RESTORE, "pressure", SHED, "the host is soft"),),
        candidates=(victim, replace(victim, service=key("grafana"), rank=2, passed_over="pinned")),
        deficits=(Deficit(Signal.MEMORY, Level.SOFT, total=530.0 * MIB, pending=200.0 * MIB, value=0.83, threshold=0.7),),
        holds=("pressure",),
        next_shed=victim,
        next_restore=SHED,
    )
    built = Snapshot(
        at_s=AT_S,
        at_wall_s=AT_WALL_S,
        mode=Mode.ENFORCE,
        config=config(),
        sample=Sample(host, inventory(statuses)),
        assessment=assessment,
        decision=decision,
        entries=(entry(SHED, AT_WALL_S - 90), entry(QUARANTINED, AT_WALL_S - 3600, by="anna", reason="operator")),
        quarantined=(QUARANTINED,),
        controls=Controls(pins=frozenset({key("grafana")})),
        in_flight=("shed openpolicy/fluentd since 3s",),
        engine_up=True,
        engine=EngineInfo("id", "host", "26.1.5", "1.45", 2, 2, 4 * GIB, "/var/lib/docker"),
        config_pending=(),
        ticks=5000,
        rollout=KnownRollOut(
            Progress(
                goal=5, down=False, from_zero=False, by="anna", began_wall_s=AT_WALL_S - 7200, stage=Stage.DONE, reached=5
            ),
            RollOutState.DONE,
        ),
    )
    return replace(built, **changes)
