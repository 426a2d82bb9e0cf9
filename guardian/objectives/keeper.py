"""The thread that keeps the figures. A tick hands over references and goes on; the rest happens here, once in some seconds."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from guardian import logs
from guardian.clock import Clock
from guardian.errors import GuardianError
from guardian.expose.snapshot import Snapshot
from guardian.lasting import lasting
from guardian.model import Container
from guardian.objectives.accumulate import Accumulator, Look, Probed
from guardian.objectives.evaluate import Verdict, Window, verdicts
from guardian.objectives.network import TrafficReader
from guardian.objectives.rows import HOUR_S
from guardian.objectives.store import HoursFile
from guardian.telemetry import Objective, Telemetry

if TYPE_CHECKING:
    from guardian.health.prober import Probe

WAITING = 600  # ticks that may wait for the thread: a minute at the quickest pace
LOOK_S = 5.0
FLUSH_S = 60.0
RETRY_S = 60.0  # after the disk failed
JUDGED_HOURS = 30 * 24  # what the metrics are about

_log = logs.get("objectives")


class Keeper:
    """`note` and `probed` are for other threads and never wait. Made once; `start` begins, `close` ends."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        telemetry: Telemetry,
        traffic: TrafficReader | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._telemetry = telemetry
        self._traffic = traffic or TrafficReader()
        self._looks: deque[Look] = deque(maxlen=WAITING)
        self._probes: deque[Probed] = deque(maxlen=10_000)
        self._containers: tuple[Container, ...] = ()
        self._accumulator = Accumulator()
        self._file: HoursFile | None = None
        self._past: Window | None = None  # sums of the hours before the present one
        self._past_until = 0  # the number of that hour
        self._flushed_s = -math.inf
        self._resumed = False  # what was there before this process is in the sums
        self._retry_s: float | None = None
        self._failing = False
        self._wanted = threading.Event()
        self._closing = False
        self._thread = lasting(self._run, "objectives")

    def start(self) -> None:
        self._thread.start()

    def note(self, snapshot: Snapshot) -> None:
        """One tick."""
        inventory, assessment = snapshot.inventory, snapshot.assessment
        if inventory is not None:
            self._containers = inventory.containers
        known = snapshot.engine_up and inventory is not None
        self._looks.append(
            Look(assessment.at_s, snapshot.at_wall_s, known, assessment.services, assessment.phases, snapshot.config)
        )

    def probed(self, probe: Probe) -> None:
        """A probe that counts has ended."""
        at_wall_s = self._clock.wall() - (self._clock.monotonic() - probe.at_s)
        self._probes.append(Probed(probe.service, at_wall_s, None if probe.problem else probe.took_s, probe.http))

    def close(self, timeout_s: float) -> bool:
        """Write what there is, and end; whether that was done in time."""
        self._closing = True
        self._wanted.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- its thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._wanted.wait(LOOK_S)
            self.work(flush=self._closing or self._clock.monotonic() - self._flushed_s >= FLUSH_S)
        if self._file is not None:
            self._file.close()

    def work(self, flush: bool) -> None:
        """Take over what was noted, and with `flush` bring file and metrics up to date."""
        try:
            while self._looks:
                self._accumulator.note(self._looks.popleft())
            if flush:
                self._flush()
        except Exception:  # a mistake here costs some figures, and nothing else
            _log.exception("figures could not be kept")

    def _flush(self) -> None:
        now_s, now_wall_s = self._clock.monotonic(), self._clock.wall()
        self._flushed_s = now_s
        while self._probes:
            self._accumulator.beside(self._probes.popleft())
        for one in self._traffic.read(self._containers, now_s, now_wall_s):
            self._accumulator.beside(one)
        if self._retry_s is not None and now_s < self._retry_s and not self._closing:
            self._accumulator.flush()
            return
        try:
            if self._file is not None and not self._path.exists():  # removed by somebody: SQLite would write on, to nowhere
                self._file.close()
                self._file = None
            if self._file is None:
                self._file = self._open(now_wall_s)
            hours = list(self._accumulator.flush())
            if hours:
                self._file.write(hours)
                self._accumulator.written()
                self._tell(self._file, now_wall_s)
        except (OSError, sqlite3.Error, GuardianError) as error:
            self._fail(error, now_s)
            return
        self._retry_s = None
        if self._failing:
            self._failing = False
            _log.warning("the figures can be written again", file=str(self._path))

    def _open(self, now_wall_s: float) -> HoursFile:
        """The file, and from it the hour that was begun before guardian was started again."""
        file = HoursFile(self._path, now_wall_s)
        if file.put_aside is not None:
            _log.error("the figures could not be read and were put aside", file=str(file.put_aside))
        self._past = None
        if not self._resumed:
            for hour in list(file.hours(min(self._accumulator.hours, default=int(now_wall_s // HOUR_S)))):
                self._accumulator.resume(hour)
            self._resumed = True
        return file

    def _tell(self, file: HoursFile, now_wall_s: float) -> None:
        """The objectives over the last 30 days, as metrics. What is past is added up anew once an hour."""
        present = int(now_wall_s // HOUR_S)
        if self._past is None or self._past_until != present:
            past = Window(now_wall_s, now_wall_s)
            for hour in file.hours(present - JUDGED_HOURS, present):
                past.add(hour)
            self._past, self._past_until = past, present
        window = self._past.copy()
        for number in sorted(self._accumulator.hours):
            if number >= present:
                window.add(self._accumulator.hours[number])
        window.from_wall_s, window.until_wall_s = window.first_wall_s, now_wall_s
        self._telemetry.objectives([_told(one) for one in verdicts(window)])

    def _fail(self, error: Exception, now_s: float) -> None:
        """Keep what there is, as far as it may be kept, and try again later with the file opened anew."""
        if not self._failing:
            self._failing = True
            _log.error("cannot write the figures, and will try again", file=str(self._path), error=str(error))
        if self._file is not None:
            self._file.close()
            self._file = None
        self._retry_s = now_s + RETRY_S
        self._accumulator.bound()


def _told(verdict: Verdict) -> Objective:
    worst = verdict.worst
    return Objective(
        verdict.aim.value,
        verdict.target,
        None if worst is None else worst.value,
        verdict.met,
        min((one.budget_ratio for one in verdict.findings if one.budget_ratio is not None), default=None),
    )
