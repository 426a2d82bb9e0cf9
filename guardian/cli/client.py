"""Talks to the daemon: HTTP over its Unix control socket."""

from __future__ import annotations

import grp
import http.client
import pwd
import socket
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from guardian.errors import GuardianError, UnreachableError
from guardian.expose.orders import OrderKind, OrderReply

TIMEOUT_S = 15.0  # the daemon answers an order within 5 s; an overloaded host may be slow


class DaemonError(GuardianError):
    """What the daemon said instead of an answer, with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Client:
    """Every method raises UnreachableError where nobody answers, and DaemonError where the daemon says no to the question."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def status(self) -> Mapping[str, Any]:
        """As `guardian.expose.status.status` makes it."""
        return self._ask("GET", "/api/v1/status")

    def history(self, limit: int, since_wall_s: float | None, service: str | None) -> Sequence[Mapping[str, Any]]:
        """Newest first; rows as `guardian.expose.status.history_row` makes them."""
        query: dict[str, object] = {"limit": limit}
        if since_wall_s is not None:
            query["since"] = since_wall_s
        if service is not None:
            query["service"] = service
        rows: Sequence[Mapping[str, Any]] = self._ask("GET", f"/api/v1/history?{urlencode(query)}")["history"]
        return rows

    def plan(self, signal: str, at_ratio: float | None) -> Mapping[str, Any]:
        """As `guardian.expose.plan.plan` makes it."""
        query: dict[str, object] = {"signal": signal} if at_ratio is None else {"signal": signal, "at": at_ratio}
        return self._ask("GET", f"/api/v1/plan?{urlencode(query)}")

    def order(
        self,
        kind: OrderKind,
        services: Sequence[str] = (),
        *,
        everything: bool = False,
        for_s: float | None = None,
        **fields: object,
    ) -> OrderReply:
        """Give an order. One that is refused, or fails for some services, has a reply too: its `ok` is false.

        `fields`: what the kind alone has, as `guardian.expose.orders.Order` says.
        """
        body = {"order": kind.value, "services": list(services), "all": everything, "for_s": for_s, **fields}
        answer = self._ask("POST", "/api/v1/orders", msgspec.json.encode(body))
        return OrderReply(answer["ok"], answer["message"], tuple(answer["lines"]), answer["data"])

    def _ask(self, method: str, address: str, body: bytes | None = None) -> Mapping[str, Any]:
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, address, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            content = response.read()
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR and response.headers.get_content_type() == "text/plain":
                raise DaemonError(
                    f"guardian at {self._path} could not answer: {content.decode(errors='replace').strip()} (`journalctl -u guardian`)",
                    1,
                )
            answer = msgspec.json.decode(content, type=dict[str, Any])
        except TimeoutError:
            raise UnreachableError(
                f"guardian at {self._path} did not answer within {self._timeout_s:g} s; the host may be overloaded: try again"
            ) from None
        except OSError as error:
            raise UnreachableError(_why(self._path, error)) from None
        except (http.client.HTTPException, msgspec.DecodeError):
            raise UnreachableError(
                f"what answers at {self._path} is not guardian; name its control socket by --control"
            ) from None
        finally:
            connection.close()
        if "error" in answer:
            raise DaemonError(str(answer["error"]), int(answer.get("exit_code", 1)))
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _why(path: Path, error: OSError) -> str:
    """Why the socket at `path` cannot be talked to, and what to do."""
    if isinstance(error, PermissionError):
        return f"you may not talk to guardian at {path}{_owner(path)}; join its group, or use sudo"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return f"no guardian answers at {path}; start it (systemctl start guardian), or name its control socket by --control"
    return f"guardian at {path} cannot be reached: {error.strerror or error}; `systemctl status guardian` may say why"


def _owner(path: Path) -> str:
    """Whose the socket is; empty where even that may not be seen."""
    try:
        found = path.stat()
        return f": it is for user {pwd.getpwuid(found.st_uid).pw_name} and group {grp.getgrgid(found.st_gid).gr_name}"
    except (OSError, KeyError):
        return ""
