"""Pages that are written from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.engine.endpoints import ENDPOINTS
from guardian.engine.reference import PATH, reference
from guardian.generated import main


def test_check_and_write_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names each page that differs, --write makes them current, and anything else is wrong usage."""
    pages = {tmp_path / "one.md": "one\n", tmp_path / "two.md": "two\n"}
    (tmp_path / "two.md").write_text("two\n")
    assert main("guardian.some.reference", pages, ["--check"]) == 1
    assert (
        capsys.readouterr().err == f"{tmp_path}/one.md differs from the code: run `python -m guardian.some.reference --write`\n"
    )
    assert main("guardian.some.reference", pages, ["--write"]) == 0
    assert main("guardian.some.reference", pages, ["--check"]) == 0
    assert main("guardian.some.reference", pages, []) == 2


def test_the_page_of_calls_is_current() -> None:
    """docs/engine-api.md is what the code says, and has every call."""
    assert PATH.read_text(encoding="utf-8") == reference()
    assert all(f"`{one.method} {one.path}`" in reference() and one.pattern in reference() for one in ENDPOINTS)
