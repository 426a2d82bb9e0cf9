"""The book that the loop and the workers use, on a real file; and `kill -9` at each of its writes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledgers import KIBANA, T0, Counting, a_container, a_store, an_action, an_outcome, by_id, ended, started

from guardian.clock import VirtualClock
from guardian.errors import LedgerError
from guardian.ledger.book import Ledger
from guardian.ledger.entries import Closed, Controls, Entry, EntryState, HistoryRow, Means, ServiceMemory
from guardian.ledger.overrides import Override, OverrideKind
from guardian.ledger.reconcile import RETURN_S, Context, FindingKind, reconcile
from guardian.ledger.store import Store
from guardian.model import ActionKind, Container, Result

WAIT_S = 10.0


class Book:
    """A ledger, its store and its clock; `again` is what the next process would find."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = VirtualClock(wall_s=T0)
        self.store: Store = a_store(directory, clock=self.clock)
        self.ledger = Ledger(self.store, self.clock)

    def again(self) -> Ledger:
        assert self.store.close(WAIT_S)
        self.store = a_store(self.directory, clock=self.clock)
        self.ledger = Ledger(self.store, self.clock)
        return self.ledger

    def shed(self, action_id: str = "a1") -> Entry:
        """Shed c1 at T0 + 1; a second later it is done."""
        action = an_action(action_id)
        self.ledger.intend([action], by_id(a_container()))
        self.clock.advance(1)
        self.ledger.mark_sent(action)
        self.clock.advance(1)
        self.ledger.settle(an_outcome(action, at_wall_s=self.clock.wall()))
        return self.only()

    def only(self) -> Entry:
        (entry,) = self.ledger.open_entries
        return entry


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.store.close(WAIT_S)


def test_a_restart_is_on_disk_until_it_has_ended(book: Book) -> None:
    """A restart is on disk from the decision until it has ended well, so that a crash in between loses no service."""
    action = an_action(kind=ActionKind.RESTART, reason="unhealthy")
    book.ledger.intend([action], by_id(a_container()))
    book.ledger.mark(action)
    book.again()
    assert (book.only().state, book.only().means) == (EntryState.SENT, Means.RESTART)
    book.ledger.settle(an_outcome(action))
    assert book.again().open_entries == ()


def test_what_is_shed_meanwhile_is_not_restarted(book: Book) -> None:
    """A restart is not let out where the service has been shed since it was decided."""
    action = an_action("r1", ActionKind.RESTART, reason="unhealthy")
    book.ledger.intend([action], by_id(a_container()))
    shed = an_action("a1")
    book.ledger.intend([shed], by_id(a_container()))
    book.ledger.mark(shed)
    with pytest.raises(LedgerError, match="must not be restarted"):
        book.ledger.mark(action)


def test_each_step_of_a_shed_is_on_disk_before_the_next(book: Book) -> None:
    """Each step of a shed is on disk before the next."""
    action = an_action()
    book.ledger.intend([action], by_id(a_container()))
    book.again()
    assert book.only().state is EntryState.INTENDED
    book.ledger.mark_sent(action)
    book.again()
    assert book.only().state is EntryState.SENT
    book.ledger.settle(an_outcome(action))
    book.again()
    assert book.only().state is EntryState.SHED


def test_a_restore_closes_the_entry(book: Book) -> None:
    """A restore closes the entry."""
    book.shed()
    restore = an_action("r1", ActionKind.RESTORE)
    book.ledger.mark_restore_sent(restore)
    assert book.only().state is EntryState.RESTORING
    book.ledger.settle(an_outcome(restore))
    assert book.ledger.open_entries == ()
    assert book.again().open_entries == ()


def test_a_restore_of_what_guardian_does_not_owe_is_refused(book: Book) -> None:
    """A restore of what guardian does not owe is refused before it is sent."""
    with pytest.raises(LedgerError, match="did not stop demo/kibana"):
        book.ledger.mark_restore_sent(an_action("r1", ActionKind.RESTORE))


def test_a_quota_may_always_be_lifted(book: Book) -> None:
    """A quota may always be lifted."""
    assert book.ledger.mark_restore_sent(an_action("u1", ActionKind.UNTHROTTLE))


