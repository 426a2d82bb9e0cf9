"""The scheduler on real threads; only the wall clock is the test's own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

import apscheduler.schedulers.base
import pytest

from guardian.clock import SystemClock
from guardian.schedule import Scheduler

PATIENCE_S = 10.0


class SteppedClock(SystemClock):
    """The machine's clocks, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead_s


class World:
    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.errors: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
        self.steps: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.scheduler = Scheduler(clock, lambda name, error: self.errors.put((name, error)), self.steps.put)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A scheduler whose wall clock, APScheduler's own included, is the test's."""
    clock = SteppedClock()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(clock.wall(), tz or UTC)

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Datetime)
    world = World(clock)
    yield world
    world.scheduler.shutdown(5)


class Runs:
    """A job that notes when it ran, and may be held inside its run."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.free = threading.Event()
        self.free.set()
        self.inside = 0
        self.most = 0

    def __call__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.begun.put(time.monotonic())
        self.free.wait(PATIENCE_S)
        self.inside -= 1

    def wait(self, runs: int = 1) -> list[float]:
        return [self.begun.get(timeout=PATIENCE_S) for _ in range(runs)]

    def forget(self) -> None:
        """What has begun by now is not waited for."""
        while not self.begun.empty():
            self.begun.get()


def test_a_job_runs_at_once_and_then_at_its_interval(world: World) -> None:
    """A job runs at once, and then at its interval without drift."""
    runs = Runs()
    world.scheduler.every("tick", 0.1, runs)
    start_s = time.monotonic()
    world.scheduler.start()
    begun = runs.wait(11)
    assert begun[0] - start_s < 0.5
    assert 0.8 < begun[10] - begun[0] < 5.0  # a run that the machine is late for is left out


@pytest.mark.parametrize("step_s", [-3600.0, -1.5, 3600.0, 60 * 365 * 86400.0])
def test_a_clock_that_is_set_does_not_stop_the_ticking(world: World, step_s: float) -> None:
    """A wall clock that is set, back or forward, by hours or decades, does not stop the ticking, and is reported."""
    runs = Runs()
    world.scheduler.every("tick", 0.1, runs)
    world.scheduler.start()
    runs.wait(3)
    world.clock.ahead_s += step_s
    set_s = time.monotonic()
    begun = runs.wait(10)
    assert begun[9] - set_s < 3.0, "ticks went on at their pace, after half a second of supervision at most"
    assert world.steps.get(timeout=PATIENCE_S) == pytest.approx(step_s, abs=0.2)
    assert runs.most == 1


def test_small_steps_back_are_noticed_once_they_add_up(world: World) -> None:
    """Steps below a second are noticed once they add up to more."""
    runs = Runs()
    world.scheduler.every("tick", 0.1, runs)
    world.scheduler.start()
    world.clock.ahead_s -= 0.7
    runs.wait(3)
    assert world.steps.empty()
    world.clock.ahead_s -= 0.7
    assert world.steps.get(timeout=PATIENCE_S) == pytest.approx(-1.4, abs=0.2)


def test_a_woken_job_runs_as_soon_as_possible(world: World) -> None:
    """A woken job runs as soon as possible, and at its interval from then on."""
    runs = Runs()
    world.scheduler.every("slow", 3600, runs)
    world.scheduler.start()
    runs.wait()
    woken_s = time.monotonic()
    world.scheduler.wake("slow")
    assert runs.wait()[0] - woken_s < 1.0
    with pytest.raises(queue.Empty):
        runs.begun.get(timeout=0.2)


def test_a_wake_during_a_run_is_remembered_once(world: World) -> None:
    """Wakes that arrive during a run are remembered: it runs once again at the end, never twice at once."""
    runs = Runs()
    runs.free.clear()
    world.scheduler.every("tick", 3600, runs)
    world.scheduler.start()
    runs.wait()
    for _ in range(3):
        world.scheduler.wake("tick")
    with pytest.raises(queue.Empty):
        runs.begun.get(timeout=0.1)
    runs.free.set()
    runs.wait()
    with pytest.raises(queue.Empty):
        runs.begun.get(timeout=0.2)
    assert runs.most == 1


