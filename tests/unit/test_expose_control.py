"""The control socket, driven by a real client."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fake_daemon import FakeDaemon
from support.snapshots import AT_WALL_S, SHED, key

from guardian.errors import AlreadyRunning, ConfigError, GuardianError, LedgerError, Problem
from guardian.expose.control import ControlServer
from guardian.expose.orders import Order, OrderKind
from guardian.model import Sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def daemon(path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(path)
    yield daemon
    daemon.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


def ask(path: Path, address: str, body: object = None, method: str = "") -> tuple[int, Any]:
    connection = UnixConnection(path)
    with contextlib.closing(connection):
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), address, data)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if answer.headers["Content-Type"] == "application/json" else content


def order(path: Path, **body: object) -> tuple[int, Any]:
    return ask(path, "/api/v1/orders", body)


def test_the_socket_is_for_user_and_group_alone(daemon: FakeDaemon, path: Path) -> None:
    """The socket is for its user and group alone, and its directory is made."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_the_status_is_the_same_as_on_the_web_side(daemon: FakeDaemon, path: Path) -> None:
    """The status is the same as on the web side."""
    status, answer = ask(path, "/api/v1/status")
    assert (status, answer["level"]) == (200, "soft")


def test_a_starting_daemon_has_no_status_yet(daemon: FakeDaemon, path: Path) -> None:
    """A daemon that is starting has no status yet, and says so."""
    daemon.snapshot = None
    status, answer = ask(path, "/api/v1/status")
    assert (status, answer["exit_code"]) == (503, 69)
    assert "starting" in answer["error"]


def test_an_order_reaches_the_daemon_with_who_gave_it(daemon: FakeDaemon, path: Path) -> None:
    """An order reaches the daemon as typed values, with the user who gave it, whom the kernel vouches for."""
    status, answer = order(path, order="shed", services=["grafana", "openpolicy/fluentd"])
    assert (status, answer["ok"]) == (200, True)
    assert daemon.orders == [Order(OrderKind.SHED, (key("grafana"), key("fluentd")), by=getpass.getuser())]


def test_a_service_is_not_called_unknown_before_the_containers_are(daemon: FakeDaemon, path: Path) -> None:
    """A service is not called unknown before the engine's containers are known."""
    assert daemon.snapshot is not None
    assessment = replace(daemon.snapshot.assessment, services=())
    daemon.snapshot = replace(daemon.snapshot, sample=Sample(None, None), assessment=assessment)
    status, answer = order(path, order="shed", services=["postgres"])
    assert (status, answer["exit_code"]) == (503, 69)
    assert "not seen the engine's containers yet" in answer["error"]


def test_a_refused_order_is_409_with_its_lines(daemon: FakeDaemon, path: Path) -> None:
    """An order that is refused for one service is 409, with a line for each."""
    status, answer = order(path, order="shed", services=["postgres", "grafana"])
    assert (status, answer["ok"]) == (409, False)
    assert answer["lines"] == ["openpolicy/postgres: shed refused", "openpolicy/grafana: shed"]


def test_all_is_for_restore(daemon: FakeDaemon, path: Path) -> None:
    """`all` restores whatever is shed, and goes with nothing else."""
    assert order(path, order="restore", all=True)[0] == 200
    assert daemon.orders[-1] == Order(OrderKind.RESTORE, all=True, by=getpass.getuser())
    assert order(path, order="shed", all=True)[0] == 400
    assert order(path, order="restore", all=True, services=["kibana"])[0] == 400


def test_standby_takes_a_time(daemon: FakeDaemon, path: Path) -> None:
    """Standby takes a time; zero ends it."""
    for for_s in (None, 7200, 0):
        assert order(path, order="standby", for_s=for_s)[0] == 200
        assert daemon.orders[-1].for_s == for_s


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "order (shed, restore"),
        (b"no json", "order (shed, restore"),
        (b"\xff\xfe", "order (shed, restore"),
        (b"[]", "order (shed, restore"),
        ({}, "order (shed, restore"),
        ({"order": "explode"}, "order (shed, restore"),
        ({"order": "shed", "services": ["kibana"], "force": True}, "force"),
        ({"order": "shed", "services": "kibana"}, "services"),
        ({"order": "standby", "for_s": -1}, "for_s"),
        ({"order": "hold", "for_s": 60}, "for_s goes with standby alone"),
        ({"order": "shed"}, "shed needs at least one service"),
        ({"order": "restore"}, "restore needs at least one service, or all"),
        ({"order": "hold", "services": ["kibana"]}, "hold takes no services"),
        ({"order": "shed", "services": ["kibanna"]}, "did you mean kibana?"),
        ({"order": "shed", "services": [""]}, "is not a managed service"),
        ({"order": "hold", "keep_phase": 1}, "go with emergency alone"),
        ({"order": "emergency", "services": ["web"], "keep_phase": 1}, "not both"),
        ({"order": "emergency", "keep_phase": -1}, "keep_phase"),
        ({"order": "emergency"}, "it is not said what to keep"),
    ],
)
def test_a_bad_order_is_400_and_says_what_is_allowed(daemon: FakeDaemon, path: Path, body: object, says: str) -> None:
    """A bad order is 400, says what is allowed, and never reaches the daemon."""
    status, answer = ask(path, "/api/v1/orders", body, "POST")
    assert (status, answer["exit_code"]) == (400, 2)
    assert says in answer["error"]
    assert daemon.orders == []


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (TimeoutError(), 503, 69),
        (GuardianError("no"), 500, 1),
        (ConfigError((Problem("guardian.yaml", 3, 1, "mode", "expected observe or enforce"),)), 409, 78),
    ],
)
def test_what_the_daemon_could_not_do_is_told(
    daemon: FakeDaemon, path: Path, error: Exception, status: int, exit_code: int
) -> None:
    """What the daemon could not do is told, with the exit code that the command line ends with."""
    daemon.fails = error
    found, answer = order(path, order="reload")
    assert (found, answer["exit_code"]) == (status, exit_code)
    assert answer["error"]


