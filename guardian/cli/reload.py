"""`guardian reload`."""

from __future__ import annotations

import click

from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@daemon_command
def reload(client: Client, as_json: bool) -> None:
    """Have the daemon read its configuration again.

    Puts into force what an edit of the file does not by itself: a lost protection, a service moved or removed, observe to enforce. A file with
    mistakes changes nothing and ends with 78.

    \b
    Examples:
      guardian reload
    """
    show(client.order(OrderKind.RELOAD), as_json)
