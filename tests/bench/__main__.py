"""`make bench`: measures the parts that were asked for, keeps the results, and says which targets are met."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil
from support.private_engine import EngineSetupError

from bench import results
from bench.calm import measure_calm
from bench.figures import Figure
from bench.peers import Peers, prepare
from bench.programs import CACHE
from bench.reaction import REFERENCE_BYTES, add_victims, measure_earlyoom, measure_fan_out, measure_reaction
from bench.report import page
from bench.results import Run
from bench.stage import REFERENCE_COUNT, Stage
from bench.targets import Measured, judge_growth, judge_ratios, judge_targets, number
from bench.thousand import SIZE as THOUSAND
from bench.thousand import measure_thousand
from bench.ticks import measure_growth, measure_ticks

ROOT = Path(__file__).parents[2]
RESULTS = CACHE / "results.json"
NOTES = Path(__file__).with_name("notes.md")  # where time and memory go, and why a target is missed: written by hand
PAGE, DATA = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json"
SIZES = (10, 32, 100, 300, THOUSAND)
REACTION_SIZES = (32, 300)
GROWTH_SIZES = (32, 300, THOUSAND)

Found = Iterator[tuple[int, list[Figure]]]


def ticks(sizes: Sequence[int], _peers: Peers, _options: argparse.Namespace) -> Found:
    for size in sizes:
        yield size, measure_ticks(size)


def growth(sizes: Sequence[int], _peers: Peers, _options: argparse.Namespace) -> Found:
    wanted = [size for size in sizes if size in GROWTH_SIZES]
    figures = measure_growth(wanted)
    for size in wanted:
        yield size, [figure for figure in figures if figure.size == size]


def calm(sizes: Sequence[int], peers: Peers, _options: argparse.Namespace) -> Found:
    wanted = [size for size in sizes if size < THOUSAND]
    with ExitStack() as stack:
        stage = stack.enter_context(Stage()) if wanted else None
        for size in wanted:
            assert stage is not None
            stage.grow_to(size)
            stage.settle()
            yield size, measure_calm(stage, peers)


def thousand(sizes: Sequence[int], _peers: Peers, _options: argparse.Namespace) -> Found:
    if THOUSAND in sizes:
        yield THOUSAND, measure_thousand()


def reaction(sizes: Sequence[int], peers: Peers, options: argparse.Namespace) -> Found:
    for size in sizes:
        if size not in REACTION_SIZES:
            continue
        with Stage(memory_bytes=REFERENCE_BYTES) as stage:
            stage.grow_to(size - 3)
            add_victims(stage)
            figures = measure_reaction(stage, options.runs)
        yield size, figures  # kept, should what follows fail
        yield size, [*figures, *measure_earlyoom(peers, size)]


def fan_out(sizes: Sequence[int], _peers: Peers, _options: argparse.Namespace) -> Found:
    if REFERENCE_COUNT in sizes:
        with Stage(memory_bytes=REFERENCE_BYTES) as stage:
            stage.grow_to(REFERENCE_COUNT)
            yield REFERENCE_COUNT, measure_fan_out(stage)


PARTS: Mapping[str, Callable[[Sequence[int], Peers, argparse.Namespace], Found]] = {
    "ticks": ticks,
    "growth": growth,
    "calm": calm,
    "thousand": thousand,
    "reaction": reaction,
    "fanout": fan_out,
}


def main() -> int:
    options = _options()
    kept = results.read(options.results)
    if not options.report:
        if os.geteuid() != 0:
            sys.stderr.write("bench: needs root for a Docker engine of its own\n")
            return 1
        CACHE.mkdir(parents=True, exist_ok=True)
        peers = prepare()
        machine = _machine(peers)
        for part in options.only or PARTS:
            try:
                began_s = time.monotonic()
                for size, figures in PARTS[part](options.sizes, peers, options):
                    took_s, began_s = time.monotonic() - began_s, time.monotonic()
                    run = Run(part, size, _now(), _command(), _commit(), machine, took_s, tuple(figures), peers.missing)
                    kept = results.merged(results.read(options.results), [run])
                    results.write(options.results, kept)
                    _show(run)
            except EngineSetupError as error:
                sys.stderr.write(f"bench: {error}\n")
                return 1
    measured = Measured(figure for run in kept.values() for figure in run.figures)
    for verdict in (*judge_targets(measured), *judge_ratios(measured), *judge_growth(measured)):
        word = {True: "met", False: "NOT MET", None: "not measured"}[verdict.met]
        sys.stdout.write(f"{word:13} {verdict.what}: {verdict.measured} (target {verdict.limit})\n")
    if options.write:
        PAGE.write_text(page(kept, NOTES.read_text()))
        results.write(DATA, kept)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="what guardian costs, beside what others cost")
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="numbers of containers, as 32,300; all unless set")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; may be given more than once")
    parser.add_argument("--runs", type=int, default=50, help="crossings of the hard mark, for the reaction")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept and merged")
    parser.add_argument("--report", action="store_true", help="measure nothing: only judge what is kept")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and .json from all that is kept")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.replace(",", " ").split())
    if not sizes or not set(sizes) <= set(SIZES):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(map(str, SIZES))}")
    return sizes


def _show(run: Run) -> None:
    sys.stdout.write(f"\n{run.part}, {run.size:,} containers, {run.at}, {run.took_s:.0f} s\n")
    for figure in run.figures:
        summary = figure.summary
        spread = f"{number(summary.least)} … {number(summary.most)}, n={summary.count}"
        sys.stdout.write(f"  {figure.kind:14} {figure.subject:26} {number(summary.median):>8}  ({spread})\n")
    sys.stdout.flush()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _command() -> str:
    return shlex.join(["make", "bench", *([f"ARGS={shlex.join(sys.argv[1:])}"] if len(sys.argv) > 1 else [])])


def _commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def _machine(peers: Peers) -> dict[str, str]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "cgroup": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
        "engine": _engine_version(),
        "Python": platform.python_version(),
        "peers": "; ".join(peers.versions.values()),
    }


def _engine_version() -> str:
    folder = os.environ.get("GUARDIAN_TEST_DOCKERD_DIR")
    path = ":".join([*([f"{folder}/usr/sbin"] if folder else []), os.environ.get("PATH", ""), "/usr/sbin"])
    said = subprocess.run(["env", f"PATH={path}", "dockerd", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "none"


if __name__ == "__main__":
    sys.exit(main())
