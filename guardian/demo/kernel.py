"""The overload as it goes with the kernel alone: whom its OOM killer ends, and how long the core is down for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guardian.clock import VirtualClock
from guardian.config.schema import Config
from guardian.engine.simulated import SimulatedEngine, find_scenario
from guardian.model import ContainerState, Health
from guardian.scope import scope_of

STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """The host `at_s` seconds after the scenario began. `killed` has the services that were ended since the moment before, biggest first."""

    at_s: float
    used_ratio: float
    killed: tuple[tuple[str, int], ...]  # name, bytes it held
    core_down: tuple[str, ...]  # services of the lowest phase that do not run, or are not yet healthy again


def moments(config: Config, scenario: str, for_s: float) -> Iterator[Moment]:
    """Every half second of the scenario, with nobody but the simulated kernel to do anything."""
    clock = VirtualClock()
    engine = SimulatedEngine(find_scenario(scenario), clock)
    core = set(min(config.phases, key=lambda phase: phase.phase).services)
    scope, seen = scope_of(config, ()), 0
    for step in range(int(for_s / STEP_S) + 1):
        host, _ = engine.read_host()
        total_bytes, available_bytes = host.memory_total_bytes or 1, host.memory_available_bytes or 0
        kills = engine.oom_kills
        serving = {
            one.service.name
            for one in engine.containers(scope)
            if one.state is ContainerState.RUNNING and one.health in (Health.NONE, Health.HEALTHY)
        }
        yield Moment(
            step * STEP_S,
            1 - available_bytes / total_bytes,
            tuple((kill.service.name, kill.footprint_bytes) for kill in kills[seen:]),
            tuple(sorted(core - serving)),
        )
        seen = len(kills)
        clock.advance(STEP_S)
