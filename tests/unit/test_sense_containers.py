"""What containers use, over a fake engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats
from guardian.errors import EngineTimeout
from guardian.model import Container, ContainerState, ServiceKey, Strain, Usage
from guardian.sense.containers import ContainerSensor

MIB = 2**20


class FakeEngine:
    """Each container uses half a core and 100 MiB while it runs. Answers may be withheld."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.held: dict[str, Container] = {}
        self.silent: set[str] = set()
        self.fails = False
        self.asked: list[tuple[str, ...]] = []

    def add(self, name: str, state: ContainerState = ContainerState.RUNNING) -> None:
        self.held[name] = Container(name, name, ServiceKey("demo", name), state=state, started_wall_s=self.clock.wall())

    def restart(self, name: str) -> None:
        self.held[name] = replace(self.held[name], started_wall_s=self.clock.wall())

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        self.asked.append(tuple(container_ids))
        if self.fails:
            raise EngineTimeout("too slow")
        return {id_: self._one(self.held[id_]) for id_ in container_ids if id_ not in self.silent}

    def _one(self, container: Container) -> RawStats:
        ran_s = self.clock.wall() - (container.started_wall_s or 0.0)
        return RawStats(self.clock.monotonic(), 120 * MIB, 100 * MIB, ran_s * 0.5, Strain(0, 3))


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.engine = FakeEngine(self.clock)
        self.sensor = ContainerSensor(self.engine)  # type: ignore[arg-type]
        self.measured = True

    def round(self, after_s: float = 5.0, skip: frozenset[str] = frozenset()) -> Mapping[str, Usage]:
        self.clock.advance(after_s)
        self.sensor.follow(self.engine.held.values())
        self.measured = self.sensor.measure(self.engine.held.values(), skip)
        return self.sensor.usage


@pytest.fixture
def world() -> World:
    return World()


def test_use_is_known_from_the_first_round_and_cpu_from_the_second(world: World) -> None:
    """Memory is known from the first round, CPU from the second."""
    world.engine.add("api")
    first = world.round()["api"]
    assert (first.footprint_bytes, first.working_set_bytes, first.cpu_cores) == (100 * MIB, 120 * MIB, None)
    second = world.round()["api"]
    assert (second.cpu_cores, second.strain) == (0.5, Strain(0, 3))


@pytest.mark.parametrize("state", [state for state in ContainerState if state.value not in ("running", "paused")])
def test_only_containers_that_hold_processes_are_measured(world: World, state: ContainerState) -> None:
    """Only running and paused containers are asked for their use."""
    world.engine.add("api")
    world.engine.add("cache", ContainerState.PAUSED)
    world.engine.add("other", state)
    assert set(world.round()) == {"api", "cache"}
    assert world.engine.asked == [("api", "cache")]


def test_without_running_containers_nothing_is_asked(world: World) -> None:
    """With nothing running no use is asked for, and the round is good."""
    world.engine.add("api", ContainerState.EXITED)
    world.round()
    assert world.engine.asked == []
    assert world.measured


def test_what_is_measured_elsewhere_is_not_asked(world: World) -> None:
    """The engine is not asked for what is measured elsewhere, and its last use stays with its old date."""
    world.engine.add("api")
    world.engine.add("web")
    before = world.round()["api"]
    assert world.round(skip=frozenset({"api"}))["api"] == before
    assert world.engine.asked[-1] == ("web",)


def test_a_container_without_an_answer_keeps_its_last_use(world: World) -> None:
    """A container that gave no answer keeps its last use, with its old date."""
    world.engine.add("api")
    world.round()
    before = world.round()["api"]
    world.engine.silent.add("api")
    assert world.round()["api"] == before
    world.engine.silent.clear()
    after = world.round()["api"]
    assert after.at_s == before.at_s + 10
    assert after.cpu_cores == 0.5


def test_a_container_that_never_answered_has_no_use(world: World) -> None:
    """A container that never answered has no use: unknown, not zero."""
    world.engine.add("api")
    world.engine.silent.add("api")
    assert world.round() == {}


def test_what_vanished_is_forgotten(world: World) -> None:
    """A container that vanished is forgotten, and starts anew when it comes back."""
    world.engine.add("api")
    world.round()
    gone = world.engine.held.pop("api")
    assert world.round() == {}
    world.engine.held["api"] = gone
    assert world.round()["api"].cpu_cores is None


def test_a_stopped_container_has_no_use_any_more(world: World) -> None:
    """A container that was stopped has no use any more."""
    world.engine.add("api")
    world.round()
    world.engine.held["api"] = replace(world.engine.held["api"], state=ContainerState.EXITED)
    assert world.round() == {}


def test_a_restart_starts_the_rate_anew(world: World) -> None:
    """A restart starts the rate anew, even where the counter has passed its old value already."""
    world.engine.add("api")
    world.round(0.5)
    world.clock.advance(1)
    world.engine.restart("api")
    assert world.round(60)["api"].cpu_cores is None
    assert world.round()["api"].cpu_cores == 0.5


def test_the_use_of_an_earlier_run_is_not_shown_for_the_present_one(world: World) -> None:
    """After a restart without an answer the use is unknown: what was known belongs to the earlier run."""
    world.engine.add("api")
    world.round()
    world.engine.restart("api")
    world.engine.silent.add("api")
    assert world.round() == {}


def test_statistics_that_fail_forget_nothing(world: World) -> None:
    """When the engine gives no figures at all the round is no good, and what was known grows old."""
    world.engine.add("api")
    before = world.round()
    world.engine.add("web")
    world.engine.fails = True
    assert world.round() == before
    assert not world.measured
