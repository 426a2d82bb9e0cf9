"""`guardian check`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from guardian.cli.options import PATH
from guardian.cli.replies import printable, show_json
from guardian.config.compare import Finding, compare
from guardian.config.load import load, warnings
from guardian.config.schema import Config, DiskThresholds, Thresholds
from guardian.errors import ConfigError, GuardianError, Problem
from guardian.model import Container, Mode, Signal
from guardian.units import spell


@click.command()
@click.argument("file", type=PATH)
@click.option("--engine", "with_engine", is_flag=True, help="Compare the file with what runs, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, file: Path, with_engine: bool, as_json: bool) -> None:
    """Check a configuration file, and show what it comes to.

    Reports every mistake at once, each with its line and what is allowed, and ends with 78; else ends with 0. GUARDIAN_* variables count as they
    do for the daemon. With --engine, also reports services without a container, containers in no phase, what dependencies keep from being
    shed, and what has no health check or memory limit; ends with 69 where no engine answers.

    \b
    Examples:
      guardian check config/guardian.yaml
      guardian check /etc/guardian/guardian.yaml --engine
      guardian check guardian.yaml --json
    """
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        _refused(file, error, as_json)
        ctx.exit(error.exit_code)
    doubts = warnings(config, os.environ, str(file))
    findings: tuple[Finding, ...] | None = None
    failure: GuardianError | None = None
    if with_engine:
        try:
            findings = compare(config, _containers(config))
        except GuardianError as error:
            failure = error
    if as_json:
        show_json(_as_json(file, config, doubts, findings, failure))
    else:
        _draw(file, config, doubts, findings)
    if failure is not None:
        click.echo(f"Error: {printable(failure.in_full())}", err=True)
        ctx.exit(failure.exit_code)


def _refused(file: Path, error: ConfigError, as_json: bool) -> None:
    for problem in error.problems:
        click.echo(printable(str(problem)), err=True)
    count = len(error.problems)
    click.echo(f"{count} mistake{'' if count == 1 else 's'}; this configuration cannot be used", err=True)
    if as_json:
        show_json({"ok": False, "file": str(file), "problems": [_problem(problem) for problem in error.problems]})


def _containers(config: Config) -> tuple[Container, ...]:
    """Everything in scope. EngineError where no engine answers."""
    from guardian.clock import SystemClock
    from guardian.engine.connect import open_engine
    from guardian.engine.protocol import Scope
    from guardian.telemetry import NullTelemetry

    engine = open_engine(config, SystemClock(), NullTelemetry())
    try:
        return engine.containers(Scope(config.projects, config.containers))
    finally:
        engine.close()


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
    }


def _as_json(
    file: Path,
    config: Config,
    doubts: Sequence[Problem],
    findings: Sequence[Finding] | None,
    failure: GuardianError | None,
) -> dict[str, Any]:
    """Sizes in bytes, ratios 0 to 1, durations in seconds. `findings` is null unless --engine reached one."""
    return {
        "ok": True,
        "file": str(file),
        "problems": [],
        "warnings": [_problem(doubt) for doubt in doubts],
        "mode": config.mode.value,
        "projects": list(config.projects),
        "containers": list(config.containers),
        "phases": [
            {
                "phase": phase.phase,
                "name": phase.name,
                "protected": phase.protected,
                "mode": phase.mode.value,
                "services": list(phase.services),
                "budget": {
                    "memory_bytes": _int(phase.budget.memory),
                    "cpu_ratio": phase.budget.cpu.ratio if phase.budget.cpu else None,
                    "cpu_cores": phase.budget.cpu.cores if phase.budget.cpu else None,
                    "storage_bytes": _int(phase.budget.storage),
                },
            }
            for phase in config.phases
        ],
        "thresholds": {signal.value: _marks(config, signal) for signal in _signals(config)},
        "engine_error": None if failure is None else str(failure),
        "findings": None
        if findings is None
        else [{"kind": finding.kind.value, "subject": finding.subject, "message": finding.message} for finding in findings],
    }


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _signals(config: Config) -> tuple[Signal, ...]:
    """Those that there are: the platform's only where its capacity is set."""
    absent = {
        signal
        for signal, capacity in ((Signal.PLATFORM_MEMORY, config.host.memory), (Signal.PLATFORM_CPU, config.host.cpu))
        if capacity is None
    }
    return tuple(signal for signal in Signal if signal not in absent)


def _marks(config: Config, signal: Signal) -> dict[str, float] | None:
    """None where the signal is off."""
    marks = config.thresholds.of(signal)
    return None if marks is None else {name: float(getattr(marks, name)) for name in marks.__struct_fields__}


def _draw(file: Path, config: Config, doubts: Sequence[Problem], findings: Sequence[Finding] | None) -> None:
    from guardian.cli import tables

    console = tables.console()
    scope = [f"project {', '.join(config.projects)}"] if config.projects else []
    scope += [f"containers {', '.join(config.containers)}"] if config.containers else []
    console.print(printable(f"{file}: mode {config.mode}, {'; '.join(scope)}"), style="bold")
    console.print(
        tables.table(
            "Phases (budgets are cumulative)",
            ("phase", "name", "memory", "cpu", "storage", "services", ""),
            (
                (
                    str(phase.phase),
                    phase.name,
                    *(_budget(getattr(phase.budget, resource)) for resource in ("memory", "cpu", "storage")),
                    f"{len(phase.services)}: {', '.join(phase.services)}",
                    ", ".join(["protected"] * phase.protected + ["observed only"] * (phase.mode is Mode.OBSERVE)),
                )
                for phase in config.phases
            ),
            right=("phase", "memory", "cpu", "storage"),
        )
    )
    console.print(
        tables.table(
            "Thresholds in force",
            ("signal", "soft", "hard", "recover"),
            ((signal.value, *_threshold_cells(config, signal)) for signal in _signals(config)),
        )
    )
    if findings is not None:
        console.print(
            tables.table(
                f"Against what runs: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}",
                ("finding", "service or container", "what it means"),
                _grouped(findings),
            )
        )
    for doubt in doubts:
        console.print(printable(f"warning: {doubt.path}: {doubt.message}"), soft_wrap=True)
    console.print(printable(f"{file}: no mistakes"), soft_wrap=True)


def _grouped(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """One row for all that have the same said of them."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        subjects.setdefault((finding.kind.value.replace("_", " "), finding.message), []).append(finding.subject)
    return [(kind, ", ".join(names), message) for (kind, message), names in subjects.items()]


def _budget(value: object) -> str:
    return "-" if value is None else spell(value)


def _threshold_cells(config: Config, signal: Signal) -> tuple[str, str, str]:
    marks = config.thresholds.of(signal)
    if marks is None:
        return "off", "", ""
    hard = "-"
    if isinstance(marks, Thresholds | DiskThresholds):
        hard = f"{spell(marks.hard)} for {spell(marks.hard_for)}"
    return f"{spell(marks.soft)} for {spell(marks.soft_for)}", hard, f"{spell(marks.recover)} for {spell(marks.recover_for)}"
