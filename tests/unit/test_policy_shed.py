"""How much must be given back, who is picked for it, how fast it must go, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.policy import AT_ONCE, MIB, TOTAL, Phase, World, a_config, key, sheds, why_held

from guardian.config.schema import Config, HostConfig, ServiceConfig
from guardian.model import Action, ActionKind, ContainerState, Decision, Level, Result, Signal
from guardian.policy.platform import Service
from guardian.policy.rank import Ranked, Resource, sort
from guardian.policy.shed import choose, hard_grace_s
from guardian.policy.state import Breaker, Memo

RECOVER = 0.7


def ranked(reliefs: Mapping[str, float | None], requires: Mapping[str, tuple[str, ...]]) -> list[Ranked]:
    """Victims by name, `phase letter`: `3a` is in phase 3. Reliefs are MiB of one service; `requires` names what stops with it."""
    victims = []
    for name in reliefs:
        group = (*requires.get(name, ()), name)
        parts = [reliefs[other] for other in group]
        total = None if None in parts else round(sum(part or 0.0 for part in parts) * MIB)
        service = Service(key(name), int(name[0]), int(name[0]))
        victims.append(Ranked(service, tuple(key(other) for other in group), total, None, False, False, False))
    return sort(victims, Resource.MEMORY)


def chosen(
    need_mib: float, reliefs: Mapping[str, float | None], hard: bool = True, **requires: tuple[str, ...]
) -> tuple[list[str], dict[str, str]]:
    """Names picked, and why each other one was not."""
    with_it = {name.strip("_"): others for name, others in requires.items()}
    uses = {key(name): None if mib is None else mib * MIB for name, mib in reliefs.items()}
    picked, passed = choose(ranked(reliefs, with_it), need_mib * MIB, uses, Resource.MEMORY, hard)
    return [one.service.key.name for one in picked], {one.name: why for one, why in passed.items()}


@pytest.mark.parametrize(
    ("need", "reliefs", "picked"),
    [
        (100, {"5a": 200, "4a": 900}, ["5a"]),
        (300, {"5a": 200, "5b": 100, "4a": 900}, ["5a", "5b"]),
        (301, {"5a": 200, "5b": 100, "4a": 900}, ["5a", "5b", "4a"]),
        (9999, {"5a": 200, "4a": 900}, ["5a", "4a"]),  # all there is
        (50, {"5a": 200, "5b": 100, "5c": 60}, ["5a"]),
        (250, {"5a": 1, "4a": 200, "4b": 100}, ["4a", "4b"]),  # too small while useful ones are left
        (301, {"5a": 1, "4a": 200, "4b": 100}, ["4a", "4b", "5a"]),  # they do not suffice
        (100, {"5a": 0, "4a": 200}, ["4a"]),
        (100, {}, []),
    ],
)
def test_victims_are_taken_from_the_front_until_they_cover_the_need(
    need: float, reliefs: dict[str, float | None], picked: list[str]
) -> None:
    """Victims are taken from the front until they cover the need; a lower phase only when the higher ones do not suffice."""
    assert chosen(need, reliefs)[0] == picked


def test_what_the_need_can_do_without_is_dropped_within_the_lowest_phase_only() -> None:
    """What the need can do without is dropped within the lowest phase picked; higher phases stay picked."""
    uses = {"5a": 100, "4b": 300, "4a": 200, "4c": 350}
    victims = [replace(one, over_memory=one.service.key.name == "4a") for one in ranked(uses, {})]  # 4a goes before the larger
    with_all = {key(name): mib * MIB for name, mib in uses.items()}
    picked, passed = choose(sort(victims, Resource.MEMORY), 400 * MIB, with_all, Resource.MEMORY, True)
    assert [one.service.key.name for one in picked] == ["5a", "4c"]
    assert passed == {key("4a"): "not_needed", key("4b"): "not_needed"}


def test_a_victim_that_stops_with_another_is_counted_once() -> None:
    """A victim that stops with another anyway is counted once, and is not picked again."""
    picked, _ = chosen(300, {"5a": 100, "5b": 50, "5c": 160}, _5b=("5a",))
    assert picked == ["5c", "5b"]


def test_a_relief_that_two_victims_share_is_counted_once() -> None:
    """A relief that two victims share is counted once: the third is needed, and then the second is not."""
    picked, passed = chosen(200, {"5a": 100, "5b": 50, "5c": 40, "5d": 60}, _5b=("5a",), _5c=("5a",))
    assert (picked, passed) == (["5b", "5d"], {"5c": "not_needed"})


@pytest.mark.parametrize(
    ("hard", "picked", "passed"),
    [
        (True, ["5a", "5b"], {"4a": "after_unknown"}),
        (False, ["5a"], {"5b": "unknown_use", "4a": "after_unknown"}),
    ],
)
def test_a_victim_of_unknown_relief_ends_the_plan(hard: bool, picked: list[str], passed: dict[str, str]) -> None:
    """A victim of unknown relief ends the plan: only a hard one stops it, and nothing more valuable before it is seen."""
    assert chosen(500, {"5a": 100, "5b": None, "4a": 900}, hard) == (picked, passed)


def test_an_unknown_relief_is_not_touched_where_known_ones_suffice() -> None:
    """An unknown relief is not touched where known ones of its phase suffice."""
    assert chosen(100, {"5a": 100, "5b": None}) == (["5a"], {"5b": "not_needed"})


@pytest.mark.parametrize(
    ("need", "passed"),
    [
        (100, {"5a": "too_small", "4a": "not_needed", "4b": "too_small"}),
        (1000, {"5a": "too_small", "4b": "too_small"}),
    ],
)
def test_each_that_is_not_picked_has_its_reason(need: float, passed: dict[str, str]) -> None:
    """Each that is not picked has its reason."""
    assert chosen(need, {"5a": 0.5, "5b": 200, "4a": 50, "4b": 0.1}, hard=False)[1] == passed


@pytest.mark.parametrize(
    ("full_in_s", "grace_s"), [(None, 3.0), (100.0, 3.0), (6.0, 3.0), (4.0, 2.0), (2.0, 1.0), (1.9, 0.0), (0.0, 0.0)]
)
def test_hard_grace_is_at_most_half_the_time_to_full_and_a_kill_under_a_second(full_in_s: float | None, grace_s: float) -> None:
    """Grace under hard memory is at most half of the time to full; under a second it is a kill."""
    assert hard_grace_s(full_in_s, 3.0) == grace_s


# --- deficits -------------------------------------------------------------------------------------------------------


def a_world(config: Config | None = None, **host: Any) -> World:
    """Phase 1 protected; 2 has `middle`, 3 has `extra` and `tail`. 4000 MiB, 4 cores."""
    world = World(config or a_config(*PHASES, thresholds=AT_ONCE), **host)
    return world.add("core", 500).add("middle", 400).add("extra", 300).add("tail", 200)


PHASES = (Phase(("core",), protected=True), ("middle",), ("extra", "tail"))


def deficits(decision: Decision) -> dict[Signal, float]:
    """What is still to be given back by signal."""
    return {one.signal: one.open for one in decision.deficits}


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"memory": 0.75}, {}),
        ({"memory": 0.85}, {Signal.MEMORY: 0.15 * TOTAL}),
        ({"memory": 0.95}, {Signal.MEMORY: 0.25 * TOTAL}),
        ({"cpu": 0.85}, {Signal.CPU: 0.6}),
        ({"memory": 0.85, "cpu": 0.95}, {Signal.MEMORY: 0.15 * TOTAL, Signal.CPU: 1.0}),
        ({"memory": 0.75, "memory_pressure": 0.5}, {Signal.MEMORY: 0.05 * TOTAL}),
        ({"memory": 0.701, "memory_pressure": 0.5}, {Signal.MEMORY: 16 * MIB}),  # at least one useful victim
        ({"memory": 0.701, "swap": 0.7}, {Signal.MEMORY: 16 * MIB}),
        ({"memory": 0.6, "memory_pressure": 0.5}, {}),
        ({"disk": 0.99}, {}),
    ],
)
def test_a_deficit_is_what_lies_above_recover(figures: dict[str, float], expected: dict[Signal, float]) -> None:
    """A deficit is what lies above recover, in bytes or cores, of each signal that is soft or hard."""
    assert deficits(a_world(**figures).tick()) == pytest.approx(expected, rel=0.001)


def test_platform_signals_have_deficits_of_their_own_capacity() -> None:
    """Platform signals have deficits of their own capacity."""
    config = a_config(*PHASES, thresholds=AT_ONCE, host=HostConfig(memory=1600 * MIB))  # type: ignore[arg-type]
    assert deficits(a_world(config).tick()) == pytest.approx({Signal.PLATFORM_MEMORY: 280 * MIB}, rel=0.001)


def test_memory_that_fills_is_counted_as_it_will_be_when_the_stop_has_ended() -> None:
    """Memory that fills is counted as it will be when the stop has ended."""
    world = a_world()
    for number in range(4):
        world.memory = 0.60 + 0.04 * number
        decision = world.tick()
    grace_s = 3.0  # half of the 7 s to full is more
    assert deficits(decision)[Signal.MEMORY] == pytest.approx((0.72 + 0.04 * grace_s - RECOVER) * TOTAL, rel=0.01)


def test_a_level_is_hard_only_while_its_reading_is_for_a_hard_plan() -> None:
    """A plan is hard only on a reading that is itself hard: not in the seconds after."""
    world = a_world(memory=0.95)
    world.tick(engine_ready=False)
    world.memory = 0.85
    decision = world.tick()
    assert world.assessment.level is Level.HARD
    assert [action.hard for action in decision.actions] == [False]


# --- pending relief -------------------------------------------------------------------------------------------------


def shed_one(world: World) -> Action:
    """The first stop of a soft plan, which is now in flight."""
    (action,) = world.tick().actions
    return action


@pytest.mark.parametrize(
    ("mib", "pending"),
    [(300, 300), (120, 120), (0, 0), (None, 300)],  # unknown: as predicted
)
def test_pending_relief_is_the_victims_footprint_at_this_tick(mib: float | None, pending: float) -> None:
    """Pending relief of a stop in flight is its footprint at this tick, else what was predicted."""
    world = a_world(memory=0.85)
    assert shed_one(world).service == key("extra")
    world.mib["extra-1"] = mib
    (deficit,) = world.tick().deficits
    assert deficit.pending == pending * MIB


@pytest.mark.parametrize("end", ["gone", "failed", "late"])
def test_pending_relief_ends_when_the_victim_is_gone_or_the_stop_failed_or_is_late(end: str) -> None:
    """Pending relief ends when the victim is gone, when its stop fails, or when the deadline passes."""
    world = a_world(memory=0.85)
    action = shed_one(world)
    if end == "gone":
        world.set_state("extra", ContainerState.EXITED)
    elif end == "failed":
        world.end(action, Result.FAILED)
    else:
        world.now_s += action.deadline_s
    (deficit,) = world.tick().deficits
    assert deficit.pending == 0


def test_no_second_victim_for_memory_that_is_on_its_way_back() -> None:
    """No second victim is taken for memory that is already on its way back."""
    world = a_world(memory=0.81).add("extra", 500)
    shed_one(world)
    for decision in world.ticks(5):
        assert (decision.actions, why_held(decision)) == ((), ["relief_pending"])


def test_cpu_of_a_victim_that_is_gone_is_pending_until_it_has_left_the_mean() -> None:
    """CPU of a victim that is gone is pending for ten seconds, until it has left the mean."""
    world = a_world(cpu=0.85).add("extra", 100, 0.5)
    world.end(shed_one(world))
    assert [decision.deficits[0].pending for decision in world.ticks(10)] == [0.5] * 9 + [0.0]


# --- what holds a plan back -----------------------------------------------------------------------------------------


def test_no_two_sheds_act_on_the_same_reading() -> None:
    """A reading that is not newer than the last outcome leads to no shed, however hard."""
    world = a_world(memory=0.95)
    world.reading_s = world.now_s + 1
    world.state = replace(world.state, last_outcome_s=world.reading_s)
    decision = world.tick()
    assert (decision.actions, why_held(decision)) == ((), ["reading_not_newer"])
    world.reading_s = None
    assert sheds(world.tick())


@pytest.mark.parametrize(
    ("waiting", "present", "reason"),
    [
        (0.2, True, None),
        (0.19, True, "no_waiting"),  # full use without waiting is a good use of the host
        (None, True, "waiting_unknown"),
        (None, False, None),  # a kernel without PSI
    ],
)
def test_cpu_sheds_only_where_something_waits_for_it(waiting: float | None, present: bool, reason: str | None) -> None:
    """CPU sheds only where PSI says that something waits for it, or where there is no PSI."""
    decision = a_world(cpu=0.95, waiting=waiting, psi_present=present).add("extra", 100, 1.0).tick()
    assert why_held(decision) == ([] if reason is None else [reason])
    assert sheds(decision) == (["extra"] if reason is None else [])


def test_memory_does_not_ask_whether_something_waits_for_cpu() -> None:
    """Memory does not ask whether something waits for CPU."""
    assert sheds(a_world(memory=0.85, waiting=0.0).tick()) == ["extra"]


def test_containers_that_start_up_are_no_cpu_victims() -> None:
    """Containers younger than startup_grace are no victims of CPU; of memory they are."""
    world = a_world(cpu=0.95).add("extra", 300, 0.3, started_s=9_900.0).add("tail", 200, 0.2)
    decision = world.tick()
    assert sheds(decision) == ["tail"]
    assert {one.service.name: one.passed_over for one in decision.candidates}["extra"] == "starting_up"
    assert sheds(a_world(memory=0.85).add("extra", 300, 0.9, started_s=9_990.0).tick()) == ["extra"]


def test_only_victims_of_known_and_useful_cpu_are_taken_for_cpu() -> None:
    """For CPU only victims of known and useful use are taken: else nobody."""
    world = a_world(cpu=0.95)
    for name in ("middle", "extra", "tail"):
        world.cores[f"{name}-1"] = 0.05
    decision = world.tick()
    assert (decision.actions, why_held(decision)) == ((), ["no_useful_victim"])
    assert {one.passed_over for one in decision.candidates} == {"too_small"}


@pytest.mark.parametrize(("memory", "taken"), [(0.81, ["tail"]), (0.95, ["extra", "tail", "middle"])])
def test_an_override_bars_soft_and_not_hard(memory: float, taken: list[str]) -> None:
    """What somebody started by hand is no soft victim, and a hard one still."""
    world = a_world(memory=memory)
    world.state = replace(world.state, memos={key("extra"): Memo(override_until_s=world.now_s + 600)})
    decision = world.tick()
    assert sorted(sheds(decision)) == sorted(taken)


def test_an_override_of_what_would_stop_with_it_bars_a_soft_victim_too() -> None:
    """An override of what would stop with it bars a soft victim, too."""
    config = a_config(*PHASES, thresholds=AT_ONCE, services={"tail": ServiceConfig(requires=("extra",))})
    world = a_world(config, memory=0.85)
    world.state = replace(world.state, memos={key("tail"): Memo(override_until_s=world.now_s + 600)})
    decision = world.tick()
    assert {one.service.name: one.passed_over for one in decision.candidates if one.phase == 3} == {
        "extra": "overridden",
        "tail": "overridden",
    }
    assert sheds(decision) == ["middle"]


@pytest.mark.parametrize("memory", [0.85, 0.95])
def test_the_breaker_and_the_hourly_bound_hold_back_soft_and_not_hard(memory: float) -> None:
    """An open circuit breaker and `max_per_hour` hold back soft shedding; hard memory is exempt."""
    for fields, reason in (
        ({"breakers": {Signal.MEMORY: Breaker(open_until_s=10_500.0)}}, "ineffective"),
        ({"soft_sheds_s": (9_990.0,) * 20}, "max_per_hour"),
    ):
        world = a_world(memory=memory)
        world.state = replace(world.state, **fields)
        decision = world.tick()
        assert bool(decision.actions) is (memory > 0.9)
        assert why_held(decision) == ([] if memory > 0.9 else [reason])


def test_a_breaker_is_of_one_signal() -> None:
    """A breaker is of one signal: another sheds on."""
    world = a_world(memory=0.85, cpu=0.86).add("extra", 300, 1.0)
    world.state = replace(world.state, breakers={Signal.CPU: Breaker(open_until_s=10_500.0)})
    decision = world.tick()
    assert [action.reason for action in decision.actions] == ["memory"]
    assert (why_held(decision), decision.ineffective) == (["ineffective"], (Signal.CPU,))


@pytest.mark.parametrize(("fields", "reason"), [({"standby": True}, "standby"), ({"engine_ready": False}, "engine")])
@pytest.mark.parametrize("memory", [0.85, 0.95])
def test_standby_and_an_engine_that_cannot_be_trusted_hold_back_everything(
    fields: dict[str, bool], reason: str, memory: float
) -> None:
    """In standby, and while the engine cannot be trusted, nothing is stopped; what would be is said."""
    world = a_world(memory=memory, **fields)
    decision = world.tick()
    assert (decision.actions, why_held(decision)) == ((), [reason])
    assert decision.next_shed is not None
    assert decision.next_shed.service == key("extra")


def test_hold_bars_starts_and_no_stops() -> None:
    """An operator's hold bars starts, and no stops."""
    world = a_world(memory=0.85)
    world.controls = replace(world.controls, hold="ada")
    assert sheds(world.tick()) == ["extra"]


