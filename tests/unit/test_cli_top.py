"""`guardian top` on a terminal, against a real control socket."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from select import select

import pytest
from rich.console import Console
from support.fake_daemon import FakeDaemon
from support.snapshots import snapshot

from guardian.cli.client import Client
from guardian.cli.top import Seen, draw

LINES, COLUMNS = 40, 120
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of 40 lines on which `guardian top` runs."""

    def __init__(self, socket: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self._seen = ""
        command = [sys.executable, "-m", "guardian", "top", "--control", str(socket), "--interval", "200ms"]
        env = {**os.environ, "TERM": "xterm"}
        for size in ("LINES", "COLUMNS"):  # would count for more than the terminal's own
            env.pop(size, None)
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)

    def shows(self, text: str, timeout_s: float = 30.0) -> None:
        """Returns once `text` was drawn since the last call."""
        ends_s = time.monotonic() + timeout_s
        while text not in _ESCAPES.sub("", self._seen):
            assert select([self._ours], [], [], max(0.0, ends_s - time.monotonic()))[0], (
                f"{text!r} was never drawn: {self._seen}"
            )
            self._seen += os.read(self._ours, 65536).decode(errors="replace")
        self._seen = ""

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def mode(self) -> list[object]:
        """What the terminal is set to."""
        return list(termios.tcgetattr(self._theirs))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(tmp_path / "control.sock")
    yield daemon
    daemon.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    terminals: list[Terminal] = []

    def start() -> Terminal:
        terminals.append(Terminal(tmp_path / "control.sock"))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def test_it_shows_the_host_its_services_and_what_was_done(daemon: FakeDaemon, start: Callable[[], Terminal]) -> None:
    """It shows the level, signals, phases, services and the newest actions, sorts by a key, and ends with q as it found the terminal."""
    terminal = start()
    terminal.shows("level soft")
    terminal.shows("by memory; m, c, p")
    terminal.shows("shed openpolicy/kibana for memory: done")
    terminal.press("p")
    terminal.shows("by phase; m, c, p")
    terminal.press("q")
    assert terminal.process.wait(20) == 0
    assert terminal.mode() == terminal.before


def test_it_follows_what_changes_and_says_when_nobody_answers(daemon: FakeDaemon, start: Callable[[], Terminal]) -> None:
    """What changes is drawn anew; when the daemon ends, the last of it stays on the screen, called old."""
    terminal = start()
    terminal.shows("level soft")
    shown = snapshot()
    daemon.snapshot = replace(shown, decision=replace(shown.decision, exhausted=True))
    terminal.shows("exhausted: memory is hard")
    daemon.close()
    terminal.shows("old, no newer answer: no guardian answers")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_narrow_screen_shows_fewer_figures_and_breaks_none(daemon: FakeDaemon, tmp_path: Path, width: int) -> None:
    """On 40, 80 and 120 columns all has its place, each service a line of its own, and whole figures as there is room."""
    screen = Console(width=width, height=LINES, file=StringIO(), color_system=None)
    screen.print(draw(Seen(Client(tmp_path / "control.sock")), "memory", width, LINES))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= LINES, lines
    assert [line for line in lines if re.search(r"\betl-ser.* +unhealthy +120 MiB", line)]
    (head,) = [line.split() for line in lines if "service" in line.split()]
    assert head == {40: ["service", "state", "memory"], 80: ["phase", "service", "state", "memory", "cpu"]}.get(
        width, ["phase", "service", "state", "memory", "footprint", "limit", "cpu"]
    )


def test_it_wants_a_terminal_and_a_daemon(tmp_path: Path, start: Callable[[], Terminal]) -> None:
    """Without a terminal it says what scripts use instead, and without a daemon that there is none."""
    command = [sys.executable, "-m", "guardian", "top", "--control", str(tmp_path / "control.sock")]
    said = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert said.returncode == 2
    assert "guardian status --json" in said.stderr
    terminal = start()
    terminal.shows("no guardian answers")
    assert terminal.process.wait(20) == 69
