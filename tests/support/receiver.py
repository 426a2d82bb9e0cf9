"""A receiver of notifications: an HTTP server of the test's own that keeps what it gets, and answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
from collections import deque
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from support.waiting import eventually


class Receiver:
    """Answers 200, unless `answers` holds other statuses for the next requests, or it `hangs`. A context manager."""

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.answers: deque[int] = deque()
        self.headers: dict[str, str] = {}  # of every answer
        self.got: list[tuple[str, Any]] = []  # path, JSON; as they came
        self.asked: list[HTTPMessage] = []  # headers of the requests
        self.go_on = threading.Event()
        self.go_on.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked.append(self.headers)
                receiver.got.append((self.path, body))
                receiver.go_on.wait(60)
                self.send_response(receiver.answers.popleft() if receiver.answers else 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """It says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if context is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.got]

    def hang(self) -> None:
        """Take requests, and answer none until `go_on` is set."""
        self.go_on.clear()

    def wait_for(self, count: int, timeout_s: float = 20.0) -> list[Any]:
        """The bodies, once there are so many."""
        eventually(lambda: len(self.got) >= count, f"{count} notifications, got {len(self.got)}", timeout_s)
        return self.bodies

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
