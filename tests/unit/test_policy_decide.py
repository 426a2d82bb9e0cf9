"""Decisions over time: batches, settling, breaker, exhaustion, throttling, restores, observe mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from support.policy import (
    AT_ONCE,
    MIB,
    TOTAL,
    Phase,
    World,
    a_config,
    an_entry,
    key,
    marks,
    names,
    of_kind,
    restores,
    sheds,
    why_held,
    why_waiting,
)

from guardian.config.schema import HostConfig, Resources, RestoringConfig, ServiceConfig, SheddingConfig, ThresholdsConfig
from guardian.ledger.entries import Entry, EntryContainer, Means
from guardian.model import Action, ActionKind, ContainerState, Decision, Health, Level, Result, ServiceKey, Signal
from guardian.policy.decide import refusal
from guardian.policy.platform import Platform
from guardian.policy.state import Breaker, Memo

PHASES = (Phase(("core",), protected=True), ("middle",), ("extra", "tail"))


def a_world(services: dict[str, ServiceConfig] | None = None, options: dict[str, Any] | None = None, **host: Any) -> World:
    """Phase 1 protected; 2 has `middle` (400 MiB), 3 has `extra` (300) and `tail` (200). 4000 MiB, 4 cores."""
    world = World(a_config(*PHASES, services=services, **{"thresholds": AT_ONCE, **(options or {})}), **host)
    return world.add("core", 500).add("middle", 400).add("extra", 300).add("tail", 200)


def only(decision: Decision) -> Action:
    (action,) = decision.actions
    return action


def until_action(world: World, ticks: int = 20) -> tuple[int, Decision]:
    """Tick until something is decided: after how many ticks, and what."""
    for number in range(1, ticks + 1):
        decision = world.tick()
        if decision.actions:
            return number, decision
    raise AssertionError(f"nothing within {ticks} ticks; held: {decision.held}")


# --- soft -----------------------------------------------------------------------------------------------------------


def test_soft_stops_one_service_with_its_own_stop_timeout() -> None:
    """Soft stops one service, with its own stop timeout, what it is expected to bring and the crossing that it answers."""
    world = a_world({"extra": ServiceConfig(stop_timeout=30.0)}, memory=0.75)  # type: ignore[arg-type]
    world.tick()
    world.memory = 0.85
    action = only(world.tick())
    assert (action.kind, action.service, action.phase, action.containers) == (ActionKind.SHED, key("extra"), 3, ("extra-1",))
    assert (action.grace_s, action.deadline_s, action.kill_after_grace, action.hard) == (30.0, 35.0, True, False)
    assert (action.reason, action.relief_bytes, action.expected_bytes) == ("memory", 300 * MIB, 300 * MIB)
    assert action.crossed_s == pytest.approx(world.now_s - 0.5)


def test_soft_stops_dependents_first_and_the_rest_after_them() -> None:
    """Soft stops what requires the victim first; the victim waits until they are gone, and nobody else goes meanwhile."""
    world = a_world({"tail": ServiceConfig(requires=("extra",))}, memory=0.85)
    decision = world.tick()
    tail, extra = decision.actions
    assert (sheds(decision), tail.after, extra.after) == (["tail", "extra"], (), (tail.id,))
    assert why_held(world.tick()) == ["in_flight"]


def test_soft_goes_on_until_recover_is_reached() -> None:
    """Soft goes on, one after the other, until recover is reached, and no further."""
    world = a_world(memory=0.81)
    stopped = []
    for _ in range(30):
        decision = world.tick()
        stopped += sheds(decision)
        for action in decision.actions:
            world.end(action)
            world.memory = (world.memory or 0.0) - (action.relief_bytes or 0) / TOTAL
    assert stopped == ["extra", "tail"]
    assert world.assessment.level is Level.OK


def test_between_recover_and_soft_a_soft_host_still_sheds() -> None:
    """Between recover and soft a host that is soft still sheds: recover is what must be reached."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()))
    world.memory = 0.775
    assert sheds(until_action(world)[1]) == ["tail"]


@pytest.mark.parametrize(("drop_mib", "ticks"), [(300, 1), (160, 1), (100, 5), (0, 5)])
def test_after_a_victim_is_gone_its_relief_is_waited_for_at_most_settle(drop_mib: float, ticks: int) -> None:
    """After a victim is gone the next one waits until its relief shows, at most `settle`."""
    world = a_world(options={"thresholds": ThresholdsConfig(memory=marks(hard=0.99))}, memory=0.95)
    world.end(only(world.tick()))
    world.memory = 0.95 - drop_mib * MIB / TOTAL
    assert until_action(world)[0] == ticks


