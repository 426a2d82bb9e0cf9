"""Every way in which what is owed and what the engine shows can differ, and every answer that can be lost."""

from __future__ import annotations

from collections.abc import Iterator
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

from guardian.ledger import transitions
from guardian.ledger.entries import Closed, Entry, EntryState, Means
from guardian.ledger.reconcile import Context, FindingKind, Reconciled, reconcile
from guardian.model import ActionKind, Container, ContainerState, Result


def kinds(reconciled: Reconciled) -> list[FindingKind]:
    return [finding.kind for finding in reconciled.findings]


def only(reconciled: Reconciled) -> Entry:
    (entry,) = reconciled.entries
    return entry


# --- the table, row by row ------------------------------------------------------------------------------------------


def test_a_shed_service_that_somebody_starts_is_given_up_as_overridden() -> None:
    """A shed service that somebody starts is given up as overridden."""
    found = look(shed(a_container()), started(a_container(), T0 + 50), at=55)
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]
    assert only(found).closed is Closed.OVERRIDDEN


def test_one_replica_started_by_somebody_gives_up_the_whole_service() -> None:
    """One replica started by somebody gives up the whole service."""
    one, two = a_container("c1"), a_container("c2", number=2)
    found = look(shed(one, two), started(one, T0 + 50), ended(two, T0 + 2), at=55)
    assert only(found).closed is Closed.OVERRIDDEN


def test_a_running_service_that_somebody_stops_is_not_ours() -> None:
    """A running service that somebody stops is not ours."""
    entry = shed(a_container("c1"))
    other = ended(a_container("c2", service=KIBANA._replace(name="grafana")), T0 + 40)
    assert look(entry, ended(a_container("c1"), T0 + 2), other, at=55) == Reconciled()


@pytest.mark.parametrize("policy", ["always", "on-failure"])
def test_what_a_restarted_engine_brought_back_is_no_override_and_stays_in_the_ledger(policy: str) -> None:
    """What a restarted engine brought back is no override and stays in the ledger."""
    container = a_container(restart_policy=policy)
    found = look(shed(container), started(container, T0 + 50), at=55, gap=(T0 + 45, T0 + 52))
    assert kinds(found) == [FindingKind.RETURNED]
    assert only(found).open
    assert only(found).returned_wall_s == T0 + 50


def test_what_came_back_with_the_engine_is_closed_after_probation() -> None:
    """What came back with the engine is closed after probation."""
    container = a_container(restart_policy="always")
    running = started(container, T0 + 50)
    entry = only(look(shed(container), running, at=55, gap=(T0 + 45, T0 + 52)))
    assert look(entry, running, at=60, probation_s=120) == Reconciled()
    assert only(look(entry, running, at=171, probation_s=120)).closed is Closed.RETURNED


def test_what_came_back_with_the_engine_and_was_then_stopped_stays_stopped() -> None:
    """What came back with the engine and was then stopped stays stopped."""
    container = a_container(restart_policy="always")
    entry = only(look(shed(container), started(container, T0 + 50), at=55, gap=(T0 + 45, T0 + 52)))
    found = look(entry, ended(started(container, T0 + 50), T0 + 60), at=65)
    assert only(found).closed is Closed.RETURNED


def test_a_replica_that_did_not_come_back_with_the_engine_is_still_owed() -> None:
    """A replica that did not come back with the engine is still owed."""
    one, two = a_container("c1", restart_policy="always"), a_container("c2", number=2)
    inventory = (started(one, T0 + 50), ended(two, T0 + 2))
    entry = only(look(shed(one, two), *inventory, at=55, gap=(T0 + 45, T0 + 52)))
    entry = only(look(entry, *inventory, at=300))
    assert entry.state is EntryState.SHED
    assert [owed.id for owed in entry.owed] == ["c2"]


