"""The small C programs of the bench, built on first use into .cache."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "bench"


@cache
def program(name: str) -> Path:
    """The program made of `name`.c in this folder."""
    source, built = Path(__file__).with_name(f"{name}.c"), CACHE / name
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", built, source], check=True)
    return built