def test_a_mistake_of_ours_is_500_and_shows_nothing(daemon: FakeDaemon, path: Path) -> None:
    """A mistake of ours is 500 and shows nothing of it; the server goes on."""
    daemon.fails = RuntimeError("secret")
    status, answer = order(path, order="hold")
    assert status == 500
    assert b"secret" not in answer
    assert ask(path, "/api/v1/status")[0] == 200


def test_history_is_newest_first_and_can_be_narrowed(daemon: FakeDaemon, path: Path) -> None:
    """History is newest first, and can be narrowed by number, time and service."""

    def services(query: str) -> list[str | None]:
        return [row["service"] for row in ask(path, f"/api/v1/history{query}")[1]["history"]]

    assert services("") == ["openpolicy/kibana", "openpolicy/logstash", None]
    assert services("?limit=1") == ["openpolicy/kibana"]
    assert services(f"?since={AT_WALL_S - 4000}") == ["openpolicy/kibana", "openpolicy/logstash"]
    assert services("?service=logstash") == ["openpolicy/logstash"]
    assert services(f"?service={SHED}") == ["openpolicy/kibana"]
    assert services("?service=openpolicy/long-gone") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1.5", "limit=many", "limit=99999", "since=nan", "service=nobody", "x=1"])
def test_a_bad_question_about_history_is_400(daemon: FakeDaemon, path: Path, query: str) -> None:
    """A bad question about history is 400, with a reason."""
    status, answer = ask(path, f"/api/v1/history?{query}")
    assert (status, answer["exit_code"]) == (400, 2)


def test_a_ledger_that_cannot_be_read_is_told(daemon: FakeDaemon, path: Path) -> None:
    """A ledger that cannot be read is told."""

    def broken(*_: object) -> Any:
        raise LedgerError("ledger.db: the disk is gone")

    server = ControlServer(path.with_name("other.sock"), lambda: daemon.snapshot, daemon.submit, broken)
    server.start()
    try:
        status, answer = ask(server.path, "/api/v1/history")
        assert (status, answer["error"]) == (500, "ledger.db: the disk is gone")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [("POST", "/api/v1/status", 405), ("GET", "/api/v1/orders", 405), ("DELETE", "/api/v1/history", 405), ("GET", "/", 404)],
)
def test_other_methods_and_addresses_are_refused(
    daemon: FakeDaemon, path: Path, method: str, address: str, status: int
) -> None:
    """Other methods and addresses are refused."""
    assert ask(path, address, None, method)[0] == status


def test_a_socket_left_by_a_dead_guardian_is_taken_over(path: Path) -> None:
    """A socket left behind by a dead guardian is taken over."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    daemon = FakeDaemon(path)
    try:
        assert ask(path, "/api/v1/status")[0] == 200
    finally:
        daemon.close()


def test_a_socket_on_which_somebody_listens_is_left_alone(daemon: FakeDaemon, path: Path) -> None:
    """A socket on which another guardian listens is left alone, and the second is told."""
    with pytest.raises(AlreadyRunning, match=r"another guardian listens here"):
        FakeDaemon(path)
    assert ask(path, "/api/v1/status")[0] == 200


def test_a_file_that_is_no_socket_is_never_removed(path: Path) -> None:
    """A file in the socket's place that is no socket is never removed."""
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(GuardianError, match=r"no socket; move it away"):
        FakeDaemon(path)
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A path that cannot be used, being too long or under a file, is told."""
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / ("x" * 120), tmp_path / "file" / "control.sock"):
        with pytest.raises(GuardianError, match=r"^web\.control: .*107 bytes"):
            FakeDaemon(bad)


def test_closing_removes_the_socket_unless_another_has_taken_its_place(path: Path) -> None:
    """Closing removes the socket, unless another one has taken its place."""
    first = FakeDaemon(path)
    path.unlink()
    second = FakeDaemon(path)
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()
    second.close()


def test_whoever_has_no_name_is_shown_by_number(daemon: FakeDaemon, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a name on this host is shown by number."""

    def nobody(_: int) -> Any:
        raise KeyError

    monkeypatch.setattr("guardian.expose.control.pwd.getpwuid", nobody)
    order(path, order="hold")
    assert daemon.orders[-1].by == f"uid {os.getuid()}"
