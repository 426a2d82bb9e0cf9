"""One entry from the decision to its end; impossible steps are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.ledgers import (
    KIBANA,
    T0,
    a_container,
    an_action,
    an_outcome,
    by_id,
    ended,
    intended,
    look,
    restoring,
    sent,
    shed,
    started,
)

from guardian.errors import LedgerError
from guardian.ledger import transitions
from guardian.ledger.entries import Closed, Entry, EntryState, Means
from guardian.ledger.reconcile import FindingKind, Reconciled
from guardian.model import Action, ActionKind, Container, ContainerState, Result


def test_an_intended_shed_remembers_what_a_restore_will_need() -> None:
    """An intended shed remembers what a restore will need."""
    action = an_action(relief_bytes=7, expected_bytes=9, expected_cores=0.5, by="ann")
    entry = transitions.intend(action, by_id(a_container(number=3, restart_policy="always")), T0)
    assert (entry.id, entry.service, entry.phase, entry.reason, entry.by) == ("a1", KIBANA, 5, "memory", "ann")
    assert (entry.expected_relief_bytes, entry.expected_bytes, entry.expected_cores) == (7, 9, 0.5)
    assert [(one.id, one.number, one.restart_policy) for one in entry.containers] == [("c1", 3, "always")]
    assert entry.state is EntryState.INTENDED
    assert entry.owed == ()


def test_a_stop_that_worked_is_owed() -> None:
    """A stop that worked is owed."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action))
    assert entry.state is EntryState.SHED
    assert entry.settled_wall_s == T0 + 3
    assert [one.id for one in entry.owed] == ["c1"]


def restart_sent(*ids: str) -> tuple[Entry, Action]:
    action = an_action(kind=ActionKind.RESTART, containers=ids, reason="unhealthy")
    return sent(*(a_container(one, number=place) for place, one in enumerate(ids, 1)), action=action), action


@pytest.mark.parametrize("result", [Result.DONE, Result.GONE, Result.REFUSED])
def test_a_restart_that_ended_with_an_answer_owes_nothing(result: Result) -> None:
    """A restart that worked, was refused, or found nothing running owes nothing."""
    entry, action = restart_sent("c1")
    assert (entry.means, entry.returning) == (Means.RESTART, True)
    entry = transitions.restarted(entry, an_outcome(action, result))
    assert entry.closed is (Closed.RESTORED if result is Result.DONE else Closed.FAILED)


@pytest.mark.parametrize("result", [Result.TIMED_OUT, Result.FAILED])
def test_a_restart_without_an_answer_stays_in_doubt(result: Result) -> None:
    """A restart without an answer, or that stopped what it then could not start, stays in doubt: for those that it concerns."""
    entry, action = restart_sent("c1", "c2")
    entry = transitions.restarted(entry, an_outcome(action, result, stopped=("c1",), failed=("c2",)))
    assert entry.state is EntryState.SENT
    assert [one.id for one in entry.in_doubt] == ["c2"]


def test_a_restart_that_was_never_sent_owes_nothing() -> None:
    """A restart that the ledger did not let out owes nothing."""
    action = an_action(kind=ActionKind.RESTART, reason="unhealthy")
    entry = transitions.restarted(intended(a_container(), action=action), an_outcome(action, Result.FAILED))
    assert entry.closed is Closed.NEVER_SENT


def test_a_container_that_had_stopped_already_is_not_owed() -> None:
    """A container that had stopped already is not owed."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action, Result.GONE))
    assert entry.closed is Closed.FAILED


def test_of_two_replicas_only_the_one_that_guardian_stopped_is_owed() -> None:
    """Of two replicas only the one that guardian stopped is owed."""
    action = an_action(containers=("c1", "c2"))
    entry = sent(a_container("c1"), a_container("c2", number=2), action=action)
    entry = transitions.settled(entry, an_outcome(action, stopped=("c2",)))
    assert [one.id for one in entry.owed] == ["c2"]
    assert entry.in_doubt == ()


def test_a_refused_stop_owes_nothing() -> None:
    """A refused stop owes nothing."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action, Result.REFUSED))
    assert entry.closed is Closed.FAILED


