"""What is probed when, and what comes of it: on a virtual clock, one probe at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support.waiting import eventually

from guardian.clock import Clock, SystemClock, VirtualClock
from guardian.config.schema import HealthConfig
from guardian.health.attempt import NotWell
from guardian.health.prober import LATE_S, NOT_ENDED, STARTING_INTERVAL_S, Probe, Prober
from guardian.model import Health, ServiceKey
from guardian.units import Seconds

API, DB = ServiceKey("p", "api"), ServiceKey("p", "db")
CHECK = HealthConfig(tcp="127.0.0.1:1", interval=Seconds(30), timeout=Seconds(2), retries=3, start_period=Seconds(40))


class Stage:
    """A prober whose probes end at once, as the test says, on a clock that only the test moves."""

    def __init__(self, **configs: HealthConfig) -> None:
        self.clock = VirtualClock()
        self.problem = ""  # of every service
        self.probes: list[Probe] = []
        self.changes = 0
        self.prober = Prober(self.clock, self.probes.append, self._count, self._answer)
        self.prober.configure(configs or {"api": CHECK})

    def run(self, seconds: float, begin: Callable[[Callable[[], None]], None] = lambda work: work()) -> None:
        """Let time pass in steps of half a second, and make the probes that are due."""
        for _ in range(round(seconds * 2)):
            self.prober.run_due(begin)
            self.clock.advance(0.5)

    @property
    def health(self) -> Health | None:
        course = self.prober.course(API)
        return None if course is None else course.health

    def _count(self) -> None:
        self.changes += 1

    def _answer(self, _config: HealthConfig, _clock: Clock) -> float:
        if self.problem:
            raise NotWell(self.problem)
        return 0.125


def grown(since_s: float = 0.0) -> dict[ServiceKey, float | None]:
    """The api, which has long started."""
    return {API: since_s}


def test_what_runs_is_probed_at_its_interval() -> None:
    """What runs is probed at once and then at its interval, and what does not run is not probed."""
    stage = Stage(api=CHECK, db=CHECK)
    stage.prober.follow(grown())
    stage.run(100)
    assert [probe.service for probe in stage.probes] == [API] * 4
    assert [probe.at_s - stage.probes[0].at_s for probe in stage.probes] == [0, 30, 60, 90]
    assert {probe.took_s for probe in stage.probes} == {0.125}
    assert stage.prober.course(DB) is None


def test_one_success_makes_it_healthy_and_so_many_failures_in_a_row_unhealthy() -> None:
    """One success makes a service healthy, and `retries` failures in a row make it unhealthy; each change is told once."""
    stage = Stage()
    stage.prober.follow(grown())
    stage.run(31)
    assert (stage.health, stage.changes) == (Health.HEALTHY, 1)
    stage.problem = "no"
    stage.run(60)
    assert (stage.health, stage.changes) == (Health.HEALTHY, 1)
    stage.run(30)
    assert (stage.health, stage.changes) == (Health.UNHEALTHY, 2)
    stage.problem = ""
    stage.run(30)
    assert (stage.health, stage.changes) == (Health.HEALTHY, 3)


def test_failures_in_between_do_not_add_up() -> None:
    """Failures with a success in between do not add up."""
    stage = Stage()
    stage.prober.follow(grown())
    for problem in ("no", "no", "", "no", "no", ""):
        stage.problem = problem
        stage.run(30)
    assert stage.health is Health.HEALTHY


def test_failures_of_a_young_service_do_not_count() -> None:
    """Failures within `start_period` of the start do not count; meanwhile the service is looked at more often."""
    stage = Stage()
    stage.problem = "not yet"
    stage.prober.follow({API: stage.clock.monotonic()})
    stage.run(40)
    assert stage.health is Health.STARTING
    assert len(stage.probes) == 40 / STARTING_INTERVAL_S
    assert not any(probe.counts for probe in stage.probes)
    stage.run(3 * 30)
    assert stage.health is Health.UNHEALTHY
    assert [probe.counts for probe in stage.probes[-3:]] == [True, True, True]


def test_a_new_run_is_known_to_be_nothing_yet() -> None:
    """After a restart a service is starting, whatever was known of the run before, and is probed at once."""
    stage = Stage()
    stage.prober.follow(grown())
    stage.run(5)
    before = stage.prober.version
    stage.prober.follow({API: stage.clock.monotonic()})
    assert stage.health is Health.STARTING
    assert stage.prober.version != before
    stage.run(0.5)
    assert stage.health is Health.HEALTHY
    stage.prober.follow({})
    assert stage.health is None


def test_an_answer_of_the_run_before_says_nothing() -> None:
    """A probe that was begun before a restart and ends after it says nothing of the new run."""
    stage = Stage()
    held: list[Callable[[], None]] = []
    stage.prober.follow(grown())
    stage.prober.run_due(held.append)
    stage.prober.follow(grown(500.0))
    held.pop()()
    assert (stage.health, stage.probes) == (Health.STARTING, [])


def test_a_probe_that_changes_begins_anew() -> None:
    """A probe that another configuration replaces begins anew; one that is taken away says nothing any more."""
    stage = Stage()
    stage.prober.follow(grown())
    stage.run(1)
    stage.prober.configure({"api": HealthConfig(tcp="127.0.0.1:2")})
    assert stage.health is Health.STARTING
    stage.prober.configure({})
    assert stage.health is None
    stage.run(60)
    assert len(stage.probes) == 1


def test_a_probe_that_never_ends_is_a_failure_and_none_is_begun_beside_it() -> None:
    """A probe that outlasts its deadline is a failure each time that the next is due, and no other is begun beside it."""
    stage = Stage()
    held: list[Callable[[], None]] = []
    stage.prober.follow(grown())
    stage.run(31, held.append)
    assert len(held) == 1  # it waits for a thread: that is no failure
    assert stage.probes == []

    ends = threading.Event()
    hanging = Prober(SystemClock(), stage.probes.append, attempt=lambda *_: float(ends.wait(20)))
    check = HealthConfig(tcp="127.0.0.1:1", interval=Seconds(1), timeout=Seconds(0.01), retries=2)
    assert check.interval >= LATE_S
    hanging.configure({"api": check})
    hanging.start()
    hanging.follow(grown())
    try:
        eventually(lambda: len(stage.probes) >= 2, "the probe is late twice")
        assert {probe.problem for probe in stage.probes} == {NOT_ENDED}
        course = hanging.course(API)
        assert course is not None
        assert course.health is Health.UNHEALTHY
    finally:
        ends.set()
        hanging.close()


def test_without_a_thread_nothing_is_said() -> None:
    """Where the host has no thread to give, nothing is said of the service, and it is tried again."""
    stage = Stage()
    stage.prober.follow(grown())

    def refuse(_work: Callable[[], None]) -> None:
        raise RuntimeError

    stage.run(60, refuse)
    assert (stage.health, stage.probes) == (Health.STARTING, [])
    stage.run(30)
    assert stage.health is Health.HEALTHY


def test_a_closed_prober_is_silent() -> None:
    """After `close` nothing is told, also of what was under way."""
    stage = Stage()
    held: list[Callable[[], None]] = []
    stage.prober.follow(grown())
    stage.prober.run_due(held.append)
    stage.prober.close()
    held.pop()()
    assert stage.probes == []


@pytest.mark.parametrize("failures", [1, 2])
def test_a_mistake_in_a_probe_is_a_failure_like_any_other(failures: int) -> None:
    """A mistake in a probe is a failure like any other, and costs no thread."""

    def wrong(_config: HealthConfig, _clock: Clock) -> float:
        raise ValueError("odd")

    clock, probes = VirtualClock(), list[Probe]()
    prober = Prober(clock, probes.append, attempt=wrong)
    prober.configure({"api": CHECK})
    prober.follow(grown())
    for _ in range(failures):
        prober.run_due(lambda work: work())
        clock.advance(31)
    assert [probe.problem for probe in probes] == ["ValueError: odd"] * failures
