"""`guardian rollout`."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click
import msgspec

from guardian.cli.client import Client
from guardian.cli.options import DEFAULT_CONFIG, Duration, config_option, control_option, control_path, json_option
from guardian.cli.replies import encoded, printable, show_json
from guardian.errors import UsageError

if TYPE_CHECKING:
    from guardian.config.schema import Config
    from guardian.rollout.open import Opened, Ready
    from guardian.rollout.progress import Progress, Settings
    from guardian.rollout.steps import Event


@click.command()
@click.option("--to", "goal", type=click.IntRange(min=1), metavar="N", help="Bring phases 1 to N up, one after the other.")
@click.option("--down-to", type=click.IntRange(min=0), metavar="N", help="Stop all phases above N, the highest first.")
@click.option("--from-zero", is_flag=True, help="With --to: stop every service of the phases first.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--rollback", is_flag=True, help="Take a phase that fails down again.")
@click.option("--resume", is_flag=True, help="Go on with the newest roll-out, where it ended early.")
@click.option(
    "--compose",
    "compose_files",
    multiple=True,
    type=click.Path(readable=False),
    metavar="FILE",
    help="The Compose file: for depends_on conditions, and to create what does not exist. Repeat it for more.  [those of the newest roll-out]",
)
@click.option(
    "--wait", "wait_s", type=Duration(), default=None, help="Give up once a start was held back this long.  [default: 5m]"
)
@click.option(
    "--healthy-within", "healthy_s", type=Duration(), default=None, help="How long a service may take to be up.  [default: 3m]"
)
@click.option(
    "--soak", "soak_s", type=Duration(), default=None, help="How long a phase has to stay up before the next.  [default: 10s]"
)
@control_option
@config_option
@json_option
@click.pass_context
def rollout(
    ctx: click.Context,
    goal: int | None,
    down_to: int | None,
    from_zero: bool,
    plan_only: bool,
    rollback: bool,
    resume: bool,
    compose_files: tuple[str, ...],
    wait_s: float | None,
    healthy_s: float | None,
    soak_s: float | None,
    control: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Bring the platform up phase by phase, each behind its gates, or take it down again.

    Of each phase: waits for room under the soft marks, starts its services in the order of what they depend on, waits until all are
    healthy, has them stay so for a while, compares their use with the budget, and goes on. A gate that fails ends it: what is up stays up, the service and the
    reason are named, and `--resume` tries again. The daemon, where it runs, is asked before each start, and its rules stay in force.

    Ctrl-C ends it in order. After a crash, or a reboot, `--resume` goes on. With --json: one object a line.

    \b
    Examples:
      guardian rollout --to 5 --plan
      guardian rollout --to 2 --from-zero --compose docker-compose.complete.yml
      guardian rollout --to 5 --rollback
      guardian rollout --resume
      guardian rollout --down-to 1
    """
    if sum((goal is not None, down_to is not None, resume)) != 1:
        raise click.UsageError("Give one of --to, --down-to and --resume.")
    if from_zero and goal is None:
        raise click.UsageError("--from-zero goes with --to.")
    from guardian.config.load import load
    from guardian.rollout.open import Opened
    from guardian.rollout.progress import Progress, ProgressFile, Settings
    from guardian.rollout.steps import again

    loaded = load(config or DEFAULT_CONFIG, os.environ)
    record = ProgressFile(Path(loaded.state_dir))
    try:
        before = record.load()
        if resume:
            if before is None or not before.open:
                raise UsageError("there is nothing to resume: give --to or --down-to")
            progress = again(before)
            settings = _given(progress.settings, wait_s, healthy_s, soak_s, rollback, compose_files)
            progress = msgspec.structs.replace(progress, settings=settings)
        else:
            settings = _given(
                Settings(compose_files=_known(before)),
                wait_s,
                healthy_s,
                soak_s,
                rollback,
                compose_files,
            )
            wanted = goal if goal is not None else down_to or 0
            _check(loaded, wanted, down=goal is None)
            progress = Progress(
                goal=wanted,
                down=goal is None,
                from_zero=from_zero,
                by=getpass.getuser(),
                began_wall_s=time.time(),
                settings=settings,
            )
        client = Client(control or control_path(config))
        # A way down needs none: files that cannot be read any more must not bar it.
        files = compose_files if progress.down else progress.settings.compose_files
        opened = Opened(loaded, client, files, os.environ)
        try:
            ready = opened.ready()
            if plan_only:
                _show_plan(opened, ready, progress, as_json)
                return
            ended = _carry_out(opened, ready, record.save, progress, as_json)
        finally:
            opened.close()
    finally:
        record.release()
    if as_json:
        _line({"event": "end", **msgspec.to_builtins(ended)})
    elif ended.failure is not None:
        _show_failure(ended)
    ctx.exit(1 if ended.failure is not None else 0)


def _known(before: Progress | None) -> tuple[str, ...]:
    """The Compose files of the newest roll-out, as long as all are still there."""
    files = () if before is None else before.settings.compose_files
    return files if all(Path(file).is_file() for file in files) else ()