@pytest.mark.parametrize("result", [Result.TIMED_OUT, Result.FAILED])
def test_a_stop_without_an_answer_stays_in_doubt(result: Result) -> None:
    """A stop without an answer stays in doubt."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action, result))
    assert entry.state is EntryState.SENT
    assert [one.id for one in entry.in_doubt] == ["c1"]


def test_a_partial_stop_keeps_what_stopped_as_owed_and_the_rest_in_doubt() -> None:
    """A partial stop keeps what stopped as owed and the rest in doubt."""
    action = an_action(containers=("c1", "c2"))
    entry = sent(a_container("c1"), a_container("c2", number=2), action=action)
    entry = transitions.settled(entry, an_outcome(action, Result.TIMED_OUT, stopped=("c1",), failed=("c2",)))
    assert entry.state is EntryState.SHED
    assert [one.id for one in entry.owed] == ["c1"]
    assert [one.id for one in entry.in_doubt] == ["c2"]


def test_an_action_that_ended_without_being_sent_is_never_ours() -> None:
    """An action that ended without being sent is never ours."""
    action = an_action()
    entry = transitions.settled(intended(a_container(), action=action), an_outcome(action, Result.FAILED))
    assert entry.closed is Closed.NEVER_SENT


def test_a_restore_that_worked_closes_the_entry() -> None:
    """A restore that worked closes the entry."""
    entry = transitions.restored(restoring(a_container()), an_outcome(an_action("r1", ActionKind.RESTORE)))
    assert entry.closed is Closed.RESTORED


@pytest.mark.parametrize("result", [Result.TIMED_OUT, Result.REFUSED, Result.FAILED, Result.GONE])
def test_a_restore_that_failed_is_still_owed(result: Result) -> None:
    """A restore that failed is still owed."""
    entry = transitions.restored(restoring(a_container()), an_outcome(an_action("r1", ActionKind.RESTORE), result))
    assert entry.state is EntryState.SHED
    assert [one.id for one in entry.owed] == ["c1"]


def test_a_partial_restore_owes_only_the_rest() -> None:
    """A partial restore owes only the rest."""
    action = an_action("r1", ActionKind.RESTORE, ("c1", "c2"))
    entry = restoring(a_container("c1"), a_container("c2", number=2))
    entry = transitions.restored(entry, an_outcome(action, Result.REFUSED, failed=("c2",)))
    assert [one.id for one in entry.owed] == ["c2"]


def test_a_start_that_did_not_last_is_owed_as_of_its_newest_end() -> None:
    """A start that did not last is owed for what is down, and the end that was seen is no sign of another run."""
    action = an_action("r1", ActionKind.RESTORE, ("c1", "c2"))
    first, second = a_container("c1"), a_container("c2", number=2)
    down, up = ended(first, T0 + 105), started(second, T0 + 101)
    entry = transitions.fell(restoring(first, second), an_outcome(action, Result.FAILED), by_id(down, up))
    assert (entry.state, [one.id for one in entry.owed]) == (EntryState.SHED, ["c1"])
    assert look(entry, down, up, at=110) == Reconciled()
    (override,) = look(entry, started(first, T0 + 120), up, at=121).findings
    assert override.kind is FindingKind.OVERRIDE_STARTED


def test_a_start_that_did_not_last_owes_nothing_of_what_runs() -> None:
    """Where all of it is up after all, as what somebody has paused is, the entry is closed."""
    paused = replace(started(a_container(), T0 + 101), state=ContainerState.PAUSED)
    outcome = an_outcome(an_action("r1", ActionKind.RESTORE), Result.FAILED)
    assert transitions.fell(restoring(a_container()), outcome, by_id(paused)).closed is Closed.RESTORED


def throttled(*containers: Container) -> Entry:
    action = an_action(kind=ActionKind.THROTTLE, containers=tuple(one.id for one in containers))
    return transitions.settled(sent(*containers, action=action), an_outcome(action))


def test_a_lifted_quota_closes_the_throttle_once_no_container_has_it_still() -> None:
    """A lifted quota is owed no more on the containers on which it was lifted; the last one closes the throttle."""
    entry = throttled(a_container("c1"), a_container("c2", number=2))
    for lift in (an_action("u1", ActionKind.UNTHROTTLE), an_action("u2", ActionKind.UNTHROTTLE, ("c2",))):
        assert entry.open
        entry = transitions.restored(transitions.restoring(entry, lift, T0 + 50), an_outcome(lift))
    assert entry.closed is Closed.RESTORED


def test_a_quota_that_guardian_did_not_lower_is_not_lifted() -> None:
    """A container whose quota guardian did not lower, as one that was created since, is not given the old one."""
    with pytest.raises(LedgerError, match="did not throttle c9"):
        transitions.restoring(throttled(a_container()), an_action("u1", ActionKind.UNTHROTTLE, ("c9",)), T0 + 50)


def test_a_stop_does_not_take_a_throttle_over() -> None:
    """A stop does not take a throttle over: the quota is still to be lifted."""
    _, closed = transitions.supersede(sent(a_container()), [throttled(a_container())], T0 + 50)
    assert closed == ()


def test_a_service_stopped_again_after_it_came_back_is_owed_only_if_that_stop_works() -> None:
    """A service stopped again after it came back is owed only if that stop works."""
    returned = replace(shed(a_container()), returned_wall_s=T0 + 50)
    action = an_action("a2")
    entry = transitions.sent(transitions.intend(action, by_id(a_container()), T0 + 60), T0 + 61)
    entry, _ = transitions.supersede(entry, [returned], T0 + 61)
    assert entry.owed == ()
    assert transitions.settled(entry, an_outcome(action, Result.REFUSED, T0 + 62)).closed is Closed.FAILED


def test_a_restore_of_a_container_that_guardian_did_not_stop_is_refused() -> None:
    """A restore of a container that guardian did not stop is refused."""
    with pytest.raises(LedgerError, match="did not stop c9"):
        transitions.restoring(shed(a_container()), an_action("r1", ActionKind.RESTORE, ("c1", "c9")), T0)


IMPOSSIBLE: dict[str, Callable[[], object]] = {
    "to intend a restore": lambda: transitions.intend(an_action(kind=ActionKind.RESTORE), by_id(a_container()), T0),
    "to intend a container that is not there": lambda: transitions.intend(an_action(), {}, T0),
    "to intend nothing": lambda: transitions.intend(an_action(containers=()), {}, T0),
    "to send twice": lambda: transitions.sent(sent(a_container()), T0),
    "to settle by another action": lambda: transitions.settled(sent(a_container()), an_outcome(an_action("a2"))),
    "to settle twice": lambda: transitions.settled(shed(a_container()), an_outcome(an_action())),
    "to succeed without being sent": lambda: transitions.settled(intended(a_container()), an_outcome(an_action())),
    "to be done and stop nothing": lambda: transitions.settled(sent(a_container()), an_outcome(an_action(), stopped=())),
    "to restore what is not shed": lambda: transitions.restoring(sent(a_container()), an_action("r1", ActionKind.RESTORE), T0),
    "to restore by a shed": lambda: transitions.restoring(shed(a_container()), an_action("r1"), T0),
    "to end a restore that was not sent": lambda: transitions.restored(
        shed(a_container()), an_outcome(an_action("r1", ActionKind.RESTORE))
    ),
    "to end a restore by another": lambda: transitions.restored(
        restoring(a_container()), an_outcome(an_action("r2", ActionKind.RESTORE))
    ),
    "to fall without being started": lambda: transitions.fell(
        shed(a_container()), an_outcome(an_action("r1", ActionKind.RESTORE)), {}
    ),
    "to fall by another": lambda: transitions.fell(
        restoring(a_container()), an_outcome(an_action("r2", ActionKind.RESTORE)), {}
    ),
    "to measure what was not sent": lambda: transitions.measured(intended(a_container()), 1),
    "to follow a stranger": lambda: transitions.follow(shed(a_container()), "c9", a_container("new")),
    "to take over before being sent": lambda: transitions.supersede(intended(a_container()), [], T0),
    "to close twice": lambda: transitions.close(
        transitions.close(shed(a_container()), Closed.FORGOTTEN, T0), Closed.FORGOTTEN, T0
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_impossible_transition_is_refused(what: str) -> None:
    """An impossible transition is refused."""
    with pytest.raises(LedgerError):
        IMPOSSIBLE[what]()


def test_measured_relief_is_kept() -> None:
    """Measured relief is kept."""
    assert transitions.measured(shed(a_container()), 123).measured_relief_bytes == 123


def test_means_are_kept_as_sent() -> None:
    """Means are kept as sent."""
    entry: Entry = sent(a_container(), means=Means.SIGNAL)
    assert entry.means is Means.SIGNAL
