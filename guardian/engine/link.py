"""One set of connections to a Docker Engine: connects on first use, keeps deadlines, speaks in our own errors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import requests
import urllib3
from docker import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION
from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnectionPool
from requests.adapters import HTTPAdapter

from guardian.clock import Clock
from guardian.errors import EngineError, EngineProtocolError, EngineRefused, EngineTimeout, EngineUnreachable
from guardian.telemetry import Telemetry

Params = Mapping[str, str]
NORMAL = frozenset({304, 404, 409})  # answers that the state of a container explains: no errors
_MAX_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded body of one call; a body that is no JSON is None."""

    status: int
    body: Any

    @property
    def message(self) -> str:
        """The engine's own words for a refusal."""
        said = self.body.get("message") if isinstance(self.body, Mapping) else None
        return str(said or f"status {self.status}")


@dataclass(frozen=True, slots=True)
class _Connected:
    client: APIClient
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

    def api_version(self, timeout_s: float | None = None) -> str:
        """Connect if need be, and return the API version spoken, such as `1.41`."""
        return self._connect(self._timeout_s if timeout_s is None else timeout_s).api_version

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        timeout_s: float,
        params: Params | None = None,
        body: Any = None,
    ) -> Answer:
        """One call, whatever its status. Raises EngineUnreachable, EngineTimeout or EngineProtocolError when no answer came."""
        began_s = self._clock.monotonic()
        error: str | None = "error"
        try:
            response = self._send(method, path, timeout_s, params, body)
            answer = Answer(response.status_code, _decoded(response))
            error = EngineRefused.reason if answer.status >= 400 and answer.status not in NORMAL else None
            return answer
        except EngineError as failure:
            error = failure.reason
            raise
        finally:
            self._telemetry.engine_request(operation, self._clock.monotonic() - began_s, error)

    def get(self, operation: str, path: str, timeout_s: float, params: Params | None = None) -> Any:
        """The decoded body of a GET; raises EngineRefused for a status of 400 or more."""
        answer = self.call(operation, "GET", path, timeout_s, params)
        if answer.status >= 400:
            raise EngineRefused(f"the engine at {self._url} refused GET {path}: {answer.message}")
        if answer.body is None:
            raise EngineProtocolError(f"the engine at {self._url} answered GET {path} with something that is no JSON")
        return answer.body

    def stream(self, operation: str, path: str, timeout_s: float, params: Params) -> requests.Response:
        """A GET whose body is read as it comes, without a deadline once it has begun."""
        began_s = self._clock.monotonic()
        error: str | None = "error"
        try:
            response = self._send("GET", path, timeout_s, params, None, stream=True)
            if response.status_code >= 400:
                raise EngineRefused(
                    f"the engine at {self._url} refused GET {path}: {Answer(response.status_code, _decoded(response)).message}"
                )
            connection = response.raw.connection
            if connection is not None and connection.sock is not None:
                connection.sock.settimeout(None)
            error = None
            return response
        except EngineError as failure:
            error = failure.reason
            raise
        finally:
            self._telemetry.engine_request(operation, self._clock.monotonic() - began_s, error)

    def failure(self, error: Exception, timeout_s: float) -> EngineError:
        """What an exception of requests means, in words for the user."""
        if _is_timeout(error):
            return EngineTimeout(f"the engine at {self._url} did not answer within {timeout_s:.3g}s")
        if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError | OSError):
            return EngineUnreachable(f"no connection to the engine at {self._url}: {_why(error)}")
        return EngineProtocolError(f"the engine at {self._url} gave an answer that is no HTTP: {error}")

    def close(self) -> None:
        """Cut every connection; a call under way ends with EngineUnreachable (over TCP, by its deadline)."""
        with self._lock:
            self._closed = True
            connected, self._connected = self._connected, None
        if connected is not None:
            _cut(connected.client)

    def _send(
        self, method: str, path: str, timeout_s: float, params: Params | None, body: Any, *, stream: bool = False
    ) -> requests.Response:
        connected = self._connect(timeout_s)
        response = self._request(connected, method, path, timeout_s, params, body, stream)
        if response.status_code == 400 and b"client version" in response.content:
            # The engine behind the socket is another one than before, and speaks other API versions.
            self._drop(connected)
            response = self._request(self._connect(timeout_s), method, path, timeout_s, params, body, stream)
        return response

    def _request(
        self,
        connected: _Connected,
        method: str,
        path: str,
        timeout_s: float,
        params: Params | None,
        body: Any,
        stream: bool,
    ) -> requests.Response:
        url = f"{connected.client.base_url}/v{connected.api_version}{path}"
        try:
            return connected.client.request(method, url, params=params, json=body, timeout=timeout_s, stream=stream)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            failure = self.failure(error, timeout_s)
            if isinstance(failure, EngineUnreachable):
                self._drop(connected)
            raise failure from error

    def _connect(self, timeout_s: float) -> _Connected:
        """The client in use, or a new one. Two threads may both make one: the first to finish is kept."""
        if self._closed:
            raise EngineUnreachable(f"the connection to the engine at {self._url} was closed")
        if (current := self._connected) is not None:
            return current
        client = self._client()
        try:
            response = client.get(f"{client.base_url}/version", timeout=timeout_s)
            version = _decoded(response)["ApiVersion"]
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self.failure(error, timeout_s) from error
        except (KeyError, TypeError) as error:
            raise EngineProtocolError(f"what answers at {self._url} does not say which Docker API it speaks") from error
        with self._lock:
            if self._connected is None and not self._closed:
                self._connected = _Connected(client, str(version))
            current = self._connected
        if current is None:
            raise EngineUnreachable(f"the connection to the engine at {self._url} was closed")
        return current

    def _client(self) -> APIClient:
        try:
            # A version is given so that docker-py does not ask for it: `_connect` does, with a deadline.
            client = APIClient(self._url, version=MINIMUM_DOCKER_API_VERSION, tls=self._tls or False)
        except DockerException as error:
            raise EngineUnreachable(f"no connection to the engine at {self._url}: {error}") from error
        client.trust_env = False  # no HTTP proxy stands between guardian and its engine
        if self._url.startswith("unix://"):
            client.mount("http+docker://", _UnixAdapter(self._url.removeprefix("unix://")))
        else:
            client.mount("http://", HTTPAdapter(pool_maxsize=_MAX_CONNECTIONS))
            client.mount("https://", HTTPAdapter(pool_maxsize=_MAX_CONNECTIONS))
        return client

    def _drop(self, connected: _Connected) -> None:
        """Make the next call connect anew, and ask again which API the engine speaks."""
        with self._lock:
            if self._connected is connected:
                self._connected = None


