"""What is remembered of a service, between the policy (monotonic time) and the ledger (wall time)."""

from __future__ import annotations

from guardian.ledger.entries import ServiceMemory
from guardian.model import ServiceKey
from guardian.policy.state import Memo


def to_ledger(service: ServiceKey, memo: Memo, now_s: float, now_wall_s: float) -> ServiceMemory:
    """Only what must outlive a restart. Whole seconds, so that the clocks' jitter does not look like a change."""

    def wall(at_s: float | None) -> float:
        return 0.0 if at_s is None else float(round(now_wall_s + at_s - now_s))

    return ServiceMemory(
        service=service,
        backoff_s=memo.backoff_s,
        not_before_wall_s=wall(memo.not_before_s),
        probation_until_wall_s=wall(memo.probation_until_s),
        flaps_wall_s=tuple(wall(at_s) for at_s in memo.flaps_s),
        quarantined=memo.quarantined,
        early_bytes=memo.early_bytes,
        early_cores=memo.early_cores,
    )


def from_ledger(memory: ServiceMemory, now_s: float, now_wall_s: float, longest_backoff_s: float) -> Memo:
    """After a restart. Nothing is further ahead than it can have been, whatever was done to the clock meanwhile."""

    def ahead(at_wall_s: float) -> float | None:
        return None if at_wall_s <= now_wall_s else now_s + min(at_wall_s - now_wall_s, longest_backoff_s)

    return Memo(
        backoff_s=memory.backoff_s,
        not_before_s=ahead(memory.not_before_wall_s),
        probation_until_s=ahead(memory.probation_until_wall_s),
        flaps_s=tuple(now_s - max(0.0, now_wall_s - at_wall_s) for at_wall_s in memory.flaps_wall_s),
        quarantined=memory.quarantined,
        early_bytes=memory.early_bytes,
        early_cores=memory.early_cores,
    )
