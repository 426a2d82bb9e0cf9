"""`guardian restore`."""

from __future__ import annotations

import click

from guardian.cli import completing
from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import show
from guardian.expose.orders import OrderKind


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]…", shell_complete=completing.shed)
@click.option("--all", "everything", is_flag=True, help="Whatever guardian has stopped.")
@daemon_command
def restore(services: tuple[str, ...], everything: bool, client: Client, as_json: bool) -> None:
    """Start services again that guardian has stopped.

    They are started one at a time, what others depend on first, without waiting for room or for a back-off to end, unless the host is
    at level hard. What guardian has not stopped it does not start.

    A service is named by `service`, or by `project/service` where several projects have one of that name.

    \b
    Examples:
      guardian restore kibana
      guardian restore --all
    """
    if everything == bool(services):
        raise click.UsageError("Name services or give --all, not both.")
    show(client.order(OrderKind.RESTORE, services, everything=everything), as_json)
