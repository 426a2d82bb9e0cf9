"""The Compose projects in `tests/compose`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "compose"
SIZES = {
    "shop": 12, "lab": 9, "newsroom": 10, "clinic": 8, "studio": 7, "warehouse": 11, "arcade": 15, "circle": 6, "city": 60,
}  # fmt: skip
REFUSED = {"clinic": "set it to 32 random characters", "circle": "Circular dependency|dependency cycle"}
"""What Compose refuses, and its words as a pattern: those are guardian's alone to read."""
REFUSED_BY_V2 = {"newsroom": "can't set distinct values on 'mem_limit'"}
"""Likewise, but what v1 takes: v2 compares the older key with `deploy`, and does so before an override makes them the same."""
