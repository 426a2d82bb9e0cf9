"""Compare what the ledger owes with what the engine shows: pure. Used at start-up, after an engine restart and on every inventory.

Times of the engine (`started`, `finished`) are compared with guardian's own only where a stop or a start had no answer;
that is exact on one host, and forgives a clock that is off by `CLOCK_SLACK_S` (a small step, a remote engine). Elsewhere
the engine's times are compared with each other: an end time other than the one recorded means that it ran in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from guardian.ledger.entries import Closed, Entry, EntryContainer, EntryState, Means
from guardian.ledger.transitions import close, conclude, follow, pay, with_ends
from guardian.model import Container, ServiceKey

CLOCK_SLACK_S = 2.0
"""How far the engine's clock and guardian's may be apart. So a stop by somebody else, this shortly before guardian's own
stop was sent, counts as guardian's where the answer to it was lost."""

DOUBT_S = 30.0
"""How long after its deadline a stop or start without an answer may still take effect."""

RETURN_S = 30.0
"""How long after it answers again a restarted engine may still be bringing containers back."""

READING_AGE_S = 60.0
"""No reading is older than this: an entry that seems newer by more was written before the clock was set back."""

REMOVED_AFTER_S = 86400.0


class FindingKind(StrEnum):
    """What the comparison found. The first two are overrides, to be counted."""

    OVERRIDE_STARTED = "override_started"  # somebody started what guardian stopped: the entry is closed
    OVERRIDE_STOPPED = "override_stopped"  # … and somebody stopped it again: it stays stopped
    RETURNED = "returned"  # the engine brought it back: no override
    RESEND_STOP = "resend_stop"  # it was ended by signal and the engine restarted it: the API stop is due
    FOLLOWED = "followed"  # recreated: the entry follows the new container
    GONE = "gone"  # its containers are not there; closed after a day
    REMOVED = "removed"  # a day later; of what was throttled at once
    UNLISTED = "unlisted"  # no phase lists it any more: restored once, then unmanaged
    NEVER_SENT = "never_sent"  # intended, and never called
    OURS = "ours"  # the answer was lost, and the stop took effect
    NEVER_HAPPENED = "never_happened"  # the answer was lost, and the stop had no effect
    RESTORED = "restored"  # the answer was lost, and the start took effect
    SHED_AGAIN = "shed_again"  # the answer was lost, and the start had no effect


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out about the entry of `service`; `containers` are names."""

    kind: FindingKind
    entry_id: str
    service: ServiceKey
    phase: int
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What else must be known to judge an inventory.

    `gap`: from when until when (wall time) the engine may have restarted: its event stream ended, or calls failed.
    `answers_since_wall_s`: since when the engine answers, where it did not before: what it was asked meanwhile it does then.
    `listed`: the phase of every service that the file or a label puts into one; None: not known.
    """

    startup: bool = False  # guardian itself was away: anything may have happened
    gap: tuple[float, float] | None = None
    answers_since_wall_s: float | None = None
    in_flight: frozenset[str] = frozenset()  # ids of actions: their entries are left alone
    restarting: frozenset[str] = frozenset()  # ids of containers that guardian restarts, or has just restarted
    listed: Mapping[ServiceKey, int] | None = None
    probation_s: float = 120.0

    def may_have_restarted(self, at_wall_s: float | None) -> bool:
        """Whether a start at that time may have been the engine's own. An unknown time is given the benefit of the doubt."""
        if self.startup:
            return True
        if self.gap is None:
            return False
        return at_wall_s is None or self.gap[0] - CLOCK_SLACK_S <= at_wall_s <= self.gap[1] + RETURN_S

    def may_be_late(self, ended_wall_s: float | None) -> bool:
        """Whether an end at that time may be what the engine was asked for while it did not answer."""
        since_s = self.answers_since_wall_s
        if since_s is None or ended_wall_s is None:
            return False
        return since_s - CLOCK_SLACK_S <= ended_wall_s <= since_s + DOUBT_S


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one entry. `before` and `after` are equal where there is only something to report."""

    before: Entry
    after: Entry
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Reconciled:
    changes: tuple[Change, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those that changed, as they are now."""
        return tuple(change.after for change in self.changes if change.after != change.before)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for change in self.changes for finding in change.findings)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An inventory, by what entries ask for."""

    now_wall_s: float
    context: Context
    by_id: Mapping[str, Container]
    by_replica: Mapping[tuple[ServiceKey, int], Container] = field(default_factory=dict)

    def of(self, one: EntryContainer) -> Container | None:
        return self.by_id.get(one.id)


def reconcile(entries: Sequence[Entry], containers: Iterable[Container], context: Context, now_wall_s: float) -> Reconciled:
    """Compare the open `entries` with a complete list of containers that was begun at `now_wall_s`.

    The list must cover the projects of all open entries, also of those that the file no longer names: what is not in
    it counts as removed. An entry that changed after the list was begun is left for the next one.
    """
    if not entries:
        return Reconciled()
    listed = tuple(containers)
    seen = _Seen(
        now_wall_s,
        context,
        {one.id: one for one in listed},
        {(one.service, one.number): one for one in listed if not one.oneoff and not one.swarm},
    )
    busy = {entry.service for entry in entries if _in_flight(entry, context)}
    changes = []
    for entry in entries:
        if not entry.open or _in_flight(entry, context) or _newer_than(entry, now_wall_s):
            continue
        after, findings = _judge(entry, seen, entry.service in busy)
        if findings or after != entry:
            changes.append(Change(entry, after, tuple(findings)))
    return Reconciled(tuple(changes))


def in_restore_window(entry: Entry, at_wall_s: float | None) -> bool:
    """Whether a start at that time may be guardian's own, whose answer was lost or late: of a restore, or of a restart."""
    sent = (entry.restore_sent_wall_s, entry.sent_wall_s if entry.means is Means.RESTART else None)
    return any(
        at_wall_s is None or sent_s - CLOCK_SLACK_S <= at_wall_s <= sent_s + entry.stop_within_s + DOUBT_S
        for sent_s in sent
        if sent_s is not None
    )


