"""Single probes, on real sockets and processes of this machine."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.certificates import FIRST_CERT, FIRST_KEY
from support.probed import Answering
from support.waiting import eventually

from guardian.clock import SystemClock
from guardian.config.schema import HealthConfig
from guardian.health import attempt as probes
from guardian.health.attempt import NotWell, attempt
from guardian.units import Seconds

CLOCK = SystemClock()
PATIENCE = Seconds(20)
SOON = Seconds(0.2)  # the deadline where one is to pass
Make = Callable[..., Answering]


@pytest.fixture
def answering() -> Iterator[Make]:
    made: list[Answering] = []

    def make(*arguments: object, **named: object) -> Answering:
        made.append(Answering(*arguments, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def http(port: int, timeout: Seconds = PATIENCE, scheme: str = "http", path: str = "/health?deep=1") -> HealthConfig:
    return HealthConfig(http=f"{scheme}://127.0.0.1:{port}{path}", timeout=timeout)


def why_not(config: HealthConfig) -> str:
    with pytest.raises(NotWell) as caught:
        attempt(config, CLOCK)
    return str(caught.value)


def closed_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "399"])
def test_a_status_from_200_to_399_is_well(answering: Make, status: str) -> None:
    """A service that answers with a status from 200 to 399 is well, and how long it took is told."""
    service = answering(f"HTTP/1.1 {status}\r\n\r\n".encode())
    assert 0 < attempt(http(service.port), CLOCK) < 20
    asked = service.asked[0].decode()
    assert asked.startswith("GET /health?deep=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{service.port}\r\n" in asked


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.0 404\r\n\r\n", "HTTP status 404"),
        (b"SSH-2.0-OpenSSH\r\n", "it answers, and not in HTTP"),
        (b"HTTP/1.1 two hundred\r\n", "it answers, and not in HTTP"),
        (b"x" * 10_000, "it answers, and not in HTTP"),
        (b"", "it closed the connection without an answer"),
        (b"HTTP/1.1 200", "it closed the connection without an answer"),
    ],
)
def test_any_other_answer_is_a_failure(answering: Make, answer: bytes, why: str) -> None:
    """Any other answer is a failure that says what came."""
    assert why_not(http(answering(answer).port)) == why


def test_a_service_that_takes_connections_and_does_not_answer_fails_at_the_deadline(answering: Make) -> None:
    """A service that takes connections and does not answer, or not a whole line, fails at the deadline."""
    for answer in (b"", b"HTTP/1.1 2"):
        assert why_not(http(answering(answer, holds=True).port, SOON)) == "no answer within 0.2 s"


def test_a_port_that_nobody_listens_on_is_a_failure() -> None:
    """A port that nobody listens on is a failure, by HTTP and TCP alike."""
    port = closed_port()
    assert why_not(http(port)) == "Connection refused"
    assert why_not(HealthConfig(tcp=f"127.0.0.1:{port}")) == "Connection refused"


def test_an_unknown_name_is_a_failure() -> None:
    """A host name that does not exist is a failure in words."""
    assert why_not(HealthConfig(tcp="no-such-host.invalid:80"))


def test_a_taken_connection_is_well_by_tcp(answering: Make) -> None:
    """By TCP a service is well that takes the connection; nothing is sent."""
    service = answering()
    assert 0 < attempt(HealthConfig(tcp=f"127.0.0.1:{service.port}"), CLOCK) < 10
    eventually(lambda: service.asked == [b""], "the connection has ended")


def test_https_is_asked_with_the_system_s_trust(answering: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS trusts whom the system trusts: a certificate that it does not know is a failure, one that it knows is well."""
    cert, key = tmp_path / "cert", tmp_path / "key"
    cert.write_text(FIRST_CERT)
    key.write_text(FIRST_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    service = answering(b"HTTP/1.1 200 OK\r\n\r\n", tls=context)
    try:
        probes._trusted.cache_clear()
        assert why_not(http(service.port, scheme="https")).startswith("TLS: ")
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        probes._trusted.cache_clear()
        assert attempt(http(service.port, scheme="https"), CLOCK) > 0
    finally:
        probes._trusted.cache_clear()


def command(code: str, timeout: Seconds = PATIENCE) -> HealthConfig:
    return HealthConfig(command=(sys.executable, "-c", code), timeout=timeout)


def test_a_command_that_ends_with_0_is_well() -> None:
    """A command that ends with exit code 0 is well."""
    assert attempt(command("print('fine')"), CLOCK) > 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import sys; print('no\\nroom'); sys.exit(1)", "exit code 1: no\nroom"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import sys; print('x' * 1_000_000); sys.exit(1)", "exit code 1: " + "x" * 199),
    ],
)
def test_a_command_that_fails_says_the_end_of_its_output(code: str, why: str) -> None:
    """A command that fails says how it ended and the end of its output, however much that is."""
    assert why_not(command(code)) == why


def test_a_command_that_is_not_there_is_a_failure() -> None:
    """A command that is not there is a failure."""
    assert why_not(HealthConfig(command=("/no/such/program",))) == "No such file or directory"


def test_a_command_past_its_deadline_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """A command past its deadline is killed with all that it started."""
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(child)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    assert why_not(command(code, Seconds(3))) == "no answer within 3 s"
    pid = int(child.read_text())
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "the child has ended")
