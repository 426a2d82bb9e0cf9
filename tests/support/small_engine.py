"""Something on a socket that speaks as much HTTP as a Docker Engine does for a round of stats, and counts what is asked."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

STATS = {"read": "2026-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 1}}, "pids_stats": {"current": 3}}


class SmallEngine:
    """Answers `/version` at once, and stats as `answering` says; it is called with the container's id, and may wait."""

    def __init__(self, path: Path, api_version: str = "1.45") -> None:
        self.url = f"unix://{path}"
        self.asked: list[str] = []
        self.most_at_once = 0
        self.answering: Callable[[str], object] = lambda _id: None
        self._at_once = 0
        self._changed = threading.Condition()
        small = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/version":
                    self._send({"ApiVersion": api_version})
                else:
                    with small._counted(self.path.split("/")[3]):
                        self._send(STATS)

            def _send(self, answer: Any) -> None:
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: object) -> None: ...

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None: ...  # who asked has left

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def wait_asked(self, count: int, patience_s: float = 20.0) -> None:
        """Until so many stats were asked for in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, patience_s), self.asked

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def _counted(self, container_id: str) -> Iterator[None]:
        """Within, one more is asked for."""
        with self._changed:
            self.asked.append(container_id)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()
        try:
            self.answering(container_id)
            yield
        finally:
            with self._changed:
                self._at_once -= 1
