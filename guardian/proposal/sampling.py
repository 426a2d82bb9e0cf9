"""What services use, by a short look at an engine: for budgets and limits where nothing was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from guardian.clock import Clock
from guardian.engine.protocol import Engine
from guardian.errors import EngineError
from guardian.model import Container, ServiceKey, Usage
from guardian.policy.demand import percentile
from guardian.proposal.model import Use
from guardian.sense.containers import ContainerSensor

EVERY_S = 1.0
PERCENTILE = 0.95


@dataclass(slots=True)
class _Figures:
    memory_bytes: list[int] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    footprint_bytes: int | None = None


def sample(
    engine: Engine, containers: Sequence[Container], for_s: float, clock: Clock, pause: Callable[[float], object]
) -> Mapping[ServiceKey, Use]:
    """95th percentiles over `for_s` seconds, a reading each second where the engine is that fast; running services only.

    A service has a figure in a reading only where each of its running replicas has one. The first reading has no CPU. Raises
    EngineError where no reading could be had.
    """
    replicas: dict[ServiceKey, list[str]] = {}
    for one in containers:
        if one.state.up and not one.oneoff:
            replicas.setdefault(one.service, []).append(one.id)
    figures = {key: _Figures() for key in replicas}
    sensor = ContainerSensor(engine)
    sensor.follow(containers)
    ends_s = clock.monotonic() + for_s
    answered = False
    while True:
        began_s = clock.monotonic()
        if sensor.measure(containers):
            answered = True
            usage = sensor.usage
            for key, ids in replicas.items():
                _add(figures[key], [usage.get(id_) for id_ in ids], began_s)
        if clock.monotonic() >= ends_s:
            break
        pause(max(0.0, min(began_s + EVERY_S, ends_s) - clock.monotonic()))
    if replicas and not answered:
        raise EngineError("the engine did not tell what any container uses; try again once it is less busy")
    return {key: _use(found) for key, found in figures.items()}


def _add(figures: _Figures, usages: Sequence[Usage | None], since_s: float) -> None:
    """One reading of all replicas. Of one that gave no answer now the older reading does not count."""
    fresh = [usage for usage in usages if usage is not None and usage.at_s >= since_s]
    if len(fresh) < len(usages):
        return
    memory = [usage.working_set_bytes for usage in fresh]
    cores = [usage.cpu_cores for usage in fresh]
    footprint = [usage.footprint_bytes for usage in fresh]
    if None not in memory:
        figures.memory_bytes.append(sum(one for one in memory if one is not None))
    if None not in cores:
        figures.cores.append(sum(one for one in cores if one is not None))
    figures.footprint_bytes = None if None in footprint else sum(one for one in footprint if one is not None)


def _use(figures: _Figures) -> Use:
    return Use(
        samples=len(figures.memory_bytes),
        memory_bytes=int(percentile(figures.memory_bytes, PERCENTILE)) if figures.memory_bytes else None,
        cpu_cores=percentile(figures.cores, PERCENTILE) if figures.cores else None,
        footprint_bytes=figures.footprint_bytes,
    )
