"""`guardian storage`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import printable, show_json
from guardian.errors import GuardianError
from guardian.expose.orders import OrderKind
from guardian.units import format_bytes, format_seconds, format_time, format_use

LOOK_EVERY_S = 0.5

Values = Mapping[str, Any]


@click.command()
@click.option("--refresh", is_flag=True, help="Have it measured now, and wait for that: it can take the engine minutes.")
@daemon_command
def storage(refresh: bool, client: Client, as_json: bool) -> None:
    """Show what services keep on the engine's disk, how fast that grows, and what would free some of it.

    Measured every six hours, and never while memory or CPU run short. Logs of containers and bind mounts are in no figure but that of
    the file system. Guardian frees nothing itself.

    \b
    Examples:
      guardian storage
      guardian storage --refresh --json
    """
    shown = _measured(client) if refresh else client.status()
    found = shown["storage"]
    if as_json:
        show_json({"storage": found, "disk_level": shown["disk_level"], "phases": [_phase(one) for one in shown["phases"]]})
    elif found["at_wall_s"] is None:
        click.echo("Nothing was measured yet: it is ten minutes after the start, or by `guardian storage --refresh`.")
        if found["problem"]:
            click.echo(printable(f"The last attempt failed: {found['problem']}"))
    else:
        _draw(shown, found)


def _measured(client: Client) -> Values:
    """The status once it is measured anew."""
    reply = client.order(OrderKind.MEASURE)
    if not reply.ok:
        raise GuardianError(f"not measured: {reply.message}")
    while (shown := client.status())["storage"]["attempts"] <= reply.data["attempts"]:
        time.sleep(LOOK_EVERY_S)
    if problem := shown["storage"]["problem"]:
        raise GuardianError(f"not measured: {problem}")
    return shown


def _phase(one: Values) -> Values:
    return {name: one[name] for name in ("phase", "name", "storage_bytes", "storage_budget_bytes", "over")}


def _draw(shown: Values, found: Values) -> None:
    from guardian.cli.tables import console, table

    screen = console()
    for line in _lines(shown, found, format_time(found["at_wall_s"])):
        screen.print(printable(line))
    screen.print()
    screen.print(
        table(
            "Phases (each with all below it, against its budget)",
            ("phase", "storage", ""),
            (
                (
                    f"{one['phase']} {one['name']}",
                    format_use(one["storage_bytes"], one["storage_budget_bytes"], format_bytes),
                    "over budget" if "storage" in one["over"] else "",
                )
                for one in shown["phases"]
            ),
        )
    )
    screen.print(
        table(
            "Services",
            ("phase", "service", "layers", "volumes", "grows in a day"),
            (_service(one) for one in found["services"]),
            right=("layers", "volumes", "grows in a day"),
        )
    )
    if found["commands"]:
        screen.print(
            table(
                "What would free some of it (guardian runs none of these)",
                ("frees", "command", ""),
                ((format_bytes(one["frees_bytes"]), one["command"], one["note"]) for one in found["commands"]),
                right=("frees",),
            )
        )


def _lines(shown: Values, found: Values, measured: str) -> Iterator[str]:
    yield f"measured {measured}; the engine's file system: {format_bytes(found['used_bytes'])} of {format_bytes(found['size_bytes'])}"
    if found["full_in_s"] is not None:
        yield f"at the rate of the last days it is full in {format_seconds(found['full_in_s'])}"
    if shown["disk_level"] != "ok":
        yield f"disk: {shown['disk_level']}" + ("; nothing is started" if shown["disk_level"] == "hard" else "")
    if found["problem"]:
        yield f"the last attempt failed: {found['problem']}"


def _service(one: Values) -> Sequence[str]:
    rate = one["grows_bytes_per_s"]
    return (
        "-" if one["phase"] is None else str(one["phase"]),
        one["service"],
        format_bytes(one["layers_bytes"]),
        format_bytes(one["volumes_bytes"]),
        "?" if rate is None else format_bytes(rate * 86400),
    )
