"""What a replay comes to: what was shed, when, why and for how long, and what the host was at meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from guardian.model import Action, ActionKind, Level, ServiceKey, Signal
from guardian.replay.run import Look

STOPS = (ActionKind.SHED, ActionKind.THROTTLE)
MOST_POINTS = 1500  # of a curve


@dataclass(slots=True)
class Absence:
    """One service, from its shed (or throttle) to its restore."""

    service: ServiceKey
    phase: int
    kind: ActionKind
    at_wall_s: float
    reason: str
    value: float | None  # of the signal, as a ratio
    threshold: float | None
    relief_bytes: int | None
    relief_cores: float | None
    by: str
    flap: bool  # it was on probation
    until_wall_s: float | None = None  # None: not restored when the record ends


@dataclass(frozen=True, slots=True)
class Peak:
    ratio: float
    at_wall_s: float


@dataclass(slots=True)
class Summary:
    """Figures of one replay. Seconds are of recorded time."""

    since_wall_s: float | None = None
    until_wall_s: float | None = None
    recorded_s: float = 0.0
    as_recorded: bool = True
    absences: list[Absence] = field(default_factory=list)
    peaks: dict[Signal, Peak] = field(default_factory=dict)
    above_soft_s: dict[Signal, float] = field(default_factory=dict)
    above_hard_s: dict[Signal, float] = field(default_factory=dict)
    level_s: dict[Level, float] = field(default_factory=dict)
    exhausted_s: float = 0.0
    quarantined: tuple[ServiceKey, ...] = ()
    curves: dict[Signal, list[tuple[float, float]]] = field(default_factory=dict)
    marks: dict[Signal, tuple[float, float | None, float]] = field(default_factory=dict)  # soft, hard, recover

    @property
    def flaps(self) -> int:
        return sum(one.flap for one in self.absences)


def summed(looks: Iterable[Look]) -> Summary:
    total = Summary()
    for look in looks:
        _add(total, look)
    return total


def _add(total: Summary, look: Look) -> None:
    at_wall_s, passed_s, assessment = look.now_wall_s, look.after_s, look.assessment
    total.since_wall_s = at_wall_s if total.since_wall_s is None else total.since_wall_s
    total.until_wall_s = at_wall_s
    total.recorded_s += passed_s
    total.as_recorded = total.as_recorded and look.as_recorded
    total.level_s[assessment.level] = total.level_s.get(assessment.level, 0.0) + passed_s
    for one in assessment.signals:
        if one.value is None:
            continue
        total.marks[one.signal] = (one.soft, one.hard, one.recover)
        if one.value >= one.soft:
            total.above_soft_s[one.signal] = total.above_soft_s.get(one.signal, 0.0) + passed_s
        if one.hard is not None and one.value >= one.hard:
            total.above_hard_s[one.signal] = total.above_hard_s.get(one.signal, 0.0) + passed_s
        if one.signal not in total.peaks or one.value > total.peaks[one.signal].ratio:
            total.peaks[one.signal] = Peak(one.value, at_wall_s)
        total.curves.setdefault(one.signal, []).append((at_wall_s, one.value))
    decision = look.decision
    if decision is None:
        return
    total.exhausted_s += passed_s if decision.exhausted else 0.0
    total.quarantined = look.quarantined
    probation = {one.service for one in decision.candidates if one.on_probation}
    for action in decision.actions:
        if action.kind in STOPS:
            total.absences.append(_absence(action, look, action.service in probation))
        elif action.kind in (ActionKind.RESTORE, ActionKind.UNTHROTTLE):
            stop = ActionKind.SHED if action.kind is ActionKind.RESTORE else ActionKind.THROTTLE
            away = (one for one in reversed(total.absences) if one.service == action.service and one.kind is stop)
            last = next(away, None)
            if last is not None and last.until_wall_s is None:
                last.until_wall_s = at_wall_s


def _absence(action: Action, look: Look, flap: bool) -> Absence:
    decision = look.decision
    signal = None if decision is None else decision.signal
    answers = signal is not None and signal.signal.value == action.reason
    own = signal if answers else None
    deficit = None if decision is None or own is None else decision.deficit
    return Absence(
        service=action.service,
        phase=action.phase,
        kind=action.kind,
        at_wall_s=look.now_wall_s,
        reason=action.reason,
        value=None if own is None else own.value,
        threshold=None if deficit is None else deficit.threshold,
        relief_bytes=action.relief_bytes,
        relief_cores=action.relief_cores,
        by=action.by,
        flap=flap,
    )


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS, each the highest of those that it stands for."""
    step = -(-len(curve) // MOST_POINTS)
    return curve if step <= 1 else [max(curve[at : at + step], key=lambda one: one[1]) for at in range(0, len(curve), step)]


def as_data(total: Summary) -> dict[str, Any]:
    """For JSON. Ratios 0 to 1, seconds, bytes, cores; times are seconds since the epoch."""
    end_s = total.until_wall_s
    return {
        "since_wall_s": total.since_wall_s,
        "until_wall_s": total.until_wall_s,
        "recorded_s": round(total.recorded_s, 3),
        "as_recorded": total.as_recorded,
        "sheds": [
            {
                "service": str(one.service),
                "phase": one.phase,
                "action": one.kind.value,
                "at_wall_s": one.at_wall_s,
                "until_wall_s": one.until_wall_s,
                "for_s": None if end_s is None else round((one.until_wall_s or end_s) - one.at_wall_s, 3),
                "reason": one.reason,
                "value_ratio": one.value,
                "threshold_ratio": one.threshold,
                "expected_relief_bytes": one.relief_bytes,
                "expected_relief_cores": one.relief_cores,
                "by": one.by,
                "flap": one.flap,
            }
            for one in total.absences
        ],
        "flaps": total.flaps,
        "quarantined": [str(one) for one in total.quarantined],
        "peaks": {signal.value: {"ratio": peak.ratio, "at_wall_s": peak.at_wall_s} for signal, peak in total.peaks.items()},
        "above_soft_s": {signal.value: round(total.above_soft_s.get(signal, 0.0), 3) for signal in total.peaks},
        "above_hard_s": {
            signal.value: round(total.above_hard_s.get(signal, 0.0), 3)
            for signal in total.peaks
            if total.marks[signal][1] is not None
        },
        "level_s": {str(level): round(total.level_s.get(level, 0.0), 3) for level in Level},
        "exhausted_s": round(total.exhausted_s, 3),
    }
