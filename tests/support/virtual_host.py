"""A whole guardian on a virtual host: the loop, the ledger, the feed and the actor over the simulated engine, and one clock.

Nothing sleeps and nothing runs beside: `tick` lets time pass and ticks once, as the daemon would. Every step at which a
process can die is counted, so that a test can end guardian at any of them and start it again on what was on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardian.clock import VirtualClock
from guardian.config.schema import Budget, Config, PhaseConfig, RestoringConfig, ServiceConfig, SheddingConfig, ThresholdsConfig
from guardian.engine.protocol import RawStats, Scope
from guardian.engine.simulated import Scenario, SimulatedEngine, SimulatedHost, VirtualActor
from guardian.engine.simulated.engine import Call
from guardian.errors import EngineError
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.expose.snapshot import Snapshot
from guardian.ledger.book import Ledger
from guardian.ledger.entries import Controls, Entry, HistoryRow, ServiceMemory
from guardian.ledger.store import Loaded
from guardian.loop import Loop
from guardian.model import Action, Container, ContainerState, Mode, Result, ServiceKey, Usage
from guardian.record.moment import Moment
from guardian.sense.cgroups import Readings
from guardian.sense.feed import Feed
from guardian.sense.rates import CpuMean
from guardian.telemetry import NullTelemetry

MIB = 1024 * 1024
PROJECT = "openpolicy"


class Crash(BaseException):
    """The process ends here. Not an Exception, so that nothing takes it for a failure and goes on."""


class Steps:
    """Counts the moments at which a process can die; at the one it was told, it does."""

    def __init__(self) -> None:
        self.passed = 0
        self.crash_at: int | None = None
        self.died_at = ""

    def __call__(self, label: str) -> None:
        self.passed += 1
        if self.crash_at is not None and self.passed >= self.crash_at:
            self.crash_at = None
            self.died_at = label
            raise Crash(label)


@dataclass(slots=True)
class _Write:
    entries: tuple[Entry, ...]
    memories: tuple[ServiceMemory, ...]
    controls: Controls | None
    history: tuple[HistoryRow, ...]
    measured: Mapping[str, int]


class MemoryTicket:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def wait(self, deadline_s: float | None) -> bool:
        if self._store.slow and deadline_s is not None:
            return False
        self._store.commit()
        return True


class MemoryStore:
    """What `ledger.store.Store` promises, without a file or a thread.

    What was handed over is on disk once it is waited for, or at the next tick; a crash before that loses it, the newest
    first. `slow`: no commit is done in time, as on a full disk.
    """

    def __init__(self, step: Callable[[str], None] = lambda _: None) -> None:
        self.slow = False
        self.rows: list[HistoryRow] = []
        self._step = step
        self._entries: dict[str, Entry] = {}
        self._memories: dict[ServiceKey, ServiceMemory] = {}
        self._controls = Controls()
        self._waiting: list[_Write] = []

    def load(self) -> Loaded:
        kept = sorted((one for one in self._entries.values() if one.open), key=lambda one: (one.decided_wall_s, one.id))
        return Loaded(tuple(kept), tuple(self._memories.values()), self._controls)

    def submit(
        self,
        *,
        entries: Iterable[Entry] = (),
        memories: Iterable[ServiceMemory] = (),
        controls: Controls | None = None,
        history: Iterable[HistoryRow] = (),
        measured: Mapping[str, int] | None = None,
    ) -> MemoryTicket:
        write = _Write(tuple(entries), tuple(memories), controls, tuple(history), dict(measured or {}))
        self._waiting.append(write)
        return MemoryTicket(self)

    def commit(self) -> None:
        if not self._waiting:
            return
        states = "+".join(dict.fromkeys(entry.state.value for write in self._waiting for entry in write.entries)) or "other"
        self._step(f"before:{states}")
        for write in self._waiting:
            self._entries.update({entry.id: entry for entry in write.entries})
            self._memories.update({memory.service: memory for memory in write.memories})
            self._controls = self._controls if write.controls is None else write.controls
            self.rows.extend(write.history)
        self._waiting.clear()
        self._step(f"after:{states}")

    def lose_waiting(self) -> None:
        self._waiting.clear()

    def history(
        self, limit: int = 100, since_wall_s: float | None = None, service: ServiceKey | None = None
    ) -> tuple[HistoryRow, ...]:
        found = [row for row in reversed(self.rows) if service in (None, row.service) and row.at_wall_s >= (since_wall_s or 0)]
        return tuple(found[:limit])


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call that changes something, as the engine got it."""

    at_s: float
    tick: int
    kind: str  # stop, signal, start, quota
    container_id: str
    service: ServiceKey | None
    grace_s: float | None = None
    kill: bool = True
    cores: float | None = None


