"""The tutorial, command by command, on a real engine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.private_engine import PrivateEngine
from support.source import PACKAGED, ROOT, copied, wheels
from support.tutorial import Tutorial, without_figures

pytestmark = pytest.mark.long
PAGE = ROOT / "docs/tutorial.md"
DEVELOPERS = Path(sys.executable).parent
LONG_AGO_S = 1e9


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A newcomer's, with nothing in it. What comes from PyPI comes from a folder here."""
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def path(tmp_path: Path, home: Path) -> str:
    """Where a newcomer's shell looks for commands: no environment of a developer's, but for pipx."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pipx").symlink_to(DEVELOPERS / "pipx")
    if (
        compose := shutil.which("docker-compose")
    ) is not None:  # as Debian 12 has it: a program of its own, and no plugin of docker
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\n[ "$1" = compose ] || exec {shutil.which("docker")} "$@"\nshift\nexec {compose} "$@"\n')
        docker.chmod(0o755)
    others = [one for one in os.environ["PATH"].split(":") if Path(one) != DEVELOPERS]
    return ":".join([str(programs), str(home / ".local/bin"), *others])


@pytest.fixture
def tutorial(standin_engine: PrivateEngine, tmp_path: Path, home: Path, path: str) -> Iterator[Tutorial]:
    """In a copy of the source, with the tests' engine as the one that docker talks to."""
    source = copied(tmp_path / "source", LONG_AGO_S, 0o644, (*PACKAGED, "scripts", "Makefile", "requirements-dev.txt"))
    (source / ".venv").symlink_to(sys.prefix)  # newer than its locks, so that make leaves it as it is
    offline = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(wheels())}
    shell = {"HOME": str(home), "PATH": path, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    tutorial = Tutorial(PAGE.read_text(), source, {**shell, **offline, "DOCKER_HOST": standin_engine.url})
    yield tutorial
    tutorial.close()
    client = standin_engine.client()
    for container in client.containers(all=True, filters={"label": "com.docker.compose.project=shop"}):
        client.remove_container(container["Id"], force=True)
    client.close()


def test_every_command_of_the_tutorial_prints_what_the_page_shows(tutorial: Tutorial, home: Path, path: str) -> None:
    """Every command of the tutorial works, by the guardian that it installs, and prints what the page shows, but for figures.

    WRITE_TUTORIAL=1 writes the page anew.
    """
    assert shutil.which("guardian", path=path) is None
    now = tutorial.run()
    installed = shutil.which("guardian", path=path)
    assert installed is not None
    assert Path(installed).resolve().is_relative_to(home)
    if os.environ.get("WRITE_TUTORIAL"):
        PAGE.write_text(now)
    assert without_figures(now) == without_figures(PAGE.read_text())
