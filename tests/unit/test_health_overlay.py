"""What the tick sees of probed services."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.policy import a_container

from guardian.clock import VirtualClock
from guardian.config.load import loads
from guardian.config.schema import Config
from guardian.health.attempt import NotWell
from guardian.health.overlay import ProbedContainers
from guardian.health.prober import Prober
from guardian.model import Container, ContainerState, EngineInfo, Health, Inventory

FILE = "version: 1\nproject: openpolicy\nphases: [{phase: 1, services: [api, db]}]\n"
PROBED = FILE + 'services: {api: {health: {tcp: "127.0.0.1:1", retries: 1, start_period: 0s}}}\n'


class Listed:
    """A container source that shows what it is given."""

    ready, down, excluded = True, False, frozenset[str]()
    engine: EngineInfo | None = None

    def __init__(self, *containers: Container) -> None:
        self.inventory: Inventory | None = Inventory(1.0, containers)

    def current(self, max_age_s: float = 0.0) -> Inventory | None:
        return self.inventory


class Stage:
    def __init__(self, listed: Listed, text: str = PROBED) -> None:
        self.listed = listed
        self.problem = ""
        self.made: list[Prober] = []
        self.clock = VirtualClock()
        self.probed = ProbedContainers(listed, self._make)
        self.probed.configure(config(text))

    def probe(self) -> None:
        """Look once, so that what runs is known, and make the probes that are due."""
        self.probed.current()
        self.made[0].run_due(lambda work: work())
        self.clock.advance(60)

    def health(self, name: str = "api") -> Health:
        inventory = self.probed.current()
        assert inventory is not None
        return next(one.health for one in inventory.containers if one.service.name == name)

    def _make(self) -> Prober:
        def attempt(*_: object) -> float:
            if self.problem:
                raise NotWell(self.problem)
            return 0.1

        self.made.append(Prober(self.clock, lambda _: None, attempt=attempt))
        return self.made[-1]


def config(text: str) -> Config:
    return loads(text, "guardian.yaml")


def test_a_probe_is_the_health_of_what_has_no_check_of_its_own() -> None:
    """A running service without a health check is starting, healthy or unhealthy as its probe says; others stay as they are."""
    stage = Stage(Listed(a_container("api"), a_container("db")))
    assert (stage.health(), stage.health("db")) == (Health.STARTING, Health.NONE)
    stage.probe()
    assert stage.health() is Health.HEALTHY
    stage.problem = "no"
    stage.probe()
    assert stage.health() is Health.UNHEALTHY


@pytest.mark.parametrize(
    ("said", "problem", "health"),
    [
        (Health.HEALTHY, "", Health.HEALTHY),
        (Health.HEALTHY, "no", Health.UNHEALTHY),
        (Health.STARTING, "", Health.STARTING),
        (Health.UNHEALTHY, "", Health.UNHEALTHY),
    ],
)
def test_of_two_checks_the_worse_counts(said: Health, problem: str, health: Health) -> None:
    """Of the container's own check and the probe the worse counts."""
    stage = Stage(Listed(a_container("api", health=said)))
    stage.problem = problem
    stage.probe()
    assert stage.health() is health


def test_what_does_not_run_has_no_health_of_a_probe() -> None:
    """What has ended, and what is restarting, has no health by a probe."""
    for state in (ContainerState.EXITED, ContainerState.RESTARTING):
        stage = Stage(Listed(a_container("api", state=state)))
        stage.probe()
        assert stage.health() is Health.NONE


def test_replicas_are_one_service_that_runs_since_the_oldest_does() -> None:
    """All replicas have the health of the one probe, and a service is new only once its oldest replica is."""
    listed = Listed(a_container("api", 1, started_s=10.0), a_container("api", 2, started_s=20.0))
    stage = Stage(listed)
    stage.probe()
    listed.inventory = Inventory(2.0, (a_container("api", 1, started_s=10.0), a_container("api", 2, started_s=30.0)))
    shown = stage.probed.current()
    assert shown is not None
    assert [one.health for one in shown.containers] == [Health.HEALTHY] * 2
    listed.inventory = Inventory(3.0, (a_container("api", 1, started_s=40.0), a_container("api", 2, started_s=30.0)))
    assert stage.health() is Health.STARTING


def test_where_nothing_is_new_the_same_is_shown() -> None:
    """Where nothing is new the same object is shown, and where only the use is, the same containers."""
    listed = Listed(a_container("api"))
    stage = Stage(listed)
    stage.probe()
    shown = stage.probed.current()
    assert shown is not None
    assert stage.probed.current() is shown
    assert listed.inventory is not None
    listed.inventory = replace(listed.inventory, at_s=2.0)
    newer = stage.probed.current()
    assert newer is not None
    assert (newer.at_s, newer.containers) == (2.0, shown.containers)
    assert newer.containers is shown.containers


def test_without_a_probe_in_the_file_nothing_is_made() -> None:
    """Without a probe in the file what is shown is the source's own, and no prober is made before the file asks for one."""
    stage = Stage(Listed(a_container("api")), FILE)
    assert stage.probed.current() is stage.listed.inventory
    assert stage.made == []
    stage.probed.configure(config(PROBED))
    assert stage.health() is Health.STARTING
    assert len(stage.made) == 1
    stage.probed.configure(config(FILE))
    assert stage.health() is Health.NONE


def test_what_is_not_known_stays_so() -> None:
    """Before the first list there is nothing to show, and all else is the source's."""
    listed = Listed()
    listed.inventory = None
    stage = Stage(listed)
    assert stage.probed.current() is None
    assert (stage.probed.ready, stage.probed.down, stage.probed.engine, stage.probed.excluded) == (
        True, False, None, frozenset(),
    )  # fmt: skip
