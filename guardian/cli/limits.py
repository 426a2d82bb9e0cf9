"""`guardian limits`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardian.cli import completing, options
from guardian.cli.options import PATH, Duration, config_option, files_option, json_option
from guardian.cli.replies import printable, show_json
from guardian.config.load import load
from guardian.config.schema import Config, ServiceConfig
from guardian.errors import EngineError, GuardianError, UsageError
from guardian.limits.drift import drifted
from guardian.limits.plan import Change, Row, changes, each, outcome, proposal_of
from guardian.model import Container, Inventory, ServiceKey
from guardian.units import format_bytes

if TYPE_CHECKING:
    from guardian.engine.limits import InForce
    from guardian.engine.link import Link
    from guardian.engine.protocol import Engine
    from guardian.limits.override import Override
    from guardian.proposal.model import Use
    from guardian.sense.cgroups import CgroupReader

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Connection:
    """One engine, for reading and for raw calls."""

    config: Config
    engine: Engine
    link: Link
    reader: CgroupReader | None  # None: the engine alone tells what containers hold

    @property
    def timeout_s(self) -> float:
        return float(self.config.engine.timeout)

    def in_force(self, containers: Sequence[Container]) -> dict[str, InForce]:
        """By id; what has gone meanwhile is absent."""
        from guardian.engine.limits import read_limits

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda one: read_limits(self.link, one.id, self.timeout_s), containers)
            return {one.id: limits for one, limits in zip(containers, found, strict=True) if limits is not None}

    def footprints(self, containers: Sequence[Container]) -> dict[str, int | None]:
        """Of those that run, now; None where that is not known. By cgroup files: an old engine takes a second for the same."""
        running = [one for one in containers if one.state.up]
        found: dict[str, int | None] = dict.fromkeys(one.id for one in running)
        if self.reader is not None:
            self.reader.follow(running)
            found |= {id_: usage.footprint_bytes for id_, usage in self.reader.read().usage.items()}
        unread = [id_ for id_, footprint in found.items() if footprint is None]
        with suppress(EngineError):
            found |= {id_: stats.footprint_bytes for id_, stats in self.engine.stats(unread).items()} if unread else {}
        return found

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.engine.close()
        self.link.close()


@dataclass(frozen=True, slots=True)
class Applied:
    """How the update of one container ended; `failed` is empty where it is as the file wants it now."""

    container: Container
    failed: str = ""
    refused: bool = False


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]…", shell_complete=completing.managed)
@click.option("--apply", is_flag=True, help="Give running containers the limits of the file, without a restart.")
@click.option("--force", is_flag=True, help="With --apply: also a limit below what a container holds now.")
@click.option("--write", "output", type=PATH, metavar="FILE", help="Write a Compose file to lay over yours.")
@files_option("With --write: your Compose file")
@click.option(
    "--sample",
    "sample_s",
    type=Duration(),
    default="5s",
    show_default=True,
    help="How long to look at what was not recorded; 0: not.",
)
@config_option
@json_option
@click.pass_context
def limits(
    ctx: click.Context,
    services: tuple[str, ...],
    apply: bool,
    force: bool,
    output: Path | None,
    files: tuple[Path, ...],
    sample_s: float,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show, apply or write down the limits of services.

    Shows for one container of each service: the limits that the file has, those in force, the 95th percentile of its use (as guardian has recorded it over a
    week, else while this looks), and what that use calls for. --apply updates running containers and reads back what came of it; it refuses a memory limit
    below what a container holds now. --write makes a Compose file with the limits of the file, else those proposed, and the standard health check where there is none.

    \b
    Examples:
      guardian limits
      guardian limits elasticsearch --apply
      guardian limits --write compose.limits.yml -f compose.yml
    """
    if apply and output is not None:
        raise click.UsageError("Give --apply or --write, not both.")
    if force and not apply:
        raise click.UsageError("--force goes with --apply.")
    settings = load(config or options.DEFAULT_CONFIG, os.environ)
    connection = _connect(settings)
    try:
        rows = _rows(connection, services)
        if apply:
            ctx.exit(_apply(connection, rows, force, as_json))
        rows = [_with_use(row, use) for row, use in _uses(connection, rows, sample_s)]
    finally:
        connection.close()
    if output is not None:
        _write(rows, files, settings, output)
    elif as_json:
        show_json({"services": [_as_json(row) for row in rows]})
    else:
        _draw(rows)