def test_a_throttle_and_a_shed_of_one_service_are_owed_apart(book: Book) -> None:
    """A throttle and a shed of one service are owed apart."""
    throttle, lift = an_action("t1", ActionKind.THROTTLE), an_action("u1", ActionKind.UNTHROTTLE)
    book.ledger.intend([throttle], by_id(a_container()))
    book.ledger.mark_sent(throttle)
    book.ledger.settle(an_outcome(throttle))
    action = an_action("a1")
    book.ledger.intend([action], by_id(a_container()))
    book.ledger.mark_sent(action)
    book.ledger.settle(an_outcome(action))
    assert {entry.means for entry in book.ledger.open_entries} == {Means.API, Means.THROTTLE}
    book.ledger.mark_restore_sent(lift)
    book.ledger.settle(an_outcome(lift))
    assert book.only().means is Means.API


def test_a_stop_that_has_no_entry_must_not_be_sent(book: Book) -> None:
    """A stop that has no entry must not be sent."""
    with pytest.raises(LedgerError, match="must not be sent"):
        book.ledger.mark_sent(an_action())


def test_only_sheds_and_throttles_are_entered(book: Book) -> None:
    """Only sheds and throttles are entered."""
    assert book.ledger.intend([an_action("r1", ActionKind.RESTORE), an_action("h1", ActionKind.HASTEN)], {})
    assert book.ledger.open_entries == ()


def test_what_was_only_observed_is_history_and_owes_nothing(book: Book) -> None:
    """What was only observed is history and owes nothing."""
    book.ledger.settle(an_outcome(an_action(), Result.OBSERVED))
    assert book.again().open_entries == ()
    assert [row.result for row in book.ledger.history()] == [Result.OBSERVED]


def test_a_stop_sent_again_supersedes_the_first(book: Book) -> None:
    """A stop sent again supersedes the first, once it is sent and no earlier."""
    first, second = an_action("a1"), an_action("a2")
    book.ledger.intend([first], by_id(a_container()))
    book.ledger.mark_sent(first)
    book.ledger.settle(an_outcome(first, Result.TIMED_OUT))
    book.ledger.intend([second], by_id(a_container()))
    assert len(book.ledger.open_entries) == 2
    book.ledger.mark_sent(second)
    assert book.only().id == "a2"
    assert [entry.id for entry in book.again().open_entries] == ["a2"]


def end_by_signal(book: Book) -> Container:
    """A container that the engine restarts, as it was before guardian ended it by signal."""
    action = an_action("a1", by_signal=True)
    container = a_container(restart_policy="always")
    book.ledger.intend([action], by_id(container))
    book.ledger.mark(action)
    book.ledger.settle(an_outcome(action, at_wall_s=T0 + 1))
    return container


def test_an_api_stop_after_a_signal_that_finds_it_stopped_owes_it_still(book: Book) -> None:
    """Where the API stop after a signal finds it stopped already, as by the one before the signal, it is owed still."""
    running = started(end_by_signal(book), T0 + 80)
    book.ledger.apply(reconcile(book.ledger.open_entries, [running], Context(), T0 + 83))
    again = an_action("a2")
    book.ledger.intend([again], by_id(running))
    book.clock.advance(83)
    book.ledger.mark_sent(again)
    book.ledger.settle(an_outcome(again, Result.GONE, at_wall_s=T0 + 86))
    found = book.ledger.apply(reconcile(book.ledger.open_entries, [ended(running, T0 + 85)], Context(), T0 + 90))
    assert [finding.kind for finding in found] == [FindingKind.OURS]
    assert book.only().state is EntryState.SHED


