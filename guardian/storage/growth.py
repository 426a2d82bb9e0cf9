"""How fast something grows, by the readings that were kept, and when the disk is full at that rate. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from guardian.model import ServiceKey
from guardian.storage.values import Command, Growth, Reading, ServiceDisk, Storage

WINDOW_S = 7 * 86400.0
LEAST_READINGS = 3
LEAST_SPAN_S = 3600.0


def storage_of(readings: Sequence[Reading], commands: tuple[Command, ...] = ()) -> Storage | None:
    """The newest of `readings` (oldest first), with growth over the last seven days. None where there is none."""
    if not readings:
        return None
    newest = readings[-1]
    recent = [one for one in readings if newest.at_wall_s - one.at_wall_s <= WINDOW_S]
    points: dict[ServiceKey, list[tuple[float, int]]] = {}
    for one in recent:
        for service, disk in one.services.items():
            if disk.total_bytes is not None:
                points.setdefault(service, []).append((one.at_wall_s, disk.total_bytes))
    growth = tuple(Growth(service, disk, slope(points.get(service, ()))) for service, disk in sorted(newest.services.items()))
    used = slope([(one.at_wall_s, one.used_bytes) for one in recent if one.used_bytes is not None])
    return Storage(newest, growth, used is not None, _full_in_s(newest, used), commands, _totals(newest.services))


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Units per second: the median of the slopes between any two points, which one jump (a prune, a dump) does not turn.

    The estimator of Theil (1950) and Sen (1968). None for fewer than three points, or within less than an hour.
    """
    if len(points) < LEAST_READINGS or points[-1][0] - points[0][0] < LEAST_SPAN_S:
        return None
    slopes = [
        (later - earlier) / (then_s - at_s)
        for index, (at_s, earlier) in enumerate(points)
        for then_s, later in points[index + 1 :]
        if then_s > at_s
    ]
    return median(slopes) if slopes else None


def _full_in_s(newest: Reading, bytes_per_s: float | None) -> float | None:
    if bytes_per_s is None or bytes_per_s <= 0 or newest.used_bytes is None or newest.size_bytes is None:
        return None
    return max(0, newest.size_bytes - newest.used_bytes) / bytes_per_s


def _totals(services: Mapping[ServiceKey, ServiceDisk]) -> Mapping[ServiceKey, int | None]:
    return {service: disk.total_bytes for service, disk in services.items()}
