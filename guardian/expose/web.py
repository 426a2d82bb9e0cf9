"""The read-only web side on `web.listen`: the status page and what it draws, /metrics, /healthz, /readyz."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from guardian.clock import Clock
from guardian.errors import GuardianError
from guardian.expose.access import OPEN, Access
from guardian.expose.answers import GetHistory, failed, history, number
from guardian.expose.http import BoundedServer, Request, Response, json, not_allowed, text
from guardian.expose.metrics import Metrics
from guardian.expose.snapshot import Snapshot
from guardian.expose.status import status
from guardian.expose.trace import Trace

ALIVE_S = 10.0  # a tick this recent proves that the loop is alive …
ALIVE_INTERVALS = 10  # … or this many intervals, where ticks are rarer
PAGE = Path(__file__).parent / "page"
INDEX = "index.html"
ASSETS = {
    INDEX: "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "uplot.css": "text/css; charset=utf-8",
    "uplot.js": "text/javascript; charset=utf-8",
    "uplot.LICENSE": "text/plain; charset=utf-8",
}
# What the page needs, all of it from here. Its chart library positions elements by script, which counts as no inline style.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="guardian", charset="UTF-8"'}


class WebServer:
    """Serves what `metrics`, its newest snapshot, `trace` and the history say. Every address is GET and HEAD only: nothing can be changed here.

    `listen` is `host:port`, `[v6 address]:port` or `:port` for every address; port 0 picks one. GuardianError if it cannot be had.
    """

    def __init__(
        self,
        listen: str,
        metrics: Metrics,
        trace: Trace,
        get_history: GetHistory,
        clock: Clock,
        access: Access = OPEN,
    ) -> None:
        self._metrics = metrics
        self._trace = trace
        self._get_history = get_history
        self._password = access.password
        self._clock = clock
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": self._asset,
            "/metrics": self._exposition,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/api/v1/status": self._status,
            "/api/v1/history": self._history,
            "/api/v1/trace": self._since,
            **{f"/page/{name}": self._asset for name in ASSETS if name != INDEX},
        }
        host, port = _split(listen)
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
            )[0]
            wrap = None if access.certificate is None else access.certificate.wrap
            self._server = BoundedServer(address, self._answer, family, wrap, partial(metrics.connection_cut, "web"))
        except (OSError, UnicodeError) as error:  # UnicodeError: what can be no name of a host
            why = getattr(error, "strerror", None) or error
            raise GuardianError(f"web.listen: {listen}: {why}; use an address of this host") from None
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
        if page is None:
            return text(HTTPStatus.NOT_FOUND, "no such page; the foot of / lists those there are")
        try:
            return page(request)
        except GuardianError as error:
            return failed(error)

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

    def _history(self, request: Request) -> Response:
        return history(request, self._metrics.snapshot, self._get_history)

    def _since(self, request: Request) -> Response:
        return json(HTTPStatus.OK, self._trace.since(number(request, "since", 0.0) or 0.0))

    def _asset(self, request: Request) -> Response:
        """Read when it is asked for: a page that nobody looks at takes no memory."""
        name = request.path.removeprefix("/page/") if request.path != "/" else INDEX
        policy = {"Content-Security-Policy": PAGE_POLICY} if name == INDEX else {}
        return Response(HTTPStatus.OK, (PAGE / name).read_bytes(), ASSETS[name], policy)


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
