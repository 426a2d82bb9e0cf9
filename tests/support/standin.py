"""The stand-in service of config/standin/standin.c: its program, its image, and what it says."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.images import import_image
from support.private_engine import PrivateEngine

IMAGE = "guardian-standin:1"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Stamp:
    """One block of memory that a stand-in took: sizes of all it held before and after, times of CLOCK_MONOTONIC."""

    from_bytes: int
    to_bytes: int
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class StandinStatus:
    well: bool
    held_bytes: int
    target_bytes: int
    cores: float
    cached_bytes: int
    cache_target_bytes: int


@cache
def standin_program() -> Path:
    """Built once for each run of the tests, and put where other runs that have the same source find it whole."""
    program = _ROOT / ".cache" / "standin"
    source = _ROOT / "config" / "standin" / "standin.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            built = Path(folder) / "standin"
            made = subprocess.run([_ROOT / "scripts" / "build-standin.sh", built], capture_output=True, text=True, check=False)
            assert made.returncode == 0, f"the stand-in service cannot be built: {made.stderr}"
            built.replace(program)  # whole or not at all: workers of pytest-xdist build side by side
    return program


def import_standin(engine: PrivateEngine) -> str:
    """Make the stand-in's image on `engine`; returns its name."""
    import_image(engine, IMAGE, {"standin": standin_program()}, changes=['ENTRYPOINT ["/standin"]'])
    return IMAGE


def read_stamps(log: str) -> list[Stamp]:
    """The stamps in a stand-in's log, oldest first."""
    stamps = []
    for line in log.splitlines():
        word, _, rest = line.partition(" ")
        if word == "touched":
            fields = {key: int(value) for key, value in (part.split("=") for part in rest.split())}
            stamps.append(Stamp(fields["from"], fields["to"], fields["begin_ns"] / 1e9, fields["end_ns"] / 1e9))
    return stamps


def crossed_s(stamps: list[Stamp], held_bytes: float) -> float:
    """When a stand-in that grew came to hold `held_bytes`: CLOCK_MONOTONIC seconds, between the stamps around it."""
    for stamp in stamps:
        if stamp.from_bytes <= held_bytes <= stamp.to_bytes:
            part = (held_bytes - stamp.from_bytes) / (stamp.to_bytes - stamp.from_bytes)
            return stamp.begin_s + part * (stamp.end_s - stamp.begin_s)
    raise AssertionError(f"no stamp covers {held_bytes:.0f} bytes: {stamps}")


def read_status(answer: str) -> StandinStatus:
    """From the answer to `ctl status` or `health`."""
    word, _, rest = answer.strip().partition(" ")
    fields = dict(part.split("=") for part in rest.split())
    return StandinStatus(
        well=word == "well",
        held_bytes=int(fields["held"]),
        target_bytes=int(fields["target"]),
        cores=float(fields["cpu"]),
        cached_bytes=int(fields["cached"]),
        cache_target_bytes=int(fields["cache_target"]),
    )