def test_what_others_grew_by_meanwhile_counts_as_relief() -> None:
    """What other services grew by meanwhile counts as relief: they got it."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()))
    world.mib["middle-1"] = 650  # of the 300 that were given back
    decision = world.tick()
    (settled,) = decision.settled
    assert (settled.expected, settled.measured) == (300 * MIB, pytest.approx(250 * MIB))


def test_a_relief_that_no_reading_shows_is_unknown() -> None:
    """A relief that no reading shows within `settle` is unknown, and no argument for the breaker."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()))
    world.memory = None
    settled = [one for decision in world.ticks(6) for one in decision.settled]
    assert [one.measured for one in settled] == [None]
    assert world.state.breakers == {}


def test_a_shed_for_support_waits_for_its_ten_second_average() -> None:
    """A shed for a supporting signal is judged only once the ten seconds of its average have passed."""
    world = a_world(memory=0.78, memory_pressure=0.5)
    action = only(world.tick())
    assert (action.service, action.reason) == (key("extra"), "memory")
    world.end(action)
    world.memory = 0.72
    number, decision = until_action(world)
    assert (number, sheds(decision)) == (10, ["tail"])


def test_support_that_cannot_be_read_sheds_nothing() -> None:
    """A supporting signal that cannot be read any more sheds nothing, and sheds again once it is read."""
    world = a_world(memory=0.65, memory_pressure=0.5)
    world.tick()
    world.memory, world.memory_pressure = 0.78, None
    assert [sheds(decision) for decision in world.ticks(20)] == [[]] * 20
    world.memory_pressure = 0.5
    assert sheds(until_action(world)[1]) == ["extra"]


def test_a_list_that_still_shows_what_was_stopped_leads_to_no_second_stop() -> None:
    """A list older than a stop still shows its victim as running: it is not stopped twice."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()))
    world.set_state("extra", ContainerState.RUNNING)
    assert sheds(until_action(world)[1]) == ["tail"]


def test_what_the_engine_brought_back_is_shed_again() -> None:
    """What the engine brought back while its entry is open is shed again if the host is not ok."""
    world = a_world(memory=0.85)
    world.entries[key("extra")] = an_entry("extra", 3, returned_wall_s=1.0)
    assert sheds(world.tick()) == ["extra"]


def test_a_reading_from_before_the_end_settles_nothing() -> None:
    """A reading of the host from before a victim was gone settles nothing."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()))
    world.reading_s, world.memory = world.now_s, 0.75
    assert [decision.settled for decision in world.ticks(3)] == [(), (), ()]
    world.reading_s = None
    assert [one.measured for one in world.tick().settled] == [pytest.approx(0.10 * TOTAL)]


# --- circuit breaker and bounds -------------------------------------------------------------------------------------


def many(count: int, options: dict[str, Any] | None = None, **host: Any) -> World:
    """So many services of 100 MiB in one phase."""
    listed = tuple(f"s{number:02}" for number in range(count))
    world = World(a_config(listed, **{"thresholds": AT_ONCE, **(options or {})}), **host)
    for name in listed:
        world.add(name)
    return world


def shed_in_turn(world: World, ticks: int, drops_mib: Iterable[float] = ()) -> list[str]:
    """Carry out every shed at once; each gives back what `drops_mib` says, in turn, then nothing."""
    drops, stopped = iter(drops_mib), []
    for _ in range(ticks):
        decision = world.tick()
        for action in decision.actions:
            world.end(action)
            stopped.append(action.service.name)
            world.memory = (world.memory or 0.0) - next(drops, 0.0) * MIB / TOTAL
    return stopped


@pytest.mark.parametrize(
    ("drops_mib", "count"),
    [
        ([0, 0], 2),
        ([24, 24], 2),  # under a quarter
        ([0, 26, 0, 0], 4),  # not in a row
        ([26, 26, 26, 26, 26], 7),
    ],
)
def test_two_useless_sheds_in_a_row_pause_soft_shedding(drops_mib: list[float], count: int) -> None:
    """Two settled sheds in a row that brought under a quarter pause soft shedding for that signal."""
    world = many(10, memory=0.85)
    assert len(shed_in_turn(world, 100, drops_mib)) == count
    decision = world.tick()
    assert (decision.ineffective, why_held(decision)) == ((Signal.MEMORY,), ["ineffective"])


