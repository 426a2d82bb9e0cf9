"""The event watcher over a fake engine whose stream the test writes and cuts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import Scope
from guardian.errors import EngineTimeout, EngineUnreachable
from guardian.model import EngineEvent
from guardian.sense import events
from guardian.sense.events import EventWatcher
from guardian.telemetry import NullTelemetry

PATIENCE_S = 10.0


class Stream(Iterator[EngineEvent]):
    """One subscription; an exception in the queue ends it, and so does `close`."""

    def __init__(self, stuck: bool = False) -> None:
        self.items: queue.SimpleQueue[EngineEvent | Exception | None] = queue.SimpleQueue()
        self.stuck = stuck

    def __next__(self) -> EngineEvent:
        item = self.items.get()
        if isinstance(item, Exception):
            raise item
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        if not self.stuck:
            self.items.put(None)


class FakeEngine:
    """Opens a stream per call, or refuses while `down`; replays to a new stream what happened since."""

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.asked: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.opened: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        self.past: list[EngineEvent] = []
        self.scopes: list[Scope] = []
        self.stuck = False

    def events(self, scope: Scope, since_wall_s: float | None) -> Iterator[EngineEvent]:
        self.scopes.append(scope)
        self.asked.put(since_wall_s)
        if self.down:
            raise self.down
        stream = Stream(self.stuck)
        for event in self.past:
            if since_wall_s is not None and event.at_wall_s >= since_wall_s:
                stream.items.put(event)
        self.opened.put(stream)
        return stream


class Counter(NullTelemetry):
    reconnects = 0

    def event_stream_reconnected(self) -> None:
        self.reconnects += 1


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock(wall_s=5000.0)
        self.engine = FakeEngine()
        self.telemetry = Counter()
        self.got: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        self.gaps: queue.SimpleQueue[tuple[float, float]] = queue.SimpleQueue()
        self.watcher = EventWatcher(
            self.engine,  # type: ignore[arg-type]
            Scope(("demo",)),
            self.clock,
            self.telemetry,
            self.take,
            lambda start, end: self.gaps.put((start, end)),
        )

    def take(self, batch: tuple[EngineEvent, ...]) -> None:
        for event in batch:
            self.got.put(event)

    def connected(self) -> Stream:
        return self.engine.opened.get(timeout=PATIENCE_S)

    def next(self) -> EngineEvent:
        return self.got.get(timeout=PATIENCE_S)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(events, "FIRST_RETRY_S", 0.01)
    world = World()
    world.watcher.start()
    yield world
    world.watcher.stop()


def event(at_wall_s: float, action: str = "start", container_id: str = "c1") -> EngineEvent:
    return EngineEvent(at_wall_s, action, container_id, "api")


def test_events_are_handed_on_as_they_come(world: World) -> None:
    """Events are handed on as they come, in their order, from the start on."""
    stream = world.connected()
    assert world.engine.asked.get() == 5000.0
    for sent in (event(5001.0), event(5002.0, "die")):
        stream.items.put(sent)
        assert world.next() == sent
    assert world.gaps.empty()
    assert world.telemetry.reconnects == 0


def test_a_cut_stream_is_opened_again_from_its_last_event(world: World) -> None:
    """A stream that was cut is opened again from the time of its last event, and the gap is reported when lost and when back."""
    stream = world.connected()
    assert world.engine.asked.get() == 5000.0
    stream.items.put(event(5003.0))
    world.next()
    world.clock.advance(60)
    stream.items.put(EngineUnreachable("cut"))
    world.connected()
    assert world.engine.asked.get() == 5003.0
    assert [world.gaps.get(timeout=PATIENCE_S) for _ in range(2)] == [(5003.0, 5060.0)] * 2
    assert world.telemetry.reconnects == 1


def test_what_was_missed_is_replayed_once(world: World) -> None:
    """Events of the gap follow, and those that were seen before, though replayed, do not come twice."""
    stream = world.connected()
    seen, missed = event(5003.0), event(5003.0, "die")
    stream.items.put(seen)
    assert world.next() == seen
    world.engine.past = [seen, missed]
    stream.items.put(EngineUnreachable("cut"))
    assert world.next() == missed
    world.connected().items.put(event(5004.0))
    assert world.next() == event(5004.0)


def test_a_clock_set_back_while_the_stream_was_up_hides_no_event(world: World) -> None:
    """After the clock was set back, the stream is opened from the new time: the last event's lies in the future."""
    stream = world.connected()
    world.engine.asked.get()
    stream.items.put(event(5003.0))
    world.next()
    world.clock.step_wall(-3600)
    stream.items.put(EngineUnreachable("cut"))
    assert world.engine.asked.get(timeout=PATIENCE_S) == 1400.0


@pytest.mark.parametrize("failure", [EngineUnreachable("gone"), EngineTimeout("slow"), ValueError("a bug")])
def test_it_tries_until_the_engine_is_back(world: World, failure: Exception) -> None:
    """It tries again, whatever the failure was, until the engine is back, and reports the gap at its beginning and at its end."""
    stream = world.connected()
    world.engine.down = failure
    stream.items.put(failure)
    for _ in range(4):
        world.engine.asked.get(timeout=PATIENCE_S)
    world.clock.advance(30)
    world.engine.down = None
    world.connected()
    assert [world.gaps.get(timeout=PATIENCE_S) for _ in range(2)] == [(5000.0, 5000.0), (5000.0, 5030.0)]
    assert world.gaps.empty()
    assert world.telemetry.reconnects == 1


