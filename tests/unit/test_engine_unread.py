"""Containers that the engine lists and cannot inspect: they hide no other, and what is not known of them is not made up."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.any_engine import AnyEngine, framed
from support.waiting import eventually

from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.engine.protocol import Scope
from guardian.errors import EngineRefused, EngineUnreachable
from guardian.model import Container, ContainerState, Health
from guardian.sense.feed import Feed
from guardian.telemetry import NullTelemetry

PATIENCE_S = 20.0  # only a test that fails waits so long
SCOPE = Scope(("demo",))
INFO = {"ID": "E", "Name": "host", "ServerVersion": "26.1.5", "NCPU": 2, "MemTotal": 1 << 32, "DockerRootDir": "/data"}
BROKEN = framed(b'{"message": "RWLayer is unexpectedly nil"}', "500 Internal Server Error")
AGO = "2026-01-01T00:00:00Z"


class Stage:
    """An engine of containers by name, which are their ids too; `inspecting` may answer in its place, or hang on `over`."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self.states = {"web": "running", "api": "running", "db": "running"}
        self.labels: dict[str, dict[str, str]] = {}
        self.inspecting: Callable[[str], bytes | None] = lambda _name: None
        self.inspected: list[str] = []
        self.over = threading.Event()
        self._server = AnyEngine(folder / "engine.sock")
        self._server.answering = self._answer
        self.engine = DockerEngine(self._server.url, timeout_s, SystemClock(), NullTelemetry())

    def hangs(self, name: str) -> Callable[[str], bytes | None]:
        return lambda asked: self.over.wait(PATIENCE_S) and None if asked == name else None

    def breaks(self, *names: str) -> Callable[[str], bytes | None]:
        return lambda asked: BROKEN if asked in names else None

    def listed(self) -> dict[str, Container]:
        return {one.id: one for one in self.engine.containers(SCOPE)}

    def _answer(self, _method: str, route: str) -> bytes:
        if route == "/containers/json":
            return framed(json.dumps([self._row(name) for name in self.states]).encode())
        if not route.startswith("/containers/"):
            return framed(json.dumps(INFO).encode())
        name = route.split("/")[2]
        if route.endswith("/stats"):
            return framed(b"{}", "404 Not Found")
        self.inspected.append(name)
        return self.inspecting(name) or framed(json.dumps(self._inspect(name)).encode())

    def _labels(self, name: str) -> dict[str, str]:
        mine = {"com.docker.compose.project": "demo", "com.docker.compose.service": name}
        return mine | self.labels.get(name, {})

    def _row(self, name: str) -> dict[str, Any]:
        state = self.states[name]
        status = "Up 2 years (unhealthy)" if state == "running" else "Exited (0) 2 years ago"
        return {"Id": name, "Names": [f"/demo-{name}-1"], "State": state, "Status": status, "Labels": self._labels(name)}

    def _inspect(self, name: str) -> dict[str, Any]:
        running = self.states[name] == "running"
        state = {"Status": self.states[name], "ExitCode": 0, "StartedAt": AGO, "FinishedAt": "" if running else AGO, "Pid": 7}
        return {
            "Id": name,
            "Name": f"/demo-{name}-1",
            "State": state | {"Health": {"Status": "unhealthy"}},
            "Config": {"Labels": self._labels(name)},
            "HostConfig": {"Memory": 1 << 20, "AutoRemove": True},
        }

    def close(self) -> None:
        self.over.set()
        self.engine.close()
        self._server.close()


Make = Callable[..., Stage]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a stage; its engine's calls may take `timeout_s`."""
    with ExitStack() as made:

        def start(timeout_s: float = PATIENCE_S) -> Stage:
            stage = Stage(Path(made.enter_context(tempfile.TemporaryDirectory())), timeout_s)  # a socket's path must be short
            made.callback(stage.close)
            return stage

        yield start


