"""The values that flow through one tick: sample -> assessment -> decision -> outcome.

All are frozen. Units stand in the names: `_bytes`, `_cores`, `_ratio` (0 to 1), `_s` (seconds). A bare `_s` time is
monotonic; `_wall_s` is seconds since the Unix epoch. None always means *unknown*, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Mode(StrEnum):
    OBSERVE = "observe"
    ENFORCE = "enforce"


class Level(IntEnum):
    OK = 0
    SOFT = 1
    HARD = 2

    def __str__(self) -> str:
        return self.name.lower()


class Signal(StrEnum):
    """One measured ratio that thresholds are compared with."""

    MEMORY = "memory"
    CPU = "cpu"
    PLATFORM_MEMORY = "platform_memory"
    PLATFORM_CPU = "platform_cpu"
    SWAP = "swap"
    MEMORY_PRESSURE = "memory_pressure"
    DISK = "disk"


MEMORY_SIGNALS = (Signal.MEMORY, Signal.PLATFORM_MEMORY)
CPU_SIGNALS = (Signal.CPU, Signal.PLATFORM_CPU)


class ServiceKey(NamedTuple):
    """A Compose service of a project, or a lone container: then `project` is empty and `name` the container's."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.name}" if self.project else self.name


# --- what the engine says -------------------------------------------------------------------------------------------


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"

    @property
    def up(self) -> bool:
        """Whether processes of it may hold memory."""
        return self in _UP


_UP = (ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING)


class Health(StrEnum):
    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Labels:
    """The `guardian.*` labels of a container, parsed once, at the engine's boundary. None: not set."""

    phase: int | None = None
    protect: bool | None = None
    priority: int | None = None
    stop_timeout_s: float | None = None
    problems: tuple[str, ...] = ()  # labels that could not be understood, in words


@dataclass(frozen=True, slots=True)
class Container:
    """One container as list and inspect show it. Measured use is in `Usage`."""

    id: str
    name: str
    service: ServiceKey
    number: int = 1  # the replica's, from Compose
    state: ContainerState = ContainerState.RUNNING
    health: Health = Health.NONE  # NONE: it has no health check
    started_s: float | None = None  # monotonic; of the present run
    started_wall_s: float | None = None
    finished_wall_s: float | None = None
    exit_code: int | None = None
    restarts: int = 0
    restart_policy: str = "no"  # no, on-failure, always, unless-stopped
    stop_timeout_s: float | None = None  # the container's own; None: the engine's default of 10 s
    memory_limit_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    cpu_limit_cores: float | None = None
    labels: Labels = Labels()
    depends_on: tuple[str, ...] = ()  # service names of the same project
    awaits: tuple[str, ...] = ()  # those of them that have to be completed first, as far as the labels tell
    shares: tuple[str, ...] = ()  # owners of namespaces it lives in: container ids or names
    network: str = ""  # host: the host's own; container: that of another; empty: one of its own
    pid: int | None = None  # of its first process, where the engine is on this host; it has none while it does not run
    oneoff: bool = False  # `compose run`
    swarm: bool = False
    auto_remove: bool = False  # `docker run --rm`: the engine removes it when it ends
    completed: bool = False  # a one-shot that has done its work: exited 0 with no restart policy that would repeat it
    unread: bool = False  # its last inspect failed: it is as the list shows it, and else as it was before
    unknown: bool = False  # … and none has ever succeeded: what no list shows is not known


@dataclass(frozen=True, slots=True)
class Strain:
    """What a container ran short of. It decides nothing and is read more rarely than its use, so it may be some seconds older.

    Pressure (PSI) is the share of the last 10 s in which some, or all, of its tasks waited;
    cgroup v1 and the engine do not tell it.
    """

    oom_kills: int | None = None
    pids: int | None = None
    cpu_periods: int | None = None  # of its CPU quota
    cpu_throttled_periods: int | None = None  # … in which it was held back
    memory_some_avg10_ratio: float | None = None
    memory_full_avg10_ratio: float | None = None
    cpu_some_avg10_ratio: float | None = None
    cpu_full_avg10_ratio: float | None = None


UNKNOWN_STRAIN = Strain()


class Usage(NamedTuple):
    """What one container used at `at_s`. Each figure may be unknown by itself.

    A tuple, because hundreds are made in one reading and a frozen dataclass takes three times as long.
    """

    at_s: float
    working_set_bytes: int | None = None
    footprint_bytes: int | None = None
    cpu_cores: float | None = None  # over the time since the previous sample, or ten seconds; a first sample has none
    strain: Strain = UNKNOWN_STRAIN


