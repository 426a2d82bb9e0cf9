"""The plan of `make chaos`."""

from __future__ import annotations

from itertools import pairwise

from chaos.faults import WAYS
from chaos.plan import KINDS, plan

GROUPS = {kind.name: kind.groups for kind in KINDS}


def test_a_seed_makes_one_plan() -> None:
    """The same seed and length make the same plan, and another seed another."""
    assert plan(7, 120) == plan(7, 120)
    assert plan(7, 120) != plan(8, 120)


def test_each_fault_has_a_way_and_each_comes_in_an_hour() -> None:
    """Every fault that may be drawn can be carried out, and an hour has all of them."""
    assert {kind.name for kind in KINDS} == set(WAYS)
    assert {fault.name for fault in plan(1, 3600)} == set(WAYS)


def test_what_must_not_meet_does_not() -> None:
    """Of one group no fault begins before the last one has ended, and none lasts beyond the plan."""
    faults = plan(3, 3600)
    assert max(fault.at_s + fault.for_s for fault in faults) <= 3600.1
    for group in {group for groups in GROUPS.values() for group in groups}:
        of_group = [fault for fault in faults if group in GROUPS[fault.name]]
        assert all(before.at_s + before.for_s <= after.at_s for before, after in pairwise(of_group))
