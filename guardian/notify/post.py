"""One POST of JSON over HTTP, with deadlines. What it says of a failure never holds the address."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import Protocol

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.util import Timeout, make_headers, parse_url

from guardian import __version__

CONNECT_S, READ_S = 5.0, 10.0
_TRY_AGAIN = (408, 425, 429)

logging.getLogger("urllib3.connection").setLevel(logging.ERROR)  # what it warns of holds the whole address


@dataclass(frozen=True, slots=True)
class Posted:
    """How it ended: `problem` is empty for a success, else a few words; `again` says that another attempt may do better."""

    problem: str = ""
    again: bool = False
    wait_s: float = 0.0  # the receiver asks to be left alone for so long


class Poster(Protocol):
    def post(self, body: bytes) -> Posted: ...


class HttpPoster:
    """Sends to one address; TLS by the certificates that the system trusts. Follows no redirect, and takes no proxy."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", "User-Agent": f"guardian/{__version__}"}
        self._pool: urllib3.PoolManager | None = None

    def post(self, body: bytes) -> Posted:
        """Raises nothing that a receiver or its address can cause."""
        try:
            return self._post(body)
        except (HTTPError, OSError, ValueError, UnicodeError) as error:
            return Posted(_why(error), again=True)

    def _post(self, body: bytes) -> Posted:
        if self._pool is None:
            parsed = parse_url(self._url)
            if parsed.auth:
                self._headers |= make_headers(basic_auth=parsed.auth)
            context = ssl.create_default_context() if parsed.scheme == "https" else None
            self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=context)
        answer = self._pool.request(
            "POST",
            self._url,
            body=body,
            headers=self._headers,
            timeout=Timeout(connect=CONNECT_S, read=READ_S),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        answer.close()  # what it says beside its status is not read, however long it is
        if 200 <= answer.status < 300:
            return Posted()
        asked = answer.headers.get("Retry-After", "")
        return Posted(
            f"HTTP status {answer.status}",
            again=answer.status >= 500 or answer.status in _TRY_AGAIN,
            wait_s=float(asked) if asked.isascii() and asked.isdigit() else 0.0,
        )


def _why(error: Exception) -> str:
    """In words that hold nothing of the address."""
    if isinstance(error, NewConnectionError):  # which is a kind of the next
        return "no connection: refused, or its name is not known"
    if isinstance(error, ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, SSLError):
        return "its certificate is not trusted, or TLS failed"
    return f"the connection failed ({type(error).__name__})"
