"""What each container uses, from the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from guardian.engine.protocol import Engine, RawStats
from guardian.errors import EngineError
from guardian.model import Container, ContainerState, Usage
from guardian.sense import rates

# A paused container keeps its memory. One that waits for its restart gives stats without keys, so it is not asked.
MEASURED = (ContainerState.RUNNING, ContainerState.PAUSED)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of one run of one container."""

    started_wall_s: float | None
    rate: rates.CpuRate | None = None
    usage: Usage | None = None


class ContainerSensor:
    """Takes one round of readings at a time. Not thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, _Known] = {}

    @property
    def usage(self) -> Mapping[str, Usage]:
        """The newest of each container that was `up` at the last call, by id; of its present run."""
        return {id_: known.usage for id_, known in self._known.items() if known.usage}

    def follow(self, containers: Iterable[Container]) -> None:
        """Forget what is none of these containers, or is of an earlier run: then counters and memory are another's."""
        self._known = {container.id: self._run_of(container) for container in containers if container.state.up}

    def measure(self, containers: Iterable[Container], skip: Collection[str] = ()) -> bool:
        """Ask for the use of those that run. Blocks up to the engine's deadline.

        A container that gave no answer keeps its last usage, with its old date. `skip`: ids that are measured elsewhere.
        False where none could be measured because the engine failed. Only for containers that `follow` was given.
        """
        asked = [container.id for container in containers if container.state in MEASURED and container.id not in skip]
        try:
            answers = self._engine.stats(asked) if asked else {}
        except EngineError:  # what runs is known all the same; what it uses grows old
            return False
        for id_ in asked:
            if (reading := answers.get(id_)) is not None:
                self._known[id_] = _after(self._known[id_], reading)
        return True

    def _run_of(self, container: Container) -> _Known:
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