@dataclass(frozen=True, slots=True)
class Inventory:
    """All containers in scope (projects and lone ones), with the newest use known of each.

    What it shows of the containers is at least as new as `at_s`, as far as the engine has told by then: what no event
    told of is as it was. What guardian's own call did is shown where `at_s` is after that call's end.

    `usage` has the newest reading of a container, however old: readers compare `Usage.at_s` with `round_s`.
    """

    at_s: float
    containers: tuple[Container, ...]
    usage: Mapping[str, Usage] = field(default_factory=dict)  # by container id
    round_s: float = 5.0  # how long one round of sampling takes, its pause included


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself and of the host it runs on."""

    id: str
    name: str
    version: str
    api_version: str
    cgroup_version: int  # 1 or 2
    cpus: int
    memory_bytes: int
    root_dir: str  # where images and volumes lie: the file system of the signal `disk`


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One event of a container in scope. `action` as Docker names it: start, die, stop, kill, destroy, create …"""

    at_wall_s: float
    action: str
    container_id: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


# --- what the host says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostReading:
    """The host at `at_s`. `cpu_ratio` is the mean of the last 10 s, without iowait and steal; PSI figures are ratios."""

    at_s: float
    cores: int = 1
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    cpu_ratio: float | None = None
    cpu_some_avg10_ratio: float | None = None
    memory_some_avg10_ratio: float | None = None
    memory_full_avg10_ratio: float | None = None
    io_some_avg10_ratio: float | None = None
    io_full_avg10_ratio: float | None = None
    psi_present: bool = False  # the kernel offers PSI at all
    disk_total_bytes: int | None = None
    disk_available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What one tick senses. `host` may be None (unreadable); `inventory` is the newest there is, or None before the first."""

    host: HostReading | None
    inventory: Inventory | None


# --- assess ---------------------------------------------------------------------------------------------------------


class ServiceState(StrEnum):
    RUNNING = "running"
    UNHEALTHY = "unhealthy"  # runs, and its health check says no; or is being restarted for that
    SHED = "shed"  # stopped by guardian
    QUARANTINED = "quarantined"  # stopped by guardian and not to be restored until an operator says so
    COMPLETED = "completed"  # ended well, and nothing starts it again: a one-shot that has done its work
    STOPPED = "stopped"  # stopped by somebody else, or by itself
    MISSING = "missing"  # in the file, and no container of it


@dataclass(frozen=True, slots=True)
class SignalStatus:
    """One signal after this tick. `value` is None where unknown; thresholds are those in force."""

    signal: Signal
    value: float | None
    level: Level
    since_s: float  # when it reached this level
    soft: float
    hard: float | None
    recover: float
    capacity: float | None  # what ratio 1 means: bytes, or cores for CPU; None for pressure
    at_s: float | None = None  # of the reading behind `value`
    floor: float | None = None  # what is known for sure where `value` is not: readings of some containers are missing


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One managed service: what the file, the labels and the engine say of it, and its summed use over the replicas."""

    key: ServiceKey
    phase: int  # effective: after inheritance
    state: ServiceState
    containers: tuple[str, ...] = ()  # names
    running: int = 0  # replicas
    protected: bool = False  # by its phase
    protect: bool = False  # absolute
    pinned: bool = False
    enforced: bool = True  # its phase is not in observe
    healthy: bool | None = None  # None: no health check, or starting
    working_set_bytes: int | None = None
    footprint_bytes: int | None = None
    cpu_cores: float | None = None
    memory_limit_bytes: int | None = None
    restarts: int = 0
    strain: Strain = UNKNOWN_STRAIN
    shed_wall_s: float | None = None  # None too where target_phase keeps it down: that is no trouble


@dataclass(frozen=True, slots=True)
class PhaseUse:
    """Phases 1..phase together against their budget. A use is None when a running container's reading is unknown."""

    phase: int
    name: str
    memory_bytes: int | None
    memory_budget_bytes: int | None
    cpu_cores: float | None
    cpu_budget_cores: float | None
    storage_bytes: int | None
    storage_budget_bytes: int | None
    over: tuple[str, ...] = ()  # of memory, cpu, storage
    services: Mapping[ServiceState, int] = field(default_factory=dict)  # of this phase alone


@dataclass(frozen=True, slots=True)
class Deficit:
    """How much must be given back to reach the recover mark of `signal`: bytes for memory, cores for CPU."""

    signal: Signal
    level: Level
    total: float  # before pending relief
    pending: float  # relief of stops in flight
    value: float | None
    threshold: float

    @property
    def open(self) -> float:
        return max(0.0, self.total - self.pending)


