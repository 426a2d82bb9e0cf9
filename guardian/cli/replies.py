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
    click.echo(msgspec.json.format(encoded(value), indent=2))


def encoded(value: Any) -> bytes:
    """As JSON, which is UTF-8 whatever the locale; with a ? for what is none in the name of a file."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(msgspec.to_builtins(value)))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list | tuple) else value


def printable(text: str) -> str:
    """`text` without what could steer a terminal: parts of it come from the engine and from containers."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
