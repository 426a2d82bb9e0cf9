"""A small HTTP server for a few local readers, which none of them can hold up.

At most `WORKERS` connections are served at once, one request each; the rest wait in the kernel's queue. A connection that
takes longer than `DEADLINE_S` to send its request or to take its answer is cut; when all workers are busy, after `CROWDED_S`.
Request lines, headers and bodies are bounded.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from guardian import __version__, logs
from guardian.lasting import lasting
from guardian.workers import Workers

WORKERS = 16
DEADLINE_S = 10.0
CROWDED_S = 2.0
LOOK_EVERY_S = 2.0  # how often slow connections are looked for
CROWDED_LOOK_S = 0.5  # … while all workers are busy
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
_MOST_DIGITS = 18  # of a length
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True)
class Request:
    """`query` has the last value of each name. `peer` is whatever the server knows of the other side."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class Response:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


App = Callable[[Request], Response]

_log = logs.get("http")


def text(status: HTTPStatus, body: str) -> Response:
    return Response(status, body.encode() + b"\n")


def json(status: HTTPStatus, value: Any) -> Response:
    return Response(status, msgspec.json.encode(value, enc_hook=_plain) + b"\n", "application/json")


def _plain(value: object) -> float:
    """Sizes and durations of the configuration are numbers with a type of their own, which the encoder does not know."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be shown as JSON")


def not_allowed(*methods: str) -> Response:
    """405, naming the methods that are."""
    allowed = ", ".join(methods)
    body = f"this address takes {allowed} only\n".encode()
    return Response(HTTPStatus.METHOD_NOT_ALLOWED, body, headers={"Allow": allowed})


@dataclass(slots=True)
class _Connection:
    """`waiting_since_s` is None while the answer is being made: that is not the other side's fault."""

    sock: socket.socket
    waiting_since_s: float | None


class BoundedServer(socketserver.TCPServer):
    """Serves `app` on a socket that a subclass or the caller describes. Threads are daemons: they never keep a process alive."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        address: Any,
        app: App,
        family: socket.AddressFamily,
        wrap: Callable[[socket.socket], ssl.SSLSocket] | None = None,
        on_cut: Callable[[], None] = lambda: None,
    ) -> None:
        """`wrap` makes a TLS connection, its handshake still to be done, of an accepted one; None: connections stay plain.

        `on_cut` hears of each connection that took too long. One thread is there from the start: on a host that has none
        to give it answers one after the other.
        """
        self.address_family = family
        self.app = app
        self._wrap = wrap
        self._on_cut = on_cut
        self._spare = Workers("http", 1, ready=1)
        self._slots = threading.BoundedSemaphore(WORKERS)
        self._connections: dict[int, _Connection] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._thread: threading.Thread | None = None
        super().__init__(address, _Handler, bind_and_activate=False)

    def start(self, name: str) -> None:
        """Accept connections on a thread of its own, called `name`."""
        self._thread = lasting(self._accept, name)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more and cut every connection. May be called twice, and before `start`."""
        self._closing = True
        if self._thread is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
            self.shutdown()
            self._thread.join()
            self._thread = None
        self.server_close()
        self._cut_slower_than(0.0, count=False)

    def peer(self, sock: socket.socket) -> str:
        """Who is on the other side, for `Request.peer`."""
        return str(sock.getpeername())

    def server_close(self) -> None:
        super().server_close()
        self._spare.close()

    # --- socketserver ------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        if not self._closing:
            self.serve_forever(LOOK_EVERY_S)

    def service_actions(self) -> None:
        self._cut_slower_than(DEADLINE_S)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve on a thread. With all workers busy this waits, and so leaves new connections to the kernel."""
        while not self._slots.acquire(timeout=CROWDED_LOOK_S):
            self._cut_slower_than(CROWDED_S)
            if self._closing:
                self.shutdown_request(request)
                return
        try:
            connection = _Connection(request, time.monotonic())
            with self._lock:
                self._connections[id(connection)] = connection
            serve = partial(self._serve, connection, client_address)
        except MemoryError:
            self._slots.release()
            raise
        try:
            threading.Thread(target=serve, name="http", daemon=True).start()
        except (RuntimeError, MemoryError):  # the host has no thread to give
            try:
                self._spare.submit(serve)
            except RuntimeError:  # this server ends
                self._forget(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A cut connection is no news; anything else is a mistake of ours."""
        _log.warning("a connection failed", exc_info=True)

    def _serve(self, connection: _Connection, client_address: Any) -> None:
        try:
            if self._wrap is not None:
                secure = self._wrap(connection.sock)
                connection.sock = secure
                secure.settimeout(DEADLINE_S)
                secure.do_handshake()
            _Handler(connection, client_address, self)
        except OSError:
            pass  # the other side left, or was cut
        except Exception:
            self.handle_error(connection.sock, client_address)
        finally:
            self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.pop(id(connection), None)
        try:
            with contextlib.suppress(OSError):
                # What is left unread would make the kernel reset the connection, and the other side lose its answer.
                connection.sock.setblocking(False)
                connection.sock.recv(MAX_BODY_BYTES)
            self.shutdown_request(connection.sock)
        finally:
            self._slots.release()

    def _cut_slower_than(self, seconds: float, count: bool = True) -> None:
        ends_s = time.monotonic() - seconds
        with self._lock:
            slow = [
                one for one in self._connections.values() if one.waiting_since_s is not None and one.waiting_since_s <= ends_s
            ]
            for one in slow:
                with contextlib.suppress(OSError):  # gone already
                    # Wakes the thread that waits for it. That of TLS would take its state from under that thread.
                    socket.socket.shutdown(one.sock, socket.SHUT_RDWR)
                one.waiting_since_s = None
                if count:
                    self._on_cut()


