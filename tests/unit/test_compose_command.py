"""Compose is asked where it is installed; here a script stands in for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.compose.command import Compose, ComposeCalls, find_compose
from guardian.compose.model import Condition, Dependency
from guardian.compose.project import read_project
from guardian.errors import ComposeError, ConfigError

FILE = """\
services:
  web: {image: web, depends_on: [db], profiles: [front]}
  db: {image: db}
"""


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def stand_in(folder: Path, script: str) -> Compose:
    """A Compose that notes how it is called, and then does what `script` says."""
    made = program(folder / "compose", f'echo "$@" >>{folder}/calls\n{script}')
    return Compose((str(made),), os.environ)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "app" / "compose.yml"
    file.parent.mkdir()
    file.write_text(FILE)
    return file


def test_what_compose_says_goes_before_what_guardian_reads(tmp_path: Path, file: Path) -> None:
    """Compose's own reading is taken, with every profile active, and each service keeps its place in the file."""
    compose = stand_in(
        tmp_path,
        "cat <<'END'\nservices: {db: {image: 'db:resolved'}, web: {image: web, depends_on: {db: {condition: service_healthy}}}}\nEND",
    )
    project = read_project([file], environ={}, composes=[compose])
    assert project.read_by == compose.name
    assert project.services["db"].image == "db:resolved"
    assert project.services["web"].depends_on == (Dependency("db", Condition.HEALTHY),)
    assert (project.services["web"].place.file, project.services["web"].place.line) == (str(file), 2)
    assert calls(tmp_path) == [f"--file {file} --project-directory {file.parent} --project-name app --profile front config"]


def test_a_service_that_compose_leaves_out_is_not_lost(tmp_path: Path, file: Path) -> None:
    """A service that Compose leaves out is kept as guardian read it, and that is said."""
    compose = stand_in(tmp_path, "echo 'services: {db: {image: db}}'")
    project = read_project([file], environ={}, composes=[compose])
    assert list(project.services) == ["web", "db"]
    assert [problem.path for problem in project.problems] == ["services.web"]


def test_guardian_reads_what_compose_refuses(tmp_path: Path, file: Path) -> None:
    """Where Compose refuses the files, the next one is asked, and guardian reads them last; the refusal is told."""
    refusing = stand_in(tmp_path, "echo 'Circular dependency' >&2; exit 1")
    silent = Compose((str(program(tmp_path / "silent", "echo '{}'")),), os.environ)
    project = read_project([file], environ={}, composes=[refusing, silent])
    assert project.read_by == "guardian"
    assert set(project.services) == {"web", "db"}
    assert "Circular dependency" in str(project.problems[0])


def test_files_that_nobody_can_read_are_refused_with_their_lines(tmp_path: Path) -> None:
    """Where neither can read a file, the mistakes are guardian's, with their lines."""
    broken = tmp_path / "broken.yml"
    broken.write_text("services:\n  a: [\n")
    with pytest.raises(ConfigError, match=r"broken\.yml:3: not valid YAML"):
        read_project([broken], environ={}, composes=[stand_in(tmp_path, "exit 1")])


def test_compose_that_can_read_more_than_guardian_is_believed(tmp_path: Path) -> None:
    """A file that guardian cannot read is taken from Compose alone."""
    odd = tmp_path / "odd.yml"
    odd.write_text("services: [\n")
    project = read_project([odd], "named", environ={}, composes=[stand_in(tmp_path, "echo 'services: {a: {image: x}}'")])
    assert (project.name, list(project.services), project.directory) == ("named", ["a"], tmp_path)


def test_created_are_only_the_services_that_are_named(tmp_path: Path, file: Path) -> None:
    """Services are created alone, without what they depend on, and what exists is not made anew."""
    made = ComposeCalls(stand_in(tmp_path, "true"), (file,), file.parent, "app")
    made.create(["db"])
    made.create(["db", "web"])
    made.create([])
    which = f"--file {file} --project-directory {file.parent} --project-name app"
    assert calls(tmp_path) == [
        f"{which} up --no-start --no-deps --no-recreate db",
        f"{which} up --no-start --no-deps --no-recreate db web",
    ]


def test_only_the_program_may_wait_in_a_creation(file: Path) -> None:
    """The plugin is v2, which does not wait for conditions where it creates; the program may be v1, which does."""
    assert not ComposeCalls(Compose(("docker", "compose"), {}), (file,), file.parent, "app").waits
    assert ComposeCalls(Compose(("docker-compose",), {}), (file,), file.parent, "app").waits


def test_a_call_that_fails_says_what_compose_said(tmp_path: Path, file: Path) -> None:
    """A call that fails, hangs or cannot be made is an error with Compose's last words."""
    failing = ComposeCalls(stand_in(tmp_path, "echo 'no such image' >&2; exit 17"), (file,), file.parent, "app")
    with pytest.raises(ComposeError, match=r"it ended with 17; .*\nno such image"):
        failing.create(["db"])
    hanging = ComposeCalls(stand_in(tmp_path, "exec sleep 60"), (file,), file.parent, "app")
    with pytest.raises(ComposeError, match=r"not done within 0\.1 s"):
        hanging.create(["db"], within_s=0.1)
    with pytest.raises(ComposeError, match="No such file"):
        Compose((str(tmp_path / "none"),), {}).run(["version"], 1.0)


def test_the_plugin_goes_before_the_program(tmp_path: Path) -> None:
    """The plugin of `docker` goes before `docker-compose`; what is not installed is left out."""
    there = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    assert find_compose({"PATH": str(tmp_path)}) == ()
    program(tmp_path / "bin" / "docker-compose", "exit 0")
    program(tmp_path / "bin" / "docker", "exit 1")
    assert [compose.name for compose in find_compose(there)] == ["docker-compose"]
    program(tmp_path / "bin" / "docker", '[ "$1" = compose ] && [ "$DOCKER_HOST" = unix:///x.sock ]')
    assert [compose.name for compose in find_compose(there, "unix:///x.sock")] == ["docker compose", "docker-compose"]
