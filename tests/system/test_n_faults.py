"""Faults around the daemon: of the engine's answers, of the disk, and of what the host grants; `support.promises` says
what is promised under each.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from support import small
from support.daemon import GuardianProcess
from support.disks import frozen, run, small_disk
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.promises import (
    GONE_WRONG,
    answer,
    cut,
    did_nothing,
    is_as_promised,
    is_events,
    is_read,
    restores,
    sheds,
    silence,
)
from support.scarcity import limited
from support.socket_proxy import Instead, SocketProxy
from support.waiting import PATIENCE_S, eventually

Make = Callable[..., GuardianProcess]
STALLED_S = 10.0


@pytest.fixture
def guardian(make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml({**small.small_settings(proxy.url), "engine": {"url": proxy.url, "timeout": "3s"}}))
    small.start(guardian)
    small.after_ticks(guardian, 2)
    return guardian


# --- what the engine answers ----------------------------------------------------------------------------------------


ANSWERS = {
    "cut": cut,
    "cut amid its body": answer("200 OK", b'[{"Id": "', 5000),
    "an error": answer("500 Internal Server Error", b'{"message": "no"}'),
    "no JSON": answer("200 OK", b"<html>it works</html>"),
    "JSON of another form": answer("200 OK", b'{"a": [null]}'),
    "no HTTP": lambda _request: (_ for _ in ()).throw(Instead(b"220 mail ready\r\n\r\n")),
    "huge": answer("200 OK", b'["' + b"x" * (80 << 20) + b'"]'),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_that_cannot_be_used_stop_nothing(
    what: str, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While all that the engine answers is cut, an error, no JSON or huge, nothing is done and it shows; then all is as promised."""
    proxy.on("arrived", is_read, ANSWERS[what])
    proxy.cut_all()
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine is of no use")
    small.press(platform)
    did_nothing(guardian, platform, proxy)
    assert guardian.metric("guardian_engine_request_errors_total") > 0
    assert psutil.Process(guardian.pid).memory_info().rss < 120 << 20

    proxy.clear()
    is_as_promised(guardian, platform, proxy)


def test_a_socket_that_is_removed_stops_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """While the engine's socket is gone nothing is done and it shows; once there is one again, all is as promised."""
    proxy.close()
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that there is no engine")
    small.press(platform)
    small.after_ticks(guardian, 4)
    assert platform.running() == small.SERVICES
    with SocketProxy(standin_engine.socket, proxy.path) as again:
        is_as_promised(guardian, platform, again)


