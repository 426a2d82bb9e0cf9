"""`guardian hold`."""

from __future__ import annotations

import click

from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@daemon_command
def hold(client: Client, as_json: bool) -> None:
    """Have nothing started until `guardian release`.

    Services are still stopped where memory or CPU run short. A hold outlives restarts of guardian.

    \b
    Examples:
      guardian hold
    """
    show(client.order(OrderKind.HOLD), as_json)
