"""Promise F: the engine restarts under guardian. It re-lists, goes on, and takes nothing of it for somebody's override."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import SocketProxy
from support.waiting import PATIENCE_S, eventually

Ending = Callable[[PrivateEngine], None]
ENDINGS = pytest.mark.parametrize("end", [PrivateEngine.stop, PrivateEngine.kill], ids=["stopped", "killed"])


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """All of it comes back with the engine."""
    platform = ReferencePlatform(standin_engine.url, only=small.SERVICES, restart_policy="always")
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def guardian(make_guardian: Callable[..., GuardianProcess], proxy: SocketProxy) -> GuardianProcess:
    """Calm for longer than a restart takes: an engine that ends stops its containers first, which looks like room."""
    settings = small.small_settings(proxy.url)
    settings["thresholds"]["platform_memory"]["recover_for"] = "6s"
    guardian = make_guardian(small.as_yaml(settings))
    guardian.start()
    return guardian


def _goes_on(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """Guardian sees the engine again, and everything of it up."""
    eventually(lambda: guardian.metric("guardian_engine_up") == 1, "guardian sees the engine again")
    eventually(
        lambda: all(guardian.metric("guardian_service_up", service=one) == 1 for one in platform.running()),
        "guardian sees what runs",
    )
    eventually(lambda: guardian.metric("guardian_event_stream_reconnects_total") > 0, "the stream of events is back")


@ENDINGS
def test_an_engine_that_restarts_is_listed_anew_and_nothing_is_done(
    end: Ending, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """An engine that restarts is listed anew, and nothing is done about what went and came back with it."""
    end(standin_engine)
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine is down")
    standin_engine.start()

    eventually(lambda: platform.running() == small.SERVICES, "what restarts always is back")
    _goes_on(guardian, platform)
    small.after_ticks(guardian)
    assert guardian.metric("guardian_overrides_total") == 0
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == []
    assert platform.running() == small.SERVICES


@ENDINGS
def test_a_shed_service_that_the_engine_brings_back_is_shed_again_under_pressure(
    end: Ending, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """A shed service that the engine brings back is shed again while the pressure lasts, and restored once."""
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
    end(standin_engine)
    standin_engine.start()
    eventually(lambda: platform.running() == small.SERVICES, "the engine brings it back")
    small.press(platform)  # postgres began anew, and calm

    eventually(lambda: small.VICTIM not in platform.running(), "it is shed again")
    assert small.stopped_by(platform, proxy) == [small.VICTIM] * 2
    assert guardian.metric("guardian_overrides_total") == 0
    assert guardian.metric("guardian_ledger_open") == 1
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    assert small.started_by(platform, proxy) == [small.VICTIM]


def test_a_shed_service_that_the_engine_brings_back_is_no_longer_owed_after_probation(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """A shed service that the engine brings back is no longer owed once it ran through probation in calm."""
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
    standin_engine.restart()

    eventually(lambda: platform.running() == small.SERVICES, "the engine brings it back")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "it is no longer owed")
    assert [one["result"] for one in guardian.history() if one["action"] == "reconcile"] == ["returned"]
    assert guardian.metric("guardian_overrides_total") == 0
    assert small.started_by(platform, proxy) == []
    assert small.stopped_by(platform, proxy) == [small.VICTIM]


def test_a_shed_service_that_the_engine_leaves_down_is_restored(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """A shed service that the engine leaves down at its restart is restored by guardian."""
    client = standin_engine.client()
    client.update_container(platform.container(small.VICTIM), restart_policy={"Name": "unless-stopped"})
    try:
        small.press(platform)
        eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
        standin_engine.restart()

        eventually(lambda: platform.running() == small.SERVICES, "the restore")
        assert small.started_by(platform, proxy) == [small.VICTIM]
        assert guardian.metric("guardian_overrides_total") == 0
    finally:
        client.update_container(platform.container(small.VICTIM), restart_policy={"Name": "always"})
        client.close()


def test_nothing_is_done_before_the_list_of_a_restarted_engine_is_complete(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """Nothing is done before the list of a restarted engine is complete, not even by order."""
    small.after_ticks(guardian)
    gate = proxy.hold("arrived", small.is_list)
    standin_engine.restart()
    assert gate.reached.wait(PATIENCE_S), "no list was asked for"
    small.press(platform)

    eventually(lambda: guardian.status()["holds"] == ["engine"], "starts are held because of the engine")
    refused = guardian.cli("shed", small.VICTIM)
    assert refused.returncode == 1
    assert "the engine does not answer" in refused.stderr
    small.after_ticks(guardian)
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == []

    proxy.clear()
    eventually(lambda: small.VICTIM not in platform.running(), "the shed, once all is known again")
    assert small.stopped_by(platform, proxy) == [small.VICTIM]
