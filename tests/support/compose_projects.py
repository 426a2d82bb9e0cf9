"""The Compose projects in `tests/compose`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "compose"
SIZES = {
    "shop": 12, "lab": 9, "newsroom": 10, "clinic": 8, "studio": 7, "warehouse": 11, "arcade": 15, "circle": 6, "city": 60,
}  # fmt: skip
REFUSED_BY_V1 = {"clinic": "set it to 32 random characters", "circle": "Circular dependency"}
"""What Compose v1 refuses, and its words: those are guardian's alone to read."""
