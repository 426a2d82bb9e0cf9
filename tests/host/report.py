"""The report of a run of `make test-host`: its figures as the tables that docs/reliability.md shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from host.scenarios import ENDLESS, HOGS, OVERLOAD, PATIENCE_S, PHASES

Figures = Mapping[str, Any]


def overload_table(rows: Iterable[Figures]) -> str:
    """One row for each scenario and what guarded the host."""
    lines = [
        "| overload | guarded by | kernel OOM kills | containers that ended | core probes unanswered | p99 idle | p99 | highest use |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row["scenario"],
            row["guarded_by"],
            _list(row["kernel_oom_kills"]),
            _ended(row["ended"]),
            f"{row['unanswered']} of {row['probes']}",
            _milliseconds(row["p99_idle_s"]),
            _milliseconds(row["p99_s"]),
            f"{row['memory_highest_ratio']:.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read(folder: Path) -> list[Figures]:
    """The rows that were recorded in `folder`, by scenario, guardian first."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("overload-*.json"))]
    scenarios = [scenario.name for scenario in (OVERLOAD, *HOGS, ENDLESS)]
    return sorted(rows, key=lambda row: (scenarios.index(row["scenario"]), row["guarded_by"] != "guardian"))


def _ended(ended: list[str]) -> str:
    """Those of the core, and when; of the others how many of which phase."""
    phases = [(one, PHASES.get(one.partition(" ")[0], 0)) for one in ended]
    core = [f"**{one}**" for one, phase in phases if phase == 1]
    counts = sorted(Counter(phase for _, phase in phases if phase > 1).items(), reverse=True)
    return _list(core + [f"{count} of phase {phase}" for phase, count in counts])


def _list(items: list[str]) -> str:
    return ", ".join(items) or "none"


def _milliseconds(seconds: float) -> str:
    return f"over {PATIENCE_S:.0f} s" if seconds == float("inf") else f"{seconds * 1000:.0f} ms"
