"""`guardian release`."""

from __future__ import annotations

import click

from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@daemon_command
def release(client: Client, as_json: bool) -> None:
    """End a hold.

    What is shed is started again, in order, once there is room.

    \b
    Examples:
      guardian release
    """
    show(client.order(OrderKind.RELEASE), as_json)
