"""Which events tell of somebody else's doing. The sequences are those that a Docker Engine 20.10 sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.ledgers import T0, a_container, restoring, sent, shed

from guardian.ledger.entries import Entry, Means
from guardian.ledger.overrides import ENGINE_END_S, Override, OverrideKind, believed, classify, remember
from guardian.ledger.reconcile import Context
from guardian.model import EngineEvent

CALM = Context()


def play(
    *actions: str, entries: Sequence[Entry] = (), context: Context = CALM, at: float = 50.0, container_id: str = "c1"
) -> list[Override]:
    """Feed events such as `kill 15`, a second apart."""
    found, killed = list[Override](), {}
    for place, text in enumerate(actions):
        action, _, signal = text.partition(" ")
        event = EngineEvent(T0 + at + place, action, container_id, "name", {"signal": signal} if signal else {})
        override = classify(event, entries, context, killed)
        killed = remember(event, killed)
        found.extend([override] if override else [])
    assert not killed or actions[-1].startswith(("kill", "die")), "signals are remembered no longer than needed"
    return found


def kinds(found: list[Override]) -> list[str]:
    return [override.kind.value for override in found]


def test_a_start_of_a_shed_service_is_an_override_of_its_entry() -> None:
    """A start of a shed service is an override of its entry."""
    entry = shed(a_container())
    assert [(one.kind, one.entry) for one in play("start", entries=[entry])] == [(OverrideKind.STARTED, entry)]


def test_a_start_of_what_guardian_did_not_stop_is_nothing() -> None:
    """A start of what guardian did not stop is nothing."""
    assert play("start", entries=[shed(a_container())], container_id="c2") == []


def test_guardians_own_start_is_no_override_before_during_and_after_its_answer() -> None:
    """Guardian's own start is no override before, during and after its answer."""
    entry = restoring(a_container())
    assert play("start", entries=[entry], context=Context(in_flight=frozenset({"r1"})), at=101) == []
    assert play("start", entries=[entry], at=101) == []


def test_guardians_own_restart_is_no_override() -> None:
    """The events of a restart by guardian are no override, whether or not its entry is open still."""
    context = Context(restarting=frozenset({"c1"}))
    assert play("kill 15", "die", "stop", "start", "restart", context=context) == []
    assert kinds(play("kill 15", "die", "stop", "start", "restart")) == ["stopped"]


def test_a_start_from_before_the_stop_is_old_news() -> None:
    """A start from before the stop is old news."""
    assert play("start", entries=[shed(a_container())], at=-10) == []


def test_a_start_by_a_restarted_engine_is_no_override() -> None:
    """A start by a restarted engine is no override."""
    entry = shed(a_container(restart_policy="always"))
    assert play("start", entries=[entry], context=Context(gap=(T0 + 45, T0 + 52))) == []
    assert kinds(play("start", entries=[entry])) == ["started"]


def test_a_start_of_what_has_come_back_already_is_no_override() -> None:
    """A start of what has come back already is no override."""
    assert play("start", entries=[replace(shed(a_container()), returned_wall_s=T0 + 49)]) == []


def test_a_restart_by_the_engine_after_a_signal_is_no_override() -> None:
    """A restart by the engine after a signal is no override."""
    assert play("start", entries=[shed(a_container(restart_policy="always"), means=Means.SIGNAL)]) == []


@pytest.mark.parametrize(
    "events",
    [
        ("kill 15", "die", "stop"),  # docker stop
        ("kill 15", "kill 9", "die", "stop"),  # … that took too long
        ("kill 9", "die"),  # docker kill
        ("kill 28", "die", "stop"),  # a stop signal that is elsewhere used to talk
        ("kill 1", "kill 15", "die", "stop", "start", "restart"),  # docker restart
    ],
)
def test_a_stop_or_kill_by_somebody_is_one_override(events: tuple[str, ...]) -> None:
    """A stop or kill by somebody is one override."""
    found = play(*events)
    assert kinds(found) == ["stopped"]
    assert found[0].entry is None


@pytest.mark.parametrize("events", [("die",), ("die", "start"), ("kill 1",), ("kill 1", "die"), ("oom", "die"), ("destroy",)])
def test_an_exit_by_itself_is_no_override(events: tuple[str, ...]) -> None:
    """An exit by itself is no override."""
    assert play(*events) == []


def test_guardians_own_stop_is_no_override_in_flight_nor_after_it() -> None:
    """Guardian's own stop is no override, in flight nor after it."""
    stop = ("kill 15", "die", "stop")
    assert play(*stop, entries=[sent(a_container())], context=Context(in_flight=frozenset({"a1"})), at=1) == []
    assert play(*stop, entries=[sent(a_container())], at=1) == []
    assert play(*stop, entries=[shed(a_container())], at=1) == []


def test_a_stop_of_what_the_engine_had_brought_back_gives_its_entry_up() -> None:
    """A stop of what the engine had brought back gives its entry up."""
    entry = replace(shed(a_container()), returned_wall_s=T0 + 49)
    found = play("kill 15", "die", "stop", entries=[entry])
    assert [(one.kind, one.entry) for one in found] == [(OverrideKind.STOPPED, entry)]


def test_a_stop_of_what_guardian_has_started_gives_its_entry_up() -> None:
    """A stop after guardian's own start gives the entry up; one that is told late, from before it, does not."""
    entry = restoring(a_container())
    assert [one.entry for one in play("kill 15", "die", "stop", entries=[entry], at=105)] == [entry]
    assert play("kill 15", "die", "stop", entries=[entry], at=90) == []


def test_a_stop_by_somebody_counts_once_it_is_clear_that_the_engine_did_not_end() -> None:
    """A stop by somebody counts once it is clear that the engine did not end."""
    (stop,) = play("kill 15", "die", "stop")
    stopped_s = stop.at_wall_s
    assert believed([stop], None, True, stopped_s + ENGINE_END_S - 1) == ((), (stop,))
    assert believed([stop], None, True, stopped_s + ENGINE_END_S) == ((stop,), ())
    assert believed([stop], (stopped_s - 60, stopped_s - 1), True, stopped_s + ENGINE_END_S) == ((stop,), ())


def test_a_stop_by_an_engine_that_ends_is_no_override() -> None:
    """A stop by an engine that ends is no override, whether the end shows by a gap or by silence."""
    (stop,) = play("kill 15", "die", "stop")
    assert believed([stop], (stop.at_wall_s, stop.at_wall_s + 1), True, stop.at_wall_s + 2) == ((), ())
    assert believed([stop], None, False, stop.at_wall_s + 2) == ((), ())
