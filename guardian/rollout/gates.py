"""What has to be so before a roll-out goes on: conditions, health, room for a phase, and its budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guardian.compose.model import Condition
from guardian.model import Container, ContainerState, Health, PhaseUse
from guardian.rollout.plan import Member, Need, PhasePlan
from guardian.units import format_bytes, format_cores, format_seconds

MAX_RESTARTS = 3  # a service that its restart policy has started again so often, since its start, does not come up


@dataclass(frozen=True, slots=True)
class Seen:
    """One service as the engine shows it: all its replicas together. Times are monotonic seconds."""

    containers: int = 0
    running: int = 0
    alive: int = 0  # that run, are paused, or wait to be started again by their restart policy
    health: Health = Health.NONE  # the worst of those that run; NONE: no health check
    completed: bool = False  # every replica has ended well, as a one-shot does
    exit_code: int | None = None  # of one that has ended
    started_s: float | None = None  # the newest start of those that run
    began_wall_s: float | None = None  # the newest start of any, also of one that has ended since
    restarts: int = 0
    owed: bool = False  # guardian has shed it, and starts it again

    @property
    def up(self) -> bool:
        """Whether every replica runs."""
        return self.containers > 0 and self.running == self.containers


NOTHING = Seen()
_WORST = (Health.UNHEALTHY, Health.STARTING, Health.HEALTHY)


def see(containers: Iterable[Container], owed: bool = False) -> Seen:
    """Replicas of one service, with the health that guardian's own probes say too. Containers of `compose run` and Swarm tasks are none."""
    found = [one for one in containers if not one.oneoff and not one.swarm]
    running = [one for one in found if one.state is ContainerState.RUNNING]
    ended = [one for one in found if one.state in (ContainerState.EXITED, ContainerState.DEAD)]
    starts = [one.started_s for one in running if one.started_s is not None]
    healths = {one.health for one in running}
    begins = [one.started_wall_s for one in found if one.started_wall_s is not None]
    failed = [one.exit_code for one in ended if one.exit_code]
    return Seen(
        containers=len(found),
        running=len(running),
        alive=sum(1 for one in found if one.state.up),
        health=next((one for one in _WORST if one in healths), Health.NONE),
        completed=bool(found) and len(ended) == len(found) and all(one.exit_code == 0 for one in ended),
        exit_code=failed[0] if failed else 0 if ended else None,
        started_s=max(starts, default=None),
        began_wall_s=max(begins, default=None),
        restarts=sum(one.restarts for one in found),
        owed=owed,
    )


def is_up(member: Member, seen: Seen, ours: bool, stable_for_s: float, now_s: float) -> bool:
    """Whether the service is where a roll-out wants it. `ours`: its newest run was begun by this roll-out.

    Healthy, or without a health check up for `stable_for_s`; a one-shot has ended well. What ended well and is not known to
    be a one-shot counts only where the roll-out has begun that run: else somebody has stopped it.
    """
    if seen.completed and (member.one_shot or ours):
        return True
    if not seen.up or member.one_shot:
        return False
    if seen.health is not Health.NONE:
        return seen.health is Health.HEALTHY
    return seen.started_s is not None and now_s - seen.started_s >= stable_for_s


def unmet(need: Need, member: Member | None, seen: Seen, ours: bool, stable_for_s: float, now_s: float) -> str:
    """Why a service that has this need must wait, in words; empty: it need not. `member` is None for what no phase lists."""
    name = need.service.name
    if need.condition is Condition.COMPLETED:
        return "" if seen.completed else f"{name} has not completed"
    if need.condition is Condition.HEALTHY:
        up = is_up(member or Member(need.service, 0), seen, ours, stable_for_s, now_s)
        return "" if up else f"{name} is not healthy"
    met = seen.up or (seen.completed and (ours or (member is not None and member.one_shot)))
    if met:
        return ""
    return f"{name} does not run" if member is not None else f"{name} does not run, and no phase lists it: start it yourself"


def failed(member: Member, seen: Seen, restarts_before: int, since_s: float, within_s: float, now_s: float) -> str:
    """Why a service that was started `since_s` does not come up, in words; empty while it still may."""
    restarts = seen.restarts - restarts_before
    if restarts >= MAX_RESTARTS:
        code = "" if seen.exit_code is None else f", last with {seen.exit_code}"
        return f"it keeps ending{code}: started again {restarts} times"
    if not seen.running and seen.exit_code is not None:
        return f"it ended with {seen.exit_code}"
    if now_s - since_s < within_s:
        return ""
    limit = format_seconds(within_s)
    if member.one_shot:
        return f"it has not completed within {limit}"
    if not seen.up:
        return f"{seen.running} of {seen.containers} of its containers run after {limit}"
    return f"it is not healthy after {limit}: {seen.health.value}"


class Amount(NamedTuple):
    """Of memory in bytes and of CPU in cores; None: unknown."""

    memory_bytes: float | None
    cores: float | None


def needed(phase: PhasePlan, waiting: Iterable[Member], use: Mapping[str, Amount]) -> Amount:
    """What is still to come of a phase: as measured of those that wait, where all are; else what its part of the budget leaves.

    `use` is that of its members that run, by the name of the service. Without a budget it is the sum of what is known.
    """
    left = tuple(waiting)
    if not left:
        return Amount(0.0, 0.0)
    memory = [one.expected.memory_bytes for one in left]
    cores = [one.expected.cores for one in left]
    whole = all(one.expected.measured for one in left)
    used = [use[str(one.key)] for one in phase.members if one not in left and str(one.key) in use]

    def amount(values: list[float | None], part: float | None, used: list[float | None]) -> float | None:
        total = _sum(values)
        if whole or part is None:
            return total
        return max(0.0, part - sum(value or 0.0 for value in used))

    return Amount(
        amount(list(memory), phase.part_bytes, [one.memory_bytes for one in used]),
        amount(list(cores), phase.part_cores, [one.cores for one in used]),
    )


def _sum(values: list[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def over_budget(use: PhaseUse | None) -> str:
    """By how much phases 1..n use more than their budget, in words; empty where they do not, or where that is not known."""
    if use is None:
        return ""
    over = []
    if "memory" in use.over:
        over.append(f"memory: {format_bytes(use.memory_bytes)} of {format_bytes(use.memory_budget_bytes)}")
    if "cpu" in use.over:
        over.append(f"cpu: {format_cores(use.cpu_cores)} of {format_cores(use.cpu_budget_cores)}")
    return ", ".join(over)
