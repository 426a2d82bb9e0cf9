"""Connections to an engine: docker-py's for a socket, urllib3's for TCP and TLS. Each pool knows those that are open."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import parse_url

from guardian.errors import EngineError, EngineUnreachable
from guardian.lean import without

with without("chardet", "charset_normalizer"), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests says that it cannot guess encodings: the engine's JSON is UTF-8
    from docker.errors import DockerException, TLSParameterError
    from docker.tls import TLSConfig
    from docker.transport.unixconn import UnixHTTPConnectionPool
    from docker.utils import kwargs_from_env, parse_host

__all__ = ["Pool", "TLSConfig", "open_pool", "read_tls", "wait_for_ever"]

_KEPT = 64  # idle connections; as many as are needed at once are made beyond that
_TLS_VARIABLES = ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")

if TYPE_CHECKING:
    _Base = HTTPConnectionPool
else:
    _Base = object


class Pool(_Base):
    """Knows its connections, so that they can be cut while a thread waits on one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cutting = threading.Lock()
        self._live: WeakSet[Any] = WeakSet()

    def _new_conn(self) -> Any:
        connection = super()._new_conn()
        with self._cutting:
            self._live.add(connection)
        return connection

    def cut(self) -> None:
        """End every call under way, and keep no connection."""
        with self._cutting:
            connections = list(self._live)
        for connection in connections:
            if connection.sock is not None:
                with suppress(OSError):  # not connected any more
                    # Of the plain socket: TLS has a shutdown of its own, which another thread must not interrupt.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        self.close()


class _UnixPool(Pool, UnixHTTPConnectionPool):
    pass


class _TcpPool(Pool, HTTPConnectionPool):
    pass


class _TlsPool(Pool, HTTPSConnectionPool):
    pass


def open_pool(url: str, tls: TLSConfig | None) -> Pool:
    """For `unix:///…` or `tcp://…`, with TLS where `tls` is given. Makes no connection yet. Raises EngineUnreachable."""
    if url.startswith("unix://"):
        return _UnixPool("http+docker://localhost", url.removeprefix("unix://"), maxsize=_KEPT)
    try:
        address = parse_url(str(parse_host(url, tls=tls is not None)))
    except (DockerException, ValueError) as error:  # ValueError: a port that is no number
        raise EngineUnreachable(f"no connection to the engine at {url}: {error}") from error
    if tls is None:
        return _TcpPool(address.host, address.port, maxsize=_KEPT)
    certificate, key = tls.cert or (None, None)
    return _TlsPool(
        address.host,
        address.port,
        maxsize=_KEPT,
        cert_file=certificate,
        key_file=key,
        cert_reqs="CERT_REQUIRED" if tls.verify else "CERT_NONE",
        ca_certs=tls.ca_cert if tls.verify else None,
    )


def wait_for_ever(response: BaseHTTPResponse) -> None:
    """Take the deadline from the connection that an answer comes on."""
    sock = getattr(response.connection, "sock", None)
    if sock is not None:
        sock.settimeout(None)


def read_tls(environment: Mapping[str, str]) -> TLSConfig | None:
    """As DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say; None where neither is set. Raises EngineError for missing files."""
    given = {name: environment[name] for name in _TLS_VARIABLES if environment.get(name)}
    if not given:
        return None
    try:
        tls = kwargs_from_env(environment=given).get("tls")
    except TLSParameterError as error:
        raise EngineError(f"DOCKER_CERT_PATH: {error.msg}; the folder needs ca.pem, cert.pem and key.pem") from error
    return tls if isinstance(tls, TLSConfig) else None