def test_the_pause_ends_after_ten_minutes() -> None:
    """The pause of the circuit breaker ends after ten minutes."""
    world = many(10, memory=0.85)
    while not world.state.breakers.get(Signal.MEMORY, Breaker()).open_until_s:
        assert world.now_s < 10_100
        shed_in_turn(world, 1)
    opened_s = world.now_s
    assert why_held(world.tick(opened_s + 599.0 - world.now_s)) == ["ineffective"]
    assert sheds(world.tick())


def test_hard_memory_is_exempt_from_the_breaker() -> None:
    """Hard memory is exempt from the circuit breaker."""
    world = many(10, memory=0.85)
    shed_in_turn(world, 20)
    world.memory = 0.92
    assert sheds(world.tick())


def test_max_per_hour_bounds_soft_sheds() -> None:
    """`max_per_hour` bounds soft sheds; after an hour they go on."""
    options = {"thresholds": ThresholdsConfig(memory=marks(hard=1.0)), "shedding": SheddingConfig(max_per_hour=3)}
    world = many(10, options, memory=0.99)
    assert len(shed_in_turn(world, 100, [50] * 10)) == 3
    assert why_held(world.tick()) == ["max_per_hour"]
    world.now_s += 3600
    assert sheds(world.tick())


# --- hard -----------------------------------------------------------------------------------------------------------


def test_hard_memory_stops_the_whole_set_at_once_with_short_grace() -> None:
    """Hard memory stops the whole set at once, with `hard_grace`, and nobody waits for anybody."""
    requires = {"tail": ServiceConfig(requires=("extra",))}
    world = a_world(requires, memory=0.91)
    decision = world.tick()
    assert sorted(sheds(decision)) == ["extra", "middle", "tail"]
    assert {(one.grace_s, one.hard, one.after, one.deadline_s) for one in decision.actions} == {(3.0, True, (), 8.0)}


def test_a_relief_that_nobody_knows_is_seen_before_the_next_goes() -> None:
    """What a stop of unknown relief brings is waited for, at most `settle`, before anything more valuable goes."""
    world = World(a_config(("middle",), ("extra",), thresholds=AT_ONCE), memory=0.95).add("middle", 1500).add("extra", None)
    assert sheds(world.tick()) == ["extra"]
    assert [why_held(decision) for decision in world.ticks(4)] == [["relief_unknown"]] * 4
    assert sheds(world.tick()) == ["middle"]


def test_one_relief_counts_for_the_host_and_for_the_platform() -> None:
    """Where host and platform are hard at once one batch serves both: each relief counts in each plan."""
    capped = {"host": HostConfig(memory=1500 * MIB)}  # type: ignore[arg-type]
    decision = a_world(options=capped, memory=0.90).add("extra", 900).tick()
    assert {one.signal: one.level for one in decision.deficits} == {
        Signal.MEMORY: Level.HARD,
        Signal.PLATFORM_MEMORY: Level.HARD,
    }
    assert sheds(decision) == ["extra", "tail"]  # 1100 MiB for 800 and 950


def test_no_second_batch_follows_one_that_suffices() -> None:
    """No second batch follows one that suffices, while it is being given back."""
    world = a_world(memory=0.91).add("extra", 600)
    decision = world.tick()
    assert sorted(sheds(decision)) == ["extra", "middle", "tail"]
    for later in world.ticks(3):
        assert sheds(later) == []
    for action in decision.actions:
        world.end(action)
        world.memory -= (action.relief_bytes or 0) / TOTAL  # type: ignore[operator]
    for later in world.ticks(10):
        assert sheds(later) == []


@pytest.mark.parametrize(
    ("first", "step", "grace_s"),
    [(0.60, 0.04, 3.0), (0.60, 0.06, 0.22 / 0.06 / 2), (0.64, 0.09, 0.0)],  # 7, 3.7 and 1 s to full
)
def test_grace_is_half_the_time_to_full_and_a_kill_under_a_second(first: float, step: float, grace_s: float) -> None:
    """Grace under filling memory is half of the time to full, and a kill under a second; not so for `kill: never`."""
    slow = {"thresholds": ThresholdsConfig(memory=marks(soft_for=10))}
    world = a_world({"tail": ServiceConfig(kill="never")}, slow)
    for number in range(4):
        world.memory = first + step * number
        decision = world.tick()
    graces = {one.service.name: (one.grace_s, one.kill_after_grace) for one in decision.actions}
    assert graces["extra"] == (pytest.approx(grace_s, abs=0.01), True)
    assert graces["tail"] == (10.0, False)


