"""`guardian forget`."""

from __future__ import annotations

import click

from guardian.cli import completing
from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="SERVICE…", shell_complete=completing.shed)
@daemon_command
def forget(services: tuple[str, ...], client: Client, as_json: bool) -> None:
    """Let a shed service stay down: guardian will not start it again.

    For a service that guardian stopped, and that you mean to stay down. It is yours from then on.

    A service is named by `service`, or by `project/service` where several projects have one of that name.

    \b
    Examples:
      guardian forget kibana
    """
    show(client.order(OrderKind.FORGET, services), as_json)
