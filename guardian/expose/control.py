"""The Unix socket for orders: the JSON API of the web side, and a way to change things. Whoever may write to it may give orders."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import msgspec

from guardian.errors import AlreadyRunning, GuardianError, UnreachableError, UsageError
from guardian.expose.answers import GetHistory, failed, history, known_services
from guardian.expose.http import BoundedServer, Request, Response, json, not_allowed
from guardian.expose.orders import NEEDS_SERVICES, NOTHING_TO_KEEP, Order, OrderKind, OrderReply, resolve
from guardian.expose.plan import planned
from guardian.expose.snapshot import Snapshot
from guardian.expose.status import status
from guardian.units import LONGEST_S

MODE = 0o660

SubmitOrder = Callable[[Order], OrderReply]
"""Hand an order to the loop and wait for its answer: 5 s at most, then TimeoutError. May raise any GuardianError."""


class OrderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What POST /api/v1/orders takes."""

    order: OrderKind
    services: tuple[str, ...] = ()
    all: bool = False
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] | None = None
    keep_phase: Annotated[int, msgspec.Meta(ge=0)] | None = None
    plan_only: bool = False
    restart_engine: bool = False
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cores: Annotated[float, msgspec.Meta(ge=0)] | None = None


class ControlServer:
    """Listens on the Unix socket `path`, mode 0660, and makes its directory where it is missing.

    Raises AlreadyRunning if somebody listens there, and GuardianError if it cannot be had. A socket that nobody listens on is removed.
    """

    def __init__(
        self,
        path: Path,
        get_snapshot: Callable[[], Snapshot | None],
        submit_order: SubmitOrder,
        get_history: GetHistory,
        on_cut: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._get_snapshot = get_snapshot
        self._submit_order = submit_order
        self._get_history = get_history
        self._server = _UnixServer(str(path), self._answer, socket.AF_UNIX, on_cut=on_cut)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_stale(path)
            self._server.server_bind()
            path.chmod(MODE)  # before it listens: until then nobody can connect
            self._server.server_activate()
            self._identity = _identity(path)
        except OSError as error:
            self._server.server_close()
            raise GuardianError(
                f"web.control: {path}: {error.strerror or error}; use a path that guardian's user may write, of at most 107 bytes"
            ) from None
        except GuardianError:
            self._server.server_close()
            raise

    @property
    def path(self) -> Path:
        return self._path

    def start(self) -> None:
        self._server.start("control")

    def close(self) -> None:
        """Stop listening, cut every connection, and remove the socket if it is still ours. May be called twice."""
        self._server.stop()
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)

    # --- the API -----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        pages = {
            "/api/v1/status": ("GET", self._status),
            "/api/v1/history": ("GET", self._history),
            "/api/v1/plan": ("GET", self._plan),
            "/api/v1/orders": ("POST", self._orders),
        }
        if request.path not in pages:
            return json(HTTPStatus.NOT_FOUND, {"error": f"no such address; there are {', '.join(pages)}", "exit_code": 1})
        method, page = pages[request.path]
        if request.method != method:
            return not_allowed(method)
        try:
            return page(request)
        except TimeoutError:
            return failed(
                UnreachableError(
                    "the daemon did not answer in time; the order may still be carried out; `guardian history` shows whether it was"
                )
            )
        except GuardianError as error:
            return failed(error)

    def _status(self, _request: Request) -> Response:
        snapshot = self._get_snapshot()
        if snapshot is None:
            raise UnreachableError("guardian is starting: no tick has ended yet; try again in a moment")
        return json(HTTPStatus.OK, status(snapshot))

    def _history(self, request: Request) -> Response:
        return history(request, self._get_snapshot(), self._get_history)

    def _plan(self, request: Request) -> Response:
        snapshot = self._get_snapshot()
        if snapshot is None:
            raise UnreachableError("guardian is starting: no tick has ended yet; try again in a moment")
        return planned(request, snapshot)

    def _orders(self, request: Request) -> Response:
        try:
            body = msgspec.json.decode(request.body, type=OrderBody)
        except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, and so is what is no UTF-8
            kinds = ", ".join(OrderKind)
            raise UsageError(
                f"{error}; expected a JSON object with order ({kinds}) and, as needed, services, all, for_s, keep_phase, plan_only, restart_engine, memory_bytes, cores"
            ) from None
        reply = self._submit_order(self._order(body, request.peer))
        answer = {"ok": reply.ok, "message": reply.message, "lines": reply.lines, "data": dict(reply.data)}
        return json(HTTPStatus.OK if reply.ok else HTTPStatus.CONFLICT, answer)

    def _order(self, body: OrderBody, by: str) -> Order:
        kind = body.order
        if body.all and (kind is not OrderKind.RESTORE or body.services):
            raise UsageError("all goes with restore alone, and without services; leave it out")
        if body.for_s is not None and kind is not OrderKind.STANDBY:
            raise UsageError("for_s goes with standby alone; leave it out")
        if kind in NEEDS_SERVICES and not body.services and not body.all:
            raise UsageError(f"{kind} needs at least one service" + (", or all" if kind is OrderKind.RESTORE else ""))
        if kind is OrderKind.EMERGENCY:
            self._check_emergency(body)
        elif body.keep_phase is not None or body.restart_engine or (body.plan_only and kind is not OrderKind.ADMIT):
            raise UsageError(
                "keep_phase and restart_engine go with emergency alone, plan_only with emergency and admit; leave them out"
            )
        elif kind not in NEEDS_SERVICES and body.services:
            raise UsageError(f"{kind} takes no services: it is about the whole host; leave them out")
        if kind is not OrderKind.ADMIT and (body.memory_bytes is not None or body.cores is not None):
            raise UsageError("memory_bytes and cores go with admit alone; leave them out")
        try:
            services = resolve(body.services, known_services(self._get_snapshot()))
        except UsageError:
            snapshot = self._get_snapshot()
            if snapshot is None or snapshot.sample.inventory is None:
                raise UnreachableError("guardian has not seen the engine's containers yet; try again in a moment") from None
            raise
        return Order(
            kind,
            services,
            body.all,
            body.for_s,
            by,
            body.keep_phase,
            body.plan_only,
            body.restart_engine,
            body.memory_bytes,
            body.cores,
        )

    def _check_emergency(self, body: OrderBody) -> None:
        if body.services and body.keep_phase is not None:
            raise UsageError("emergency takes services or keep_phase, not both")
        snapshot = self._get_snapshot()
        in_file = () if snapshot is None else snapshot.config.emergency.keep
        if not body.services and body.keep_phase is None and not in_file:
            raise UsageError(NOTHING_TO_KEEP)


class _UnixServer(BoundedServer):
    def peer(self, sock: socket.socket) -> str:
        """The user's name, or `uid 1234` where it has none: the kernel vouches for it."""
        _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"


def _remove_stale(path: Path) -> None:
    """Remove a socket that a dead guardian left behind, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise GuardianError(
            f"web.control: {path}: there is something here that is no socket; move it away, or set another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass  # it listens, and is busy
    raise AlreadyRunning(f"web.control: {path}: another guardian listens here; stop it, or set another web.control")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