def test_the_api_stop_after_a_signal_takes_over_and_the_engine_may_start_it_once_more(book: Book) -> None:
    """The API stop after a signal takes over what that owed. A start soon after is the engine's still, a later one somebody's."""
    running = started(end_by_signal(book), T0 + 2)
    found = book.ledger.apply(reconcile(book.ledger.open_entries, [running], Context(), T0 + 5))
    assert [finding.kind for finding in found] == [FindingKind.RESEND_STOP]
    again = an_action("a2")
    book.ledger.intend([again], by_id(running))
    book.clock.advance(6)
    book.ledger.mark_sent(again)
    book.ledger.settle(an_outcome(again, at_wall_s=T0 + 7))
    assert (book.only().means, book.only().state) == (Means.SIGNAL, EntryState.SHED)
    down, up = ended(running, T0 + 6.5), started(running, T0 + 8)
    assert reconcile(book.ledger.open_entries, [down], Context(), T0 + 10).findings == ()
    soon = reconcile(book.ledger.open_entries, [up], Context(), T0 + 10)
    assert [finding.kind for finding in soon.findings] == [FindingKind.RESEND_STOP]

    book.ledger.apply(reconcile(book.ledger.open_entries, [down], Context(), T0 + 7.1 + RETURN_S))
    assert (book.only().means, book.only().state) == (Means.API, EntryState.SHED)
    late = reconcile(book.ledger.open_entries, [started(running, T0 + 60)], Context(), T0 + 65)
    assert [finding.kind for finding in late.findings] == [FindingKind.OVERRIDE_STARTED]


def test_what_an_inventory_has_settled_already_is_not_settled_again(book: Book) -> None:
    """What an inventory has settled already is not settled again."""
    action = an_action()
    book.ledger.intend([action], by_id(a_container()))
    book.ledger.mark_sent(action)
    book.ledger.apply(reconcile(book.ledger.open_entries, [ended(a_container(), T0 + 1)], Context(), T0 + 5))
    before = book.only()
    book.ledger.settle(an_outcome(action, Result.TIMED_OUT))
    assert book.only() == before


def test_a_finding_about_an_entry_that_changed_meanwhile_is_dropped(book: Book) -> None:
    """A finding about an entry that changed meanwhile is dropped."""
    book.shed()
    found = reconcile(book.ledger.open_entries, [started(a_container(), T0 + 50)], Context(), T0 + 55)
    book.ledger.mark_restore_sent(an_action("r1", ActionKind.RESTORE))
    assert book.ledger.apply(found) == ()
    assert book.only().state is EntryState.RESTORING


def test_a_finding_is_written_to_history(book: Book) -> None:
    """A finding is written to history."""
    book.shed()
    book.ledger.apply(reconcile(book.ledger.open_entries, [started(a_container(), T0 + 50)], Context(), T0 + 55))
    book.again()
    assert {(row.action, row.result) for row in book.ledger.history()} == {("shed", "done"), ("override", "started")}


def test_an_override_closes_its_entry_and_counts_once(book: Book) -> None:
    """An override closes its entry and counts once."""
    override = Override(OverrideKind.STARTED, "c1", "name-c1", T0 + 50, book.shed())
    assert book.ledger.yield_to(override) is True
    assert book.ledger.yield_to(override) is False
    assert book.again().open_entries == ()


def test_an_override_of_what_guardian_does_not_owe_is_history_alone(book: Book) -> None:
    """An override of what guardian does not owe is history alone."""
    assert book.ledger.yield_to(Override(OverrideKind.STOPPED, "c7", "name-c7", T0 + 50)) is True
    book.again()
    assert [(row.action, row.result, row.detail) for row in book.ledger.history()] == [("override", "stopped", "name-c7")]


def test_an_operator_may_have_a_shed_service_forgotten(book: Book) -> None:
    """An operator may have a shed service forgotten."""
    book.shed()
    assert book.ledger.forget(KIBANA, "ann") is True
    assert book.ledger.forget(KIBANA, "ann") is False
    assert book.again().open_entries == ()
    assert (book.ledger.history()[0].action, book.ledger.history()[0].by) == ("forget", "ann")


def test_measured_relief_completes_entry_and_history(book: Book) -> None:
    """Measured relief completes entry and history."""
    book.shed()
    book.ledger.measured("a1", 77)
    book.again()
    assert book.only().measured_relief_bytes == 77
    assert book.ledger.history()[0].measured_bytes == 77


def test_orders_and_memories_survive(book: Book) -> None:
    """Orders and memories survive."""
    memory = ServiceMemory(KIBANA, flaps_wall_s=(T0,))
    assert book.ledger.set_controls(Controls(pins=frozenset({KIBANA})))
    book.ledger.remember([memory])
    book.ledger.record(HistoryRow(T0, "order", KIBANA, 5, "operator", "done"))
    book.again()
    assert book.ledger.controls == Controls(pins=frozenset({KIBANA}))
    assert book.ledger.memories == {KIBANA: memory}
    assert len(book.ledger.history()) == 1


