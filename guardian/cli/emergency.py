"""`guardian emergency`."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from guardian.cli import completing
from guardian.cli.client import Client
from guardian.cli.options import DEFAULT_CONFIG, config_option, control_option, control_path, json_option
from guardian.cli.replies import printable, show_json
from guardian.emergency import BACK_WITHIN_S, Step
from guardian.engine.restart import check_docker_unit, restart_docker
from guardian.errors import GuardianError, UnreachableError
from guardian.expose.orders import OrderKind
from guardian.model import Result
from guardian.units import format_bytes

if TYPE_CHECKING:
    from guardian.rescue import Rescue

END_WITHIN_S = 60.0  # after that, what is not down has failed, or takes its time as `kill: never` lets it
UP_WITHIN_S = 120.0
LOOK_EVERY_S = 0.2
HISTORY_LIMIT = 1000
FIRST_LOOK_S = 1.0  # by then the daemon shows what it was ordered to do

Values = Mapping[str, Any]


class Procedure(Protocol):
    """The steps, by the daemon or without one. Each yields what it does, as it is done."""

    def plan(self) -> Values: ...
    def before_restart(self) -> None: ...
    def end(self) -> Iterator[Step]: ...
    def after_restart(self) -> Iterator[Step]: ...
    def start_kept(self) -> Iterator[Step]: ...
    def close(self) -> None: ...


@click.command()
@click.option(
    "--keep",
    "names",
    multiple=True,
    metavar="SERVICE",
    shell_complete=completing.managed,
    help="Keep this one; repeat it for more.  [default: emergency.keep of the file]",
)
@click.option("--keep-phase", type=click.IntRange(min=1), metavar="N", help="Keep phases 1 to N.")
@click.option("--restart-engine", is_flag=True, help="Restart Docker by systemd, once all else has ended.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@control_option
@config_option
@json_option
@click.pass_context
def emergency(
    ctx: click.Context,
    names: tuple[str, ...],
    keep_phase: int | None,
    restart_engine: bool,
    yes: bool,
    control: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Stop all but the most important, restart the engine, start what is kept.

    Shows what is kept, what is ended and what that gives back, and asks. Then it ends the rest at once, by signal where the engine hangs; with --restart-engine
    it has systemd restart Docker; it starts what is kept; and it leaves the rest to guardian, which restores it as there is room. Services under `protect`,
    pinned ones and containers that guardian does not manage are not touched; an engine that is restarted ends them, too, for a moment.

    Works while the daemon is down (then as root), and while the engine hangs.

    \b
    Examples:
      guardian emergency
      guardian emergency --keep-phase 1 --restart-engine
      guardian emergency --keep postgres --keep redis --yes --json
    """
    if names and keep_phase is not None:
        raise click.UsageError("Give --keep or --keep-phase, not both.")
    if as_json and not yes:
        raise click.UsageError("--json goes with --yes: there is nobody to ask.")
    procedure, plan = _begin(Client(control or control_path(config)), config, names, keep_phase)
    try:
        if not as_json:
            _draw(plan, restart_engine)
        if restart_engine:
            check_docker_unit()
        if not yes:
            click.confirm("Do this?", abort=True)
        steps = _show(_steps(procedure, restart_engine), quiet=as_json)
    finally:
        procedure.close()
    ok = all(step.ok for step in steps)
    if as_json:
        shown = [{"step": one.name, "service": one.service or None, "ok": one.ok, "detail": one.detail} for one in steps]
        show_json({"ok": ok, "plan": plan, "steps": shown})
    ctx.exit(0 if ok else 1)


def _begin(client: Client, config: Path | None, names: Sequence[str], keep_phase: int | None) -> tuple[Procedure, Values]:
    """The daemon's way, or where no daemon answers, without one; and its plan."""
    by_daemon = ByDaemon(client, names, keep_phase)
    try:
        return by_daemon, by_daemon.plan()
    except UnreachableError:
        pass
    from guardian.config.load import load
    from guardian.rescue import open_rescue

    alone = Alone(open_rescue(load(config or DEFAULT_CONFIG, os.environ), getpass.getuser()), names, keep_phase)
    try:
        return alone, alone.plan()
    except BaseException:
        alone.close()
        raise


def _steps(procedure: Procedure, restart: bool) -> Iterator[Step]:
    """All of it, in order. A step that failed is told, and the next ones are tried all the same."""
    if restart:
        procedure.before_restart()
    yield from procedure.end()
    if restart:
        restarted = _restart_engine()
        yield restarted
        if restarted.ok:
            yield from procedure.after_restart()
    yield from procedure.start_kept()