def test_kill_never_keeps_the_whole_stop_timeout_and_the_life() -> None:
    """`kill: never` keeps the whole stop timeout under hard memory, is not killed after it, and is not hastened."""
    world = a_world({"extra": ServiceConfig(kill="never", stop_timeout=60.0)}, memory=0.95)  # type: ignore[arg-type]
    extra = next(one for one in world.tick().actions if one.service == key("extra"))
    assert (extra.grace_s, extra.kill_after_grace, extra.deadline_s) == (60.0, False, 65.0)
    assert of_kind(world.tick(), ActionKind.HASTEN) == []


def test_a_stop_in_flight_is_hastened_once_when_memory_becomes_hard() -> None:
    """A stop in flight is hastened when memory becomes hard, once; it keeps its id."""
    world = a_world(memory=0.85)
    first = only(world.tick())
    world.memory = 0.95
    decision = world.tick()
    hastened = next(one for one in decision.actions if one.kind is ActionKind.HASTEN)
    assert (hastened.id, hastened.service, hastened.grace_s, hastened.hard) == (first.id, key("extra"), 3.0, True)
    assert sorted(sheds(decision)) == ["middle", "tail"]
    assert world.tick().actions == ()


def test_a_stop_that_ends_sooner_anyway_is_not_hastened() -> None:
    """A stop that ends sooner anyway is not hastened."""
    world = a_world(memory=0.85)
    world.tick()
    world.ticks(7)
    world.memory = 0.95
    assert of_kind(world.tick(), ActionKind.HASTEN) == []


def test_a_batch_acts_only_on_a_reading_newer_than_the_last_outcome() -> None:
    """After an outcome the next batch waits for a newer reading of the host."""
    world = a_world(memory=0.99)
    decision = world.tick()
    world.reading_s = world.now_s
    world.end_all(decision)
    world.add("late", 500)
    later = world.tick()
    assert (sheds(later), why_held(later)) == ([], ["reading_not_newer"])


# --- exhausted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("memory", "mib", "exhausted"), [(0.95, 100, True), (0.95, 2000, False), (0.85, 100, False)])
def test_it_is_exhausted_when_all_that_is_left_does_not_suffice_for_ten_seconds(
    memory: float, mib: float, exhausted: bool
) -> None:
    """It is exhausted once memory is hard, nothing is in flight and all possible relief is too little, for ten seconds."""
    world = World(a_config(Phase(("core",), protected=True), ("extra",), thresholds=AT_ONCE), memory=memory, standby=True)
    world.add("core").add("extra", mib)
    seen = [decision.exhausted for decision in world.ticks(12)]
    assert seen == [False] * 10 + [exhausted] * 2


def test_a_stop_in_flight_puts_exhaustion_off() -> None:
    """A stop in flight puts exhaustion off; it counts from when nothing is left."""
    world = a_world(memory=0.99)
    decision = world.tick()
    assert not any(later.exhausted for later in world.ticks(7))
    world.end_all(decision)
    assert [later.exhausted for later in world.ticks(12)] == [False] * 10 + [True] * 2


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [Result.FAILED, Result.REFUSED, Result.TIMED_OUT])
def test_a_stop_that_failed_brings_no_relief_and_is_tried_again_later_each_time(result: Result) -> None:
    """A stop that failed is never booked as relief, and is tried again, later each time; others go meanwhile."""
    world = World(a_config(("extra",), thresholds=AT_ONCE), memory=0.85).add("extra", 900)
    waited = []
    for _ in range(4):
        number, decision = until_action(world, 100)
        waited.append(number)
        world.end(only(decision), result)
    assert waited == [1, 3, 5, 9]
    assert world.state.landings == ()


def test_after_a_failed_stop_the_next_in_rank_goes() -> None:
    """After a failed stop the next in rank goes."""
    world = a_world(memory=0.81)
    world.end(only(world.tick()), Result.FAILED)
    assert sheds(world.tick()) == ["tail"]


