"""The tutorial, command by command, on a real engine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.private_engine import PrivateEngine
from support.tutorial import Tutorial, without_figures

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "tutorial.md"


@pytest.fixture
def tutorial(standin_engine: PrivateEngine, tmp_path: Path) -> Iterator[Tutorial]:
    """In a copy of its folder, with the tests' engine as the one that docker talks to."""
    shutil.copytree(DOCS / "tutorial", tmp_path / "docs/tutorial")
    programs = tmp_path / "bin"
    programs.mkdir()
    if (
        compose := shutil.which("docker-compose")
    ) is not None:  # as Debian 12 has it: a program of its own, and no plugin of docker
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\n[ "$1" = compose ] || exec {shutil.which("docker")} "$@"\nshift\nexec {compose} "$@"\n')
        docker.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    tutorial = Tutorial(
        PAGE.read_text(), tmp_path, {**os.environ, "PATH": path, "DOCKER_HOST": standin_engine.url, "NO_COLOR": "1"}
    )
    yield tutorial
    tutorial.close()
    client = standin_engine.client()
    for container in client.containers(all=True, filters={"label": "com.docker.compose.project=shop"}):
        client.remove_container(container["Id"], force=True)
    client.close()


def test_every_command_of_the_tutorial_prints_what_the_page_shows(tutorial: Tutorial) -> None:
    """Every command of the tutorial works, and prints what the page shows, but for figures; WRITE_TUTORIAL=1 writes the page anew."""
    now = tutorial.run()
    if os.environ.get("WRITE_TUTORIAL"):
        PAGE.write_text(now)
    assert without_figures(now) == without_figures(PAGE.read_text())
