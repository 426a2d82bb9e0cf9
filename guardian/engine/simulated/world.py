"""The simulated host and its containers as a state machine over time. One thread, no clock: the time is passed in.

The model, on purpose simple and exact:

- Memory. available = total − base − load from outside − the sum of footprints; page cache is reclaimable, so it counts
  as available (as in the kernel's MemAvailable), and gives way first. What no longer fits goes to swap. What fits
  nowhere: the kernel ends the biggest container (137), whatever its importance, and its restart policy brings it back.
  A container that reaches its own limit is ended likewise.
- CPU. Where all want more than there is, each gets the same part of what it wants.
- Pressure (PSI, 10 s means). CPU some: 0 while all fits, 1 from one and a half times the cores on, a line in between.
  Memory some: 0 while 5% are available, 1 at 0, a line in between; full is 0.7 of it. I/O: none.
- Ends and starts as Docker does them: restart policies with their growing pause, SIGTERM and SIGKILL, events, health.

Everything between two changes is a straight line, so `advance` jumps from change to change, and where it gets to does
not depend on how often it is called.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from math import exp, inf

from guardian.engine.parse import NUMBER_LABEL, ONEOFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, SWARM_LABEL, parse_labels
from guardian.engine.protocol import RawStats
from guardian.engine.simulated.behaviour import Shape, Track, flat, pieces, stairs
from guardian.engine.simulated.scenario import Scenario, Service, Step
from guardian.model import Container, ContainerState, EngineEvent, Health, ServiceKey, Strain

KILL_TAKES_S = 0.05  # from SIGKILL to the end
EXITS_AFTER_S = 0.5  # a service that starts badly
PSI_WINDOW_S = 10.0
SCARCE_RATIO = 0.05  # of all memory available: below it there is memory pressure
CROWDED = 1.5  # cores wanted, over cores there are: from here on something always waits
FULL_PART = 0.7
RESTART_PAUSE_S = (0.1, 60.0)  # Docker's: doubled each time, from the first again after a run of RESTART_FORGET_S
RESTART_FORGET_S = 10.0
_CLOCK_SET_S = 0.001  # less between two readings of wall and monotonic time is rounding
_SIGTERM, _SIGKILL = "15", "9"


@dataclass(frozen=True, slots=True)
class OomKill:
    """A container that the kernel ended for memory: the host's (`host`), or its own limit's."""

    at_s: float
    container_id: str
    name: str
    service: ServiceKey
    footprint_bytes: int
    host: bool


class Cell:
    """One container. `run` counts its ends: what is planned for a run means nothing after it."""

    __slots__ = (
        "cache", "code", "cpu_limit", "cpu_mark_s", "cpu_total_s", "cpu_used", "cpu_wanted", "ended_s", "ending", "finished_wall_s",
        "healthy", "id", "labels", "manual", "memory", "name", "number", "oom_kills", "pause_s", "restarts", "run", "service",
        "spec", "started_s", "started_wall_s", "state", "stopping", "verdict", "view",
    )  # fmt: skip

    def __init__(self, id_: str, name: str, service: ServiceKey, number: int, spec: Service, now_s: float) -> None:
        self.id, self.name, self.service, self.number, self.spec = id_, name, service, number, spec
        self.labels = _labels(spec, service, number)
        self.state = ContainerState.CREATED
        self.run = 0
        self.ended_s: float | None = None  # when its last run did
        self.memory, self.cache = flat(0.0, now_s), flat(0.0, now_s)
        self.cpu_wanted = flat(0.0, now_s)
        self.cpu_limit: float | None = spec.limits.cpus
        self.cpu_used = self.cpu_total_s = 0.0
        self.cpu_mark_s = now_s
        self.started_s = self.started_wall_s = self.finished_wall_s = None  # type: float | None
        self.code: int | None = None
        self.restarts = self.oom_kills = 0
        self.pause_s = RESTART_PAUSE_S[0]
        self.manual = False  # stopped by somebody: no restart policy brings it back
        self.stopping = False  # by a stop: a kill leaves no such event
        self.ending = False  # it has got its SIGTERM, and will end of it
        self.healthy = True  # what its check would say
        self.verdict = False  # the check has been made
        self.view: Container | None = None

    @property
    def runs(self) -> bool:
        return self.state is ContainerState.RUNNING

    @property
    def health(self) -> Health:
        if self.spec.health is None or self.started_s is None:
            return Health.NONE
        if not self.runs:
            return Health.UNHEALTHY  # as Docker shows one that has ended
        if not self.verdict:
            return Health.STARTING
        return Health.HEALTHY if self.healthy else Health.UNHEALTHY


def _labels(spec: Service, service: ServiceKey, number: int) -> dict[str, str]:
    if not service.project:
        return dict(spec.labels)
    own = {PROJECT_LABEL: service.project, SERVICE_LABEL: service.name, NUMBER_LABEL: str(number)}
    return {**own, **spec.labels}


class World:
    """All of it. `emit` gets every event as it happens; `version` changes whenever a container looks different."""

    def __init__(self, scenario: Scenario, now_s: float, wall_s: float, emit: Callable[[EngineEvent, Cell], None]) -> None:
        self.scenario = scenario
        self.now_s = self.began_s = now_s
        self.cells: dict[str, Cell] = {}
        self.version = 0
        self.oom_kills: list[OomKill] = []
        self._away = False  # the engine: nobody restarts what ends
        self._unrestarted: list[tuple[Cell, int]] = []  # and the run in which its restart was due
        self._wall_offset_s = wall_s - now_s
        self._emit = emit
        self._timers: list[tuple[float, int, Cell | None, int, Callable[[], None]]] = []
        self._order = count()
        self._made: dict[str, int] = {}
        self._memory, self._cpu, self._disk = flat(0.0, now_s), flat(0.0, now_s), flat(float(scenario.host.disk.used), now_s)
        self._held = self._held_slope = 0.0  # footprints, base and the load from outside, at `_mark_s`
        self._cached = 0.0
        self._mark_s = now_s
        self._oom_s = inf
        self._crowd = 0.0
        self.busy_cores = 0.0
        self._busy_core_s = 0.0  # up to `_mark_s`
        self._cpu_some = self._memory_some = 0.0
        for name, spec in scenario.services.items():
            for number in range(1, spec.replicas + 1):
                cell = self.add(name, spec, number)
                if spec.running:
                    self._begin(cell, first=True)
        for step in scenario.host.steps:
            self._at(now_s + step.at, None, lambda step=step: self._host_step(step))  # type: ignore[misc]
        self._rebalance()

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def next_s(self) -> float:
        """When something next happens by itself."""
        return min(self._timers[0][0] if self._timers else inf, self._oom_s)

    def advance(self, to_s: float, wall_s: float) -> None:
        """Let time pass. A time before the present one is the present one."""
        if abs(wall_s - to_s - self._wall_offset_s) > _CLOCK_SET_S:
            self._wall_offset_s = wall_s - to_s
        while (next_s := self.next_s) <= to_s:
            self._move(next_s)
            if self._oom_s <= next_s:
                self._kill_biggest()
                continue
            _, _, cell, run, act = heapq.heappop(self._timers)
            if cell is None or cell.run == run:
                act()
        self._move(to_s)

    def _at(self, at_s: float, cell: Cell | None, act: Callable[[], None]) -> None:
        """Plan `act`; for a container, only if its present run lasts until then."""
        if at_s < inf:
            heapq.heappush(self._timers, (at_s, next(self._order), cell, 0 if cell is None else cell.run, act))

    def _wall(self) -> float:
        return self.now_s + self._wall_offset_s

    def _move(self, to_s: float) -> None:
        """Let time pass in which nothing happens but the straight lines."""
        if to_s <= self.now_s:
            return
        if self.scenario.host.psi:
            self._cpu_some = _mean(self._cpu_some, self._crowd, self._crowd, to_s - self.now_s)
            for end_s in (*self._bends(self.now_s, to_s), to_s):
                begins, ends = self._scarcity(self.now_s), self._scarcity(end_s)
                self._memory_some = _mean(self._memory_some, begins, ends, end_s - self.now_s)
                self.now_s = end_s
        self.now_s = to_s

    def _bends(self, from_s: float, to_s: float) -> Iterator[float]:
        """Times in between at which memory pressure begins, ends, or can grow no more."""
        if self._held_slope:
            total = self.scenario.host.memory
            marks = (total * (1 - SCARCE_RATIO), float(total))
            crossings = (self._mark_s + (mark - self._held) / self._held_slope for mark in marks)
            yield from sorted(at_s for at_s in crossings if from_s < at_s < to_s)

    def _scarcity(self, at_s: float) -> float:
        total = self.scenario.host.memory
        free = (total - self._held_at(at_s)) / total
        return min(1.0, max(0.0, 1.0 - free / SCARCE_RATIO))

    # --- what is shared ---------------------------------------------------------------------------------------------

    def _held_at(self, at_s: float) -> float:
        return self._held + self._held_slope * (at_s - self._mark_s)

    def _rebalance(self) -> None:
        """After every change: sum up memory, share out CPU, and see when memory will be full."""
        now_s, host = self.now_s, self.scenario.host
        self._busy_core_s += self.busy_cores * (now_s - self._mark_s)
        held, slope = host.base + self._memory.at(now_s), self._memory.slope
        cached = 0.0
        wanted = host.base_cpu + self._cpu.at(now_s)
        running = [cell for cell in self.cells.values() if cell.runs]
        for cell in running:
            held += cell.memory.at(now_s)
            slope += cell.memory.slope
            cached += cell.cache.at(now_s)
            wanted += self._wanted(cell)
        part = min(1.0, host.cores / wanted) if wanted else 1.0
        for cell in running:
            cell.cpu_total_s += cell.cpu_used * (now_s - cell.cpu_mark_s)
            cell.cpu_mark_s = now_s
            cell.cpu_used = self._wanted(cell) * part
        self.busy_cores = min(float(host.cores), wanted)
        self._crowd = min(1.0, max(0.0, (wanted / host.cores - 1.0) / (CROWDED - 1.0)))
        self._held, self._held_slope, self._mark_s, self._cached = held, slope, now_s, cached
        room = host.memory + host.swap - held
        self._oom_s = inf
        if any(cell.memory.at(now_s) > 0 for cell in running):
            self._oom_s = now_s if room < 0 else now_s + room / slope if slope > 0 else inf

    def _wanted(self, cell: Cell) -> float:
        wanted = cell.cpu_wanted.at(self.now_s)
        return wanted if cell.cpu_limit is None else min(wanted, cell.cpu_limit)

    def available_bytes(self) -> int:
        total = self.scenario.host.memory
        return int(min(total, max(0.0, total - self._held_at(self.now_s))))

    def swapped_bytes(self) -> int:
        return int(min(self.scenario.host.swap, max(0.0, self._held_at(self.now_s) - self.scenario.host.memory)))

    def busy_core_s(self) -> float:
        """Core seconds used since the scenario began."""
        return self._busy_core_s + self.busy_cores * (self.now_s - self._mark_s)

    def disk_used_bytes(self) -> int:
        return int(min(self.scenario.host.disk.size, self._disk.at(self.now_s)))

    def pressure(self) -> tuple[float, float, float]:
        """10 s means of CPU some, memory some and memory full."""
        return self._cpu_some, self._memory_some, self._memory_some * FULL_PART

    def stats(self, cell: Cell) -> RawStats:
        """Counters of a running container. OOM kills are counted since it was created, over its restarts."""
        now_s = self.now_s
        held = self._held_at(now_s)
        room = self.scenario.host.memory - held
        footprint = cell.memory.at(now_s)
        if room < 0:
            footprint *= max(0.0, 1.0 + room / held)  # each has the same part of its memory in swap
        cached = cell.cache.at(now_s) * cell.spec.cache_active
        if cached:
            cached *= min(1.0, max(0.0, room) / max(1.0, self._cached))
            if cell.spec.limits.memory is not None:
                cached = min(cached, cell.spec.limits.memory - footprint)
        return RawStats(
            at_s=now_s,
            working_set_bytes=int(footprint + cached),
            footprint_bytes=int(footprint),
            cpu_total_s=cell.cpu_total_s + cell.cpu_used * (now_s - cell.cpu_mark_s),
            strain=Strain(oom_kills=cell.oom_kills, pids=1),
        )

    # --- containers -------------------------------------------------------------------------------------------------

    def add(self, service: str, spec: Service, number: int = 1) -> Cell:
        """Create a container; it does not run yet."""
        project = self.scenario.project if spec.project is None else spec.project
        name = f"{project}-{service}-{number}" if project else service
        made = self._made[name] = self._made.get(name, 0) + 1
        id_ = sha256(f"{name}/{made}".encode()).hexdigest()
        cell = Cell(id_, name, ServiceKey(project, service), number, spec, self.now_s)
        self.cells[id_] = cell
        self._changed(cell)
        self._say(cell, "create")
        return cell

    def remove(self, cell: Cell) -> None:
        """As `docker rm --force`."""
        if cell.state.up:
            cell.manual = True
            self._end(cell, 137)
        cell.run += 1
        del self.cells[cell.id]
        self.version += 1
        self._say(cell, "destroy")

    def start(self, cell: Cell) -> bool:
        """False: the engine refuses. A container that runs is left alone."""
        if cell.runs:
            return True
        if cell.spec.starts == "refused":
            return False
        cell.run += 1  # a planned restart is off
        cell.pause_s = RESTART_PAUSE_S[0]
        cell.restarts = 0
        cell.manual = False
        self._begin(cell)
        self._rebalance()
        return True

    def stop(self, cell: Cell, grace_s: float, kill: bool) -> None:
        """SIGTERM, and SIGKILL after the grace if `kill`; at once where the grace is 0. `cell.run` changes when it is gone."""
        cell.manual = True
        if not cell.runs:  # between two restarts: there is nothing to end
            self._end(cell, cell.code or 0)
            return
        if not kill or grace_s > 0:
            cell.stopping = True
            self._say(cell, "kill", signal=_SIGTERM)
            if not cell.ending and not cell.spec.stop.ignores_sigterm:
                cell.ending = True
                self._at(self.now_s + cell.spec.stop.takes, cell, lambda: self._end(cell, cell.spec.stop.code))
        if kill:
            self._at(self.now_s + max(0.0, grace_s), cell, lambda: self._kill(cell))

    def signal(self, cell: Cell, grace_s: float, kill: bool) -> None:
        """Its processes are signalled past the engine, which takes the end for a crash. Else as `stop`."""
        if not cell.runs:
            return
        if (not kill or grace_s > 0) and not cell.ending and not cell.spec.stop.ignores_sigterm:
            cell.ending = True
            self._at(self.now_s + cell.spec.stop.takes, cell, lambda: self._end(cell, cell.spec.stop.code))
        if kill:
            self._at(self.now_s + max(0.0, grace_s) + KILL_TAKES_S, cell, lambda: self._end(cell, 137))

    def set_away(self, away: bool) -> None:
        """Whether the engine hangs. Once it does not, it restarts what has ended meanwhile."""
        self._away = away
        waiting, self._unrestarted = self._unrestarted, []
        for cell, run in waiting:
            if cell.run == run:
                self._restart(cell)

    def restart_engine(self, down_s: float) -> None:
        """As `systemctl restart docker`: all containers end; those whose policy says so come back `down_s` later."""
        self.version += 1
        for cell in self.cells.values():
            if cell.state.up:
                manual, cell.manual = cell.manual, True
                cell.restarts = 0
                self._end(cell, 137 if cell.spec.stop.ignores_sigterm else cell.spec.stop.code)
                cell.manual = manual
            policy = cell.spec.restart
            wanted = (
                policy == "always"
                or (policy == "unless-stopped" and not cell.manual)
                or (policy == "on-failure" and bool(cell.code))
            )
            if wanted and cell.started_s is not None and cell.spec.starts != "refused":
                self._at(self.now_s + down_s, cell, lambda cell=cell: self._restart(cell, counted=False))  # type: ignore[misc]

    def set_cpu_limit(self, cell: Cell, cores: float | None) -> None:
        cell.cpu_limit = cores
        self._changed(cell)
        self._say(cell, "update")
        self._rebalance()

    def container(self, cell: Cell) -> Container:
        """As list and inspect show it."""
        if cell.view is None:
            spec, ran = cell.spec, cell.started_s is not None
            ended = ran and not cell.runs
            cell.view = Container(
                id=cell.id,
                name=cell.name,
                service=cell.service,
                number=cell.number,
                state=cell.state,
                health=cell.health,
                started_s=cell.started_s if cell.state.up else None,
                started_wall_s=cell.started_wall_s,
                finished_wall_s=cell.finished_wall_s if ended else None,
                exit_code=cell.code if ended else None,
                restarts=cell.restarts,
                restart_policy=spec.restart,
                stop_timeout_s=None if spec.stop_timeout is None else float(spec.stop_timeout),
                memory_limit_bytes=spec.limits.memory,
                memory_reservation_bytes=spec.reservation,
                cpu_limit_cores=cell.cpu_limit,
                labels=parse_labels(cell.labels),
                depends_on=spec.depends_on,
                shares=self._shares(cell),
                oneoff=cell.labels.get(ONEOFF_LABEL, "").lower() == "true",
                swarm=SWARM_LABEL in cell.labels,
                completed=cell.state is ContainerState.EXITED
                and cell.code == 0
                and spec.restart in ("no", "on-failure")
                and spec.health is None,
            )
        return cell.view

    def _shares(self, cell: Cell) -> tuple[str, ...]:
        owner = ServiceKey(cell.service.project, cell.spec.network_mode or "")
        return tuple(other.id for other in self.cells.values() if other.service == owner)[:1]

    # --- a container's life -----------------------------------------------------------------------------------------

    def _begin(self, cell: Cell, first: bool = False) -> None:
        """A run begins. `first`: it has run since long before the scenario."""
        spec, now_s = cell.spec, self.now_s
        since_s = now_s - self.scenario.uptime if first else now_s
        cell.state = ContainerState.RUNNING
        cell.started_s, cell.started_wall_s = since_s, since_s + self._wall_offset_s
        cell.finished_wall_s = cell.code = None
        cell.stopping = cell.ending = False
        cell.healthy, cell.verdict = True, first
        cell.memory, cell.cache = flat(float(spec.memory), now_s), flat(float(spec.cache), now_s)
        cell.cpu_wanted = flat(float(spec.cpu), now_s)
        cell.cpu_used = cell.cpu_total_s = 0.0
        cell.cpu_mark_s = now_s
        self._changed(cell)
        if not first:
            self._say(cell, "start")
        if spec.health is not None and not first:
            self._at(now_s + spec.health.healthy_after, cell, lambda: self._judge(cell))
        timed = sorted(((self._time_of(step, now_s), step) for step in spec.steps), key=lambda one: one[0])
        for at_s, step in timed:
            if at_s > now_s or step.after is not None:
                self._at(at_s, cell, lambda step=step: self._step(cell, step))  # type: ignore[misc]
        for field in ("memory", "cache", "cpu", "healthy"):
            holds = [
                value
                for at_s, step in timed
                if step.after is None and at_s <= now_s and (value := getattr(step, field)) is not None
            ]
            if holds:
                self._apply(cell, field, holds[-1])
        self._watch_limit(cell)
        if spec.starts == "exits" and not first:
            self._at(now_s + EXITS_AFTER_S, cell, lambda: self._end(cell, 1))

    def _time_of(self, step: Step, run_s: float) -> float:
        return self.began_s + step.at if step.at is not None else run_s + (step.after or 0.0)

    def _step(self, cell: Cell, step: Step) -> None:
        if step.exit is not None:
            self._end(cell, step.exit)
            return
        for field in ("memory", "cache", "cpu", "healthy"):
            if (value := getattr(step, field)) is not None:
                self._apply(cell, field, value)
        self._watch_limit(cell)
        self._rebalance()

    def _apply(self, cell: Cell, field: str, value: Shape | bool) -> None:
        """Let one figure of a running container behave like this from now on."""
        if isinstance(value, bool):
            cell.healthy = value
            if cell.verdict:
                self._judge(cell)
            return
        if field == "cpu":
            track = Track(stairs(pieces(value, cell.cpu_wanted.at(self.now_s), self.now_s)))
            cell.cpu_wanted = track
        else:
            track = Track(pieces(value, getattr(cell, field).at(self.now_s), self.now_s))
            setattr(cell, field, track)
        self._follow(cell, field, track)

    def _follow(self, cell: Cell, field: str, track: Track) -> None:
        """Plan the track's next piece, for as long as it is the one that holds."""

        def step() -> None:
            if track is getattr(cell, "cpu_wanted" if field == "cpu" else field):
                track.step()
                if field == "memory":
                    self._watch_limit(cell)
                self._rebalance()
                self._follow(cell, field, track)

        self._at(track.next_s, cell, step)

    def _watch_limit(self, cell: Cell) -> None:
        """Plan the end of a container that will reach its own limit on the present line."""
        limit, track = cell.spec.limits.memory, cell.memory
        if limit is None:
            return
        room, slope = limit - track.at(self.now_s), track.slope
        if room >= 0 and slope <= 0:
            return

        def reach() -> None:
            if cell.memory is track and track.slope == slope:
                self._oom(cell, host=False)

        self._at(self.now_s + (max(0.0, room) / slope if slope > 0 else 0.0), cell, reach)

    def _judge(self, cell: Cell) -> None:
        """The health check says what it says."""
        cell.verdict = True
        if cell.spec.health is not None:
            self._changed(cell)
            self._say(cell, f"health_status: {cell.health.value}")

    def _kill(self, cell: Cell) -> None:
        self._say(cell, "kill", signal=_SIGKILL)
        self._at(self.now_s + KILL_TAKES_S, cell, lambda: self._end(cell, 137))

    def _kill_biggest(self) -> None:
        running = (cell for cell in self.cells.values() if cell.runs)
        self._oom(min(running, key=lambda cell: (-cell.memory.at(self.now_s), cell.name)), host=True)

    def _oom(self, cell: Cell, host: bool) -> None:
        cell.oom_kills += 1
        size = int(cell.memory.at(self.now_s))
        self.oom_kills.append(OomKill(self.now_s, cell.id, cell.name, cell.service, size, host))
        self._say(cell, "oom")
        self._end(cell, 137)

    def _end(self, cell: Cell, code: int) -> None:
        """It is gone, and its memory is back. Its restart policy may bring it back, unless somebody stopped it."""
        ran_s = 0.0 if cell.started_s is None else self.now_s - cell.started_s
        ran = cell.runs
        cell.run += 1
        cell.ended_s = self.now_s
        cell.state, cell.code, cell.finished_wall_s = ContainerState.EXITED, code, self._wall()
        cell.cpu_used = 0.0
        if ran_s >= RESTART_FORGET_S:
            cell.pause_s = RESTART_PAUSE_S[0]
        policy = cell.spec.restart
        if not cell.manual and (policy in ("always", "unless-stopped") or (policy == "on-failure" and code != 0)):
            cell.state = ContainerState.RESTARTING
            self._at(self.now_s + cell.pause_s, cell, lambda: self._restart(cell))
            cell.pause_s = min(RESTART_PAUSE_S[1], cell.pause_s * 2)
        self._changed(cell)
        if ran:
            self._say(cell, "die", exitCode=str(code))
        if cell.stopping:
            self._say(cell, "stop")
        self._rebalance()

    def _restart(self, cell: Cell, counted: bool = True) -> None:
        if self._away:
            self._unrestarted.append((cell, cell.run))
            return
        if counted and cell.spec.starts == "refused":
            cell.state = ContainerState.EXITED
            self._changed(cell)
            return
        cell.restarts += counted
        self._begin(cell)
        self._rebalance()

    def _changed(self, cell: Cell) -> None:
        cell.view = None
        self.version += 1

    def _say(self, cell: Cell, action: str, **attributes: str) -> None:
        known = {"name": cell.name, **cell.labels, **attributes}
        self._emit(EngineEvent(self._wall(), action, cell.id, cell.name, known), cell)

    def _host_step(self, step: object) -> None:
        for field in ("memory", "cpu", "disk"):
            shape = getattr(step, field)
            if shape is None:
                continue
            steps = pieces(shape, getattr(self, f"_{field}").at(self.now_s), self.now_s)
            track = Track(stairs(steps) if field == "cpu" else steps)
            setattr(self, f"_{field}", track)
            self._follow_host(field, track)
        self._rebalance()

    def _follow_host(self, field: str, track: Track) -> None:
        def step() -> None:
            if track is getattr(self, f"_{field}"):
                track.step()
                self._rebalance()
                self._follow_host(field, track)

        self._at(track.next_s, None, step)


def _mean(mean: float, begins: float, ends: float, lasts_s: float) -> float:
    """An exponential mean over PSI_WINDOW_S of what goes from `begins` to `ends` in a straight line. Exact."""
    if lasts_s <= 0:
        return mean
    lag = (ends - begins) / lasts_s * PSI_WINDOW_S
    return min(1.0, max(0.0, ends - lag + (mean - begins + lag) * exp(-lasts_s / PSI_WINDOW_S)))
