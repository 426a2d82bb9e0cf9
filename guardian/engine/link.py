"""One set of connections to a Docker Engine: connects on first use, keeps deadlines, speaks in our own errors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from urllib3 import BaseHTTPResponse, HTTPResponse, Timeout
from urllib3 import exceptions as http

from guardian import __version__
from guardian.clock import Clock
from guardian.engine.endpoints import VERSION, Endpoint, version_numbers
from guardian.engine.pools import Pool, TLSConfig, open_pool, wait_for_ever
from guardian.errors import EngineError, EngineProtocolError, EngineRefused, EngineTimeout, EngineUnreachable
from guardian.telemetry import Telemetry

Params = Mapping[str, str]
NORMAL = frozenset({304, 404, 409})  # answers that the state of a container explains: no errors
MAX_ANSWER_BYTES = 32 << 20
"""No answer is read beyond this, so that nothing which talks at the socket costs the host its memory: a list of a thousand
containers is about 3 MiB."""
MAX_LINE_BYTES = 4 << 20
"""Of a stream: an event has the labels of its container, of which an engine takes less than this."""
NEWEST_API = "1.52"
"""The newest version whose answers are understood; what a later one leaves out of them, nobody knows yet."""
_HEADERS = {"Host": "docker", "User-Agent": f"guardian/{__version__}"}
_PART_BYTES = 1 << 20
_FAILURES = (http.HTTPError, HTTPException, OSError)
_NO_CONNECTION = (http.ProtocolError, http.NewConnectionError, http.SSLError, http.ClosedPoolError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded body of one call; a body that is no JSON is None. `raw` is the body as it came."""

    status: int
    body: Any
    raw: bytes = b""

    @property
    def message(self) -> str:
        """The engine's own words for a refusal."""
        said = self.body.get("message") if isinstance(self.body, Mapping) else None
        return str(said or f"status {self.status}")


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer as it came. Of one that goes on (`response` is open) the body is empty."""

    response: BaseHTTPResponse
    body: bytes

    @property
    def answer(self) -> Answer:
        try:
            return Answer(self.response.status, decode(self.body), self.body)
        except ValueError:  # nothing, or no JSON
            return Answer(self.response.status, None, self.body)


@dataclass(frozen=True, slots=True)
class _Connected:
    pool: Pool
    api_version: str


class Link:
    """Calls to one engine over connections of its own. Safe to use from any thread."""

    def __init__(self, url: str, timeout_s: float, clock: Clock, telemetry: Telemetry, tls: TLSConfig | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._clock = clock
        self._telemetry = telemetry
        self._tls = tls
        self._lock = threading.Lock()
        self._connected: _Connected | None = None
        self._closed = False

    def api_version(self) -> str:
        """Connect if need be, and return the API version spoken, such as `1.41`."""
        return self._connect(self._timeout_s).api_version

    def call(
        self,
        endpoint: Endpoint,
        timeout_s: float,
        container_id: str = "",
        params: Params | None = None,
        body: Any = None,
    ) -> Answer:
        """One call, whatever its status. Raises EngineUnreachable, EngineTimeout or EngineProtocolError when no answer came."""
        began_s = self._clock.monotonic()
        error: str | None = "error"
        try:
            answer = self._send(endpoint, timeout_s, container_id, params, body).answer
            error = EngineRefused.reason if answer.status >= 400 and answer.status not in NORMAL else None
            return answer
        except EngineError as failure:
            error = failure.reason
            raise
        finally:
            self._telemetry.engine_request(endpoint.operation, self._clock.monotonic() - began_s, error)

    def get(self, endpoint: Endpoint, timeout_s: float, params: Params | None = None) -> Any:
        """The decoded body of a GET; raises EngineRefused for a status of 400 or more."""
        answer = self.call(endpoint, timeout_s, params=params)
        if answer.status >= 400:
            raise self.refusal(endpoint, answer)
        if answer.body is None:
            self._telemetry.engine_not_understood(endpoint.operation)
            raise EngineProtocolError(
                f"the engine at {self._url} answered {endpoint.method} {endpoint.path} with something that is no JSON"
            )
        return answer.body

    def refusal(self, endpoint: Endpoint, answer: Answer) -> EngineRefused:
        """The error for an answer that says no, with the engine's own words."""
        return EngineRefused(f"the engine at {self._url} refused {endpoint.method} {endpoint.path}: {answer.message}")

    def stream(self, endpoint: Endpoint, timeout_s: float, params: Params) -> Stream:
        """A GET whose body is read line by line as it comes, without a deadline once it has begun."""
        began_s = self._clock.monotonic()
        error: str | None = "error"
        try:
            reply = self._send(endpoint, timeout_s, "", params, None, stream=True)
            response = reply.response
            if response.status >= 400:
                raise self.refusal(endpoint, reply.answer)
            wait_for_ever(response)
            error = None
            return Stream(cast("HTTPResponse", response), f"the engine at {self._url} ended the stream of {endpoint.operation}")
        except EngineError as failure:
            error = failure.reason
            raise
        finally:
            self._telemetry.engine_request(endpoint.operation, self._clock.monotonic() - began_s, error)

    def close(self) -> None:
        """Cut every connection; a call under way ends with EngineUnreachable."""
        with self._lock:
            self._closed = True
            connected, self._connected = self._connected, None
        if connected is not None:
            connected.pool.cut()

    def _send(
        self, endpoint: Endpoint, timeout_s: float, container_id: str, params: Params | None, body: Any, *, stream: bool = False
    ) -> _Reply:
        path = endpoint.at(container_id) + (f"?{urlencode(params)}" if params else "")
        connected = self._connect(timeout_s)
        reply = self._request(connected, endpoint.method, path, timeout_s, body, stream)
        if reply.response.status == 400 and b"client version" in reply.body:
            # The engine behind the socket is another one than before, and speaks other API versions.
            self._drop(connected)
            reply = self._request(self._connect(timeout_s), endpoint.method, path, timeout_s, body, stream)
        return reply

    def _request(self, connected: _Connected, method: str, path: str, timeout_s: float, body: Any, stream: bool) -> _Reply:
        try:
            return _ask(connected.pool, method, f"/v{connected.api_version}{path}", timeout_s, body, stream)
        except _FAILURES as error:
            failure = self._failure(error, timeout_s)
            if isinstance(failure, EngineUnreachable):
                self._drop(connected)
            raise failure from error

    def _connect(self, timeout_s: float) -> _Connected:
        """The pool in use, or a new one. Two threads may both make one: the first to finish is kept."""
        if self._closed:
            raise self._was_closed()
        if (current := self._connected) is not None:
            return current
        pool = open_pool(self._url, self._tls)
        try:
            version = _negotiated(_ask(pool, VERSION.method, VERSION.path, timeout_s).answer.body)
        except _FAILURES as error:
            raise self._failure(error, timeout_s) from error
        except (KeyError, TypeError) as error:
            raise EngineProtocolError(f"what answers at {self._url} does not say which Docker API it speaks") from error
        with self._lock:
            if self._connected is None and not self._closed:
                self._connected = _Connected(pool, version)
            current = self._connected
        if current is None:
            raise self._was_closed()
        return current

    def _failure(self, error: Exception, timeout_s: float) -> EngineError:
        """What an exception of urllib3 means, in words for the user."""
        if any(isinstance(each, http.ReadTimeoutError | TimeoutError) for each in _layers(error)):
            return EngineTimeout(f"the engine at {self._url} did not answer within {timeout_s:.3g}s")
        if isinstance(error, _NO_CONNECTION):
            return EngineUnreachable(f"no connection to the engine at {self._url}: {_why(error)}")
        return EngineProtocolError(f"the engine at {self._url} gave an answer that cannot be used: {error}")

    def _was_closed(self) -> EngineUnreachable:
        return EngineUnreachable(f"the connection to the engine at {self._url} was closed")

    def _drop(self, connected: _Connected) -> None:
        """Make the next call connect anew, and ask again which API the engine speaks."""
        with self._lock:
            if self._connected is connected:
                self._connected = None


