"""A proxy on a Unix socket before the engine's: records each request, and can hold or cut it at three stages.

Stages of a request: `arrived` (the engine has not seen it), `forwarded` (the engine has, and its answer was not yet
read), `answered` (the answer's head was read, and the client has not seen it). A hook runs in the connection's own
thread, so a hook that waits holds that request and no other.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urlsplit

Stage = Literal["arrived", "forwarded", "answered"]


@dataclass(slots=True, eq=False)
class Recorded:
    """One request; times are monotonic, and None until they come."""

    method: str
    path: str  # as sent, with version and query
    arrived_s: float
    forwarded_s: float | None = None
    answered_s: float | None = None
    status: int | None = None

    @property
    def route(self) -> str:
        """The path without `/v1.41` and query: `/containers/ID/stop`."""
        path = urlsplit(self.path).path
        first, _, rest = path.lstrip("/").partition("/")
        return f"/{rest}" if first[:1] == "v" and first[1:2].isdigit() else path


Match = Callable[[Recorded], bool]
Hook = Callable[[Recorded], None]


class Cut(Exception):
    """Raised by a hook: both sides of this connection are closed at once."""


class Instead(Exception):
    """Raised by a hook at `arrived`: the engine sees nothing, these bytes are the answer, and the connection ends."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw


class Silence(Exception):
    """Raised by a hook at `answered`: the client gets the head of the answer and nothing after it, for as long as it stays."""


@dataclass(slots=True)
class Gate:
    """A hold on requests. `reached` is set when one waits; `open` lets it and all later ones pass; `cut` drops it."""

    reached: threading.Event = field(default_factory=threading.Event)
    _passed: threading.Event = field(default_factory=threading.Event)
    _cut: bool = False

    def open(self) -> None:
        self._passed.set()

    def cut(self) -> None:
        self._cut = True
        self._passed.set()

    def __call__(self, _request: Recorded) -> None:
        self.reached.set()
        self._passed.wait()
        if self._cut:
            raise Cut


class SocketProxy:
    """Listens at `path`, or without one on a port of the loopback address, and speaks to the engine's Unix socket `upstream`.

    A context manager.
    """

    def __init__(self, upstream: Path, path: Path | None = None) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._requests: list[Recorded] = []
        self._hooks: list[tuple[Stage, Match, Hook]] = []
        self._gates: list[Gate] = []
        self._open: set[socket.socket] = set()
        self._path = path
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
            self.url = f"tcp://127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(str(path))
            self.url = f"unix://{path}"
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="socket-proxy", daemon=True).start()

    def __enter__(self) -> SocketProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Where it listens, if not on a port."""
        assert self._path is not None
        return self._path

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """All there were, in the order of their arrival."""
        with self._lock:
            return tuple(self._requests)

    def on(self, stage: Stage, match: Match, hook: Hook) -> None:
        """Call `hook` at `stage` of every later request that `match` says yes to."""
        with self._lock:
            self._hooks.append((stage, match, hook))

    def hold(self, stage: Stage, match: Match) -> Gate:
        """Hold matching requests at `stage` until the gate is opened."""
        gate = Gate()
        with self._lock:
            self._gates.append(gate)
        self.on(stage, match, gate)
        return gate

    def clear(self) -> None:
        """Forget all hooks, and let pass what is held."""
        with self._lock:
            self._hooks.clear()
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.open()

    def cut_all(self) -> None:
        """Cut every connection there is; new ones are welcome."""
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self.clear()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="socket-proxy-connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection of the client has one of its own to the engine, for as long as both keep it."""
        engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._lock:
            self._open |= {client, engine}
        try:
            engine.connect(str(self._upstream))
            connection = _Connection(client, engine)
            while self._exchange(connection):
                pass
        except (OSError, Cut, _Ended):
            pass
        finally:
            client.close()
            engine.close()
            with self._lock:
                self._open -= {client, engine}

    def _exchange(self, connection: _Connection) -> bool:
        """Pass one request and its answer; False: the connection has been used up."""
        connection.wait_for_request()
        head = connection.client.head()
        method, path, _ = head.line.split(" ", 2)
        body = connection.client.body(head)
        request = Recorded(method, path, time.monotonic())
        with self._lock:
            self._requests.append(request)
        try:
            self._run("arrived", request)
        except Instead as answer:
            connection.client.socket.sendall(answer.raw)
            return False
        request.forwarded_s = time.monotonic()
        connection.engine.socket.sendall(head.raw + body)
        self._run("forwarded", request)
        answer = connection.answer()
        while (status := int(answer.line.split(" ")[1])) < 200 and status != 101:
            connection.client.socket.sendall(answer.raw)
            answer = connection.answer()
        request.status, request.answered_s = status, time.monotonic()
        try:
            self._run("answered", request)
        except Silence:
            connection.client.socket.sendall(answer.raw)
            connection.swallow()
        connection.client.socket.sendall(answer.raw)
        if method == "HEAD" or status in (204, 304):
            return True
        if answer.length is not None:
            connection.client.socket.sendall(connection.engine.exactly(answer.length))
            return True
        if answer.chunked:
            return connection.pass_chunks()
        connection.pass_both_ways()  # hijacked (attach, exec), or it ends with the connection
        return False

    def _run(self, stage: Stage, request: Recorded) -> None:
        with self._lock:
            hooks = [hook for at, match, hook in self._hooks if at == stage and match(request)]
        for hook in hooks:
            hook(request)


