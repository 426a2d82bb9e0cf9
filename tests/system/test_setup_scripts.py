"""What the scripts that install the tests' needs say where they cannot: by the real apt-get, on settings of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def apt(tmp_path: Path) -> dict[str, str]:
    """An environment in which apt knows one mirror, at which nobody listens, and no package."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    (tmp_path / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": tmp_path / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": tmp_path / "lists",
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache",
        "Acquire::Retries": 0,
    }
    (tmp_path / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return {**os.environ, "APT_CONFIG": str(tmp_path / "apt.conf")}


def test_a_mirror_that_cannot_be_reached_is_said_with_what_is_missing_and_what_to_do(apt: dict[str, str]) -> None:
    """Where the package mirror cannot be reached it says what is missing, which mirror that is and why, and what to do."""
    done = subprocess.run(
        [SCRIPTS / "apt-install.sh", "cowsay", "hello"], env=apt, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    end = done.stderr.partition("\n\n")[2]
    assert end.startswith("missing on this machine, and apt-get could not install it: cowsay hello\n")
    for part in (
        "http://127.0.0.1:9/debian/dists/bookworm/InRelease",
        "Could not connect",
        "/etc/apt/sources.list",
        "run this again",
    ):
        assert part in end
