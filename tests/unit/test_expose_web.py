"""The read-only web side, driven by real HTTP clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.snapshots import AT_S, snapshot

from guardian.clock import VirtualClock
from guardian.errors import GuardianError
from guardian.expose import http as served
from guardian.expose.metrics import Metrics
from guardian.expose.trace import Trace
from guardian.expose.web import ASSETS, PAGE, WebServer, not_alive, not_ready
from guardian.ledger.entries import HistoryRow
from guardian.model import ActionKind, Result, Sample, ServiceKey

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/api/v1/status", "/api/v1/history", "/api/v1/trace")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(VirtualClock(AT_S))


ROW = HistoryRow(1.0, ActionKind.SHED, ServiceKey("demo", "kibana"), 5, "memory", Result.DONE)


def rows_of_history(limit: int, since_wall_s: float | None, service: ServiceKey | None) -> tuple[HistoryRow, ...]:
    """One row, of `demo/kibana` at 1 s."""
    asked = (since_wall_s is None or since_wall_s <= ROW.at_wall_s) and service in (None, ROW.service)
    return (ROW,)[:limit] if asked else ()


def open_web(listen: str, metrics: Metrics, clock: VirtualClock | None = None) -> WebServer:
    return WebServer(listen, metrics, Trace(), rows_of_history, clock)


@pytest.fixture
def server(metrics: Metrics) -> Iterator[WebServer]:
    server = open_web("127.0.0.1:0", metrics, VirtualClock(AT_S + 1))
    server.start()
    yield server
    server.close()


def ask(server: WebServer, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def connect(server: WebServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=20)


def test_metrics_are_served(server: WebServer, metrics: Metrics) -> None:
    """Metrics are served, of the newest snapshot."""
    metrics.update(snapshot())
    status, headers, body = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"guardian_level 1.0" in body


def test_openmetrics_is_negotiated(server: WebServer) -> None:
    """OpenMetrics is negotiated."""
    _, headers, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_the_status_is_json(server: WebServer, metrics: Metrics) -> None:
    """The status is JSON; before the first tick it is 503."""
    assert ask(server, "/api/v1/status")[0] == 503
    metrics.update(snapshot())
    status, headers, body = ask(server, "/api/v1/status")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["level"] == "soft"


def test_the_page_links_to_every_address(server: WebServer, metrics: Metrics) -> None:
    """The status page links to every other address, and each of them is there."""
    metrics.update(snapshot())
    body = ask(server, "/")[2].decode()
    for path in PATHS[1:]:
        assert f'href="{path[1:]}"' in body
        assert ask(server, path)[0] == 200


@pytest.mark.parametrize("name", ASSETS)
def test_every_part_of_the_page_is_served_as_what_it_is(server: WebServer, name: str) -> None:
    """Every part of the page is served, as what it is; and there is no part that is not served."""
    status, headers, body = ask(server, "/" if name == "index.html" else f"/page/{name}")
    assert (status, headers["Content-Type"]) == (200, ASSETS[name])
    assert body == (PAGE / name).read_bytes()
    assert {part.name for part in PAGE.iterdir()} == set(ASSETS)


def test_the_page_may_load_what_is_here_and_nothing_else(server: WebServer) -> None:
    """The page's policy lets it load from guardian alone, with no script or style within the document."""
    policy = ask(server, "/")[1]["Content-Security-Policy"]
    assert {part.strip() for part in policy.split(";")} >= {"default-src 'none'", "script-src 'self'", "style-src 'self'"}
    assert "unsafe" not in policy
    document = (PAGE / "index.html").read_text()
    assert "<script>" not in document
    assert "style=" not in document
    assert "//" not in document


def test_history_is_served(server: WebServer) -> None:
    """The history is served as on the control socket; a bad question is 400, with a reason."""
    assert [row["service"] for row in json.loads(ask(server, "/api/v1/history?limit=5")[2])["history"]] == ["demo/kibana"]
    assert json.loads(ask(server, "/api/v1/history?since=2")[2]) == {"history": []}
    status, _, body = ask(server, "/api/v1/history?limit=none")
    assert (status, json.loads(body)["error"]) == (400, "limit: expected a number, got 'none'")


