"""Follows the engine's event stream on a thread of its own, over engine restarts and cut connections."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from guardian import logs
from guardian.clock import Clock
from guardian.engine.protocol import Engine, Scope
from guardian.errors import EngineError
from guardian.lasting import lasting
from guardian.model import EngineEvent
from guardian.telemetry import Telemetry

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
_STOP_S = 0.8
_REPLAYED = 256  # the engine replays at most this many

_log = logs.get("events")


class EventWatcher:
    """Hands on events as they come, and says which stretch of time may have gone unseen.

    `on_events` is called with one or more events, `on_gap` with wall times: from the last event until now when the stream
    is lost, and again once it is up. Events of that time then follow as far as the engine still has them (it replays few),
    so list the containers each time. Both are called on the watcher's thread. `live`: events come as they happen.
    """

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        clock: Clock,
        telemetry: Telemetry,
        on_events: Callable[[tuple[EngineEvent, ...]], None],
        on_gap: Callable[[float, float], None],
    ) -> None:
        self._engine = engine
        self._scope = scope
        self._clock = clock
        self._telemetry = telemetry
        self._on_events = on_events
        self._on_gap = on_gap
        self.live = False
        self._stopping = threading.Event()
        self._anew = threading.Event()
        self._thread = lasting(self._follow, "events")
        self._stream: Iterator[EngineEvent] | None = None
        self._seen: deque[tuple[float, str, str]] = deque(maxlen=2 * _REPLAYED)
        self._followed = False  # begun again, it cannot know what it has missed
        self._since_wall_s = 0.0

    def start(self) -> None:
        """Follow from now on. Once only."""
        self._since_wall_s = self._clock.wall()
        self._thread.start()

    def rescope(self, scope: Scope) -> None:
        """Follow other containers from now on. What happened to them before does not come."""
        if scope != self._scope:
            self._scope = scope
            self._since_wall_s = self._clock.wall()
            self.reopen()

    def reopen(self) -> None:
        """Subscribe anew, from the last event on: the stream seems to have lost something. No gap is told for it."""
        self._anew.set()
        self._close_stream()

    def stop(self) -> None:
        """End within a second, even while the stream is silent or the engine hangs. Nothing is handed on afterwards."""
        self._stopping.set()
        self._close_stream()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        lost, self._followed = self._followed, True
        while not self._stopping.is_set():
            start_s = self._clock.monotonic()
            self._anew.clear()
            try:
                self._stream = self._engine.events(self._scope, self._since_wall_s)
                if self._stopping.is_set():  # `stop` may have looked for a stream just before this one
                    return
                if lost:
                    self._reconnected()
                lost = False
                self.live = not self._anew.is_set()  # … and so may `reopen`
                if self.live:
                    self._hand_on(self._stream)
            except EngineError as error:
                if not lost and not self._stopping.is_set():
                    _log.warning("event stream lost", error=str(error), reason=error.reason)
            except Exception as error:
                _log.error("event stream failed", error=repr(error), exc_info=True)
            finally:
                self.live = False
                self._close_stream()
            if not lost:
                # The wall clock may have been set back since the last event: then that event lies in the future.
                now_wall_s = self._clock.wall()
                self._since_wall_s = min(self._since_wall_s, now_wall_s)
                if self._anew.is_set():
                    continue
                if not self._stopping.is_set():
                    self._call(self._on_gap, self._since_wall_s, now_wall_s)
            lost = True
            if self._clock.monotonic() - start_s >= LONGEST_RETRY_S:
                retry_s = FIRST_RETRY_S  # it held for a while: this is a new failure
            self._stopping.wait(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    def _reconnected(self) -> None:
        self._telemetry.event_stream_reconnected()
        now_wall_s = self._clock.wall()
        _log.info("event stream back", from_wall_s=self._since_wall_s, to_wall_s=now_wall_s)
        self._call(self._on_gap, self._since_wall_s, now_wall_s)

    def _hand_on(self, stream: Iterator[EngineEvent]) -> None:
        for event in stream:
            if self._stopping.is_set():
                return
            self._since_wall_s = event.at_wall_s
            key = (event.at_wall_s, event.container_id, event.action)
            if key in self._seen:  # `since` includes its own moment
                continue
            self._seen.append(key)
            self._call(self._on_events, (event,))

    def _call(self, handler: Callable[..., None], *arguments: object) -> None:
        """A handler's mistake must not end the watch."""
        try:
            handler(*arguments)
        except Exception:
            _log.exception("an event could not be handled")

    def _close_stream(self) -> None:
        """End a read that the thread may wait in, where the stream has a `close`; a generator that runs cannot be closed."""
        close = getattr(self._stream, "close", None)
        if close is not None:
            with suppress(ValueError, OSError):
                close()
