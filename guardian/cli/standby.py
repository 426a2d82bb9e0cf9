"""`guardian standby`."""

from __future__ import annotations

import click

from guardian.cli.client import Client
from guardian.cli.options import Duration, daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@click.option(
    "--for", "for_s", type=Duration(), metavar="DURATION", help="How long, such as 30m or 2h.  [default: until --off]"
)
@click.option("--off", is_flag=True, help="End the standby.")
@daemon_command
def standby(for_s: float | None, off: bool, client: Client, as_json: bool) -> None:
    """Have nothing stopped or started for a time.

    Guardian goes on watching and reporting. For work on the host during which its actions would be in the way.

    \b
    Examples:
      guardian standby --for 2h
      guardian standby --off
    """
    if off and for_s is not None:
        raise click.UsageError("Give --for or --off, not both.")
    if for_s == 0:
        raise click.UsageError("--for needs a duration above 0; --off ends a standby.")
    show(client.order(OrderKind.STANDBY, for_s=0.0 if off else for_s), as_json)
