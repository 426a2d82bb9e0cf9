"""The simulated host, read as `guardian.sense.host` reads a real one."""

from __future__ import annotations

from dataclasses import replace

from guardian.engine.simulated.engine import SimulatedEngine
from guardian.model import HostReading
from guardian.sense.host import CpuWindow
from guardian.sense.proc import CpuTicks


class SimulatedHost:
    """Readings of the host that `engine` simulates. They go on when the engine does not answer."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._cpu = CpuWindow()

    def read(self) -> HostReading:
        """`cpu_ratio` is the mean of the last 10 s, and unknown until there are so many."""
        reading, busy_core_s = self._engine.read_host()
        ticks = CpuTicks(busy_core_s, reading.at_s * reading.cores)
        return replace(reading, cpu_ratio=self._cpu.add(reading.at_s, ticks))