def test_a_start_that_a_restart_policy_does_not_explain_is_an_override_even_in_a_gap() -> None:
    """A start that a restart policy does not explain is an override even in a gap."""
    container = a_container(restart_policy="unless-stopped")
    found = look(shed(container), started(container, T0 + 50), at=55, gap=(T0 + 45, T0 + 52))
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]


def test_a_start_long_after_the_engine_restarted_is_an_override() -> None:
    """A start long after the engine restarted is an override."""
    container = a_container(restart_policy="always")
    found = look(shed(container), started(container, T0 + 500), at=505, gap=(T0 + 45, T0 + 52))
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_what_was_ended_by_signal_and_restarted_by_the_engine_asks_for_the_stop_again(policy: str) -> None:
    """What was ended by signal and restarted by the engine asks for the stop again."""
    container = a_container(restart_policy=policy)
    running = started(container, T0 + 3)
    found = look(shed(container, means=Means.SIGNAL), running, at=10)
    assert kinds(found) == [FindingKind.RESEND_STOP]
    assert only(found).open
    assert kinds(look(only(found), running, at=15)) == [FindingKind.RESEND_STOP]


def test_the_stop_is_not_asked_for_again_while_one_is_in_flight() -> None:
    """The stop is not asked for again while one is in flight."""
    container = a_container(restart_policy="always")
    running = started(container, T0 + 3)
    entry = only(look(shed(container, means=Means.SIGNAL), running, at=10))
    again = intended(running, action=an_action("a2"))
    assert reconcile((entry, again), (running,), Context(in_flight=frozenset({"a2"})), T0 + 15) == Reconciled()


def test_what_ends_while_the_stop_is_sent_again_is_left_to_that_stop() -> None:
    """What the engine restarted after a signal, and which ends while the stop is sent again, is left to that stop."""
    container = a_container(restart_policy="always")
    running = started(container, T0 + 3)
    entry = only(look(shed(container, means=Means.SIGNAL), running, at=10))
    again = intended(running, action=an_action("a2"))
    down = ended(running, T0 + 12)
    assert reconcile((entry, again), (down,), Context(in_flight=frozenset({"a2"})), T0 + 15) == Reconciled()


def test_what_was_ended_by_signal_restarted_and_then_stopped_by_somebody_stays_stopped() -> None:
    """What was ended by signal, restarted and then stopped by somebody stays stopped."""
    container = a_container(restart_policy="always")
    found = look(shed(container, means=Means.SIGNAL), ended(started(container, T0 + 3), T0 + 8), at=10)
    assert kinds(found) == [FindingKind.OVERRIDE_STOPPED]
    assert only(found).closed is Closed.OVERRIDDEN


def test_what_a_hung_engine_restarts_and_then_stops_as_it_was_asked_before_is_owed_still() -> None:
    """What was ended by signal, and a hung engine restarts and then stops, as it was asked before the signal, is owed still."""
    container = a_container(restart_policy="always")
    down = ended(started(container, T0 + 80), T0 + 85)
    found = look(shed(container, means=Means.SIGNAL), down, at=90, answers_since_wall_s=T0 + 79)
    assert kinds(found) == [FindingKind.OURS]
    assert only(found).state is EntryState.SHED
    assert look(only(found), down, at=95, answers_since_wall_s=T0 + 79).findings == ()
    somebody = look(
        shed(container, means=Means.SIGNAL), ended(started(container, T0 + 80), T0 + 110), at=115, answers_since_wall_s=T0 + 79
    )
    assert kinds(somebody) == [FindingKind.OVERRIDE_STOPPED]


def test_what_was_ended_by_signal_is_restarted_by_an_engine_that_has_only_just_gone_on() -> None:
    """What was ended by signal while the engine hung, and is restarted when it goes on, is no override, however long that was."""
    container = a_container(restart_policy="always")
    entry = shed(container, means=Means.SIGNAL)
    first = look(entry, ended(container, T0 + 2), at=100, answers_since_wall_s=T0 + 99)
    entry = only(first) if first.entries else entry
    found = look(entry, started(container, T0 + 101), at=105, answers_since_wall_s=T0 + 99)
    assert kinds(found) == [FindingKind.RESEND_STOP]