FAILURES: dict[str, Callable[[Stage], Callable[[str], bytes | None]]] = {
    "is refused": lambda stage: stage.breaks("api"),
    "hangs": lambda stage: stage.hangs("api"),
    "is of another form": lambda _stage: lambda name: framed(b'{"a": 1}') if name == "api" else None,
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_container_that_cannot_be_inspected_hides_no_other(make: Make, what: str) -> None:
    """A container whose inspect is refused, hangs or is garbage hides no other: the engine is up, and the list complete."""
    stage = make(0.5)
    stage.inspecting = FAILURES[what](stage)
    feed = Feed(stage.engine, SCOPE, None, SystemClock(), NullTelemetry())
    with capture_logs() as log:
        feed.refresh(5.0)
    assert (feed.ready, feed.down) == (True, False)
    inventory = feed.current()
    assert inventory is not None
    assert {one.id: (one.unread, one.unknown) for one in inventory.containers} == {
        "web": (False, False),
        "api": (True, True),
        "db": (False, False),
    }
    assert [line["containers"] for line in log if "cannot be inspected" in line["event"]] == ["demo-api-1"]


def test_what_was_never_inspected_is_as_the_list_and_its_labels_say(make: Make) -> None:
    """A container that was never inspected is as the list and its labels say; nothing else of it is known."""
    stage = make()
    stage.labels["api"] = {
        "com.docker.compose.container-number": "3",
        "com.docker.compose.oneoff": "True",
        "com.docker.compose.depends_on": "db:service_healthy:false",
        "guardian.phase": "2",
    }
    stage.inspecting = stage.breaks("api")
    api = stage.listed()["api"]
    assert (api.name, api.service.name, api.state, api.health) == (
        "demo-api-1",
        "api",
        ContainerState.RUNNING,
        Health.UNHEALTHY,
    )
    assert (api.number, api.oneoff, api.depends_on, api.labels.phase) == (3, True, ("db",), 2)
    assert (api.started_s, api.started_wall_s, api.memory_limit_bytes, api.pid) == (None, None, None, None)


def test_what_was_known_of_a_container_stays_known_while_it_cannot_be_inspected(make: Make) -> None:
    """What was known of a container stays known while it cannot be inspected; once another state is listed, save that run's times."""
    stage = make()
    before = stage.listed()["api"]
    stage.inspecting = stage.breaks("api")
    stage.engine.invalidate(["api"])
    assert stage.listed()["api"] == replace(before, unread=True)
    stage.states["api"] = "exited"
    ended = stage.engine.inspect(SCOPE, ["api"])["api"]
    assert ended == stage.listed()["api"]
    assert (ended.state, ended.started_wall_s, ended.finished_wall_s, ended.exit_code) == (
        ContainerState.EXITED,
        None,
        None,
        None,
    )
    assert (ended.memory_limit_bytes, ended.auto_remove, ended.unknown) == (1 << 20, True, False)
    stage.inspecting = lambda _name: None
    assert stage.listed()["api"].finished_wall_s == before.started_wall_s
    assert not stage.listed()["api"].unread


def test_one_that_cannot_be_inspected_and_is_not_listed_is_gone(make: Make) -> None:
    """One that cannot be inspected when it is heard of is looked for in the list, and is gone where that has it no more."""
    stage = make()
    stage.listed()
    stage.inspecting = stage.breaks("api")
    assert stage.engine.inspect(SCOPE, ["api"])["api"].unread
    del stage.states["api"]
    assert stage.engine.inspect(SCOPE, ["api"]) == {}


def test_an_engine_that_can_inspect_nothing_says_why(make: Make) -> None:
    """An engine that can inspect nothing is of no use, and says why in its own words."""
    stage = make()
    stage.inspecting = stage.breaks("web", "api", "db")
    with pytest.raises(EngineRefused, match="RWLayer is unexpectedly nil"):
        stage.engine.containers(SCOPE)


def test_an_engine_that_goes_away_amid_its_inspects_is_down(make: Make) -> None:
    """A cut connection is no container's fault: an engine that goes away amid its inspects is down."""
    stage = make()
    stage.inspecting = lambda name: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{" if name == "api" else None
    with pytest.raises(EngineUnreachable):
        stage.engine.containers(SCOPE)


def test_what_runs_is_inspected_first_and_what_was_inspected_once_is_kept(make: Make) -> None:
    """Where there is no time to inspect all, what runs comes first, and later lists ask only for what is left."""
    stage = make(1.0)
    running = set(stage.states)
    stage.states = {f"old-{number}": "exited" for number in range(40)} | stage.states
    stage.inspecting = lambda name: None if name in running else stage.over.wait(PATIENCE_S) and None
    assert {name for name, one in stage.listed().items() if not one.unread} == running
    stage.over.set()
    stage.inspected.clear()
    eventually(lambda: not any(one.unread for one in stage.listed().values()), "all are inspected")
    assert set(stage.inspected) == stage.states.keys() - running
