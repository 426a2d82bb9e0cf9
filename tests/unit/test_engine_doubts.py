"""What came of an order that had no good answer: refused is only what the engine itself refused, and may not be doing all the same."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.any_engine import AnyEngine, framed

from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.errors import EngineRefused, EngineTimeout
from guardian.model import Result
from guardian.telemetry import NullTelemetry

PATIENCE_S = 20.0  # only a test that fails waits so long
WEB = "ab" * 32
FORBIDDEN = framed(b'{"message": "the filter says no"}', "403 Forbidden")
NOT_STOPPED = framed(b'{"message": "cannot stop container"}', "500 Internal Server Error")
NO_ANSWER = framed(b"<html>", "502 Bad Gateway")
DONE = framed(b"", "204 No Content")


class Stage:
    """An engine with one container that is in `state`, None: nobody can tell; `orders` has its answer to each order, None: it hangs."""

    def __init__(self, folder: Path) -> None:
        self.state: str | None = "running"
        self.orders: dict[str, bytes | None] = {}
        self._over = threading.Event()
        self._server = AnyEngine(folder / "engine.sock")
        self._server.answering = self._answer
        self.engine = DockerEngine(self._server.url, 5.0, SystemClock(), NullTelemetry())

    def _answer(self, method: str, route: str) -> bytes:
        if method == "GET" and self.state is None:
            return NO_ANSWER
        if method == "GET":
            return framed(json.dumps({"State": {"Status": self.state}, "HostConfig": {}}).encode())
        answer = self.orders[route.rpartition("/")[2]]
        if answer is None:
            self._over.wait(PATIENCE_S)
        return answer or DONE

    def close(self) -> None:
        self._over.set()
        self.engine.close()
        self._server.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        stage = Stage(Path(folder))
        yield stage
        stage.close()


def test_a_kill_that_is_refused_after_a_stop_had_no_answer_leaves_the_stop_in_doubt(stage: Stage) -> None:
    """A kill that is refused after a stop had no answer leaves the stop in doubt: the engine still works at it. Its words are kept."""
    stage.orders = {"stop": None, "kill": FORBIDDEN}
    with pytest.raises(EngineTimeout, match="the filter says no"):
        stage.engine.stop(WEB, 0.1, 0.8)


ORDERS: dict[str, Callable[[DockerEngine], Result]] = {
    "stop": lambda engine: engine.stop(WEB, 1, 5),
    "kill": lambda engine: engine.kill(WEB, 5),
    "restart": lambda engine: engine.restart(WEB, 1, 5),
    "start": lambda engine: engine.start(WEB, 5),
    "update": lambda engine: engine.set_cpu_quota(WEB, 0.5, 5),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout"])
def test_an_order_that_a_proxy_had_no_answer_to_is_in_doubt(stage: Stage, order: str, status: str) -> None:
    """An order to which a proxy in between had no answer of the engine is in doubt, and not refused: it may still be done."""
    stage.orders = {order: framed(b"<html>", status)}
    with pytest.raises(EngineTimeout, match=f"status {status[:3]}"):
        ORDERS[order](stage.engine)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("answer", [FORBIDDEN, NOT_STOPPED])
def test_an_order_that_the_engine_refuses_is_refused_in_its_words(stage: Stage, order: str, answer: bytes) -> None:
    """An order that the engine, or a filter before it, refuses while the container runs on is refused, in its words."""
    stage.orders = {order: answer}
    with pytest.raises(EngineRefused, match=r"the filter says no|cannot stop container"):
        ORDERS[order](stage.engine)


@pytest.mark.parametrize("answer", [NOT_STOPPED, NO_ANSWER])
@pytest.mark.parametrize("order", ["stop", "kill"])
def test_a_stop_that_failed_and_ended_the_container_all_the_same_is_done(stage: Stage, order: str, answer: bytes) -> None:
    """A stop to which the answer is an error, and after which the container has ended, is done: nothing that is down by it is forgotten."""
    stage.orders = {order: answer}
    stage.state = "exited"
    assert ORDERS[order](stage.engine) is Result.DONE


def test_a_stop_that_failed_while_nobody_can_tell_whether_it_ended_is_in_doubt(stage: Stage) -> None:
    """A stop that failed is in doubt while nobody can tell whether the container ended, as where the engine itself is being stopped."""
    stage.orders = {"stop": NOT_STOPPED}
    stage.state = None
    with pytest.raises(EngineTimeout, match="cannot stop container"):
        ORDERS["stop"](stage.engine)
