"""`guardian shed`."""

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
def shed(services: tuple[str, ...], client: Client, as_json: bool) -> None:
    """Stop services, as guardian itself would.

    What requires them stops with them, first. They stay down until `guardian restore`, also after a restart of guardian. Refused for services that are protected or pinned, and in
    observe mode.

    A service is named by `service`, or by `project/service` where several projects have one of that name.

    \b
    Examples:
      guardian shed kibana logstash
      guardian shed openpolicy/kibana --json
    """
    show(client.order(OrderKind.SHED, services), as_json)
