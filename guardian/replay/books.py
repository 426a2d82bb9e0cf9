"""A ledger that is written nowhere: what a replay owes, it owes in memory."""

from __future__ import annotations

from dataclasses import replace

from guardian.clock import Clock
from guardian.ledger.book import Ledger
from guardian.ledger.entries import Controls, Entry, EntryState, HistoryRow, Means
from guardian.ledger.store import Loaded
from guardian.model import Inventory


class _Written:
    def wait(self, _: float | None) -> bool:
        return True


class NoStore:
    """What `ledger.store.Store` promises, without a file."""

    def __init__(self, entries: tuple[Entry, ...] = (), controls: Controls | None = None) -> None:
        self._loaded = Loaded(entries, (), controls or Controls())

    def load(self) -> Loaded:
        return self._loaded

    def submit(self, **_: object) -> _Written:
        return _Written()

    def history(self, *_: object) -> tuple[HistoryRow, ...]:
        return ()


def a_ledger(clock: Clock, entries: tuple[Entry, ...] = (), controls: Controls | None = None) -> Ledger:
    return Ledger(NoStore(entries, controls), clock)  # type: ignore[arg-type]


def at_rest(entries: tuple[Entry, ...], inventory: Inventory | None) -> tuple[Entry, ...]:
    """What is owed where nothing is under way any more: of a stop or a start that was, what the list shows came of it."""
    up = {one.id for one in (() if inventory is None else inventory.containers) if one.state.up}
    found = []
    for entry in entries:
        if entry.means is Means.THROTTLE or entry.state is EntryState.SHED:
            found.append(entry)
            continue
        containers = tuple(
            replace(one, stopped=one.id not in up and (one.stopped or one.sent_wall_s is not None)) for one in entry.containers
        )
        if any(one.stopped for one in containers):
            found.append(replace(entry, state=EntryState.SHED, containers=containers, restore_id="", restore_sent_wall_s=None))
    return tuple(found)
