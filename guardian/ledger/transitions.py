"""How one entry becomes the next: pure functions, Entry -> Entry. An impossible transition is a bug and raises LedgerError.

The obligation lies with the single container: `stopped` means that guardian stopped it and owes a start; `sent_wall_s`
without `stopped` means that the answer is outstanding, and reconciling with the engine will tell.

        intend ──> INTENDED ──sent──> SENT ──settled──> SHED ──restoring──> RESTORING ──restored──> CLOSED
                                       ^ (no answer)     ^ (the start failed) ┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from guardian.errors import LedgerError
from guardian.ledger.entries import Closed, Entry, EntryContainer, EntryState, Means
from guardian.model import Action, ActionKind, Container, Outcome, Result

PATIENCE_S = 600.0
"""How much longer than its deadline a stop may take that must never kill (`kill: never`): the engine still waits."""

_MEANS = {ActionKind.SHED: Means.API, ActionKind.THROTTLE: Means.THROTTLE, ActionKind.RESTART: Means.RESTART}

_UNANSWERED = (Result.TIMED_OUT, Result.FAILED)
"""After these the engine may still carry the stop out: it does not end with the request."""


def intend(action: Action, containers: Mapping[str, Container], now_wall_s: float) -> Entry:
    """The entry of a SHED, THROTTLE or RESTART that was decided. `containers` by id, as the deciding inventory shows them."""
    if action.kind not in _MEANS:
        raise LedgerError(f"action {action.id}: a {action.kind} owes nothing, so it has no ledger entry")
    unknown = [container_id for container_id in action.containers if container_id not in containers]
    if unknown or not action.containers:
        raise LedgerError(f"action {action.id}: {action.service} has no container {', '.join(unknown) or 'to act on'}")
    replicas = (containers[container_id] for container_id in action.containers)
    return Entry(
        id=action.id,
        service=action.service,
        phase=action.phase,
        containers=tuple(
            EntryContainer(id=one.id, name=one.name, number=one.number, restart_policy=one.restart_policy) for one in replicas
        ),
        reason=action.reason,
        state=EntryState.INTENDED,
        decided_wall_s=now_wall_s,
        means=_MEANS[action.kind],
        by=action.by,
        stop_within_s=action.deadline_s + (0.0 if action.kill_after_grace else PATIENCE_S),
        expected_relief_bytes=action.relief_bytes,
        expected_relief_cores=action.relief_cores,
        expected_bytes=action.expected_bytes,
        expected_cores=action.expected_cores,
    )


def sent(entry: Entry, now_wall_s: float, means: Means | None = None) -> Entry:
    """The call is made next. `means`: SIGNAL where the engine hangs and the processes are ended directly."""
    _require(entry, "sent", EntryState.INTENDED)
    return replace(
        entry,
        state=EntryState.SENT,
        sent_wall_s=now_wall_s,
        means=means or entry.means,
        containers=tuple(replace(one, sent_wall_s=now_wall_s) for one in entry.containers),
    )


def signalled(entry: Entry) -> Entry:
    """The engine was asked to stop it and did not answer: its processes are signalled next."""
    _require(entry, "signalled", EntryState.SENT)
    return replace(entry, means=Means.SIGNAL)


def supersede(entry: Entry, older: Sequence[Entry], now_wall_s: float) -> tuple[Entry, tuple[Entry, ...]]:
    """Let a newly sent `entry` take over what `older` open entries of its service still owe, and close those.

    So a service has one entry with all its obligations: a stop that was partial or had no answer, and is sent again,
    does not lose the first call's effect. One whose start is under way is left alone. What was ended by signal before
    stays so: the engine may be about to start it again when the new stop reaches it.
    """
    _require(entry, "supersede", EntryState.SENT)
    taken = [one for one in older if one.state in (EntryState.SENT, EntryState.SHED) and _same_kind(one, entry)]
    containers = {one.id: one for one in entry.containers}
    for old in taken:
        for one in old.containers:
            if not one.stopped and one.sent_wall_s is None:
                continue
            if one.id not in containers or old.returned_wall_s is None:
                containers[one.id] = one  # with its first claim: an exit since then is guardian's doing
            elif old.means is Means.SIGNAL:  # so is one by the stop before the signal, that a hung engine carries out late
                containers[one.id] = replace(one, stopped=False, finished_wall_s=None)
    means = Means.SIGNAL if any(old.means is Means.SIGNAL for old in taken) else entry.means
    return (
        replace(entry, means=means, containers=tuple(containers.values())),
        tuple(close(one, Closed.SUPERSEDED, now_wall_s) for one in taken),
    )


def settled(entry: Entry, outcome: Outcome) -> Entry:
    """The stop ended. Only what it stopped is owed; what had already stopped, or was refused, was not guardian's.

    Without an answer (TIMED_OUT, FAILED) the stop may still happen: those replicas stay in doubt, and so the entry SENT.
    Where several failed the result names the reason of one only, so all of them stay in doubt.
    """
    if outcome.action.id != entry.id:
        raise LedgerError(f"entry {entry.id}: cannot be settled by the outcome of action {outcome.action.id}")
    if entry.state is EntryState.INTENDED:
        if outcome.result is Result.DONE or outcome.stopped:
            raise LedgerError(f"entry {entry.id}: its stop succeeded, and was never marked as sent")
        return close(entry, Closed.NEVER_SENT, outcome.at_wall_s)
    _require(entry, "settled", EntryState.SENT)
    done = _done(entry, outcome)
    unanswered = outcome.result in _UNANSWERED or len(outcome.failed) > 1

    def verdict(one: EntryContainer) -> EntryContainer:
        if one.stopped or one.sent_wall_s is None:
            return one
        if one.id in done:
            return replace(one, stopped=True)
        earlier = entry.sent_wall_s is not None and one.sent_wall_s < entry.sent_wall_s
        open_question = unanswered and (one.id in outcome.failed or not outcome.failed)
        return one if earlier or open_question else replace(one, sent_wall_s=None)

    entry = replace(entry, settled_wall_s=outcome.at_wall_s)
    return conclude(_each(entry, verdict), Closed.FAILED, outcome.at_wall_s)


def restarted(entry: Entry, outcome: Outcome) -> Entry:
    """The restart ended. What came back, was refused or was not running is not owed; without an answer, or where it was stopped and did not start,
    it may be down by guardian's doing: it stays in doubt until the engine shows.
    """
    if entry.state is EntryState.INTENDED:
        return close(entry, Closed.NEVER_SENT, outcome.at_wall_s)
    _require(entry, "restarted", EntryState.SENT)
    unanswered = outcome.result in _UNANSWERED or len(outcome.failed) > 1
    doubted = frozenset(outcome.failed or outcome.action.containers) if unanswered else frozenset()
    entry = pay(entry, (one.id for one in entry.containers if one.id not in doubted))
    reason = Closed.RESTORED if outcome.result is Result.DONE else Closed.FAILED
    return conclude(replace(entry, settled_wall_s=outcome.at_wall_s), reason, outcome.at_wall_s)


def _done(entry: Entry, outcome: Outcome) -> frozenset[str]:
    """Ids that this outcome says were stopped, or throttled."""
    if outcome.result is Result.DONE and entry.means is Means.THROTTLE and not outcome.stopped:
        return frozenset(outcome.action.containers) - frozenset(outcome.failed)
    if outcome.result is Result.DONE and not outcome.stopped:
        raise LedgerError(f"entry {entry.id}: the stop is said to be done, and no container is said to have stopped")
    return frozenset(outcome.stopped)


def measured(entry: Entry, relief_bytes: int) -> Entry:
    """What the shed gave back, seen on the host."""
    _require(entry, "measured", EntryState.SENT, EntryState.SHED, EntryState.RESTORING)
    return replace(entry, measured_relief_bytes=relief_bytes)


def restoring(entry: Entry, action: Action, now_wall_s: float) -> Entry:
    """The start (RESTORE), or the lifting of a quota (UNTHROTTLE), is made next."""
    _require(entry, "restoring", EntryState.SHED)
    wanted = ActionKind.UNTHROTTLE if entry.means is Means.THROTTLE else ActionKind.RESTORE
    if action.kind is not wanted or action.service != entry.service:
        raise LedgerError(f"entry {entry.id} of {entry.service}: cannot be restored by a {action.kind} of {action.service}")
    foreign = set(action.containers) - {one.id for one in entry.owed}
    if foreign:
        did, do = ("stop", "start") if wanted is ActionKind.RESTORE else ("throttle", "lift the quota of")
        raise LedgerError(f"entry {entry.id}: guardian did not {did} {', '.join(sorted(foreign))}, so it must not {do} them")
    return replace(entry, state=EntryState.RESTORING, restore_id=action.id, restore_sent_wall_s=now_wall_s)


def restored(entry: Entry, outcome: Outcome) -> Entry:
    """The start ended: CLOSED if it worked, SHED again with what is still owed if not."""
    _require_start(entry, "restored", outcome)
    told = outcome.result is Result.DONE or bool(outcome.failed)
    started = frozenset(outcome.action.containers) - frozenset(outcome.failed) if told else frozenset()
    return conclude(pay(entry, started), Closed.RESTORED, outcome.at_wall_s)


def fell(entry: Entry, outcome: Outcome, containers: Mapping[str, Container]) -> Entry:
    """The start worked, and what it started did not stay up: SHED again with what is down. `containers` by id, as seen now.

    That end is recorded as the newest, and the start is over: else the next list would take the run that it began for a
    restore that worked.
    """
    _require_start(entry, "fell", outcome)
    entry = pay(entry, (one.id for one in entry.owed if one.id in containers and containers[one.id].state.up))
    ends = {one.id: containers[one.id].finished_wall_s for one in entry.owed if one.id in containers}
    return conclude(replace(with_ends(entry, ends), restore_sent_wall_s=None), Closed.RESTORED, outcome.at_wall_s)


def with_ends(entry: Entry, ends: Mapping[str, float | None]) -> Entry:
    """When these replicas ended, by id, in place of what is recorded."""
    return _each(entry, lambda one: replace(one, finished_wall_s=ends.get(one.id, one.finished_wall_s)))


def pay(entry: Entry, container_ids: Iterable[str]) -> Entry:
    """Guardian no longer owes a start of these: they run, or somebody else has taken them over."""
    ids = frozenset(container_ids)
    return _each(entry, lambda one: replace(one, stopped=False, sent_wall_s=None) if one.id in ids else one)


def conclude(entry: Entry, reason: Closed, now_wall_s: float) -> Entry:
    """The state that follows from the containers: SHED while a start is owed, SENT while in doubt, else closed for `reason`."""
    if entry.owed:
        return replace(entry, state=EntryState.SHED)
    if entry.in_doubt:
        return replace(entry, state=EntryState.SENT)
    return close(entry, reason, now_wall_s)


def follow(entry: Entry, old_id: str, new: Container) -> Entry:
    """The container was recreated under the same project, service and number.

    The end of the old one stays recorded: any end of the new one then shows that somebody has started it.
    """

    def successor(one: EntryContainer) -> EntryContainer:
        if one.id != old_id:
            return one
        ended_wall_s = entry.settled_wall_s if one.finished_wall_s is None else one.finished_wall_s
        return replace(one, id=new.id, name=new.name, restart_policy=new.restart_policy, finished_wall_s=ended_wall_s)

    if all(one.id != old_id for one in entry.containers):
        raise LedgerError(f"entry {entry.id}: has no container {old_id} to follow")
    return _each(entry, successor)


def close(entry: Entry, reason: Closed, now_wall_s: float) -> Entry:
    """Guardian owes nothing any more."""
    if not entry.open:
        raise LedgerError(f"entry {entry.id}: was closed already, as {entry.closed}")
    return replace(entry, state=EntryState.CLOSED, closed=reason, closed_wall_s=now_wall_s)


def _same_kind(one: Entry, other: Entry) -> bool:
    """A lowered quota and a stop are owed apart from each other."""
    return (one.means is Means.THROTTLE) == (other.means is Means.THROTTLE)


def _each(entry: Entry, change: Callable[[EntryContainer], EntryContainer]) -> Entry:
    return replace(entry, containers=tuple(change(one) for one in entry.containers))


def _require_start(entry: Entry, transition: str, outcome: Outcome) -> None:
    _require(entry, transition, EntryState.RESTORING)
    if outcome.action.id != entry.restore_id:
        raise LedgerError(f"entry {entry.id}: its start is action {entry.restore_id}, not {outcome.action.id}")


def _require(entry: Entry, transition: str, *states: EntryState) -> None:
    if entry.state not in states:
        allowed = " or ".join(states)
        raise LedgerError(f"entry {entry.id} of {entry.service}: {transition} needs {allowed}, and it is {entry.state}")