def _given(
    before: Settings,
    wait_s: float | None,
    healthy_s: float | None,
    soak_s: float | None,
    rollback: bool,
    compose_files: Sequence[str],
) -> Settings:
    """What the command line says, over what was said before."""
    said = {"wait_s": wait_s, "healthy_within_s": healthy_s, "soak_s": soak_s}
    changes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if rollback:
        changes["rollback"] = True
    if compose_files:
        changes["compose_files"] = tuple(str(Path(file).absolute()) for file in compose_files)
    return msgspec.structs.replace(before, **changes)


def _check(config: Config, goal: int, down: bool) -> None:
    last = max(phase.phase for phase in config.phases)
    if goal > last:
        raise UsageError(f"there is no phase {goal}: give one up to {last}, the last of the file")
    if not down and config.target_phase is not None and goal > config.target_phase:
        raise UsageError(
            f"target_phase of the file is {config.target_phase}: what is above it would be stopped again; "
            "raise it first, and `guardian reload`"
        )


def _carry_out(opened: Opened, ready: Ready, save: Callable[[Progress], None], progress: Progress, as_json: bool) -> Progress:
    """Until its end. Ctrl-C leaves it to be resumed."""
    newest = progress

    class Saving:
        def save(self, progress: Progress) -> None:
            nonlocal newest
            newest = progress
            save(progress)

    with _Screen(as_json) as screen:
        try:
            return opened.roll_out(ready.plan, Saving(), screen.tell, screen.wait).run(progress)
        except KeyboardInterrupt:
            save(msgspec.structs.replace(newest, ended_wall_s=time.time()))
            screen.say("interrupted: nothing more is started; `guardian rollout --resume` goes on")
            raise


class _Screen:
    """One line for each event; on a terminal also, below them, what is being waited for."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._status: Any = None
        self._console: Any = None
        if not as_json:
            from guardian.cli import tables

            self._console = tables.console(least_width=0)

    def __enter__(self) -> _Screen:
        if self._console is not None and self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, event: Event) -> None:
        if self._as_json:
            told = {"service": event.service or None, "detail": event.detail or None}
            _line({"event": event.kind.value, "at_wall_s": time.time(), "phase": event.phase, **told})
            return
        words = " ".join(word for word in (event.kind.value, event.service) if word)
        phase = f"phase {event.phase}: " if event.phase else ""
        self.say(f"{phase}{words}{f': {event.detail}' if event.detail else ''}")

    def say(self, text: str) -> None:
        if self._console is not None:
            self._console.print(printable(f"{time.strftime('%H:%M:%S')} {text}"), soft_wrap=True)

    def wait(self, progress: Progress, waits: Sequence[str]) -> None:
        if self._status is not None:
            what = ", ".join(waits[:3]) + (f" and {len(waits) - 3} more" if len(waits) > 3 else "")
            self._status.update(printable(f"phase {progress.phase} of {progress.goal}: {what or 'working'}"))


def _show_failure(ended: Progress) -> None:
    failure = ended.failure
    if failure is None:
        return
    where = f"phase {ended.phase}: " if ended.phase else ""
    click.echo(printable(f"Error: {where}{f'{failure.service}: ' if failure.service else ''}{failure.why}"), err=True)
    for title, lines in (("its health check said last", failure.health), ("its log ends", failure.log)):
        if lines:
            click.echo(f"  {title}:", err=True)
        for line in lines:
            click.echo(printable(f"    {line}"), err=True)
    stays = f"phases 1 to {ended.reached} stay up" if ended.reached else "no phase was completed"
    click.echo(f"  {stays}; `guardian rollout --resume` tries again", err=True)


# --- the plan -------------------------------------------------------------------------------------------------------


def _show_plan(opened: Opened, ready: Ready, progress: Progress, as_json: bool) -> None:
    from guardian.rollout.preview import preview

    planned = preview(opened.admission, ready, progress)
    if as_json:
        show_json(planned)
        return
    from guardian.cli import tables
    from guardian.units import format_bytes, format_cores

    console = tables.console()
    if planned["stops"]:
        console.print(printable(f"Stopped first, in this order: {', '.join(planned['stops'])}."), soft_wrap=True)
    for phase in planned["phases"]:
        rows = [
            (
                one["service"],
                one["does"],
                ", ".join(f"{need['service']} {need['condition'].removeprefix('service_')}" for need in one["after"]),
                format_bytes(one["memory_bytes"]),
                format_cores(one["cores"]),
                "measured" if one["measured"] else "set" if one["memory_bytes"] is not None else "unknown",
            )
            for one in phase["services"]
        ]
        console.print(
            tables.table(
                f"Phase {phase['phase']} {phase['name']}: needs {format_bytes(phase['memory_bytes'])} more; {phase['room']}",
                ("service", "", "after", "memory", "cpu", "as"),
                rows,
                right=("memory", "cpu"),
            )
        )


def _line(value: Any) -> None:
    click.echo(encoded(value))