@dataclass(frozen=True, slots=True)
class Assessment:
    at_s: float
    level: Level
    signals: tuple[SignalStatus, ...]
    services: tuple[ServiceStatus, ...]
    phases: tuple[PhaseUse, ...]
    fill_bytes_per_s: float | None  # None: not known or not filling
    full_in_s: float | None  # None: not filling
    unmanaged: tuple[str, ...] = ()  # names of running containers in scope that no phase lists
    disk_level: Level = Level.OK

    def signal(self, signal: Signal) -> SignalStatus | None:
        return next((status for status in self.signals if status.signal is signal), None)

    def service(self, key: ServiceKey) -> ServiceStatus | None:
        return next((status for status in self.services if status.key == key), None)


# --- decide ---------------------------------------------------------------------------------------------------------


class ActionKind(StrEnum):
    SHED = "shed"
    RESTORE = "restore"
    HASTEN = "hasten"  # shorten the grace of a shed in flight
    THROTTLE = "throttle"
    UNTHROTTLE = "unthrottle"
    RESTART = "restart"  # stop and start again: it is unhealthy


class Result(StrEnum):
    DONE = "done"
    GONE = "gone"  # the container no longer existed, or had already stopped by itself
    REFUSED = "refused"  # the engine said no
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    OBSERVED = "observed"  # decided in observe mode: nothing was done

    @property
    def ended_well(self) -> bool:
        """What was to be done is so."""
        return self in (Result.DONE, Result.GONE)


TARGET_PHASE = "target_phase"  # the reason of what is stopped because the file's `target_phase` is below it
ROLL_OUT = "rollout"  # the reason of what an operator's roll-out starts and stops itself


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do to one service. `id` is unique over restarts: it is the ledger's key."""

    id: str
    kind: ActionKind
    service: ServiceKey
    phase: int
    containers: tuple[str, ...]  # ids
    reason: str  # a signal's name, "operator", "target_phase" …
    grace_s: float = 10.0  # SHED, HASTEN, RESTART: 0 is a kill
    kill_after_grace: bool = True  # False: `kill: never`; the engine is asked to wait as long as it takes
    deadline_s: float = 15.0  # from the start of the call; later is a failure
    after: tuple[str, ...] = ()  # ids of actions whose containers must be gone first
    hard: bool = False  # part of a hard memory plan: the ledger may write late
    by_signal: bool = False  # SHED, HASTEN: the engine does not answer, so the processes are signalled instead
    cores: float | None = None  # THROTTLE, UNTHROTTLE: the new quota; None lifts it
    relief_bytes: int | None = None  # expected
    relief_cores: float | None = None
    expected_bytes: int | None = None  # SHED, RESTART: what a restore will need
    expected_cores: float | None = None  # likewise; THROTTLE: the quota that is put back, None where there was none
    by: str = ""  # who ordered it, if a person did
    crossed_s: float | None = None  # when the signal crossed the threshold that this answers, by interpolation


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended. `stopped` and `failed` are container ids; a partial stop is a failure with both."""

    action: Action
    result: Result
    at_s: float
    at_wall_s: float
    duration_s: float
    detail: str = ""
    stopped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One service considered for shedding, in rank order. `passed_over` says why it was not taken; empty: taken."""

    service: ServiceKey
    phase: int
    rank: int
    group: tuple[ServiceKey, ...]  # what stops with it, dependents first, itself last
    relief_bytes: int | None
    relief_cores: float | None
    over_share: bool
    priority: int
    on_probation: bool
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A decision not to act: what would have been done, and why it was not."""

    action: ActionKind
    reason: str  # a short label, fit for a metric
    service: ServiceKey | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What one shed was seen to bring, once a newer reading showed it. `measured` is None where no reading came in time."""

    action: Action
    signal: Signal | None
    expected: float | None  # bytes, or cores where `signal` is one of CPU
    measured: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    at_s: float
    actions: tuple[Action, ...] = ()
    held: tuple[Held, ...] = ()
    candidates: tuple[Candidate, ...] = ()  # those looked at for the shed of this tick, or for the next one
    excluded: Mapping[ServiceKey, str] = field(default_factory=dict)  # why each other service could be none, in a word
    deficits: tuple[Deficit, ...] = ()
    holds: tuple[str, ...] = ()  # reasons why nothing is started: pressure, operator, engine, disk
    standby: bool = False
    exhausted: bool = False
    emergency: bool = False  # phases that are protected as phases may be shed, save `emergency.keep`
    ineffective: tuple[Signal, ...] = ()  # circuit breakers that are open
    next_shed: Candidate | None = None
    next_restore: ServiceKey | None = None
    settled: tuple[Settled, ...] = ()
    restored: tuple[ServiceKey, ...] = ()  # up again: nothing is owed any more
    fallen: tuple[ServiceKey, ...] = ()  # were started, and did not stay up
    signal: SignalStatus | None = None  # what the actions of this tick answer
    deficit: Deficit | None = None
    notes: tuple[str, ...] = ()  # for the log: state changes worth a line
