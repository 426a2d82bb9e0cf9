"""How the daemon's replies are printed."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from guardian.expose.orders import OrderReply


def show(reply: OrderReply, as_json: bool) -> None:
    """Print what came of an order, and end with 1 if it was refused or failed in part."""
    if as_json:
        show_json({"ok": reply.ok, "message": reply.message, "lines": reply.lines, "data": reply.data})
    else:
        for line in reply.lines:
            click.echo(printable(line))
        click.echo(printable(reply.message), err=not reply.ok)
    if not reply.ok:
        click.get_current_context().exit(1)


def show_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def printable(text: str) -> str:
    """`text` without what could steer a terminal: parts of it come from the engine and from containers."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