def test_what_had_ended_by_itself_is_no_relief_and_no_failure() -> None:
    """What had ended by itself is neither a relief nor a failure."""
    world = a_world(memory=0.85)
    world.end(only(world.tick()), Result.GONE)
    world.set_state("extra", ContainerState.EXITED)
    world.tick()
    assert (world.state.landings, world.state.memo(key("extra")).failures) == ((), 0)


@pytest.mark.parametrize(("under_way", "lost"), [(None, False), (frozenset({"run-2"}), False), (frozenset(), True)])
def test_an_action_that_nobody_carries_out_has_failed(under_way: frozenset[str] | None, lost: bool) -> None:
    """An action that nobody carries out and that has no outcome has failed, so that it holds up no other for ever."""
    world = a_world(memory=0.81)
    assert only(world.tick()).id == "run-2"
    decision = world.tick(under_way=under_way)
    assert sheds(decision) == (["tail"] if lost else [])
    assert world.state.memo(key("extra")).failures == (1 if lost else 0)


def test_an_outcome_of_an_unknown_action_changes_nothing() -> None:
    """An outcome of an unknown action, or the same one twice, changes nothing."""
    world = a_world(memory=0.85)
    action = only(world.tick())
    world.end(action)
    world.end(action)
    world.tick()
    assert len(world.state.landings) == 1


# --- overrides and orders -------------------------------------------------------------------------------------------


def test_what_somebody_started_is_no_soft_victim_for_ten_minutes() -> None:
    """What somebody started is no soft victim for ten minutes."""
    world = World(a_config(("extra",), thresholds=AT_ONCE), memory=0.85).add("extra", 900)
    assert world.tick(overrides=(key("extra"),)).actions == ()
    assert why_held(world.tick(599.0)) == ["no_useful_victim"]
    assert sheds(world.tick()) == ["extra"]


def test_an_operators_shed_is_carried_out_at_any_level() -> None:
    """An operator's shed is carried out at any level, in his name, and counts for no bound of soft shedding."""
    world = a_world()
    action = only(world.tick(shed_orders=((key("extra"), "ada"),)))
    assert (action.service, action.by, action.reason, action.grace_s) == (key("extra"), "ada", "operator", 10.0)
    assert world.state.soft_sheds_s == ()


def test_an_operators_shed_takes_along_what_requires_the_service() -> None:
    """An operator's shed stops what requires the service as well, and before it."""
    config = a_config(("extra", "tail"), thresholds=AT_ONCE, services={"tail": ServiceConfig(requires=("extra",))})
    world = World(config, memory=0.5).add("extra", 100).add("tail", 100)
    first, second = world.tick(shed_orders=((key("extra"), "ada"),)).actions
    assert (first.service, second.service) == (key("tail"), key("extra"))
    assert second.after == (first.id,)


def test_an_operators_restore_waits_for_nothing_but_hard_memory() -> None:
    """An operator's restore waits neither for room nor for its backoff, only for hard memory."""
    order = ((key("a"), "ada"),)
    for memory, taken in ((0.85, ["a"]), (0.95, [])):
        world = World(a_config(("a",), thresholds=AT_ONCE), memory=memory).add_shed("a", 1, expected_bytes=5000 * MIB)
        world.state = replace(world.state, memos={key("a"): Memo(quarantined=True, not_before_s=99_999.0)})
        decision = world.tick(restore_orders=order)
        assert restores(decision) == taken
        assert [action.by for action in decision.actions] == ["ada"] * len(taken)
    world.memory = 0.5
    assert restores(world.tick()) == ["a"]  # the order stands


@pytest.mark.parametrize(
    ("name", "pinned", "words"),
    [
        ("extra", "", ""),
        ("nobody", "", "not managed"),
        ("down", "", "does not run"),
        ("core", "", "protected"),
        ("extra", "extra", "pinned"),
        ("middle", "tail", "required by"),
    ],
)
def test_an_order_to_stop_what_must_not_be_stopped_is_refused(name: str, pinned: str, words: str) -> None:
    """An order to stop what must not be stopped is refused, saying why."""
    world = World(a_config(*PHASES, ("down",), services={"tail": ServiceConfig(requires=("middle",))}, thresholds=AT_ONCE))
    world.add("core").add("middle").add("extra").add("tail").add("down")
    world.set_state("down", ContainerState.EXITED)
    platform: Platform = world.platform
    why = refusal(platform.services.get(key(name)), platform, frozenset({key(pinned)} if pinned else ()))
    assert (words in why) if words else why == ""


