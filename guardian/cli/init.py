"""`guardian init`."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardian.cli import options
from guardian.cli.options import PATH, Duration, files_option
from guardian.cli.replies import printable
from guardian.config.load import loads
from guardian.errors import ConfigError, EngineError, GuardianError
from guardian.proposal.budgets import with_budgets
from guardian.proposal.candidates import by_name, of_project, of_running
from guardian.proposal.model import Candidate, Proposal, Use
from guardian.proposal.phases import propose
from guardian.proposal.write import write

if TYPE_CHECKING:
    from guardian.config.schema import Config
    from guardian.model import Container

DEFAULT_OUTPUT = Path("guardian.yaml")
OWN_IMAGE = "guardian"


@dataclass(frozen=True, slots=True)
class Look:
    """How to find out what services use: the engine to ask, for how long, and what was recorded."""

    config: Config
    for_s: float
    state_dir: Path


@dataclass(slots=True)
class Material:
    """What a proposal is made from."""

    source: str
    candidates: list[Candidate]
    projects: tuple[str, ...]
    uses: Mapping[str, Use] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@click.command()
@files_option("A Compose file")
@click.option(
    "--project", "-p", "projects", multiple=True, metavar="NAME", help="The Compose project; with --running, several."
)
@click.option("--running", is_flag=True, help="Propose for what runs now, and read no Compose file.")
@click.option(
    "--output",
    "-o",
    type=PATH,
    default=DEFAULT_OUTPUT,
    show_default=True,
    metavar="FILE",
    help="Where to write; - is the standard output. A file that exists is never overwritten.",
)
@click.option("--diff", is_flag=True, help="Write nothing; show how the proposal differs from the file that exists.")
@click.option(
    "--sample",
    "sample_s",
    type=Duration(),
    default="10s",
    show_default=True,
    help="How long to look at what services use; 0: not.",
)
@click.option(
    "--state-dir",
    type=PATH,
    metavar="DIR",
    help=f"Where guardian has recorded what services used.  [default: {options.DEFAULT_STATE_DIR}]",
)
@click.option("--engine", "engine_url", default="auto", show_default=True, metavar="URL", help="The engine to ask.")
def init(
    files: tuple[Path, ...],
    projects: tuple[str, ...],
    running: bool,
    output: Path,
    diff: bool,
    sample_s: float,
    state_dir: Path | None,
    engine_url: str,
) -> None:
    """Propose a configuration for a Compose project, or for what runs now.

    Puts every service into a phase by what it is, what needs it and what it publishes, and writes why beside it; what cannot be managed is listed. Budgets
    come from what services used: as guardian has recorded it over a week, else while this looks (95th percentile and a quarter); else from their limits.
    Nothing is overwritten.

    \b
    Examples:
      guardian init
      guardian init -f compose.yml -f compose.prod.yml -o /etc/guardian/guardian.yaml
      guardian init --running --sample 1m
      guardian init --diff -o /etc/guardian/guardian.yaml
    """
    if running and files:
        raise click.UsageError("Give --file or --running, not both.")
    if len(projects) > 1 and not running:
        raise click.UsageError("A Compose file is of one project; give --project once.")
    if diff and not output.is_file():
        raise click.UsageError(f"--diff: there is no file {output} to compare with.")
    to_stdout = str(output) == "-"
    if output.exists() and not diff and not to_stdout:
        raise GuardianError(
            f"{output} exists and is not overwritten; see what would change by --diff, or name another by --output"
        )
    look = Look(_engine_config(engine_url), sample_s, state_dir or options.DEFAULT_STATE_DIR)
    material = _of_running(look, projects) if running else _of_files(look, files, projects)
    proposal = propose(material.candidates)
    proposal = Proposal(with_budgets(proposal.phases, material.uses), proposal.unplaced, proposal.notes)
    text = write(proposal, material.projects, material.source, material.notes)
    loads(text, "the proposal")
    if diff:
        _show_diff(output, text)
    elif to_stdout:
        click.echo(text.encode(errors="replace"), nl=False)  # as a file has it, whatever the locale
    else:
        _create(output, text)
        _summary(proposal, material, output)


def _engine_config(url: str) -> Config:
    """Enough of a configuration to open an engine by."""
    from guardian.config.schema import Config, EngineConfig, PhaseConfig

    return Config(version=1, phases=(PhaseConfig(phase=1),), engine=EngineConfig(url=url))


def _of_files(look: Look, files: Sequence[Path], projects: Sequence[str]) -> Material:
    from guardian.compose.files import find_files
    from guardian.compose.project import read_project

    if not files:
        try:
            files = find_files(Path(), os.environ)
        except ConfigError as error:
            raise GuardianError(f"{error}, or propose for what runs by --running") from None
    project = read_project(files, projects[0] if projects else None)
    names = ", ".join(str(file) for file in project.files)
    material = Material(f"{names}, read by {project.read_by}", of_project(project), (project.name,))
    material.notes.extend(str(problem) for problem in project.problems)
    try:
        containers = _containers(look.config, (project.name,), ())
        missing = sorted({one.service.name for one in containers if not one.oneoff} - project.services.keys())
        if missing:
            material.notes.append(
                f"containers of project {project.name} that these files have no service for: {', '.join(missing)}"
            )
    except EngineError as error:
        containers = ()
        material.notes.append(f"the engine was not asked: {error}")
    material.uses = _uses(look, containers, (project.name,), ())
    return material


def _of_running(look: Look, projects: Sequence[str]) -> Material:
    from guardian.clock import SystemClock
    from guardian.engine.connect import open_link
    from guardian.engine.survey import survey
    from guardian.proposal.kinds import image_name

    link = open_link(look.config, SystemClock())
    try:
        seen = survey(link, float(look.config.engine.timeout))
    finally:
        link.close()
    wanted = [one for one in seen if not one.oneoff and image_name(one.image) != OWN_IMAGE]
    found = tuple(sorted({one.project for one in wanted if one.project}))
    if unknown := sorted(set(projects) - set(found)):
        raise GuardianError(
            f"no container of project {', '.join(unknown)}; name one that runs by --project: {', '.join(found) or 'there is none'}"
        )
    chosen = tuple(projects) or found
    lone = () if projects else tuple(sorted(one.name for one in wanted if not one.project and one.running))
    containers = _containers(look.config, chosen, lone)
    if not containers:
        raise GuardianError("the engine has no containers to propose for; start some, or name a Compose file by --file")
    material = Material("what runs on the engine", of_running(containers, {one.id: one for one in wanted}), chosen)
    material.uses = _uses(look, containers, chosen, lone)
    return material


def _containers(config: Config, projects: tuple[str, ...], lone: tuple[str, ...]) -> tuple[Container, ...]:
    from guardian.clock import SystemClock
    from guardian.engine.connect import open_engine
    from guardian.engine.protocol import Scope
    from guardian.telemetry import NullTelemetry

    engine = open_engine(config, SystemClock(), NullTelemetry())
    try:
        return engine.containers(Scope(projects, lone))
    finally:
        engine.close()


def _uses(look: Look, containers: Sequence[Container], projects: Sequence[str], lone: Sequence[str]) -> Mapping[str, Use]:
    """What services use, by name: as recorded, else as seen now; nothing of those that have not run, or where nobody waits."""
    from guardian.clock import SystemClock
    from guardian.engine.connect import open_engine
    from guardian.proposal.recorded import recorded
    from guardian.proposal.sampling import sample
    from guardian.telemetry import NullTelemetry

    past = recorded(look.state_dir)
    found = {key: use for key, use in past.items() if (key.project in projects if key.project else key.name in lone)}
    running = [one for one in containers if one.state.up and one.service not in found]
    if running and look.for_s:
        click.echo(f"Looking for {look.for_s:g} s at what {len(running)} containers use …", err=True)
        clock = SystemClock()
        engine = open_engine(look.config, clock, NullTelemetry())
        try:
            found |= sample(engine, running, look.for_s, clock, time.sleep)
        except EngineError as error:
            click.echo(f"No use was measured: {printable(str(error))}", err=True)
        finally:
            engine.close()
    return by_name(found)


def _show_diff(output: Path, text: str) -> None:
    before = output.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    lines = list(difflib.unified_diff(before, text.splitlines(keepends=True), str(output), "proposed"))
    for line in lines:
        click.echo(printable(line.rstrip("\n")))
    if not lines:
        click.echo(f"{output} is what would be proposed.", err=True)


def _create(output: Path, text: str) -> None:
    try:
        with output.open("x", encoding="utf-8") as file:  # never over one that has come meanwhile
            file.write(text)
    except OSError as error:
        raise GuardianError(f"{output} cannot be written: {error.strerror or error}; name another by --output") from None


def _summary(proposal: Proposal, material: Material, output: Path) -> None:
    for phase in proposal.phases:
        names = ", ".join(placed.candidate.name for placed in phase.services)
        click.echo(printable(f"phase {phase.number} {phase.name}: {names}"))
    if proposal.unplaced:
        click.echo(printable(f"in no phase: {', '.join(name or '(no name)' for name in proposal.unplaced)}"))
    notes = len(proposal.notes) + len(material.notes)
    click.echo(
        f"Written to {output}, with a reason for each"
        + (f" and {notes} thing{'s' * (notes > 1)} to look at." if notes else ".")
    )
    click.echo(f"Next: read it, then `guardian check --engine {output}`.")
