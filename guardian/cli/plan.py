"""`guardian plan`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from guardian.cli.client import Client
from guardian.cli.options import DEFAULT_CONFIG, Share, daemon_command
from guardian.cli.replies import show_json
from guardian.errors import UnreachableError
from guardian.units import format_bytes, format_cores, format_ratio

BETWEEN_S = 1.0  # two readings of CPU
WORDS = {
    "not_needed": "not needed",
    "too_small": "gives back too little",
    "unknown_use": "what it uses is unknown",
    "after_unknown": "what goes before it is of unknown use: that is seen first",
    "overridden": "somebody started it: left alone for ten minutes",
    "starting_up": "still starting up",
    "not_running": "does not run",
    "protect": "protected: absolutely",
    "protected": "its phase is protected",
    "pinned": "pinned by an operator",
    "phase_observed": "its phase is in observe",
    "required": "required by one that stays",
    "in_flight": "being stopped or started right now",
    "retry_later": "its last stop failed a moment ago",
}


@click.command()
@click.option("--memory", type=Share(), metavar="SHARE", help="If the host's memory were at this, such as 95%.")
@click.option("--cpu", type=Share(), metavar="SHARE", help="If the host's CPU were at this.")
@click.option(
    "--platform-memory", type=Share(), metavar="SHARE", help="If the platform's memory were at this part of host.memory."
)
@click.option("--platform-cpu", type=Share(), metavar="SHARE", help="If the platform's CPU were at this part of host.cpu.")
@daemon_command
def plan(
    memory: float | None,
    cpu: float | None,
    platform_memory: float | None,
    platform_cpu: float | None,
    client: Client,
    as_json: bool,
) -> None:
    """Show who would be shed now, in which order, what each gives back, and where it would stop.

    Without an option: memory at its hard mark, or where it is now if that is higher. The daemon is asked; while it is down, the
    engine and the host are read, and what an operator has pinned is not known. Nothing is stopped.

    \b
    Examples:
      guardian plan
      guardian plan --memory 95%
      guardian plan --cpu 100% --json
    """
    given = {"memory": memory, "cpu": cpu, "platform_memory": platform_memory, "platform_cpu": platform_cpu}
    wanted = [one for one in given.items() if one[1] is not None] or [("memory", None)]
    try:
        found = [client.plan(signal, share) for signal, share in wanted]
    except UnreachableError as unreachable:
        found = _without_daemon(click.get_current_context().params.get("config"), wanted, unreachable)
    if as_json:
        show_json({"plans": found})
        return
    for one in found:
        _draw(one)


def _without_daemon(
    file: Path | None, wanted: Sequence[tuple[str, float | None]], unreachable: UnreachableError
) -> list[Mapping[str, Any]]:
    """By what the engine and the host say now."""
    from guardian.clock import SystemClock
    from guardian.config.load import load
    from guardian.engine.connect import open_engine, resolve
    from guardian.expose.plan import plan as as_data
    from guardian.model import Inventory, Signal
    from guardian.policy import platform
    from guardian.policy.assess import cpu_capacity
    from guardian.policy.outlook import outlook
    from guardian.policy.state import PolicyState
    from guardian.scope import scope_of
    from guardian.sense.containers import ContainerSensor
    from guardian.sense.host import HostSensor
    from guardian.sense.selves import own_ids
    from guardian.telemetry import NullTelemetry

    path = file or DEFAULT_CONFIG
    if file is None and not path.exists():
        raise UnreachableError(f"{unreachable}\nNor is there a configuration to plan by: name one by --config")
    config = load(path, os.environ)
    click.echo(f"{unreachable}\nThis is by {path} and what the engine says; pins are not known:", err=True)
    clock = SystemClock()
    engine = open_engine(config, clock, NullTelemetry())
    try:
        root_dir = engine.info().root_dir
        containers = engine.containers(scope_of(config, ()))
        sensor, host_sensor = ContainerSensor(engine), HostSensor(clock, lambda: root_dir)
        sensor.follow(containers)
        host_sensor.read()
        sensor.measure(containers)
        time.sleep(BETWEEN_S)
        sensor.measure(containers)
        host, now_s = host_sensor.read(), clock.monotonic()
    finally:
        engine.close()
    excluded = own_ids(containers, resolve(config.engine.url, os.environ))
    services = platform.resolve(config, Inventory(now_s, containers, sensor.usage), excluded, cpu_capacity(config, host))
    return [
        as_data(outlook(Signal(signal), share, host, services, (), frozenset(), PolicyState(), config, now_s))
        for signal, share in wanted
    ]


def _draw(found: Mapping[str, Any]) -> None:
    from guardian.cli.tables import console, table

    def shown(amount: float | None) -> str:
        return format_bytes(amount) if found["unit"] == "bytes" else format_cores(amount)

    out = console()
    name = found["signal"].replace("_", " ")
    at, recover = format_ratio(found["at_ratio"]), format_ratio(found["recover_ratio"])
    out.print(f"If {name} were at {at} (now {format_ratio(found['now_ratio'])}), {shown(found['deficit'])} would have to be")
    out.print(f"given back to reach {recover}{': all of these at once' if found['at_once'] and found['sheds'] else ''}.")
    if found["sheds"]:
        rows = (
            (
                str(one["order"]),
                str(one["phase"]),
                f"{one['service']}{' and ' + ', '.join(one['with']) if one['with'] else ''}",
                shown(one["relief"]),
                shown(one["relief_so_far"]),
            )
            for one in found["sheds"]
        )
        out.print(table("", ("", "phase", "service", "gives back", "so far"), rows, right=("", "gives back", "so far")))
    if found["deficit"] <= 0:
        out.print("Nothing would be shed.")
    elif found["enough"]:
        out.print("There it would stop.")
    else:
        out.print(f"That is not enough: {shown(found['deficit'] - found['covered'])} are missing, and nothing else may go.")
    if found["left"]:
        left = ((one["service"], str(one["phase"] or ""), WORDS.get(one["why"], one["why"])) for one in found["left"])
        out.print(table("These would stay", ("service", "phase", "because"), left))