def test_a_stop_is_waited_for_until_a_hung_engine_has_answered_for_a_while() -> None:
    """A stop without an answer is waited for until the engine, that hung, has answered for a while."""
    entry, hung_until = sent(a_container()), T0 + 300
    assert look(entry, a_container(), at=320, answers_since_wall_s=hung_until) == Reconciled()
    assert kinds(look(entry, ended(a_container(), T0 + 310), at=320, answers_since_wall_s=hung_until)) == [FindingKind.OURS]
    assert kinds(look(entry, a_container(), at=331, answers_since_wall_s=hung_until)) == [FindingKind.NEVER_HAPPENED]


def test_a_container_without_restart_policy_that_runs_after_a_signal_was_started_by_somebody() -> None:
    """A container without restart policy that runs after a signal was started by somebody."""
    found = look(shed(a_container(), means=Means.SIGNAL), started(a_container(), T0 + 3), at=10)
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]


def test_an_entry_follows_a_container_recreated_under_the_same_service_and_number() -> None:
    """An entry follows a container recreated under the same service and number."""
    new = a_container("new", state=ContainerState.CREATED, started_wall_s=None)
    found = look(shed(a_container()), new, at=50)
    assert kinds(found) == [FindingKind.FOLLOWED]
    assert [owed.id for owed in only(found).owed] == ["new"]
    assert look(only(found), new, at=60) == Reconciled()


def test_an_entry_does_not_follow_another_replica() -> None:
    """An entry does not follow another replica."""
    found = look(shed(a_container()), a_container("new", number=2), at=50)
    assert kinds(found) == [FindingKind.GONE]


@pytest.mark.parametrize("oneoff", [{"oneoff": True}, {"swarm": True}])
def test_an_entry_does_not_follow_what_is_never_managed(oneoff: dict[str, bool]) -> None:
    """An entry does not follow what is never managed."""
    assert kinds(look(shed(a_container()), a_container("new", **oneoff), at=50)) == [FindingKind.GONE]


def test_a_recreated_container_that_runs_was_started_by_somebody() -> None:
    """A recreated container that runs was started by somebody."""
    found = look(shed(a_container()), started(a_container("new"), T0 + 45), at=50)
    assert FindingKind.OVERRIDE_STARTED in kinds(found)
    assert only(found).closed is Closed.OVERRIDDEN


def test_a_recreated_container_that_has_run_and_ended_was_started_by_somebody() -> None:
    """A recreated container that has run and ended was started by somebody."""
    found = look(shed(a_container()), ended(started(a_container("new"), T0 + 45), T0 + 47), at=50)
    assert only(found).closed is Closed.OVERRIDDEN


def test_a_removed_container_closes_its_entry_after_a_day() -> None:
    """A removed container closes its entry after a day."""
    found = look(shed(a_container()), at=50)
    assert kinds(found) == [FindingKind.GONE]
    assert only(found).missing_since_wall_s == T0 + 50
    assert look(only(found), at=50 + 86_000) == Reconciled()
    later = look(only(found), at=50 + 86_401)
    assert kinds(later) == [FindingKind.REMOVED]
    assert only(later).closed is Closed.REMOVED


def test_a_container_that_is_there_again_is_not_missing() -> None:
    """A container that is there again is not missing."""
    entry = only(look(shed(a_container()), at=50))
    assert only(look(entry, ended(a_container(), T0 + 2), at=60)).missing_since_wall_s is None


def test_what_left_the_file_while_shed_is_reported_once_and_kept() -> None:
    """What left the file while shed is reported once and kept."""
    container = ended(a_container(), T0 + 2)
    found = look(shed(a_container()), container, at=50, listed={})
    assert kinds(found) == [FindingKind.UNLISTED]
    assert only(found).state is EntryState.SHED
    assert look(only(found), container, at=60, listed={}) == Reconciled()
    assert only(look(only(found), container, at=70, listed={KIBANA: 5})).unlisted_wall_s is None


