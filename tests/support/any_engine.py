"""Something on a socket that answers each request with whatever bytes it was told to, and cuts the connection: an engine gone mad."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

VERSION = b'{"ApiVersion": "1.41"}'


def framed(body: bytes, status: str = "200 OK") -> bytes:
    """`body` as a whole HTTP answer, and the last on its connection."""
    head = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status.encode(), len(body)) + body


class AnyEngine:
    """`answering` is given the method and the path of a request, without version and query; the version is always told well."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.answering: Callable[[str, str], bytes] = lambda _method, _route: framed(b"[]")
        engine = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asked = self._head()
                if not asked:
                    return
                method, path, _ = asked.split(" ", 2)
                route = path.partition("?")[0]
                answer = framed(VERSION) if route == "/version" else engine.answering(method, "/" + route.split("/", 2)[2])
                self.request.sendall(answer)

            def _head(self) -> str:
                """The first line of the request, once all of its head has come."""
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (data := self.request.recv(65536)):
                        return ""
                    head += data
                return head.partition(b"\r\n")[0].decode()

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None: ...  # who asked has left

            def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
                assert isinstance(request, socket.socket)
                request.close()

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
