"""`guardian version`."""

from __future__ import annotations

import click

from guardian import __version__
from guardian.cli.options import json_option
from guardian.cli.replies import show_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the version.

    \b
    Examples:
      guardian version
    """
    if as_json:
        show_json({"version": __version__})
    else:
        click.echo(f"guardian {__version__}")