class Stream(Iterator[bytes]):
    """The lines of an answer that goes on. Ends after `close`; anything else that ends it raises EngineUnreachable."""

    def __init__(self, response: HTTPResponse, ended: str) -> None:
        self._response = response
        self._ended = ended
        self._lines = _lines(response)
        self._closed = threading.Event()

    def __next__(self) -> bytes:
        failure: Exception | None = None
        try:
            while not self._closed.is_set():
                if line := next(self._lines).strip():
                    return line
        except StopIteration:
            pass
        except (*_FAILURES, ValueError) as error:  # ValueError: closed by another thread amid a read
            failure = error
        by_us = self._closed.is_set()
        self._closed.set()
        self._response.close()
        if by_us:
            raise StopIteration from failure
        raise EngineUnreachable(self._ended) from failure

    def close(self) -> None:
        """Ends a read that another thread waits in. May be called from any thread, and twice."""
        self._closed.set()
        with suppress(ValueError, RuntimeError, OSError):  # it has ended by itself
            self._response.shutdown()


def _negotiated(answer: Mapping[str, Any]) -> str:
    """The API version to speak, from `GET /version`: the engine's, but none newer than NEWEST_API unless it takes no older one."""
    return min(
        str(answer["ApiVersion"]),
        max(NEWEST_API, str(answer.get("MinAPIVersion") or ""), key=version_numbers),
        key=version_numbers,
    )


