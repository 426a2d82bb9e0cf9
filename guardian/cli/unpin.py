"""`guardian unpin`."""

from __future__ import annotations

import click

from guardian.cli import completing
from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="SERVICE…", shell_complete=completing.managed)
@daemon_command
def unpin(services: tuple[str, ...], client: Client, as_json: bool) -> None:
    """Let pinned services be shed again.

    A service is named by `service`, or by `project/service` where several projects have one of that name.

    \b
    Examples:
      guardian unpin grafana
    """
    show(client.order(OrderKind.UNPIN, services), as_json)
