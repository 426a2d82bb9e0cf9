"""The page that people read: targets, ratios and every figure, as Markdown. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bench.figures import GUARDIAN, KINDS, SUBJECTS
from bench.results import Run
from bench.targets import (
    LINEAR_SLACK,
    Measured,
    Verdict,
    judge_growth,
    judge_ratios,
    judge_targets,
    number,
    per_container,
    ratio_of,
)

INTRODUCTION = """\
<!-- written by `make bench ARGS=--write`; do not edit -->
# Benchmarks

What Guardian costs, beside what else people run on such a host, measured on the same machine in the same run. `make bench` measures it anew: it needs
root, starts a Docker engine of its own, and takes about {minutes} minutes. `make bench SIZES=32` measures one size, `ARGS='--only reaction'` one
part; results of parts are kept and merged in `.cache/bench/results.json`. The figures below with their spread are in
[benchmarks.json](benchmarks.json).
"""

HOW = """\
## How it is measured, and what that leaves open

- The containers are stand-ins (`config/standin`): the 32 services of the reference platform, then small ones. All of them work a little ten times
  a second, so that something moves in every container between two readings. Nothing is restarted, and no health check runs, during a measurement.
- CPU is the kernel's own count for the whole process, threads that ended included, in nanoseconds; of the engine it is dockerd, containerd and every
  shim. Guardian asks so little of the engine that this is far below what an engine at rest varies by. So it is counted: how many calls of each kind
  Guardian's own metrics show for the window, times what one such call costs the engine, made up to 1,000 times over. For the others, the engine's CPU
  without anybody asking is measured before, between and after, and its median is subtracted.
- A figure is the median of several runs after a warm-up; benchmarks.json has the least, the greatest and the 99th percentile. With 50 runs the 99th
  percentile is the slowest one.
- Peers read as rarely as Guardian or more rarely, and only what it reads: `docker stats --no-stream` and Glances each 5 s, Glances with its plugins for CPU,
  memory, swap, load and containers alone; cAdvisor with `--docker_only`. So the ratios are on the low side of what a default installation shows.
- The ratio to `docker stats` is that of one sampling of all containers: one reading of the cgroup files, which asks the engine for nothing, and
  one `docker stats --no-stream`, the engine's CPU included. In `CPU, with the engine's share` both run at their pace.
- node-exporter and earlyoom read the host and no containers; earlyoom's reaction is to the host's memory, Guardian's to that of the platform.
- At 1,000 the containers are bare cgroups, each with a process that wakes once a second, and the engine is a stand-in that answers with a list of them:
  its CPU is not Docker's, and only Guardian's own is shown.
- Decisions, ticks and memory over time are measured on a made-up host with a virtual clock, without an engine; `one host tick in the running daemon` is
  from the real one. The reaction has a proxy before the engine's socket, which adds about a millisecond; the hog's stamps are
  20 ms apart, and between them its growth is taken as even.
- The machine is a virtual one with {cores} cores that others may share: small differences mean nothing.
"""


def page(runs: Mapping[str, Run], notes: str = "") -> str:
    """The whole page for what was measured. `notes`: what a person has to say of it, as Markdown."""
    measured = Measured(figure for run in runs.values() for figure in run.figures)
    newest = max(runs.values(), key=lambda run: run.at)
    missing = {name: why for run in runs.values() for name, why in run.missing.items()}
    parts = [
        INTRODUCTION.format(minutes=math.ceil(sum(run.took_s for run in runs.values()) / 60)),
        "\n".join(f"- {name}: {value}" for name, value in _where(runs).items()) + "\n",
        "## Targets\n\n" + _verdicts(judge_targets(measured)),
        "## Beside others\n\n" + _verdicts(judge_ratios(measured)),
        "## Growth\n\nNo cost may grow faster than the number of containers (measured costs scatter:"
        f" {LINEAR_SLACK:g} times that still counts).\n\n" + _verdicts(judge_growth(measured)),
        *([notes] if notes else []),
        "## Figures\n\nMedians; in brackets how many times Guardian's.\n\n" + _figures(measured),
        HOW.format(cores=newest.machine.get("cores", "a few")),
    ]
    if missing:
        parts.append("Not to be had on this machine: " + "; ".join(f"{name} ({why})" for name, why in missing.items()) + ".\n")
    return "\n".join(parts)


def _where(runs: Mapping[str, Run]) -> dict[str, str]:
    """The machine and the commands; where parts were measured on different ones, all of them."""
    where: dict[str, str] = {}
    for key in dict.fromkeys(key for run in runs.values() for key in run.machine):
        where[key] = " / ".join(dict.fromkeys(run.machine[key] for run in runs.values() if key in run.machine))
    times = sorted(run.at for run in runs.values())
    where["measured"] = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
    where["commit"] = ", ".join(dict.fromkeys(run.commit for run in runs.values()))
    where["command"] = ", ".join(f"`{command}`" for command in dict.fromkeys(run.command for run in runs.values()))
    return where


def _verdicts(verdicts: Iterable[Verdict]) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    rows = [(one.what, one.limit, one.measured, words[one.met]) for one in verdicts]
    return table(("figure, containers", "target", "measured", ""), rows)


def _figures(measured: Measured) -> str:
    sections = []
    for name, kind in KINDS.items():
        of_kind = [figure for figure in measured if figure.kind == name]
        if not of_kind:
            continue
        sizes = sorted({figure.size for figure in of_kind})
        found = dict.fromkeys(figure.subject for figure in of_kind)
        subjects = [subject for subject in (*SUBJECTS, *sorted(found.keys() - set(SUBJECTS))) if subject in found]
        rows = [(subject, *(_cell(measured, name, size, subject) for size in sizes)) for subject in subjects]
        slope = per_container(measured, name) if kind.growth else None
        each = "" if slope is None else f" Guardian, for each further container: {number(slope)} {kind.unit}."
        head = (f"{kind.unit}, by containers", *(f"{size:,}" for size in sizes))
        sections.append(f"### {kind.title[:1].upper()}{kind.title[1:]}\n\n{kind.compared}{each}\n\n{table(head, rows)}")
    return "\n".join(sections)


def _cell(measured: Measured, kind: str, size: int, subject: str) -> str:
    summary = measured.find(kind, size, subject)
    if summary is None:
        return ""
    shown = number(summary.median)
    if kind.startswith("reaction"):
        shown += f", p99 {number(summary.p99)}"
    ratio = None if subject == GUARDIAN else ratio_of(summary, measured.find(kind, size))
    return shown if ratio is None else f"{shown} ({number(ratio)} ×)"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