class _UnixPool(UnixHTTPConnectionPool):
    """Knows its connections, so that they can be cut while a thread waits on one."""

    def __init__(self, path: str) -> None:
        super().__init__("http+docker://localhost", path, maxsize=_MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._live: WeakSet[urllib3.connection.HTTPConnection] = WeakSet()

    def _new_conn(self) -> Any:
        connection = super()._new_conn()
        with self._lock:
            self._live.add(connection)  # type: ignore[arg-type]
        return connection

    def cut(self) -> None:
        with self._lock:
            connections = list(self._live)
        for connection in connections:
            sock = connection.sock
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # not connected any more


class _UnixAdapter(UnixHTTPAdapter):
    """One pool for the socket. docker-py's own adapter keeps one for every URL, so that nearly no connection is used twice."""

    def __init__(self, path: str) -> None:
        super().__init__(f"http+unix://{path}")
        self.pool = _UnixPool(path)

    def get_connection(self, url: bytes | str, proxies: Any = None) -> UnixHTTPConnectionPool:  # noqa: ARG002
        return self.pool

    def close(self) -> None:
        super().close()
        self.pool.close()


def _cut(client: APIClient) -> None:
    for adapter in client.adapters.values():
        if isinstance(adapter, _UnixAdapter):
            adapter.pool.cut()
    client.close()


def _decoded(response: requests.Response) -> Any:
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _is_timeout(error: Exception) -> bool:
    """Also where the deadline passed amid the body, which requests calls a ConnectionError."""
    inner = error.args[0] if error.args else None
    return isinstance(error, requests.Timeout | TimeoutError) or isinstance(inner, urllib3.exceptions.ReadTimeoutError)


def _why(error: BaseException) -> str:
    """The operating system's reason, dug out of the layers around it."""
    seen: list[BaseException] = [error]
    for each in seen:
        inner = [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
        seen.extend(other for other in inner if isinstance(other, BaseException) and other not in seen)
    for each in seen:
        if isinstance(each, PermissionError):
            return "permission denied; run guardian as root or as a member of the group that owns the socket"
        if isinstance(each, FileNotFoundError):
            return "there is no such socket; is Docker running?"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return "it was cut"
