"""The container sensor over a fake engine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats, Scope
from guardian.errors import EngineTimeout, EngineUnreachable
from guardian.model import Container, ContainerState, Inventory, ServiceKey, Strain
from guardian.sense.containers import ContainerSensor
from guardian.telemetry import NullTelemetry

MIB = 2**20


class FakeEngine:
    """Holds containers by name; each uses half a core and 100 MiB while it runs. Answers may be withheld."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.held: dict[str, Container] = {}
        self.silent: set[str] = set()
        self.fail_list = self.fail_stats = False
        self.asked: list[tuple[str, ...]] = []
        self.scopes: list[Scope] = []
        self.slow_s = 0.0

    def add(self, name: str, state: ContainerState = ContainerState.RUNNING) -> None:
        self.held[name] = Container(name, name, ServiceKey("demo", name), state=state, started_wall_s=self.clock.wall())

    def restart(self, name: str) -> None:
        self.held[name] = replace(self.held[name], started_wall_s=self.clock.wall())

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        self.scopes.append(scope)
        if self.fail_list:
            raise EngineUnreachable("nobody there")
        return tuple(self.held.values())

    def invalidate(self, container_ids: Iterable[str]) -> None:
        raise AssertionError("a round of readings invalidates nothing")

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        self.asked.append(tuple(container_ids))
        self.clock.advance(self.slow_s)
        if self.fail_stats:
            raise EngineTimeout("too slow")
        return {id_: self._one(self.held[id_]) for id_ in container_ids if id_ not in self.silent}

    def _one(self, container: Container) -> RawStats:
        ran_s = self.clock.wall() - (container.started_wall_s or 0.0)
        return RawStats(self.clock.monotonic(), 120 * MIB, 100 * MIB, ran_s * 0.5, Strain(0, 3))


class Recorder(NullTelemetry):
    def __init__(self) -> None:
        self.rounds: list[tuple[str, float, bool]] = []

    def sampled(self, source: str, seconds: float, ok: bool) -> None:
        self.rounds.append((source, seconds, ok))


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.engine = FakeEngine(self.clock)
        self.telemetry = Recorder()
        self.sensor = ContainerSensor(self.engine, Scope(("demo",)), self.clock, self.telemetry)  # type: ignore[arg-type]

    def round(self, after_s: float = 5.0) -> Inventory:
        self.clock.advance(after_s)
        return self.sensor.refresh(5.0)


@pytest.fixture
def world() -> World:
    return World()


def test_use_is_known_from_the_first_round_and_cpu_from_the_second(world: World) -> None:
    """Memory is known from the first round, CPU from the second."""
    world.engine.add("api")
    first = world.round().usage["api"]
    assert (first.footprint_bytes, first.working_set_bytes, first.cpu_cores) == (100 * MIB, 120 * MIB, None)
    second = world.round().usage["api"]
    assert (second.cpu_cores, second.strain) == (0.5, Strain(0, 3))


@pytest.mark.parametrize("state", [state for state in ContainerState if state.value not in ("running", "paused")])
def test_only_containers_that_hold_processes_are_measured(world: World, state: ContainerState) -> None:
    """Only running and paused containers are asked for their use; the others are listed all the same."""
    world.engine.add("api")
    world.engine.add("cache", ContainerState.PAUSED)
    world.engine.add("other", state)
    inventory = world.round()
    assert world.engine.asked == [("api", "cache")]
    assert len(inventory.containers) == 3
    assert set(inventory.usage) == {"api", "cache"}


def test_without_running_containers_nothing_is_asked(world: World) -> None:
    """With nothing running no use is asked for, and the round is good."""
    world.engine.add("api", ContainerState.EXITED)
    world.round()
    assert world.engine.asked == []
    assert world.telemetry.rounds[-1][2]


def test_a_container_without_an_answer_keeps_its_last_use(world: World) -> None:
    """A container that gave no answer keeps its last use, with its old date."""
    world.engine.add("api")
    world.round()
    before = world.round().usage["api"]
    world.engine.silent.add("api")
    assert world.round().usage["api"] == before
    world.engine.silent.clear()
    after = world.round().usage["api"]
    assert after.at_s == before.at_s + 10
    assert after.cpu_cores == 0.5