def decode(raw: bytes) -> Any:
    """JSON by its standard: ValueError also for NaN, half a surrogate pair, and lists within lists without end."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _ask(pool: Pool, method: str, url: str, timeout_s: float, body: Any = None, stream: bool = False) -> _Reply:
    """One request, and nothing that makes it cost more: no retries, redirects, cookies or proxies."""
    response = pool.urlopen(
        method,
        url,
        body=None if body is None else json.dumps(body).encode(),
        headers=_HEADERS if body is None else {**_HEADERS, "Content-Type": "application/json"},
        timeout=Timeout(connect=timeout_s, read=timeout_s),
        retries=False,
        redirect=False,
        assert_same_host=False,
        preload_content=False,
    )
    if stream and response.status < 400:
        return _Reply(response, b"")
    answer = _body(response, time.monotonic() + timeout_s)
    response.release_conn()
    return _Reply(response, answer)


def _body(response: BaseHTTPResponse, ends_s: float) -> bytes:
    """All of it, at the latest by then: an answer that comes in drops keeps within the time-out of each read for ever."""
    length = response.headers.get("Content-Length", "")
    left = 0 if length.isdecimal() and (len(length) > 18 or int(length) > MAX_ANSWER_BYTES) else MAX_ANSWER_BYTES + 1
    parts = []
    while left > 0 and (part := response.read1(min(left, _PART_BYTES))):
        parts.append(part)
        left -= len(part)
        if time.monotonic() > ends_s:
            response.close()
            raise TimeoutError("it did not end in time")
    if left <= 0:
        response.close()
        raise http.HTTPError(f"it is larger than {MAX_ANSWER_BYTES >> 20} MiB")
    return b"".join(parts)


def _lines(response: HTTPResponse) -> Iterator[bytes]:
    """As they come; what is left at the end without a line's end is none."""
    begun = b""
    for part in response.stream():
        *lines, begun = (begun + part).split(b"\n")
        yield from lines
        if len(begun) > MAX_LINE_BYTES:
            raise http.HTTPError(f"a line is longer than {MAX_LINE_BYTES >> 20} MiB")


def _layers(error: BaseException) -> list[BaseException]:
    """The exception and all that it wraps; not what was being handled when it was raised, which may be another call's."""
    seen = [error]
    for each in seen:
        inner = [*each.args, getattr(each, "reason", None), each.__cause__]
        seen.extend(other for other in inner if isinstance(other, BaseException) and other not in seen)
    return seen


def _why(error: BaseException) -> str:
    """The operating system's reason, dug out of the layers around it."""
    for each in _layers(error):
        if isinstance(each, PermissionError):
            return "permission denied; run guardian as root or as a member of the group that owns the socket"
        if isinstance(each, FileNotFoundError):
            return "there is no such socket; is Docker running?"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return "it was cut"
