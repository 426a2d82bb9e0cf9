"""The read-only web side on `web.listen`: /metrics, /healthz, /readyz, /api/v1/status, and an index."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace
from html import escape
from http import HTTPStatus

from guardian import __version__
from guardian.clock import Clock, SystemClock
from guardian.errors import GuardianError
from guardian.expose.access import OPEN, Access
from guardian.expose.http import BoundedServer, Request, Response, json, not_allowed, text
from guardian.expose.metrics import Metrics
from guardian.expose.snapshot import Snapshot
from guardian.expose.status import status

ALIVE_S = 10.0  # a tick this recent proves that the loop is alive …
ALIVE_INTERVALS = 10  # … or this many intervals, where ticks are rarer
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="guardian", charset="UTF-8"'}


class WebServer:
    """Serves what `metrics` and its newest snapshot say. Every address is GET and HEAD only: nothing can be changed here.

    `listen` is `host:port`, `[v6 address]:port` or `:port` for every address; port 0 picks one. GuardianError if it cannot be had.
    """

    def __init__(self, listen: str, metrics: Metrics, clock: Clock | None = None, access: Access = OPEN) -> None:
        self._metrics = metrics
        self._password = access.password
        self._clock = clock or SystemClock()
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": self._index,
            "/metrics": self._exposition,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/api/v1/status": self._status,
        }
        host, port = _split(listen)
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
            )[0]
            wrap = None if access.certificate is None else access.certificate.wrap
            self._server = BoundedServer(address, self._answer, family, wrap)
        except OSError as error:
            raise GuardianError(f"web.listen: {listen}: {error.strerror or error}; use an address of this host") from None
        try:
            self._server.server_bind()
            self._server.server_activate()
        except OSError as error:
            self._server.server_close()
            raise GuardianError(_cannot_listen(listen, error)) from None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: `(host, port)`."""
        host, port = self._server.socket.getsockname()[:2]
        return host, port

    def start(self) -> None:
        self._server.start("web")

    def close(self) -> None:
        """Stop listening and cut every connection. May be called twice."""
        self._server.stop()

    # --- the pages ---------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        if self._password is not None and not self._password.admits(request.headers.get("Authorization", "")):
            return replace(text(HTTPStatus.UNAUTHORIZED, "a name and a password are needed"), headers=_CHALLENGE)
        if request.method not in ("GET", "HEAD"):
            return not_allowed("GET", "HEAD")
        page = self._pages.get(request.path)
        return text(HTTPStatus.NOT_FOUND, "no such page; / lists those there are") if page is None else page(request)

    def _exposition(self, request: Request) -> Response:
        content_type, body = self._metrics.exposition(request.headers.get("Accept", ""))
        return Response(HTTPStatus.OK, body, content_type)

    def _status(self, _request: Request) -> Response:
        snapshot = self._metrics.snapshot
        if snapshot is None:
            return json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no tick has ended yet"})
        return json(HTTPStatus.OK, status(snapshot))

    def _healthz(self, _request: Request) -> Response:
        return _verdict(not_alive(self._metrics.snapshot, self._clock.monotonic()))

    def _readyz(self, _request: Request) -> Response:
        return _verdict(not_ready(self._metrics.snapshot, self._clock.monotonic()))

    def _index(self, _request: Request) -> Response:
        snapshot = self._metrics.snapshot
        state = "starting" if snapshot is None else f"{snapshot.mode.value} mode, level {snapshot.assessment.level}"
        links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in self._pages if path != "/")
        title = f"guardian {escape(__version__)}"
        body = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
            f"<body><h1>{title}</h1><p>{escape(state)}</p><ul>{links}</ul></body></html>\n"
        )
        return Response(HTTPStatus.OK, body.encode(), "text/html; charset=utf-8")


def not_alive(snapshot: Snapshot | None, now_s: float) -> str:
    """Why the loop does not seem to be alive; empty if it is. `now_s` is monotonic, as `Snapshot.at_s` is."""
    if snapshot is None:
        return "no tick has ended yet"
    age_s = now_s - snapshot.at_s
    limit_s = max(ALIVE_S, ALIVE_INTERVALS * snapshot.config.sampling.host)
    return f"the last tick was {age_s:.0f} s ago" if age_s > limit_s else ""


def not_ready(snapshot: Snapshot | None, now_s: float) -> str:
    """Why guardian does not guard yet; empty if it does: it has the list of containers, or knows that the engine is down."""
    if reason := not_alive(snapshot, now_s):
        return reason
    if snapshot is not None and snapshot.engine_up and snapshot.inventory is None:
        return "the containers have not been listed yet"
    return ""


def _verdict(reason: str) -> Response:
    return text(HTTPStatus.SERVICE_UNAVAILABLE, reason) if reason else text(HTTPStatus.OK, "ok")


def _split(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise GuardianError(f"web.listen: {listen}: expected host:port, such as 127.0.0.1:9877")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _cannot_listen(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"web.listen: {listen}: another process has this port; end it, or set another web.listen (or GUARDIAN_WEB_LISTEN)"
        )
    if error.errno == errno.EACCES:
        return f"web.listen: {listen}: not allowed; use a port above 1023"
    return f"web.listen: {listen}: {error.strerror or error}; use an address of this host"