def test_what_moved_to_another_phase_while_shed_is_restored_as_of_that_phase() -> None:
    """What moved to another phase while shed is restored as of that phase."""
    found = look(shed(a_container()), ended(a_container(), T0 + 2), at=50, listed={KIBANA: 2})
    assert only(found).phase == 2
    assert only(found).open


def test_an_unknown_file_unlists_nothing() -> None:
    """An unknown file unlists nothing."""
    assert look(shed(a_container()), ended(a_container(), T0 + 2), at=50, listed=None) == Reconciled()


# --- answers that were lost -----------------------------------------------------------------------------------------


def test_what_was_only_intended_is_never_ours_even_if_it_has_stopped_since() -> None:
    """What was only intended is never ours, even if it has stopped since."""
    found = look(intended(a_container()), ended(a_container(), T0 + 2), at=10, startup=True)
    assert only(found).closed is Closed.NEVER_SENT


def test_a_sent_stop_whose_container_ended_since_is_ours() -> None:
    """A sent stop whose container ended since is ours."""
    found = look(sent(a_container()), ended(a_container(), T0 + 2), at=10, startup=True)
    assert kinds(found) == [FindingKind.OURS]
    assert only(found).state is EntryState.SHED
    assert [owed.id for owed in only(found).owed] == ["c1"]


def test_a_container_that_ended_before_the_stop_was_sent_is_not_ours() -> None:
    """A container that ended before the stop was sent is not ours."""
    found = look(sent(a_container()), ended(a_container(), T0 - 2), at=10, startup=True)
    assert kinds(found) == [FindingKind.NEVER_HAPPENED]
    assert only(found).closed is Closed.FAILED


def test_a_clock_that_is_off_by_a_second_does_not_lose_an_obligation() -> None:
    """A clock that is off by a second does not lose an obligation."""
    assert only(look(sent(a_container()), ended(a_container(), T0), at=10)).state is EntryState.SHED


def test_a_container_that_was_started_again_after_the_sent_stop_is_not_ours_even_if_it_has_stopped() -> None:
    """A container that was started again after the sent stop is not ours, even if it has stopped."""
    again = ended(started(a_container(), T0 + 6), T0 + 9)
    assert only(look(sent(a_container()), again, at=10, startup=True)).closed is Closed.FAILED


def test_a_sent_stop_whose_container_still_runs_is_waited_for_and_then_never_happened() -> None:
    """A sent stop whose container still runs is waited for, and then never happened."""
    entry = sent(a_container())
    assert look(entry, a_container(), at=40, startup=True) == Reconciled()
    found = look(entry, a_container(), at=47)
    assert kinds(found) == [FindingKind.NEVER_HAPPENED]
    assert only(found).closed is Closed.FAILED


def test_a_stop_that_the_engine_carries_out_after_guardian_was_restarted_is_ours() -> None:
    """A stop that the engine carries out after guardian was restarted is ours."""
    entry = sent(a_container())
    assert look(entry, a_container(), at=5, startup=True) == Reconciled()
    assert only(look(entry, ended(a_container(), T0 + 12), at=15)).state is EntryState.SHED


def test_an_end_after_a_lost_stop_can_have_an_effect_is_not_ours() -> None:
    """An end after a lost stop can have an effect is not ours, though nobody looked before."""
    found = look(sent(a_container()), ended(a_container(), T0 + 47), at=60, startup=True)
    assert only(found).closed is Closed.FAILED


def test_a_stop_in_doubt_is_waited_for_while_what_is_down_cannot_be_inspected() -> None:
    """A stop in doubt is waited for while what is down cannot be inspected: when it ended will tell whose it is. What is up is let go."""
    entry = sent(a_container())
    down = replace(a_container(), state=ContainerState.EXITED, unread=True)
    assert look(entry, down, at=5000) == Reconciled()
    assert only(look(entry, ended(a_container(), T0 + 12), at=6000)).state is EntryState.SHED
    assert only(look(entry, replace(a_container(), unread=True), at=5000)).closed is Closed.FAILED


