"""The last resort: all else is exhausted, and phases that are protected as phases go too, down to what is kept."""

from __future__ import annotations

import pytest
from support.policy import AT_ONCE, Phase, World, a_config, key, sheds

from guardian.config.schema import EmergencyConfig, ServiceConfig
from guardian.ledger.entries import Controls
from guardian.model import Decision

PHASES = (Phase(("db", "cache"), protected=True), Phase(("api", "web"), protected=True), ("extra",))
EXHAUSTED_S = 10


def a_world(keep: tuple[str, ...] = ("db",), enabled: bool = True, services: dict[str, ServiceConfig] | None = None) -> World:
    """Two protected phases: `db` and `cache` (500 MiB each), then `api` (400) and `web` (300). Hard memory, nothing to shed."""
    config = a_config(*PHASES, services=services, thresholds=AT_ONCE, emergency=EmergencyConfig(enabled=enabled, keep=keep))
    world = World(config, memory=0.92)
    return world.add("db", 500).add("cache", 500).add("api", 400).add("web", 300)


def exhaust(world: World) -> Decision:
    """The first decision after it was exhausted for long enough; nothing is done before."""
    for decision in world.ticks(EXHAUSTED_S):
        assert decision.actions == ()
        assert not decision.emergency
    return world.tick()


def test_after_ten_seconds_of_exhaustion_protected_phases_go_highest_first() -> None:
    """After ten seconds of exhaustion protected phases are shed, highest first, no more than is needed, for that reason."""
    decision = exhaust(a_world())  # 880 MiB too much
    assert decision.emergency
    assert decision.exhausted
    assert sheds(decision) == ["api", "web", "cache"]
    assert {action.reason for action in decision.actions} == {"emergency"}
    assert all(action.hard for action in decision.actions)


def test_it_is_off_unless_it_is_enabled() -> None:
    """Unless it is enabled nothing protected is shed, however long it lasts."""
    world = a_world(enabled=False)
    decisions = world.ticks(60)
    assert not any(decision.actions or decision.emergency for decision in decisions)
    assert decisions[-1].exhausted


def test_what_is_kept_stays_although_that_is_not_enough() -> None:
    """What is kept, under protect or pinned stays, although the rest is not enough; that stays exhausted."""
    world = a_world(keep=("db", "web"), services={"cache": ServiceConfig(protect=True)})
    world.memory = 0.99
    world.controls = Controls(pins=frozenset({key("api")}))
    exhaust(world)
    decisions = world.ticks(30)
    assert not any(decision.actions for decision in decisions)
    assert decisions[-1].emergency
    assert decisions[-1].exhausted


def test_what_is_kept_takes_along_what_it_requires() -> None:
    """What a kept service requires is kept too."""
    assert "cache" not in sheds(exhaust(a_world(services={"db": ServiceConfig(requires=("cache",))})))


def test_what_may_be_shed_goes_first() -> None:
    """What may be shed anyway goes first and at once, for its own reason; while it goes, exhaustion does not count."""
    world = a_world().add("extra", 100)
    first = world.tick()
    assert [(action.service.name, action.reason) for action in first.actions] == [("extra", "memory")]
    world.tick()
    world.end_all(first)
    assert sheds(exhaust(world)) == ["api", "web", "cache"]


def test_in_an_emergency_the_next_one_does_not_wait_again() -> None:
    """While memory stays hard the emergency lasts: should that not have been enough, the next go without another wait."""
    world = a_world(keep=())
    world.memory = 0.90
    decision = exhaust(world)
    world.end_all(decision)
    world.memory = 0.93
    assert sheds(world.tick()) != []


@pytest.mark.parametrize("memory", [0.85, 0.5])
def test_it_ends_with_hard_memory(memory: float) -> None:
    """Once memory is no longer hard the emergency is over, and protected phases are protected again."""
    world = a_world()
    world.end_all(exhaust(world))
    world.memory = memory
    world.ticks(6)  # hard ends after five seconds below
    assert not world.tick().emergency
    world.memory = 0.99
    assert not any(decision.actions for decision in world.ticks(5))


def test_what_was_shed_in_it_is_restored_by_the_rules() -> None:
    """What was shed in an emergency is restored by the rules, lowest phase first."""
    world = a_world()
    world.end_all(exhaust(world))
    world.memory = 0.3
    started = []
    for _ in range(120):
        decision = world.tick()
        started += [action.service.name for action in decision.actions]
        world.end_all(decision)
    assert started == ["cache", "api", "web"]
    assert world.entries == {}


def test_cpu_pressure_never_reaches_protected_phases() -> None:
    """CPU pressure reaches no protected phase, not even while memory is in an emergency."""
    world = a_world()
    exhaust(world)
    world.memory, world.cpu = 0.3, 0.99
    assert not any(decision.actions for decision in world.ticks(5))


def test_soft_memory_is_no_emergency() -> None:
    """Soft memory with nothing left to shed is no emergency."""
    world = a_world()
    world.memory = 0.85
    assert not any(decision.actions or decision.emergency for decision in world.ticks(30))
