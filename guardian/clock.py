"""Clocks: every part that needs the time is given one of these, so that tests and replays own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time for durations, wall time for what people read and for what outlives a process."""

    def monotonic(self) -> float:
        """Seconds that never go back and do not count while the host sleeps."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def boottime(self) -> float:
        """Like `monotonic`, but a suspend counts."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class VirtualClock:
    """A clock that moves only when told to. All three readings move together unless stepped apart."""

    def __init__(self, monotonic_s: float = 1000.0, wall_s: float = 1_700_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._suspended_s = 0.0

    def monotonic(self) -> float:
        return self._monotonic_s

    def wall(self) -> float:
        return self._wall_s

    def boottime(self) -> float:
        return self._monotonic_s + self._suspended_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` ≥ 0 pass on every clock."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._monotonic_s += seconds
        self._wall_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does."""
        self._wall_s += seconds

    def suspend(self, seconds: float) -> None:
        """Let the host sleep: wall and boot time pass, monotonic time does not."""
        self._wall_s += seconds
        self._suspended_s += seconds