def test_no_wake_is_lost_at_the_end_of_a_run(world: World) -> None:
    """A wake is never lost, also when it comes just as a run ends: after each one a run begins."""
    served: queue.SimpleQueue[int] = queue.SimpleQueue()
    asked = 0

    def serve() -> None:
        served.put(asked)

    world.scheduler.every("tick", 3600, serve)
    world.scheduler.start()
    for asked in range(1, 2000):
        world.scheduler.wake("tick")
        while served.get(timeout=PATIENCE_S) < asked:
            pass


def test_a_job_may_wake_itself_and_others(world: World) -> None:
    """A job may wake itself and others from within its run."""
    count = 0
    other = Runs()
    done = threading.Event()

    def job() -> None:
        nonlocal count
        count += 1
        if count < 5:
            world.scheduler.wake("self")
        else:
            world.scheduler.wake("other")
            done.set()

    world.scheduler.every("self", 3600, job)
    world.scheduler.every("other", 3600, other)
    world.scheduler.start()
    assert done.wait(PATIENCE_S)
    other.wait(2)


def test_a_new_pace_counts_from_the_last_planned_run(world: World) -> None:
    """A new pace counts at once, faster and slower."""
    runs = Runs()
    world.scheduler.every("tick", 3600, runs)
    world.scheduler.start()
    first = runs.wait()[0]
    world.scheduler.repace("tick", 0.1)
    begun = runs.wait(5)
    assert begun[4] - first < 2.0
    world.scheduler.repace("tick", 3600)
    while True:
        try:
            runs.begun.get(timeout=0.3)
        except queue.Empty:
            break
    assert runs.most == 1


def test_a_pace_is_quickened_and_a_slower_one_is_left_to_the_job(world: World) -> None:
    """`quicken` brings the next run near, and does not put it off."""
    runs = Runs()
    world.scheduler.every("containers", 3600, runs)
    world.scheduler.start()
    runs.wait()
    world.scheduler.quicken("containers", 0.05)
    runs.wait(2)
    world.scheduler.quicken("containers", 3600)
    runs.wait(2)


def test_a_run_that_was_asked_for_is_not_put_off_by_a_slower_pace(world: World) -> None:
    """A job that was woken runs now, also where its pace is made slower just then."""
    runs = Runs()
    world.scheduler.every("tick", 3600, runs)
    world.scheduler.start()
    runs.wait()
    with world.scheduler._planner._jobstores_lock:  # so that the planner hears of both at once
        world.scheduler.wake("tick")
        world.scheduler.repace("tick", 7200)
    runs.wait()


def test_a_run_that_is_due_during_a_run_is_left_out(world: World) -> None:
    """What falls due during a long run is left out, and the plan goes on."""
    runs = Runs()
    runs.free.clear()
    world.scheduler.every("tick", 0.05, runs)
    world.scheduler.start()
    runs.wait()
    time.sleep(0.3)  # six due moments pass
    runs.free.set()
    released_s = time.monotonic()
    begun = runs.wait(4)
    assert begun[3] - released_s > 0.1, "no burst of runs made up for"
    assert runs.most == 1


def test_a_stuck_job_holds_up_no_other(world: World) -> None:
    """A job that is stuck holds up no other job."""
    stuck, ticking = Runs(), Runs()
    stuck.free.clear()
    world.scheduler.every("stuck", 0.05, stuck)
    world.scheduler.every("tick", 0.05, ticking)
    world.scheduler.start()
    stuck.wait()
    ticking.wait(5)
    stuck.free.set()


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3)])
def test_a_job_that_raises_is_reported_and_goes_on(world: World, error: BaseException) -> None:
    """A job that raises is reported by name, and goes on."""

    def fail() -> None:
        raise error

    world.scheduler.every("tick", 0.05, fail)
    world.scheduler.start()
    for _ in range(3):
        assert world.errors.get(timeout=PATIENCE_S) == ("tick", error)


