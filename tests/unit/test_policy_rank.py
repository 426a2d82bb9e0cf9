"""The order of victims, who can be none, and what is worth a stop."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
from support.policy import MIB, Phase, World, a_config, key, names

from guardian.config.schema import ServiceConfig
from guardian.model import ContainerState, Mode, ServiceKey
from guardian.policy.platform import Service
from guardian.policy.rank import Ranked, Resource, candidates, exclusion, sort, useful
from guardian.policy.shed import uses
from guardian.policy.state import Memo

MEMORY, CPU = Resource.MEMORY, Resource.CPU


def one(name: str, phase: int = 3, priority: int = 0, **fields: Any) -> Ranked:
    """A possible victim in phase 3, of 100 MiB and half a core, with nothing special about it."""
    service = Service(key(name), phase, phase, priority=priority)
    plain = Ranked(service, (service.key,), 100 * MIB, 0.5, over_memory=False, over_cpu=False, on_probation=False)
    return replace(plain, **fields)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"phase": 4}, {"phase": 3, "over_memory": True, "priority": -9, "on_probation": True, "relief_bytes": 900 * MIB}),
        ({"relief_bytes": 1}, {"relief_bytes": None, "over_memory": True, "priority": -9, "on_probation": True}),
        ({"phase": 4, "relief_bytes": None}, {"phase": 3}),  # last in its phase, not of all
        ({"over_memory": True}, {"priority": -9, "on_probation": True, "relief_bytes": 900 * MIB}),
        ({"priority": -1}, {"priority": 0, "on_probation": True, "relief_bytes": 900 * MIB}),
        ({"on_probation": True}, {"relief_bytes": 900 * MIB}),
        ({"relief_bytes": 101 * MIB}, {"relief_bytes": 100 * MIB}),
    ],
)
def test_each_comparator_outweighs_all_that_come_after_it(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Phase, unknown last, over its share, priority, probation, relief: each outweighs all that come after it."""
    # The names speak for the other order, so that a tie would show.
    ranked = sort([one("a", **second), one("z", **first)], MEMORY)
    assert [victim.service.key.name for victim in ranked] == ["z", "a"]


def test_ties_end_at_the_name() -> None:
    """Ties end at the name."""
    assert [victim.service.key.name for victim in sort([one("c"), one("a"), one("b")], MEMORY)] == ["a", "b", "c"]


def test_cpu_ranks_by_cores_and_by_shares_of_them() -> None:
    """Under CPU pressure cores and shares of them count, and memory does not."""
    hog = one("hog", relief_cores=2.0, relief_bytes=None)
    over = one("over", over_cpu=True, relief_cores=0.2)
    fat = one("fat", over_memory=True, relief_bytes=900 * MIB)
    assert [victim.service.key.name for victim in sort([fat, hog, over], CPU)] == ["over", "hog", "fat"]


def test_the_order_is_total_and_needs_no_order_of_its_input() -> None:
    """The order is total: the order of the input changes nothing."""
    fields = itertools.product((3, 4), (-1, 1), (None, 50 * MIB, 70 * MIB), (True, False), (True, False))
    victims = [
        one(f"s{number:02}", phase, priority, relief_bytes=relief, over_memory=over, on_probation=probation)
        for number, (phase, priority, relief, over, probation) in enumerate(fields)
    ]
    expected = sort(victims, MEMORY)
    shuffle = random.Random(7)
    for _ in range(10):
        shuffle.shuffle(victims)
        assert sort(victims, MEMORY) == expected


@pytest.mark.parametrize(
    ("relief", "deficit", "resource", "worth"),
    [
        (16 * MIB, 99_999 * MIB, MEMORY, True),
        (16 * MIB - 1, 2000 * MIB, MEMORY, False),
        (15 * MIB, 1500 * MIB, MEMORY, True),  # 1% of the deficit
        (1 * MIB, 50 * MIB, MEMORY, True),
        (0, 0, MEMORY, False),
        (None, 100 * MIB, MEMORY, True),  # may be worth it: ranked last
        (0.1, 1.0, CPU, True),
        (0.09, 0.5, CPU, False),  # below 0.1 core
        (0.15, 2.0, CPU, False),  # below 10% of the deficit
        (None, 1.0, CPU, False),  # CPU can wait for a reading
    ],
)
def test_a_relief_is_worth_a_stop_from_16_mib_or_one_percent_and_a_tenth_of_a_core_and_of_the_deficit(
    relief: float | None, deficit: float, resource: Resource, worth: bool
) -> None:
    """A relief is worth a stop from 16 MiB or 1% of the deficit on; of CPU from 0.1 core and 10% of it on."""
    assert useful(relief, deficit, resource) is worth


# --- who is none ----------------------------------------------------------------------------------------------------


def a_world(**services: ServiceConfig) -> World:
    """Core protected, watched in observe, extra and tail in the last phase; all run."""
    config = a_config(
        Phase(("core",), protected=True), Phase(("watched",), mode=Mode.OBSERVE), ("extra", "tail"), services=services
    )
    return World(config).add("core").add("watched").add("extra").add("tail")