# --- throttling -----------------------------------------------------------------------------------------------------

THROTTLED = {
    "extra": ServiceConfig(on_pressure="throttle", reservations=Resources(cpus=0.5)),  # type: ignore[arg-type]
}


def burning() -> World:
    """CPU is soft by 0.7 of a core, and `extra` burns 1.5."""
    return a_world(THROTTLED, cpu=0.825).add("extra", 300, 1.5, cpu_limit_cores=2.0)


def test_cpu_pressure_lowers_the_quota_first_then_stops_then_all_is_put_back() -> None:
    """CPU pressure lowers the quota to the reservation first; unless that relief shows, the stop follows."""
    world = burning()
    action = only(world.tick())
    assert (action.kind, action.cores, action.expected_cores) == (ActionKind.THROTTLE, 0.5, 2.0)
    assert action.relief_cores == pytest.approx(1.0)
    world.end(action)
    number, decision = until_action(world)
    assert (sheds(decision), number >= 10) == (["extra"], True)  # host CPU is a mean of ten seconds


def test_a_throttle_that_suffices_is_followed_by_nothing_until_it_is_lifted() -> None:
    """A throttle that suffices is followed by no stop; once all is calm the old quota is put back."""
    world = burning()
    world.end(only(world.tick()))
    world.cores["extra-1"], world.cpu = 0.5, 0.5
    _, decision = until_action(world)
    action = only(decision)
    assert (action.kind, action.service, action.cores) == (ActionKind.UNTHROTTLE, key("extra"), 2.0)
    world.end(action)
    assert [later.actions for later in world.ticks(20)] == [()] * 20


@pytest.mark.parametrize("by", ["", "ada"])
def test_what_has_left_the_file_gets_its_quota_back(by: str) -> None:
    """The quota of a service that no phase lists any more is put back, by the rules and by order."""
    world = a_world().add("former", cores=0.5)
    world.entries[key("former")] = an_entry("former", 2, means=Means.THROTTLE, expected_cores=2.0)
    action = only(world.tick(restore_orders=((key("former"), by),) if by else ()))
    assert (action.kind, action.containers, action.cores, action.by) == (ActionKind.UNTHROTTLE, ("former-1",), 2.0, by)


def test_a_quota_is_put_back_only_where_it_was_lowered() -> None:
    """Only the containers whose quota was lowered get the old one back; one that was created since keeps its own."""
    world = a_world(THROTTLED).add("extra", cores=0.5, replicas=2)
    was = tuple(EntryContainer(one, one, 1, stopped=True) for one in ("extra-2", "removed"))
    world.entries[key("extra")] = an_entry("extra", 3, means=Means.THROTTLE, containers=was)
    assert only(world.tick()).containers == ("extra-2",)
    world = a_world(THROTTLED).add("extra", cores=0.5)
    world.entries[key("extra")] = an_entry("extra", 3, means=Means.THROTTLE, containers=was)
    assert world.tick().actions == ()


def test_a_throttle_that_failed_counts_as_tried() -> None:
    """A throttle that failed counts as tried: the stop follows."""
    world = burning()
    world.end(only(world.tick()), Result.FAILED)
    assert sheds(until_action(world)[1]) == ["extra"]


@pytest.mark.parametrize(
    ("services", "host"),
    [
        (THROTTLED, {"memory": 0.85}),  # memory: a quota frees none
        ({"extra": ServiceConfig(on_pressure="throttle")}, {"cpu": 0.825}),  # no reservation
        ({}, {"cpu": 0.825}),
    ],
)
def test_else_it_is_stopped(services: dict[str, ServiceConfig], host: dict[str, float]) -> None:
    """Memory pressure, a service without a reservation and one that does not ask for it are answered by a stop."""
    world = a_world(services, **host).add("extra", 300, 1.5)
    assert sheds(world.tick()) == ["extra"]


# --- restores -------------------------------------------------------------------------------------------------------


def waiting_world(options: dict[str, Any] | None = None, **fields: Any) -> World:
    world = World(a_config(("a",), ("b",), **{"thresholds": AT_ONCE, **(options or {})}), **fields)
    return world.add_shed("a", 1).add("b")