def test_a_slow_disk_delays_no_stop_and_loses_no_obligation(tmp_path: Path) -> None:
    """A slow disk delays no stop and loses no obligation."""
    opened = threading.Event()
    clock, counting = VirtualClock(wall_s=T0), Counting()
    store = a_store(tmp_path, clock=clock, telemetry=counting, on_commit=lambda _: opened.wait(WAIT_S) and None)
    ledger, action = Ledger(store, clock), an_action(hard=True)
    assert ledger.intend([action], by_id(a_container()), hard=True) is False
    assert ledger.mark_sent(action) is False
    ledger.settle(an_outcome(action))
    assert counting.late == 2
    opened.set()
    assert store.close(WAIT_S)
    (entry,) = a_store(tmp_path).load().entries
    assert entry.state is EntryState.SHED


def test_changes_from_many_threads_reach_the_file_in_their_order(book: Book) -> None:
    """Changes from many threads reach the file in their order."""
    containers = [a_container(f"c{number}", service=KIBANA._replace(name=f"s{number}")) for number in range(16)]

    def shed_and_restore(number: int) -> None:
        one = containers[number]
        action = an_action(f"a{number}", containers=(one.id,), service=one.service)
        restore = an_action(f"r{number}", ActionKind.RESTORE, (one.id,), service=one.service)
        book.ledger.intend([action], by_id(one))
        book.ledger.mark_sent(action)
        book.ledger.settle(an_outcome(action))
        if number % 2:
            book.ledger.mark_restore_sent(restore)
            book.ledger.settle(an_outcome(restore))

    threads = [threading.Thread(target=shed_and_restore, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.id for entry in book.again().open_entries} == {f"a{number}" for number in range(0, 16, 2)}
    assert all(entry.state is EntryState.SHED for entry in book.ledger.open_entries)


SHED_AND_DIE = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from support.ledgers import *
    from guardian.ledger.book import Ledger

    def die(label):
        if label == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    clock = VirtualClock(wall_s=T0)
    store = a_store(Path(sys.argv[1]), clock=clock, on_commit=die)
    ledger, action, restore = Ledger(store, clock), an_action(), an_action("r1", ActionKind.RESTORE)
    ledger.intend([action], by_id(a_container()))
    store.put(deadline_s=None)
    ledger.mark_sent(action)
    store.put(deadline_s=None)
    ledger.settle(an_outcome(action))
    store.put(deadline_s=None)
    ledger.mark_restore_sent(restore)
    store.put(deadline_s=None)
    ledger.settle(an_outcome(restore))
    store.close(10)
    """
)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("before:intended", None),
        ("after:intended", EntryState.INTENDED),
        ("before:sent", EntryState.INTENDED),
        ("after:sent", EntryState.SENT),
        ("before:settled", EntryState.SENT),
        ("after:settled", EntryState.SHED),
        ("before:restoring", EntryState.SHED),
        ("after:restoring", EntryState.RESTORING),
        ("before:closed", EntryState.RESTORING),
        ("after:closed", None),
    ],
)
def test_after_kill_9_the_file_holds_all_that_was_committed(tmp_path: Path, moment: str, expected: EntryState | None) -> None:
    """After `kill -9` the file holds all that was committed."""
    tests = str(Path(__file__).parent.parent)
    ended = subprocess.run([sys.executable, "-c", SHED_AND_DIE, str(tmp_path), moment, tests], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    store = a_store(tmp_path)
    assert [entry.state for entry in store.load().entries] == ([] if expected is None else [expected])
    store.close(WAIT_S)


def test_closed_reasons_are_written(book: Book) -> None:
    """An entry is closed with its reason on disk."""
    book.shed()
    book.ledger.forget(KIBANA, "ann")
    book.again()
    connection = sqlite3.connect(book.directory / "ledger.db")
    (body,) = connection.execute("SELECT body FROM entries").fetchone()
    connection.close()
    assert f'"closed":"{Closed.FORGOTTEN}"' in body
