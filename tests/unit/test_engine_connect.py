"""Which engine is meant, and how a connection behaves when what answers is not a well-behaved Docker Engine."""

from __future__ import annotations

import json
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue

import pytest
from support.trouble import an_engine
from urllib3 import HTTPSConnectionPool

from guardian.clock import SystemClock
from guardian.config.schema import Config, EngineConfig, PhaseConfig
from guardian.engine.connect import LOCAL_SOCKET, open_engine, resolve
from guardian.engine.docker import DockerEngine
from guardian.engine.endpoints import EVENTS, INFO, LIST, Endpoint
from guardian.engine.link import MAX_ANSWER_BYTES, Link
from guardian.engine.pools import open_pool, read_tls
from guardian.errors import EngineError, EngineProtocolError, EngineRefused, EngineTimeout, EngineUnreachable
from guardian.telemetry import NullTelemetry

SLOW = Endpoint("slow", "GET", "/slow", "")
Reply = Callable[[str], tuple[int, str]]


@pytest.mark.parametrize(
    ("url", "environment", "resolved"),
    [
        ("auto", {}, LOCAL_SOCKET),
        ("auto", {"DOCKER_HOST": ""}, LOCAL_SOCKET),
        ("auto", {"DOCKER_HOST": "tcp://host:2375", "DOCKER_CONTEXT": "other"}, "tcp://host:2375"),
        ("unix:///run/docker.sock", {"DOCKER_HOST": "tcp://host:2375"}, "unix:///run/docker.sock"),
    ],
)
def test_the_engine_is_the_files_else_docker_hosts_else_the_local_one(
    url: str, environment: dict[str, str], resolved: str
) -> None:
    """The engine is the file's, else DOCKER_HOST's, else the local one."""
    assert resolve(url, environment) == resolved


@pytest.mark.parametrize(
    ("url", "environment", "source"),
    [("docker.sock", {}, "engine.url"), ("auto", {"DOCKER_HOST": "ssh://me@host"}, "DOCKER_HOST")],
)
def test_an_engine_that_guardian_cannot_talk_to_is_told_with_where_it_was_written(
    url: str, environment: dict[str, str], source: str
) -> None:
    """An engine that guardian cannot talk to is told, with where it was written."""
    with pytest.raises(EngineError, match=f"{source}: .*write unix:///"):
        resolve(url, environment)


def test_certificates_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates that are missing are told, with what the folder needs."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    config = Config(version=1, phases=(PhaseConfig(phase=1),), engine=EngineConfig(url="tcp://127.0.0.1:1"))
    with pytest.raises(EngineError, match=r"DOCKER_CERT_PATH: .*ca\.pem, cert\.pem and key\.pem"):
        open_engine(config, SystemClock(), NullTelemetry())