class RecordedEngine(SimulatedEngine):
    """The simulated engine, which keeps every call that changes something."""

    def __init__(self, scenario: Scenario, clock: VirtualClock, step: Callable[[str], None]) -> None:
        super().__init__(scenario, clock)
        self.calls: list[EngineCall] = []
        self.tick = 0
        self._step = step
        self._now = clock

    def begin_stop(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        self._record("stop", container_id, grace_s=grace_s, kill=kill)
        self._step("before:stop")
        call = super().begin_stop(container_id, grace_s, kill)
        self._step("after:stop")
        return call

    def begin_signal(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        self._record("signal", container_id, grace_s=grace_s, kill=kill)
        self._step("before:signal")
        call = super().begin_signal(container_id, grace_s, kill)
        self._step("after:signal")
        return call

    def begin_restart(self, container_id: str, grace_s: float, kill: bool = True) -> Call:
        self._record("restart", container_id, grace_s=grace_s, kill=kill)
        self._step("before:restart")
        call = super().begin_restart(container_id, grace_s, kill)
        self._step("after:restart")
        return call

    def start(self, container_id: str, deadline_s: float = 0.0) -> Result:
        self._record("start", container_id)
        self._step("before:start")
        result = super().start(container_id, deadline_s)
        self._step("after:start")
        return result

    def set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float = 0.0) -> Result:
        self._record("quota", container_id, cores=cores)
        self._step("before:quota")
        result = super().set_cpu_quota(container_id, cores, deadline_s)
        self._step("after:quota")
        return result

    def _record(
        self, kind: str, container_id: str, grace_s: float | None = None, kill: bool = True, cores: float | None = None
    ) -> None:
        cell = self._world.cells.get(container_id)
        service = None if cell is None else cell.service
        self.calls.append(EngineCall(self._now.monotonic(), self.tick, kind, container_id, service, grace_s, kill, cores))


class VirtualCgroups:
    """What `sense.cgroups.CgroupReader` promises, of the simulated engine's containers."""

    def __init__(self, engine: SimulatedEngine, clock: VirtualClock) -> None:
        self._engine = engine
        self._clock = clock
        self._means: dict[str, CpuMean] = {}
        self.covered: frozenset[str] = frozenset()
        self.unchecked: frozenset[str] = frozenset()

    def follow(self, containers: Sequence[Container]) -> None:
        self.covered = frozenset(one.id for one in containers if one.state is ContainerState.RUNNING)

    def read(self) -> Readings:
        self._engine.poll()
        world = self._engine._world
        cells = {one: world.cells[one] for one in self.covered if one in world.cells and world.cells[one].runs}
        gone = self.covered - cells.keys()
        self.covered -= gone
        self._means = {id_: self._means.get(id_, CpuMean()) for id_ in cells}
        return Readings(self._clock.monotonic(), {id_: self._use(id_, world.stats(cell)) for id_, cell in cells.items()}, gone)

    def read_strain(self) -> None:
        """It is always new."""

    def _use(self, id_: str, stats: RawStats) -> Usage:
        cores = self._means[id_].add(stats.at_s, stats.cpu_total_s)
        return Usage(stats.at_s, stats.working_set_bytes, stats.footprint_bytes, cores, stats.strain)


class VirtualEvents:
    """Stands for the event watcher, whose part `VirtualHost` plays."""

    live = False

    def reopen(self) -> None:
        raise AssertionError("an event of the simulated engine was missed")

    def rescope(self, scope: Scope) -> None:
        """Events of the new scope come from the next tick on."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase in short: services by name, budget in MiB."""

    services: tuple[str, ...]
    protected: bool = False
    mode: Mode = Mode.ENFORCE
    budget_mib: int | None = None


def a_config(
    *phases: Phase | tuple[str, ...],
    services: Mapping[str, ServiceConfig] | None = None,
    thresholds: ThresholdsConfig | None = None,
    shedding: SheddingConfig | None = None,
    restoring: RestoringConfig | None = None,
    **fields: object,
) -> Config:
    """Phases 1..n, in enforce mode unless said otherwise; a tuple of names is a phase without protection or budget."""
    written = tuple(one if isinstance(one, Phase) else Phase(one) for one in phases)
    return Config(
        version=1,
        phases=tuple(
            PhaseConfig(
                phase=number,
                name=f"phase {number}",
                protected=one.protected,
                mode=one.mode,
                budget=Budget(memory=None if one.budget_mib is None else one.budget_mib * MIB),  # type: ignore[arg-type]
                services=one.services,
            )
            for number, one in enumerate(written, start=1)
        ),
        **{"mode": Mode.ENFORCE, "project": PROJECT, **fields},  # type: ignore[arg-type]
        services=dict(services or {}),
        thresholds=thresholds or ThresholdsConfig(),
        shedding=shedding or SheddingConfig(),
        restoring=restoring or RestoringConfig(),
    )


@dataclass
class VirtualHost:
    """`scenario` begins at once; guardian starts at the first tick. `round_s` is the pace at which containers are read.

    With `paced` it is guardian that says when it ticks and when it reads containers, as in the daemon.
    """

    scenario: Scenario
    config: Config
    round_s: float = 1.0
    interval_s: float = 1.0
    paced: bool = False
    with_cgroups: bool = False  # use is read past the engine, whether or not that answers
    record: Callable[[Moment], None] = lambda _: None  # is handed each tick
    clock: VirtualClock = field(default_factory=VirtualClock)
    snapshots: list[Snapshot] = field(default_factory=list)
    runs: int = 0
    engine_restarts: int = 0

    def __post_init__(self) -> None:
        self.steps = Steps()
        self.store = MemoryStore(self.steps)
        self.engine = RecordedEngine(self.scenario, self.clock, self.steps)
        self.telemetry = NullTelemetry()
        self.scope = Scope(self.config.projects, self.config.containers)
        self.events = VirtualEvents()
        self._gap_since_wall_s: float | None = None
        self._begin()

    def _begin(self) -> None:
        """A process begins: all it knows is what the store has."""
        self.runs += 1
        self.ledger = Ledger(self.store, self.clock)  # type: ignore[arg-type]
        cgroups = VirtualCgroups(self.engine, self.clock) if self.with_cgroups else None
        self.feed = Feed(self.engine, self.scope, cgroups, self.clock, NullTelemetry(), self.events)  # type: ignore[arg-type]
        self.actor = VirtualActor(
            self.engine, self.clock, self.ledger.mark, lambda container_id: self.feed.touch((container_id,))
        )
        self.loop = Loop(
            config=self.config,
            mode=self.config.mode,
            host=SimulatedHost(self.engine),
            containers=self.feed,
            actor=self.actor,
            ledger=self.ledger,
            clock=self.clock,
            telemetry=self.telemetry,
            run_id=f"run{self.runs}",
            record=self.record,
        )
        self._read_s: float | None = None

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self) -> Snapshot:
        """Let one interval pass, and tick. Raises Crash where `steps` was told to; then `restart` goes on."""
        if self.paced:
            self.interval_s, self.round_s = self.loop.pace.next_s, self.loop.pace.containers_s
        self.clock.advance(self.interval_s)
        self.engine.poll()
        self.engine.tick += 1
        self.store.commit()  # what nobody waited for has had its time
        self._hand_on_events()
        now_s = self.clock.monotonic()
        if self._read_s is None or now_s - self._read_s >= self.round_s or self.feed.waiting:
            self.feed.refresh(self.round_s)
            self._read_s = now_s
        self.steps("tick")
        snapshot = self.loop.tick(max(self.interval_s, float(self.config.sampling.host)) if self.paced else self.interval_s)
        self.steps("ticked")
        self.snapshots.append(snapshot)
        return snapshot

    def run(self, seconds: float) -> Snapshot:
        last_s = self.clock.monotonic() + seconds - self.interval_s / 2
        self.tick()
        while self.clock.monotonic() < last_s:
            self.tick()
        return self.snapshots[-1]

    def run_until(self, done: Callable[[Snapshot], bool], within_s: float) -> Snapshot:
        """Tick until `done`; AssertionError where it is not within that time."""
        last_s = self.clock.monotonic() + within_s - self.interval_s / 2
        while self.clock.monotonic() < last_s:
            if done(self.tick()):
                return self.snapshots[-1]
        raise AssertionError(f"not within {within_s:g} s; last: {self.snapshots[-1].decision}")

    def crash(self) -> None:
        """Kill -9, and a start at once: memory is lost, with what was not on disk; the engine goes on with what it was told."""
        self.store.lose_waiting()
        self._begin()

    def run_through_crash(self, seconds: float, crash_at: int) -> str:
        """Run on, dying at that step (counted from now) and starting again. Returned: where it died; empty: it did not."""
        self.steps.crash_at = self.steps.passed + crash_at
        self.steps.died_at = ""
        for _ in range(max(1, round(seconds / self.interval_s))):
            try:
                self.tick()
            except Crash:
                self.crash()
        self.steps.crash_at = None
        return self.steps.died_at

    # --- events -----------------------------------------------------------------------------------------------------

    def _hand_on_events(self) -> None:
        """The event watcher's part: events as they come, and a gap where the engine was away."""
        try:
            self.engine.info()
        except EngineError:
            if self._gap_since_wall_s is None:
                self._gap_since_wall_s = self.clock.wall() - self.interval_s
            self.events.live = False
            return
        if self._gap_since_wall_s is not None:
            self.loop.take_gap(self._gap_since_wall_s, self.clock.wall())
            self.feed.distrust()
            self._gap_since_wall_s = None
        self.events.live = True
        events = self.engine.pending_events(self.scope)
        self.loop.take_events(events)
        self.feed.take_events(events)

    def restart_engine(self, down_s: float) -> None:
        self.engine_restarts += 1
        self._gap_since_wall_s = self.clock.wall()
        self.engine.restart_engine(down_s)

    def engine_down(self, down: bool = True) -> None:
        """It does not answer, or answers again; its containers go on."""
        if down:
            self._gap_since_wall_s = self.clock.wall()
        self.engine.engine_down(down)

    # --- orders, and what there is ----------------------------------------------------------------------------------

    def order(self, kind: OrderKind, *names: str, by: str = "ada", **fields: object) -> OrderReply:
        """Give an order and tick until it is answered, which is at once."""
        order = Order(kind, tuple(key(name) for name in names), by=by, **fields)  # type: ignore[arg-type]
        replied = self.loop.put_order(order)
        self.tick()
        return replied.get_nowait()

    def up(self, name: str) -> bool:
        """Whether any container of the service runs, in truth, or will by its restart policy."""
        return any(self.engine._world.cells[one].state.up for one in self.engine.ids(name))

    @property
    def down(self) -> set[str]:
        """Services of which no container runs, in truth."""
        names = {cell.service.name for cell in self.engine._world.cells.values()}
        return {name for name in names if not self.up(name)}

    def stops(self) -> list[str]:
        """Names of services in the order in which stops were sent, each call once."""
        return [call.service.name for call in self.engine.calls if call.kind == "stop" and call.service is not None]

    def starts(self) -> list[str]:
        return [call.service.name for call in self.engine.calls if call.kind == "start" and call.service is not None]

    @property
    def actions(self) -> list[Action]:
        """All that was decided so far, oldest first."""
        return [action for snapshot in self.snapshots for action in snapshot.decision.actions]


def key(name: str) -> ServiceKey:
    return ServiceKey(PROJECT, name)
