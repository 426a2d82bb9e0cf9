"""A real Alertmanager that hands on every alert at once, to a receiver of the test's."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.waiting import eventually

_INSTALL = "apt-get install prometheus-alertmanager"
_CONFIG = """\
route: {{receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: people
    webhook_configs: [{{url: "{receiver}", send_resolved: true}}]
"""


class Alertmanager:
    """Everything it writes is below `home`. A context manager."""

    def __init__(self, home: Path, receiver: str) -> None:
        names = ("prometheus-alertmanager", "alertmanager")  # Debian's name, and the project's
        program = next(filter(None, (shutil.which(name, path="/usr/local/bin:/usr/bin") for name in names)), None)
        assert program is not None, f"this test needs an Alertmanager: {_INSTALL}"
        home.mkdir(parents=True)
        (home / "alertmanager.yml").write_text(_CONFIG.format(receiver=receiver))
        self.address = f"127.0.0.1:{free_port()}"
        command = [
            program, f"--config.file={home / 'alertmanager.yml'}", f"--storage.path={home / 'data'}",
            f"--web.listen-address={self.address}", "--cluster.listen-address=", "--log.level=warn",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> Alertmanager:
        eventually(self._ready, "the Alertmanager is ready", timeout_s=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def alerts(self) -> list[dict[str, Any]]:
        """Those that hold now."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as answer:
            return list(json.loads(answer.read()))

    def _ready(self) -> bool:
        assert self._process.poll() is None, "the Alertmanager ended by itself"
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