class _Ended(Exception):
    """The other side has closed its end."""


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    line: str
    length: int | None
    chunked: bool


class _Side:
    """One socket with what was read from it and not yet used."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""

    def fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise _Ended
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            self.fill()
        found, self.buffer = self.buffer[: at + len(mark)], self.buffer[at + len(mark) :]
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.fill()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def head(self) -> _Head:
        raw = self.until(b"\r\n\r\n")
        line, *fields = raw.decode("latin-1").split("\r\n")
        named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        length = named.get("content-length")
        chunked = "chunked" in named.get("transfer-encoding", "").lower()
        return _Head(raw, line, None if length is None or chunked else int(length), chunked)

    def body(self, head: _Head) -> bytes:
        """Of a request: without a length it has none."""
        if not head.chunked:
            return self.exactly(head.length or 0)
        parts = []
        while True:
            chunk = self.chunk()
            parts.append(chunk)
            if _is_last(chunk):
                return b"".join(parts)

    def chunk(self) -> bytes:
        """One chunk as it stands on the wire; the last one with its trailer."""
        size_line = self.until(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size:
            return size_line + self.exactly(size + 2)
        trailer = b""
        while not trailer.endswith(b"\r\n\r\n") and trailer != b"\r\n":
            trailer += self.until(b"\r\n")
        return size_line + trailer


def _is_last(chunk: bytes) -> bool:
    return int(chunk.split(b"\r\n", 1)[0].split(b";")[0], 16) == 0


class _Connection:
    def __init__(self, client: socket.socket, engine: socket.socket) -> None:
        self.client = _Side(client)
        self.engine = _Side(engine)

    def wait_for_request(self) -> None:
        """Between requests, an engine that goes away takes the client's connection with it."""
        while not self.client.buffer:
            self._watch({self.client})

    def answer(self) -> _Head:
        """The head of the engine's answer; a client that leaves before it is given up, as the engine would."""
        while b"\r\n\r\n" not in self.engine.buffer:
            self._watch({self.engine})
        return self.engine.head()

    def pass_chunks(self) -> bool:
        """A chunked answer, chunk by chunk as they come; a client that leaves ends it."""
        while True:
            while b"\r\n" not in self.engine.buffer:
                self._watch({self.engine})
            chunk = self.engine.chunk()
            self.client.socket.sendall(chunk)
            if _is_last(chunk):
                return True

    def swallow(self) -> NoReturn:
        """All that the engine says is lost, until one side leaves."""
        while True:
            self._watch({self.engine})
            self.engine.buffer = b""

    def pass_both_ways(self) -> None:
        """Until both sides have closed their end: a client of `attach` closes its own first."""
        pairs = {self.client: self.engine, self.engine: self.client}
        reading = set(pairs)
        while reading:
            for side in reading:
                if side.buffer:
                    pairs[side].socket.sendall(side.buffer)
                    side.buffer = b""
            ready, _, _ = select.select([side.socket for side in reading], [], [])
            for side in [side for side in reading if side.socket in ready]:
                try:
                    side.fill()
                except _Ended:
                    reading.discard(side)
                    pairs[side].socket.shutdown(socket.SHUT_WR)

    def _watch(self, wanted: set[_Side]) -> None:
        """Read what comes first on either side; only a `wanted` side may say something now, the other only leave."""
        ready, _, _ = select.select([self.client.socket, self.engine.socket], [], [])
        for side in (self.client, self.engine):
            if side.socket in ready:
                if side in wanted:
                    side.fill()
                elif not side.socket.recv(1, socket.MSG_PEEK):
                    raise _Ended
                else:
                    side.fill()  # a pipelined request, kept for its turn
