"""What every engine promises, run against each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest
from support.waiting import eventually
from worlds import MIB, World

from guardian.engine.protocol import Scope
from guardian.errors import EngineRefused
from guardian.model import Container, ContainerState, EngineEvent, Result, ServiceKey


def test_info_says_which_engine_and_host_it_is(world: World) -> None:
    """Info says which engine and host it is."""
    info = world.engine.info()
    assert info.id
    assert info.version
    assert info.cpus >= 1
    assert info.memory_bytes > 64 * MIB
    assert info.cgroup_version in (1, 2)


def test_an_engine_that_answers_has_its_ping_answered(world: World) -> None:
    """A ping of an engine that answers raises nothing."""
    world.engine.ping()


def test_what_is_asked_for_alone_is_shown_as_in_the_list(world: World) -> None:
    """Single containers are shown as the list shows them, by id; what does not exist, or is out of scope, is absent."""
    web, db = world.service("web"), world.service("db")
    removed = world.service("removed")
    world.remove(removed)
    world.engine.stop(db, 0, 20)
    seen = world.engine.inspect(world.scope, [db, web, removed, "0" * 64])
    assert seen == {each.id: each for each in world.engine.containers(world.scope)}
    assert (seen[web].state, seen[db].state) == (ContainerState.RUNNING, ContainerState.EXITED)
    assert world.engine.inspect(Scope(("other",)), [web]) == {}
    assert world.engine.inspect(world.scope, []) == {}


def test_an_event_comes_once_the_container_shows_what_it_tells(world: World) -> None:
    """Whoever looks at a container after its event sees at least what the event tells of."""
    web = world.service("web")
    events = world.engine.events(world.scope, None)
    for action, act, state in (
        ("die", lambda: world.engine.stop(web, 10, 20), ContainerState.EXITED),
        ("start", lambda: world.engine.start(web, 20), ContainerState.RUNNING),
    ):
        acting = threading.Thread(target=act)
        acting.start()
        _first(events, action, web)
        assert world.engine.inspect(world.scope, [web])[web].state is state
        acting.join()


def test_containers_show_a_running_service_with_its_replicas(world: World) -> None:
    """Containers show a running service with its replicas."""
    ids = {world.service("web", number=1), world.service("web", number=2)}
    seen = world.engine.containers(world.scope)
    assert {container.id for container in seen} == ids
    assert {container.service for container in seen} == {ServiceKey("contract", "web")}
    assert sorted(container.number for container in seen) == [1, 2]
    assert all(container.state is ContainerState.RUNNING and container.exit_code is None for container in seen)


def test_a_container_that_was_stopped_is_still_listed_with_its_end(world: World) -> None:
    """A container that was stopped is still listed, with its end."""
    web = world.service("web")
    world.engine.stop(web, 10, 20)
    seen = _see(world, web)
    assert seen.state is ContainerState.EXITED
    assert seen.started_s is None
    assert seen.finished_wall_s == pytest.approx(time.time(), abs=5)


def test_a_container_that_was_removed_is_no_longer_listed(world: World) -> None:
    """A container that was removed is no longer listed."""
    web, other = world.service("web"), world.service("other")
    assert len(world.engine.containers(world.scope)) == 2
    world.remove(web)
    assert [container.id for container in world.engine.containers(world.scope)] == [other]


def test_the_start_of_a_run_is_fixed_until_the_next_run(world: World) -> None:
    """The start of a run is fixed until the next run."""
    web = world.service("web")
    first = _see(world, web).started_s
    world.engine.invalidate([web])
    assert _see(world, web).started_s == first
    world.engine.stop(web, 10, 20)
    world.engine.start(web, 20)
    again = _see(world, web).started_s
    assert first is not None
    assert again is not None
    assert again > first
    assert again == pytest.approx(time.monotonic(), abs=5)


def test_stats_of_a_container_that_does_not_run_are_absent(world: World) -> None:
    """Stats of a container that does not run are absent."""
    web, created, ended = world.service("web"), world.service("created", run=False), world.service("ended")
    world.engine.stop(ended, 0, 20)
    assert set(world.engine.stats([web, created, ended, "0" * 64])) == {web}
    assert world.engine.stats([]) == {}


def test_memory_that_a_container_holds_is_in_its_footprint_and_its_working_set(world: World) -> None:
    """Memory that a container holds is in its footprint and its working set."""
    web = world.service("web", "holds_memory")

    def reading() -> bool:
        stats = world.engine.stats([web])[web]
        return 50 * MIB <= (stats.footprint_bytes or 0) < 80 * MIB and 50 * MIB <= (stats.working_set_bytes or 0) < 90 * MIB

    eventually(reading, "50 MiB in footprint and working set")


def test_a_graceful_stop_is_done_once_the_container_is_gone(world: World) -> None:
    """A graceful stop is done once the container is gone."""
    web = world.service("web")
    assert world.engine.stop(web, 10, 20) is Result.DONE
    assert _see(world, web).state is ContainerState.EXITED


def test_a_stop_ends_before_its_grace_when_the_container_does(world: World) -> None:
    """A stop ends before its grace when the container does."""
    web = world.service("web", "slow_stopper")
    began_s = time.monotonic()
    assert world.engine.stop(web, 15, 20) is Result.DONE
    assert 1.5 < time.monotonic() - began_s < 8


def test_a_stop_that_is_ignored_becomes_a_kill_after_its_grace(world: World) -> None:
    """A stop that is ignored becomes a kill after its grace."""
    web = world.service("web", "ignores_sigterm")
    began_s = time.monotonic()
    assert world.engine.stop(web, 2, 12) is Result.DONE
    assert 1.5 < time.monotonic() - began_s < 8
    assert _see(world, web).state is ContainerState.EXITED


def test_a_stop_without_grace_kills_at_once(world: World) -> None:
    """A stop without grace kills at once."""
    web = world.service("web", "ignores_sigterm")
    began_s = time.monotonic()
    assert world.engine.stop(web, 0, 20) is Result.DONE
    assert time.monotonic() - began_s < 4
    assert not _see(world, web).state.up


def test_a_stop_that_must_not_kill_times_out_and_leaves_the_container_running(world: World) -> None:
    """A stop that must not kill times out and leaves the container running."""
    web = world.service("web", "ignores_sigterm")
    began_s = time.monotonic()
    assert world.engine.stop(web, 1, 3, kill=False) is Result.TIMED_OUT
    assert time.monotonic() - began_s < 5
    assert _see(world, web).state is ContainerState.RUNNING


def test_a_stop_that_must_not_kill_waits_longer_than_the_grace(world: World) -> None:
    """A stop that must not kill waits longer than the grace."""
    web = world.service("web", "slow_stopper")
    assert world.engine.stop(web, 1, 15, kill=False) is Result.DONE
    assert _see(world, web).exit_code == 0


def test_a_kill_hastens_a_stop_under_way(world: World) -> None:
    """A kill hastens a stop under way."""
    web = world.service("web", "ignores_sigterm")
    results: Queue[Result] = Queue()
    began_s = time.monotonic()
    stopping = threading.Thread(target=lambda: results.put(world.engine.stop(web, 60, 70)))
    events = world.engine.events(world.scope, time.time() - 1)
    stopping.start()
    _first(events, "kill", web)
    assert world.engine.kill(web, 10) in (Result.DONE, Result.GONE)
    assert results.get(timeout=20) is Result.DONE
    assert time.monotonic() - began_s < 15


def test_what_does_not_run_or_exist_is_gone_to_a_stop_and_to_a_kill(world: World) -> None:
    """What does not run, or does not exist, is gone to a stop and to a kill."""
    web, removed = world.service("web"), world.service("removed")
    world.engine.stop(web, 10, 20)
    world.remove(removed)
    for container_id in (web, removed):
        assert world.engine.stop(container_id, 1, 10) is Result.GONE
        assert world.engine.kill(container_id, 10) is Result.GONE


def test_a_start_is_done_and_so_is_one_of_what_runs_already(world: World) -> None:
    """A start is done, and so is one of what runs already."""
    web = world.service("web", run=False)
    assert world.engine.start(web, 20) is Result.DONE
    assert world.engine.start(web, 20) is Result.DONE
    assert _see(world, web).state is ContainerState.RUNNING


def test_a_start_of_what_no_longer_exists_is_gone(world: World) -> None:
    """A start of what no longer exists is gone."""
    web = world.service("web", run=False)
    world.remove(web)
    assert world.engine.start(web, 20) is Result.GONE


def test_a_start_that_cannot_be_is_refused(world: World) -> None:
    """A start that cannot be is refused."""
    web = world.service("web", "fails_to_start", run=False)
    with pytest.raises(EngineRefused, match="refused"):
        world.engine.start(web, 20)
    assert not _see(world, web).state.up


def test_a_restart_is_done_once_the_container_runs_again(world: World) -> None:
    """A restart is done once the container runs again, in a new run; what ignores SIGTERM is killed after its grace."""
    for behaviour in ("steady", "ignores_sigterm"):
        web = world.service(behaviour.replace("_", ""), behaviour)
        before = _see(world, web).started_s
        assert world.engine.restart(web, 1, 20) is Result.DONE
        again = _see(world, web)
        assert again.state is ContainerState.RUNNING
        assert before is not None
        assert again.started_s is not None
        assert again.started_s > before


def test_a_restart_that_must_not_kill_times_out_and_leaves_the_container_running(world: World) -> None:
    """A restart that must not kill times out, and leaves the container running."""
    web = world.service("web", "ignores_sigterm")
    assert world.engine.restart(web, 1, 3, kill=False) is Result.TIMED_OUT
    assert _see(world, web).state is ContainerState.RUNNING


def test_what_does_not_run_or_exist_is_gone_to_a_restart_and_stays_down(world: World) -> None:
    """What does not run, or does not exist, is gone to a restart, and is not started by it."""
    web, removed = world.service("web", run=False), world.service("removed")
    world.remove(removed)
    for container_id in (web, removed):
        assert world.engine.restart(container_id, 1, 10) is Result.GONE
    assert not _see(world, web).state.up


def test_a_cpu_quota_can_be_set_and_lifted(world: World) -> None:
    """A CPU quota can be set and lifted."""
    web = world.service("web")
    assert world.engine.set_cpu_quota(web, 0.5, 10) is Result.DONE
    assert _see(world, web).cpu_limit_cores == 0.5
    assert world.engine.set_cpu_quota(web, None, 10) is Result.DONE
    assert _see(world, web).cpu_limit_cores is None


def test_events_tell_of_a_stop_as_it_happens(world: World) -> None:
    """Events tell of a stop as it happens."""
    web = world.service("web")
    events = world.engine.events(world.scope, None)
    world.engine.stop(web, 10, 20)
    died = _first(events, "die", web)
    assert died.name == _see(world, web).name
    assert died.at_wall_s == pytest.approx(time.time(), abs=10)


def test_events_since_a_time_replay_what_was_missed(world: World) -> None:
    """Events since a time replay what was missed, and nothing from before."""
    web = world.service("web")
    before = world.engine.events(world.scope, None)
    world.engine.stop(web, 10, 20)
    _first(before, "die", web)  # newer engines tell it after the stop has returned
    died_wall_s = time.time()
    world.engine.start(web, 20)
    missed = world.engine.events(world.scope, died_wall_s)
    seen = next(event for event in missed if event.container_id == web and event.action in ("start", "die"))
    assert seen.action == "start"


def test_closing_ends_a_read_of_events_that_blocks(world: World) -> None:
    """Closing ends a read of events that blocks."""
    events = world.engine.events(world.scope, None)
    ended: Queue[list[EngineEvent]] = Queue()
    reader = threading.Thread(target=lambda: ended.put(list(events)), daemon=True)
    reader.start()
    world.engine.close()
    world.engine.close()
    assert ended.get(timeout=5) == []


def _see(world: World, container_id: str) -> Container:
    return next(each for each in world.engine.containers(world.scope) if each.id == container_id)


def _first(events: Iterator[EngineEvent], action: str, container_id: str) -> EngineEvent:
    return next(event for event in events if (event.action, event.container_id) == (action, container_id))
