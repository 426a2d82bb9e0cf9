"""`guardian demo`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from guardian.cli.client import Client
from guardian.cli.replies import printable
from guardian.config.address import parse_listen
from guardian.config.load import loads
from guardian.errors import GuardianError, UnreachableError
from guardian.units import format_bytes

CONFIG = Path(__file__).parents[1] / "demo" / "guardian.yaml"
SCENARIO = "demo"
KERNEL_S = 60.0  # of the scenario, in the first act …
HASTE = 3.0  # … which is shown this many times faster
GUARDIAN_S = 70.0  # at most, in the second: it ends once all is back
READY_S = 15.0
LOOK_S = 0.25
TELL_S = 4.0  # between two lines about memory where nothing else happens
BAR = 40
NARROW = 100  # columns: in a terminal of fewer, the bar is half as long


@click.command()
@click.option("--listen", default="127.0.0.1:9877", show_default=True, metavar="HOST:PORT", help="Where the status page is.")
def demo(listen: str) -> None:
    """See an overload twice, in 90 seconds: with the kernel alone, then with guardian.

    Both run on a simulated host, 32 services in 4 GiB: no Docker is needed, and none is touched.
    The second is the real daemon; its status page is live meanwhile.

    \b
    Examples:
      guardian demo
      guardian demo --listen 127.0.0.1:0
    """
    _check_free(listen)
    killed, down_s = _kernel_alone()
    _say("")
    shed, restored, core_down = _with_guardian(listen)
    _say("")
    _say(f"The kernel alone: {killed} kills, the biggest first; the core was incomplete for {down_s:.0f} s of {KERNEL_S:.0f}.")
    verdict = "the core never stopped" if not core_down else f"of the core, {', '.join(sorted(core_down))} stopped"
    _say(f"With guardian:    {shed} services shed, the least important first; {verdict}; {restored} are back.")
    _say("Next: `guardian check` on a file of your own, then `guardian run` in observe mode, which stops nothing.")


def _check_free(listen: str) -> None:
    """Better said before the first act than after it."""
    try:
        host, port = parse_listen(listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise GuardianError(f"{listen}: {why}; name another by --listen: port 0 takes any that is free") from None


def _kernel_alone() -> tuple[int, float]:
    """The first act. How many containers were killed, and for how many seconds the core was not complete."""
    from guardian.demo.kernel import STEP_S, moments

    _say("1. The kernel alone. Four services of 32 outgrow a host of 4 GiB; one of them is the database.")
    killed, down_s, told_s = 0, 0.0, -TELL_S
    began_s = time.monotonic()
    for moment in moments(loads(CONFIG.read_bytes(), str(CONFIG), {}), SCENARIO, KERNEL_S):
        time.sleep(max(0.0, began_s + moment.at_s / HASTE - time.monotonic()))
        for name, size in moment.killed:
            killed += 1
            what = "the core's " if name in moment.core_down else ""
            _line(
                moment.at_s,
                moment.used_ratio,
                f"memory was full: the kernel killed {what}{name}, the biggest, with {format_bytes(size)}",
            )
            told_s = moment.at_s
        down_s += STEP_S if moment.core_down else 0.0
        if moment.at_s - told_s >= TELL_S * HASTE:
            _line(moment.at_s, moment.used_ratio, f"down: {', '.join(moment.core_down)}" if moment.core_down else "")
            told_s = moment.at_s
    return killed, down_s


def _with_guardian(listen: str) -> tuple[int, int, set[str]]:
    """The second act. How many services were shed, how many are back, and who of the core stopped meanwhile."""
    _say("2. The same with guardian: it stops the least important services first, before memory is full.")
    with tempfile.TemporaryDirectory(prefix="guardian-demo-") as home, _daemon(Path(home), listen) as (client, address):
        _say(f"   live on http://{address}/")
        began_s = told_s = time.monotonic()
        level, core_down, rows = "ok", set[str](), 0
        shed, restored = set[str](), set[str]()
        while (now_s := time.monotonic()) - began_s < GUARDIAN_S:
            status, history = client.status(), client.history(200, None, None)
            at_s, ratio = now_s - began_s, _memory(status)
            for row in reversed(history[: len(history) - rows]):
                if row["result"] == "done" and row["action"] in ("shed", "restore"):
                    name = row["service"].partition("/")[2]
                    (shed if row["action"] == "shed" else restored).add(name)
                    _line(at_s, ratio, _told(row, name))
                    told_s = now_s
            rows = len(history)
            if status["level"] != level:
                level = status["level"]
                _line(at_s, ratio, f"the level is {level}")
            core_down |= {
                one["service"].partition("/")[2] for one in status["services"] if one["phase"] == 1 and not one["running"]
            }
            if now_s - told_s >= TELL_S:
                _line(at_s, ratio, "")
                told_s = now_s
            if shed and not status["shed"]:
                break
            time.sleep(LOOK_S)
    return len(shed), len(restored & shed), core_down


def _told(row: Mapping[str, Any], name: str) -> str:
    if row["action"] == "restore":
        return f"restores {name}, of phase {row['phase']}"
    relief = row["measured_relief_bytes"] or row["expected_relief_bytes"]
    return f"sheds {name}, of phase {row['phase']}" + (f", for {format_bytes(relief)}" if relief else "")


@contextmanager
def _daemon(home: Path, listen: str) -> Iterator[tuple[Client, str]]:
    """The daemon on the simulated engine; its client, and the address of its page. It ends with the context."""
    control, log = home / "control.sock", home / "log"
    command = [
        sys.executable,
        "-m",
        "guardian",
        "run",
        "--config",
        str(CONFIG),
        "--engine",
        "simulated",
        "--scenario",
        SCENARIO,
    ]
    command += ["--state-dir", str(home / "state"), "--control", str(control), "--listen", listen, "--log-level", "info"]
    with (
        log.open("wb") as out,
        subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        ) as process,
    ):
        try:
            yield _answering(Client(control), process, log), _address(log) or listen
        finally:
            process.terminate()


def _answering(client: Client, process: subprocess.Popen[bytes], log: Path) -> Client:
    ends_s = time.monotonic() + READY_S
    while True:
        try:
            client.status()
        except GuardianError as error:  # nobody answers, or what answers has no tick to tell of yet
            if process.poll() is not None:
                raise GuardianError(f"the daemon of the demo ended: {_last_words(log)}") from None
            if time.monotonic() > ends_s:
                raise UnreachableError(f"the daemon of the demo does not answer: {error}") from None
            time.sleep(LOOK_S)
        else:
            return client


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip().removeprefix("Error: ")


def _address(log: Path) -> str:
    """What the daemon said it listens on: with port 0, that is the only place."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and "address" in (said := json.loads(line)):
            return str(said["address"])
    return ""


def _memory(status: Mapping[str, Any]) -> float | None:
    return next((one["value_ratio"] for one in status["signals"] if one["signal"] == "memory"), None)


def _line(at_s: float, ratio: float | None, text: str) -> None:
    """`  12 s  ██████████████····  83%  sheds kibana …`."""
    bar = BAR if _columns() >= NARROW else BAR // 2
    full = 0 if ratio is None else min(bar, round(ratio * bar))
    share = "  ?" if ratio is None else f"{ratio:4.0%}"
    _say(text, f"{at_s:4.0f} s  {'█' * full}{'·' * (bar - full)} {share}  ")


def _say(text: str, before: str = "") -> None:
    """Broken between words, below where the text begins."""
    click.echo(printable(textwrap.fill(before + text, _columns(), subsequent_indent=" " * len(before), break_on_hyphens=False)))


def _columns() -> int:
    """Of the terminal; a file or a pipe has no end."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
