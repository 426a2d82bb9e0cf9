"""The simulated engine on the real clock: calls block as Docker's do, and no thread polls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from guardian.clock import SystemClock
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine
from guardian.engine.simulated.behaviour import leak
from guardian.engine.simulated.scenario import MIB, Service, Step, Stop
from guardian.errors import EngineTimeout, EngineUnreachable
from guardian.model import EngineEvent, Result

SCOPE = Scope(("openpolicy",))
SERVICES = {
    "quick": Service(stop=Stop(takes=0.05)),
    "slow": Service(stop=Stop(takes=60)),
    "growing": Service(steps=(Step(at=0, memory=leak(MIB)),)),
}


@pytest.fixture
def engine() -> Iterator[SimulatedEngine]:
    engine = SimulatedEngine(Scenario(services=SERVICES), SystemClock(), timeout_s=0.2)
    yield engine
    engine.close()


@pytest.fixture
def begin() -> Iterator[Callable[..., Future[object]]]:
    """Runs a call on a thread of its own."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def id_of(engine: SimulatedEngine, name: str) -> str:
    return engine.ids(name)[0]


def took(call: Callable[[], object]) -> tuple[object, float]:
    began_s = time.monotonic()
    return call(), time.monotonic() - began_s


def test_a_stop_returns_once_the_container_is_gone(engine: SimulatedEngine) -> None:
    """A stop returns once the container is gone, long before its grace."""
    result, took_s = took(lambda: engine.stop(id_of(engine, "quick"), 10, 15))
    assert result is Result.DONE
    assert 0.05 <= took_s < 5


def test_a_stop_becomes_a_kill_after_its_grace(engine: SimulatedEngine) -> None:
    """A stop becomes a kill after its grace."""
    result, took_s = took(lambda: engine.stop(id_of(engine, "slow"), 0.1, 15))
    assert result is Result.DONE
    assert 0.15 <= took_s < 5


def test_a_stop_that_outlasts_its_deadline_times_out(engine: SimulatedEngine) -> None:
    """A stop that outlasts its deadline times out."""
    result, took_s = took(lambda: engine.stop(id_of(engine, "slow"), 30, 0.1, kill=False))
    assert result is Result.TIMED_OUT
    assert 0.1 <= took_s < 5


def test_a_kill_ends_a_stop_that_waits(engine: SimulatedEngine, begin: Callable[..., Future[object]]) -> None:
    """A kill ends a stop that waits."""
    events = engine.events(SCOPE, None)
    stopping = begin(engine.stop, id_of(engine, "slow"), 30, 40)
    assert next(events).action == "kill"
    assert engine.kill(id_of(engine, "slow"), 10) is Result.DONE
    assert stopping.result(timeout=5) is Result.DONE


def test_an_engine_that_goes_down_lets_nobody_wait(engine: SimulatedEngine, begin: Callable[..., Future[object]]) -> None:
    """An engine that goes down lets nobody wait."""
    events = engine.events(SCOPE, None)
    stopping = begin(engine.stop, id_of(engine, "slow"), 30, 40)
    assert next(events).action == "kill"
    reading = begin(next, events)
    engine.engine_down()
    for waiting in (stopping, reading):
        with pytest.raises(EngineUnreachable):
            waiting.result(timeout=5)


def test_events_come_as_they_happen_to_every_stream(engine: SimulatedEngine, begin: Callable[..., Future[object]]) -> None:
    """Events come as they happen, to every stream, and once."""
    streams = [engine.events(SCOPE, None) for _ in range(2)]
    reading = [begin(lambda stream=stream: [next(stream).action for _ in range(3)]) for stream in streams]
    engine.stop(id_of(engine, "quick"), 10, 15)
    assert [one.result(timeout=5) for one in reading] == [["kill", "die", "stop"]] * 2


def test_a_stream_with_a_since_replays_what_was_missed(engine: SimulatedEngine) -> None:
    """A stream with a since replays what was missed, and nothing from before."""
    engine.stop(id_of(engine, "quick"), 10, 15)
    between_s = time.time()
    engine.start(id_of(engine, "quick"), 15)
    assert next(engine.events(SCOPE, between_s)).action == "start"
    assert next(engine.events(SCOPE, between_s - 60)).action == "kill"


def test_closing_a_stream_ends_its_reader_alone(engine: SimulatedEngine, begin: Callable[..., Future[object]]) -> None:
    """Closing a stream ends its reader, and no other."""
    closed, other = engine.events(SCOPE, None), engine.events(SCOPE, None)
    reading = begin(list, closed)
    closed.close()  # type: ignore[attr-defined]
    assert reading.result(timeout=5) == []
    engine.kill(id_of(engine, "slow"), 10)
    assert isinstance(next(other), EngineEvent)


def test_a_closed_engine_answers_again_only_after_reopening(engine: SimulatedEngine) -> None:
    """A closed engine answers again only after reopening."""
    engine.close()
    with pytest.raises(EngineUnreachable):
        engine.info()
    engine.reopen()
    assert engine.info().name == "simulated"


def test_slow_answers_take_their_time_or_time_out(engine: SimulatedEngine) -> None:
    """Slow answers take their time, or time out."""
    engine.slow_answers(0.1)
    _, took_s = took(lambda: engine.containers(SCOPE))
    assert 0.1 <= took_s < 5
    engine.slow_answers(60)
    began_s = time.monotonic()
    with pytest.raises(EngineTimeout):
        engine.containers(SCOPE)
    assert 0.2 <= time.monotonic() - began_s < 5


def test_a_slow_answer_holds_up_no_other_call(begin: Callable[..., Future[object]]) -> None:
    """A slow answer holds up no other call."""
    engine = SimulatedEngine(Scenario(services=SERVICES), SystemClock(), timeout_s=60)
    engine.slow_answers(50)
    late = begin(engine.info)
    reading, _ = engine.read_host()
    assert (reading.cores, late.done()) == (4, False)
    engine.close()
    with pytest.raises(EngineUnreachable):
        late.result(timeout=5)


def test_it_may_be_asked_from_many_threads_at_once(engine: SimulatedEngine) -> None:
    """It may be asked from many threads at once."""
    failures: list[BaseException] = []
    names = list(SERVICES)

    def work(number: int) -> None:
        try:
            for turn in range(30):
                id_ = id_of(engine, names[(number + turn) % 3])
                engine.kill(id_, 5) if turn % 2 else engine.start(id_, 5)
                engine.stats(engine.ids("quick"))
                engine.read_host()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
