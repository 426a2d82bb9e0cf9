"""A library that is loaded into a process before its own, and a page of numbers that a test writes and the library reads."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path


def preload(source: Path, folder: Path, variable: str) -> tuple[mmap.mmap, dict[str, str]]:
    """Compile `source` into `folder`. The page, all zeros, and the environment of the process, which names it by `variable`."""
    library, numbers = folder / f"{source.stem}.so", folder / source.stem
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True
    )
    numbers.write_bytes(bytes(mmap.PAGESIZE))
    with numbers.open("r+b") as file:
        page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    return page, {"LD_PRELOAD": str(library), variable: str(numbers)}