def _connect(config: Config) -> Connection:
    from guardian.clock import SystemClock
    from guardian.engine.connect import open_engine, open_link, resolve
    from guardian.sense.cgroups import CgroupReader
    from guardian.telemetry import NullTelemetry

    clock = SystemClock()
    engine, link = open_engine(config, clock, NullTelemetry()), open_link(config, clock)
    remote = resolve(config.engine.url, os.environ).startswith("tcp://")
    return Connection(config, engine, link, None if remote or config.sampling.source == "engine" else CgroupReader(clock))


def _rows(connection: Connection, names: Sequence[str]) -> list[Row]:
    """Managed services, or those of them that are named, with what is in force."""
    from guardian.engine.protocol import Scope
    from guardian.policy.platform import resolve

    config = connection.config
    containers = connection.engine.containers(Scope(config.projects, config.containers))
    platform = resolve(config, Inventory(0.0, containers))
    if unknown := sorted(set(names) - {key.name for key in platform.services} - {str(key) for key in platform.services}):
        raise UsageError(
            f"no service {', '.join(unknown)} in {', '.join(config.projects) or 'the file'}; `guardian limits` shows them all"
        )
    chosen = {
        key: service
        for key, service in platform.services.items()
        if (not names or key.name in names or str(key) in names) and service.containers
    }
    in_force = connection.in_force([one for service in chosen.values() for one in service.containers])
    return [
        Row(
            key,
            _of(config, key).limits,
            _of(config, key).reservations,
            tuple((one, in_force[one.id]) for one in service.containers if one.id in in_force),
        )
        for key, service in chosen.items()
    ]


def _of(config: Config, key: ServiceKey) -> ServiceConfig:
    return config.services.get(key.name, ServiceConfig())


def _uses(connection: Connection, rows: Sequence[Row], sample_s: float) -> list[tuple[Row, Use | None]]:
    """Each service with the use of all its replicas, as recorded or as seen now."""
    from guardian.clock import SystemClock
    from guardian.proposal.recorded import recorded
    from guardian.proposal.sampling import sample

    found = dict(recorded(Path(connection.config.state_dir)))
    unseen = [one for row in rows if row.service not in found for one, _ in row.containers if one.state.up]
    if unseen and sample_s:
        click.echo(f"Looking for {sample_s:g} s at what {len(unseen)} containers use …", err=True)
        try:
            found |= sample(connection.engine, unseen, sample_s, SystemClock(), time.sleep)
        except EngineError as error:
            click.echo(f"No use was measured: {printable(str(error))}", err=True)
    return [(row, found.get(row.service)) for row in rows]


def _with_use(row: Row, use: Use | None) -> Row:
    of_one = each(use, max(1, sum(one.state.up for one, _ in row.containers)))
    return replace(row, use=of_one, proposed=proposal_of(of_one))


# --- apply ----------------------------------------------------------------------------------------------------------


def _apply(connection: Connection, rows: Sequence[Row], force: bool, as_json: bool) -> int:
    """Update what is not as the file has it; the exit code is 1 where one was refused or failed."""
    running = [one for row in rows for one, _ in row.containers if one.state.up]
    now = {one.id: limits for row in rows for one, limits in row.containers}
    wanted = changes(rows, connection.footprints(running), force)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = list(pool.map(lambda change: _update(connection, change, now[change.container.id]), wanted))
    if as_json:
        show_json(
            {
                "applied": [one.container.name for one in done if not one.failed],
                "refused": {one.container.name: one.failed for one in done if one.refused},
                "failed": {one.container.name: one.failed for one in done if one.failed and not one.refused},
                "unchanged": len(running) - len(done),
            }
        )
    else:
        for one in done:
            said = one.failed or "has the limits of the file"
            click.echo(printable(f"{one.container.name}: {'refused: ' if one.refused else ''}{said}"), err=bool(one.failed))
        bad = sum(bool(one.failed) for one in done)
        click.echo(f"{len(done) - bad} updated, {bad} not, {len(running) - len(done)} as they were.")
    return 1 if any(one.failed for one in done) else 0


def _update(connection: Connection, change: Change, now: InForce) -> Applied:
    """Change one container, and look what came of it: an answer of the engine alone is no proof."""
    from guardian.engine.limits import read_limits, update_limits, update_of

    container = change.container
    if change.refused:
        return Applied(container, change.refused, refused=True)
    body = update_of(now, change.memory_bytes, change.reservation_bytes, change.cores)
    try:
        if refusal := update_limits(connection.link, container.id, body, connection.timeout_s):
            return Applied(container, f"the engine refused it: {refusal}")
        return Applied(container, outcome(change, read_limits(connection.link, container.id, connection.timeout_s)))
    except EngineError as error:
        return Applied(container, str(error))


# --- write ----------------------------------------------------------------------------------------------------------