def test_a_stop_that_must_never_kill_is_waited_for_longer() -> None:
    """A stop that must never kill is waited for longer."""
    entry = sent(a_container(), action=an_action(kill_after_grace=False))
    assert look(entry, a_container(), at=300) == Reconciled()
    assert only(look(entry, a_container(), at=700)).closed is Closed.FAILED


def test_a_timed_out_stop_that_takes_effect_later_is_ours() -> None:
    """A timed out stop that takes effect later is ours."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action, Result.TIMED_OUT, T0 + 16))
    assert entry.state is EntryState.SENT
    assert only(look(entry, ended(a_container(), T0 + 25), at=30)).state is EntryState.SHED


def test_only_the_replicas_that_stopped_are_owed() -> None:
    """Only the replicas that stopped are owed."""
    one, two = a_container("c1"), a_container("c2", number=2)
    entry = only(look(sent(one, two), ended(one, T0 + 2), two, at=47))
    assert entry.state is EntryState.SHED
    assert [owed.id for owed in entry.owed] == ["c1"]
    assert entry.in_doubt == ()


def test_a_container_whose_end_is_not_known_is_not_claimed() -> None:
    """A container whose end is not known is not claimed."""
    unknown = replace(a_container(), state=ContainerState.EXITED, finished_wall_s=None)
    entry = sent(a_container())
    assert look(entry, unknown, at=10) == Reconciled()
    assert only(look(entry, unknown, at=60)).closed is Closed.FAILED


def test_a_restore_that_runs_after_a_crash_is_restored() -> None:
    """A restore that runs after a crash is restored."""
    found = look(restoring(a_container()), started(a_container(), T0 + 101), at=110, startup=True)
    assert kinds(found) == [FindingKind.RESTORED]
    assert only(found).closed is Closed.RESTORED


def test_a_restore_that_does_not_run_after_a_crash_is_shed_again() -> None:
    """A restore that does not run after a crash is shed again."""
    found = look(restoring(a_container()), ended(a_container(), T0 + 2), at=110, startup=True)
    assert kinds(found) == [FindingKind.SHED_AGAIN]
    assert only(found).state is EntryState.SHED


def test_a_restore_that_an_operator_stopped_while_guardian_was_away_stays_stopped() -> None:
    """A restore that an operator stopped while guardian was away stays stopped."""
    again = ended(started(a_container(), T0 + 101), T0 + 105)
    assert only(look(restoring(a_container()), again, at=110, startup=True)).closed is Closed.RESTORED


def test_a_restore_that_takes_effect_after_its_deadline_is_no_override() -> None:
    """A restore that takes effect after its deadline is no override."""
    action = an_action("r1", ActionKind.RESTORE)
    entry = transitions.restored(restoring(a_container()), an_outcome(action, Result.TIMED_OUT, T0 + 115))
    assert entry.state is EntryState.SHED
    found = look(entry, started(a_container(), T0 + 118), at=120)
    assert kinds(found) == [FindingKind.RESTORED]


def test_what_was_started_and_stopped_again_while_guardian_was_away_stays_stopped() -> None:
    """What was started and stopped again while guardian was away stays stopped."""
    again = ended(started(a_container(), T0 + 40), T0 + 45)
    found = look(shed(a_container()), again, at=50, startup=True)
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]


@pytest.mark.parametrize("startup", [True, False])
def test_the_same_holds_if_it_happened_before_guardian_saw_its_own_stop_end(startup: bool) -> None:
    """The same holds if it happened before guardian saw its own stop end."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action))
    again = ended(started(a_container(), T0 + 40), T0 + 45)
    assert only(look(entry, again, at=50, startup=startup)).closed is Closed.OVERRIDDEN


