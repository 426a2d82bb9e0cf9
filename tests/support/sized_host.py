"""A guardian over a host of any size, for measurements: the real loop, policy, ledger and metrics over made-up readings.

Nothing is simulated behind it, so what a tick takes is guardian's own time. `SizedHost(300).tick()` is one tick with nothing
to do; `press` makes memory hard, and the tick after it decides. Of a real host only the sensors' own cost comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence

from support.virtual_host import MIB, PROJECT, MemoryStore, Phase, a_config, key

from guardian.clock import VirtualClock
from guardian.config.schema import Config, ServiceConfig
from guardian.expose.metrics import Metrics
from guardian.expose.snapshot import Snapshot
from guardian.ledger.book import Ledger
from guardian.loop import Loop
from guardian.model import Action, Container, EngineInfo, Health, HostReading, Inventory, Mode, Outcome, Strain, Usage

GIB = 1024 * MIB
BLOCK = (5, 5, 8, 8, 6)  # services by phase, as on the reference platform; larger hosts have it again and again
CALM, HARD = 0.5, 0.95  # of memory in use
ROUND_S = 5
SETTLED_S = 150


def names_of(count: int) -> tuple[tuple[str, ...], ...]:
    """Names of `count` services by phase, from 1."""
    phases: list[list[str]] = [[] for _ in BLOCK]
    of_position = [phase for phase, size in enumerate(BLOCK) for _ in range(size)]
    for number in range(count):
        phases[of_position[number % len(of_position)]].append(f"s{number:04}")
    return tuple(tuple(names) for names in phases)


def config_of(count: int) -> Config:
    """Phase 1 protected, budgets on all; one service in eight requires its neighbour."""
    phases = names_of(count)
    written = {f"s{number:04}": ServiceConfig(requires=(f"s{number - 1:04}",)) for number in range(7, count, 8)}
    total = count * 128
    return a_config(
        *(
            Phase(names, protected=number == 1, budget_mib=total * number // len(phases))
            for number, names in enumerate(phases, start=1)
        ),
        services=written,
    )


def containers_of(count: int) -> tuple[Container, ...]:
    """One of each service, started with the virtual clock: with limits, health checks and two dependencies in the core of its block."""
    size = sum(BLOCK)
    began = VirtualClock()
    return tuple(
        Container(
            id=f"{number:064x}",
            name=f"{PROJECT}-s{number:04}-1",
            service=key(f"s{number:04}"),
            health=Health.HEALTHY if number % 3 else Health.NONE,
            started_s=began.monotonic(),
            started_wall_s=began.wall(),
            restart_policy="unless-stopped",
            memory_limit_bytes=256 * MIB,
            cpu_limit_cores=0.5,
            depends_on=()
            if number % size < BLOCK[0]
            else (f"s{number - number % size:04}", f"s{number - number % size + 1:04}"),
        )
        for number in range(count)
    )


def usages_of(containers: Sequence[Container], at_s: float) -> dict[str, Usage]:
    """What each uses at `at_s`: all of them a little else than the last time."""
    return {
        one.id: Usage(
            at_s, (96 + number % 64) * MIB, (64 + (number + int(at_s)) % 64) * MIB, 0.01 * (number % 7), Strain(0, 12)
        )
        for number, one in enumerate(containers)
    }


class MadeUpReadings:
    """The host and its containers as the loop asks for them. The inventory is the same object until `read` makes a new one."""

    def __init__(self, count: int, clock: VirtualClock) -> None:
        self.used = CALM
        self.ready = True
        self.down = False
        self.engine = EngineInfo("id", "host", "26.1.5", "1.45", 2, 4, 64 * GIB, "/var/lib/docker")
        self.excluded: frozenset[str] = frozenset()
        self._clock = clock
        self._total = count * 160 * MIB
        self._containers = containers_of(count)
        self.refresh()

    def refresh(self) -> None:
        """The use of every container is read anew."""
        now_s = self._clock.monotonic()
        self._inventory = Inventory(now_s, self._containers, usages_of(self._containers, now_s), float(ROUND_S))

    def current(self, max_age_s: float = 0.0) -> Inventory:
        """The newest reading, whatever age is asked for: only `refresh` makes another."""
        return self._inventory

    def read(self) -> HostReading:
        return HostReading(
            at_s=self._clock.monotonic(),
            cores=4,
            memory_total_bytes=self._total,
            memory_available_bytes=int(self._total * (1 - self.used)),
            swap_total_bytes=GIB,
            swap_used_bytes=0,
            cpu_ratio=0.2,
            cpu_some_avg10_ratio=0.01,
            memory_some_avg10_ratio=0.0,
            memory_full_avg10_ratio=0.0,
            io_some_avg10_ratio=0.0,
            io_full_avg10_ratio=0.0,
            psi_present=True,
            disk_total_bytes=100 * GIB,
            disk_available_bytes=60 * GIB,
        )


class NobodyActs:
    """Takes every action and never ends one."""

    def __init__(self) -> None:
        self.in_flight: tuple[Action, ...] = ()
        self.no_signals = ""

    def submit(self, actions: Sequence[Action]) -> None:
        self.in_flight += tuple(actions)

    def outcomes(self) -> list[Outcome]:
        return []

    def close(self, timeout_s: float) -> None:
        """Nothing is under way."""


class SizedHost:
    """`count` services that all run, on a calm host. In enforce mode; what is decided goes nowhere."""

    def __init__(self, count: int) -> None:
        self.clock = VirtualClock()
        self.readings = MadeUpReadings(count, self.clock)
        self.metrics = Metrics(self.clock)
        self.store = MemoryStore()
        self.actor = NobodyActs()
        self.config = config_of(count)
        self.loop = Loop(
            config=self.config,
            mode=Mode.ENFORCE,
            host=self.readings,
            containers=self.readings,
            actor=self.actor,
            ledger=Ledger(self.store, self.clock),  # type: ignore[arg-type]
            clock=self.clock,
            telemetry=self.metrics,
            run_id="sized",
        )

    def step(self, seconds: float = 1.0, containers: bool = False) -> None:
        """Let time pass; `containers`: their use is read anew."""
        self.clock.advance(seconds)
        self.store.commit()
        if containers:
            self.readings.refresh()

    def tick(self) -> Snapshot:
        """One tick as the daemon does it. What it takes is what is to be measured."""
        snapshot = self.loop.tick()
        self.metrics.update(snapshot)
        self.metrics.ticked(0.001, 0.0, 1.0)
        return snapshot

    def settle(self) -> None:
        """Tick until no container is young any more, and something is remembered of each."""
        for _ in range(SETTLED_S // ROUND_S):
            self.step(ROUND_S, containers=True)
            self.tick()

    def press(self) -> None:
        """Memory is hard from the next reading on."""
        self.readings.used = HARD
        self.step(containers=True)