def test_a_report_that_fails_does_not_end_the_job(world: World) -> None:
    """A report that itself fails does not end the job."""
    runs = Runs()

    def fail() -> None:
        runs()
        raise ValueError("a bug")

    world.scheduler._on_error = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
    world.scheduler.every("tick", 0.05, fail)
    world.scheduler.start()
    runs.wait(3)


def test_the_lag_is_how_late_a_run_began(world: World) -> None:
    """The lag of a run is how long after its planned moment it began."""
    runs = Runs()
    world.scheduler.every("tick", 0.2, runs)
    world.scheduler.start()
    runs.wait(2)
    assert 0 <= world.scheduler.lag("tick") < 0.2
    runs.free.clear()
    runs.wait()
    world.scheduler.wake("tick")
    time.sleep(0.5)
    runs.free.set()
    runs.wait()
    assert 0.4 < world.scheduler.lag("tick") < 2.0


def test_a_plan_held_up_by_the_host_shows_as_lag(world: World) -> None:
    """When the planner itself was held up, the run that makes up for it says how late it is."""
    runs = Runs()
    world.scheduler.every("tick", 0.2, runs)
    world.scheduler.start()
    runs.wait(2)
    with world.scheduler._planner._jobstores_lock:
        time.sleep(0.7)
        runs.forget()  # one may have been on its way when the planner was held up
    runs.wait()
    late = world.scheduler.lag("tick")
    assert late > 0.3
    runs.wait()
    assert world.scheduler.lag("tick") < late


def test_a_wake_does_not_hide_how_late_a_run_is(world: World) -> None:
    """A run that is overdue when it is woken says how late it is, not that it was asked for just now."""
    runs = Runs()
    world.scheduler.every("tick", 0.2, runs)
    world.scheduler.start()
    runs.wait(2)
    with world.scheduler._planner._jobstores_lock:
        time.sleep(0.7)
        world.scheduler.wake("tick")
    runs.wait()
    assert world.scheduler.lag("tick") > 0.3


def test_a_run_is_as_late_as_the_first_moment_that_it_was_due(world: World) -> None:
    """A planner that asks twice before a late run begins, the second time just before the next is due, does not make it seem on time."""
    world.scheduler.every("tick", 10.0, Runs())
    job = world.scheduler._jobs["tick"]
    job.due_s = world.clock.monotonic() - 29.99
    now = datetime.now(UTC)
    for _ in range(2):
        world.scheduler.next_run(job, now, first=False)
    world.scheduler._run(job)
    assert world.scheduler.lag("tick") > 29


def test_shutdown_waits_for_runs_under_way(world: World) -> None:
    """Shutdown waits for runs under way, and begins no other."""
    runs = Runs()
    runs.free.clear()
    world.scheduler.every("tick", 0.05, runs)
    world.scheduler.start()
    runs.wait()
    world.scheduler.wake("tick")
    threading.Timer(0.2, runs.free.set).start()
    assert world.scheduler.shutdown(PATIENCE_S)
    assert runs.inside == 0
    assert runs.begun.empty()


def test_shutdown_gives_up_on_a_run_that_does_not_end(world: World) -> None:
    """Shutdown gives up after its time-out on a run that does not end, and says so."""
    runs = Runs()
    runs.free.clear()
    world.scheduler.every("tick", 0.05, runs)
    world.scheduler.start()
    runs.wait()
    start_s = time.monotonic()
    assert not world.scheduler.shutdown(0.2)
    assert time.monotonic() - start_s < 1.5
    runs.free.set()


def test_shutdown_before_start_is_no_mistake(world: World) -> None:
    """Shutdown before start, and twice, is no mistake."""
    world.scheduler.every("tick", 1, Runs())
    assert world.scheduler.shutdown(5)
    assert world.scheduler.shutdown(5)


def test_a_wake_before_start_does_not_delay_the_first_run(world: World) -> None:
    """A wake before the start does not delay the first run."""
    runs = Runs()
    world.scheduler.every("tick", 3600, runs)
    world.scheduler.wake("tick")
    world.scheduler.start()
    runs.wait()


def test_an_interval_must_be_above_zero(world: World) -> None:
    """An interval must be above 0."""
    with pytest.raises(ValueError, match="above 0"):
        world.scheduler.every("tick", 0, Runs())
