"""The whole daemon as a process of its own, started as a user would, and asked over its own sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from support.waiting import PATIENCE_S, eventually


class GuardianProcess:
    """`guardian run` on a configuration of the test's. Everything it writes is below `home`."""

    def __init__(self, home: Path, config: str, environ: Mapping[str, str] | None = None, *arguments: str) -> None:
        self.home = home
        self.config_path = home / "guardian.yaml"
        self.state_dir = home / "state"
        self.socket = home / "control.sock"
        self.log_path = home / "guardian.log"
        self._environ = {**os.environ, **(environ or {})}
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._offset = 0  # of its log, where its present life begins
        home.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, text: str) -> None:
        """As an editor does that writes a new file and renames it."""
        new = self.config_path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config_path)

    def start(
        self,
        wait: bool = True,
        timeout_s: float = PATIENCE_S,
        under: Sequence[str] = (),
        log: int | None = None,
        **environ: str,
    ) -> None:
        """Start, as the end of the command `under`; `wait` until it is ready. May be called again after `stop`, `kill` or `ended`.

        What is written to the descriptor `log`, in place of the file `log_path`, the caller has to bring there.
        """
        command = [
            *under, sys.executable, "-m", "guardian", "run", "--config", str(self.config_path), "--state-dir", str(self.state_dir),
            "--control", str(self.socket), "--listen", "127.0.0.1:0", *self._arguments,
        ]  # fmt: skip
        self._offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._address = ""
        with self.log_path.open("ab") as file:
            out = file if log is None else log
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env={**self._environ, **environ})
        if wait:
            eventually(self.look_up, "guardian to listen", timeout_s)
            eventually(self.ready, "guardian to be ready", timeout_s)

    def look_up(self) -> bool:
        """Whether it has said by now where it listens, for who started it without waiting."""
        self._address = self._address or self._listening(self._offset)
        return bool(self._address)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash is."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def close(self) -> None:
        """Whatever became of it, it ends."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def url(self) -> str:
        """Of the web side: `http://127.0.0.1:PORT`."""
        return self._address

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=PATIENCE_S) as answer:
            return bytes(answer.read())

    def ready(self) -> bool:
        try:
            self.get("/readyz")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/api/v1/status"))
        return answer

    def memory_ratio(self) -> float | None:
        """What the platform's memory is at; None while that is unknown."""
        return next((one["value_ratio"] for one in self.status()["signals"] if one["signal"] == "platform_memory"), None)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics").decode())
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` that carry these labels; 0 where there is none."""
        wanted = set(labels.items())
        return sum(value for (found, with_labels), value in self.metrics().items() if found == name and wanted <= with_labels)

    def cli(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A client command against this daemon."""
        command = [sys.executable, "-m", "guardian", *arguments, "--socket", str(self.socket)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=2 * PATIENCE_S, env={**self._environ, **environ}, check=False
        )

    def doctor(self) -> subprocess.CompletedProcess[str]:
        """`guardian doctor --json` on this daemon's file, state directory and socket."""
        command = [
            sys.executable,
            "-m",
            "guardian",
            "doctor",
            "--json",
            "--config",
            str(self.config_path),
            "--control",
            str(self.socket),
        ]
        environ = {**self._environ, "GUARDIAN_STATE_DIR": str(self.state_dir)}
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environ, check=False)

    def history(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Newest first."""
        answer = self.cli("history", "--json", "--limit", str(limit))
        assert answer.returncode == 0, answer.stderr
        rows = json.loads(answer.stdout)
        return list(rows["history"] if isinstance(rows, dict) else rows)

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Lines of the log so far, those of `event` only if it is given."""
        lines = []
        for raw in self.log_path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and (event is None or str(line.get("event", "")).startswith(event)):
                lines.append(line)
        return lines

    def _listening(self, offset: int) -> str:
        """The address from the line that it logs at its start. Where it has ended instead, its output is the failure."""
        text = self.log_path.read_text(errors="replace")[offset:]
        if self.exit_code is not None:
            raise AssertionError(f"guardian ended with {self.exit_code}:\n{text}")
        for raw in text.splitlines():
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if line.get("event") == "guardian starts":
                return f"http://{line['address']}"
        return ""


def in_view_of(mounts: str) -> tuple[str, ...]:
    """For `start(under=…)`: these shell commands mount things that this daemon alone sees."""
    return ("unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{mounts}; exec "$@"', "sh")
