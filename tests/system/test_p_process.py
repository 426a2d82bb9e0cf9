"""Faults of the daemon's own surroundings: clocks, threads, its log, its ledger's file, what the kernel shows it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.allocations import Allocations
from support.clocks import Clocks
from support.daemon import GuardianProcess, in_view_of
from support.platform import ReferencePlatform
from support.promises import is_as_promised, restores, sheds
from support.scarcity import no_more_threads
from support.socket_proxy import SocketProxy
from support.waiting import eventually

Make = Callable[..., GuardianProcess]
HOUR_S = 3600.0
TICKS_BROKEN_OFF = 3
NEWER_VERSION = 99


@pytest.fixture
def stopped(make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy) -> GuardianProcess:
    """Not yet started."""
    return make_guardian(small.as_yaml(small.small_settings(proxy.url)))


@pytest.fixture
def guardian(stopped: GuardianProcess) -> GuardianProcess:
    small.start(stopped)
    return stopped


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
def test_a_wall_clock_that_is_set_while_a_service_is_shed_holds_up_nothing(
    by_s: float, stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, tmp_path: Path
) -> None:
    """A wall clock that is set by an hour while a service is shed stops no tick, restores it once, and it shows."""
    guardian, clocks = stopped, Clocks(tmp_path)
    small.start(guardian, **clocks.environ)
    sheds(guardian, platform)
    clocks.set_wall(by_s)
    eventually(lambda: guardian.metric("guardian_time_jumps_total", kind="clock_set") == 1, "it shows")
    small.after_ticks(guardian, 4)
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]
    assert guardian.metric("guardian_overrides_total") == 0
    assert guardian.metric("guardian_event_stream_reconnects_total") == 0


def test_a_host_that_slept_while_a_service_was_shed_goes_on(
    stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, tmp_path: Path
) -> None:
    """After a night's sleep of the host while a service is shed it is restored once there is room, and it shows."""
    guardian, clocks = stopped, Clocks(tmp_path)
    small.start(guardian, **clocks.environ)
    sheds(guardian, platform)
    clocks.sleep(8 * HOUR_S)
    eventually(lambda: guardian.metric("guardian_time_jumps_total", kind="suspend") == 1, "it shows")
    small.after_ticks(guardian, 4)
    assert platform.running() == small.SERVICES - {small.VICTIM}
    restores(guardian, platform)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


def test_what_is_owed_to_a_container_that_was_removed_ends_after_a_day(
    stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, tmp_path: Path
) -> None:
    """A shed container that is removed is owed for a day, by the wall clock, and no longer; nothing is started for it."""
    guardian, clocks = stopped, Clocks(tmp_path)
    small.start(guardian, **clocks.environ)
    sheds(guardian, platform)
    platform.discard(small.VICTIM)
    try:
        eventually(lambda: guardian.metric("guardian_service_info", service=small.VICTIM) == 0, "it is seen to be gone")
        small.relax(platform)
        small.after_ticks(guardian, 4)
        assert guardian.metric("guardian_ledger_open") == 1
        clocks.set_wall(25 * HOUR_S)
        eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "it is owed no longer")
        assert small.started_by(platform, proxy) == []
    finally:
        platform.create(small.VICTIM)


# --- what the host grants and shows -----------------------------------------------------------------------------------


