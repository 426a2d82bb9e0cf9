"""The notifier against a socket of the test's own."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from guardian.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def notifier(manager: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname()})


def test_each_state_is_one_datagram(manager: socket.socket) -> None:
    """Each state is one datagram in the words of sd_notify."""
    teller = notifier(manager)
    teller.ready()
    teller.watchdog()
    teller.stopping()
    assert [manager.recv(200) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_is_stamped_with_monotonic_time(manager: socket.socket) -> None:
    """A reload is stamped with the monotonic time in microseconds."""
    before = time.monotonic_ns() // 1000
    notifier(manager).reloading()
    match = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.recv(200))
    assert match is not None
    assert before <= int(match[1]) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line(manager: socket.socket) -> None:
    """A status is one line, so that no text in it can be taken for another state."""
    notifier(manager).status("soft: 2 shed\nWATCHDOG=1 — wait")
    assert manager.recv(200).decode() == "STATUS=soft: 2 shed WATCHDOG=1 — wait"


def test_an_abstract_address_is_understood() -> None:
    """An address in the abstract namespace is understood."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"guardian-test-{os.getpid()}-{time.monotonic_ns()}"
        listener.bind("\0" + name)
        listener.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert listener.recv(200) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative/path", "/no/such/socket", "/" + "x" * 300, "vsock:2:1"])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    """Without a manager that listens nothing happens, and nothing is raised."""
    teller = Notifier({} if address is None else {"NOTIFY_SOCKET": address})
    for tell in (teller.ready, teller.reloading, teller.stopping, teller.watchdog):
        tell()
    teller.status("fine")


def test_a_manager_that_reads_nothing_holds_nobody_up(manager: socket.socket) -> None:
    """A manager that reads nothing holds nobody up."""
    teller = notifier(manager)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, suppress(BlockingIOError):
        filler.setblocking(False)
        while True:
            filler.sendto(b"X=1", manager.getsockname())
    start_s = time.monotonic()
    teller.watchdog()
    assert time.monotonic() - start_s < 2
