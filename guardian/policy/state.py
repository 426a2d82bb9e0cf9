"""What the policy remembers from tick to tick. All of it is a value; all times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from guardian.model import Action, Level, ServiceKey, Signal
from guardian.policy.tally import Tally


@dataclass(frozen=True, slots=True)
class SignalState:
    """One signal's level, and for how long its value has been on the side that would change it."""

    level: Level = Level.OK
    since_s: float = 0.0
    soft_run_s: float | None = None  # time spent ≥ soft; None: not there
    hard_run_s: float | None = None  # ≥ hard
    calm_run_s: float | None = None  # < hard, while hard
    recover_run_s: float | None = None  # < recover
    counting: bool = False  # a supporting signal that makes memory soft
    uncounted_run_s: float | None = None  # memory < its recover mark while counting
    previous: tuple[float, float] | None = None  # (at_s, value) of the reading before, to interpolate crossings
    crossed_soft_s: float | None = None
    crossed_hard_s: float | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """Use when a shed was decided, to measure what it brought. Bytes for memory signals, cores for CPU."""

    used: float | None
    services: Mapping[ServiceKey, float | None]


@dataclass(frozen=True, slots=True)
class Flight:
    """An action that was handed out and has not ended."""

    action: Action
    since_s: float
    batch: str
    signal: Signal | None
    baseline: Baseline | None = None
    hastened: bool = False

    def overdue(self, now_s: float) -> bool:
        """Whether the engine had its grace, and half of what the deadline leaves beyond: then its adapter has it killed."""
        grace, deadline = self.action.grace_s, self.action.deadline_s
        return now_s - self.since_s >= grace + max(0.0, deadline - grace) / 2


@dataclass(frozen=True, slots=True)
class Landing:
    """A shed that has ended well; its relief is waited for."""

    action: Action
    gone_s: float
    batch: str
    signal: Signal | None
    baseline: Baseline | None


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breaker of one signal."""

    useless: int = 0  # settled sheds in a row that brought under a quarter
    open_until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Memo:
    """What is remembered of one service."""

    backoff_s: float = 0.0
    not_before_s: float | None = None  # no restore before this
    probation_until_s: float | None = None
    flaps_s: tuple[float, ...] = ()
    quarantined: bool = False
    early_bytes: int | None = None  # footprint 60 s after its last start
    early_cores: float | None = None
    early_of_s: float | None = None  # the start that those figures belong to
    refused_since_s: float | None = None  # no room for its restore since
    override_until_s: float | None = None  # somebody started it: no soft victim until then
    failures: int = 0  # stops or starts in a row that failed
    retry_at_s: float | None = None
    restored_bytes: int | None = None  # what its last restore was expected to need, held back for it while on probation
    restored_cores: float | None = None
    base_bytes: Mapping[Signal, float] = field(default_factory=dict)  # use of each signal just before it was last restored


_NOTHING = Memo()


@dataclass(frozen=True, slots=True)
class Virtual:
    """A service that observe mode would have stopped."""

    service: ServiceKey
    phase: int
    at_s: float
    containers: tuple[str, ...]
    relief_bytes: int | None
    relief_cores: float | None


@dataclass(frozen=True, slots=True)
class Rising:
    """A restore that was sent; the next waits until this one is up."""

    service: ServiceKey
    since_s: float
    up_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyState:
    """All of it. `run_id` makes action ids unique over restarts."""

    run_id: str = "0"
    actions: int = 0  # handed out so far
    began_s: float | None = None  # the first tick
    tick_s: float | None = None  # the previous tick
    signals: Mapping[Signal, SignalState] = field(default_factory=dict)
    level: Level = Level.OK
    level_since_s: float = 0.0
    memory_readings: tuple[tuple[float, float], ...] = ()  # newest 3 s of (at_s, used bytes)
    flights: tuple[Flight, ...] = ()
    landings: tuple[Landing, ...] = ()
    last_outcome_s: float | None = None
    soft_sheds_s: tuple[float, ...] = ()  # times within the last hour
    breakers: Mapping[Signal, Breaker] = field(default_factory=dict)
    exhausted_since_s: float | None = None
    emergency: bool = False  # phases protected as phases go too, until memory is no longer hard
    memos: Mapping[ServiceKey, Memo] = field(default_factory=dict)
    virtual: tuple[Virtual, ...] = ()
    rising: Rising | None = None
    throttled: Mapping[ServiceKey, float] = field(default_factory=dict)  # since when
    ordered: tuple[tuple[ServiceKey, str], ...] = ()  # restores that an operator asked for, and who
    restarts: Mapping[ServiceKey, tuple[float, ...]] = field(
        default_factory=dict
    )  # when each was restarted, within the last hour
    demand: Mapping[ServiceKey, tuple[tuple[int, float | None], ...]] = field(
        default_factory=dict
    )  # (bytes, cores) a minute, newest last
    demand_s: float | None = None  # when `demand` was last added to
    tally: Tally | None = field(default=None, compare=False, repr=False)  # of the previous tick, which may hold still

    def memo(self, service: ServiceKey) -> Memo:
        return self.memos.get(service, _NOTHING)
