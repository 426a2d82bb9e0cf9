"""What the installed Compose makes of files, beside what guardian makes of them; and containers that it creates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.compose_projects import FOLDER, REFUSED, REFUSED_BY_V2, SIZES
from support.images import BUSYBOX
from support.private_engine import PrivateEngine

from guardian.compose.command import Compose, ComposeCalls, find_compose
from guardian.compose.files import find_files, read_files, variables_of
from guardian.compose.model import ComposeService
from guardian.compose.project import read_project
from guardian.errors import ComposeError


@pytest.fixture(scope="module")
def compose() -> Compose:
    found = find_compose(os.environ)
    assert found, "no Compose here: apt-get install docker-compose"
    return found[0]


def comparable(service: ComposeService) -> ComposeService:
    """Without what Compose writes otherwise and means the same by: ranges of ports as single ones, one after the other."""
    ports = sorted({(int(port.target.split("-")[0]), port.protocol) for port in service.ports})
    return replace(service, ports=(), labels={"ports": repr(ports[:1])}, place=replace(service.place, line=None, column=None))


@pytest.mark.parametrize("name", SIZES)
def test_guardian_reads_what_compose_reads(name: str, compose: Compose) -> None:
    """Guardian's own reading of a project is that of Compose, service by service; what Compose refuses, guardian reads alone."""
    files = find_files(FOLDER / name, {})
    own = read_files(files, FOLDER / name, variables_of(FOLDER / name, {}))
    whole = read_project(files, environ={}, composes=[compose])
    assert set(whole.services) == set(own.services)
    assert len(whole.services) == SIZES[name]
    if whole.read_by == "guardian":
        assert re.search({**REFUSED, **REFUSED_BY_V2}[name], str(whole.problems[0]))
        return
    for service in own.services.values():
        theirs = whole.services[service.name]
        assert comparable(theirs) == comparable(replace(service, depends_on=theirs.depends_on))
        assert set(theirs.depends_on) == set(service.depends_on), service.name


@pytest.fixture
def calls(engine_host: PrivateEngine, tmp_path: Path) -> Iterator[ComposeCalls]:
    """A project of three services on the private engine; nothing of it is left afterwards."""
    file = tmp_path / "compose.yml"
    file.write_text(f"""
services:
  db: {{image: "{BUSYBOX}", command: sleep 1000, network_mode: none, stop_grace_period: 0s}}
  app: {{image: "{BUSYBOX}", command: sleep 1000, network_mode: none, depends_on: [db], scale: 2, stop_grace_period: 0s}}
  debug: {{image: "{BUSYBOX}", command: sleep 1000, network_mode: none, profiles: [debug], stop_grace_period: 0s}}
""")
    compose = find_compose(os.environ, engine_host.url)[0]
    made = ComposeCalls(compose, (file,), tmp_path, "composed")
    yield made
    compose.run(["--file", str(file), "--project-name", "composed", "--profile", "debug", "down", "--timeout", "0"], 60.0)


def states(engine: PrivateEngine) -> dict[str, list[str]]:
    """States of the project's containers, by service."""
    client = engine.client()
    try:
        rows = client.containers(all=True, filters={"label": "com.docker.compose.project=composed"})
    finally:
        client.close()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["Labels"]["com.docker.compose.service"], []).append(row["State"])
    return found


def test_compose_creates_only_what_it_is_asked_for(calls: ComposeCalls, engine_host: PrivateEngine) -> None:
    """Compose creates the services that are named, starts none, and leaves their dependencies alone."""
    calls.create(["app"])
    assert states(engine_host) == {"app": ["created", "created"]}
    calls.create(["db", "debug"])
    assert states(engine_host) == {"app": ["created", "created"], "db": ["created"], "debug": ["created"]}
    with pytest.raises(ComposeError, match="nobody"):
        calls.create(["nobody"])