def brought_back(entry: Entry, restart_policy: str, restarted: bool) -> bool:
    """Whether the engine itself, by the container's restart policy, starts what guardian ended.

    At its own restart Docker starts `always`, and `on-failure` after an exit code other than 0, even after an API stop;
    `unless-stopped` only where the end came without one (moby, restartmanager.ShouldRestart). What was ended by signal
    it takes for a crash and restarts at once.
    """
    if entry.means is Means.SIGNAL:
        return restart_policy != "no"
    return restarted and restart_policy in ("always", "on-failure")


def _in_flight(entry: Entry, context: Context) -> bool:
    return entry.id in context.in_flight or entry.restore_id in context.in_flight


def _newer_than(entry: Entry, read_wall_s: float) -> bool:
    """Whether the entry changed after the list was begun, which then says nothing of it."""
    times = (entry.sent_wall_s, entry.settled_wall_s, entry.restore_sent_wall_s)
    newest = max((at for at in times if at is not None), default=entry.decided_wall_s)
    return 0 < newest - read_wall_s <= READING_AGE_S


def _judge(entry: Entry, seen: _Seen, busy: bool) -> tuple[Entry, list[Finding]]:
    """One entry. `busy`: another action for its service is in flight, so no further one is asked for."""
    if entry.state is EntryState.INTENDED:
        return close(entry, Closed.NEVER_SENT, seen.now_wall_s), [_found(FindingKind.NEVER_SENT, entry)]
    if entry.means is Means.THROTTLE:
        return _judge_throttled(entry, seen)
    findings: list[Finding] = []
    entry = _follow_recreated(entry, seen, findings)
    entry = _resolve_doubts(entry, seen, findings)
    if entry.state is EntryState.RESTORING:
        entry = _resolve_restoring(entry, seen, findings)
    if entry.state is EntryState.SHED:
        entry = _judge_shed(entry, seen, busy, findings)
    if entry.state is EntryState.SHED:
        entry = _note_absence(entry, seen, findings)
    if entry.state is EntryState.SHED:
        entry = _note_listing(entry, seen, findings)
    return entry, findings


