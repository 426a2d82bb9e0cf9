"""Whatever is sent to the web side and to the control socket, an answer comes or the connection ends, and nothing of it is left."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.fake_daemon import FakeDaemon
from support.mangling import ODD, damaged, junk, mangled
from support.snapshots import AT_S, snapshot

from guardian import logs
from guardian.clock import VirtualClock
from guardian.expose.metrics import Metrics
from guardian.expose.orders import OrderKind
from guardian.expose.trace import Trace
from guardian.expose.web import WebServer

REQUESTS = (
    b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: application/openmetrics-text; version=1.0.0; q=0.5\r\n\r\n",
    b"HEAD /api/v1/status?a=1&b=2 HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}",
    b"GET //[::1/x HTTP/1.0\r\nAuthorization: Basic YTpi\r\n\r\n",
    b'POST /api/v1/orders HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"order":"hold"}',
    b"GET /api/v1/history?limit=10&since=5&service=demo%2Fweb HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
)
ORDER: dict[str, Any] = {"order": "shed", "services": ["kibana"], "all": False, "for_s": 5, "keep_phase": 1, "plan_only": True}
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ")


@pytest.fixture(scope="module")
def told() -> Iterator[list[str]]:
    """Whatever is logged from warning on: in place of whoever reads the log."""
    lines: list[str] = []
    before = logs._state.writer, logs._state.level

    class Kept:
        def put(self, line: str) -> None:
            lines.append(line)

        def close(self) -> None: ...

    logs._state.writer, logs._state.level = Kept(), logging.WARNING  # type: ignore[assignment]
    yield lines
    logs._state.writer, logs._state.level = before


@pytest.fixture(scope="module")
def web(told: list[str]) -> Iterator[Callable[[], socket.socket]]:
    metrics = Metrics(VirtualClock(AT_S))
    metrics.update(snapshot())
    server = WebServer("127.0.0.1:0", metrics, Trace(), lambda *_: (), VirtualClock(AT_S))
    server.start()
    yield lambda: socket.create_connection(server.address, timeout=5)
    server.close()


@pytest.fixture(scope="module")
def control(told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], socket.socket]]:
    path = tmp_path_factory.mktemp("control") / "control.sock"
    daemon = FakeDaemon(path)

    def connect() -> socket.socket:
        daemon.orders.clear()
        daemon.snapshot = snapshot()
        return to_unix(path)

    yield connect
    daemon.close()


def to_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(str(path))
    return sock


def ask(connect: Callable[[], socket.socket], raw: bytes) -> bytes:
    """All that comes back until the connection ends; our own side ends with the request."""
    with connect() as sock:
        answer = b""
        try:
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65536):
                answer += part
        except (ConnectionError, BrokenPipeError):
            pass
        return answer


def judged(answer: bytes, told: list[str]) -> int | None:
    """The status, where there is an answer; none is a 500, and nothing went wrong that a log would tell of."""
    lines = told[:]
    told.clear()
    assert lines == []
    if not answer:
        return None
    found = STATUS_LINE.match(answer)
    assert found, answer[:200]
    assert found[1] != b"500", answer[:2000]
    return int(found[1])


@given(st.sampled_from(REQUESTS).flatmap(damaged))
@example(b"GET //[ HTTP/1.1\r\n\r\n")
@example(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.x\r\n\r\n")
@example(b"GET /metrics HTTP/1.1\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000))
def test_any_bytes_to_the_web_side_are_borne(web: Callable[[], socket.socket], told: list[str], raw: bytes) -> None:
    """Any bytes to the web side are answered, never with a 500, or the connection ends; no mistake of guardian's is logged."""
    judged(ask(web, raw), told)


@given(st.sampled_from(REQUESTS).flatmap(damaged))
@example(b'POST /api/v1/orders HTTP/1.1\r\nContent-Length: 3\r\n\r\n"\x80"')
@example(b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: 30000\r\n\r\n" + b"[" * 30_000)
def test_any_bytes_to_the_control_socket_are_borne(control: Callable[[], socket.socket], told: list[str], raw: bytes) -> None:
    """Any bytes to the control socket are answered, never with a 500, or the connection ends; no mistake of guardian's is logged."""
    judged(ask(control, raw), told)


@given(
    st.one_of(
        mangled(ORDER),
        junk,
        st.builds(
            lambda kind, services, **more: {"order": kind, "services": services, **more},
            st.sampled_from(list(OrderKind)),
            st.lists(st.sampled_from([*ODD, "kibana", "postgres", "openpolicy/grafana", "openpolicy/"]), max_size=3),
            for_s=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([10**30, 10**400])),
            keep_phase=st.one_of(st.none(), st.integers()),
        ),
    )
)
def test_any_order_is_answered(control: Callable[[], socket.socket], told: list[str], body: Any) -> None:
    """Any JSON as an order is carried out or refused in words, and the status can be shown afterwards."""
    with control() as sock:
        address = sock.getpeername()
    content = json.dumps(body).encode()
    raw = b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
    answer = ask(lambda: to_unix(Path(address)), raw)
    assert judged(answer, told) is not None
    assert isinstance(json.loads(answer.partition(b"\r\n\r\n")[2]), dict)
    assert judged(ask(lambda: to_unix(Path(address)), b"GET /api/v1/status HTTP/1.1\r\n\r\n"), told) == 200


def test_requests_that_are_junk_leave_no_thread_behind(web: Callable[[], socket.socket], told: list[str]) -> None:
    """Hundreds of requests that are junk, or cut in the middle, leave no thread behind."""
    before = threading.active_count()
    for number in range(300):
        raw = REQUESTS[number % len(REQUESTS)]
        ask(web, raw[: number % len(raw)])
    ends_s = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < ends_s
        time.sleep(0.01)
    assert told == []
