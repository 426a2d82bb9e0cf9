"""Pages of `docs/` that are written from the code: `python -m MODULE --write` writes them, `--check` fails where one differs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def main(module: str, pages: Mapping[Path, str], arguments: Sequence[str]) -> int:
    """0: done or current; 1: a page differs from the code; 2: usage."""
    if arguments == ["--write"]:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        stale = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            sys.stderr.write(f"{path} differs from the code: run `python -m {module} --write`\n")
        return 1 if stale else 0
    sys.stderr.write(f"usage: python -m {module} --check|--write\n")
    return 2
