"""Probes what runs, each service at its own interval, on threads of its own. What comes of it is read by the tick."""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from guardian import logs
from guardian.clock import Clock
from guardian.config.schema import HealthConfig
from guardian.health.attempt import NotWell, attempt
from guardian.health.course import Course, after, is_young
from guardian.lasting import lasting
from guardian.model import Health, ServiceKey
from guardian.workers import Workers

MOST_AT_ONCE = 32
NOT_ENDED = "the probe before has not ended"
LATE_S = 1.0  # more than the deadline: what has not ended by then waits for something that no deadline ends
STARTING_INTERVAL_S = 5.0  # while a service is starting it is looked at more often: others may wait for it
IDLE_S = 3600.0

_log = logs.get("health")


@dataclass(frozen=True, slots=True)
class Probe:
    """One that has ended, at `at_s` (monotonic). `problem` is empty where the service was well.

    `counts` is False for a failure of a service that is still starting.
    """

    service: ServiceKey
    at_s: float
    took_s: float
    problem: str = ""
    counts: bool = True
    http: bool = False


class Prober:
    """`configure` and `follow` say what to probe; `course` and `version` are what the tick reads. All may be called from any thread.

    Probes are made by `run_due`, which the thread that `start` begins calls when one is due. `on_probe` hears of each that
    has ended, `on_change` once the health of one is another than before.
    """

    def __init__(
        self,
        clock: Clock,
        on_probe: Callable[[Probe], None],
        on_change: Callable[[], None] = lambda: None,
        attempt: Callable[[HealthConfig, Clock], float] = attempt,
    ) -> None:
        self.version = 0  # another one whenever the health of a service is another
        self._clock = clock
        self._on_probe = on_probe
        self._on_change = on_change
        self._attempt = attempt
        self._changed = threading.Condition()
        self._configs: Mapping[str, HealthConfig] = {}
        self._courses: dict[ServiceKey, Course] = {}
        self._planned: dict[ServiceKey, float] = {}  # when each is due; the heap may have older times of it
        self._heap: list[tuple[float, ServiceKey]] = []
        self._busy: dict[ServiceKey, float] = {}  # until when each that is under way may take
        self._workers = Workers("probe", MOST_AT_ONCE)
        self._thread: threading.Thread | None = None
        self._closed = False

    def configure(self, configs: Mapping[str, HealthConfig]) -> None:
        """The probes of services by name. One that is another than before begins anew."""
        with self._changed:
            before, self._configs = self._configs, dict(configs)
            for key, course in list(self._courses.items()):
                if configs.get(key.name) != before.get(key.name):
                    self._begin(key, course.since_s)

    def follow(self, running: Mapping[ServiceKey, float | None]) -> None:
        """The services that run, and since when (monotonic): these are probed. A new run is known to be nothing yet."""
        with self._changed:
            for key in self._courses.keys() - running.keys():
                self._forget(key)
            for key, since_s in running.items():
                known = self._courses.get(key)
                if known is None or known.since_s != since_s:
                    self._begin(key, since_s)

    def course(self, service: ServiceKey) -> Course | None:
        """None where it is not probed."""
        return self._courses.get(service)

    def probes(self, name: str) -> bool:
        return name in self._configs

    # --- time -------------------------------------------------------------------------------------------------------

    def run_due(self, begin: Callable[[Callable[[], None]], None]) -> float:
        """Hand each probe that is due to `begin`; returned: in how many seconds the next one is."""
        with self._changed:
            now_s = self._clock.monotonic()
            due: list[tuple[ServiceKey, HealthConfig, float | None]] = []
            late: list[tuple[ServiceKey, HealthConfig, float | None]] = []
            while self._heap and self._heap[0][0] <= now_s:
                at_s, key = heapq.heappop(self._heap)
                config, course = self._configs.get(key.name), self._courses.get(key)
                if self._planned.get(key) != at_s or config is None or course is None:
                    continue
                pause_s = min(config.interval, STARTING_INTERVAL_S) if is_young(course, now_s, config) else config.interval
                self._plan(key, max(at_s + pause_s, now_s + pause_s / 2))  # what comes late does not pile up
                if now_s >= self._busy.get(key, -math.inf):
                    (late if key in self._busy else due).append((key, config, course.since_s))
                    self._busy.setdefault(key, math.inf)
            next_s = self._heap[0][0] - now_s if self._heap else IDLE_S
        for key, config, since_s in late:
            self._take(key, NOT_ENDED, now_s, config.timeout, config, since_s)
        for key, config, since_s in due:
            try:
                begin(partial(self._probe, key, config, since_s))
            except RuntimeError:  # no thread to be had says nothing of the service
                with self._changed:
                    self._busy.pop(key, None)
        return next_s

    def start(self) -> None:
        """Probe from now on. May be called again."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = lasting(self._run, "probes")
                self._thread.start()

    def close(self) -> None:
        """Begin nothing more. What is under way ends by its deadline, and nobody hears of it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._workers.close()

    def _run(self) -> None:
        while not self._closed:
            next_s = self.run_due(self._workers.submit)
            with self._changed:
                due_s = self._heap[0][0] - self._clock.monotonic() if self._heap else IDLE_S
                if not self._closed and min(next_s, due_s) > 0:
                    self._changed.wait(min(next_s, due_s))

    def _probe(self, key: ServiceKey, config: HealthConfig, since_s: float | None) -> None:
        began_s, problem = self._clock.monotonic(), ""
        with self._changed:
            self._busy[key] = began_s + config.timeout + LATE_S
        took_s: float | None = None
        try:
            took_s = self._attempt(config, self._clock)
        except NotWell as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        at_s = self._clock.monotonic()
        with self._changed:
            self._busy.pop(key, None)
        self._take(key, problem, at_s, at_s - began_s if took_s is None else took_s, config, since_s)

    def _take(
        self, key: ServiceKey, problem: str, at_s: float, took_s: float, config: HealthConfig, since_s: float | None
    ) -> None:
        """A probe of another run, or by another configuration, than now says nothing of this one."""
        with self._changed:
            course = self._courses.get(key)
            if self._closed or course is None or course.since_s != since_s or self._configs.get(key.name) != config:
                return
            new = self._courses[key] = after(course, problem, at_s, config)
            if new.health is not course.health:
                self.version += 1
        self._on_probe(
            Probe(key, at_s, took_s, problem, not problem or not is_young(course, at_s, config), config.http is not None)
        )
        if new.health is not course.health:
            if new.health is Health.UNHEALTHY:
                _log.warning("unhealthy by its probe", service=str(key), failures=new.failures, problem=problem)
            else:
                _log.info("healthy by its probe", service=str(key), took_s=round(took_s, 3))
            self._on_change()

    # --- under the lock ---------------------------------------------------------------------------------------------

    def _begin(self, key: ServiceKey, since_s: float | None) -> None:
        if key.name not in self._configs:
            self._forget(key)
            return
        self._courses[key] = Course(since_s)
        self.version += 1
        self._plan(key, self._clock.monotonic())

    def _forget(self, key: ServiceKey) -> None:
        if self._courses.pop(key, None) is not None:
            self.version += 1
        self._planned.pop(key, None)

    def _plan(self, key: ServiceKey, at_s: float) -> None:
        self._planned[key] = at_s
        heapq.heappush(self._heap, (at_s, key))
        self._changed.notify_all()
