"""The documentation as a site."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page of docs/ is in the site, every link and anchor leads somewhere, and mkdocs warns of nothing."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert (tmp_path / "index.html").exists()
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"README"} <= {
        page.parent.name for page in tmp_path.glob("*/index.html")
    }
