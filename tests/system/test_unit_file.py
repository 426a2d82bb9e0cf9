"""The systemd unit, as systemd's own tools see it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

UNITS = Path(__file__).parents[2] / "systemd"
MOST_EXPOSURE = 1.8


def test_the_exposure_of_the_unit_is_low(tmp_path: Path) -> None:
    """The exposure that `systemd-analyze security` finds is 1.8 at most."""
    unit = shutil.copy(UNITS / "guardian.service", tmp_path)
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit], capture_output=True, text=True, check=True
    )
    found = re.search(r"exposure level for guardian.service: ([0-9.]+)", said.stdout)
    assert found is not None, said.stdout + said.stderr
    assert float(found[1]) <= MOST_EXPOSURE