def _write(rows: Sequence[Row], files: Sequence[Path], config: Config, output: Path) -> None:
    from guardian.compose.command import ComposeCalls, find_compose
    from guardian.compose.files import find_files
    from guardian.compose.project import read_project
    from guardian.errors import ComposeError
    from guardian.limits.override import override_text

    project = read_project(tuple(files) or find_files(Path(), os.environ))
    overrides = [_override(row) for row in rows if not config.projects or row.service.project in config.projects]
    text = override_text(project, overrides)
    try:
        with output.open("x", encoding="utf-8") as file:  # nobody's file is overwritten
            file.write(text)
    except FileExistsError:
        raise GuardianError(f"{output} exists and is not overwritten; name another by --write") from None
    except OSError as error:
        raise GuardianError(f"{output} cannot be written: {error.strerror or error}; name another by --write") from None
    left_out = [one.service for one in overrides if one.service not in project.services]
    if left_out:
        click.echo(printable(f"not in {', '.join(map(str, project.files))}: {', '.join(left_out)}"), err=True)
    composes = find_compose(os.environ)
    for compose in composes[:1]:
        try:
            ComposeCalls(compose, (*project.files, output), project.directory, project.name).config()
        except ComposeError as error:
            raise GuardianError(f"{output} is written, and {compose.name} does not take it over your files:\n{error}") from None
        click.echo(f"{output} is written, and {compose.name} takes it over your files.")
    if not composes:
        click.echo(f"{output} is written. There is no Compose here to try it with.")


def _override(row: Row) -> Override:
    from guardian.limits.override import Override

    memory, cores = row.wanted.memory or row.proposed.memory_bytes, row.wanted.cpus or row.proposed.cores
    by_use = [
        name
        for name, wanted, value in (("memory", row.wanted.memory, memory), ("cpu", row.wanted.cpus, cores))
        if wanted is None and value is not None
    ]
    why = f"{' and '.join(by_use)} proposed from its use" if by_use else ""
    reservation = row.reserved.memory
    return Override(row.service.name, memory, None if reservation is None else int(reservation), cores, why)


# --- show -----------------------------------------------------------------------------------------------------------


def _drift(row: Row) -> list[str]:
    """What is not as the file has it, on any running container."""
    wanted = ServiceConfig(limits=row.wanted, reservations=row.reserved)
    found = [drifted(wanted, one) for one, _ in row.containers if one.state.up]
    return [resource for resource in ("memory", "cpu") if any(each_.get(resource) for each_ in found)]


def _as_json(row: Row) -> dict[str, Any]:
    """Of one container. Null: no limit, or not known."""
    return {
        "service": str(row.service),
        "configured": {"memory_bytes": _int(row.wanted.memory), "cores": _float(row.wanted.cpus)},
        "in_force": {
            one.name: {"memory_bytes": now.memory_bytes, "swap_bytes": now.swap_bytes, "cores": now.cores}
            for one, now in row.containers
        },
        "used_p95": {
            "memory_bytes": row.use.memory_bytes if row.use else None,
            "cores": row.use.cpu_cores if row.use else None,
            "samples": row.use.samples if row.use else 0,
        },
        "proposed": {"memory_bytes": row.proposed.memory_bytes, "cores": row.proposed.cores},
        "drift": _drift(row),
    }


def _draw(rows: Sequence[Row]) -> None:
    from guardian.cli.tables import console, table

    console().print(
        table(
            "Limits of one container of each service",
            (
                *("service", "memory: file", "in force", "used p95", "proposed"),
                *("cpu: file", "in force ", "used p95 ", "proposed ", ""),
            ),
            (_cells(row) for row in rows),
            right=("memory: file", "in force", "used p95", "proposed", "cpu: file", "in force ", "used p95 ", "proposed "),
        )
    )


def _cells(row: Row) -> tuple[str, ...]:
    memory = {now.memory_bytes for _, now in row.containers}
    cores = {now.cores for _, now in row.containers}
    drift = _drift(row)
    return (
        str(row.service),
        _size(row.wanted.memory),
        " / ".join(sorted(_size(one) for one in memory)),
        "?" if row.use is None else format_bytes(row.use.memory_bytes),
        "?" if row.proposed.memory_bytes is None else _size(row.proposed.memory_bytes),
        _cores(row.wanted.cpus),
        " / ".join(sorted(_cores(one) for one in cores)),
        "?" if row.use is None or row.use.cpu_cores is None else f"{row.use.cpu_cores:.2f}",
        "?" if row.proposed.cores is None else _cores(row.proposed.cores),
        f"{' and '.join(drift)} not as in the file" if drift else "",
    )


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else format_bytes(size_bytes)


def _cores(cores: float | None) -> str:
    return "-" if cores is None else f"{cores:.2f}"


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
