"""One POST of JSON over HTTP, with deadlines. What it says of a failure never holds the address."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from typing import Protocol

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.util import Timeout, Url, make_headers, parse_url

from guardian import __version__
from guardian.engine.pools import Pool

CONNECT_S, READ_S = 5.0, 10.0
WHOLE_S = 20.0  # of one attempt, for a receiver that goes on sending a little
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


class _Http(Pool, HTTPConnectionPool):
    pass


class _Https(Pool, HTTPSConnectionPool):
    pass


class HttpPoster:
    """Sends to one address; TLS by the certificates that the system trusts. Follows no redirect, and takes no proxy."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._trusted: ssl.SSLContext | None = None

    def post(self, body: bytes) -> Posted:
        """Raises nothing that a receiver or its address can cause."""
        late = threading.Event()
        try:
            posted = self._post(body, late)
        except (HTTPError, OSError, ValueError) as error:
            posted = Posted(_why(error), again=True)
        # Headers that were cut look like headers that ended: what came of such an answer counts for nothing.
        return Posted("no answer in time", again=True) if late.is_set() else posted

    def _post(self, body: bytes, late: threading.Event) -> Posted:
        address = parse_url(self._url)
        headers = {"Content-Type": "application/json", "User-Agent": f"guardian/{__version__}"}
        if address.auth:
            headers |= make_headers(basic_auth=address.auth)
        pool = self._pool(address)

        def cut() -> None:
            late.set()
            pool.cut()

        watchdog = threading.Timer(WHOLE_S, cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            answer = pool.urlopen(
                "POST",
                address.request_uri,
                body=body,
                headers=headers,
                timeout=Timeout(connect=CONNECT_S, read=READ_S),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            answer.close()  # what it says beside its status is not read, however long it is
        finally:
            watchdog.cancel()
            pool.close()
        if 200 <= answer.status < 300:
            return Posted()
        asked = answer.headers.get("Retry-After", "")
        return Posted(
            f"HTTP status {answer.status}",
            again=answer.status >= 500 or answer.status in _TRY_AGAIN,
            wait_s=float(asked) if asked.isascii() and asked.isdigit() else 0.0,
        )

    def _pool(self, address: Url) -> Pool:
        """One for each attempt: alerts are rare, and a connection that idles for hours is dead when it is needed."""
        if address.scheme != "https":
            return _Http(address.host, address.port)
        if self._trusted is None:
            self._trusted = ssl.create_default_context()
        return _Https(address.host, address.port, ssl_context=self._trusted)


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
