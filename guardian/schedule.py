"""Runs jobs at intervals by APScheduler, on a plan of its own in monotonic time.

APScheduler plans in wall time: after a clock set back by an hour it would sleep for that hour. So the plan is kept here
in monotonic time, APScheduler gets it translated, and a supervisor translates it anew when the wall clock was set.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from guardian.clock import Clock, SystemClock
from guardian.lasting import last, lasting

JUMP_S = 1.0  # slewing moves a clock by at most 0.5 ms a second; what moves it this far was a step
SUPERVISION_S = 1.0
_EXACT_S = 0.1  # two clocks read further apart than this cannot be compared


@dataclass(slots=True)
class _Job:
    """One job's plan. Times are monotonic; the scheduler's lock guards them."""

    name: str
    interval_s: float
    fn: Callable[[], None]
    due_s: float = 0.0  # the next run
    asked_s: float | None = None  # when the run that is about to begin was due
    lag_s: float = 0.0  # how late the last run began
    running: bool = False
    woken_s: float | None = None  # woken while it ran


class Scheduler:
    """Runs each job at its pace, never twice at once; late runs are made up for by one.

    A job that raises is reported by `on_error(name, error)` and goes on. `on_clock_set(seconds)` hears of a wall clock
    that was set forward (or back: negative) by more than a second.
    """

    def __init__(
        self,
        clock: Clock,
        on_error: Callable[[str, BaseException], None] = lambda _name, _error: None,
        on_clock_set: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._clock = clock
        self._on_error = on_error
        self._on_clock_set = on_clock_set
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()  # never held while APScheduler is called: its own locks come first
        self._stopping = threading.Event()
        self._started = False
        self._threads = _Threads(self._ended, self._translate)
        self._supervisor = lasting(self._supervise, "supervisor")
        # Its warnings say that a run was skipped because the last one is still under way: normal for a slow engine.
        quiet = logging.getLogger("guardian.apscheduler")
        quiet.setLevel(logging.ERROR)
        self._planner = _Planner(
            logger=quiet,
            timezone=UTC,
            executors={"default": self._threads},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )

    def every(self, name: str, interval_s: float, fn: Callable[[], None]) -> None:
        """Run `fn` at once when started, and then every `interval_s` seconds. A run that is due during a run is left out."""
        if interval_s <= 0:
            raise ValueError(f"job {name}: an interval must be above 0, got {interval_s}")
        job = self._jobs[name] = _Job(name, interval_s, fn)
        self._threads.add(name)  # as many threads as jobs: a stuck one holds up no other
        self._planner.add_job(self._run, _Plan(self, job), args=(job,), id=name)

    def wake(self, name: str) -> None:
        """Run the job as soon as possible, and at its pace from then on.

        Woken while it runs, it runs again at the end of that run. May be called from any thread, a job's own included.
        """
        job = self._jobs[name]
        with self._lock:
            now_s = self._clock.monotonic()
            if job.running:
                job.woken_s = now_s if job.woken_s is None else job.woken_s
                return
            job.due_s = min(job.due_s, now_s)  # one that is late already stays as late as it is
        self._translate(name)

    def repace(self, name: str, interval_s: float) -> None:
        """Change a job's pace; its next run follows the last planned one by the new interval. What is due now runs now."""
        job = self._jobs[name]
        with self._lock:
            if interval_s == job.interval_s:
                return
            now_s = self._clock.monotonic()
            if job.due_s > now_s:
                job.due_s = max(now_s, job.due_s - job.interval_s + interval_s)
            job.interval_s = interval_s
        self._translate(name)

    def quicken(self, name: str, interval_s: float) -> None:
        """As `repace`, for a quicker pace only."""
        if interval_s < self._jobs[name].interval_s:
            self.repace(name, interval_s)

    def lag(self, name: str) -> float:
        """How many seconds after its planned moment the last run of the job began."""
        return self._jobs[name].lag_s

    def start(self) -> None:
        self._started = True
        self._planner.start()
        self._supervisor.start()

    def shutdown(self, timeout_s: float) -> bool:
        """Begin no further run, and wait up to `timeout_s` for those under way. Whether all have ended.

        A run that goes on keeps no process from ending. May be called twice.
        """
        self._stopping.set()
        if self._planner.running:
            self._planner.shutdown(wait=False)
        return self._threads.end(timeout_s)

    def _run(self, job: _Job) -> None:
        try:
            with self._lock:
                job.running = True
                now_s = self._clock.monotonic()
                job.lag_s = 0.0 if job.asked_s is None else max(0.0, now_s - job.asked_s)
                job.asked_s = None
            if not self._stopping.is_set():
                job.fn()
        except BaseException as error:  # also SystemExit: it would end the thread, and with it the job, without a word
            with suppress(Exception):  # nobody is left to tell
                self._on_error(job.name, error)

    def _ended(self, name: str) -> bool:
        """Note the end of a run. Whether the job was woken meanwhile."""
        job = self._jobs[name]
        with self._lock:
            job.running = False
            woken_s, job.woken_s = job.woken_s, None
            if woken_s is not None:
                job.due_s = woken_s
        return woken_s is not None

    def next_run(self, job: _Job, now: datetime, first: bool) -> datetime:
        """When, by the wall clock that shows `now`, the job is due next; a run that is due now is taken as begun."""
        with self._lock:
            now_s = self._clock.monotonic()
            if first:
                job.due_s = now_s
            elif job.due_s - now_s <= job.interval_s / 10:  # a slewed wall clock may be a little ahead
                if not job.running and job.asked_s is None:  # asked more than once for one run, the first moment counts
                    job.asked_s = job.due_s
                late_s = max(0.0, now_s - job.due_s)
                job.due_s += job.interval_s * (1 + late_s // job.interval_s)
            return now + timedelta(seconds=job.due_s - now_s)

    def _translate(self, name: str) -> None:
        """Give APScheduler the job's plan anew, in wall time."""
        if not self._started or self._stopping.is_set():
            return
        with self._lock:
            left_s = self._jobs[name].due_s - self._clock.monotonic()
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        self._planner.modify_job(name, next_run_time=now + timedelta(seconds=left_s))

    def _supervise(self) -> None:
        before_s = self._ahead_s()
        while not self._stopping.wait(SUPERVISION_S):
            ahead_s = self._ahead_s()
            if ahead_s is None or before_s is None:
                before_s = before_s if ahead_s is None else ahead_s
                continue
            if abs(ahead_s - before_s) > JUMP_S:
                for name in tuple(self._jobs):
                    self._translate(name)
                with suppress(Exception):  # the jobs go on, whoever hears of it
                    self._on_clock_set(ahead_s - before_s)
                before_s = ahead_s

    def _ahead_s(self) -> float | None:
        """By how much the wall clock is ahead of the monotonic one; None if the host held us up between the two."""
        start_s = self._clock.monotonic()
        wall_s = self._clock.wall()
        return wall_s - start_s if self._clock.monotonic() - start_s < _EXACT_S else None


class _Plan(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """A job's monotonic plan, as APScheduler asks for it."""

    def __init__(self, scheduler: Scheduler, job: _Job) -> None:
        self._scheduler = scheduler
        self._job = job

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return self._scheduler.next_run(self._job, now, first=previous_fire_time is None)


class _Planner(BackgroundScheduler):  # type: ignore[misc]
    """Its thread begins every run, and so goes on where the host has no memory for a wait or a plan."""

    def _main_loop(self) -> None:
        last(self._plan, "planner")

    def _plan(self) -> None:
        self.wakeup()  # it begins with a wait
        super()._main_loop()


class _Threads(BaseExecutor):  # type: ignore[misc]
    """Threads that exist before memory runs short, and that keep no process from ending.

    APScheduler's own pool starts threads when they are needed, and the interpreter waits for them at its end.
    """

    def __init__(self, ended: Callable[[str], bool], again: Callable[[str], None]) -> None:
        super().__init__()
        self._ended = ended
        self._again = again
        self._runs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._all: list[threading.Thread] = []

    def add(self, name: str) -> None:
        thread = lasting(self._work, f"job-{name}")
        self._all.append(thread)
        thread.start()

    def end(self, timeout_s: float) -> bool:
        """End each thread after the run it is in, and wait for them."""
        for _ in self._all:
            self._runs.put(None)
        ends_s = SystemClock().monotonic() + timeout_s
        for thread in self._all:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends_s - SystemClock().monotonic()))
        return not any(thread.is_alive() for thread in self._all)

    def _do_submit_job(self, job: Any, _run_times: list[datetime]) -> None:
        self._runs.put(job)

    def _work(self) -> None:
        while (job := self._runs.get()) is not None:
            try:
                job.func(*job.args)
            finally:
                while not self._over(job.id):
                    pass

    def _over(self, name: str) -> bool:
        """Note the end of a run. False where there is no memory for that: else the job would count as running for ever."""
        try:
            # In one step for APScheduler: a wake must find either a run that still ends, or room for the next.
            with self._lock:
                if name in self._instances:
                    self._run_job_success(name, [])
                again = self._ended(name)
            if again:
                self._again(name)
        except MemoryError:
            return False
        return True
