"""The command `guardian`. Each subcommand lives in a file of its own and is imported only when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import sys
import traceback
from typing import Any

import click

from guardian import __version__
from guardian.errors import EXIT_CODES, GuardianError

COMMANDS = {
    "run": "Run the daemon.",
    "init": "Propose a configuration for a Compose project, or for what runs now.",
    "check": "Check a configuration file.",
    "doctor": "Look at all that guardian needs of this host, and say what to do about what is wrong.",
    "reload": "Have the daemon read its configuration again.",
    "status": "Show levels, phases against budgets, services, and what is shed.",
    "top": "Watch levels, phases and services live in the terminal.",
    "history": "Show what was done, when and why.",
    "report": "Show which objectives are met, and what each service's time was spent on.",
    "baseline": "Keep figures under a name, to compare later reports with.",
    "storage": "Show what services keep on disk, how fast that grows, and what would free some of it.",
    "why": "Explain what was decided, of a service or at a time.",
    "plan": "Show who would be shed now, in which order, and where it would stop.",
    "replay": "Try a configuration on what was recorded.",
    "simulate": "Try a configuration on a simulated host.",
    "shed": "Stop services, as guardian itself would.",
    "restore": "Start services again that guardian has stopped.",
    "forget": "Let a shed service stay down: guardian will not start it again.",
    "pin": "Keep services from being shed.",
    "unpin": "Let pinned services be shed again.",
    "hold": "Have nothing started until `guardian release`.",
    "release": "End a hold.",
    "rollout": "Bring the platform up phase by phase, or take it down.",
    "limits": "Show, apply or write down the limits of services.",
    "emergency": "Stop all but the most important, restart the engine, start what is kept.",
    "standby": "Have nothing stopped or started for a time.",
    "demo": "See an overload twice: with the kernel alone, then with guardian.",
    "version": "Show the version.",
}
"""Subcommand -> its line in the help. The module has the same name, and so has the command in it."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
INTERRUPTED = 130


class CommandFailed(click.ClickException):
    """An error that a user may see, with its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance


class Guardian(click.Group):
    """Finds subcommands by name, and turns every error into a message and an exit code: no traceback reaches a user."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"guardian.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib  # only for who mistypes

            if not (close := difflib.get_close_matches(args[0], COMMANDS, n=1)):
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {close[0]}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The commands with their whole lines, without an import of any of them."""
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # in a locale without that character: a ? for it, not the end
                stream.reconfigure(errors="replace")
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno not in NO_ROOM or error.filename is not None:
                raise
            click.echo(f"Error: the output cannot be written: {error.strerror}; make room, or send it elsewhere", err=True)
            sys.stdout = None  # what is left in it cannot be written either
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GuardianError as error:
            from guardian.cli.replies import printable  # not for --help: it is to come at once

            raise CommandFailed(printable(error.in_full()), error.exit_code) from None
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None:
                if error.errno == errno.EPIPE:
                    raise  # whoever read the output has left: click ends quietly
                if error.errno in NO_ROOM:
                    raise  # of the output: what writes files says which
                if error.errno == errno.ENOENT:  # by getcwd(2)
                    raise CommandFailed("the working directory is gone; change to one that is there", 1) from None
            if isinstance(error, UnicodeEncodeError):  # half a character in an argument: Python keeps such bytes apart
                from guardian.cli.replies import printable

                raise CommandFailed(f"{printable(error.object)}: is not UTF-8; type it as UTF-8", 2) from None
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}:{where.lineno}"
            raise CommandFailed(f"unexpected {type(error).__name__}: {error} (at {place}); please report this", 1) from None


@click.group(
    cls=Guardian,
    epilog=f"Exit codes: {'; '.join(f'{code} {means}' for code, means in EXIT_CODES.items())}.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="guardian", message="%(prog)s %(version)s")
def main() -> None:
    """Keeps the services that matter alive on an overloaded Docker host."""