def _follow_recreated(entry: Entry, seen: _Seen, findings: list[Finding]) -> Entry:
    for one in entry.owed:
        new = seen.by_replica.get((entry.service, one.number))
        if seen.of(one) is None and new is not None and all(other.id != new.id for other in entry.containers):
            entry = follow(entry, one.id, new)
            findings.append(_found(FindingKind.FOLLOWED, entry, [replace(one, name=new.name)]))
    return entry


def _resolve_doubts(entry: Entry, seen: _Seen, findings: list[Finding]) -> Entry:
    """Stops without an answer: what ended while they could have an effect was stopped by guardian; the rest is waited for,
    then let go.

    A stop that the engine has taken on goes on there, whether or not guardian still listens: so what is still running is
    not let go before the stop can have no effect any more; nor what is down and could not be inspected, so that nobody can
    tell when it ended.
    """
    ours: list[EntryContainer] = []
    never: list[EntryContainer] = []
    for one in entry.in_doubt:
        container, sent_wall_s = seen.of(one), entry.sent_wall_s or 0.0
        if container is not None and _since(container.started_wall_s, sent_wall_s + CLOCK_SLACK_S):
            never.append(one)  # it has run again since: that was somebody else
        elif container is not None and not container.state.up and container.finished_wall_s is not None:
            by_us = _ended_by_us(entry, one, container, container.finished_wall_s, seen.context)
            (ours if by_us else never).append(one)
        elif container is not None and container.unread and not container.state.up:
            continue
        elif seen.now_wall_s > _takes_effect_until(entry, seen.context):
            never.append(one)
    if not ours and not never:  # SHED by an older stop, whose obligations this one took over, needs no answer
        return replace(entry, state=EntryState.SHED) if entry.state is EntryState.SENT and entry.owed else entry
    entry = pay(entry, (one.id for one in never))
    ends = {one.id: seen.by_id[one.id].finished_wall_s for one in ours}
    containers = (
        replace(one, stopped=True, finished_wall_s=ends[one.id]) if one.id in ends else one for one in entry.containers
    )
    entry = replace(entry, containers=tuple(containers), settled_wall_s=entry.settled_wall_s or seen.now_wall_s)
    if ours:
        findings.append(_found(FindingKind.OURS, entry, ours))
    if never:
        again = all((container := seen.of(one)) is not None and container.state.up for one in never)
        kind = FindingKind.RESTORED if entry.means is Means.RESTART and again else FindingKind.NEVER_HAPPENED
        findings.append(_found(kind, entry, never))
    return entry if entry.state is EntryState.RESTORING else conclude(entry, Closed.FAILED, seen.now_wall_s)


def _takes_effect_until(entry: Entry, context: Context) -> float:
    """Until when a stop without an answer may take effect. An engine that hangs does it once it goes on."""
    return max((entry.sent_wall_s or 0.0) + entry.stop_within_s, context.answers_since_wall_s or 0.0) + DOUBT_S


def _ended_by_us(entry: Entry, one: EntryContainer, container: Container, ended_wall_s: float, context: Context) -> bool:
    """Whether it ended after the first stop without an answer was sent, and while the newest could have an effect.

    Between two of them nobody has looked, as where the engine hangs: its end then is taken for theirs. A run that began
    after the first can only have been ended by the newest.
    """
    sent_wall_s = entry.sent_wall_s or 0.0
    first_wall_s = sent_wall_s if one.sent_wall_s is None else one.sent_wall_s
    if _since(container.started_wall_s, first_wall_s + CLOCK_SLACK_S):
        first_wall_s = sent_wall_s
    return first_wall_s - CLOCK_SLACK_S <= ended_wall_s <= _takes_effect_until(entry, context)


def _resolve_restoring(entry: Entry, seen: _Seen, findings: list[Finding]) -> Entry:
    """A start without an answer: what runs, or has run since, was restored; the rest is shed still."""
    started = [one for one in entry.owed if _ran_again(entry, one, seen)]
    entry = conclude(pay(entry, (one.id for one in started)), Closed.RESTORED, seen.now_wall_s)
    if started:
        findings.append(_found(FindingKind.RESTORED, entry, started))
    if entry.owed:
        findings.append(_found(FindingKind.SHED_AGAIN, entry, entry.owed))
    return entry


