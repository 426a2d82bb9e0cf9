"""A real Prometheus that scrapes a guardian every second, and what it has stored."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.waiting import eventually

SCRAPE_S = 1.0
_INSTALL = "apt-get install prometheus"
_CONFIG = """\
global: {{scrape_interval: {scrape_s:g}s, scrape_timeout: {scrape_s:g}s, evaluation_interval: {scrape_s:g}s}}
scrape_configs:
  - job_name: guardian
    static_configs:
{targets}
"""
_ALERTING = """\
rule_files: ["{rules}"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
"""


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series: (time of the scrape on the wall clock, value), oldest first."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


class Prometheus:
    """Scrapes `target` ("127.0.0.1:9877"); everything it writes is below `home`. A context manager.

    `instances`: the same target by several names, as a fleet. With `rules`, a file, alerts go to the `alertmanager` ("host:port").
    """

    def __init__(
        self, home: Path, target: str, instances: Sequence[str] = (), rules: Path | None = None, alertmanager: str = ""
    ) -> None:
        program = shutil.which("prometheus", path="/usr/local/bin:/usr/bin")
        assert program is not None, f"this test needs a Prometheus: {_INSTALL}"
        home.mkdir(parents=True)
        names = [f", labels: {{instance: {name}}}" for name in instances] or [""]
        targets = "\n".join(f'      - {{targets: ["{target}"]{name}}}' for name in names)
        config = _CONFIG.format(targets=targets, scrape_s=SCRAPE_S)
        if rules is not None:
            config += _ALERTING.format(rules=rules, alertmanager=alertmanager)
        (home / "prometheus.yml").write_text(config)
        self._url = f"http://127.0.0.1:{free_port()}"
        self._began_wall_s = time.time()
        command = [
            program, f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address={self._url.removeprefix('http://')}", "--log.level=warn",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def __enter__(self) -> Prometheus:
        eventually(self._scraped, "Prometheus has scraped guardian", timeout_s=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def samples(self, metric: str) -> list[Series]:
        """Every sample of every series that `metric` selects, as scraped since the start."""
        span_s = int(time.time() - self._began_wall_s) + 10
        found = self._get("query", query=f"{metric}[{span_s}s]")["result"]
        return [Series(row["metric"], tuple((float(at), float(value)) for at, value in row["values"])) for row in found]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What the expression gives now: samples with their labels."""
        return list(self._get("query", query=expression)["result"])

    def series(self, match: str) -> list[dict[str, str]]:
        """The labels of every series that was ever there."""
        return list(self._get("series", **{"match[]": match, "start": f"{self._began_wall_s:.3f}"}))

    def _scraped(self) -> bool:
        assert self._process.poll() is None, "Prometheus ended by itself"
        try:
            return any(value == 1 for series in self.samples("up") for _, value in series.samples)
        except (urllib.error.URLError, OSError):
            return False

    def _get(self, what: str, **arguments: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]


def lint(exposition: bytes) -> subprocess.CompletedProcess[str]:
    """What `promtool check metrics` says of a scrape; its exit code is 0 where it has nothing to say."""
    program = shutil.which("promtool", path="/usr/local/bin:/usr/bin")
    assert program is not None, f"this test needs promtool: {_INSTALL}"
    return subprocess.run([program, "check", "metrics"], input=exposition.decode(), capture_output=True, text=True, check=False)
