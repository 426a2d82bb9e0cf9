"""`docs/coming-from-the-strategy.md` names only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from guardian.cli.main import COMMANDS, main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "coming-from-the-strategy.md").read_text()
CALLS = sorted(set(re.findall(r"`guardian ([a-z-]+)([^`]*)`", PAGE)))


@pytest.mark.parametrize(("name", "rest"), CALLS)
def test_every_command_of_the_page_exists_with_its_options(name: str, rest: str) -> None:
    """Each `guardian …` on the page is a command, and has the options that are given there."""
    assert name in COMMANDS
    command = main.get_command(click.Context(main), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest.split() if word.startswith("--")} <= known


def test_every_link_of_the_page_leads_somewhere() -> None:
    """Each file that the page links to is there."""
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / target).exists(), target
