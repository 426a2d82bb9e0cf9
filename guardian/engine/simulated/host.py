"""The simulated host, read as `guardian.sense.host` reads a real one."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from guardian.engine.simulated.engine import SimulatedEngine
from guardian.model import HostReading

CPU_WINDOW_S = 10.0


class SimulatedHost:
    """Readings of the host that `engine` simulates. They go on when the engine does not answer."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._busy: deque[tuple[float, float]] = deque()  # (at_s, core seconds used so far), a window back and the one before

    def read(self) -> HostReading:
        """`cpu_ratio` is the mean of the last 10 s, or of what has been seen of them; a first reading has none."""
        reading = self._engine.read_host()
        busy = self._busy
        if not busy or reading.at_s > busy[-1][0]:
            busy.append((reading.at_s, self._engine.busy_core_s()))
        while len(busy) > 2 and busy[1][0] <= reading.at_s - CPU_WINDOW_S:
            busy.popleft()
        (began_s, before), (at_s, now) = busy[0], busy[-1]
        if at_s <= began_s:
            return reading
        return replace(reading, cpu_ratio=min(1.0, (now - before) / (at_s - began_s) / reading.cores))
