"""Pressure triggers: on sockets whose urgent data raises POLLPRI as the kernel's triggers do, and on this machine's own kernel."""

from __future__ import annotations

import errno
import multiprocessing
import os
import queue
import select
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guardian.sense.triggers import REST_S, PressureTriggers, register

PATIENCE_S = 10.0


class Kernel:
    """Grants triggers as told: urgent data that is sent to one makes it POLLPRI, and it stays so."""

    def __init__(self) -> None:
        self.refusals: dict[tuple[str, float], int] = {}  # (resource, window) -> errno
        self.asked: list[tuple[str, float]] = []
        self.heard: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.fails = 0  # how many of the next calls raise
        self.sides: dict[str, socket.socket] = {}
        self.granted: dict[str, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.triggers = PressureTriggers(self._hear, self._grant)

    def raise_pressure(self, resource: str) -> None:
        self.sides[resource].send(b"!", socket.MSG_OOB)

    def withdraw(self, resource: str) -> None:
        """Nothing can be polled for any more: POLLHUP."""
        self.sides.pop(resource).close()

    def close(self) -> None:
        self.triggers.stop()
        self._listener.close()
        for side in self.sides.values():
            side.close()

    def _grant(self, resource: str, _part: float, window_s: float) -> int:
        self.asked.append((resource, window_s))
        refusal = self.refusals.get((resource, window_s))
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))
        self.sides[resource] = socket.create_connection(self._listener.getsockname())
        taken, _ = self._listener.accept()
        self.granted[resource] = taken.detach()
        return self.granted[resource]

    def _hear(self, resource: str) -> None:
        self.heard.put((resource, time.monotonic()))
        if self.fails:
            self.fails -= 1
            raise RuntimeError("cannot be woken")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.close()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "pressure"]


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_a_short_window_is_asked_for_first(kernel: Kernel) -> None:
    """Where the kernel grants windows of half a second, nothing else is asked for."""
    kernel.triggers.start()
    assert kernel.asked == [("memory", 0.5), ("io", 0.5), ("cpu", 0.5)]


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EACCES, errno.EINVAL])
def test_without_privilege_it_falls_back_to_two_seconds(kernel: Kernel, refusal: int) -> None:
    """Where short windows are refused, those of two seconds are asked for, each resource by itself."""
    kernel.refusals = {("memory", 0.5): refusal, ("io", 0.5): refusal}
    kernel.triggers.start()
    assert kernel.asked == [("memory", 0.5), ("memory", 2.0), ("io", 0.5), ("io", 2.0), ("cpu", 0.5)]
    kernel.raise_pressure("io")
    assert kernel.heard.get(timeout=PATIENCE_S)[0] == "io"


@pytest.mark.parametrize("refusal", [errno.ENOENT, errno.EOPNOTSUPP, errno.EPERM, errno.EBUSY, errno.ENOMEM])
def test_a_kernel_that_grants_nothing_is_said_once(kernel: Kernel, refusal: int) -> None:
    """Where nothing is granted one line says so and why, and no thread is left over."""
    kernel.refusals = {(resource, window): refusal for resource in ("memory", "io", "cpu") for window in (0.5, 2.0)}
    with capture_logs() as said:
        kernel.triggers.start()
        kernel.triggers.stop()
    assert [(line["log_level"], line["error"]) for line in said] == [("warning", os.strerror(refusal))]
    assert threads() == []


def test_a_trigger_is_what_the_kernel_documents(tmp_path: Path) -> None:
    """A trigger is the kind, the stall and the window in microseconds, ended by a zero byte."""
    (tmp_path / "memory").touch()
    os.close(register("memory", 0.1, 0.5, str(tmp_path)))
    assert (tmp_path / "memory").read_bytes() == b"some 50000 500000\0"
    with pytest.raises(FileNotFoundError):
        register("io", 0.1, 0.5, str(tmp_path))


# --- what comes of it -----------------------------------------------------------------------------------------------


def test_pressure_is_heard_of_at_once_and_by_name(kernel: Kernel) -> None:
    """Pressure on a resource is heard of at once, with its name."""
    kernel.triggers.start()
    for resource in ("cpu", "memory"):
        raised_s = time.monotonic()
        kernel.raise_pressure(resource)
        heard, heard_s = kernel.heard.get(timeout=PATIENCE_S)
        assert heard == resource
        assert heard_s - raised_s < 1.0


def test_a_storm_is_heard_of_now_and_then(kernel: Kernel) -> None:
    """A trigger that never ceases is heard of each half second, and another resource not a moment later for it."""
    kernel.triggers.start()
    kernel.raise_pressure("io")
    times_s = [kernel.heard.get(timeout=PATIENCE_S)[1] for _ in range(3)]
    assert all(after - before >= REST_S * 0.99 for before, after in pairwise(times_s))
    kernel.raise_pressure("memory")
    heard = [kernel.heard.get(timeout=PATIENCE_S)[0] for _ in range(2)]
    assert "memory" in heard


def test_a_wake_that_fails_ends_nothing(kernel: Kernel) -> None:
    """When the one who is told fails, later pressure is told all the same."""
    kernel.fails = 1
    kernel.triggers.start()
    kernel.raise_pressure("memory")
    kernel.heard.get(timeout=PATIENCE_S)
    kernel.raise_pressure("cpu")
    assert kernel.heard.get(timeout=PATIENCE_S)[0] in ("memory", "cpu")


def test_a_trigger_that_is_withdrawn_is_left_alone(kernel: Kernel) -> None:
    """A trigger that the kernel withdraws is no longer watched, and the others are."""
    kernel.triggers.start()
    kernel.withdraw("memory")
    kernel.raise_pressure("cpu")
    assert kernel.heard.get(timeout=PATIENCE_S)[0] == "cpu"
    assert kernel.heard.empty()


def test_it_ends_cleanly(kernel: Kernel) -> None:
    """The end is prompt, closes every descriptor, leaves no thread, and may come twice or before the start."""
    kernel.triggers.stop()
    kernel.triggers.start()
    granted = list(kernel.granted.values())
    assert all(map(is_open, granted))
    kernel.triggers.stop()
    assert threads() == []
    assert not any(map(is_open, granted))
    kernel.triggers.stop()


# --- this machine's kernel ------------------------------------------------------------------------------------------


def _compete(cpu: int, until_s: float) -> None:
    os.sched_setaffinity(0, {cpu})
    os.nice(19)
    while time.monotonic() < until_s:
        pass


def test_the_kernel_of_this_machine_reports_a_cpu_that_is_waited_for() -> None:
    """A trigger of this kernel, where it grants one, reports that two processes share a CPU; else it says why not."""
    try:
        descriptor = register("cpu", 0.001, 2.0)  # two milliseconds of waiting
    except OSError as error:
        refused = errno.errorcode.get(error.errno or 0)
    else:
        assert _is_reported(descriptor)
        return
    assert refused in ("ENOENT", "EOPNOTSUPP", "EPERM", "EACCES", "EROFS", "EINVAL")


def _is_reported(descriptor: int) -> bool:
    cpu = min(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    busy = [spawn.Process(target=_compete, args=(cpu, time.monotonic() + PATIENCE_S), daemon=True) for _ in range(2)]
    try:
        for process in busy:
            process.start()
        poller = select.poll()
        poller.register(descriptor, select.POLLPRI)
        return poller.poll(PATIENCE_S * 1000) == [(descriptor, select.POLLPRI)]
    finally:
        for process in busy:
            process.kill()
            process.join()
        os.close(descriptor)
