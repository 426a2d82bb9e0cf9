"""What only a real Docker Engine shows: its labels, its memory figures, its refusals, and its failures."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Queue
from urllib.parse import urlsplit

import docker
import pytest
from support.private_engine import PrivateEngine
from support.socket_proxy import SocketProxy
from support.waiting import eventually
from worlds import MIB, PROJECT, RealWorld

from guardian.clock import SystemClock
from guardian.engine.connect import reachable
from guardian.engine.docker import DockerEngine
from guardian.engine.endpoints import ENDPOINTS
from guardian.engine.protocol import LastWords, Scope
from guardian.errors import EngineError, EngineRefused, EngineTimeout, EngineUnreachable
from guardian.model import Container, ContainerState, Health, Result, ServiceKey
from guardian.telemetry import NullTelemetry

_COMPOSE = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": "web"}


def test_only_projects_in_scope_and_lone_containers_by_their_exact_name_are_seen(real: RealWorld) -> None:
    """Only projects in scope, and lone containers by their exact name, are seen."""
    web, lone = real.service("web"), real.container("lone")
    real.container("lone2")
    real.container("alone")
    real.container("foreign", labels=_COMPOSE | {"com.docker.compose.project": "other"})
    seen = {container.id: container.service for container in real.engine.containers(real.scope)}
    assert seen == {web: ServiceKey(PROJECT, "web"), lone: ServiceKey("", "lone")}


def test_an_empty_scope_sees_nothing(real: RealWorld) -> None:
    """An empty scope sees nothing."""
    real.service("web")
    assert real.engine.containers(Scope()) == ()


def test_what_a_container_was_made_with_is_read(real: RealWorld) -> None:
    """What a container was made with is read."""
    web = real.container(
        "web",
        labels=_COMPOSE
        | {
            "com.docker.compose.container-number": "3",
            "com.docker.compose.depends_on": "db:service_healthy:false,cache:service_started:true",
            "guardian.phase": "4",
            "guardian.protect": "true",
            "guardian.priority": "-2",
            "guardian.stop-timeout": "1m30s",
        },
        stop_timeout=7,
        mem_limit=64 * MIB,
        mem_reservation=32 * MIB,
        nano_cpus=500_000_000,
        restart_policy={"Name": "unless-stopped"},
    )
    seen = _see(real, web)
    assert (seen.number, seen.depends_on, seen.restart_policy) == (3, ("db", "cache"), "unless-stopped")
    assert (seen.stop_timeout_s, seen.memory_limit_bytes, seen.memory_reservation_bytes) == (7.0, 64 * MIB, 32 * MIB)
    assert seen.cpu_limit_cores == 0.5
    assert (seen.labels.phase, seen.labels.protect, seen.labels.priority, seen.labels.stop_timeout_s) == (4, True, -2, 90.0)
    assert seen.labels.problems == ()


def test_one_offs_and_swarm_tasks_are_marked(real: RealWorld) -> None:
    """One-offs and Swarm tasks are marked."""
    oneoff = real.container("oneoff", labels=_COMPOSE | {"com.docker.compose.oneoff": "True"})
    task = real.container("task", labels=_COMPOSE | {"com.docker.swarm.task.id": "abc"})
    web = real.service("web")
    marks = {each.id: (each.oneoff, each.swarm) for each in real.engine.containers(real.scope)}
    assert marks == {oneoff: (True, False), task: (False, True), web: (False, False)}


def test_a_job_that_ended_well_is_completed_and_one_that_failed_is_not(real: RealWorld) -> None:
    """A job that ended well is completed, and one that failed, or would be started again, is not."""
    done, failed = real.service("done", "ends"), real.service("failed", "fails")
    again = real.container("again", "ends", labels=_COMPOSE, restart_policy={"Name": "always"})

    def ended() -> bool:
        return not _see(real, done).state.up and not _see(real, failed).state.up

    eventually(ended, "both jobs end")
    assert _see(real, done).completed
    assert not _see(real, failed).completed
    assert _see(real, failed).exit_code == 3
    assert not _see(real, again).completed


def test_the_owner_of_a_shared_namespace_is_named(real: RealWorld) -> None:
    """The owner of a shared namespace is named."""
    owner = real.service("owner")
    guest = real.container("guest", labels=_COMPOSE, network_mode=f"container:{owner}", pid_mode=f"container:{owner}")
    assert _see(real, guest).shares == (owner,)
    assert _see(real, owner).shares == ()


def test_a_change_of_health_is_seen_without_an_event(real: RealWorld) -> None:
    """A change of health is seen without an event."""
    check = {"test": ["CMD-SHELL", "test -e /healthy"], "interval": 10**9, "retries": 1000}
    web = real.container("web", labels=_COMPOSE, healthcheck=check)
    assert _see(real, web).health is Health.STARTING
    real.execute(web, ["touch", "/healthy"])
    eventually(lambda: _see(real, web).health is Health.HEALTHY, "the container is healthy")


def test_a_restart_between_two_lists_is_seen_without_an_event(real: RealWorld) -> None:
    """A restart between two lists is seen without an event."""
    web = real.service("web")
    first = _see(real, web).started_s
    assert first is not None
    eventually(lambda: time.monotonic() - first > 4.5, "the first run is old enough to tell the second from it")
    real.restart(web)
    again = _see(real, web).started_s
    assert again is not None
    assert again > first + 4


def test_an_unchanged_container_is_not_inspected_again(engine_host: PrivateEngine, real: RealWorld) -> None:
    """An unchanged container is not inspected again, and an invalidated one is."""
    web, _ = real.service("web"), real.service("db")
    with _proxied(engine_host) as (proxy, engine):
        for _ in range(3):
            assert len(engine.containers(real.scope)) == 2
        assert len([each for each in proxy.requests if each.route.endswith("/json") and len(each.route) > 70]) == 2
        engine.invalidate([web])
        engine.containers(real.scope)
        assert [each.route for each in proxy.requests][-1] == f"/containers/{web}/json"


def test_a_lone_container_that_takes_or_leaves_a_name_in_scope_is_told_of(real: RealWorld) -> None:
    """A lone container that is given a name in scope is told of and seen; when it is given another it is told of, and gone."""
    other = real.container("other")
    events = real.engine.events(real.scope, None)
    for name, seen in (("lone", {other}), ("other", set())):
        real.rename(other, name)
        event = next(events)
        assert (event.action, event.container_id, event.name) == ("rename", other, name)
        assert set(real.engine.inspect(real.scope, [other])) == seen


def test_page_cache_is_no_part_of_the_footprint_and_shared_memory_is(real: RealWorld) -> None:
    """Page cache is no part of the footprint, and shared memory is."""
    cache, shared = real.service("cache", "fills_page_cache"), real.service("shared", "holds_shared_memory")

    def readings() -> bool:
        stats = real.engine.stats([cache, shared])
        return (stats[shared].footprint_bytes or 0) >= 50 * MIB and (stats[cache].cpu_total_s or 0) > 0.02

    eventually(readings, "the memory is held")
    eventually(lambda: real.usage_bytes(cache) > 90 * MIB, "the page cache is filled")
    stats = real.engine.stats([cache, shared])
    assert (stats[cache].footprint_bytes or 0) < 10 * MIB
    assert (stats[shared].footprint_bytes or 0) < 60 * MIB
    assert (stats[shared].working_set_bytes or 0) >= 50 * MIB


@pytest.mark.alone
def test_cpu_seconds_grow_with_the_use(real: RealWorld) -> None:
    """CPU seconds grow with the use."""
    burner, idle = real.service("burner", "burns"), real.service("idle")
    first = real.engine.stats([burner, idle])
    eventually(lambda: time.monotonic() - first[burner].at_s > 2, "two seconds pass")
    second = real.engine.stats([burner, idle])

    def cores(container_id: str) -> float:
        one, two = first[container_id], second[container_id]
        assert one.cpu_total_s is not None
        assert two.cpu_total_s is not None
        return (two.cpu_total_s - one.cpu_total_s) / (two.at_s - one.at_s)

    assert 0.5 < cores(burner) < 1.2
    assert cores(idle) < 0.1


def test_a_start_that_the_engine_cannot_do_is_refused(real: RealWorld) -> None:
    """A start that the engine cannot do is refused in its own words: its program is missing, or its network is."""
    program = real.container("program", labels=_COMPOSE, command=["/no/such/program"], run=False)
    network = real.container("network", labels=_COMPOSE, network_mode="no-such-network", run=False)
    for container, words in ((program, "/no/such/program"), (network, "network no-such-network not found")):
        with pytest.raises(EngineRefused, match=words):
            real.engine.start(container, 10)


def test_a_restart_that_stops_what_it_then_cannot_start_has_failed(real: RealWorld, tmp_path: Path) -> None:
    """A restart that has stopped a container and cannot start it again has failed, and is not refused: it is down by it."""
    source = tmp_path / "data"
    source.mkdir()
    web = real.container("web", labels=_COMPOSE, mounts=[docker.types.Mount("/data", str(source), "bind")])
    source.rmdir()
    assert real.engine.restart(web, 1, 20) is Result.FAILED
    assert not _see(real, web).state.up


def test_a_paused_container_can_be_stopped(real: RealWorld) -> None:
    """A paused container can be stopped."""
    web = real.service("web")
    real.pause(web)
    assert _see(real, web).state is ContainerState.PAUSED
    assert real.engine.stop(web, 2, 15) is Result.DONE
    assert not _see(real, web).state.up


def test_a_quota_made_by_compose_is_set_and_put_back(real: RealWorld) -> None:
    """A quota made by Compose (NanoCpus), or by period and quota, is set, put back, and lifted to no effect."""
    cores = os.cpu_count() or 1
    for name, made, lifted in (
        ("nano", {"nano_cpus": 800_000_000}, float(cores)),
        ("quota", {"cpu_quota": 40_000, "cpu_period": 50_000}, None),
    ):
        web = real.container(name, labels=_COMPOSE, **made)
        for wanted, expected in ((0.3, 0.3), (0.8, 0.8), (None, lifted)):
            assert real.engine.set_cpu_quota(web, wanted, 10) is Result.DONE
            assert _see(real, web).cpu_limit_cores == expected


def test_an_engine_that_is_not_there_is_told_with_what_to_do() -> None:
    """An engine that is not there is told, with what to do."""
    engine = DockerEngine("unix:///no/such/docker.sock", 1, SystemClock(), NullTelemetry())
    with pytest.raises(EngineUnreachable, match=r"unix:///no/such/docker\.sock.*is Docker running"):
        engine.info()
    engine.close()
    assert not reachable("unix:///no/such/docker.sock")


def test_an_engine_that_answers_is_reachable(engine_host: PrivateEngine) -> None:
    """An engine that answers is reachable."""
    assert reachable(engine_host.url)


def test_an_engine_that_crashed_is_unreachable_and_used_again_once_it_is_back(
    engine_host: PrivateEngine, real: RealWorld
) -> None:
    """An engine that crashed is unreachable, and used again once it is back, with the containers as they then are."""
    web = real.container("web", labels=_COMPOSE, restart_policy={"Name": "always"})
    first = _see(real, web).started_s
    events = real.engine.events(real.scope, None)
    engine_host.kill()
    try:
        for call in _calls(real.engine, web):
            with pytest.raises(EngineUnreachable):
                call()
        with pytest.raises(EngineUnreachable, match="ended the stream"):
            list(events)
    finally:
        engine_host.start()
    eventually(lambda: _see(real, web).state is ContainerState.RUNNING, "the engine brings the container back")
    real.engine.invalidate([web])  # as its start event does
    again = _see(real, web).started_s
    assert first is not None
    assert again is not None
    assert again > first
    assert real.engine.stats([web])[web].strain.pids
    events = real.engine.events(real.scope, None)
    assert real.engine.stop(web, 5, 15) is Result.DONE
    assert next(event for event in events if event.action == "die").container_id == web


@pytest.mark.alone
def test_deadlines_are_kept_while_the_engine_hangs(engine_host: PrivateEngine, real: RealWorld) -> None:
    """Deadlines are kept while the engine hangs, by an engine that was connected and by one that was not."""
    ids = [real.service("web"), real.service("other")]
    connected, fresh = real.open(timeout_s=2.0), real.open(timeout_s=2.0)
    assert len(connected.stats(ids)) == 2
    readings = [
        reading
        for engine in (connected, fresh)
        for reading in (
            engine.info,
            partial(engine.containers, real.scope),
            partial(engine.stats, ids),
            partial(engine.events, real.scope, None),
        )
    ]
    orders = [
        partial(connected.stop, ids[0], 1, 3),
        partial(connected.stop, ids[0], 10, 3),
        partial(connected.stop, ids[0], 1, 3, kill=False),
        partial(connected.kill, ids[0], 3),
        partial(connected.start, ids[0], 3),
        partial(connected.set_cpu_quota, ids[0], 0.5, 3),
        partial(fresh.stop, ids[0], 1, 3),
    ]
    engine_host.suspend()
    try:
        with ThreadPoolExecutor(len(readings) + len(orders)) as together:
            for took_s, outcome in together.map(_timed, readings):
                assert isinstance(outcome, EngineTimeout)
                assert took_s < 4
            for took_s, outcome in together.map(_timed, orders):
                assert outcome is Result.TIMED_OUT
                assert took_s < 4
    finally:
        engine_host.resume()
        connected.close()
        fresh.close()


def test_a_stop_that_hangs_blocks_no_reading(engine_host: PrivateEngine, real: RealWorld) -> None:
    """A stop that hangs blocks no reading, and no other stop."""
    stuck, free = real.service("stuck"), real.service("free")
    with _proxied(engine_host) as (proxy, engine):
        gate = proxy.hold("arrived", lambda request: request.route == f"/containers/{stuck}/stop")
        results: Queue[Result] = Queue()
        threading.Thread(target=lambda: results.put(engine.stop(stuck, 1, 30)), daemon=True).start()
        assert gate.reached.wait(5)
        assert len(engine.containers(real.scope)) == 2
        assert set(engine.stats([stuck, free])) == {stuck, free}
        assert engine.stop(free, 1, 10) is Result.DONE
        assert results.empty()
        gate.open()
        assert results.get(timeout=10) is Result.DONE


def test_a_stop_whose_answer_is_late_is_done_where_the_container_has_ended(engine_host: PrivateEngine, real: RealWorld) -> None:
    """A stop whose answer never comes is done where the container is seen to have ended."""
    web = real.service("web")
    with _proxied(engine_host) as (proxy, engine):
        proxy.hold("answered", lambda request: request.route.endswith("/stop"))
        assert engine.stop(web, 1, 4) is Result.DONE


def test_a_stop_that_never_reaches_the_container_ends_in_a_kill(engine_host: PrivateEngine, real: RealWorld) -> None:
    """A stop that never reaches the container ends in a kill within the deadline."""
    web = real.service("web")
    with _proxied(engine_host) as (proxy, engine):
        proxy.hold("arrived", lambda request: request.route.endswith("/stop"))
        assert engine.stop(web, 1, 8) is Result.DONE
        assert f"/containers/{web}/kill" in [each.route for each in proxy.requests]


def test_a_stop_whose_answer_is_lost_is_done_where_nothing_is_left_to_kill(engine_host: PrivateEngine, real: RealWorld) -> None:
    """A stop whose answer is lost, and the look after it too, is done where the kill finds nothing that runs: it is not forgotten."""
    web = real.service("web")
    with _proxied(engine_host) as (proxy, engine):
        proxy.hold("forwarded", lambda request: request.route.endswith("/stop"))
        looks = iter([True])
        proxy.hold("arrived", lambda request: request.route.endswith(f"{web}/json") and next(looks, False))
        assert engine.stop(web, 1, 8) is Result.DONE
        assert f"/containers/{web}/kill" in [each.route for each in proxy.requests]


def test_a_stop_that_is_cut_raises(engine_host: PrivateEngine, real: RealWorld) -> None:
    """A stop that is cut raises, since nobody knows how it ended."""
    web = real.service("web")
    with _proxied(engine_host) as (proxy, engine):
        gate = proxy.hold("forwarded", lambda request: request.route.endswith("/stop"))
        gate.cut()
        with pytest.raises(EngineUnreachable):
            engine.stop(web, 1, 4)


def test_closing_ends_a_call_that_blocks(engine_host: PrivateEngine, real: RealWorld) -> None:
    """Closing ends a call that blocks."""
    web = real.service("web", "ignores_sigterm")
    with _proxied(engine_host) as (proxy, engine):
        failures: Queue[EngineError] = Queue()

        def stop() -> None:
            try:
                engine.stop(web, 60, 70)
            except EngineError as error:
                failures.put(error)

        gate = proxy.hold("forwarded", lambda request: request.route.endswith("/stop"))
        threading.Thread(target=stop, daemon=True).start()
        assert gate.reached.wait(5)
        engine.close()
        assert isinstance(failures.get(timeout=5), EngineUnreachable)
        with pytest.raises(EngineUnreachable, match="closed"):
            engine.info()


def test_abandoned_event_streams_leak_no_sockets(real: RealWorld) -> None:
    """Abandoned event streams leak no sockets."""
    real.engine.events(real.scope, None)
    before = _sockets()
    for _ in range(20):
        stream = real.engine.events(real.scope, None)
        stream.close()  # type: ignore[attr-defined]
        assert list(stream) == []
        real.engine.events(real.scope, None)
    assert _sockets() <= before + 2


def test_every_request_is_reported(engine_host: PrivateEngine, real: RealWorld) -> None:
    """Every request is reported with its operation, and a failed one with its reason."""
    reported: list[tuple[str, str | None]] = []

    class Reports(NullTelemetry):
        def engine_request(self, operation: str, seconds: float, error: str | None = None) -> None:
            assert seconds >= 0
            reported.append((operation, error))

    web = real.service("web")
    bad = real.container("bad", labels=_COMPOSE, command=["/no/such/program"], run=False)
    engine = DockerEngine(engine_host.url, 5, SystemClock(), Reports())
    engine.containers(real.scope)
    engine.stats([web])
    engine.stop(web, 5, 10)
    engine.stop(web, 5, 10)
    with pytest.raises(EngineRefused, match="/no/such/program"):
        engine.start(bad, 5)
    engine.close()
    assert {("list", None), ("inspect", None), ("stats", None), ("stop", None)} <= set(reported)
    assert reported[-1] == ("start", "refused")


class _proxied:  # noqa: N801
    """An engine that talks through a recording proxy, as a context manager."""

    def __init__(self, host: PrivateEngine) -> None:
        self._proxy = SocketProxy(host.socket, host.home / "proxy.sock")
        self._engine = DockerEngine(self._proxy.url, 10, SystemClock(), NullTelemetry())

    def __enter__(self) -> tuple[SocketProxy, DockerEngine]:
        return self._proxy, self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.close()
        self._proxy.close()


def test_the_last_words_of_a_container_are_the_end_of_its_log_and_its_health_check(real: RealWorld) -> None:
    """The last lines of both its streams, and the exit code and output of its newest health check; nothing of one that is gone."""
    check = {"test": ["CMD-SHELL", "echo not yet; exit 3"], "interval": 200_000_000}
    talker = real.container(
        "talker", command=["sh", "-c", "echo one; echo two >&2; echo three; exec sleep 1000"], healthcheck=check
    )

    def said() -> LastWords | None:
        words = real.engine.last_words(talker, 2)
        return words if words.health and len(words.log) == 2 else None

    words = eventually(said, "it said something")
    assert set(words.log) <= {"one", "two", "three"}
    assert words.health == ("exit code 3", "not yet")
    assert real.engine.last_words("0" * 64, 2) == LastWords()


def test_the_list_of_endpoints_is_exact(engine_host: PrivateEngine, real: RealWorld) -> None:
    """All that the adapter can do makes just the calls that the list of endpoints has, and each of them."""
    web = real.service("web")
    with _proxied(engine_host) as (proxy, engine):
        for call in _calls(engine, web):
            call()
        engine.last_words(web, 5)
        asked = {(one.method, urlsplit(one.path).path) for one in proxy.requests}
    fits = {one: {each for each in asked if each[0] == one.method and re.match(one.pattern, each[1])} for one in ENDPOINTS}
    assert set().union(*fits.values()) == asked
    assert [one.operation for one in ENDPOINTS if not fits[one]] == []


def _calls(engine: DockerEngine, container_id: str) -> Iterator[Callable[[], object]]:
    yield engine.info
    yield engine.ping
    yield lambda: engine.inspect(Scope((PROJECT,)), [container_id])
    yield lambda: engine.containers(Scope((PROJECT,)))
    yield lambda: engine.stats([container_id])
    yield lambda: engine.stop(container_id, 1, 2)
    yield lambda: engine.kill(container_id, 2)
    yield lambda: engine.start(container_id, 2)
    yield lambda: engine.restart(container_id, 1, 5)
    yield lambda: engine.set_cpu_quota(container_id, 1, 2)
    yield lambda: engine.disk(Scope((PROJECT,)), 20)
    yield lambda: engine.events(Scope((PROJECT,)), None)


def _timed(call: Callable[[], object]) -> tuple[float, object]:
    """How long it took, and what it returned or raised."""
    began_s = time.monotonic()
    try:
        outcome = call()
    except EngineError as error:
        outcome = error
    return time.monotonic() - began_s, outcome


def _see(world: RealWorld, container_id: str) -> Container:
    return next(each for each in world.engine.containers(world.scope) if each.id == container_id)


def _sockets() -> int:
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
    return sum(link.startswith("socket:") for link in links)


def test_what_lies_on_its_disk_is_told_by_service(real: RealWorld) -> None:
    """The engine tells what a service's container has written and how large its volume is, and of one outside the scope only its own layer."""
    script = "head -c 3000000 /dev/zero > /written; head -c 2000000 /dev/zero > /data/kept; touch /ready; exec sleep 100000"
    labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": "db"}
    db = real.container("db", labels=labels, command=["sh", "-c", script], binds=["disk-test:/data"])
    real.container("foreign", run=False)
    eventually(lambda: real.exists(db, "/ready"), "all is written")
    disk = real.engine.disk(real.scope, 60)
    found = {one.name: one for one in disk.containers}
    assert found["db"].service == ServiceKey(PROJECT, "db")
    assert found["db"].writable_bytes is not None
    assert 3_000_000 <= found["db"].writable_bytes < 3_200_000
    assert found["db"].volumes == ("disk-test",)
    assert (found["foreign"].service, found["foreign"].up) == (None, False)
    (volume,) = [one for one in disk.volumes if one.name == "disk-test"]
    assert volume.size_bytes is not None
    assert 2_000_000 <= volume.size_bytes < 2_200_000
    assert (volume.containers, volume.anonymous) == (1, False)
    assert any(one.containers for one in disk.images)
    assert disk.build_cache_bytes == 0
