"""The daemon as a process: its start and its end, its locks, its service manager, its socket, and orders by the command line."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import SocketProxy
from support.waiting import PATIENCE_S, eventually

END_S = 5.0
CONFIGURATION = 78
Make = Callable[..., GuardianProcess]


@pytest.fixture
def settings(proxy: SocketProxy) -> dict[str, Any]:
    return small.small_settings(proxy.url)


@pytest.fixture
def guardian(make_guardian: Make, platform: ReferencePlatform, settings: dict[str, Any]) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    return guardian


def _ordered(guardian: GuardianProcess, *words: str) -> str:
    """What the command says; it must succeed."""
    answer = guardian.cli(*words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def _refused(guardian: GuardianProcess, *words: str) -> str:
    answer = guardian.cli(*words)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


def _shed_by_pressure(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")


# --- its end --------------------------------------------------------------------------------------------------------


def test_it_ends_within_five_seconds_leaves_what_is_shed_and_takes_over_at_its_next_start(
    guardian: GuardianProcess, platform: ReferencePlatform
) -> None:
    """On SIGTERM it ends within five seconds, leaves what is shed as it is, and restores it after its next start."""
    _shed_by_pressure(guardian, platform)
    assert guardian.stop(END_S) == 0
    small.relax(platform)
    assert platform.running() == small.SERVICES - {small.VICTIM}

    small.start(guardian)
    eventually(lambda: platform.running() == small.SERVICES, "the restore")


def test_it_ends_within_five_seconds_amid_a_stop_and_forgets_nothing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """It ends within five seconds even while a stop has no answer, and the next start knows of it."""
    gate = proxy.hold("answered", small.is_stop)
    small.press(platform)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    guardian.stop(END_S)
    proxy.clear()
    small.relax(platform)

    small.start(guardian)
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    assert small.started_by(platform, proxy) == [small.VICTIM]


def test_it_ends_within_five_seconds_while_the_engine_hangs(guardian: GuardianProcess, standin_engine: PrivateEngine) -> None:
    """It ends within five seconds while the engine hangs."""
    small.after_ticks(guardian, 2)
    standin_engine.suspend()
    try:
        small.after_ticks(guardian, 4)
        guardian.stop(END_S)
    finally:
        standin_engine.resume()


# --- its start ------------------------------------------------------------------------------------------------------


def test_a_second_one_on_the_same_state_directory_ends_and_says_who_has_it(
    guardian: GuardianProcess, settings: dict[str, Any], tmp_path: Path
) -> None:
    """A second one on the same state directory ends and says who has it."""
    second = GuardianProcess(tmp_path / "second", small.as_yaml(settings), {}, "--state-dir", str(guardian.state_dir))
    second.start(wait=False)
    assert second.wait() == 1
    text = second.log_path.read_text()
    assert f"another guardian has this state directory (pid {guardian.pid}" in text
    assert "Traceback" not in text


def test_a_second_one_on_the_same_engine_ends_and_says_who_has_it(
    guardian: GuardianProcess, settings: dict[str, Any], standin_engine: PrivateEngine, tmp_path: Path
) -> None:
    """A second one on the same engine, though at another address, ends before it acts and says who has it."""
    small.after_ticks(guardian, 2)
    settings["engine"]["url"] = standin_engine.url
    second = GuardianProcess(tmp_path / "second", small.as_yaml(settings))
    second.start(wait=False)
    assert second.wait() == 1
    text = second.log_path.read_text()
    assert f"another guardian looks after it (pid {guardian.pid}" in text
    assert "Traceback" not in text


def test_a_file_with_mistakes_ends_it_with_78_and_tells_them_all(make_guardian: Make, settings: dict[str, Any]) -> None:
    """A file with mistakes ends it with 78, and tells them all with their lines."""
    settings["mode"] = "enforced"
    settings["thresholds"]["platform_memory"]["soft"] = "50%"
    settings["restoring"]["probation"] = "5 parsecs"
    guardian = make_guardian(small.as_yaml(settings))
    guardian.start(wait=False)
    assert guardian.wait() == CONFIGURATION
    lines = guardian.log_path.read_text().splitlines()
    for path in ("mode", "thresholds.platform_memory", "restoring.probation"):
        assert any(f"{guardian.config_path}:" in line and f" {path}" in line for line in lines), (path, lines)
    assert not guardian.state_dir.exists()


def test_it_starts_without_an_engine_and_finds_it_later(
    make_guardian: Make, settings: dict[str, Any], standin_engine: PrivateEngine, platform: ReferencePlatform, tmp_path: Path
) -> None:
    """It starts without an engine, does nothing, and finds the engine once there is one."""
    path = tmp_path / "later.sock"
    settings["engine"]["url"] = f"unix://{path}"
    guardian = make_guardian(small.as_yaml(settings))
    guardian.start()
    assert guardian.metric("guardian_engine_up") == 0

    with SocketProxy(standin_engine.socket, path) as proxy:
        eventually(lambda: guardian.metric("guardian_engine_up") == 1, "the engine is found")
        small.press(platform)
        eventually(lambda: small.VICTIM not in platform.running(), "the shed")
        assert small.stopped_by(platform, proxy) == [small.VICTIM]
        guardian.stop()


# --- its service manager and its socket -----------------------------------------------------------------------------


def test_it_tells_the_service_manager_how_it_is(make_guardian: Make, settings: dict[str, Any], tmp_path: Path) -> None:
    """It tells the service manager that it is ready, alive tick by tick, reloading, and stopping."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        heard: list[str] = []

        def hear(word: str) -> None:
            """Read on until a message begins with `word`."""
            while not heard or not heard[-1].startswith(word):
                heard.append(manager.recv(4096).decode())

        guardian = make_guardian(small.as_yaml(settings), NOTIFY_SOCKET=str(address), WATCHDOG_USEC="60000000")
        guardian.start()
        hear("READY=1")
        assert not any(message.startswith("STOPPING") for message in heard)
        hear("STATUS=")
        ticks = guardian.status()["ticks"]
        for _ in range(3):
            heard.append("")
            hear("WATCHDOG=1")
        assert guardian.status()["ticks"] > ticks
        guardian.hang_up()
        hear("RELOADING=1")
        assert "MONOTONIC_USEC=" in heard[-1]
        hear("READY=1")
        assert guardian.stop() == 0
        hear("STOPPING=1")


