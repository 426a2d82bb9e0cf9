"""Results on disk: one entry for each part at each size, so that a later run of one part replaces just that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import KINDS, Figure
from bench.stats import Summary


@dataclass(frozen=True, slots=True)
class Run:
    """One part at one size, with where and how it was measured."""

    part: str
    size: int
    at: str  # date and time, UTC
    command: str
    commit: str
    machine: Mapping[str, str]
    took_s: float  # with making the containers for it
    figures: tuple[Figure, ...]
    missing: Mapping[str, str] = field(default_factory=dict)  # peers that could not be had, and why

    @property
    def name(self) -> str:
        return f"{self.part}/{self.size}"


def merged(before: Mapping[str, Run], runs: Sequence[Run]) -> dict[str, Run]:
    """What was there, with what was measured now in place of the same parts."""
    return {**before, **{run.name: run for run in runs}}


def to_json(runs: Mapping[str, Run]) -> str:
    return json.dumps({name: asdict(run) for name, run in sorted(runs.items())}, indent=1) + "\n"


def from_json(text: str) -> dict[str, Run]:
    """Figures of kinds that there are no more are left out."""
    return {name: _run(written) for name, written in json.loads(text).items()}


def _run(written: Mapping[str, Any]) -> Run:
    figures = tuple(
        Figure(one["kind"], one["subject"], one["size"], Summary(**one["summary"]))
        for one in written["figures"]
        if one["kind"] in KINDS
    )
    return Run(**{**written, "figures": figures})


def read(path: Path) -> dict[str, Run]:
    return from_json(path.read_text()) if path.exists() else {}


def write(path: Path, runs: Mapping[str, Run]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(runs))
