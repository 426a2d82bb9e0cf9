"""What the readings of a platform come to: the status of every service, the use of every phase, and the sums of them all.

None of it changes while its inputs are the same objects and no reading in it has grown too old, so the tally of the tick
before is taken again where it still holds: most ticks are like that, and on a large host this is most of their work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardian.config.schema import Config
from guardian.ledger.entries import Entry, EntryState
from guardian.model import TARGET_PHASE, UNKNOWN_STRAIN, PhaseUse, ServiceKey, ServiceState, ServiceStatus, Strain, Usage
from guardian.policy.budgets import phase_uses
from guardian.policy.platform import Platform, Service

ROUNDS = 2.0  # a reading counts up to this old
_ON_THE_BOOKS = (EntryState.SENT, EntryState.SHED, EntryState.RESTORING)


@dataclass(frozen=True, slots=True)
class Sum:
    """Of one figure over all managed containers: bytes, or cores."""

    total: float | None  # None where that of one is unknown for over two rounds
    known: float  # of what is known
    at_s: float  # of the oldest reading in it


@dataclass(frozen=True, slots=True)
class Basis:
    """All that a tally depends on, beside the time."""

    platform: Platform
    config: Config
    entries: tuple[Entry, ...]
    pins: frozenset[ServiceKey]
    quarantined: frozenset[ServiceKey]
    cpus: float | None  # what CPU budgets are shares of
    storage: Mapping[ServiceKey, int | None] | None = None  # bytes by service; None: never measured

    def same(self, other: Basis) -> bool:
        """Platforms and files are large: an equal one that is another object counts as another."""
        return (
            self.platform is other.platform
            and self.config is other.config
            and self.entries == other.entries
            and self.pins == other.pins
            and self.quarantined == other.quarantined
            and self.cpus == other.cpus
            and self.storage is other.storage
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """`memory` and `cores` are None where the file sets no capacity that they would be compared with, or nothing was read."""

    of: Basis
    at_s: float
    oldest_s: float | None  # of the readings that counted; None: there was none
    services: tuple[ServiceStatus, ...]
    phases: tuple[PhaseUse, ...]
    memory: Sum | None
    cores: Sum | None

    def holds(self, basis: Basis, now_s: float) -> bool:
        """Whether it is the tally of `basis` now: what counted still counts, and what was too old stays so."""
        if now_s < self.at_s or not self.of.same(basis):
            return False
        return self.oldest_s is None or now_s - self.oldest_s <= basis.platform.fresh_for_s(ROUNDS)


def tally(before: Tally | None, basis: Basis, now_s: float) -> Tally:
    """Of `basis` at `now_s`; `before` where that still holds."""
    if before is not None and before.holds(basis, now_s):
        return before
    platform, config = basis.platform, basis.config
    limit_s = platform.fresh_for_s(ROUNDS)
    fresh = {id_: usage for id_, usage in platform.usage.items() if now_s - usage.at_s <= limit_s}
    services = _statuses(basis, fresh)
    return Tally(
        of=basis,
        at_s=now_s,
        oldest_s=min((usage.at_s for usage in fresh.values()), default=None),
        services=services,
        phases=phase_uses(config, services, basis.cpus, basis.storage, known=platform.read_s is not None),
        memory=None if config.host.memory is None else _sum(platform, fresh, "footprint_bytes"),
        cores=None if config.host.cpu is None else _sum(platform, fresh, "cpu_cores"),
    )


def _sum(platform: Platform, fresh: Mapping[str, Usage], field: str) -> Sum | None:
    if platform.read_s is None:
        return None
    known, complete = 0.0, True
    oldest: float | None = None
    for service in platform.services.values():
        for container in service.holding:
            usage = fresh.get(container.id)
            value = None if usage is None else getattr(usage, field)
            if usage is None or value is None:
                complete = False
            else:
                known += value
                oldest = usage.at_s if oldest is None else min(oldest, usage.at_s)
    return Sum(known if complete else None, known, platform.read_s if oldest is None else oldest)


def _statuses(basis: Basis, fresh: Mapping[str, Usage]) -> tuple[ServiceStatus, ...]:
    """Every managed service as people see it."""
    booked = {entry.service: entry for entry in basis.entries if entry.state in _ON_THE_BOOKS}
    return tuple(
        [
            _status(service, booked.get(key), key in basis.quarantined, key in basis.pins, fresh)
            for key, service in basis.platform.services.items()
        ]
    )


def _status(
    service: Service, entry: Entry | None, quarantined: bool, pinned: bool, fresh: Mapping[str, Usage]
) -> ServiceStatus:
    up = bool(service.up)
    if up:
        state = ServiceState.UNHEALTHY if service.healthy is False else ServiceState.RUNNING
    elif entry is not None and entry.returning:
        state, entry = ServiceState.UNHEALTHY, None
    elif entry is not None:
        state = ServiceState.QUARANTINED if quarantined else ServiceState.SHED
    else:
        nothing = ServiceState.COMPLETED if service.completed else ServiceState.MISSING
        state = ServiceState.STOPPED if service.containers else nothing
    # A sum is unknown as soon as one part is. Where no process is left (all wait for a restart), nothing was measured.
    working_set: int | None = 0 if service.holding else None
    footprint: int | None = 0 if up else None
    cores: float | None = 0.0 if service.holding else None
    strain: Strain | None = None
    for container in service.holding:
        usage = fresh.get(container.id)
        if usage is None:
            working_set = footprint = cores = None
            continue
        working_set = None if working_set is None or usage.working_set_bytes is None else working_set + usage.working_set_bytes
        footprint = None if footprint is None or usage.footprint_bytes is None else footprint + usage.footprint_bytes
        cores = None if cores is None or usage.cpu_cores is None else cores + usage.cpu_cores
        strain = usage.strain if strain is None else _worse(strain, usage.strain)
    return ServiceStatus(
        key=service.key,
        phase=service.phase,
        state=state,
        containers=service.names,
        running=len(service.up),
        protected=service.protected,
        protect=service.protect,
        pinned=pinned,
        enforced=service.enforced,
        healthy=service.healthy,
        working_set_bytes=working_set,
        footprint_bytes=footprint,
        cpu_cores=cores,
        memory_limit_bytes=service.memory_limit_bytes,
        restarts=service.restarts,
        strain=strain or UNKNOWN_STRAIN,
        shed_wall_s=None
        if entry is None or up or entry.reason == TARGET_PHASE
        else (entry.settled_wall_s or entry.sent_wall_s or entry.decided_wall_s),
    )


def _worse(one: Strain, other: Strain) -> Strain:
    """Of two replicas: counts together, as far as they are known, and the higher pressure."""
    return Strain(
        oom_kills=_known_sum(one.oom_kills, other.oom_kills),
        pids=_known_sum(one.pids, other.pids),
        cpu_periods=_known_sum(one.cpu_periods, other.cpu_periods),
        cpu_throttled_periods=_known_sum(one.cpu_throttled_periods, other.cpu_throttled_periods),
        memory_some_avg10_ratio=_known_max(one.memory_some_avg10_ratio, other.memory_some_avg10_ratio),
        memory_full_avg10_ratio=_known_max(one.memory_full_avg10_ratio, other.memory_full_avg10_ratio),
        cpu_some_avg10_ratio=_known_max(one.cpu_some_avg10_ratio, other.cpu_some_avg10_ratio),
        cpu_full_avg10_ratio=_known_max(one.cpu_full_avg10_ratio, other.cpu_full_avg10_ratio),
    )


def _known_sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _known_max(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