def test_a_remote_engine_whose_clock_is_ahead_loses_no_obligation() -> None:
    """A remote engine whose clock is ahead loses no obligation."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action))
    assert only(look(entry, ended(a_container(), T0 + 60), at=10, startup=True)).state is EntryState.SHED


def test_a_service_that_stayed_down_while_guardian_was_away_is_still_owed() -> None:
    """A service that stayed down while guardian was away is still owed."""
    assert look(shed(a_container()), ended(a_container(), T0 + 2), at=5000, startup=True) == Reconciled()


def test_a_host_that_was_restarted_with_guardian_has_no_overrides() -> None:
    """A host that was restarted with guardian has no overrides."""
    container = a_container(restart_policy="always")
    assert kinds(look(shed(container), started(container, T0 + 900), at=910, startup=True)) == [FindingKind.RETURNED]


def a_lost_restart() -> Entry:
    """Sent at T0 + 1; nobody knows how it ended."""
    return sent(a_container(), action=an_action(kind=ActionKind.RESTART, reason="unhealthy"))


def test_a_restart_that_stopped_a_service_and_did_not_start_it_is_owed() -> None:
    """A restart that stopped a service and did not start it again is owed, like a shed."""
    found = look(a_lost_restart(), ended(a_container(), T0 + 2), at=10)
    assert kinds(found) == [FindingKind.OURS]
    assert [one.id for one in found.entries[0].owed] == ["c1"]


def test_a_restart_that_took_effect_owes_nothing() -> None:
    """A restart whose answer was lost owes nothing once the service is seen in a new run, and nobody is said to have started it."""
    found = look(a_lost_restart(), started(a_container(), T0 + 8), at=10)
    assert kinds(found) == [FindingKind.RESTORED]
    assert found.entries[0].closed is Closed.FAILED


def test_a_restart_that_is_seen_half_done_is_no_override_once_it_is_whole() -> None:
    """A restart that is seen between its stop and its start is no override once the engine has started it."""
    (half,) = look(a_lost_restart(), ended(a_container(), T0 + 2), at=5).entries
    found = look(half, started(a_container(), T0 + 6), at=10)
    assert kinds(found) == [FindingKind.RESTORED]
    assert not found.entries[0].open


def test_a_service_that_a_restart_left_down_is_overridden_by_somebody_who_starts_it() -> None:
    """What a restart left down is given up once somebody starts it long after."""
    (down,) = look(a_lost_restart(), ended(a_container(), T0 + 2), at=5).entries
    assert kinds(look(down, started(a_container(), T0 + 500), at=501)) == [FindingKind.OVERRIDE_STARTED]


def test_a_throttle_without_an_answer_is_owed() -> None:
    """A throttle without an answer is owed: to lift a quota twice does no harm."""
    entry = sent(a_container(), action=an_action(kind=ActionKind.THROTTLE))
    found = look(entry, a_container(), at=10, startup=True)
    assert only(found).state is EntryState.SHED
    assert only(found).means is Means.THROTTLE


def throttled() -> Entry:
    action = an_action(kind=ActionKind.THROTTLE)
    return transitions.settled(sent(a_container(), action=action), an_outcome(action))


def test_a_throttled_service_that_runs_is_no_override() -> None:
    """A throttled service that runs is no override."""
    assert look(throttled(), started(a_container(), T0 + 40), at=50) == Reconciled()


def test_a_lowered_quota_goes_with_its_container() -> None:
    """Where a throttled container was removed or recreated its quota went with it: nothing is owed to its successor."""
    found = look(throttled(), a_container("c2"), at=50)
    assert kinds(found) == [FindingKind.REMOVED]
    assert only(found).closed is Closed.REMOVED


def test_a_throttled_service_that_has_left_the_file_is_owed_its_quota_still() -> None:
    """A throttled service that has left the file is told of, and owed its quota still."""
    found = look(throttled(), a_container(), at=50, listed={})
    assert kinds(found) == [FindingKind.UNLISTED]
    assert only(found).state is EntryState.SHED


# --- when to leave things alone -------------------------------------------------------------------------------------


def test_entries_whose_stop_or_start_is_in_flight_are_left_alone() -> None:
    """Entries whose stop or start is in flight are left alone."""
    assert look(sent(a_container()), ended(a_container(), T0 + 2), at=10, in_flight=frozenset({"a1"})) == Reconciled()
    running = started(a_container(), T0 + 101)
    assert look(restoring(a_container()), running, at=110, in_flight=frozenset({"r1"})) == Reconciled()


def test_an_inventory_older_than_the_entry_changes_nothing() -> None:
    """An inventory older than the entry changes nothing."""
    action = an_action()
    entry = transitions.settled(sent(a_container(), action=action), an_outcome(action, at_wall_s=T0 + 3))
    assert look(entry, a_container(), at=2) == Reconciled()


def test_a_clock_set_back_by_an_hour_does_not_stop_reconciling() -> None:
    """A clock set back by an hour does not stop reconciling."""
    found = look(shed(a_container()), started(a_container(), T0 - 3590), at=-3580)
    assert kinds(found) == [FindingKind.OVERRIDE_STARTED]


def test_without_open_entries_the_inventory_is_not_even_looked_at() -> None:
    """Without open entries the inventory is not even looked at."""

    def containers() -> Iterator[Container]:
        raise AssertionError("looked at")
        yield

    assert reconcile((), containers(), Context(startup=True), T0) == Reconciled()


def test_a_paused_or_restarting_container_counts_as_started() -> None:
    """A paused or restarting container counts as started."""
    for state in (ContainerState.PAUSED, ContainerState.RESTARTING):
        running = replace(started(a_container(), T0 + 50), state=state)
        assert kinds(look(shed(a_container()), running, at=55)) == [FindingKind.OVERRIDE_STARTED]


def test_a_stop_sent_again_keeps_what_the_first_one_did() -> None:
    """A stop sent again keeps what the first one did."""
    one, two = a_container("c1"), a_container("c2", number=2)
    first = an_action("a1", containers=("c1", "c2"))
    partly = transitions.settled(
        sent(one, two, action=first), an_outcome(first, Result.TIMED_OUT, T0 + 16, stopped=("c1",), failed=("c2",))
    )
    second = an_action("a2", containers=("c2",))
    again = transitions.sent(transitions.intend(second, by_id(two), T0 + 20), T0 + 21)
    again, (closed,) = transitions.supersede(again, [partly], T0 + 21)
    assert closed.closed is Closed.SUPERSEDED
    settled = transitions.settled(again, an_outcome(second, Result.GONE, T0 + 22))  # the first stop had ended it
    found = look(settled, ended(one, T0 + 2), ended(two, T0 + 20.5), at=25)
    assert {owed.id for owed in only(found).owed} == {"c1", "c2"}


def test_an_end_between_two_stops_without_an_answer_is_ours() -> None:
    """An end between two stops without an answer is ours: the engine hung, and nobody could look."""
    again = transitions.sent(transitions.intend(an_action("a2"), by_id(a_container()), T0 + 90), T0 + 91)
    again, _ = transitions.supersede(again, [sent(a_container())], T0 + 91)
    assert only(look(again, ended(a_container(), T0 + 70), at=95)).state is EntryState.SHED


def test_a_run_that_began_between_two_stops_is_ended_only_by_the_second() -> None:
    """A run that began between two stops is ended only by the second."""
    between = started(a_container(), T0 + 10)
    again = transitions.sent(transitions.intend(an_action("a2"), by_id(between), T0 + 30), T0 + 31)
    again, _ = transitions.supersede(again, [sent(a_container())], T0 + 31)
    assert only(look(again, ended(between, T0 + 20), at=40)).closed is Closed.FAILED
    assert only(look(again, ended(between, T0 + 33), at=40)).state is EntryState.SHED
