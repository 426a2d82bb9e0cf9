"""Pages that are written from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian import messages
from guardian.engine.endpoints import ENDPOINTS
from guardian.engine.reference import PATH, reference
from guardian.errors import EXIT_CODES, GuardianError
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


def test_the_page_of_errors_has_every_line_of_the_log_and_every_exit_code() -> None:
    """docs/errors.md says what each line of the log from warning on means, and what each exit code; none that there is not."""
    assert messages.log_lines() == messages.LOG.keys(), (
        "guardian/messages.py says in LOG what each means and what to do; then `make docs`"
    )
    codes = {error.exit_code for error in (GuardianError, *everything_below(GuardianError))}
    assert codes <= EXIT_CODES.keys()
    page = messages.reference()
    assert all(f"| {code} | {means} | " in page for code, means in EXIT_CODES.items())
    assert messages.PATH.read_text(encoding="utf-8") == page


def everything_below(error: type[GuardianError]) -> set[type[GuardianError]]:
    return {one for below in error.__subclasses__() for one in (below, *everything_below(below))}


def test_the_page_of_errors_shows_words_for_what_differs() -> None:
    """A message stands in the page as it is written, with a word for each part that differs, and with what to do beside it."""
    page = messages.reference()
    assert (
        "| no guardian answers at FILE | start it (systemctl start guardian), or name its control socket by --control |" in page
    )
    assert "| …: REASON | name one that is there |" in page
    assert "| web.listen: LISTEN: not allowed | use a port above 1023 |" in page
    assert "| the engine at URL did not answer within Ns | it may be overloaded" in page
