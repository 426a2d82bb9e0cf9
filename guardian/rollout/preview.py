"""What `guardian rollout --plan` shows: each phase, and whether there is room for it as things are now."""

from __future__ import annotations

from typing import Any

from guardian.model import CPU_SIGNALS
from guardian.policy.room import Room
from guardian.rollout.admission import Admission
from guardian.rollout.gates import Amount, is_up, needed, see
from guardian.rollout.open import Ready
from guardian.rollout.plan import Member
from guardian.rollout.progress import Progress


def preview(admission: Admission, ready: Ready, progress: Progress) -> dict[str, Any]:
    """Plain values: bytes and cores; null is unknown. `room` of a phase counts all phases before it as started."""
    plan, look = ready.plan, ready.look
    containers = look.by_service()
    seen = {key: see(found, key in admission.standing.owed) for key, found in containers.items()}

    def up(one: Member) -> bool:
        found = seen.get(one.key)
        return found is not None and is_up(one, found, False, 0.0, look.at_s)

    doomed = [
        one
        for phase in reversed(plan.phases)
        for one in reversed(phase.members)
        if (progress.from_zero or (progress.down and phase.phase > progress.goal)) and one.key in seen and seen[one.key].running
    ]
    stopped = frozenset(one.key for one in doomed)
    services = look.platform.services
    use = {
        str(key): Amount(look.platform.footprint(one, look.at_s, 2), look.platform.cores(one, look.at_s, 2))
        for key, one in services.items()
        if one.up
    }
    phases: list[dict[str, Any]] = []
    before = Amount(0.0, 0.0)
    for phase in plan.phases:
        if progress.down or phase.phase > progress.goal:
            continue
        due = [one for one in phase.members if one.key in stopped or not up(one)]
        amount = needed(phase, due, {} if progress.from_zero else use)
        verdict = admission.ask([one.key for one in phase.members if one.managed], Amount(0.0, 0.0), look, plan_only=True)
        before = Amount(_plus(before.memory_bytes, amount.memory_bytes), _plus(before.cores, amount.cores))
        rooms = [Room(one.signal, _of(before, one), _freed(one, doomed, use)) for one in verdict.rooms]
        phases.append(
            {
                "phase": phase.phase,
                "name": phase.name,
                "memory_bytes": amount.memory_bytes,
                "cores": amount.cores,
                "fits": all(one.fits for one in rooms) if due else True,
                "room": _words(rooms) if due else "all of it is up",
                "services": [
                    {
                        "service": str(one.key),
                        "does": _does(one, one not in due, bool(seen.get(one.key) and seen[one.key].containers)),
                        "after": [{"service": str(need.service), "condition": need.condition.value} for need in one.needs],
                        "memory_bytes": one.expected.memory_bytes,
                        "cores": one.expected.cores,
                        "measured": one.expected.measured,
                    }
                    for one in phase.members
                ],
            }
        )
    return {
        "goal": progress.goal,
        "down": progress.down,
        "from_zero": progress.from_zero,
        "stops": [str(one.key) for one in doomed],
        "phases": phases,
    }


def _does(one: Member, up: bool, exists: bool) -> str:
    early = f", for {one.needed_by.name}" if one.needed_by is not None else ""
    return f"{'is up' if up else 'start' if exists else 'create, start'}{early}"


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _of(amount: Amount, room: Room) -> float:
    return (amount.cores if room.signal in CPU_SIGNALS else amount.memory_bytes) or 0.0


def _freed(room: Room, doomed: list[Member], use: dict[str, Amount]) -> float | None:
    """The room that is left once these were stopped."""
    if room.room is None:
        return None
    freed = [use[str(one.key)] for one in doomed if str(one.key) in use]
    return room.room + sum(_of(one, room) for one in freed)


def _words(rooms: list[Room]) -> str:
    lacking = [f"{room}, {room.missing} missing" if room.missing else str(room) for room in rooms if not room.fits]
    return "; ".join(lacking) if lacking else "there is room"
