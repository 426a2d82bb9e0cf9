"""Memory that a whole daemon is refused, on a host that has none left; other processes get theirs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.preload import preload

_SOURCE = Path(__file__).with_suffix(".c")


class Allocations:
    """`environ` is for the process."""

    def __init__(self, folder: Path) -> None:
        self._every, self.environ = preload(_SOURCE, folder, "GUARDIAN_TEST_ALLOCATIONS")

    @contextmanager
    def failing(self, every: int) -> Iterator[None]:
        """Within, each `every`-th allocation of more than 4 KiB fails, in whatever thread."""
        struct.pack_into("=q", self._every, 0, every)
        try:
            yield
        finally:
            struct.pack_into("=q", self._every, 0, 0)
