"""Services that a probe can ask: real sockets of this process that answer as a test says."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress


class Answering:
    """Takes connections on the loopback address, reads what is sent, and says `answer`; then closes, unless it `holds`."""

    def __init__(self, answer: bytes = b"", holds: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self._holds = holds
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
        for one in self._held:
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with suppress(OSError):
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.asked.append(connection.recv(4096))
                connection.sendall(self.answer)
            if self._holds:
                self._held.append(connection)
            else:
                connection.close()
