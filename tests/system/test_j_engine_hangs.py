"""Promise J: the engine hangs while memory is hard. The same victims end by signal, and the engine does its part later."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.processes import Processes
from support.socket_proxy import SocketProxy
from support.waiting import PATIENCE_S, eventually

OPTIONAL = ("grafana", "kibana")  # phase 3; kibana ignores SIGTERM
HOLDS = {"grafana": 100 * MIB, "kibana": 100 * MIB, "auth-service": 60 * MIB}
HARD_BYTES = 240 * MIB  # of postgres: 98% of the capacity together, and phase 3 is enough
HARDER_BYTES = 440 * MIB  # … without phase 3, and phase 2 is all that is left


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """Docker restarts what ends without its doing."""
    environment = {name: {"STANDIN_MEMORY": str(size)} for name, size in HOLDS.items()}
    environment["kibana"]["STANDIN_STOP"] = "ignore"
    platform = ReferencePlatform(
        standin_engine.url, only=small.SERVICES, restart_policy="unless-stopped", environment=environment
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def guardian(make_guardian: Callable[..., GuardianProcess], proxy: SocketProxy) -> GuardianProcess:
    settings = small.small_settings(proxy.url)
    settings["engine"]["timeout"] = "2s"
    settings["shedding"] = {"hard_grace": "1s"}
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    eventually(lambda: small.after_ticks(guardian, 2)["level"] == "ok", "all is calm")
    return guardian


def _sheds(guardian: GuardianProcess) -> list[tuple[str, str, bool]]:
    """(service, result, whether by signal) of each, oldest first."""
    rows = [row for row in reversed(guardian.history()) if row["action"] == "shed"]
    return [(row["service"].partition("/")[2], row["result"], "by signal" in row["detail"]) for row in rows]


def test_victims_end_by_signal_while_the_engine_hangs_and_are_stopped_and_restored_once_it_answers(
    guardian: GuardianProcess,
    platform: ReferencePlatform,
    processes: Processes,
    proxy: SocketProxy,
    standin_engine: PrivateEngine,
) -> None:
    """While the engine hangs the victims end by signal, highest phase first; what it restarts is stopped, and restored later."""
    standin_engine.suspend()
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine hangs")
    processes.grow("postgres", HARD_BYTES)
    eventually(lambda: processes.alive() == small.SERVICES - set(OPTIONAL), "the optional phase ends")
    eventually(lambda: len(_sheds(guardian)) == 2, "both are settled")
    assert {one["service"] for line in guardian.log_lines("decision") for one in line["chosen"]} == {
        f"openpolicy/{name}" for name in OPTIONAL
    }
    processes.grow("postgres", HARDER_BYTES)
    eventually(lambda: processes.alive() == {"postgres"}, "phase 2 ends")
    eventually(lambda: len(_sheds(guardian)) == 3, "it is settled")
    small.after_ticks(guardian)

    assert processes.alive() == {"postgres"}
    assert {name for name, *_ in _sheds(guardian)[:2]} == set(OPTIONAL)
    assert [how for _, *how in _sheds(guardian)] == [["done", True]] * 3
    assert guardian.metric("guardian_ledger_open") == 3
    assert not any(map(small.is_stop, proxy.requests))

    standin_engine.resume()
    eventually(lambda: set(small.stopped_by(platform, proxy)) == set(HOLDS), "the API stops are sent")
    eventually(lambda: platform.running() == {"postgres"}, "what Docker restarted is down again")
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed any more")
    assert guardian.metric("guardian_overrides_total") == 0
    assert set(small.started_by(platform, proxy)) == set(HOLDS)


def test_stops_that_the_engine_leaves_undone_are_done_by_signal(
    guardian: GuardianProcess, platform: ReferencePlatform, processes: Processes, proxy: SocketProxy
) -> None:
    """Stops that an engine takes and leaves undone, while it answers all else, are done by signal; no override, and all comes back."""
    gate = proxy.hold("arrived", small.is_stop)
    processes.grow("postgres", HARD_BYTES)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    eventually(lambda: len(_sheds(guardian)) >= 2, "both are settled")
    assert {name for name, *_ in _sheds(guardian)[:2]} == set(OPTIONAL)
    assert [how for _, *how in _sheds(guardian)[:2]] == [["done", True]] * 2
    assert not processes.alive() & set(OPTIONAL)

    proxy.clear()  # the engine does what it was asked for, late
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "all of it runs")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed any more")
    assert guardian.metric("guardian_overrides_total") == 0
