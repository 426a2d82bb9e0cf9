"""What services have needed: the basis for admitting a restore."""

from __future__ import annotations

from dataclasses import replace

from guardian.model import ServiceKey
from guardian.policy.platform import Platform, Service
from guardian.policy.state import Memo, PolicyState

EVERY_S = 60.0
KEPT = 60  # one an EVERY_S: the last hour
EARLY_S = 60.0  # a restore's trial admits what the service used this long after its last start
PERCENTILE = 0.95


def remember(platform: Platform, state: PolicyState, now_s: float) -> PolicyState:
    """Add one figure a minute for each running service, and note what it used a minute after its start."""
    if state.demand_s is not None and now_s - state.demand_s < EVERY_S:
        return state
    demand = dict(state.demand)
    noted: dict[ServiceKey, Memo] = {}
    for key, service in platform.services.items():
        if not service.up:
            continue
        footprint, cores = platform.footprint(service, now_s), platform.cores(service, now_s)
        if footprint is not None:
            demand[key] = (*demand.get(key, ())[-(KEPT - 1) :], (footprint, cores))
        early = _early(service, state.memo(key), footprint, cores, now_s)
        if early is not None:
            noted[key] = early
    for gone in demand.keys() - platform.services.keys():
        del demand[gone]
    return replace(state, demand=demand, memos={**state.memos, **noted} if noted else state.memos, demand_s=now_s)


def _early(service: Service, memo: Memo, footprint: int | None, cores: float | None, now_s: float) -> Memo | None:
    """The first figure at least EARLY_S after the newest start, once for each start."""
    starts = [container.started_s for container in service.up if container.started_s is not None]
    if footprint is None or not starts or memo.early_of_s == max(starts) or not EARLY_S <= now_s - max(starts) <= 3 * EARLY_S:
        return None
    return replace(memo, early_bytes=footprint, early_cores=cores, early_of_s=max(starts))


def expected(service: Service, platform: Platform, state: PolicyState, now_s: float) -> tuple[int | None, float | None]:
    """What a restore will need, in bytes and cores: the 95th percentile of the last hour, at most the limit.

    A service watched for less than a minute has only its present use; None where nothing is known.
    """
    past = state.demand.get(service.key, ())
    past_cores = [cores for _, cores in past if cores is not None]
    memory = percentile([row[0] for row in past], PERCENTILE) if past else platform.footprint(service, now_s)
    cpu = percentile(past_cores, PERCENTILE) if past_cores else platform.cores(service, now_s)
    if memory is not None and service.memory_limit_bytes is not None:
        memory = min(memory, service.memory_limit_bytes)
    if cpu is not None and service.cpu_limit_cores is not None:
        cpu = min(cpu, service.cpu_limit_cores)
    return None if memory is None else int(memory), cpu


def percentile(values: list[float] | list[int], part: float) -> float:
    """Nearest rank: the smallest value that at least `part` of all values do not exceed. `values` is not empty."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * part // 1))  # ceiling
    return float(ordered[min(len(ordered), int(rank)) - 1])
