"""Runs what docs/tutorial.md tells its readers to run, and puts what was printed below each command.

A comment before a block says how it is run: `<!-- run: in the background -->`, or `<!-- run: until "PATTERN" -->`: its first command
is run again until its output has a match. What Compose prints differs by its version, and is left out.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.waiting import eventually

_BLOCK = re.compile(r"(?:<!-- run: (?P<how>.*?) -->\n)?```console\n(?P<body>.*?)```\n", re.DOTALL)

_FILLS = re.compile("memory (fills at|was filling by)")  # of the whole machine, at that moment


class Tutorial:
    """Commands are run in `folder` or below it, with `environ`; `close` ends what runs in the background."""

    def __init__(self, page: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._page = page
        self._folder = folder
        self._environ = dict(environ)
        self._background: list[subprocess.Popen[bytes]] = []

    def run(self) -> str:
        """The page with what its commands printed now. Fails with the first command that does."""
        return _BLOCK.sub(self._block, self._page)

    def close(self) -> None:
        for process in self._background:
            process.terminate()
            process.wait(10)

    def _block(self, block: re.Match[str]) -> str:
        how = block["how"] or ""
        lines = []
        for line in block["body"].splitlines():
            if line.startswith("$ "):
                lines += [line, *self._command(line[2:], how)]
                how = ""
        head = f"<!-- run: {block['how']} -->\n" if block["how"] else ""
        return f"{head}```console\n" + "".join(f"{line}\n" for line in lines) + "```\n"

    def _command(self, command: str, how: str) -> list[str]:
        if command.startswith("cd "):
            self._folder /= command[3:]
            return []
        if how == "in the background":
            with (self._folder / "background.log").open("wb") as log:
                self._background.append(
                    subprocess.Popen(
                        ["bash", "-c", f"exec {command}"], cwd=self._folder, env=self._environ, stdout=log, stderr=log
                    )
                )
            return []
        if until := re.fullmatch(r'until "(.*)"', how):
            return eventually(lambda: self._matching(command, until[1]), f"{command} prints {until[1]}", 120).splitlines()
        out = self._output(command)
        return [] if command.startswith("docker compose") else out.splitlines()

    def _matching(self, command: str, pattern: str) -> str:
        """Its output once that matches; a command that fails has not yet."""
        done = self._run(command)
        return _plain(done) if done.returncode == 0 and re.search(pattern, done.stdout) else ""

    def _output(self, command: str) -> str:
        done = self._run(command)
        log = self._folder / "background.log"
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}"
        return _plain(done)

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def _plain(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).strip("\n")


def without_figures(page: str) -> list[str]:
    """Its lines without what differs from run to run and from host to host: figures, sums, widths of tables, the engine's name."""
    text = re.sub(r"engine up \(.*?\)", "engine up", page).replace("_", "-")
    text = re.sub(r"\b[0-9a-f]{64}\b", "#", text)
    text = re.sub(r"\d[\d.:]*", "#", text)
    text = re.sub(r"#( #|-#)*", "#", re.sub(r"(?:#(?:ms|[dhms]))+", "#", text))
    lines = (re.sub(r"[ ─]+", " ", raw).strip() for raw in text.splitlines())
    return [line for line in lines if line and not _FILLS.match(line)]
