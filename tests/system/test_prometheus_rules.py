"""What Prometheus' own tool says of the rules and the scrape that come with guardian."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "config/prometheus"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "guardian.rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "guardian.rules.test.yml"),
    ],
)  # fmt: skip
def test_promtool_accepts_it(arguments: tuple[str, ...]) -> None:
    """Promtool accepts the rules and the scrape, and the alerts fire in the cases where they should, and in no other."""
    said = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
