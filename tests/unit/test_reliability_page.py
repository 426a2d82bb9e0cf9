"""The fault matrix of docs/reliability.md."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_every_row_names_a_test_that_is_there() -> None:
    """Every test that the page names is there."""
    named = re.findall(r"`((?:unit|property|engine|system|host)/[a-z_]+\.py)(?:::(test_\w+))?`", PAGE.read_text())
    assert len(named) > 30
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (TESTS / file).is_file() or f"def {test}" not in (TESTS / file).read_text()
    ]
    assert missing == []
