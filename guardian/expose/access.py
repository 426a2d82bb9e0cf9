"""Who may read the web side: a certificate for TLS, a name and a password. Their files may be renewed while guardian runs."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Generic, TypeVar

from guardian import logs
from guardian.config.schema import AuthConfig, TlsConfig, WebConfig
from guardian.errors import GuardianError

_log = logs.get("web")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Access:
    """What the web side asks of its readers. None: nothing of that kind."""

    certificate: Certificate | None = None
    password: Password | None = None


OPEN = Access()


def access(web: WebConfig) -> Access:
    """As the file says. GuardianError where one of its files cannot be read or used."""
    return Access(Certificate(web.tls) if web.tls else None, Password(web.auth) if web.auth else None)


class Certificate:
    """Makes a server's TLS connections (1.2 or newer) of plain ones."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._context = _Renewed("web.tls", (tls.cert, tls.key), self._load)

    def wrap(self, plain: socket) -> ssl.SSLSocket:
        """The handshake is still to be done, so that a slow reader holds up nobody but itself. `plain` must not be used again."""
        return self._context.newest().wrap_socket(plain, server_side=True, do_handshake_on_connect=False)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._tls.cert, self._tls.key)
        except ssl.SSLError as error:
            why = error.reason or error
            raise GuardianError(
                f"web.tls: {self._tls.cert} and {self._tls.key} are no certificate and its key: {why}; name both as PEM files"
            ) from None
        return context


class Password:
    """Knows the one name and password that are let in, by HTTP basic authentication (RFC 7617)."""

    def __init__(self, auth: AuthConfig) -> None:
        self._auth = auth
        self._expected = _Renewed("web.auth.password_file", (auth.password_file,), self._load)

    def admits(self, authorization: str) -> bool:
        """Whether this value of an `Authorization` header is right. Takes as long for a wrong one as for the right one."""
        scheme, _, credentials = authorization.partition(" ")
        try:
            given = base64.b64decode(credentials.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(given, self._expected.newest())

    def _load(self) -> bytes:
        password = Path(self._auth.password_file).read_bytes().rstrip(b"\r\n")
        if not password:
            raise GuardianError(f"web.auth.password_file: {self._auth.password_file} is empty; write the password into it")
        return self._auth.username.encode() + b":" + password


class _Renewed(Generic[_Made]):
    """What is made of some files; made anew once one of them has changed, and kept where that fails."""

    def __init__(self, key: str, paths: tuple[str, ...], load: Callable[[], _Made]) -> None:
        self._key = key
        self._paths = paths
        self._load = load
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._made = self._make()

    def newest(self) -> _Made:
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._made = self._make()
                except GuardianError as error:
                    _log.error("what is changed cannot be used, what was read before stays", error=str(error))
            return self._made

    def _make(self) -> _Made:
        try:
            return self._load()
        except OSError as error:  # ssl names no file, so all are named
            files = " and ".join(self._paths)
            raise GuardianError(
                f"{self._key}: cannot read {files}: {error.strerror or error}; guardian's user must be able to"
            ) from None

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
