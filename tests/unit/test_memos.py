"""What is remembered of a service survives a restart, whatever was done to the clocks meanwhile."""

from __future__ import annotations

import pytest

from guardian.ledger.entries import ServiceMemory
from guardian.memos import from_ledger, to_ledger
from guardian.model import ServiceKey
from guardian.policy.state import Memo

KIBANA = ServiceKey("demo", "kibana")
WALL_S = 1_700_000_000.0
HOUR_S = 3600.0
MEMO = Memo(
    backoff_s=240.0,
    not_before_s=1200.0,
    probation_until_s=1100.0,
    flaps_s=(400.0, 990.0),
    quarantined=True,
    early_bytes=200_000_000,
    early_cores=0.25,
)


def restarted(memo: Memo, later_s: float = 0.0, clock_moved_s: float = 0.0, up_s: float = 50.0) -> Memo:
    """The memo after a restart: monotonic time begins anew at `up_s`, and the wall clock was set by `clock_moved_s`."""
    kept = to_ledger(KIBANA, memo, 1000.0, WALL_S)
    return from_ledger(kept, up_s, WALL_S + later_s + clock_moved_s, HOUR_S)


def test_all_comes_back_after_a_restart() -> None:
    """Back-off, probation, flaps, quarantine and first use come back, at the same distance from now."""
    assert restarted(MEMO, later_s=10.0) == Memo(
        backoff_s=240.0,
        not_before_s=240.0,
        probation_until_s=140.0,
        flaps_s=(-560.0, 30.0),
        quarantined=True,
        early_bytes=200_000_000,
        early_cores=0.25,
    )


def test_nothing_remembered_stays_nothing() -> None:
    """A service of which nothing is known has neither a time to wait for nor a first use: unknown stays unknown."""
    assert restarted(Memo()) == Memo()


def test_what_is_over_by_then_is_over() -> None:
    """A back-off or probation that has ended while guardian was down is not waited for again."""
    memo = restarted(MEMO, later_s=500.0)
    assert (memo.not_before_s, memo.probation_until_s) == (None, None)


def test_a_clock_set_back_holds_nothing_back_longer_than_the_longest_backoff() -> None:
    """After a clock set back by a day nothing waits longer than the longest back-off, and no flap lies ahead."""
    memo = restarted(MEMO, clock_moved_s=-24 * HOUR_S)
    assert (memo.not_before_s, memo.probation_until_s) == (50.0 + HOUR_S, 50.0 + HOUR_S)
    assert memo.flaps_s == (50.0, 50.0)


def test_a_clock_set_forward_ends_what_was_waited_for() -> None:
    """After a clock set forward by two days the waits are over and the flaps more than a day old; quarantine stays."""
    memo = restarted(MEMO, clock_moved_s=48 * HOUR_S)
    assert (memo.not_before_s, memo.probation_until_s) == (None, None)
    assert all(50.0 - at_s > 24 * HOUR_S for at_s in memo.flaps_s)
    assert memo.quarantined


@pytest.mark.parametrize("jitter_s", [-0.003, 0.0, 0.004])
def test_jitter_between_the_clocks_is_no_change(jitter_s: float) -> None:
    """A memo that did not change is written as the same value, although the two clocks are never read at once."""
    assert to_ledger(KIBANA, MEMO, 1010.0, WALL_S + 10.0 + jitter_s) == to_ledger(KIBANA, MEMO, 1000.0, WALL_S)


def test_what_the_ledger_keeps_is_in_wall_time() -> None:
    """The ledger keeps whole seconds since the epoch; what is not set is 0, which lies in the past."""
    assert to_ledger(KIBANA, MEMO, 1000.0, WALL_S) == ServiceMemory(
        service=KIBANA,
        backoff_s=240.0,
        not_before_wall_s=WALL_S + 200,
        probation_until_wall_s=WALL_S + 100,
        flaps_wall_s=(WALL_S - 600, WALL_S - 10),
        quarantined=True,
        early_bytes=200_000_000,
        early_cores=0.25,
    )
    assert to_ledger(KIBANA, Memo(), 1000.0, WALL_S) == ServiceMemory(KIBANA)
