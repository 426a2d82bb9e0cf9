"""TLS and the password of the web side, with real clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.certificates import FIRST_CERT, FIRST_KEY, SECOND_CERT, SECOND_KEY
from support.snapshots import AT_S, snapshot

from guardian.clock import VirtualClock
from guardian.config.schema import AuthConfig, TlsConfig, WebConfig
from guardian.errors import GuardianError
from guardian.expose import http as served
from guardian.expose.access import access
from guardian.expose.metrics import Metrics
from guardian.expose.trace import Trace
from guardian.expose.web import WebServer

Serve = Callable[[WebConfig], WebServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(web: WebConfig) -> WebServer:
            metrics = Metrics(VirtualClock(AT_S))
            metrics.update(snapshot())
            server = WebServer("127.0.0.1:0", metrics, Trace(), lambda *_: (), VirtualClock(AT_S), access(web))
            stack.callback(server.close)
            server.start()
            return server

        yield start


@pytest.fixture
def tls(tmp_path: Path) -> TlsConfig:
    (tmp_path / "cert.pem").write_text(FIRST_CERT)
    (tmp_path / "key.pem").write_text(FIRST_KEY)
    return TlsConfig(cert=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem"))


@pytest.fixture
def auth(tmp_path: Path) -> AuthConfig:
    (tmp_path / "password").write_text("correct horse\n")
    return AuthConfig(username="prometheus", password_file=str(tmp_path / "password"))


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def get(
    server: WebServer, headers: dict[str, str], path: str = "/healthz", cert: str = ""
) -> tuple[int, http.client.HTTPMessage]:
    """The status and headers of an answer; with `cert` over TLS, trusting it alone."""
    host, port = server.address
    trust = ssl.create_default_context(cadata=cert) if cert else None
    connection = (
        http.client.HTTPSConnection(host, port, timeout=20, context=trust)
        if trust
        else http.client.HTTPConnection(host, port, timeout=20)
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers


def test_the_right_name_and_password_are_let_in(serve: Serve, auth: AuthConfig) -> None:
    """The right name and password are let in, to every page."""
    server = serve(WebConfig(auth=auth))
    for path in ("/", "/metrics", "/healthz", "/api/v1/status"):
        assert get(server, basic("prometheus", "correct horse"), path)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("prometheus", "wrong"),
        basic("somebody", "correct horse"),
        basic("prometheus", ""),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ***"},
        {"Authorization": "Bearer cHJvbWV0aGV1czpjb3JyZWN0IGhvcnNl"},
    ],
)  # fmt: skip
def test_anybody_else_is_asked_for_them(serve: Serve, auth: AuthConfig, headers: dict[str, str]) -> None:
    """Anybody else gets a 401 that asks for them, on every page, also on one that is not there."""
    server = serve(WebConfig(auth=auth))
    for path in ("/metrics", "/api/v1/status", "/nowhere"):
        status, answered = get(server, headers, path)
        assert status == 401
        assert answered["WWW-Authenticate"].startswith("Basic ")


def test_a_password_may_be_changed_while_guardian_runs(serve: Serve, auth: AuthConfig) -> None:
    """A new password counts with the next request; a file that is gone or empty leaves the old one in force."""
    server = serve(WebConfig(auth=auth))
    Path(auth.password_file).write_text("a new one, longer")
    assert get(server, basic("prometheus", "correct horse"))[0] == 401
    assert get(server, basic("prometheus", "a new one, longer"))[0] == 200
    Path(auth.password_file).write_text("")
    assert get(server, basic("prometheus", ""))[0] == 401
    Path(auth.password_file).unlink()
    assert get(server, basic("prometheus", "a new one, longer"))[0] == 200


def test_pages_are_served_over_tls(serve: Serve, tls: TlsConfig) -> None:
    """With a certificate, pages are served over TLS to who trusts it."""
    assert get(serve(WebConfig(tls=tls)), {}, cert=FIRST_CERT)[0] == 200


def test_a_renewed_certificate_is_taken_up(serve: Serve, tls: TlsConfig) -> None:
    """A renewed certificate is shown to the next reader; half of one leaves the old one in force."""
    server = serve(WebConfig(tls=tls))
    Path(tls.cert).write_text(SECOND_CERT)
    assert get(server, {}, cert=FIRST_CERT)[0] == 200
    Path(tls.key).write_text(SECOND_KEY)
    assert get(server, {}, cert=SECOND_CERT)[0] == 200


def test_a_reader_without_tls_gets_nothing(serve: Serve, tls: TlsConfig) -> None:
    """A reader without TLS gets no page, and others are still served."""
    server = serve(WebConfig(tls=tls))
    with socket.create_connection(server.address, timeout=20) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"guardian_level" not in plain.recv(65536)
    assert get(server, {}, cert=FIRST_CERT)[0] == 200


def test_silent_readers_do_not_keep_others_out(serve: Serve, tls: TlsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many readers as there are workers, all silent in the handshake, are cut and do not keep another one out."""
    monkeypatch.setattr(served, "CROWDED_S", 0.2)
    server = serve(WebConfig(tls=tls))
    with contextlib.ExitStack() as stack:
        for _ in range(served.WORKERS):
            stack.enter_context(socket.create_connection(server.address, timeout=20))
        assert get(server, {}, cert=FIRST_CERT)[0] == 200


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem"])
def test_a_missing_certificate_is_a_clear_error(tls: TlsConfig, tmp_path: Path, missing: str) -> None:
    """A certificate or key that cannot be read is an error that names the files."""
    (tmp_path / missing).unlink()
    with pytest.raises(GuardianError, match=f"web.tls: cannot read .*{missing}.*No such file"):
        access(WebConfig(tls=tls))


def test_a_key_of_another_certificate_is_a_clear_error(tls: TlsConfig) -> None:
    """A key that belongs to another certificate is an error that says so."""
    Path(tls.key).write_text(SECOND_KEY)
    with pytest.raises(GuardianError, match="are no certificate and its key"):
        access(WebConfig(tls=tls))


def test_an_empty_password_is_a_clear_error(auth: AuthConfig) -> None:
    """An empty password would let anybody in: it is an error."""
    Path(auth.password_file).write_text("\n")
    with pytest.raises(GuardianError, match="is empty; write the password into it"):
        access(WebConfig(auth=auth))