@pytest.mark.parametrize(
    ("fields", "holds", "why"),
    [
        ({"cpu": 0.85, "waiting": 0.0}, ("pressure",), "pressure"),
        ({"engine_ready": False}, ("engine",), "engine"),
        ({"disk": 0.97}, ("disk",), "disk"),
        ({"disk": 0.9}, (), None),  # soft alerts only
        ({"standby": True}, (), "standby"),
    ],
)
def test_holds_and_standby_bar_every_start(fields: dict[str, Any], holds: tuple[str, ...], why: str | None) -> None:
    """Pressure, an engine that cannot be trusted, a full disk and standby bar every start, each by its name."""
    decision = waiting_world(**fields).tick()
    assert decision.holds == holds
    assert restores(decision) == (["a"] if why is None else [])
    assert why_waiting(decision) == ({} if why is None else {"a": why})


def test_an_operators_hold_bars_every_start() -> None:
    """An operator's hold bars every start until it is released, orders to restore too."""
    world = waiting_world()
    world.controls = replace(world.controls, hold="ada")
    decision = world.tick(restore_orders=((key("a"), "ada"),))
    assert (decision.holds, why_waiting(decision), decision.next_restore) == (("operator",), {"a": "operator"}, key("a"))
    world.controls = replace(world.controls, hold="")
    assert restores(world.tick()) == ["a"]


def test_nothing_is_restored_until_the_host_was_ok_for_its_time_after_a_start_of_guardian() -> None:
    """After a start of guardian nothing is restored before the host was seen to be ok for `recover_for`."""
    world = waiting_world({"thresholds": ThresholdsConfig(memory=marks(recover_for=30), cpu=marks(recover_for=10))})
    for decision in world.ticks(30):
        assert why_waiting(decision) == {"a": "starting"}
    assert restores(world.tick()) == ["a"]


def test_where_restoring_is_disabled_only_an_operator_restores() -> None:
    """Where restoring is disabled only an operator's order restores."""
    world = waiting_world({"restoring": RestoringConfig(enabled=False)})
    assert why_waiting(world.tick()) == {"a": "disabled"}
    assert restores(world.tick(restore_orders=((key("a"), "ada"),))) == ["a"]


def test_no_service_is_stopped_and_started_in_one_tick() -> None:
    """Where something is stopped nothing is started in the same tick."""
    world = waiting_world()
    decision = world.tick(shed_orders=((key("b"), "ada"),))
    assert (sheds(decision), restores(decision)) == (["b"], [])


def test_a_restored_service_is_on_probation() -> None:
    """A restored service is on probation from its start on, and its quarantine ends."""
    world = waiting_world()
    world.end_all(world.tick())
    world.tick()
    memo = world.state.memo(key("a"))
    assert (memo.probation_until_s, memo.quarantined) == (world.now_s + 120, False)


def test_a_start_that_failed_is_tried_again_later() -> None:
    """A start that failed is tried again, later each time; one that fell over soon, too."""
    world = waiting_world()
    world.end_all(world.tick(), Result.FAILED)
    world.entries[key("a")] = an_entry("a", 1)
    number, decision = until_action(world)
    assert number == 3
    world.end_all(decision)
    world.tick()
    world.set_state("a", ContainerState.EXITED)
    assert names(world.tick().fallen) == ["a"]
    assert (until_action(world)[0], world.state.memo(key("a")).failures) == (4, 2)


def test_shed_on_probation_it_waits_for_its_backoff() -> None:
    """What is shed again on probation waits for its backoff, then comes back."""
    world = waiting_world()
    world.end_all(world.tick())
    world.tick()
    world.set_health("a", Health.HEALTHY)
    assert names(world.tick().restored) == ["a"]
    world.memory = 0.85
    decision = world.tick()
    assert sheds(decision) == ["b"]  # of a higher phase; probation counts within one
    world.end_all(decision)
    _, decision = until_action(world)
    assert sheds(decision) == ["a"]
    world.end_all(decision)
    world.memory = 0.5
    world.tick()
    del world.entries[key("b")]
    assert why_waiting(world.tick(20.0)) == {"a": "backoff"}
    assert why_waiting(world.tick(39.0)) == {"a": "backoff"}
    assert restores(world.tick()) == ["a"]