def test_a_daemon_that_is_granted_no_thread_is_as_promised(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """On a host without pids to give it does all it is for, and answers who asks for its metrics."""
    with no_more_threads(guardian.pid):
        is_as_promised(guardian, platform, proxy)


def test_a_daemon_that_is_refused_memory_amid_its_ticks_goes_on_and_sheds(
    stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, tmp_path: Path
) -> None:
    """While allocations fail, amid ticks as well, the loop goes on and it shows; what memory asks for is shed then or once there is some."""
    guardian, allocations = stopped, Allocations(tmp_path)
    small.start(guardian, **allocations.environ)
    with allocations.failing(every=3):
        small.press(platform)
        eventually(lambda: len(broken_off(guardian)) >= TICKS_BROKEN_OFF, "ticks break off")
    assert guardian.metric("guardian_task_failures_total", task="tick") >= TICKS_BROKEN_OFF
    small.after_ticks(guardian, 4)
    sheds(guardian, platform)
    restores(guardian, platform)
    assert set(small.stopped_by(platform, proxy)) == set(small.started_by(platform, proxy)) == {small.VICTIM}
    for action, asked in (("shed", small.stopped_by), ("restore", small.started_by)):
        assert guardian.metric("guardian_actions_total", action=action, result="done") <= len(asked(platform, proxy))


def broken_off(guardian: GuardianProcess) -> list[dict[str, Any]]:
    """Lines of the log about ticks that had no memory; some had none to say whose they are."""
    failed = guardian.log_lines("a job failed and goes on")
    return [line for line in failed if line.get("job") == "tick" and str(line["error"]).startswith("MemoryError")]


def test_without_pressure_and_cgroup_files_it_is_as_promised(
    stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Where the kernel shows no pressure, and cgroups may not be read, that is unknown, and all else is as promised."""
    guardian = stopped
    hidden = "mount -t tmpfs none /proc/pressure; mount -t tmpfs -o mode=0 none /sys/fs/cgroup"
    small.start(guardian, under=(*in_view_of(hidden), "setpriv", "--bounding-set=-dac_override,-dac_read_search"))
    is_as_promised(guardian, platform, proxy)
    assert "guardian_host_pressure_ratio" not in {name for name, _ in guardian.metrics()}
    assert guardian.log_lines("should the engine hang")


def test_a_reader_of_its_log_that_stalls_holds_up_nothing(
    stopped: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """While whoever reads its log has stopped reading, and the pipe is full, it does all it is for."""
    guardian = stopped
    guardian.write_config(small.as_yaml({**small.small_settings(proxy.url), "log": {"level": "debug"}}))
    stalled = threading.Event()
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)

    def follow() -> None:
        with guardian.log_path.open("ab", buffering=0) as log:
            while not stalled.is_set() and (data := os.read(read, 4096)):
                log.write(data)

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        small.start(guardian, log=write)
        stalled.set()
        is_as_promised(guardian, platform, proxy)
    finally:
        stalled.set()
        guardian.close()
        os.close(write)
        reader.join()
        os.close(read)


# --- the ledger's file -------------------------------------------------------------------------------------------------


def test_a_broken_ledger_is_put_aside_and_told_of(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A ledger that is broken when it starts is put aside and told of; what was shed is nobody's to restore, and all else goes on."""
    sheds(guardian, platform)
    guardian.stop()
    ledger = guardian.state_dir / "ledger.db"
    ledger.write_bytes(ledger.read_bytes()[: ledger.stat().st_size // 2])
    small.start(guardian)
    assert guardian.metric("guardian_ledger_put_aside_total") == 1
    assert guardian.metric("guardian_ledger_open") == 0
    assert list(guardian.state_dir.glob("ledger.db.broken-*"))
    small.relax(platform)
    small.after_ticks(guardian, 4)
    assert small.started_by(platform, proxy) == []
    platform.start(small.VICTIM)
    sheds(guardian, platform)
    restores(guardian, platform)


def test_a_ledger_that_it_may_not_use_ends_the_start_and_loses_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Where another process has locked its ledger at its start, or a newer guardian has written it, it says so and ends, and the next start goes on."""
    sheds(guardian, platform)
    with closing(sqlite3.connect(guardian.state_dir / "ledger.db", timeout=0, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN EXCLUSIVE")
        guardian.kill()
        other.execute("BEGIN EXCLUSIVE")
        guardian.start(wait=False)
        assert guardian.wait(60) == 1
    assert "ledger.db: cannot open the ledger: database is locked" in guardian.log_path.read_text()
    version = set_version(guardian, NEWER_VERSION)
    guardian.start(wait=False)
    assert guardian.wait(60) == 1
    assert "newer guardian" in guardian.log_path.read_text()
    assert set_version(guardian, version) == NEWER_VERSION
    small.start(guardian)
    restores(guardian, platform)
    assert small.started_by(platform, proxy) == [small.VICTIM]


def set_version(guardian: GuardianProcess, version: int) -> int:
    """Have its ledger say that a guardian of this version has written it; the version before."""
    with closing(sqlite3.connect(guardian.state_dir / "ledger.db", isolation_level=None)) as ledger:
        (before,) = ledger.execute("PRAGMA user_version").fetchone()
        ledger.execute(f"PRAGMA user_version = {version}")
        return int(before)