def test_a_container_that_never_answered_has_no_use(world: World) -> None:
    """A container that never answered has no use: unknown, not zero."""
    world.engine.add("api")
    world.engine.silent.add("api")
    assert world.round().usage == {}


def test_what_vanished_is_forgotten(world: World) -> None:
    """A container that vanished is forgotten, and starts anew when it comes back."""
    world.engine.add("api")
    world.round()
    gone = world.engine.held.pop("api")
    assert world.round().usage == {}
    world.engine.held["api"] = gone
    assert world.round().usage["api"].cpu_cores is None


def test_a_stopped_container_has_no_use_any_more(world: World) -> None:
    """A container that was stopped has no use any more."""
    world.engine.add("api")
    world.round()
    world.engine.held["api"] = replace(world.engine.held["api"], state=ContainerState.EXITED)
    assert world.round().usage == {}


def test_a_restart_starts_the_rate_anew(world: World) -> None:
    """A restart starts the rate anew, even where the counter has passed its old value already."""
    world.engine.add("api")
    world.round(0.5)
    world.clock.advance(1)
    world.engine.restart("api")
    assert world.round(60).usage["api"].cpu_cores is None
    assert world.round().usage["api"].cpu_cores == 0.5


def test_the_use_of_an_earlier_run_is_not_shown_for_the_present_one(world: World) -> None:
    """After a restart without an answer the use is unknown: what was known belongs to the earlier run."""
    world.engine.add("api")
    world.round()
    world.engine.restart("api")
    world.engine.silent.add("api")
    assert world.round().usage == {}


def test_a_list_that_fails_raises_and_forgets_nothing(world: World) -> None:
    """A list that fails raises, is counted, and forgets nothing."""
    world.engine.add("api")
    world.round()
    world.engine.fail_list = True
    with pytest.raises(EngineUnreachable):
        world.round()
    assert world.telemetry.rounds[-1][2] is False
    world.engine.fail_list = False
    assert world.round().usage["api"].cpu_cores == 0.5


def test_statistics_that_fail_leave_the_list_good(world: World) -> None:
    """When only the statistics fail, the list is good, the use grows old, and the round counts as failed."""
    world.engine.add("api")
    before = world.round().usage["api"]
    world.engine.add("web")
    world.engine.fail_stats = True
    inventory = world.round()
    assert [container.name for container in inventory.containers] == ["api", "web"]
    assert inventory.usage == {"api": before}
    assert world.telemetry.rounds[-1][2] is False


def test_an_inventory_is_dated_by_the_start_of_its_round(world: World) -> None:
    """An inventory is dated by the start of its round, and a slow round says how long it took."""
    world.engine.add("api")
    world.engine.slow_s = 8.0
    inventory = world.round()
    assert inventory.at_s == world.clock.monotonic() - 8.0
    assert inventory.round_s == 8.0
    world.engine.slow_s = 1.0
    assert world.round().round_s == 5.0


def test_another_scope_counts_from_the_next_round_on(world: World) -> None:
    """Another scope counts from the next round on."""
    world.round()
    world.sensor.scope = Scope(("other",), ("lone",))
    world.round()
    assert world.engine.scopes == [Scope(("demo",)), Scope(("other",), ("lone",))]


def test_two_rounds_are_never_under_way_at_once(world: World) -> None:
    """Two rounds are never under way at once: the second waits for the first."""
    entered, release, inside = threading.Event(), threading.Event(), []

    def listing(_: Scope) -> tuple[Container, ...]:
        inside.append(1)
        assert len(inside) == 1
        entered.set()
        assert release.wait(10)
        inside.pop()
        return ()

    world.engine.containers = listing  # type: ignore[method-assign]
    threads = [threading.Thread(target=world.sensor.refresh, args=(5.0,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert [ok for _, _, ok in world.telemetry.rounds] == [True, True]