def test_a_stream_of_events_that_never_holds_is_made_up_for(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While every stream of events is cut at once, lists take its place: it sheds and restores all the same."""
    proxy.on("answered", is_events, cut)
    proxy.cut_all()
    eventually(lambda: guardian.log_lines("event stream lost"), "the stream is lost")
    is_as_promised(guardian, platform, proxy)
    assert guardian.metric("guardian_engine_request_errors_total", operation="events") > 0


def test_an_engine_that_does_not_answer_stops_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While no call is answered nothing is done and it shows; once they are, all is as promised."""
    proxy.hold("arrived", lambda _: True)
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine hangs")
    small.press(platform)
    did_nothing(guardian, platform, proxy)
    assert guardian.metric("guardian_engine_request_errors_total", reason="timeout") > 0

    proxy.clear()
    is_as_promised(guardian, platform, proxy)


def test_a_socket_that_may_not_be_used_any_more_stops_nothing(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While guardian may not use the engine's socket nothing is done, and log and metrics say why; then all is as promised."""
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian, under=("setpriv", "--bounding-set=-dac_override,-dac_read_search"))
    proxy.path.chmod(0)
    proxy.cut_all()
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that it is shut out")
    small.press(platform)
    did_nothing(guardian, platform, proxy)
    causes = [line["error"] for line in guardian.log_lines("the engine does not answer")]
    assert "permission denied" in causes[-1]
    assert guardian.metric("guardian_engine_request_errors_total", reason="unreachable") > 0

    proxy.path.chmod(0o660)
    is_as_promised(guardian, platform, proxy)


def test_an_engine_that_is_upgraded_is_spoken_to_in_its_own_version(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """An engine that comes back with another API version, and refuses the old one, is asked in that version from then on."""
    proxy.on("arrived", lambda request: request.path == "/version", answer("200 OK", b'{"ApiVersion": "1.40"}'))
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian)
    assert any(request.path.startswith("/v1.40/") for request in proxy.requests)

    proxy.clear()
    refusal = b'{"message": "client version 1.40 is too old. Minimum supported API version is 1.41"}'
    proxy.on("arrived", lambda request: request.path.startswith("/v1.40/"), answer("400 Bad Request", refusal))
    proxy.cut_all()
    is_as_promised(guardian, platform, proxy)
    assert not any(request.path.startswith("/v1.40/") for request in proxy.requests if small.is_stop(request))


def test_a_silent_stream_of_events_is_found_out_and_made_up_for(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While the stream of events is open and nothing comes on it, guardian finds out by its own stop; it sheds and restores all the same."""
    proxy.on("answered", is_events, silence)
    proxy.cut_all()
    eventually(lambda: guardian.log_lines("event stream back"), "the stream seems to be up again")
    before = guardian.metric("guardian_event_stream_reconnects_total")
    is_as_promised(guardian, platform, proxy)
    eventually(lambda: guardian.metric("guardian_event_stream_reconnects_total") > before, "the silent stream was given up")


def test_a_list_that_arrives_after_what_happened_later_is_not_believed(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A list that was made before a service was stopped, and arrives after the event of that, is not what counts in the end."""
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian)
    gate = proxy.hold("answered", small.is_list)
    proxy.cut_all()  # what may have been missed has to be listed
    assert gate.reached.wait(PATIENCE_S), "no list was asked for"
    platform.stop(small.VICTIM)
    small.after_ticks(guardian, 2)
    proxy.clear()
    eventually(lambda: guardian.metric("guardian_service_up", service=small.VICTIM) == 0, "guardian sees what is so")
    small.press(platform)
    small.after_ticks(guardian, 4)
    assert guardian.metric("guardian_service_up", service=small.VICTIM) == 0
    assert small.VICTIM not in small.stopped_by(platform, proxy)
    assert small.started_by(platform, proxy) == []


def test_a_stop_that_is_answered_after_somebody_started_it_again_is_an_override(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A stop whose answer arrives only after somebody has started the service again leaves it to them, and owes nothing."""
    gate = proxy.hold("answered", small.is_stop)
    small.press(platform)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    platform.start(small.VICTIM)
    small.after_ticks(guardian, 2)
    proxy.clear()
    eventually(lambda: guardian.metric("guardian_overrides_total", kind="started") == 1, "the override is counted")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed")
    small.after_ticks(guardian, 4)
    assert small.VICTIM in platform.running()
    assert small.started_by(platform, proxy) == []
    assert small.stopped_by(platform, proxy).count(small.VICTIM) == 1


# --- stops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cut", "an error"])
def test_a_stop_that_fails_is_no_stop(
    what: str, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A stop that never reaches the engine counts as failed, is never shown as a shed, and is tried again."""
    proxy.on("arrived", small.is_stop, ANSWERS[what])
    small.press(platform)
    eventually(
        lambda: sum(guardian.metric("guardian_actions_total", action="shed", result=one) for one in GONE_WRONG), "a failure"
    )
    assert platform.running() == small.SERVICES
    assert guardian.metric("guardian_actions_total", action="shed", result="done") == 0
    assert guardian.metric("guardian_service_up", service=small.VICTIM) == 1
    assert guardian.metric("guardian_relief_bytes_total") == 0

    proxy.clear()
    is_as_promised(guardian, platform, proxy)


# --- the daemon itself ----------------------------------------------------------------------------------------------


def test_a_daemon_without_descriptors_acts_once_it_has_some(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Where no connection can be opened any more, the engine counts as down and nothing is done; then all is as promised."""
    with limited(guardian.pid, resource.RLIMIT_NOFILE, 3):
        proxy.cut_all()
        eventually(lambda: guardian.log_lines("the engine does not answer"), "the loss of the engine is told")
        small.press(platform)
        assert platform.running() == small.SERVICES
    is_as_promised(guardian, platform, proxy)
    assert guardian.metric("guardian_engine_request_errors_total", reason="unreachable") > 0


# --- the state directory --------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, where the daemon has its state."""
    with small_disk(tmp_path, tmp_path / "guardian/state") as disk:
        yield disk


def unwritten(guardian: GuardianProcess) -> float:
    """How often the ledger was written late, or not."""
    return guardian.metric("guardian_ledger_write_failures_total") + guardian.metric("guardian_ledger_late_writes_total")


def fill(disk: Path) -> None:
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(filler, b"x" * 4096)
    os.close(filler)


def test_a_full_disk_costs_no_shed_and_no_restore(
    disk: Path, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """On a full disk it sheds all the same, and counts what it could not write; with room that is written, and is restored after a crash and a start on a full disk."""
    fill(disk)
    sheds(guardian, platform)
    assert unwritten(guardian) > 0
    (disk / "filler").unlink()
    eventually(lambda: [row for row in guardian.history() if row["action"] == "shed"], "the history is written")
    guardian.kill()
    fill(disk)
    small.start(guardian)
    restores(guardian, platform)
    assert unwritten(guardian) > 0
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


def test_a_disk_that_becomes_read_only_costs_no_shed(
    disk: Path, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """On a disk that has become read-only, as after an error of it, it sheds and restores all the same, and counts what it could not write."""
    run("mount", "-o", "remount,abort", str(disk))
    is_as_promised(guardian, platform, proxy)
    assert unwritten(guardian) > 0


def test_a_disk_that_stalls_costs_no_shed(
    disk: Path, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While every write of the disk stalls for ten seconds it sheds and restores all the same, and counts what it wrote late."""
    with frozen(disk):
        ends_s = time.monotonic() + STALLED_S
        sheds(guardian, platform)
        assert unwritten(guardian) > 0
        small.relax(platform)
        eventually(lambda: platform.running() == small.SERVICES, "the restore")
        while time.monotonic() < ends_s:
            small.after_ticks(guardian)
    restores(guardian, platform)
    eventually(lambda: [row["action"] for row in guardian.history()] == ["restore", "shed"], "the history is written")
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


def test_a_state_directory_that_is_removed_costs_no_shed(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """When its state directory is removed under it, it sheds and restores all the same."""
    shutil.rmtree(guardian.state_dir)
    is_as_promised(guardian, platform, proxy)
    assert unwritten(guardian) > 0


# --- readers --------------------------------------------------------------------------------------------------------


def test_readers_that_never_read_hold_up_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Two hundred clients that ask for metrics and never read them, or never ask, hold up no tick and no shed, and it shows."""
    url = urlsplit(guardian.url)
    with ExitStack() as clients:
        for number in range(200):
            client = clients.enter_context(socket.create_connection((url.hostname, url.port), PATIENCE_S))
            if number % 10:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        small.press(platform)
        eventually(lambda: platform.running() == small.SERVICES - {small.VICTIM}, "the shed")
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]
    eventually(lambda: guardian.metric("guardian_connections_cut_total", side="web") > 0, "it shows")
