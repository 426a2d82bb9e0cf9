"""Whether a container runs under the limits that the file wants."""

from __future__ import annotations

from guardian.config.schema import ServiceConfig
from guardian.model import Container

SAME_CORES = 0.001  # a quota in microseconds is no exact fraction


def drifted(wanted: ServiceConfig, container: Container) -> dict[str, bool]:
    """For memory and cpu, where the file sets a limit: whether the container's is another, or none. Nothing where that is not known."""
    found: dict[str, bool] = {}
    if container.unknown:
        return found
    if wanted.limits.memory is not None:
        found["memory"] = container.memory_limit_bytes != wanted.limits.memory
    if wanted.limits.cpus is not None:
        found["cpu"] = not same_cores(container.cpu_limit_cores, wanted.limits.cpus)
    return found


def same_cores(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < SAME_CORES
