"""The simulated engine: keeps `guardian.engine.protocol` over a simulated host, on a real or a virtual clock.

On a clock that runs by itself, calls block as Docker's do. On a virtual one nothing may block: use `begin_stop`,
`start`, `pending_events` and `poll`. Methods below "what others do" are the world's, not Guardian's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from uuid import uuid4

from guardian.clock import Clock, VirtualClock
from guardian.engine.parse import service_of
from guardian.engine.protocol import LastWords, RawStats, Scope
from guardian.engine.simulated.scenario import Scenario, Service
from guardian.engine.simulated.world import Cell, OomKill, World
from guardian.errors import EngineRefused, EngineTimeout, EngineUnreachable
from guardian.model import Container, EngineEvent, EngineInfo, Health, HostReading, Result
from guardian.storage.values import ContainerDisk, EngineDisk

REPLAYED = 256  # events that a new stream with `since` can still get, as with Docker
REMEMBERED = 10_000  # events kept for `pending_events`
ENGINE_STOP_TIMEOUT_S = 10.0
_DOWN = "the simulated engine does not answer"
_REFUSAL = "the simulated engine refused"


@dataclass(eq=False, slots=True)
class Call:
    """A stop, a kill or a restart under way. `result` is None until it has ended, as seen at the last `poll`."""

    result: Result | None = None
    ended_s: float | None = None  # monotonic
    restarts: bool = False


class SimulatedEngine:
    """An engine with the services of `scenario`, which begins now. `timeout_s` is the deadline of a slow answer."""

    def __init__(self, scenario: Scenario, clock: Clock, timeout_s: float = 5.0) -> None:
        self.scenario = scenario
        self._id = f"simulated-{uuid4().hex}"  # each is a world of its own: two guardians may look after two of them
        self._clock = clock
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._streams: list[_EventStream] = []
        self._recent: deque[EngineEvent] = deque(maxlen=REPLAYED)
        self._pending: deque[EngineEvent] = deque(maxlen=REMEMBERED)
        self._calls: list[tuple[Call, Cell, int]] = []
        self._listed: dict[Scope, tuple[int, tuple[Container, ...]]] = {}
        self._closed = self._down = self._news = False
        self._down_until_s = clock.monotonic()
        self._delay_s = 0.0
        self._refused_stops: set[str] = set()
        self._refused_starts: set[str] = set()
        self._without_stats: set[str] = set()
        self._world = World(scenario, clock.monotonic(), clock.wall(), self._emit)
        self._recent.clear()
        self._pending.clear()

    # --- sensing ----------------------------------------------------------------------------------------------------

    def info(self) -> EngineInfo:
        host = self.scenario.host
        with self._changed:
            self._answer()
        return EngineInfo(
            id=self._id,
            name="simulated",
            version="simulated",
            api_version="1.43",
            cgroup_version=2,
            cpus=host.cores,
            memory_bytes=host.memory,
            root_dir="/var/lib/docker",
        )

    def ping(self) -> None:
        with self._changed:
            self._answer()

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        with self._changed:
            self._answer()
            version, listed = self._listed.get(scope, (-1, ()))
            if version != self._world.version:
                cells = (cell for cell in self._world.cells.values() if service_of(cell.labels, cell.name, scope))
                listed = tuple(self._world.container(cell) for cell in cells)
                self._listed[scope] = (self._world.version, listed)
            return listed

    def inspect(self, scope: Scope, container_ids: Sequence[str]) -> Mapping[str, Container]:
        with self._changed:
            self._answer()
            cells = (self._world.cells.get(id_) for id_ in container_ids)
            seen = (cell for cell in cells if cell is not None and service_of(cell.labels, cell.name, scope))
            return {cell.id: self._world.container(cell) for cell in seen}

    def invalidate(self, container_ids: Iterable[str]) -> None:
        """Nothing is remembered that could be old."""

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        with self._changed:
            self._answer()
            world = self._world
            cells = ((id_, world.cells.get(id_)) for id_ in container_ids)
            return {
                id_: world.stats(cell)
                for id_, cell in cells
                if cell is not None and cell.runs and id_ not in self._without_stats
            }

    def disk(self, scope: Scope, deadline_s: float) -> EngineDisk:  # noqa: ARG002 - it takes no time
        """The writable layers that the scenario says; no volumes, images or build caches."""
        with self._changed:
            self._answer()
            world = self._world
            ran_s = world.now_s - world.began_s
            return EngineDisk(
                tuple(
                    ContainerDisk(
                        cell.name,
                        service_of(cell.labels, cell.name, scope),
                        cell.state.up,
                        int(cell.spec.storage + cell.spec.storage_rate * ran_s),
                    )
                    for cell in world.cells.values()
                ),
                build_cache_bytes=0,
            )

    def last_words(self, container_id: str, lines: int) -> LastWords:  # noqa: ARG002
        """It says only what its health check does."""
        with self._changed:
            self._answer()
            cell = self._world.cells.get(container_id)
            health = Health.NONE if cell is None else self._world.container(cell).health
            return LastWords(health=() if health is Health.NONE else (health.value,))

    def read_host(self) -> tuple[HostReading, float]:
        """The host now, and the core seconds that it has used so far: `SimulatedHost` makes `cpu_ratio` of them. Never fails."""
        with self._changed:
            self.poll()
            world, host = self._world, self.scenario.host
            cpu_some, memory_some, memory_full = world.pressure()
            reading = HostReading(
                at_s=world.now_s,
                cores=host.cores,
                memory_total_bytes=host.memory,
                memory_available_bytes=world.available_bytes(),
                swap_total_bytes=host.swap,
                swap_used_bytes=world.swapped_bytes() if host.swap else None,
                cpu_some_avg10_ratio=cpu_some if host.psi else None,
                memory_some_avg10_ratio=memory_some if host.psi else None,
                memory_full_avg10_ratio=memory_full if host.psi else None,
                io_some_avg10_ratio=0.0 if host.psi else None,
                io_full_avg10_ratio=0.0 if host.psi else None,
                psi_present=host.psi,
                disk_total_bytes=host.disk.size,
                disk_available_bytes=host.disk.size - world.disk_used_bytes(),
            )
            return reading, world.busy_core_s()

    @property
    def oom_kills(self) -> tuple[OomKill, ...]:
        """Containers that the kernel ended for memory, oldest first, at the last `poll`."""
        with self._changed:
            return tuple(self._world.oom_kills)

    # --- acting -----------------------------------------------------------------------------------------------------

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        ends_s = self._clock.monotonic() + deadline_s
        with self._changed:
            return _said(self._wait(self.begin_stop(container_id, grace_s, kill), ends_s))

    def kill(self, container_id: str, deadline_s: float) -> Result:
        return self.stop(container_id, 0.0, deadline_s)

    def begin_stop(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        """What `stop` does, without waiting for the end. A shorter grace hastens a stop under way."""
        with self._changed:
            self._answer()
            cell = self._world.cells.get(container_id)
            if cell is None or not cell.state.up:
                return Call(Result.GONE, self._world.now_s)
            if container_id in self._refused_stops:
                return Call(Result.REFUSED, self._world.now_s)
            call = Call()
            self._calls.append((call, cell, cell.run))
            self._world.stop(cell, grace_s, kill)
            self.poll()
            return call

    def begin_signal(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        """End its processes by signal, as the kernel does, whether or not the engine answers; without waiting for the end."""
        with self._changed:
            self.poll()
            cell = self._world.cells.get(container_id)
            if cell is None or not cell.runs:
                return Call(Result.GONE, self._world.now_s)
            call = Call()
            self._calls.append((call, cell, cell.run))
            self._world.signal(cell, grace_s, kill)
            self.poll()
            return call

    def restart(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        ends_s = self._clock.monotonic() + deadline_s
        with self._changed:
            return _said(self._wait(self.begin_restart(container_id, grace_s, kill), ends_s))

    def begin_restart(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        """What `restart` does, without waiting for the end."""
        with self._changed:
            self._answer()
            cell = self._world.cells.get(container_id)
            if cell is None or not cell.runs:
                return Call(Result.GONE, self._world.now_s)
            if container_id in self._refused_stops:
                return Call(Result.REFUSED, self._world.now_s)
            call = Call(restarts=True)
            self._calls.append((call, cell, cell.run))
            self._world.stop(cell, grace_s, kill)
            self.poll()
            return call

    def start(self, container_id: str, deadline_s: float = 0.0) -> Result:  # noqa: ARG002
        """Takes no time, so it may be called on a virtual clock too."""
        with self._changed:
            self._answer()
            cell = self._world.cells.get(container_id)
            if cell is None:
                return Result.GONE
            if container_id in self._refused_starts or not self._world.start(cell):
                raise EngineRefused(_REFUSAL)
            self.poll()
            return Result.DONE

    def set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float = 0.0) -> Result:  # noqa: ARG002
        with self._changed:
            self._answer()
            cell = self._world.cells.get(container_id)
            if cell is None:
                return Result.GONE
            self._world.set_cpu_limit(cell, cores)
            self.poll()
            return Result.DONE

    def _wait(self, call: Call, ends_s: float) -> Result:
        """Until the call has ended, or the deadline has passed. The lock is held, and let go while waiting."""
        while True:
            self.poll()
            if call.result is not None:
                return call.result
            if not self._reachable:
                raise EngineUnreachable(_DOWN)
            if not self._pause(ends_s):
                return Result.TIMED_OUT

    def _pause(self, until_s: float) -> bool:
        """Wait for the next thing that happens, at most until then; False: that time has come."""
        now_s = self._clock.monotonic()
        if now_s >= until_s:
            return False
        wake_s = min(until_s, self._world.next_s)
        self._changed.wait(None if wake_s == inf else max(0.0, wake_s - now_s))
        return True

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, scope: Scope, since_wall_s: float | None) -> Iterator[EngineEvent]:
        """Subscribed when this returns. The iterator blocks between events: on a virtual clock use `pending_events`."""
        with self._changed:
            self._answer()
            missed = () if since_wall_s is None else (one for one in self._recent if one.at_wall_s >= since_wall_s)
            stream = _EventStream(self, scope, missed)
            self._streams.append(stream)
            return stream

    def pending_events(self, scope: Scope | None = None) -> tuple[EngineEvent, ...]:
        """What has happened since the last call of this; of all containers unless a scope is given."""
        with self._changed:
            self.poll()
            events = tuple(event for event in self._pending if scope is None or service_of(event.attributes, event.name, scope))
            self._pending.clear()
            return events

    def next_event(self, stream: _EventStream) -> EngineEvent:
        """The stream's next one, waited for. StopIteration after `close`; EngineUnreachable where the engine went away."""
        with self._changed:
            while True:
                self.poll()
                if stream.ended and not stream.broken:
                    raise StopIteration
                if stream.waiting:
                    return stream.waiting.popleft()
                if stream.broken:
                    raise EngineUnreachable("the simulated engine ended the stream of events")
                self._pause(inf)

    def unsubscribe(self, stream: _EventStream) -> None:
        with self._changed:
            stream.ended = True
            if stream in self._streams:
                self._streams.remove(stream)
            self._changed.notify_all()

    def poll(self) -> None:
        """Bring the world up to the clock. Every other method does so too."""
        with self._changed:
            self._world.advance(self._clock.monotonic(), self._clock.wall())
            if self._news or self._calls:
                self._settle_calls()
                self._news = False
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._end_streams(broken=False)

    def reopen(self) -> None:
        """Answer again after `close`, as to a daemon that was started again: the world went on meanwhile."""
        with self._changed:
            self._closed = False

    def _settle_calls(self) -> None:
        under_way = []
        for call, cell, run in self._calls:
            if cell.run == run:
                under_way.append((call, cell, run))
            else:
                call.ended_s = self._world.now_s if cell.ended_s is None else cell.ended_s
                began = not call.restarts or (cell.id not in self._refused_starts and self._world.start(cell))
                call.result = Result.DONE if began else Result.FAILED
        self._calls = under_way

    def _emit(self, event: EngineEvent, cell: Cell) -> None:
        self._news = True
        self._recent.append(event)
        self._pending.append(event)
        for stream in self._streams:
            if service_of(cell.labels, cell.name, stream.scope):
                stream.waiting.append(event)

    def _end_streams(self, broken: bool) -> None:
        for stream in self._streams:
            stream.ended, stream.broken = True, broken
        self._streams.clear()
        self._changed.notify_all()

    # --- whether it answers -----------------------------------------------------------------------------------------

    @property
    def _reachable(self) -> bool:
        return not (self._closed or self._down or self._clock.monotonic() < self._down_until_s)

    def _answer(self) -> None:
        """Bring the world up to the clock, and answer: late, or not at all, if so told."""
        self.poll()
        delay_s = min(self._delay_s, self._timeout_s)
        if delay_s and self._reachable and not isinstance(self._clock, VirtualClock):
            until_s = self._clock.monotonic() + delay_s
            while self._reachable and self._pause(until_s):
                self.poll()
        if not self._reachable:
            raise EngineUnreachable(_DOWN)
        if self._delay_s > self._timeout_s:
            raise EngineTimeout(f"the simulated engine did not answer within {self._timeout_s:g} s")

    # --- what others do, and what goes wrong ------------------------------------------------------------------------

    def engine_down(self, down: bool = True) -> None:
        """Let it not answer any more: calls and streams end with EngineUnreachable. Containers go on."""
        with self._changed:
            self.poll()
            self._down = down
            self._world.set_away(down)
            if down:
                self._end_streams(broken=True)

    def restart_engine(self, down_s: float = 0.0) -> None:
        """As `systemctl restart docker`: every container ends, and those with such a policy come back `down_s` later."""
        with self._changed:
            self.poll()
            self._down_until_s = self._clock.monotonic() + down_s
            self._world.restart_engine(down_s)
            self._recent.clear()
            self._end_streams(broken=True)
            self.poll()

    def slow_answers(self, delay_s: float) -> None:
        """Each answer takes this long (on a virtual clock: none); longer than the deadline is EngineTimeout. 0: ends it."""
        with self._changed:
            self._delay_s = delay_s

    def refuse_stops(self, name: str, refuse: bool = True) -> None:
        """Of a container, or of all of a service; likewise below."""
        self._mark(self._refused_stops, name, refuse)

    def refuse_starts(self, name: str, refuse: bool = True) -> None:
        self._mark(self._refused_starts, name, refuse)

    def miss_stats(self, name: str, missing: bool = True) -> None:
        """The engine gives no usable figures of it."""
        self._mark(self._without_stats, name, missing)

    def external_stop(self, name: str) -> None:
        """Somebody stops it, with its own stop timeout."""
        with self._changed:
            for cell in self._find(name):
                if cell.state.up:
                    own = cell.spec.stop_timeout
                    self._world.stop(cell, ENGINE_STOP_TIMEOUT_S if own is None else own, kill=True)
            self.poll()

    def external_kill(self, name: str) -> None:
        with self._changed:
            for cell in self._find(name):
                if cell.state.up:
                    self._world.stop(cell, 0.0, kill=True)
            self.poll()

    def external_start(self, name: str) -> None:
        with self._changed:
            for cell in self._find(name):
                self._world.start(cell)
            self.poll()

    def external_remove(self, name: str) -> None:
        """Running or not."""
        with self._changed:
            for cell in self._find(name):
                self._world.remove(cell)
            self.poll()

    def external_recreate(self, name: str, start: bool = True) -> tuple[str, ...]:
        """As `docker compose up --force-recreate`: under the same name, with new ids, which are returned."""
        with self._changed:
            made = []
            for cell in self._find(name):
                self._world.remove(cell)
                new = self._world.add(cell.service.name, cell.spec, cell.number)
                if start:
                    self._world.start(new)
                made.append(new.id)
            self.poll()
            return tuple(made)

    def external_create(self, service: str, spec: Service | None = None, number: int = 1, start: bool = True) -> str:
        """A new container of any kind; returns its id."""
        with self._changed:
            self.poll()
            cell = self._world.add(service, spec or Service(), number)
            if start:
                self._world.start(cell)
            self.poll()
            return cell.id

    def ids(self, name: str) -> tuple[str, ...]:
        """Of the containers that `name` means."""
        with self._changed:
            return tuple(cell.id for cell in self._find(name))

    def _mark(self, marked: set[str], name: str, on: bool) -> None:
        with self._changed:
            ids = {cell.id for cell in self._find(name)}
            if on:
                marked |= ids
            else:
                marked -= ids

    def _find(self, name: str) -> list[Cell]:
        """By id, by container name, or by service: then all of its replicas. KeyError where there is none."""
        self.poll()
        cells = self._world.cells.values()
        found = [cell for cell in cells if name in (cell.id, cell.name)] or [
            cell for cell in cells if cell.service.name == name
        ]
        if not found:
            raise KeyError(f"the simulated engine has no container or service {name!r}")
        return found


class _EventStream(Iterator[EngineEvent]):
    """One subscription. Ends after `close`; an engine that goes away raises EngineUnreachable."""

    def __init__(self, engine: SimulatedEngine, scope: Scope, missed: Iterable[EngineEvent]) -> None:
        self._engine = engine
        self.scope = scope
        self.waiting = deque(event for event in missed if service_of(event.attributes, event.name, scope))
        self.ended = self.broken = False

    def __next__(self) -> EngineEvent:
        return self._engine.next_event(self)

    def close(self) -> None:
        """May be called from any thread, and twice."""
        self._engine.unsubscribe(self)


def _said(result: Result) -> Result:
    if result is Result.REFUSED:
        raise EngineRefused(_REFUSAL)
    return result
