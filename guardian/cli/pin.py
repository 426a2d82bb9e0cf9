"""`guardian pin`."""

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
def pin(services: tuple[str, ...], client: Client, as_json: bool) -> None:
    """Keep services from being shed.

    A pinned service is no victim, whatever its phase, until it is unpinned. Pins outlive restarts of guardian.

    A service is named by `service`, or by `project/service` where several projects have one of that name.

    \b
    Examples:
      guardian pin grafana
      guardian pin openpolicy/grafana openpolicy/prometheus
    """
    show(client.order(OrderKind.PIN, services), as_json)
