"""The containers in scope and what each of them uses, from the engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from guardian.clock import Clock
from guardian.engine.protocol import Engine, RawStats, Scope
from guardian.errors import EngineError
from guardian.model import Container, ContainerState, Inventory, Usage
from guardian.sense import rates
from guardian.telemetry import Telemetry

# A paused container keeps its memory. One that waits for its restart gives stats without keys, so it is not asked.
_MEASURED = (ContainerState.RUNNING, ContainerState.PAUSED)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of one run of one container."""

    started_wall_s: float | None
    rate: rates.CpuRate | None = None
    usage: Usage | None = None


class ContainerSensor:
    """Takes one round of readings at a time. `scope` may be replaced at run time, and counts from the next round on."""

    def __init__(self, engine: Engine, scope: Scope, clock: Clock, telemetry: Telemetry) -> None:
        self.scope = scope
        self._engine = engine
        self._clock = clock
        self._telemetry = telemetry
        self._known: dict[str, _Known] = {}
        self._one_at_a_time = threading.Lock()

    def refresh(self, round_s: float, skip: frozenset[str] = frozenset()) -> Inventory:
        """List the containers and measure those that run. Blocks up to the engine's deadlines, so it has a job of its own.

        `round_s` is the pace asked for; a round that took longer says how long it took. The inventory is dated by its
        start: what it shows is at least as new as that. A container that gave no answer keeps its last usage, with its
        old date. `skip`: ids that are measured elsewhere, so the engine is not asked for them. Raises EngineError when the
        list fails.
        """
        with self._one_at_a_time:
            start_s = self._clock.monotonic()
            measured = False
            try:
                containers = self._engine.containers(self.scope)
                measured = self._measure(containers, skip)
            finally:
                took_s = self._clock.monotonic() - start_s
                self._telemetry.sampled("containers", took_s, measured)
            usage = {id_: known.usage for id_, known in self._known.items() if known.usage}
            return Inventory(start_s, containers, usage, max(round_s, took_s))

    def _measure(self, containers: tuple[Container, ...], skip: frozenset[str]) -> bool:
        """Update what is known; False where no container could be measured because the engine failed."""
        self._known = {container.id: self._run_of(container) for container in containers if container.state.up}
        asked = [container.id for container in containers if container.state in _MEASURED and container.id not in skip]
        try:
            answers = self._engine.stats(asked) if asked else {}
        except EngineError:  # the list is good: what runs is known, what it uses grows old
            return False
        for id_ in asked:
            if (reading := answers.get(id_)) is not None:
                self._known[id_] = _after(self._known[id_], reading)
        return True

    def _run_of(self, container: Container) -> _Known:
        """What is known of the container's present run: a restart resets its counters, and its memory is another's."""
        known = self._known.get(container.id)
        if known is None or known.started_wall_s != container.started_wall_s:
            return _Known(container.started_wall_s)
        return known


def _after(known: _Known, reading: RawStats) -> _Known:
    rate = rates.advance(known.rate, reading)
    usage = Usage(
        at_s=reading.at_s,
        working_set_bytes=reading.working_set_bytes,
        footprint_bytes=reading.footprint_bytes,
        cpu_cores=rate.cores,
        strain=reading.strain,
    )
    return _Known(known.started_wall_s, rate, usage)
