"""Decisions while the engine does not answer: the same victims, ended by signal; and the stop that is due afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.policy import AT_ONCE, MIB, Phase, World, a_config, an_entry, key, names, of_kind, sheds, why_held

from guardian.config.schema import ServiceConfig
from guardian.ledger.entries import Controls, Means
from guardian.model import Action, ActionKind, Decision, Result

PHASES = (Phase(("core",), protected=True), ("middle",), ("extra", "tail"))
AWAY = {"engine_ready": False, "engine_down": True, "signals": True}


def a_world(services: dict[str, ServiceConfig] | None = None, **host: float) -> World:
    """Phase 1 protected; 2 has `middle` (400 MiB), 3 has `extra` (300) and `tail` (200). 4000 MiB; hard from 3600 on."""
    world = World(a_config(*PHASES, services=services, thresholds=AT_ONCE), **{"memory": 0.95, **host})
    return world.add("core", 500).add("middle", 400).add("extra", 300).add("tail", 200)


def hastened(decision: Decision) -> list[Action]:
    return [action for action in decision.actions if action.kind is ActionKind.HASTEN]


def test_the_same_victims_are_ended_by_signal() -> None:
    """While the engine does not answer, hard memory ends by signal whom it would have stopped, with the same grace."""
    by_engine, by_signal = a_world().tick(), a_world().tick(**AWAY)
    assert sheds(by_signal) == sheds(by_engine) != []
    assert by_signal.actions == tuple(replace(action, by_signal=True) for action in by_engine.actions)


@pytest.mark.parametrize(
    "inputs",
    [
        {**AWAY, "signals": False},  # they cannot be sent
        {**AWAY, "engine_down": False},  # it answers, and its list is not complete yet
    ],
)
def test_without_leave_to_signal_hard_memory_waits_for_the_engine(inputs: dict[str, bool]) -> None:
    """Where signals cannot be sent, or the engine answers and is only not ready, nothing is stopped."""
    decision = a_world().tick(**inputs)
    assert decision.actions == ()
    assert why_held(decision) == ["engine"]


def test_soft_memory_waits_for_the_engine() -> None:
    """Soft memory ends nothing by signal: it waits for the engine."""
    decision = a_world(memory=0.85).tick(**AWAY)
    assert decision.actions == ()
    assert why_held(decision) == ["engine"]


def test_standby_holds_signals_too() -> None:
    """Standby holds signals as it holds stops."""
    decision = a_world().tick(standby=True, **AWAY)
    assert decision.actions == ()
    assert why_held(decision) == ["standby"]


def test_a_stop_in_flight_is_done_by_signal_once_the_engine_is_gone() -> None:
    """A stop that the engine was asked for is done by signal, once, when the engine does not answer any more."""
    world = a_world()
    first = world.tick()
    decision = world.tick(**AWAY)
    assert [action.id for action in hastened(decision)] == [action.id for action in first.actions]
    assert all(action.by_signal and action.grace_s == 3.0 and action.hard for action in hastened(decision))
    assert sheds(decision) == []
    assert hastened(world.tick(**AWAY)) == []


def test_a_stop_that_the_engine_does_not_get_done_is_done_by_signal() -> None:
    """An engine that answers and leaves a hard stop undone, half of its deadline past the grace, is not waited for."""
    world = a_world()  # grace 3 s, deadline 8 s
    world.tick()
    early = [world.tick(signals=True) for _ in range(5)]
    late = world.tick(signals=True)
    assert [hastened(one) for one in early] == [[]] * 5
    assert [(one.service.name, one.by_signal, one.grace_s) for one in hastened(late)] == [
        (name, True, 0.0) for name in ("extra", "tail", "middle")
    ]


def test_a_stop_that_was_hastened_is_overdue_by_its_new_grace() -> None:
    """A soft stop with a long timeout that hard memory hastens is done by signal when its new grace has passed in vain."""
    world = a_world({"extra": ServiceConfig(stop_timeout=60.0)}, memory=0.85)  # type: ignore[arg-type]
    assert sheds(world.tick()) == ["extra"]
    world.memory = 0.95
    decision = world.tick(signals=True)
    assert [(one.service.name, one.by_signal, one.grace_s) for one in hastened(decision)] == [("extra", False, 3.0)]
    later = [hastened(world.tick(signals=True)) for _ in range(6)]
    by_signal = [one for one in later[-1] if one.by_signal]
    assert [(one.service.name, one.grace_s) for one in by_signal][:1] == [("extra", 0.0)]
    assert not any(later[:-1])


def test_what_must_not_be_killed_is_asked_by_signal_and_not_overdue() -> None:
    """`kill: never` is asked by signal where the engine is gone, with all its time; an engine that answers is waited for."""
    world = a_world({"extra": ServiceConfig(kill="never", stop_timeout=20.0)})  # type: ignore[arg-type]
    world.tick()
    for _ in range(15):
        assert "extra" not in [one.service.name for one in hastened(world.tick(signals=True))]
    (action,) = [one for one in hastened(world.tick(**AWAY)) if one.service == key("extra")]
    assert (action.by_signal, action.kill_after_grace, action.grace_s) == (True, False, 20.0)


def test_its_relief_is_counted_on_while_the_signal_works() -> None:
    """While what the engine left undone is done by signal, its relief is pending still: nobody more valuable goes."""
    world = World(a_config(*PHASES, thresholds=AT_ONCE), memory=0.91).add("core", 500).add("middle", 400).add("extra", 900)
    assert sheds(world.tick()) == ["extra"]
    decisions = [world.tick(signals=True) for _ in range(10)]
    assert [one for decision in decisions for one in sheds(decision)] == []
    assert [one.service.name for decision in decisions for one in hastened(decision)] == ["extra"]


def test_one_that_had_ended_already_is_not_tried_again_at_once() -> None:
    """One that had ended before the signal is not tried again at once, since no list shows that: the next in rank goes."""
    world = a_world(memory=0.905)
    world.mib["extra-1"] = world.mib["tail-1"] = 1000
    first = world.tick(**AWAY)
    assert sheds(first) == ["extra"]
    world.end(first.actions[0], Result.GONE)
    assert sheds(world.tick(**AWAY)) == ["tail"]


# --- when the engine is back ----------------------------------------------------------------------------------------


def a_returned_world(level: float = 0.5, **fields: object) -> World:
    """`extra` was ended by signal, and Docker has started it again."""
    world = a_world(memory=level)
    fields = {"means": Means.SIGNAL, "returned_wall_s": 1.0, "expected_bytes": 700 * MIB, "expected_cores": 0.7, **fields}
    world.entries[key("extra")] = an_entry("extra", 3, **fields)
    return world


def test_the_stop_is_sent_once_the_engine_answers() -> None:
    """What was ended by signal and came back is stopped by the engine, at any level, and owes what it owed before."""
    world = a_returned_world()
    (action,) = world.tick(resend=(key("extra"),)).actions
    assert (action.kind, action.service, action.by_signal, action.hard) == (ActionKind.SHED, key("extra"), False, False)
    assert (action.reason, action.grace_s, action.expected_bytes, action.expected_cores) == ("memory", 10.0, 700 * MIB, 0.7)
    assert world.tick(resend=(key("extra"),)).actions == ()  # it is in flight


def test_under_hard_memory_it_has_short_grace() -> None:
    """Under hard memory the stop that is due has the short grace of all others, and comes once."""
    decision = a_returned_world(0.95).tick(resend=(key("extra"),))
    assert sheds(decision).count("extra") == 1
    assert next(one for one in decision.actions if one.service == key("extra")).grace_s == 3.0


@pytest.mark.parametrize(
    ("controls", "inputs"),
    [
        (Controls(), {"standby": True}),
        (Controls(), {"engine_ready": False}),
        (Controls(), {"observe": True}),
        (Controls(pins=frozenset({key("extra")})), {}),
    ],
)
def test_it_is_not_sent_where_nothing_may_be_stopped(controls: Controls, inputs: dict[str, bool]) -> None:
    """It is not sent in standby, in observe mode, without the engine, nor to what an operator has pinned since."""
    world = a_returned_world()
    world.controls = controls
    assert world.tick(resend=(key("extra"),), **inputs).actions == ()


def test_one_that_failed_is_sent_again_later() -> None:
    """A stop that is due and fails is sent again after a pause."""
    world = a_returned_world()
    (action,) = world.tick(resend=(key("extra"),)).actions
    world.end(action, Result.REFUSED)
    assert of_kind(world.tick(resend=(key("extra"),)), ActionKind.SHED) == []
    world.tick(resend=(key("extra"),))
    assert names(one.service for one in world.tick(resend=(key("extra"),)).actions) == ["extra"]
