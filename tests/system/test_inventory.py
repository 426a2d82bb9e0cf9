"""The list of containers of the whole daemon on a real engine: kept by events, at next to no cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import Recorded, SocketProxy
from support.standin import IMAGE
from support.waiting import eventually

ROUNDS = 4


@pytest.fixture
def guardian(make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, proxy: SocketProxy) -> GuardianProcess:
    """Started, and past its first rounds, in which it compares cgroup files with the engine's figures."""
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian)
    eventually(lambda: [one.route for one in proxy.requests][-2:] == ["/_ping"] * 2, "two calm rounds")
    return guardian


def _routes(requests: tuple[Recorded, ...]) -> list[str]:
    return [one.route for one in requests]


def test_while_nothing_happens_a_round_is_a_ping(guardian: GuardianProcess, proxy: SocketProxy) -> None:
    """While nothing happens guardian lists nothing and inspects nothing: it sees once a round that the engine answers."""
    before = len(proxy.requests)
    eventually(lambda: len(proxy.requests) >= before + ROUNDS, f"{ROUNDS} rounds")
    assert set(_routes(proxy.requests[before:])) == {"/_ping"}
    assert guardian.metric("guardian_engine_up") == 1


def test_what_happens_to_one_container_costs_a_look_at_that_one(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A container that is stopped and started is seen to be, by inspects of it alone and figures of its new run."""
    before = len(proxy.requests)
    platform.stop("grafana")
    eventually(lambda: guardian.metric("guardian_service_up", service="grafana") == 0, "the end is seen")
    platform.start("grafana")
    eventually(lambda: guardian.metric("guardian_service_up", service="grafana") == 1, "the start is seen")
    small.after_ticks(guardian)
    routes = _routes(proxy.requests[before:])
    own = {service: id_ for id_, service in platform.ids().items()}["grafana"]
    assert set(routes) <= {"/_ping", f"/containers/{own}/json", f"/containers/{own}/stats"}
    assert 2 <= routes.count(f"/containers/{own}/json") <= 4


def test_a_container_that_comes_is_renamed_and_goes_is_followed_without_a_list(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """A container that comes into the project, changes its name and goes again is seen without a list."""
    before = len(proxy.requests)
    client = standin_engine.client()
    labels = {"com.docker.compose.project": platform.project, "com.docker.compose.service": "newcomer"}
    made = client.create_container(IMAGE, name="newcomer", labels=labels)["Id"]
    try:
        client.start(made)
        eventually(lambda: "newcomer" in guardian.status()["unmanaged"], "the newcomer is seen")
        client.rename(made, "renamed")
        eventually(lambda: "renamed" in guardian.status()["unmanaged"], "its new name is seen")
    finally:
        client.remove_container(made, force=True)
        client.close()
    eventually(lambda: guardian.status()["unmanaged"] == [], "its end is seen")
    assert "/containers/json" not in _routes(proxy.requests[before:])


def test_an_engine_that_hangs_is_noticed_though_its_events_are_silent(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """An engine that hangs without ending the stream of events is down until it answers again; then all is listed anew."""
    before = len(proxy.requests)
    standin_engine.suspend()
    try:
        eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine hangs")
    finally:
        standin_engine.resume()
    eventually(lambda: guardian.metric("guardian_engine_up") == 1, "guardian sees that it answers")
    assert "/containers/json" in _routes(proxy.requests[before:])
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == []
