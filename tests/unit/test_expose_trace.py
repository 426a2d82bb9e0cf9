"""What the status page draws: bounded, and honest about what is not known."""

from __future__ import annotations

from dataclasses import replace

from support.snapshots import AT_S, AT_WALL_S, snapshot

from guardian.expose.snapshot import Snapshot
from guardian.expose.trace import EVERY_S, KEEPS, Trace


def later(seconds: float, shown: Snapshot | None = None) -> Snapshot:
    return replace(shown or snapshot(), at_s=AT_S + seconds, at_wall_s=AT_WALL_S + seconds)


def test_a_point_has_the_host_and_every_phase_with_all_below() -> None:
    """A point has the host's memory and cores, and those of each phase with all below it."""
    trace = Trace()
    shown = snapshot()
    trace.note(shown)
    told = trace.since(0)
    host, uses = shown.sample.host, shown.assessment.phases
    assert host is not None
    assert host.memory_total_bytes is not None
    assert host.memory_available_bytes is not None
    assert host.cpu_ratio is not None
    [point] = told["points"]
    assert point[:3] == [AT_WALL_S, host.memory_total_bytes - host.memory_available_bytes, host.cpu_ratio * host.cores]
    assert point[3::2] == [use.memory_bytes for use in uses]
    assert told["phases"] == tuple(use.phase for use in uses)


def test_what_is_not_known_is_null_and_never_zero() -> None:
    """A host or a phase whose use is not known is null, and never zero."""
    trace = Trace()
    shown = snapshot()
    first, *others = shown.assessment.phases
    unknown = replace(first, memory_bytes=None, cpu_cores=None)
    assessment = replace(shown.assessment, phases=(unknown, *others))
    trace.note(replace(shown, sample=replace(shown.sample, host=None), assessment=assessment))
    [point] = trace.since(0)["points"]
    assert point[1:5] == [None] * 4
    assert None not in point[5:]


def test_a_point_is_taken_every_two_seconds_however_many_ticks_there_are() -> None:
    """However many ticks there are, a point is taken every two seconds."""
    trace = Trace()
    for tick in range(101):
        trace.note(later(tick * 0.1))
    assert len(trace.since(0)["points"]) == 10 / EVERY_S + 1


def test_the_oldest_makes_room() -> None:
    """A month of points takes as much as half an hour: the oldest makes room."""
    trace = Trace()
    for number in range(KEEPS + 5):
        trace.note(later(number * EVERY_S))
    points = trace.since(0)["points"]
    assert len(points) == KEEPS
    assert points[0][0] == AT_WALL_S + 5 * EVERY_S


def test_only_newer_points_are_told() -> None:
    """Whoever says which point it has gets the newer ones alone."""
    trace = Trace()
    for number in range(5):
        trace.note(later(number * EVERY_S))
    assert [point[0] for point in trace.since(AT_WALL_S + 2 * EVERY_S)["points"]] == [AT_WALL_S + 6, AT_WALL_S + 8]


def test_other_phases_begin_a_new_trace() -> None:
    """When the file's phases change, the trace begins anew: a point always means what `phases` says."""
    trace = Trace()
    trace.note(snapshot())
    shown = later(10)
    trace.note(replace(shown, assessment=replace(shown.assessment, phases=shown.assessment.phases[:2])))
    told = trace.since(0)
    assert told["phases"] == (1, 2)
    assert [len(point) for point in told["points"]] == [7]
