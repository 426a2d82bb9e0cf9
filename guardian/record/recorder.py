"""The recording's thread. A tick hands over references and goes on; whatever happens here costs nothing but the recording."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from guardian import logs
from guardian.clock import Clock
from guardian.lasting import lasting
from guardian.record.moment import Moment
from guardian.record.packer import Packer
from guardian.record.rows import Row
from guardian.record.store import RecordFile
from guardian.telemetry import Telemetry

WAITING = 300  # ticks that may wait for the thread: half a minute at the quickest pace
WAITING_BYTES = 2 * 1024 * 1024  # rows that may wait for the disk
LOOK_S = 5.0  # ticks are encoded at least this often
RETRY_S = 30.0  # after the disk failed

_log = logs.get("record")


class Recorder:
    """`note` is for the loop's thread and never waits. Made once; `start` begins, `close` ends."""

    def __init__(
        self, path: Path, clock: Clock, telemetry: Telemetry, opening: Callable[[Path], RecordFile] = RecordFile
    ) -> None:
        self._path = path
        self._clock = clock
        self._telemetry = telemetry
        self._opening = opening
        self._waiting: deque[Moment] = deque()
        self._wanted = threading.Event()
        self._closing = False
        self._packer = Packer()
        self._rows: list[Row] = []
        self._file: RecordFile | None = None
        self._retry_s: float | None = None  # no disk before this
        self._failing = False
        self._thread = lasting(self._run, "record")

    def start(self) -> None:
        self._thread.start()

    def note(self, moment: Moment) -> None:
        """Hand a tick over. One that finds too many waiting is dropped, and counted."""
        if len(self._waiting) >= WAITING:
            self._telemetry.record_dropped(1)
            return
        self._waiting.append(moment)
        if moment.decision.actions or len(self._waiting) >= WAITING // 4:
            self._wanted.set()

    def close(self, timeout_s: float) -> bool:
        """Write what waits, and end; whether that was done in time."""
        self._closing = True
        self._wanted.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- its thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wanted.wait(LOOK_S)
            self._wanted.clear()
            closing = self._closing
            try:
                self._take(closing)
            except Exception as error:  # a mistake here must not end the recording, and far less the daemon
                _log.exception("a tick could not be recorded")
                self._packer.restart()
                self._fail(error)
            if closing:
                break
        if self._file is not None:
            self._file.close()

    def _take(self, closing: bool) -> None:
        if self._file is not None and not self._path.exists():  # removed by somebody: SQLite would write on, to nowhere
            self._file.close()
            self._file = None
            self._packer.restart()
        while self._waiting:
            self._rows += self._packer.take(self._waiting.popleft())
        if closing:
            self._rows += self._packer.flush()
        if not self._rows or (self._retry_s is not None and self._clock.monotonic() < self._retry_s and not closing):
            self._bound()
            return
        try:
            if self._file is None:
                self._file = self._opening(self._path)
            self._file.write(self._rows, self._clock.wall())
            self._telemetry.record_size(self._file.size_bytes)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            return
        self._rows = []
        self._retry_s = None
        if self._failing:
            self._failing = False
            _log.warning("the recording can be written again", file=str(self._path))

    def _fail(self, error: Exception) -> None:
        """Keep what there is, as far as it may be kept, and try again later with the file opened anew."""
        self._telemetry.record_failed()
        if not self._failing:
            self._failing = True
            _log.error(
                "cannot write the recording, and will try again: decisions go on, and what they were is not kept meanwhile",
                file=str(self._path),
                error=str(error),
            )
        if self._file is not None:
            self._file.close()
            self._file = None
        self._retry_s = self._clock.monotonic() + RETRY_S
        self._bound()

    def _bound(self) -> None:
        if sum(len(row.body) for row in self._rows) > WAITING_BYTES:
            self._telemetry.record_dropped(len(self._rows))
            self._rows = []
            self._packer.restart()
