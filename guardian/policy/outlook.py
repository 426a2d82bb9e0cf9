"""What would be shed if a signal stood at some value now: the rules of a decision, asked before they are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from guardian.config.schema import Config
from guardian.ledger.entries import Entry
from guardian.model import Candidate, Deficit, HostReading, Level, ServiceKey, Signal
from guardian.policy import shed
from guardian.policy.assess import assess
from guardian.policy.decide import without_owed
from guardian.policy.platform import Platform
from guardian.policy.rank import candidates
from guardian.policy.state import PolicyState


@dataclass(frozen=True, slots=True)
class Outlook:
    """Amounts are in bytes, or in cores where the signal is one of CPU."""

    signal: Signal
    at_ratio: float
    now_ratio: float | None  # None: unknown
    recover_ratio: float
    capacity: float
    deficit: float  # what must be given back
    hard: bool  # all of it at once
    picked: tuple[Candidate, ...]  # in the order in which they go
    left: tuple[Candidate, ...]  # those that could go, each with why it does not
    excluded: tuple[tuple[ServiceKey, str], ...]  # those that could not
    covered: float  # what is given back by those that go


def outlook(
    signal: Signal,
    at_ratio: float | None,
    host: HostReading | None,
    platform: Platform,
    entries: tuple[Entry, ...],
    pins: frozenset[ServiceKey],
    state: PolicyState,
    config: Config,
    now_s: float,
) -> Outlook | str:
    """`at_ratio` None: the hard mark, or the present value where that is higher. A text says why there is none.

    What is under way, and what holds a shed back for a while, is left out: it is the order that is asked for.
    """
    assessment, _ = assess(host, platform, entries, pins, state, config, now_s)
    status = assessment.signal(signal)
    if status is None or status.hard is None:
        return f"{signal.value} is off, or has no capacity: set thresholds.{signal.value}, or host, in the file"
    if status.capacity is None:
        return f"{signal.value} is unknown, as it could not be read: `guardian doctor` says why"
    at = max(status.hard, status.value or 0.0) if at_ratio is None else at_ratio
    level = Level.HARD if at >= status.hard else Level.SOFT
    now_ratio, capacity = status.value, status.capacity
    status = replace(status, value=at, level=level)
    deficit = Deficit(signal, level, max(0.0, at - status.recover) * capacity, 0.0, at, status.soft)
    state = replace(state, flights=(), landings=(), last_outcome_s=None, virtual=())
    platform = without_owed(platform, entries)
    present = shed.uses(platform, now_s)
    found, excluded = candidates(platform, frozenset(), pins, state, now_s, present.footprints, present.cores)
    plan = shed.plan(status, deficit, found, assessment, host, platform, state, config, present, now_s)
    by_key = {one.service: one for one in plan.ranking}
    picked = tuple(by_key[one.service.key] for one in plan.picked)
    chosen = {key for one in plan.picked for key in one.group}
    return Outlook(
        signal=signal,
        at_ratio=at,
        now_ratio=now_ratio,
        recover_ratio=status.recover,
        capacity=capacity,
        deficit=deficit.total,
        hard=plan.hard,
        picked=picked,
        left=tuple(one for one in plan.ranking if one.service not in chosen),
        excluded=tuple(sorted(excluded.items())),
        covered=shed.covered(plan.picked, present.of(shed.resource_of(signal))),
    )
