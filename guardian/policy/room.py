"""What may be started now: the room under the soft marks, and what else holds a start back. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from guardian.config.schema import Config
from guardian.model import CPU_SIGNALS, Assessment, Level, ServiceKey, Signal
from guardian.policy import shed
from guardian.policy.assess import SHEDDING, SUPPORTING
from guardian.policy.platform import Platform
from guardian.policy.state import PolicyState


class Room(NamedTuple):
    """Of one signal, in bytes, or cores where it is one of CPU: what a start needs, and what is left below soft less the margin.

    `room` is None where the signal is unknown: then nothing fits.
    """

    signal: Signal
    need: float
    room: float | None

    @property
    def fits(self) -> bool:
        return self.room is not None and self.need < self.room

    def __str__(self) -> str:
        if self.room is None:
            return f"{self.signal.value} is unknown"
        if self.signal in CPU_SIGNALS:
            return f"{self.signal.value}: needs {self.need:.2f} cores, has {self.room:.2f}"
        return f"{self.signal.value}: needs {self.need / 2**20:.0f} MiB, has {self.room / 2**20:.0f} MiB"

    @property
    def missing(self) -> str:
        """How much is missing, in words; empty where it fits, or is not known."""
        if self.fits or self.room is None:
            return ""
        lacking = self.need - self.room
        return f"{lacking:.2f} cores" if self.signal in CPU_SIGNALS else f"{lacking / 2**20:.0f} MiB"


def rooms(
    need_bytes: float | None,
    need_cores: float | None,
    assessment: Assessment,
    platform: Platform,
    state: PolicyState,
    config: Config,
    now_s: float,
    growing: bool = True,
) -> tuple[Room, ...]:
    """Of each memory and CPU signal. A need that is not known (None) counts as none: whoever asks for such has to go slowly.

    `growing`: what services on probation are still expected to grow to is taken off the room.
    """
    found = []
    for signal in SHEDDING:
        status = assessment.signal(signal)
        if status is None:
            continue
        is_cpu = signal in CPU_SIGNALS
        need = (need_cores if is_cpu else need_bytes) or 0.0
        if status.value is None or status.capacity is None:
            found.append(Room(signal, need, None))
            continue
        taken = still_growing(platform, state, is_cpu, now_s) if growing else 0.0
        free = (status.soft - config.restoring.margin) * status.capacity - status.value * status.capacity
        found.append(Room(signal, need, free - taken))
    return tuple(found)


def still_growing(platform: Platform, state: PolicyState, is_cpu: bool, now_s: float) -> float:
    """What services on probation are expected to need beyond what they use already."""
    total = 0.0
    for key, memo in state.memos.items():
        if memo.probation_until_s is None or now_s >= memo.probation_until_s:
            continue
        service = platform.services.get(key)
        expected = memo.restored_cores if is_cpu else memo.restored_bytes
        if service is None or expected is None:
            continue
        now = platform.cores(service, now_s, 2) if is_cpu else platform.footprint(service, now_s, 2)
        total += max(0.0, expected - (now or 0.0))
    return total


# --- starts by an operator's roll-out -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    """A service that is about to be started by a roll-out, and what it is expected to use: bytes and cores; None: unknown."""

    service: ServiceKey
    expected_bytes: int | None
    expected_cores: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a start may be made now. `reason` is a short label, empty: it may; `detail` says it in words."""

    reason: str = ""
    detail: str = ""
    rooms: tuple[Room, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """For programs: `room` is null where the signal is unknown."""
        found = [{"signal": one.signal.value, "need": one.need, "room": one.room} for one in self.rooms]
        return {"reason": self.reason, "detail": self.detail, "rooms": found}

    @staticmethod
    def of_data(data: dict[str, Any]) -> Verdict:
        """What `as_data` made."""
        found = (Room(Signal(one["signal"]), one["need"], one["room"]) for one in data["rooms"])
        return Verdict(data["reason"], data["detail"], tuple(found))


def may_start(
    need_bytes: float | None,
    need_cores: float | None,
    holds: Iterable[str],
    assessment: Assessment,
    platform: Platform,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> Verdict:
    """Whether there is room for that much, and nothing holds starts back. `holds` are reasons as `Decision.holds` has them."""
    found = rooms(need_bytes, need_cores, assessment, platform, state, config, now_s)
    held = next(iter(holds), "")
    if held:
        return Verdict(held, _why_held(held, assessment), found)
    if state.flights:
        busy = state.flights[0].action
        return Verdict("in_flight", f"guardian is busy: {busy.kind.value} of {busy.service}", found)
    if state.landings or any(signals.counting for key, signals in state.signals.items() if key in SUPPORTING):
        return Verdict("settling", "what was stopped last has not settled yet", found)
    lacking = next((one for one in found if not one.fits), None)
    if lacking is not None:
        missing = f": {lacking.missing} missing" if lacking.missing else ""
        return Verdict("no_room", f"{lacking}{missing}", found)
    return Verdict(rooms=found)


def with_admitted(
    state: PolicyState, admitted: Iterable[Admitted], assessment: Assessment, config: Config, now_s: float
) -> PolicyState:
    """Remember what is about to be started: room is kept for what it will grow to, and it is on probation as a restore is."""
    memos = dict(state.memos)
    bases = {status.signal: used for status in assessment.signals if (used := shed.amount(status)) is not None}
    for one in admitted:
        memos[one.service] = replace(
            state.memo(one.service),
            restored_bytes=one.expected_bytes,
            restored_cores=one.expected_cores,
            base_bytes=bases,
            probation_until_s=now_s + config.restoring.probation,
        )
    return replace(state, memos=memos)


def _why_held(reason: str, assessment: Assessment) -> str:
    if reason == "pressure":
        pressed = [f"{one.signal.value} is {one.level}" for one in assessment.signals if one.level is not Level.OK]
        return f"the host is {assessment.level}" + (f": {', '.join(pressed)}" if pressed else "")
    return {
        "standby": "standby is on: end it by `guardian standby --off`",
        "operator": "an operator holds all starts: end it by `guardian release`",
        "engine": "the engine does not answer",
        "disk": "the engine's file system is at its hard mark",
    }.get(reason, reason)
