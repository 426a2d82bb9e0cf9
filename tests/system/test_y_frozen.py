"""Half a minute without the engine, and a minute without guardian: frozen by SIGSTOP, on the real engine and the whole daemon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.processes import Processes
from support.promises import restores, sheds
from support.socket_proxy import SocketProxy
from support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.long
ENGINE_FROZEN_S = 30.0
GUARDIAN_FROZEN_S = 60.0
SOFT_BYTES = 320 * MIB  # of postgres: soft without the victim, too
LEFT = small.SERVICES - {small.VICTIM}


@pytest.fixture
def guardian(make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, proxy: SocketProxy) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml({**small.small_settings(proxy.url), "engine": {"url": proxy.url, "timeout": "3s"}}))
    small.start(guardian)
    return guardian


@contextmanager
def frozen(pid: int) -> Iterator[float]:
    """Within, the process is stopped; given is when (monotonic) that began."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        os.kill(pid, signal.SIGCONT)


def counted_once(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """Guardian stopped and started the victim, once each, and counts that and nothing else."""
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]
    done = [row["action"] for row in reversed(guardian.history()) if row["result"] == "done"]
    assert done == ["shed", "restore"]
    for action in ("shed", "restore"):
        assert guardian.metric("guardian_actions_total", action=action) == 1
    assert guardian.metric("guardian_overrides_total") == 0


def test_an_engine_that_hangs_for_half_a_minute_has_nothing_done_to_it_and_nothing_forgotten(
    guardian: GuardianProcess,
    platform: ReferencePlatform,
    proxy: SocketProxy,
    processes: Processes,
    standin_engine: PrivateEngine,
) -> None:
    """While the engine is frozen for 30 s ticks go on, and soft pressure stops and room starts nothing; what was shed before is restored once."""
    sheds(guardian, platform)
    with frozen(standin_engine.pid) as since_s:
        eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine hangs")
        processes.jump("postgres", SOFT_BYTES)
        while time.monotonic() < since_s + ENGINE_FROZEN_S / 2:
            small.after_ticks(guardian)
        assert guardian.metric("guardian_level") == 1
        processes.jump("postgres", small.CALM_BYTES)
        while time.monotonic() < since_s + ENGINE_FROZEN_S:
            assert "engine" in small.after_ticks(guardian)["holds"]
        assert guardian.metric("guardian_level") == 0
        assert guardian.metric("guardian_ledger_open") == 1
        assert processes.alive() == LEFT
    restores(guardian, platform)
    assert guardian.metric("guardian_engine_up") == 1
    assert guardian.metric("guardian_engine_request_errors_total", reason="timeout") > 0
    counted_once(guardian, platform, proxy)


def test_a_daemon_that_was_frozen_for_a_minute_goes_on(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A daemon that was frozen for 60 s amid a shed, which is longer than any call may take, goes on from what is so, and it shows."""
    gate = proxy.hold("answered", small.is_stop)
    small.press(platform)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    with frozen(guardian.pid) as since_s:
        eventually(lambda: platform.running() == LEFT, "the engine stops it")
        small.relax(platform)
        gate.open()
        time.sleep(max(0.0, since_s + GUARDIAN_FROZEN_S - time.monotonic()))
    restores(guardian, platform)
    assert guardian.metric("guardian_time_jumps_total", kind="late") >= 1
    small.after_ticks(guardian)
    counted_once(guardian, platform, proxy)
