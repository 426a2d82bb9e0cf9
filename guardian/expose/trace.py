"""The last half hour of the host and the phases, kept in memory for the status page to draw."""

from __future__ import annotations

import math
import threading
from array import array
from collections import deque
from typing import Any

from guardian.expose.snapshot import Snapshot

EVERY_S = 2.0
KEEPS = 900  # points: half an hour; 8 bytes for each value


class Trace:
    """Takes a point of a snapshot every `EVERY_S`; the oldest makes room. Safe to read from any thread.

    A point is `[at_wall_s, bytes used by the host, cores used by the host, then bytes and cores of phases 1..n, each with
    all below it]`; None is unknown.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: tuple[int, ...] = ()
        self._points: deque[array[float]] = deque(maxlen=KEEPS)
        self._due_s = -math.inf

    def note(self, snapshot: Snapshot) -> None:
        """Keep a point of it, if one is due. With other phases than before, all begins anew."""
        if snapshot.at_s < self._due_s:
            return
        self._due_s = snapshot.at_s + EVERY_S
        uses = snapshot.assessment.phases
        host = snapshot.sample.host
        used_bytes = used_cores = None
        if host is not None:
            if host.memory_total_bytes is not None and host.memory_available_bytes is not None:
                used_bytes = host.memory_total_bytes - host.memory_available_bytes
            if host.cpu_ratio is not None:
                used_cores = host.cpu_ratio * host.cores
        values = [snapshot.at_wall_s, used_bytes, used_cores]
        for use in uses:
            values += (use.memory_bytes, use.cpu_cores)
        point = array("d", [math.nan if value is None else value for value in values])
        phases = tuple(use.phase for use in uses)
        with self._lock:
            if phases != self._phases:
                self._phases = phases
                self._points.clear()
            self._points.append(point)

    def since(self, wall_s: float) -> dict[str, Any]:
        """Points that are newer than `wall_s`, oldest first, ready for JSON."""
        with self._lock:
            phases, points = self._phases, [point for point in self._points if point[0] > wall_s]
        return {
            "every_s": EVERY_S,
            "keeps": KEEPS,
            "phases": phases,
            "points": [[None if math.isnan(value) else round(value, 3) for value in point] for point in points],
        }