def _judge_shed(entry: Entry, seen: _Seen, busy: bool, findings: list[Finding]) -> Entry:
    """What should be down: record when it ended, and find out who started what is up or has run again."""
    if entry.returned_wall_s is not None:
        return _judge_returned(entry, seen, busy, findings)
    entry = _record_ends(entry, seen)
    ran = [one for one in entry.owed if _ran_again(entry, one, seen)]
    if not ran:
        return _left_alone(entry, seen)
    up = [one for one in ran if seen.by_id[one.id].state.up]
    ended = [one for one in ran if not seen.by_id[one.id].state.up]
    if all(in_restore_window(entry, seen.by_id[one.id].started_wall_s) for one in ran):
        findings.append(_found(FindingKind.RESTORED, entry, ran))
        return conclude(pay(entry, (one.id for one in ran)), Closed.RESTORED, seen.now_wall_s)
    if all(_engine_started(entry, seen.by_id[one.id], seen.context) for one in ran):
        return _returned(entry, up, ended, seen, busy, findings)
    if (
        entry.means is Means.SIGNAL
        and not up
        and all(seen.context.may_be_late(seen.by_id[one.id].finished_wall_s) for one in ended)
    ):
        findings.append(_found(FindingKind.OURS, entry, ended))  # of the stop that came before the signal
        return with_ends(entry, {one.id: seen.by_id[one.id].finished_wall_s for one in ended})
    kind = FindingKind.OVERRIDE_STARTED if up or entry.means is not Means.SIGNAL else FindingKind.OVERRIDE_STOPPED
    findings.append(_found(kind, entry, ran))
    return close(entry, Closed.OVERRIDDEN, seen.now_wall_s)


def _left_alone(entry: Entry, seen: _Seen) -> Entry:
    """What was ended by signal, and the engine has not started again for so long, is down as after a stop by the engine."""
    context = seen.context
    gap_s = 0.0 if context.gap is None else context.gap[1]
    quiet_since_s = max(entry.settled_wall_s or 0.0, gap_s, context.answers_since_wall_s or 0.0)
    if entry.means is not Means.SIGNAL or seen.now_wall_s <= quiet_since_s + RETURN_S:
        return entry
    return replace(entry, means=Means.API)


def _record_ends(entry: Entry, seen: _Seen) -> Entry:
    """Remember, at the first look after the stop, when the engine says that each replica ended."""
    ends = {}
    for one in entry.owed:
        container = seen.of(one)
        if one.finished_wall_s is None and container is not None and not _ran_again(entry, one, seen):
            ends[one.id] = container.finished_wall_s
    return with_ends(entry, ends) if any(end is not None for end in ends.values()) else entry


def _ran_again(entry: Entry, one: EntryContainer, seen: _Seen) -> bool:
    """Whether it runs, or has run, since guardian's stop ended it."""
    container = seen.of(one)
    if container is None:
        return False
    if container.state.up:
        return True
    if one.finished_wall_s is None:
        return _since(container.started_wall_s, (entry.sent_wall_s or 0.0) + CLOCK_SLACK_S)
    return container.finished_wall_s not in (None, one.finished_wall_s)


def _engine_started(entry: Entry, container: Container, context: Context) -> bool:
    if entry.means is Means.SIGNAL and not container.state.up:
        return False  # the engine would have gone on restarting it: somebody stopped it
    return brought_back(entry, container.restart_policy, context.may_have_restarted(container.started_wall_s))


def _returned(
    entry: Entry,
    up: list[EntryContainer],
    ended: list[EntryContainer],
    seen: _Seen,
    busy: bool,
    findings: list[Finding],
) -> Entry:
    """The engine brought it back. What runs is kept, to be closed after probation or shed again; what ended again was paid."""
    entry = pay(entry, (one.id for one in ended))
    if not up:
        findings.append(_found(FindingKind.RETURNED, entry, ended))
        return conclude(entry, Closed.RETURNED, seen.now_wall_s)
    since = [seen.by_id[one.id].started_wall_s for one in up]
    entry = replace(entry, returned_wall_s=max((at for at in since if at is not None), default=seen.now_wall_s))
    resend = entry.means is Means.SIGNAL
    if not resend or not busy:
        findings.append(_found(FindingKind.RESEND_STOP if resend else FindingKind.RETURNED, entry, up))
    return entry