class ByDaemon:
    """Orders to the daemon, which alone writes the ledger; what it reports is read from its status."""

    def __init__(self, client: Client, names: Sequence[str], keep_phase: int | None) -> None:
        self._client = client
        self._order = {"services": names, "keep_phase": keep_phase}
        self._plan: Values = {}
        self._restarts = False
        self._holds = False
        self._ordered_wall_s = 0.0  # when the newest order was given

    def plan(self) -> Values:
        self._plan = self._give(plan_only=True)
        return self._plan

    def before_restart(self) -> None:
        """Nothing is to be started between the end of the rest and the end of the engine."""
        self._restarts = True
        self._holds = not self._client.status()["hold_by"]
        if self._holds:
            self._client.order(OrderKind.HOLD)

    def end(self) -> Iterator[Step]:
        self._give(restart_engine=self._restarts)
        yield from self._ended([one["service"] for one in self._plan["ended"]], "end")

    def after_restart(self) -> Iterator[Step]:
        up = _wait(lambda: bool(self._client.status()["engine"]["up"]), BACK_WITHIN_S)
        yield Step("engine", up, "it answers" if up else "it does not answer")
        again = [one["service"] for one in self._give(plan_only=True)["ended"]] if up else []
        if again:  # its restart policy has brought it back
            self._give()
            yield from self._ended(again, "end again")

    def start_kept(self) -> Iterator[Step]:
        kept = [one["service"] for one in self._plan["kept"]]
        ran = {one["service"] for one in self._plan["kept"] if one["running"]}
        _wait(lambda: all(one in self._running() or one in self._shed() for one in ran), BACK_WITHIN_S)
        due = [one for one in kept if one in self._shed()]
        if due:
            self._client.order(OrderKind.RESTORE, due)
        self._release()
        _wait(lambda: set(due) | ran <= self._running(), UP_WITHIN_S)
        running = self._running()
        for one in kept:
            expected = one in ran or one in due
            detail = (
                "runs"
                if one in running
                else "does not run yet"
                if expected
                else "does not run, and guardian had not stopped it"
            )
            yield Step("start", one in running or not expected, detail, one)
        owed = self._shed() - set(kept)
        yield Step("rest", True, f"guardian restores {len(owed)} by its rules, as there is room: see `guardian status`")

    def close(self) -> None:
        """Also where it was broken off: no hold of its own stays behind."""
        with suppress(UnreachableError):
            self._release()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._client.order(OrderKind.RELEASE)

    def _give(self, **fields: object) -> Values:
        """The order; GuardianError where it is refused."""
        self._ordered_wall_s = time.time()
        reply = self._client.order(OrderKind.EMERGENCY, **{**self._order, **fields})  # type: ignore[arg-type]
        if not reply.ok:
            raise GuardianError(reply.message)
        return reply.data

    def _ended(self, services: Sequence[str], name: str) -> Iterator[Step]:
        """One step for each, once all are down or have had their time."""

        def at_it() -> set[str]:
            flights = self._client.status()["in_flight"]
            return {one for one in services if any(f" {one} " in flight for flight in flights)}

        _wait(lambda: set(services) <= self._shed() or not at_it(), END_WITHIN_S, after_s=FIRST_LOOK_S)
        down, running, busy = self._shed(), self._running(), at_it()
        restored = self._ended_since_order() - down
        for one in services:
            detail = (
                "ended"
                if one in down
                else "ended, and is restored already"
                if one in restored
                else "is still ending"
                if one in busy
                else "runs on"
                if one in running
                else "had ended by itself"
            )
            yield Step(name, one in down or one in restored or one not in running, detail, one)

    def _ended_since_order(self) -> set[str]:
        """A calm host restores by its rules, sooner than anybody can look."""
        rows = self._client.history(HISTORY_LIMIT, self._ordered_wall_s, None)
        return {row["service"] for row in rows if row["action"] == "shed" and row["result"] in (Result.DONE, Result.GONE)}

    def _shed(self) -> set[str]:
        return {one["service"] for one in self._client.status()["shed"] if one["state"] == "shed"}

    def _running(self) -> set[str]:
        return {one["service"] for one in self._client.status()["services"] if one["running"]}


class Alone:
    """Without a daemon: see `guardian.rescue`."""

    def __init__(self, rescue: Rescue, names: Sequence[str], keep_phase: int | None) -> None:
        self._rescue = rescue
        self._names = names
        self._keep_phase = keep_phase

    def plan(self) -> Values:
        planned = self._rescue.plan(self._names, self._keep_phase)
        return {**planned.as_data(), "by_signal": self._rescue.hung}

    def before_restart(self) -> None:
        self._rescue.expect_restart()

    def end(self) -> Iterator[Step]:
        return self._rescue.end()

    def after_restart(self) -> Iterator[Step]:
        yield self._rescue.wait_for_engine()

    def start_kept(self) -> Iterator[Step]:
        yield from self._rescue.start_kept()
        yield self._rescue.rest()

    def close(self) -> None:
        self._rescue.close()


def _restart_engine() -> Step:
    try:
        restart_docker()
    except GuardianError as error:
        return Step("restart engine", False, str(error))
    return Step("restart engine", True, "done by systemd")


def _wait(done: Callable[[], bool], within_s: float, after_s: float = 0.0) -> bool:
    """Whether it became so in time; it is first looked at `after_s` from now."""
    ends_s = time.monotonic() + within_s
    time.sleep(after_s)
    while not done():
        if time.monotonic() >= ends_s:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def _show(steps: Iterable[Step], quiet: bool) -> list[Step]:
    """Print each as it is done."""
    done = []
    for step in steps:
        done.append(step)
        if not quiet:
            line = f"{step.name}{f' {step.service}' if step.service else ''}: {step.detail}"
            click.echo(printable(line if step.ok else f"{line} (failed)"), err=not step.ok)
    return done


def _draw(plan: Values, restart: bool) -> None:
    from guardian.cli import tables

    screen = tables.console()
    kept = ((one["service"], str(one["phase"]), one["why"], "runs" if one["running"] else "down") for one in plan["kept"])
    screen.print(tables.table("Kept", ("service", "phase", "why", ""), kept))
    ended = ((one["service"], str(one["phase"]), format_bytes(one["footprint_bytes"])) for one in plan["ended"])
    how = ", by signal: the engine does not answer" if plan["by_signal"] else ""
    screen.print(tables.table(f"Ended{how}", ("service", "phase", "memory"), ended, right=("memory",)))
    least = "" if plan["relief_is_whole"] else "at least "
    screen.print(printable(f"This gives back {least}{format_bytes(plan['relief_bytes'])}."))
    if plan["untouched"]:
        screen.print(printable(f"Not managed, and so not touched: {', '.join(plan['untouched'])}."), soft_wrap=True)
    if restart:
        screen.print(
            "Docker is restarted: every container on it ends for a moment, also those that guardian does not manage.",
            soft_wrap=True,
        )