def why(world: World, name: str, pins: frozenset[ServiceKey] = frozenset(), busy: frozenset[ServiceKey] = frozenset()) -> str:
    platform = world.platform
    return exclusion(platform.services[key(name)], platform, busy, pins, world.state, world.now_s)


def test_only_running_enforced_unprotected_and_unpinned_services_are_victims() -> None:
    """Victims run, are of an enforced phase, and neither protected nor pinned nor on their way down."""
    world = a_world(tail=ServiceConfig(protect=True))
    assert [why(world, name) for name in ("core", "watched", "extra", "tail")] == ["protected", "phase_observed", "", "protect"]
    assert why(world, "extra", pins=frozenset({key("extra")})) == "pinned"
    assert why(world, "extra", busy=frozenset({key("extra")})) == "in_flight"
    world.set_state("extra", ContainerState.EXITED)
    assert why(world, "extra") == "not_running"


@pytest.mark.parametrize(
    ("by", "pinned", "runs", "reason"),
    [
        ("core", False, True, "required"),
        ("core", False, False, "required"),  # it may be started at any time
        ("tail", True, True, "required"),
        ("tail", True, False, ""),
        ("tail", False, True, ""),
        ("watched", False, True, "required"),
        ("watched", False, False, ""),
    ],
)
def test_what_an_untouchable_service_requires_is_no_victim(by: str, pinned: bool, runs: bool, reason: str) -> None:
    """What a protected service requires is no victim, nor what a running pinned or observed one requires."""
    world = a_world(**{by: ServiceConfig(requires=("extra",))})
    if not runs:
        world.set_state(by, ContainerState.EXITED)
    assert why(world, "extra", pins=frozenset({key(by)}) if pinned else frozenset()) == reason


def test_a_stop_that_failed_is_tried_again_only_later() -> None:
    """A stop that failed is tried again only later."""
    world = a_world()
    world.state = replace(world.state, memos={key("extra"): Memo(retry_at_s=world.now_s + 2)})
    assert why(world, "extra") == "retry_later"
    world.now_s += 2
    assert why(world, "extra") == ""


# --- candidates -----------------------------------------------------------------------------------------------------


def found(world: World, busy: frozenset[ServiceKey] = frozenset()) -> dict[str, Ranked]:
    platform = world.platform
    present = uses(platform, world.now_s)
    ranked, _ = candidates(platform, busy, frozenset(), world.state, world.now_s, present.footprints, present.cores)
    return {victim.service.key.name: victim for victim in ranked}


def test_a_victims_relief_is_that_of_all_that_stops_with_it() -> None:
    """A victim's relief is that of its group: all that requires it stops first, through others too."""
    config = a_config(
        ("base", "middle", "top", "other"),
        services={"top": ServiceConfig(requires=("middle",)), "middle": ServiceConfig(requires=("base",))},
    )
    world = World(config).add("base", 10).add("middle", 20, replicas=2).add("top", 30).add("other", 5)
    victims = found(world)
    assert names(victims["base"].group) == ["top", "middle", "base"]
    assert {name: victim.relief_bytes for name, victim in victims.items()} == {
        "base": 80 * MIB,
        "middle": 70 * MIB,
        "top": 30 * MIB,
        "other": 5 * MIB,
    }
    assert names(found(world, busy=frozenset({key("top")}))["base"].group) == ["middle", "base"]
    world.set_state("top", ContainerState.EXITED)
    assert names(found(world)["base"].group) == ["middle", "base"]


def test_one_unknown_use_makes_the_relief_of_its_group_unknown() -> None:
    """One unknown use makes the relief of its whole group unknown, never zero."""
    world = (
        World(a_config(("base", "top"), services={"top": ServiceConfig(requires=("base",))})).add("base", 10).add("top", None)
    )
    assert {name: victim.relief_bytes for name, victim in found(world).items()} == {"base": None, "top": None}


@pytest.mark.parametrize(
    ("mib", "cores", "over"), [(101, 0.1, (True, False)), (100, 0.6, (False, True)), (None, None, (False, False))]
)
def test_over_its_share_is_above_it_in_known_use(mib: float | None, cores: float | None, over: tuple[bool, bool]) -> None:
    """A service is over its share where its known use is above it."""
    world = World(a_config(Phase(("extra",), budget_mib=100)))
    world.add("extra", mib, cores, cpu_limit_cores=0.5)
    victim = found(world)["extra"]
    assert (victim.over_memory, victim.over_cpu) == over


def test_probation_ends_with_its_time() -> None:
    """Probation ends with its time."""
    world = a_world()
    world.state = replace(world.state, memos={key("extra"): Memo(probation_until_s=world.now_s + 1)})
    assert found(world)["extra"].on_probation
    world.now_s += 1
    assert not found(world)["extra"].on_probation