def _judge_returned(entry: Entry, seen: _Seen, busy: bool, findings: list[Finding]) -> Entry:
    """What came back is closed after probation, or at once when it ends without guardian. A newer stop supersedes the entry."""
    if busy:  # with the stop that supersedes it, which may not be written down as sent yet
        return entry
    returned_wall_s = entry.returned_wall_s or seen.now_wall_s
    up = [one for one in entry.owed if (container := seen.of(one)) is not None and container.state.up]
    if up and seen.now_wall_s < returned_wall_s + seen.context.probation_s:
        if entry.means is Means.SIGNAL:
            findings.append(_found(FindingKind.RESEND_STOP, entry, up))
        return entry
    paid = up + [one for one in entry.owed if _ended_since(seen.of(one), returned_wall_s)]
    entry = replace(pay(entry, (one.id for one in paid)), returned_wall_s=None)
    return conclude(entry, Closed.RETURNED, seen.now_wall_s)


def _ended_since(container: Container | None, at_wall_s: float) -> bool:
    return container is not None and not container.state.up and _since(container.finished_wall_s, at_wall_s)


def _note_absence(entry: Entry, seen: _Seen, findings: list[Finding]) -> Entry:
    if any(seen.of(one) is not None for one in entry.owed):
        return entry if entry.missing_since_wall_s is None else replace(entry, missing_since_wall_s=None)
    if entry.missing_since_wall_s is None:
        findings.append(_found(FindingKind.GONE, entry, entry.owed))
        return replace(entry, missing_since_wall_s=seen.now_wall_s)
    if seen.now_wall_s - entry.missing_since_wall_s < REMOVED_AFTER_S:
        return entry
    findings.append(_found(FindingKind.REMOVED, entry, entry.owed))
    return close(entry, Closed.REMOVED, seen.now_wall_s)


def _note_listing(entry: Entry, seen: _Seen, findings: list[Finding]) -> Entry:
    """Keep what left the file until it is restored; follow what moved to another phase."""
    listed = seen.context.listed
    if listed is None:
        return entry
    phase = listed.get(entry.service)
    if phase is not None:
        unchanged = phase == entry.phase and entry.unlisted_wall_s is None
        return entry if unchanged else replace(entry, phase=phase, unlisted_wall_s=None)
    if entry.unlisted_wall_s is not None:
        return entry
    findings.append(_found(FindingKind.UNLISTED, entry, entry.owed))
    return replace(entry, unlisted_wall_s=seen.now_wall_s)


def _judge_throttled(entry: Entry, seen: _Seen) -> tuple[Entry, list[Finding]]:
    """A quota stays with its container over stops and restarts, and lifting it twice does no harm: so doubt means owed."""
    findings: list[Finding] = []
    doubted = entry.in_doubt
    if doubted or entry.state is EntryState.RESTORING:
        kind = FindingKind.OURS if doubted else FindingKind.SHED_AGAIN
        findings.append(_found(kind, entry, doubted or entry.owed))
        owed = {one.id for one in (*doubted, *entry.owed)}
        containers = tuple(replace(one, stopped=True) if one.id in owed else one for one in entry.containers)
        entry = conclude(replace(entry, containers=containers), Closed.FAILED, seen.now_wall_s)
    if entry.state is EntryState.SHED and all(seen.of(one) is None for one in entry.owed):
        findings.append(_found(FindingKind.REMOVED, entry, entry.owed))  # and its quota with it: a successor has its own
        entry = close(entry, Closed.REMOVED, seen.now_wall_s)
    if entry.state is EntryState.SHED:
        entry = _note_listing(entry, seen, findings)
    return entry, findings


def _since(at_wall_s: float | None, since_wall_s: float) -> bool:
    return at_wall_s is not None and at_wall_s > since_wall_s


def _found(kind: FindingKind, entry: Entry, containers: Iterable[EntryContainer] = ()) -> Finding:
    return Finding(kind, entry.id, entry.service, entry.phase, tuple(one.name for one in containers))