class _HeadTooLarge(HTTPException):
    pass


class _BoundedReader:
    """The request's bytes, of which the head may take only so many."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._left = MAX_HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._raw.readline(self._left + 1 if limit < 0 else min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise _HeadTooLarge
        return line

    def read(self, size: int) -> bytes:
        data: bytes = self._raw.read(size)
        return data

    def close(self) -> None:
        self._raw.close()


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: BoundedServer
    protocol_version = "HTTP/1.1"
    timeout = DEADLINE_S
    disable_nagle_algorithm = False  # a Unix socket has none

    def __init__(self, connection: _Connection, client_address: Any, server: BoundedServer) -> None:
        self._state = connection
        super().__init__(connection.sock, client_address, server)

    def handle(self) -> None:
        self.close_connection = True
        self.rfile = _BoundedReader(self.rfile)  # type: ignore[assignment]
        try:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                return
            response = self._answer()
        except _HeadTooLarge:
            self.command = self.requestline = ""
            response = text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is larger than {MAX_HEAD_BYTES} bytes")
        self._state.waiting_since_s = time.monotonic()
        self._send(response)

    def _answer(self) -> Response:
        """Read the body, then let the app answer; its mistakes become a 500."""
        if "Transfer-Encoding" in self.headers:
            return text(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
            return text(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if int(length) > MAX_BODY_BYTES:
            return text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return text(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
        try:
            url = urlsplit(self.path)
        except ValueError:  # "//[" looks like the beginning of an IPv6 address
            return text(HTTPStatus.BAD_REQUEST, "the address cannot be read")
        query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        request = Request(self.command, url.path, query, self.headers, body, self.server.peer(self._state.sock))
        self._state.waiting_since_s = None
        try:
            return self.server.app(request)
        except Exception:
            _log.exception("a request failed", method=self.command, path=url.path)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong; the log says what")

    def _send(self, response: Response) -> None:
        self.request_version = self.protocol_version  # the base class leaves the headers out where it could not read one
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in {**HEADERS, **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def version_string(self) -> str:
        return f"guardian/{__version__}"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of a request that it cannot read."""
        self._send(text(HTTPStatus(code), message or explain or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so in the base class
        """Nothing: scrapes are many, and say nothing."""
