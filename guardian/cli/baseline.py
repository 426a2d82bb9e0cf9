"""`guardian baseline`."""

from __future__ import annotations

from pathlib import Path

import click

from guardian.cli.client import Client
from guardian.cli.options import Duration, config_option, daemon_command, directory_option, json_option, state_dir
from guardian.cli.replies import show_json
from guardian.cli.report import collect
from guardian.objectives import baseline as baselines
from guardian.units import format_time

_directory = directory_option("Where the figures are.  [default: as in the file]")


@click.group()
def baseline() -> None:
    """Keep figures under a name, to compare later reports with.

    Save one when the platform is as it should be: after a phase was brought up, before an update. `guardian report` then shows what
    has changed since.

    \b
    Examples:
      sudo guardian baseline save after-phase-1
      guardian baseline list
    """


@baseline.command()
@click.argument("name")
@click.option(
    "--since",
    "since_s",
    type=Duration(),
    default="24h",
    metavar="DURATION",
    show_default=True,
    help="The time it is made of, up to now.",
)
@click.option("--replace", is_flag=True, help="Also where there is one of that name.")
@_directory
@daemon_command
def save(name: str, since_s: float, replace: bool, directory: Path | None, client: Client, as_json: bool) -> None:
    """Keep the figures of the last 24 hours as NAME.

    \b
    Examples:
      sudo guardian baseline save after-phase-1
      sudo guardian baseline save before-update --since 7d
    """
    made = collect(directory, since_s, client)
    directory = directory or state_dir(click.get_current_context().params.get("config"))
    path = baselines.save(directory, name, made, replace)
    if as_json:
        show_json({"name": name, "file": str(path), "from_wall_s": made["from_wall_s"], "until_wall_s": made["until_wall_s"]})
    else:
        click.echo(f"{name}: {len(made['services'])} services, in {path}")


@baseline.command("list")
@_directory
@config_option
@json_option
def list_(directory: Path | None, config: Path | None, as_json: bool) -> None:
    """List the baselines, oldest first.

    \b
    Examples:
      guardian baseline list
    """
    found = baselines.every(directory or state_dir(config))
    if as_json:
        keys = ("name", "made_wall_s", "from_wall_s", "until_wall_s")
        show_json({"baselines": [{key: one[key] for key in keys} for one in found]})
        return
    if not found:
        click.echo("There is no baseline yet: `guardian baseline save NAME` makes one.")
        return
    from guardian.cli.tables import console, table

    rows = (
        (one["name"], format_time(one["made_wall_s"]), format_time(one["from_wall_s"]), format_time(one["until_wall_s"]))
        for one in found
    )
    console().print(table("", ("name", "saved", "from", "to"), rows))
