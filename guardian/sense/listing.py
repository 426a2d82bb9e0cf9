"""The list of containers in scope, kept by events: read whole seldom, and single containers where something was heard of them.

An event says only that a container is to be read anew; what is so is what the engine then answers. So events may come
twice, late, or in any order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping

from guardian.clock import Clock
from guardian.engine.protocol import Engine, Scope
from guardian.errors import EngineError
from guardian.model import Container, ContainerState

READ_AGAIN_S = 0.2
"""One container is not read again sooner: what restarts in a loop, or changes its health, costs so much and no more."""

HEARD_WITHIN_S = 0.1
"""What is heard of now has happened at most this long ago, on one clock or another."""

LATE_S = 1.0
"""An event that tells of a difference which a list shows may come so much later."""

# They end by themselves, and nothing tells of it where a restart fails.
_PASSING = (ContainerState.RESTARTING, ContainerState.REMOVING)


class Listing:
    """`touch` may be called from any thread; the rest is for the one that asks the engine.

    `at_s` dates it: what it shows is at least as new, as far as anything was heard. `scope` may be replaced at run time;
    then it is `outdated` until the next list.
    """

    def __init__(self, engine: Engine, scope: Scope, clock: Clock) -> None:
        self.scope = scope
        self.containers: tuple[Container, ...] = ()
        self.at_s = 0.0
        self.listed_s = -math.inf  # when the newest whole list was begun
        self._listed_scope: Scope | None = None
        self._engine = engine
        self._clock = clock
        self._by_id: dict[str, Container] = {}
        self._read_s: dict[str, float] = {}  # by id: when single containers were read, the newest only
        self._untold: dict[str, tuple[float, str]] = {}  # by id: since when a difference waits for its event, and a name
        self._lock = threading.Lock()
        self._touched: dict[str, float] = {}  # by id: since when what is known of it may be untrue
        self._own: set[str] = set()  # … of those, the ones of which no event has told

    @property
    def outdated(self) -> bool:
        return self._listed_scope != self.scope

    @property
    def waiting(self) -> bool:
        """Whether anything was touched and not read since."""
        return bool(self._touched)

    @property
    def passing(self) -> tuple[str, ...]:
        """Ids of containers in a state that ends by itself: to be read anew now and then."""
        return tuple(one.id for one in self.containers if one.state in _PASSING and not one.unread)

    @property
    def unread(self) -> Mapping[str, str]:
        """Names, by id, of containers that could not be inspected: each asks for another list before long."""
        return {one.id: one.name for one in self.containers if one.unread}

    def touch(self, container_ids: Collection[str], by_event: bool = True) -> None:
        """Something was heard of these: they are to be read anew, and until then nothing here is dated later than now.

        Where that was no event (`by_event` False), one is to tell of every difference that the reading shows: see `missed`.
        """
        self._engine.invalidate(container_ids)
        with self._lock:
            since_s = self._clock.monotonic() - HEARD_WITHIN_S
            if not by_event:
                self._own.update(id_ for id_ in container_ids if id_ not in self._touched)
            for id_ in container_ids:
                self._touched.setdefault(id_, since_s)
                if by_event:
                    self._untold.pop(id_, None)
                    self._own.discard(id_)

    def list(self, check: bool = False) -> None:
        """Read the whole list. With `check` it is expected to show nothing new: see `missed`. Raises EngineError."""
        scope = self.scope
        began_s, touched = self._take_touched()
        try:
            listed = {one.id: one for one in self._engine.containers(scope)}
        except EngineError:
            self._put_back(touched)
            raise
        if check:
            self._note_untold(listed, (listed.keys() | self._by_id.keys()) - touched.keys())
        self.listed_s, self._listed_scope = began_s, scope
        self._replace(listed, began_s)

    def read(self, also: Iterable[str] = ()) -> frozenset[str]:
        """Read what was touched, and `also` these; returns the ids that were asked for. Raises EngineError.

        What was read a moment ago waits for the next call.
        """
        began_s, touched = self._take_touched(READ_AGAIN_S)
        ids = tuple(dict.fromkeys((*touched, *also)))
        if not ids:
            return frozenset()
        try:
            found = self._engine.inspect(self.scope, ids)
        except EngineError:
            self._put_back(touched)
            raise
        self._read_s = {id_: at_s for id_, at_s in self._read_s.items() if began_s - at_s < READ_AGAIN_S}
        self._read_s.update(dict.fromkeys(ids, began_s))
        with self._lock:
            own = self._own.intersection(touched)
            self._own -= own
        self._note_untold(found, own)
        gone = set(ids) - found.keys()
        self._replace({id_: one for id_, one in {**self._by_id, **found}.items() if id_ not in gone}, began_s)
        return frozenset(ids)

    def confirm(self, at_s: float) -> None:
        """The engine is known to have answered after `at_s`, and events come: what it has not told of is as it was."""
        with self._lock:
            self.at_s = min((at_s, *self._touched.values()))

    def missed(self) -> tuple[str, ...]:
        """Names of containers of which something was seen that no event has told in time; each once."""
        with self._lock:
            late_s = self._clock.monotonic() - LATE_S
            missed = {id_: name for id_, (since_s, name) in self._untold.items() if since_s <= late_s}
            for id_ in missed:
                del self._untold[id_]
        return tuple(sorted(missed.values()))

    def _take_touched(self, after_s: float = 0.0) -> tuple[float, dict[str, float]]:
        """Now, and what was touched until now, save what was read less than `after_s` ago."""
        with self._lock:
            now_s = self._clock.monotonic()
            soon = {id_ for id_, at_s in self._read_s.items() if now_s - at_s < after_s}
            taken = {id_: since_s for id_, since_s in self._touched.items() if id_ not in soon}
            for id_ in taken:
                del self._touched[id_]
        return now_s, taken

    def _put_back(self, touched: dict[str, float]) -> None:
        with self._lock:
            self._touched = {**self._touched, **touched}

    def _replace(self, by_id: dict[str, Container], began_s: float) -> None:
        """Where nothing differs, `containers` stays the same object."""
        if by_id != self._by_id:
            self._by_id = by_id
            self.containers = tuple(by_id.values())
        self.confirm(began_s)

    def _note_untold(self, shown: Mapping[str, Container], ids: Collection[str]) -> None:
        """Of these an event is to tell, where what is shown of them now differs from what was known."""
        known = self._by_id
        with self._lock:
            now_s = self._clock.monotonic()
            for id_ in set(ids) - self._touched.keys() - set(self.passing):
                one, before = shown.get(id_), known.get(id_)
                if one != before and not any(each is not None and each.unread for each in (one, before)):
                    self._untold[id_] = (now_s, (one or known[id_]).name)
