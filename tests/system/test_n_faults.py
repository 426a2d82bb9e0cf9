"""Faults around the daemon: of the engine's answers, of its containers, of the disk, and of what the host grants.

After, and where it can be during, each of them guardian does what it is for: under pressure it sheds the one service
that is needed, and restores it when there is room. It never touches another, and counts nothing that did not happen.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import Cut, Instead, Recorded, SocketProxy
from support.waiting import eventually

Make = Callable[..., GuardianProcess]
GONE_WRONG = ("failed", "refused", "timed_out")


@pytest.fixture
def guardian(make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml({**small.small_settings(proxy.url), "engine": {"url": proxy.url, "timeout": "1s"}}))
    small.start(guardian)
    small.after_ticks(guardian, 2)
    return guardian


def is_read(request: Recorded) -> bool:
    return request.method in ("GET", "HEAD") and request.route != "/events"


def is_events(request: Recorded) -> bool:
    return request.route == "/events"


def sheds(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """Under pressure it stops the victim, and books it."""
    small.press(platform)
    eventually(lambda: platform.running() == small.SERVICES - {small.VICTIM}, "the shed", 40)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "its booking")


def restores(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """With room it starts the victim, and owes nothing more; a stop whose answer was lost is in doubt for half a minute."""
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore", 40)
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "its booking", 60)


def is_as_promised(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """It sheds and restores, touched nobody else at any time, and has counted one of each."""
    sheds(guardian, platform)
    restores(guardian, platform)
    assert set(small.stopped_by(platform, proxy)) == {small.VICTIM}
    assert set(small.started_by(platform, proxy)) == {small.VICTIM}
    for action in ("shed", "restore"):
        assert guardian.metric("guardian_actions_total", action=action, result="done") == 1


def did_nothing(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    small.after_ticks(guardian, 4)
    assert platform.running() == small.SERVICES
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == []


# --- what the engine answers ----------------------------------------------------------------------------------------


def cut(_request: Recorded) -> None:
    raise Cut


def answer(status: str, body: bytes, length: int | None = None) -> Callable[[Recorded], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"

    def hook(_request: Recorded) -> None:
        raise Instead(head.encode() + body)

    return hook


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


def test_a_daemon_that_was_frozen_goes_on(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """A daemon that was frozen amid a shed goes on from what is so, and not from what was."""
    gate = proxy.hold("answered", small.is_stop)
    small.press(platform)
    assert gate.reached.wait(20), "no stop was sent"
    os.kill(guardian.pid, signal.SIGSTOP)
    try:
        eventually(lambda: platform.running() == small.SERVICES - {small.VICTIM}, "the engine stops it")
        small.relax(platform)
        gate.open()
    finally:
        os.kill(guardian.pid, signal.SIGCONT)
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


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


def test_a_daemon_without_memory_acts_once_it_has_some(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Where the kernel grants not one page more, the loop goes on; once there is memory again, all is as promised."""
    with limited(guardian.pid, resource.RLIMIT_AS, psutil.Process(guardian.pid).memory_info().vms // 2):
        small.press(platform)
        eventually(lambda: guardian.log_lines("action ended"), "what it does about it ends, well or not")
    is_as_promised(guardian, platform, proxy)


# --- the state directory --------------------------------------------------------------------------------------------


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 8 MiB of its own, where the daemon has its state."""
    image, folder = tmp_path / "disk", tmp_path / "guardian/state"
    folder.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(8 << 20)
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        run("umount", "--lazy", str(folder))


def unwritten(guardian: GuardianProcess) -> float:
    """How often the ledger was written late, or not."""
    return guardian.metric("guardian_ledger_write_failures_total") + guardian.metric("guardian_ledger_late_writes_total")


def test_a_full_disk_costs_no_shed(
    disk: Path, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """On a full disk it sheds all the same, and counts what it could not write; with room that is written, and outlives a crash."""
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(filler, b"x" * 4096)
    os.close(filler)
    sheds(guardian, platform)
    assert unwritten(guardian) > 0
    (disk / "filler").unlink()
    eventually(lambda: [row for row in guardian.history() if row["action"] == "shed"], "the history is written")
    guardian.kill()
    small.start(guardian)
    restores(guardian, platform)
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
    """While every write of the disk stalls it sheds all the same, within the wait that it grants the ledger, and counts it."""
    run("fsfreeze", "--freeze", str(disk))
    try:
        sheds(guardian, platform)
        assert unwritten(guardian) > 0
    finally:
        run("fsfreeze", "--unfreeze", str(disk))
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


def test_a_state_directory_that_is_removed_costs_no_shed(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """When its state directory is removed under it, it sheds and restores all the same."""
    shutil.rmtree(guardian.state_dir)
    is_as_promised(guardian, platform, proxy)


# --- readers --------------------------------------------------------------------------------------------------------


def test_readers_that_never_read_hold_up_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Two hundred clients that ask for metrics and never read them hold up no tick and no shed."""
    url = urlsplit(guardian.url)
    with ExitStack() as clients:
        for _ in range(200):
            client = clients.enter_context(socket.create_connection((url.hostname, url.port), 5))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        small.press(platform)
        eventually(lambda: platform.running() == small.SERVICES - {small.VICTIM}, "the shed")
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]
