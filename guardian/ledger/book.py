"""The book of the running daemon: what the loop and the workers read and change. Every change goes to the store as well."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from guardian.clock import Clock
from guardian.errors import LedgerError
from guardian.ledger import transitions
from guardian.ledger.entries import Closed, Controls, Entry, EntryState, HistoryRow, Means, ServiceMemory
from guardian.ledger.history import row_of
from guardian.ledger.overrides import Override
from guardian.ledger.reconcile import Finding, FindingKind, Reconciled
from guardian.ledger.store import Store, Ticket
from guardian.model import Action, ActionKind, Container, Outcome, Result, ServiceKey

WRITE_S = 0.2
"""How long an action waits for its entry to be on disk; then it acts, and the entry is written late."""

HARD_WRITE_S = 0.05
"""The same under hard memory, where every moment counts."""

ORDER_WRITE_S = 2.0
"""How long an operator's order waits for the disk before it is answered."""

_ENTERED = (ActionKind.SHED, ActionKind.THROTTLE, ActionKind.RESTART)
_GIVEN_BACK = (ActionKind.RESTORE, ActionKind.UNTHROTTLE)
_OVERRIDES = {FindingKind.OVERRIDE_STARTED: "started", FindingKind.OVERRIDE_STOPPED: "stopped"}


