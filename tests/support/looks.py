"""Ticks for the figures, made by hand: services in states, on an hour's beginning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from support.virtual_host import PROJECT, a_config

from guardian.config.schema import Config, ObjectivesConfig
from guardian.model import PhaseUse, ServiceKey, ServiceState, ServiceStatus
from guardian.objectives.accumulate import Accumulator, Look
from guardian.objectives.evaluate import Window
from guardian.units import Ratio, Seconds

BEGIN_WALL_S = 1_700_002_800.0
CONFIG = a_config(("a",), ("b",))
AIMS = ObjectivesConfig(response_time=Seconds(0.2), availability=Ratio(0.995), utilisation=Ratio(0.8), healthy=Ratio(1.0))
_UP = (ServiceState.RUNNING, ServiceState.UNHEALTHY)


def a_status(name: str, state: ServiceState = ServiceState.RUNNING, **fields: object) -> ServiceStatus:
    up = state in _UP
    given: dict[str, object] = {"running": int(up), "healthy": {0: True, 1: False}.get(_UP.index(state)) if up else None}
    return ServiceStatus(key=ServiceKey(PROJECT, name), phase=1, state=state, **{**given, **fields})  # type: ignore[arg-type]


def a_use(phase: int, memory: int | None, budget: int | None, cores: float | None = None) -> PhaseUse:
    return PhaseUse(phase, "", memory, budget, cores, None if cores is None else 1.0, None, None)


class Story:
    """Ticks one after another. `at` is in seconds since the beginning of an hour."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.accumulator = Accumulator()
        self.look = Look(0.0, BEGIN_WALL_S, True, (), (), config)

    def tick(
        self,
        at: float,
        states: Mapping[str, ServiceState] | None = None,
        *,
        wall: float | None = None,
        known: bool = True,
        services: tuple[ServiceStatus, ...] | None = None,
        phases: tuple[PhaseUse, ...] | None = None,
    ) -> None:
        """`states` None: the same objects as in the tick before."""
        if states is not None:
            services = tuple(a_status(name, state) for name, state in states.items())
        self.look = replace(
            self.look,
            at_s=at,
            at_wall_s=BEGIN_WALL_S + (at if wall is None else wall),
            known=known,
            services=self.look.services if services is None else services,
            phases=self.look.phases if phases is None else phases,
        )
        self.accumulator.note(self.look)

    def window(self, until: float | None = None) -> Window:
        window = Window(BEGIN_WALL_S, self.look.at_wall_s if until is None else BEGIN_WALL_S + until)
        for hour in sorted(self.accumulator.flush(), key=lambda one: one.number):
            window.add(hour)
        return window
