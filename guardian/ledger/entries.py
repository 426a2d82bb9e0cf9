"""What the ledger holds: entries, controls and history. Pure values and transitions; `store` makes them durable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guardian.model import ActionKind, Result, ServiceKey


class EntryState(StrEnum):
    """`intended` is committed when a shed is decided, `sent` just before the call, `shed` once it is known to have worked."""

    INTENDED = "intended"
    SENT = "sent"
    SHED = "shed"
    RESTORING = "restoring"  # the start is about to be sent or was sent: a running container is no override
    CLOSED = "closed"


class Closed(StrEnum):
    """Why an entry was closed."""

    RESTORED = "restored"
    NEVER_SENT = "never_sent"  # intended, and no call was made
    FAILED = "failed"  # the stop failed: nothing was shed
    OVERRIDDEN = "overridden"  # somebody started it
    RETURNED = "returned"  # the engine brought it back, and it stayed through probation
    REMOVED = "removed"  # the container is gone for a day; with a lowered quota: is gone
    FORGOTTEN = "forgotten"  # an operator said so
    SUPERSEDED = "superseded"  # a newer stop of the same service took its obligations over


class Means(StrEnum):
    API = "api"
    RESTART = "restart"  # by a restart: it comes back at once, unless the engine does not get that far
    SIGNAL = "signal"  # ended by signal while the engine hung
    THROTTLE = "throttle"  # not stopped: its CPU quota was lowered


@dataclass(frozen=True, slots=True)
class EntryContainer:
    """One replica that ran when the service was shed: only these are ever started again."""

    id: str
    name: str
    number: int
    stopped: bool = False  # known to have been stopped (or throttled) by guardian: a start is owed
    sent_wall_s: float | None = None  # asked to stop since, and not known to be somebody else's doing
    finished_wall_s: float | None = None  # when it ended by that stop, as the engine says; another time: it ran again since
    restart_policy: str = "no"


@dataclass(frozen=True, slots=True)
class Entry:
    """One shed of one service, from the decision until guardian owes nothing any more."""

    id: str  # the action's id
    service: ServiceKey
    phase: int
    containers: tuple[EntryContainer, ...]
    reason: str
    state: EntryState
    decided_wall_s: float
    means: Means = Means.API
    by: str = ""  # who ordered it, if a person did
    sent_wall_s: float | None = None
    settled_wall_s: float | None = None
    stop_within_s: float = 15.0  # from `sent` on: how long the engine may take to carry the stop out
    restore_id: str = ""  # the action that starts it again
    restore_sent_wall_s: float | None = None
    closed_wall_s: float | None = None
    closed: Closed | None = None
    missing_since_wall_s: float | None = None  # its containers are not there
    unlisted_wall_s: float | None = None  # no phase lists it since: restored once, then unmanaged
    returned_wall_s: float | None = None  # the engine brought it back: it runs, and is closed after probation or shed again
    expected_relief_bytes: int | None = None
    expected_relief_cores: float | None = None
    measured_relief_bytes: int | None = None
    expected_bytes: int | None = None  # what a restore will need: p95 of the footprint over the hour before, at most the limit
    expected_cores: float | None = None  # likewise; of a throttle: the quota to put back, None where there was none

    @property
    def open(self) -> bool:
        return self.state is not EntryState.CLOSED

    @property
    def owed(self) -> tuple[EntryContainer, ...]:
        """The replicas that guardian stopped and has not started again: only these are ever started."""
        return tuple(one for one in self.containers if one.stopped)

    @property
    def returning(self) -> bool:
        """Whether it is a restart under way: nothing is shed, and nothing is owed as far as is known."""
        return self.means is Means.RESTART and not self.owed

    @property
    def in_doubt(self) -> tuple[EntryContainer, ...]:
        """Replicas that were asked to stop, where it is not known yet whether they did."""
        return tuple(one for one in self.containers if one.sent_wall_s is not None and not one.stopped)


@dataclass(frozen=True, slots=True)
class ServiceMemory:
    """What must outlive a restart about one service, beside its entry."""

    service: ServiceKey
    backoff_s: float = 0.0  # 0: none yet; doubled at each shed on probation
    not_before_wall_s: float = 0.0  # no restore before this
    probation_until_wall_s: float = 0.0
    flaps_wall_s: tuple[float, ...] = ()  # times of counted flaps, within a day
    quarantined: bool = False
    early_bytes: int | None = None  # footprint 60 s after its last start
    early_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Controls:
    """Standing orders of an operator; they outlive a restart."""

    hold: str = ""  # who, empty: none
    standby_until_wall_s: float | None = None  # inf: until told otherwise
    standby_by: str = ""
    pins: frozenset[ServiceKey] = frozenset()


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One thing that happened, for `guardian history`."""

    at_wall_s: float
    action: ActionKind | str  # also: override, order, start, level, oom …
    service: ServiceKey | None
    phase: int | None
    reason: str
    result: Result | str
    signal: str = ""
    value: float | None = None
    threshold: float | None = None
    deficit: float | None = None
    expected_bytes: int | None = None
    measured_bytes: int | None = None
    by: str = ""
    detail: str = ""
    action_id: str = ""