class Ledger:
    """Thread-safe. A change is visible at once and handed to the store in the same order; only then is its commit waited for."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        loaded = store.load()
        self._entries: dict[str, Entry] = {entry.id: entry for entry in loaded.entries}
        self._memories: dict[ServiceKey, ServiceMemory] = {memory.service: memory for memory in loaded.memories}
        self._controls = loaded.controls

    @property
    def open_entries(self) -> tuple[Entry, ...]:
        """Oldest first."""
        with self._lock:
            return tuple(self._entries.values())

    # --- around an action -------------------------------------------------------------------------------------------

    def intend(self, actions: Sequence[Action], containers: Mapping[str, Container], hard: bool = False) -> bool:
        """Enter every SHED, THROTTLE and RESTART of a decision, in one transaction; `containers` by id, as it was decided on them.

        True: on disk. False: act all the same; it is written late, and counted. What was decided in observe mode must
        not be passed here: it owes nothing.
        """
        with self._lock:
            now_wall_s = self._clock.wall()
            fresh = [transitions.intend(one, containers, now_wall_s) for one in actions if one.kind in _ENTERED]
            known = [entry.id for entry in fresh if entry.id in self._entries]
            if known:
                raise LedgerError(f"action {known[0]}: is in the ledger already")
            if not fresh:
                return True
            ticket = self._keep(fresh)
        return ticket.wait(HARD_WRITE_S if hard else WRITE_S)

    def expect_end(
        self, actions: Sequence[Action], containers: Mapping[str, Container], since_wall_s: float | None = None
    ) -> bool:
        """Enter what will end although nobody stops it, because the engine is about to be restarted: as sent, with the actions' deadline.

        `since_wall_s`: as sent then, because the host was rebooted, and it has ended already.

        What of it is down afterwards is owed like any shed; what the engine brings back, or what never ended, is let go.
        """
        with self._lock:
            now_wall_s = self._clock.wall() if since_wall_s is None else since_wall_s
            busy = {entry.service for entry in self._entries.values()}
            fresh = [transitions.intend(one, containers, now_wall_s) for one in actions if one.service not in busy]
            if not fresh:
                return True
            ticket = self._keep([transitions.sent(entry, now_wall_s) for entry in fresh])
        return ticket.wait(WRITE_S)

    def mark(self, action: Action) -> bool:
        """Just before an action is carried out, whichever it is: the one of the next three that it needs."""
        if action.kind in _GIVEN_BACK:
            return self.mark_restore_sent(action)
        return self.mark_signalled(action) if action.kind is ActionKind.HASTEN else self.mark_sent(action)

    def mark_sent(self, action: Action) -> bool:
        """Just before the call, on the worker's thread. Takes over what older entries of the service still owe.

        The result is that of `intend`. LedgerError if the action has no entry that waits: then it must not be sent.
        """
        with self._lock:
            now_wall_s = self._clock.wall()
            entry = transitions.sent(self._entry(action), now_wall_s, Means.SIGNAL if action.by_signal else None)
            older = [one for one in self._entries.values() if one.service == entry.service and one.id != entry.id]
            if entry.means is Means.RESTART and any(one.means is not Means.THROTTLE for one in older):
                raise LedgerError(f"action {action.id}: {action.service} is shed, or being stopped: it must not be restarted")
            entry, superseded = transitions.supersede(entry, older, now_wall_s)
            ticket = self._keep((entry, *superseded))
        return ticket.wait(HARD_WRITE_S if action.hard else WRITE_S)

    def mark_signalled(self, action: Action) -> bool:
        """Just before what was asked of the engine in vain is ended by signal. LedgerError if it has been settled meanwhile."""
        with self._lock:
            ticket = self._keep([transitions.signalled(self._entry(action))])
        return ticket.wait(HARD_WRITE_S)

    def mark_restore_sent(self, action: Action) -> bool:
        """Just before a start, or before a quota is lifted. LedgerError for a start that guardian does not owe: it must not be sent.

        A quota may always be lifted: that does no harm.
        """
        throttle = action.kind is ActionKind.UNTHROTTLE
        with self._lock:
            entry = next(
                (
                    one
                    for one in self._entries.values()
                    if one.service == action.service
                    and one.state is EntryState.SHED
                    and (one.means is Means.THROTTLE) == throttle
                ),
                None,
            )
            if entry is None and throttle:
                return True
            if entry is None:
                raise LedgerError(f"action {action.id}: guardian did not stop {action.service}, so it must not start it")
            ticket = self._keep([transitions.restoring(entry, action, self._clock.wall())])
        return ticket.wait(WRITE_S)

    def settle(self, outcome: Outcome, row: HistoryRow | None = None) -> None:
        """An action ended: settle its entry, if it has one, and write `row` (default: what the outcome knows) to history.

        Does not wait for the disk. What an inventory has settled already, an operator has forgotten, or was only observed
        gets its row alone.
        """
        kind, action = outcome.action.kind, outcome.action
        with self._lock:
            changed = []
            if outcome.result is not Result.OBSERVED and kind in _ENTERED:
                entry = self._entries.get(action.id)
                if entry is not None and entry.state in (EntryState.INTENDED, EntryState.SENT):
                    end = transitions.restarted if kind is ActionKind.RESTART else transitions.settled
                    changed = [end(entry, outcome)]
            elif outcome.result is not Result.OBSERVED and kind in _GIVEN_BACK:
                waiting = (one for one in self._entries.values() if one.state is EntryState.RESTORING)
                changed = [transitions.restored(one, outcome) for one in waiting if one.restore_id == action.id]
            self._keep(changed, [row or row_of(outcome)])

    def fell(self, outcome: Outcome, containers: Mapping[str, Container], row: HistoryRow | None = None) -> None:
        """As `settle`, of a start that worked and did not last; `containers` by id, as they are seen now."""
        with self._lock:
            waiting = (one for one in self._entries.values() if one.state is EntryState.RESTORING)
            changed = [transitions.fell(one, outcome, containers) for one in waiting if one.restore_id == outcome.action.id]
            self._keep(changed, [row or row_of(outcome)])

    def measured(self, action_id: str, relief_bytes: int) -> None:
        """What a shed gave back, seen later: completes its entry, if that is still open, and its history."""
        with self._lock:
            entry = self._entries.get(action_id)
            changed = [] if entry is None else [transitions.measured(entry, relief_bytes)]
            self._keep(changed, measured={action_id: relief_bytes})

    # --- what others did --------------------------------------------------------------------------------------------

    def apply(self, reconciled: Reconciled) -> tuple[Finding, ...]:
        """Take over what `reconcile` found, with a row of history for each finding; return the findings that count.

        An entry that changed since `reconcile` looked is left for the next time, and its findings with it.
        """
        with self._lock:
            valid = [change for change in reconciled.changes if self._entries.get(change.before.id) == change.before]
            changed = [change.after for change in valid if change.after != change.before]
            findings = tuple(finding for change in valid for finding in change.findings)
            written = {change.before.id for change in valid if change.after != change.before}
            rows = [self._row_of_finding(finding) for finding in findings if finding.entry_id in written]
            if changed or rows:
                self._keep(changed, rows)
            return findings

    def yield_to(self, override: Override) -> bool:
        """Somebody else acted: close the entry that it concerns. False if that was closed already: then do not count it again."""
        with self._lock:
            changed = []
            if override.entry is not None:
                entry = self._entries.get(override.entry.id)
                if entry is None:
                    return False
                changed = [transitions.close(entry, Closed.OVERRIDDEN, self._clock.wall())]
            entry = override.entry
            row = HistoryRow(
                at_wall_s=override.at_wall_s,
                action="override",
                service=None if entry is None else entry.service,
                phase=None if entry is None else entry.phase,
                reason="somebody else",
                result=override.kind.value,
                detail=override.name,
                action_id="" if entry is None else entry.id,
            )
            self._keep(changed, [row])
            return True

    def forget(self, service: ServiceKey, by: str) -> bool:
        """An operator's order: guardian owes `service` nothing any more. False if it owed nothing."""
        with self._lock:
            now_wall_s = self._clock.wall()
            mine = [one for one in self._entries.values() if one.service == service]
            if not mine:
                return False
            rows = [HistoryRow(now_wall_s, "forget", service, one.phase, "operator", "done", by=by) for one in mine[:1]]
            ticket = self._keep([transitions.close(one, Closed.FORGOTTEN, now_wall_s) for one in mine], rows)
        ticket.wait(ORDER_WRITE_S)
        return True

    # --- controls, memories, history --------------------------------------------------------------------------------

    @property
    def controls(self) -> Controls:
        return self._controls

    def set_controls(self, controls: Controls, row: HistoryRow | None = None) -> bool:
        """Replace the controls. True: on disk; False: in force, and written as soon as it can be."""
        with self._lock:
            self._controls = controls
            ticket = self._store.submit(controls=controls, history=() if row is None else (row,))
        return ticket.wait(ORDER_WRITE_S)

    @property
    def memories(self) -> Mapping[ServiceKey, ServiceMemory]:
        """A copy."""
        with self._lock:
            return dict(self._memories)

    def remember(self, memories: Iterable[ServiceMemory]) -> None:
        """Keep what changed of these. Does not wait for the disk."""
        with self._lock:
            changed = [memory for memory in memories if self._memories.get(memory.service) != memory]
            if changed:
                self._memories.update({memory.service: memory for memory in changed})
                self._store.submit(memories=changed)

    def record(self, *rows: HistoryRow) -> None:
        """Add to history. Does not wait for the disk."""
        if rows:
            self._store.submit(history=rows)

    def history(
        self, limit: int = 100, since_wall_s: float | None = None, service: ServiceKey | None = None
    ) -> tuple[HistoryRow, ...]:
        """Newest first, of what is on disk: not for the loop's thread."""
        return self._store.history(limit, since_wall_s, service)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _entry(self, action: Action) -> Entry:
        entry = self._entries.get(action.id)
        if entry is None:
            raise LedgerError(f"action {action.id}: {action.service} has no open entry for it, so it must not be sent")
        return entry

    def _keep(
        self, entries: Sequence[Entry], rows: Iterable[HistoryRow] = (), measured: Mapping[str, int] | None = None
    ) -> Ticket:
        """Under the lock, so that the store gets states in the order in which they came to be."""
        ticket = self._store.submit(entries=entries, history=rows, measured=measured)
        for entry in entries:
            if entry.open:
                self._entries[entry.id] = entry
            else:
                self._entries.pop(entry.id, None)
        return ticket

    def _row_of_finding(self, finding: Finding) -> HistoryRow:
        override = _OVERRIDES.get(finding.kind)
        return HistoryRow(
            at_wall_s=self._clock.wall(),
            action="override" if override else "reconcile",
            service=finding.service,
            phase=finding.phase,
            reason="somebody else" if override else "engine",
            result=override or finding.kind.value,
            detail=", ".join(finding.containers),
            action_id="",
        )
