"""A virtual host whose services are probed and whose figures are kept, as the daemon does it, all on one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from support.virtual_host import Phase, VirtualHost, a_config

from guardian.clock import Clock, VirtualClock
from guardian.config.schema import HealthConfig, ObjectivesConfig, SamplingConfig, ServiceConfig
from guardian.engine.simulated.scenario import Scenario, Service
from guardian.engine.simulated.world import Cell
from guardian.health.attempt import NotWell
from guardian.health.overlay import ProbedContainers
from guardian.health.prober import Probe, Prober
from guardian.model import Container
from guardian.objectives.accumulate import Traffic
from guardian.objectives.keeper import Keeper
from guardian.objectives.network import TrafficReader
from guardian.telemetry import NullTelemetry, Objective
from guardian.units import Ratio, Seconds

BEGIN_WALL_S = 1_700_002_800.0  # the beginning of an hour
TICK_S = 5.0
PROBE_S = 30.0
ANSWER_S = 0.125
OBJECTIVES = ObjectivesConfig(response_time=Seconds(0.2), availability=Ratio(0.995), utilisation=Ratio(0.8), healthy=Ratio(1.0))


class Told(NullTelemetry):
    def __init__(self) -> None:
        self.told: dict[str, Objective] = {}

    def objectives(self, told: Iterable[Objective]) -> None:
        self.told = {one.name: one for one in told}


class NoTraffic(TrafficReader):
    """The simulated engine's containers have no processes here."""

    def read(self, containers: Iterable[Container], now_s: float, now_wall_s: float) -> list[Traffic]:
        return []


class WatchedHost:
    """`db` and `web`, which is probed by HTTP, and `logs`: a phase each, and each uses half of its budget. `seconds` counts from the first tick, at the beginning of an hour."""

    def __init__(self, path: Path) -> None:
        check = HealthConfig(http="http://127.0.0.1:1/", interval=Seconds(PROBE_S), retries=2, start_period=Seconds(0))
        config = a_config(
            *(Phase((name,), budget_mib=number * 200) for number, name in enumerate(("db", "web", "logs"), start=1)),
            services={"web": ServiceConfig(health=check)},
            sampling=SamplingConfig(host=Seconds(TICK_S)),
            objectives=OBJECTIVES,
        )  # fmt: skip
        services = {name: Service(memory=100 * 1024 * 1024, cpu=0.1) for name in ("db", "web", "logs")}
        clock = VirtualClock(wall_s=BEGIN_WALL_S - TICK_S)
        self.host = VirtualHost(Scenario(services=services), config, round_s=TICK_S, interval_s=TICK_S, clock=clock)
        self.telemetry = Told()
        self.probes: list[Probe] = []
        self._path = path
        self._begin()
        self.tick()

    def _begin(self) -> None:
        """What a process has beside the loop."""
        self.keeper = Keeper(self._path, self.host.clock, self.telemetry, traffic=NoTraffic())
        self.made: list[Prober] = []
        probed = ProbedContainers(self.host.feed, self._make)
        probed.configure(self.host.config)
        self.host.loop._containers = probed

    def _make(self) -> Prober:
        self.made.append(Prober(self.host.clock, self._take, attempt=self._answer))
        return self.made[-1]

    def _take(self, probe: Probe) -> None:
        self.probes.append(probe)
        if probe.counts:
            self.keeper.probed(probe)

    def _answer(self, _config: HealthConfig, _clock: Clock) -> float:
        if not self.cell("web").healthy:
            raise NotWell("no answer")
        return ANSWER_S

    @property
    def seconds(self) -> float:
        return self.host.clock.wall() - BEGIN_WALL_S

    def cell(self, name: str) -> Cell:
        return next(one for one in self.host.engine._world.cells.values() if one.service.name == name)

    def tick(self) -> None:
        """One tick, the probes that are due at it, and once a minute a flush."""
        self.keeper.note(self.host.tick())
        self.made[0].run_due(lambda work: work())
        self.keeper.work(flush=self.seconds % 60 == 0)

    def until(self, seconds: float) -> None:
        """Tick up to that time, the tick at it included."""
        while self.seconds < seconds:
            self.tick()

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        """Do it just after the tick at that time: the next one sees it."""
        self.until(seconds)
        do()

    def away(self, seconds: float) -> None:
        """Guardian dies now, and is started again so much later."""
        self.keeper.work(flush=True)
        self.host.clock.advance(seconds - TICK_S)
        self.host.crash()
        self._begin()
        self.tick()
