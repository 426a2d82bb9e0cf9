"""Clocks of a whole daemon that a test sets, as an operator, NTP or a host that sleeps would; other processes keep theirs."""

from __future__ import annotations

import struct
from pathlib import Path

from support.preload import preload

_SOURCE = Path(__file__).with_suffix(".c")


class Clocks:
    """`environ` is for the process; its clocks are the machine's until `set_wall` or `sleep`."""

    def __init__(self, folder: Path) -> None:
        self._ahead, self.environ = preload(_SOURCE, folder, "GUARDIAN_TEST_CLOCKS")
        self._wall_s = self._boot_s = 0.0

    def set_wall(self, by_s: float) -> None:
        """Set the wall clock by so much, forward or (negative) back."""
        self._wall_s += by_s
        self._write()

    def sleep(self, seconds: float) -> None:
        """Let the host have slept: wall and boot time have passed, and monotonic time has not."""
        self._wall_s += seconds
        self._boot_s += seconds
        self._write()

    def _write(self) -> None:
        struct.pack_into("=2q", self._ahead, 0, int(self._wall_s * 1e9), int(self._boot_s * 1e9))