def test_opening_an_engine_makes_no_connection() -> None:
    """Opening an engine makes no connection."""
    config = Config(version=1, phases=(PhaseConfig(phase=1),), engine=EngineConfig(url="unix:///no/such/socket"))
    open_engine(config, SystemClock(), NullTelemetry()).close()


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], Link]]:
    """Starts a server on a socket that answers a path as told, and gives a link to it."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        servers: list[socketserver.ThreadingUnixStreamServer] = []
        links: list[Link] = []

        def start(reply: Reply) -> Link:
            path = Path(folder) / f"{len(servers)}.sock"

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_GET(self) -> None:
                    status, text = reply(self.path)
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text.encode())

                def address_string(self) -> str:
                    return "unix"

                def log_message(self, *_: object) -> None: ...

            server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            servers.append(server)
            links.append(Link(f"unix://{path}", 2, SystemClock(), NullTelemetry()))
            return links[-1]

        yield start
        for link in links:
            link.close()
        for server in servers:
            server.shutdown()
            server.server_close()


def test_an_engine_that_comes_back_with_another_api_version_is_used_with_that(serve: Callable[[Reply], Link]) -> None:
    """An engine that comes back with another API version is used with that."""
    version = ["1.41"]

    def reply(path: str) -> tuple[int, str]:
        if path == "/version":
            return 200, json.dumps({"ApiVersion": version[0]})
        if path.startswith(f"/v{version[0]}/"):
            return 200, json.dumps({"spoken": version[0]})
        return 400, json.dumps({"message": f"client version is too old. Minimum supported API version is {version[0]}"})

    link = serve(reply)
    assert link.get(INFO, 2) == {"spoken": "1.41"}
    version[0] = "1.52"
    assert link.get(INFO, 2) == {"spoken": "1.52"}
    assert link.api_version() == "1.52"


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.52", "1.44", "1.52"),
        ("1.60", "1.44", "1.52"),
        ("1.100", "1.60", "1.60"),
        ("1.9", None, "1.9"),
    ],
)
def test_no_api_version_newer_than_those_known_is_spoken_unless_the_engine_takes_no_older_one(
    serve: Callable[[Reply], Link], newest: str, oldest: str | None, spoken: str
) -> None:
    """No API version newer than those known is spoken, unless the engine takes no older one."""
    answer = {"ApiVersion": newest} | ({} if oldest is None else {"MinAPIVersion": oldest})
    assert serve(lambda _: (200, json.dumps(answer))).api_version() == spoken


def test_something_else_than_an_engine_is_told(serve: Callable[[Reply], Link]) -> None:
    """Something else than an engine is told."""
    with pytest.raises(EngineProtocolError, match="does not say which Docker API"):
        serve(lambda _: (200, "<html>")).get(INFO, 2)


def test_a_refusal_carries_the_engines_own_words(serve: Callable[[Reply], Link]) -> None:
    """A refusal carries the engine's own words."""

    def reply(path: str) -> tuple[int, str]:
        return (200, '{"ApiVersion": "1.41"}') if path == "/version" else (500, '{"message": "the disk is full"}')

    with pytest.raises(EngineRefused, match="the disk is full"):
        serve(reply).get(INFO, 2)


def test_closing_ends_a_call_over_tcp_too() -> None:
    """Closing ends a call over TCP at once, not at its deadline; later calls are refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link(f"tcp://127.0.0.1:{server.getsockname()[1]}", 60, SystemClock(), NullTelemetry())
        failures: Queue[EngineError] = Queue()

        def ask() -> None:
            try:
                link.get(INFO, 60)
            except EngineError as error:
                failures.put(error)

        threading.Thread(target=ask, daemon=True).start()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(4096).startswith(b"GET /version HTTP/1.1")
            answer = b'{"ApiVersion": "1.45"}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            assert connection.recv(4096).startswith(b"GET /v1.45/info HTTP/1.1")
            link.close()
            assert isinstance(failures.get(timeout=20), EngineUnreachable)
    with pytest.raises(EngineUnreachable, match="was closed"):
        link.get(INFO, 60)


def test_an_answer_that_stops_halfway_is_a_timeout() -> None:
    """An answer that stops halfway is a timeout at the deadline, and no half answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link(f"tcp://127.0.0.1:{server.getsockname()[1]}", 0.2, SystemClock(), NullTelemetry())

        def answer_half() -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ApiVersion": "1.45"')
            connection.recv(1)  # until the other side leaves
            connection.close()

        threading.Thread(target=answer_half, daemon=True).start()
        with pytest.raises(EngineTimeout, match=r"did not answer within 0\.2s"):
            link.api_version()