def test_a_control_socket_is_for_its_owner_and_group_alone(guardian: GuardianProcess) -> None:
    """The control socket is for its owner and group alone, and is gone with the daemon."""
    assert stat.S_IMODE(guardian.socket.stat().st_mode) == 0o660
    guardian.stop()
    assert not guardian.socket.exists()
    unreachable = guardian.cli("status")
    assert unreachable.returncode == 69
    assert "no guardian answers" in unreachable.stderr


# --- orders ---------------------------------------------------------------------------------------------------------


def test_a_service_shed_by_order_stays_down_until_it_is_restored_by_order(
    guardian: GuardianProcess, platform: ReferencePlatform
) -> None:
    """A service shed by order stays down, over a restart too, until it is restored by order."""
    assert "is being stopped" in _ordered(guardian, "shed", "grafana")
    eventually(lambda: platform.running() == small.SERVICES - {"grafana"}, "the shed")
    guardian.stop()
    small.start(guardian)
    status = small.after_ticks(guardian)
    assert platform.running() == small.SERVICES - {"grafana"}
    assert [(one["service"], one["reason"]) for one in status["shed"]] == [("openpolicy/grafana", "operator")]

    _ordered(guardian, "restore", "grafana")
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed")
    done = [(row["action"], row["service"], row["result"]) for row in reversed(guardian.history()) if row["id"]]
    assert done == [("shed", "openpolicy/grafana", "done"), ("restore", "openpolicy/grafana", "done")]


def test_a_protected_or_unknown_service_is_not_shed_by_order(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """A protected or unknown service is not shed by order, and the reply says why."""
    assert "postgres: is protected" in _refused(guardian, "shed", "postgres")
    unknown = guardian.cli("shed", "kibbana")
    assert unknown.returncode == 2
    assert "did you mean kibana?" in unknown.stderr
    assert platform.running() == small.SERVICES


def test_a_forgotten_service_stays_down(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """A shed service that an operator has guardian forget stays down."""
    _shed_by_pressure(guardian, platform)
    _ordered(guardian, "forget", small.VICTIM)
    small.relax(platform)
    status = small.after_ticks(guardian)
    assert status["shed"] == []
    assert status["level"] == "ok"
    assert small.started_by(platform, proxy) == []
    assert "was not shed by guardian" in _refused(guardian, "restore", small.VICTIM)


def test_a_pinned_service_is_passed_over_until_it_is_unpinned(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """A pinned service is passed over, over a restart too, until it is unpinned."""
    _ordered(guardian, "pin", small.VICTIM)
    guardian.kill()
    small.start(guardian)
    assert guardian.status()["pins"] == ["openpolicy/kibana"]
    assert "is pinned" in _refused(guardian, "shed", small.VICTIM)
    small.press(platform)
    eventually(lambda: "grafana" not in platform.running(), "the shed of the next one")
    assert small.VICTIM in platform.running()
    _ordered(guardian, "unpin", small.VICTIM)
    _ordered(guardian, "shed", small.VICTIM)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed by order")


def test_nothing_is_started_during_a_hold(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """Nothing is started during a hold; services are shed all the same, and restored after its release."""
    _ordered(guardian, "hold")
    _shed_by_pressure(guardian, platform)
    small.relax(platform)
    eventually(lambda: guardian.status()["level"] == "ok", "the level is ok")
    status = small.after_ticks(guardian)
    assert status["holds"] == ["operator"]
    assert guardian.metric("guardian_hold", reason="operator") == 1
    assert small.started_by(platform, proxy) == []

    _ordered(guardian, "release")
    eventually(lambda: platform.running() == small.SERVICES, "the restore")


def test_nothing_is_stopped_during_a_standby(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Nothing is stopped during a standby, by order neither, and it ends by itself."""
    _ordered(guardian, "standby")
    small.press(platform)
    eventually(lambda: guardian.status()["level"] == "soft", "the level is soft")
    assert "standby is on" in _refused(guardian, "shed", "grafana")
    status = small.after_ticks(guardian)
    assert [one["reason"] for one in status["held"] if one["action"] == "shed"] == ["standby"]
    assert guardian.metric("guardian_standby") == 1
    assert small.stopped_by(platform, proxy) == []

    began_s = time.monotonic()
    _ordered(guardian, "standby", "--for", "2s")
    eventually(lambda: small.VICTIM not in platform.running(), "the shed")
    assert time.monotonic() - began_s >= 2
