"""Memory that a whole daemon is refused, on a host that has none left; other processes get theirs."""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class Allocations:
    """`environ` is for the process."""

    def __init__(self, folder: Path) -> None:
        library, numbers = folder / "allocations.so", folder / "allocations"
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, _SOURCE], check=True, capture_output=True
        )
        numbers.write_bytes(bytes(mmap.PAGESIZE))
        with numbers.open("r+b") as file:
            self._every = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environ = {"LD_PRELOAD": str(library), "GUARDIAN_TEST_ALLOCATIONS": str(numbers)}

    @contextmanager
    def failing(self, every: int) -> Iterator[None]:
        """Within, each `every`-th allocation of more than 4 KiB fails, in whatever thread."""
        struct.pack_into("=q", self._every, 0, every)
        try:
            yield
        finally:
            struct.pack_into("=q", self._every, 0, 0)