def test_where_nobody_is_left_the_plan_says_so() -> None:
    """Where nobody is left to stop, the plan says so and names no one."""
    world = a_world(memory=0.95)
    for name in ("middle", "extra", "tail"):
        world.set_state(name, ContainerState.EXITED)
    decision = world.tick()
    assert (decision.actions, why_held(decision), decision.next_shed) == ((), ["no_victim"], None)


def test_a_soft_plan_waits_for_the_reading_of_an_unknown_use() -> None:
    """A soft plan waits for the reading of an unknown use; a hard one does not."""
    for memory, taken, reason in ((0.81, [], ["unknown_use"]), (0.95, ["extra"], [])):
        world = World(a_config(*PHASES, thresholds=AT_ONCE), memory=memory).add("core").add("middle", 900).add("extra", None)
        decision = world.tick()
        assert (sheds(decision), why_held(decision)) == (taken, reason)


def test_both_plans_of_two_signals_are_made_and_the_worse_acts() -> None:
    """Each signal has its own plan; the one that lacks most of its capacity acts first."""
    world = a_world(memory=0.81, cpu=0.89).add("tail", 10, 1.5)
    decision = world.tick()
    assert set(deficits(decision)) == {Signal.MEMORY, Signal.CPU}
    assert [(action.service.name, action.reason) for action in decision.actions] == [("tail", "cpu")]


def test_hard_cpu_is_no_reason_for_a_batch_or_a_short_grace() -> None:
    """Hard CPU stops one at a time with its own stop timeout: batches and short grace are for hard memory."""
    world = a_world(cpu=1.0).add("extra", 300, 0.6).add("tail", 200, 0.6)
    decision = world.tick()
    assert [(action.kind, action.hard, action.grace_s) for action in decision.actions] == [(ActionKind.SHED, False, 10.0)]
