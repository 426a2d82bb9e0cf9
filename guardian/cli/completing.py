"""What a shell is offered for values: services, as the daemon knows them now, and scenarios that come with guardian."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ANSWER_S = 1.0  # who types does not wait longer


def managed(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Every managed service."""
    return _services(ctx, "services", incomplete)


def shed(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What guardian has stopped."""
    return _services(ctx, "shed", incomplete)


def scenarios(_ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Those that come with guardian, and files."""
    from click.shell_completion import CompletionItem

    from guardian.engine.simulated.reading import built_in

    return [*_beginning(incomplete, built_in()), CompletionItem(incomplete, type="file")]


def _services(ctx: click.Context, which: str, incomplete: str) -> list[CompletionItem]:
    """By `service` where that says which, else by `project/service`; none where nobody answers."""
    from guardian.cli.client import Client
    from guardian.cli.options import control_path
    from guardian.errors import GuardianError

    control, config = ctx.params.get("control") or os.environ.get("GUARDIAN_WEB_CONTROL"), ctx.params.get("config")
    try:
        status = Client(Path(control) if control else control_path(config), ANSWER_S).status()
    except GuardianError:
        return []
    names = sorted(one["service"] for one in status[which])
    short = [name.rpartition("/")[2] for name in names]
    return _beginning(
        incomplete,
        (one if "/" not in incomplete and short.count(one) == 1 else name for one, name in zip(short, names, strict=True)),
    )


def _beginning(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
