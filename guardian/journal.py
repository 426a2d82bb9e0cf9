"""What guardian says of its decisions: log lines with their numbers, and rows of history."""

from __future__ import annotations

from dataclasses import replace

from guardian import logs
from guardian.expose.orders import Order, OrderReply
from guardian.ledger.entries import HistoryRow
from guardian.ledger.history import row_of
from guardian.ledger.reconcile import Finding
from guardian.model import Assessment, Candidate, Decision, EngineEvent, Held, Level, Mode, Outcome, ServiceKey, Settled
from guardian.policy.batch import EMERGENCY
from guardian.storage import advice
from guardian.storage.values import Storage

MOST_CANDIDATES = 40

_log = logs.get("guardian")


class Rows:
    """Rows of history for actions that are under way: what they answer is known only when they are decided."""

    def __init__(self) -> None:
        self._why: dict[str, tuple[str, float | None, float | None, float | None]] = {}

    def note(self, decision: Decision, assessment: Assessment) -> None:
        signal, deficit = decision.signal, decision.deficit
        for action in decision.actions:
            answers = signal is not None and action.reason in (signal.signal.value, EMERGENCY)
            own = assessment.signal(signal.signal) if signal is not None and answers else None
            if own is not None and deficit is not None:
                self._why[action.id] = (own.signal.value, own.value, deficit.threshold, deficit.total)

    def of(self, outcome: Outcome) -> HistoryRow:
        signal, value, threshold, deficit = self._why.pop(outcome.action.id, ("", None, None, None))
        return replace(row_of(outcome), signal=signal, value=value, threshold=threshold, deficit=deficit)


def row_of_order(order: Order, now_wall_s: float) -> HistoryRow:
    services = ", ".join(str(service) for service in order.services)
    return HistoryRow(now_wall_s, "order", None, None, order.kind.value, "done", by=order.by, detail=services)


def row_of_oom(event: EngineEvent, service: ServiceKey, phase: int | None) -> HistoryRow:
    return HistoryRow(event.at_wall_s, "oom", service, phase, "kernel", "done", by="kernel", detail=event.name)


def oom(service: ServiceKey, container: str) -> None:
    _log.error("the kernel's OOM killer has ended a process of a container", service=str(service), container=container)


def decided(decision: Decision, assessment: Assessment, mode: Mode) -> None:
    """The whole of a decision in one line: what it answers, whom it considered, whom it chose and what it expects."""
    signal, deficit = decision.signal, decision.deficit
    _log.warning(
        "decision" if mode is Mode.ENFORCE else "decision (observed, nothing is done)",
        mode=mode.value,
        host_level=str(assessment.level),
        signal=None if signal is None else signal.signal.value,
        value=None if signal is None or signal.value is None else round(signal.value, 4),
        threshold=None if deficit is None else deficit.threshold,
        deficit=None if deficit is None else round(deficit.total, 3),
        pending=None if deficit is None else round(deficit.pending, 3),
        full_in_s=None if assessment.full_in_s is None else round(assessment.full_in_s, 1),
        candidates=[_candidate(one) for one in decision.candidates[:MOST_CANDIDATES]],
        chosen=[
            {
                "action": action.kind.value,
                "service": str(action.service),
                "phase": action.phase,
                "reason": action.reason,
                "by_signal": action.by_signal,
                "grace_s": action.grace_s,
                "expected_relief_bytes": action.relief_bytes,
                "expected_relief_cores": None if action.relief_cores is None else round(action.relief_cores, 3),
                "by": action.by,
            }
            for action in decision.actions
        ],
    )


def _candidate(one: Candidate) -> dict[str, object]:
    return {
        "rank": one.rank,
        "service": str(one.service),
        "phase": one.phase,
        "relief_bytes": one.relief_bytes,
        "relief_cores": None if one.relief_cores is None else round(one.relief_cores, 3),
        "over_share": one.over_share,
        "passed_over": one.passed_over,
    }


def ended(outcome: Outcome) -> None:
    good = outcome.result.value in ("done", "gone", "observed")
    (_log.info if good else _log.error)(
        "action ended",
        action=outcome.action.kind.value,
        service=str(outcome.action.service),
        phase=outcome.action.phase,
        reason=outcome.action.reason,
        result=outcome.result.value,
        took_s=round(outcome.duration_s, 3),
        detail=outcome.detail,
    )


def settled(one: Settled) -> None:
    _log.info(
        "relief",
        service=str(one.action.service),
        signal=None if one.signal is None else one.signal.value,
        expected=None if one.expected is None else round(one.expected, 3),
        measured=None if one.measured is None else round(one.measured, 3),
    )


def level(assessment: Assessment, before: Level | None) -> None:
    signals = {
        one.signal.value: [str(one.level), None if one.value is None else round(one.value, 4)] for one in assessment.signals
    }
    (_log.info if assessment.level is Level.OK else _log.warning)(
        "level changed", to=str(assessment.level), before=None if before is None else str(before), signals=signals
    )


def disk(level: Level, storage: Storage | None) -> None:
    """The engine's file system fills, or has room again: who fills it, and what would free some of it."""
    if level is Level.OK:
        _log.info("the engine's file system has room again")
        return
    _log.warning(
        "the engine's file system fills" + ("; nothing is started" if level is Level.HARD else ""),
        disk_level=str(level),
        full_in_s=None if storage is None or storage.full_in_s is None else round(storage.full_in_s),
        fastest=[] if storage is None else list(advice.growers(storage)),
        commands=[] if storage is None else [advice.spelled(one) for one in storage.commands],
    )


def held(one: Held) -> None:
    _log.info(
        "held back",
        action=one.action.value,
        reason=one.reason,
        service=None if one.service is None else str(one.service),
        detail=one.detail,
    )


def exhausted(assessment: Assessment) -> None:
    _log.error("exhausted: memory is hard and nothing that is left to shed would be enough", host_level=str(assessment.level))


def emergency(keep: tuple[str, ...]) -> None:
    _log.error(
        "emergency: all else is exhausted, so phases that are protected as phases are shed too",
        keep=list(keep),
    )


def found(finding: Finding) -> None:
    _log.warning(
        "ledger and engine compared",
        finding=finding.kind.value,
        service=str(finding.service),
        phase=finding.phase,
        containers=list(finding.containers),
    )


def ordered(order: Order, reply: OrderReply) -> None:
    _log.warning(
        "order",
        order=order.kind.value,
        by=order.by,
        services=[str(one) for one in order.services],
        ok=reply.ok,
        reply=reply.message,
    )


def warn(message: str) -> None:
    _log.warning(message)
