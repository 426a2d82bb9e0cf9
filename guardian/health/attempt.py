"""One probe: HTTP, TCP or a command. Each ends by its deadline, whatever the other side does; names are the one exception.

How long the system takes to resolve a host name is beyond a deadline: give an address where that matters.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from guardian.clock import Clock
from guardian.config.address import Url, parse_endpoint, parse_url
from guardian.config.schema import HealthConfig

WELL = range(200, 400)
LONGEST_LINE = 4096
SHOWN_BYTES = 200
READ_BYTES = 65536


class NotWell(Exception):
    """Why a service is not well, in words."""


def attempt(config: HealthConfig, clock: Clock) -> float:
    """Probe once. Returned: how long the answer took, in seconds. Raises NotWell; blocks up to `config.timeout`."""
    began_s = clock.monotonic()
    deadline = _Deadline(clock, began_s + config.timeout)
    try:
        if config.http is not None:
            return _http(parse_url(config.http), deadline) - began_s
        if config.tcp is not None:
            _connect(*parse_endpoint(config.tcp), deadline).close()
        else:
            _command(config.command, deadline)
    except TimeoutError:
        raise NotWell(f"no answer within {config.timeout:g} s") from None
    except ssl.SSLError as error:
        raise NotWell(f"TLS: {error.reason or error}") from None
    except OSError as error:
        raise NotWell(error.strerror or str(error)) from None
    return clock.monotonic() - began_s


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificate authorities: read once, when the first https probe needs them."""
    return ssl.create_default_context()


class _Deadline:
    def __init__(self, clock: Clock, ends_s: float) -> None:
        self._clock = clock
        self._ends_s = ends_s

    @property
    def left_s(self) -> float:
        """Raises TimeoutError where nothing is left."""
        left_s = self._ends_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    @property
    def now_s(self) -> float:
        return self._clock.monotonic()


def _connect(host: str, port: int, deadline: _Deadline) -> socket.socket:
    """To the first of its addresses that takes the connection."""
    failed: OSError = TimeoutError()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.left_s)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failed = error
        else:
            return connection
    raise failed


def _http(url: Url, deadline: _Deadline) -> float:
    """When the first line of the answer was there. Redirections are not followed: they are an answer."""
    request = (
        f"GET {url.target} HTTP/1.1\r\nHost: {url.authority}\r\nUser-Agent: guardian-probe\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    plain = _connect(url.host, url.port, deadline)
    with closing(plain):
        connection = plain
        if url.tls:
            plain.settimeout(deadline.left_s)
            connection = _trusted().wrap_socket(plain, server_hostname=url.host)
        with closing(connection):
            connection.settimeout(deadline.left_s)
            connection.sendall(request.encode("ascii"))
            line = _first_line(connection, deadline)
            at_s = deadline.now_s
    version, _, rest = line.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not status.isdecimal():
        raise NotWell("it answers, and not in HTTP")
    if int(status) not in WELL:
        raise NotWell(f"HTTP status {status}")
    return at_s


def _first_line(connection: socket.socket, deadline: _Deadline) -> str:
    """One read at a time, so that an answer that comes byte by byte cannot outlast the deadline."""
    answer = b""
    while b"\n" not in answer and len(answer) < LONGEST_LINE:
        connection.settimeout(deadline.left_s)
        part = connection.recv(LONGEST_LINE)
        if not part:
            raise NotWell("it closed the connection without an answer")
        answer += part
    return answer.partition(b"\n")[0].decode("latin-1")


def _command(command: tuple[str, ...], deadline: _Deadline) -> None:
    """In a session of its own, all of which is killed at the deadline. It is no more precious than others to the OOM killer."""
    with subprocess.Popen(  # noqa: S603 - the file says which; it is its owner who writes that
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        with suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("0")
        try:
            said = _last_said(process, deadline)
            code = process.wait(deadline.left_s)
        except (subprocess.TimeoutExpired, TimeoutError):
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the number is its own still
            raise TimeoutError from None
    if code:
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise NotWell(f"{ended}: {said}" if said else ended)


def _last_said(process: subprocess.Popen[bytes], deadline: _Deadline) -> str:
    """The end of its output, once it has closed that: however much it says, no more is kept."""
    assert process.stdout is not None  # noqa: S101 - for the type checker
    said = b""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while True:
        if not poll.poll(deadline.left_s * 1000):
            raise TimeoutError
        part = os.read(process.stdout.fileno(), READ_BYTES)
        if not part:
            return said.decode(errors="replace").strip()
        said = (said + part)[-SHOWN_BYTES:]