def test_a_tcp_address_where_nobody_listens_is_told_with_the_reason() -> None:
    """A TCP address where nobody listens is told, with the operating system's reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(EngineUnreachable, match=f"{address}: Connection refused"):
        Link(address, 1, SystemClock(), NullTelemetry()).api_version()


@pytest.mark.parametrize(("verify", "requirement"), [(True, "CERT_REQUIRED"), (False, "CERT_NONE")])
def test_certificates_are_used_as_the_variables_say(tmp_path: Path, verify: bool, requirement: str) -> None:
    """The certificates of DOCKER_CERT_PATH are used, and the engine's own is verified where DOCKER_TLS_VERIFY says so."""
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    tls = read_tls({"DOCKER_CERT_PATH": str(tmp_path), **({"DOCKER_TLS_VERIFY": "1"} if verify else {})})
    pool = open_pool("tcp://engine.example:2376", tls)
    assert isinstance(pool, HTTPSConnectionPool)
    assert (pool.host, pool.port, pool.cert_reqs) == ("engine.example", 2376, requirement)
    assert (pool.cert_file, pool.key_file) == (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert pool.ca_certs == (str(tmp_path / "ca.pem") if verify else None)


def test_an_answer_that_is_late_is_a_timeout(serve: Callable[[Reply], Link]) -> None:
    """An answer that is late is a timeout, and the next call is made all the same."""
    slow = threading.Event()

    def reply(path: str) -> tuple[int, str]:
        if path.endswith("/slow"):
            slow.wait(5)
        return 200, '{"ApiVersion": "1.41"}'

    link = serve(reply)
    with pytest.raises(EngineTimeout, match=r"did not answer within 0\.1s"):
        link.get(SLOW, 0.1)
    slow.set()
    assert link.get(INFO, 2)


def test_an_answer_in_drops_keeps_the_deadline(tmp_path: Path) -> None:
    """An answer that comes in drops ends at the call's deadline, although no single read of it is late."""
    left = threading.Event()

    class Drops(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if b"/version" in self.rfile.readline():
                self.wfile.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 22\r\n\r\n{"ApiVersion": "1.41"}')
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            with suppress(OSError):
                while not left.wait(0.02):
                    self.wfile.write(b" ")

    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "drops.sock"), Drops) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        link = Link(f"unix://{tmp_path}/drops.sock", 2, SystemClock(), NullTelemetry())
        with pytest.raises(EngineTimeout, match=r"did not answer within 0\.2s"):
            link.get(INFO, 0.2)
        left.set()
        link.close()
        server.shutdown()


def test_a_stream_whose_line_never_ends_is_given_up(tmp_path: Path) -> None:
    """A stream whose line never ends is given up before it is memory."""

    class Endless(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if b"/version" in self.rfile.readline():
                self.wfile.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 22\r\n\r\n{"ApiVersion": "1.41"}')
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 65536)

    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "endless.sock"), Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        link = Link(f"unix://{tmp_path}/endless.sock", 20, SystemClock(), NullTelemetry())
        with pytest.raises(EngineUnreachable, match="ended the stream"):
            list(link.stream(EVENTS, 20, {}))
        link.close()
        server.shutdown()


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a": NaN}', '"\\ud800"'])
def test_what_is_no_json_by_its_standard_is_a_protocol_error(body: str, serve: Callable[[Reply], Link]) -> None:
    """NaN, half a surrogate pair, and lists within lists without end are no JSON: an error of guardian's own."""
    link = serve(lambda path: (200, '{"ApiVersion": "1.41"}' if path.endswith("/version") else body))
    with pytest.raises(EngineProtocolError, match="no JSON"):
        link.get(LIST, 2)


def test_an_answer_that_is_too_large_is_not_taken_in(serve: Callable[[Reply], Link]) -> None:
    """An answer beyond the bound is an error and not memory, and one within it is read over the same connection again."""
    sizes = [MAX_ANSWER_BYTES, 10]
    link = serve(lambda path: (200, '{"ApiVersion": "1.41"}' if path.endswith("/version") else '"' + "x" * sizes.pop(0) + '"'))
    with pytest.raises(EngineProtocolError, match="larger than 32 MiB"):
        link.get(LIST, 20)
    assert link.get(LIST, 2) == "x" * 10


@pytest.mark.parametrize("body", [b"<html>", {"a": [None]}], ids=["no JSON", "of another form"])
def test_an_answer_that_cannot_be_used_counts_as_an_error(body: object, tmp_path: Path) -> None:
    """An answer that ended well and is no JSON, or of another form, counts as an error of the protocol."""
    misunderstood: list[str] = []

    class Reports(NullTelemetry):
        def engine_not_understood(self, operation: str) -> None:
            misunderstood.append(operation)

    with an_engine(tmp_path / "engine.sock", {"info": body}) as url:
        engine = DockerEngine(url, 5, SystemClock(), Reports())
        with pytest.raises(EngineProtocolError):
            engine.info()
        engine.close()
    assert misunderstood == ["info"]