def test_health_is_503_until_a_tick_has_ended(server: WebServer, metrics: Metrics) -> None:
    """Health and readiness are 503 with a reason until a tick has ended, then 200."""
    for path in ("/healthz", "/readyz"):
        status, _, body = ask(server, path)
        assert (status, body) == (503, b"no tick has ended yet\n")
    metrics.update(snapshot())
    assert [ask(server, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_loop_that_stands_still_is_not_alive() -> None:
    """A loop whose last tick is more than 10 s old is not alive."""
    assert not_alive(snapshot(), AT_S + 10) == ""
    assert not_alive(snapshot(), AT_S + 11) == "the last tick was 11 s ago"


def test_a_slow_pace_is_given_ten_intervals() -> None:
    """Where ticks are rare, ten intervals may pass."""
    shown = snapshot()
    sampling = type(shown.config.sampling)(host=type(shown.config.sampling.host)(5))
    config = type(shown.config)(version=1, phases=shown.config.phases, sampling=sampling)
    assert not_alive(replace(shown, config=config), AT_S + 50) == ""
    assert not_alive(replace(shown, config=config), AT_S + 51)


def test_it_is_ready_once_containers_are_listed_or_the_engine_is_known_to_be_down() -> None:
    """It is ready once the containers are listed, or the engine is known to be down."""
    unlisted = replace(snapshot(), sample=Sample(snapshot().sample.host, None))
    assert not_ready(unlisted, AT_S) == "the containers have not been listed yet"
    assert not_ready(replace(unlisted, engine_up=False), AT_S) == ""
    assert not_ready(snapshot(), AT_S) == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_allowed(server: WebServer, method: str) -> None:
    """Nothing but reading is allowed, on any page."""
    for path in (*PATHS, "/api/v1/orders"):
        status, headers, _ = ask(server, path, method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_and_no_body(server: WebServer, metrics: Metrics) -> None:
    """HEAD has the headers of GET, and no body."""
    metrics.update(snapshot())
    status, headers, body = ask(server, "/api/v1/status", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(server, "/api/v1/status")[2])


def test_an_unknown_page_is_404(server: WebServer) -> None:
    """An unknown page is 404, whatever its path."""
    assert ask(server, "/etc/passwd")[0] == 404
    assert ask(server, "/metrics/../healthz")[0] == 404


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_every_answer_forbids_what_is_not_ours_and_sniffing(server: WebServer, path: str) -> None:
    """Every answer forbids what is not guardian's own, and sniffing, and is not to be stored."""
    headers = ask(server, path)[1]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 4000 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/7\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
    ],
)
def test_an_unreadable_request_is_refused_and_bounded(server: WebServer, sent: bytes, status: bytes) -> None:
    """A request that is too large or cannot be read is refused, with its reason."""
    with connect(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).split(b"\r\n")[0].split(b" ")[1] == status


def test_fifty_clients_at_once_are_all_served(server: WebServer, metrics: Metrics) -> None:
    """Fifty clients at once are all served."""
    metrics.update(snapshot())
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(server, "/metrics")[0], range(50)))
    assert answers == [200] * 50


def test_a_client_that_never_reads_holds_up_nobody(server: WebServer, metrics: Metrics) -> None:
    """Clients that ask and never read hold up nobody."""
    metrics.update(snapshot())
    silent = [connect(server) for _ in range(served.WORKERS - 1)]
    try:
        for client in silent:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert ask(server, "/healthz")[0] == 200
    finally:
        for client in silent:
            client.close()


def test_clients_that_send_nothing_are_cut_when_others_wait(
    monkeypatch: pytest.MonkeyPatch, server: WebServer, metrics: Metrics
) -> None:
    """When every worker is taken by a client that sends nothing, those are cut and the others served."""
    monkeypatch.setattr(served, "CROWDED_S", 0.1)
    metrics.update(snapshot())
    silent = [connect(server) for _ in range(2 * served.WORKERS)]
    try:
        assert ask(server, "/healthz")[0] == 200
    finally:
        for client in silent:
            client.close()


def test_threads_are_bounded(server: WebServer) -> None:
    """However many connect, there are at most so many threads."""
    before = threading.active_count()
    silent = [connect(server) for _ in range(4 * served.WORKERS)]
    try:
        assert threading.active_count() - before <= served.WORKERS
    finally:
        for client in silent:
            client.close()


def test_a_client_that_dribbles_is_cut_at_the_deadline(monkeypatch: pytest.MonkeyPatch, metrics: Metrics) -> None:
    """A client that sends its request bit by bit is cut at the deadline: the whole request counts, not each piece."""
    monkeypatch.setattr(served, "DEADLINE_S", 0.2)
    server = open_web("127.0.0.1:0", metrics)
    server.start()
    stop = threading.Event()
    with connect(server) as client:

        def dribble() -> None:
            while not stop.wait(0.02):
                try:
                    client.sendall(b"x")
                except OSError:
                    return

        writer = threading.Thread(target=dribble)
        writer.start()
        try:
            assert client.recv(100) == b""
        except ConnectionResetError:
            pass  # bytes under way when it was cut
        finally:
            stop.set()
            writer.join()
            server.close()


def test_a_taken_port_is_told_with_what_to_do(server: WebServer, metrics: Metrics) -> None:
    """A taken port is told, with the address and what to do."""
    listen = f"127.0.0.1:{server.address[1]}"
    with pytest.raises(GuardianError, match=f"{listen}: another process has this port; end it, or set another web.listen"):
        open_web(listen, metrics)


@pytest.mark.parametrize("listen", ["9877", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "192.0.2.1:9877", "no such:1"])
def test_an_address_that_cannot_be_listened_on_is_told(metrics: Metrics, listen: str) -> None:
    """An address that cannot be listened on is told."""
    with pytest.raises(GuardianError, match=r"^web\.listen: "):
        open_web(listen, metrics)


def test_ipv6_works(metrics: Metrics) -> None:
    """An IPv6 address in brackets works."""
    server = open_web("[::1]:0", metrics)
    server.start()
    try:
        assert ask(server, "/")[0] == 200
    finally:
        server.close()


def test_close_cuts_connections_and_frees_the_port(metrics: Metrics) -> None:
    """Closing cuts open connections, frees the port, and may be done twice."""
    server = open_web("127.0.0.1:0", metrics)
    server.start()
    address = server.address
    with connect(server) as client:
        client.sendall(b"GET /")
        server.close()
        server.close()
        client.settimeout(20)
        with contextlib.suppress(ConnectionResetError):  # it was never accepted
            assert client.recv(1) == b""
    open_web(f"127.0.0.1:{address[1]}", metrics).close()