def test_a_service_that_brings_the_pressure_back_too_often_is_quarantined() -> None:
    """A service that brings the pressure back once too often is quarantined, said so, and left for an operator."""
    world = World(a_config(("a",), thresholds=AT_ONCE), memory=0.85).add("a", 1000)
    flaps = tuple(world.now_s - 100 * number for number in range(4))
    memo = Memo(probation_until_s=world.now_s + 100, base_bytes={Signal.MEMORY: 0.5 * TOTAL}, flaps_s=flaps)
    world.state = replace(world.state, memos={key("a"): memo})
    world.end(only(world.tick()))
    world.memory = 0.5
    assert any("quarantined" in note for note in world.tick().notes)
    assert why_waiting(world.tick(7200.0)) == {"a": "quarantined"}
    assert restores(world.tick(restore_orders=((key("a"), "ada"),))) == ["a"]


@pytest.mark.parametrize("entries", [{}, {key("a"): an_entry("a", 1)}])
def test_a_restore_that_somebody_closed_is_not_waited_for(entries: dict[ServiceKey, Entry]) -> None:
    """A restore whose entry was closed, or shed anew, meanwhile is not waited for."""
    world = waiting_world()
    world.end_all(world.tick())
    world.tick()
    assert world.state.rising is not None
    world.entries = dict(entries)
    world.tick()
    assert world.state.rising is None


# --- observe mode ---------------------------------------------------------------------------------------------------


def pretend(world: World, decision: Decision) -> None:
    """As the loop does in observe mode: nothing is done, and the outcome says so."""
    world.end_all(decision, Result.OBSERVED)


def test_observe_mode_decides_the_same_and_each_thing_once() -> None:
    """Observe mode decides as enforce would, and pretends: no victim is named twice, and its use counts as given back."""
    world, other = a_world(memory=0.81), a_world(memory=0.81)
    world.observe = True
    first = world.tick()
    assert first.actions == other.tick().actions
    pretend(world, first)
    stopped = sheds(first)
    for _ in range(30):
        decision = world.tick()
        pretend(world, decision)
        stopped += sheds(decision)
    assert stopped == ["extra", "tail"]


def test_what_a_pretended_victim_uses_now_counts_as_given_back() -> None:
    """Of what observe mode pretends to have stopped, the present use counts as given back, not the old one."""
    world = a_world(memory=0.81)
    world.observe = True
    pretend(world, world.tick())
    world.mib["extra-1"] = 440
    assert world.tick().deficits[0].pending == 440 * MIB
    world.mib["extra-1"] = None
    assert world.tick().deficits[0].pending == 300 * MIB


def test_observe_mode_restores_what_it_pretended_once_there_is_room() -> None:
    """Observe mode restores what it pretended to stop once there is room, each once, and never what is owed in truth."""
    world = a_world(memory=0.81)
    world.observe = True
    world.add_shed("middle", 2)
    pretend(world, world.tick())
    world.memory = 0.4
    restored = []
    for _ in range(30):
        decision = world.tick()
        pretend(world, decision)
        restored += restores(decision)
    assert restored == ["extra"]
    assert world.state.virtual == ()


def test_leaving_observe_mode_forgets_what_was_pretended() -> None:
    """Leaving observe mode forgets what was pretended: it is decided anew, and for real."""
    world = a_world(memory=0.81).add("extra", 900)
    world.observe = True
    pretend(world, world.tick())
    world.tick()
    assert world.state.virtual
    world.observe = False
    assert sheds(world.tick()) == ["extra"]
    assert world.state.virtual == ()


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_decision_names_its_signal_deficit_and_candidates_in_rank_order() -> None:
    """A decision names its signal, its deficit, and every candidate in rank order with why it was not taken."""
    decision = a_world(memory=0.76, options={"thresholds": ThresholdsConfig(memory=marks(soft=0.75), cpu="off")}).tick()
    assert decision.signal is not None
    assert decision.deficit is not None
    assert (decision.signal.signal, decision.deficit.open) == (Signal.MEMORY, pytest.approx(0.06 * TOTAL, rel=0.001))
    assert [(one.service.name, one.rank, one.passed_over) for one in decision.candidates] == [
        ("extra", 1, ""),
        ("tail", 2, "not_needed"),
        ("middle", 3, "not_needed"),
    ]


def test_without_pressure_nothing_is_decided() -> None:
    """Without pressure nothing is decided, and nothing held."""
    decision = a_world().tick()
    assert (decision.actions, decision.held, decision.holds, decision.deficits) == ((), (), (), ())