def test_the_pause_between_tries_doubles_up_to_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between tries doubles from 0.2 s up to 5 s, and is short again after a stream that held."""
    world = World()
    pauses: list[float] = []
    held = threading.Event()

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            if len(pauses) == 7:
                world.engine.down = None
                held.set()
            if len(pauses) == 8:
                self.set()
            return self.is_set()

    world.engine.down = EngineUnreachable("gone")
    monkeypatch.setattr(world.watcher, "_stopping", Stopping())
    world.watcher.start()
    assert held.wait(PATIENCE_S)
    stream = world.connected()
    world.clock.advance(6)
    stream.items.put(EngineUnreachable("cut"))
    world.watcher._thread.join(PATIENCE_S)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.2])


def test_it_says_whether_events_come(world: World) -> None:
    """It is live from the subscription until the stream is lost, and again when what was missed is known to be missed."""
    stream = world.connected()
    stream.items.put(event(5001.0))
    world.next()
    assert world.watcher.live
    told: list[bool] = []
    world.watcher._on_gap = lambda _from, _to: (told.append(world.watcher.live), world.gaps.put((_from, _to)))[0]
    stream.items.put(EngineUnreachable("cut"))
    again = world.connected()
    for _ in range(2):
        world.gaps.get(timeout=PATIENCE_S)
    assert told == [False, False]
    again.items.put(event(5002.0))
    world.next()
    assert world.watcher.live


def test_another_scope_is_followed_from_then_on(world: World) -> None:
    """Another scope is subscribed to at once, from then on, and nothing counts as missed; the same one changes nothing."""
    world.connected()
    assert world.engine.asked.get(timeout=PATIENCE_S) == 5000.0
    world.clock.advance(60)
    world.watcher.rescope(Scope(("demo",)))
    world.watcher.rescope(Scope(("other",)))
    stream = world.connected()
    assert world.engine.asked.get(timeout=PATIENCE_S) == 5060.0
    assert world.engine.scopes == [Scope(("demo",)), Scope(("other",))]
    stream.items.put(event(5061.0))
    assert world.next() == event(5061.0)
    assert world.gaps.empty()
    assert (world.telemetry.reconnects, world.watcher.live) == (0, True)


def test_a_stream_that_lost_something_is_opened_anew_from_its_last_event(world: World) -> None:
    """Opened anew, the stream brings what it had lost, once, and nothing counts as a gap."""
    stream = world.connected()
    seen, lost = event(5003.0), event(5004.0, "die")
    stream.items.put(seen)
    world.next()
    world.engine.past = [seen, lost]
    world.watcher.reopen()
    world.connected()
    assert world.next() == lost
    assert world.gaps.empty()
    assert world.telemetry.reconnects == 0


def test_a_stream_that_cannot_be_opened_anew_is_lost(world: World) -> None:
    """Where the engine is gone when the stream is opened anew, it is lost as any other, and the gap is told."""
    world.connected()
    world.engine.down = EngineUnreachable("gone")
    world.watcher.reopen()
    assert world.gaps.get(timeout=PATIENCE_S) == (5000.0, 5000.0)
    world.engine.down = None
    world.connected()
    assert world.gaps.get(timeout=PATIENCE_S) == (5000.0, 5000.0)
    assert world.telemetry.reconnects == 1


def test_a_handler_that_fails_does_not_end_the_watch(world: World) -> None:
    """A handler that fails does not end the watch."""
    stream = world.connected()
    world.watcher._on_events = lambda batch: 1 / 0
    stream.items.put(event(5001.0))
    stream.items.put(event(5002.0, "die", "c2"))
    world.watcher._on_events = world.take
    stream.items.put(event(5003.0))
    while world.next().at_wall_s != 5003.0:
        pass
    assert world.telemetry.reconnects == 0


@pytest.mark.parametrize("stuck", [False, True], ids=["a stream that can be closed", "a stream that cannot"])
def test_stop_ends_within_a_second(stuck: bool) -> None:
    """Stop ends within a second while the stream is silent, even one that cannot be closed, and nothing comes after."""
    world = World()
    world.engine.stuck = stuck
    world.watcher.start()
    stream = world.connected()
    start_s = time.monotonic()
    world.watcher.stop()
    assert time.monotonic() - start_s < 1.0
    assert world.watcher._thread.is_alive() is stuck
    stream.items.put(event(5001.0))
    world.watcher._thread.join(PATIENCE_S)
    assert not world.watcher._thread.is_alive()
    assert world.got.empty()


def test_stop_while_the_engine_is_down_ends_at_once() -> None:
    """Stop ends at once while it waits for its next try."""
    world = World()
    world.engine.down = EngineUnreachable("gone")
    world.watcher.start()
    world.engine.asked.get(timeout=PATIENCE_S)
    world.watcher.stop()
    assert not world.watcher._thread.is_alive()
