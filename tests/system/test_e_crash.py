"""Promise E: guardian may be killed at any moment. What it stopped is restored, and nothing else is started."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.socket_proxy import SocketProxy, Stage
from support.waiting import PATIENCE_S, eventually

OPERATORS = "auth-service"  # what the operator stops while guardian is away
KILLED = -9


@pytest.fixture
def guardian(make_guardian: Callable[..., GuardianProcess], proxy: SocketProxy) -> GuardianProcess:
    return make_guardian(small.as_yaml(small.small_settings(proxy.url)))


def _nothing_is_lost(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, owed: set[str]) -> None:
    """All run but what the operator stopped; guardian has started just the services of `owed`, each once, and stops no more."""
    stops = len(small.stopped_by(platform, proxy))
    eventually(lambda: platform.running() == small.SERVICES - {OPERATORS}, "what guardian stopped runs again")
    small.after_ticks(guardian)
    assert platform.running() == small.SERVICES - {OPERATORS}
    assert small.started_by(platform, proxy) == sorted(owed)
    assert len(small.stopped_by(platform, proxy)) == stops


@pytest.mark.parametrize("stage", ["arrived", "forwarded", "answered"])
def test_killed_around_a_stop_guardian_restores_just_what_it_stopped(
    stage: Stage, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Killed around a stop, guardian restores just what it stopped."""
    gate = proxy.hold(stage, small.is_stop)
    guardian.start()
    small.press(platform)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    guardian.kill()
    if stage == "arrived":
        gate.cut()  # the engine never hears of it
    proxy.clear()

    platform.stop(OPERATORS)
    small.relax(platform)
    guardian.start()

    _nothing_is_lost(guardian, platform, proxy, owed=set() if stage == "arrived" else {small.VICTIM})


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("label", ["intended", "sent", "settled"])
def test_killed_at_any_write_of_a_shed_guardian_restores_just_what_it_stopped(
    label: str, moment: str, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Killed at any write of a shed, guardian restores just what it stopped."""
    guardian.start(GUARDIAN_FAULT=f"kill:{moment}:{label}")
    small.press(platform)
    assert guardian.wait(PATIENCE_S) == KILLED

    platform.stop(OPERATORS)
    small.relax(platform)
    guardian.start()

    _nothing_is_lost(guardian, platform, proxy, owed={small.VICTIM} if label == "settled" else set())


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("label", ["restoring", "closed"])
def test_killed_at_any_write_of_a_restore_guardian_ends_with_it_done_once(
    label: str, moment: str, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Killed at any write of a restore, guardian ends with it done once."""
    guardian.start(GUARDIAN_FAULT=f"kill:{moment}:{label}")
    small.press(platform)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed")
    small.relax(platform)
    assert guardian.wait(PATIENCE_S) == KILLED

    platform.stop(OPERATORS)
    guardian.start()

    _nothing_is_lost(guardian, platform, proxy, owed={small.VICTIM})


def test_killed_around_a_start_guardian_ends_with_it_done(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Killed before a start reaches the engine, guardian starts the service after all."""
    guardian.start()
    small.press(platform)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed")
    gate = proxy.hold("arrived", small.is_start)
    small.relax(platform)
    assert gate.reached.wait(PATIENCE_S), "no start was sent"
    guardian.kill()
    gate.cut()
    proxy.clear()

    guardian.start()

    eventually(lambda: platform.running() == small.SERVICES, "what guardian stopped runs again")


def test_killed_and_started_under_pressure_guardian_sheds_again_and_restores_in_the_end(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Killed before its stop was sent and started under pressure, guardian sheds again and restores in the end."""
    guardian.start(GUARDIAN_FAULT="kill:after:sent")
    small.press(platform)
    assert guardian.wait(PATIENCE_S) == KILLED
    assert platform.running() == small.SERVICES

    guardian.start()
    eventually(lambda: small.VICTIM not in platform.running(), "the shed")
    small.relax(platform)

    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed any more")
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == [small.VICTIM]


def test_what_an_operator_started_and_stopped_while_guardian_was_away_stays_stopped(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """What an operator started and stopped again while guardian was away stays stopped."""
    guardian.start()
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
    small.after_ticks(guardian)
    guardian.kill()

    platform.start(small.VICTIM)
    platform.stop(small.VICTIM)
    small.relax(platform)
    guardian.start()

    eventually(lambda: guardian.metric("guardian_overrides_total") == 1, "the override is seen")
    small.after_ticks(guardian)
    assert platform.running() == small.SERVICES - {small.VICTIM}
    assert small.started_by(platform, proxy) == []
    assert guardian.metric("guardian_ledger_open") == 0
