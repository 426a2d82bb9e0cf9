"""What to start again, and what not yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from guardian.config.schema import Config
from guardian.ledger.entries import Entry, EntryState, Means
from guardian.model import TARGET_PHASE, ActionKind, Assessment, ContainerState, Health, Held, ServiceKey, Signal
from guardian.policy.platform import Platform
from guardian.policy.room import rooms
from guardian.policy.state import Memo, PolicyState, Rising, Virtual
from guardian.policy.target import is_above

TRIAL_AFTER_S = 1800.0  # refused for this long: one trial at what it used a minute after its last start
HEALTHY_WITHIN_S = 180.0  # a restore that is not healthy by then is left as it is, and the next is taken
DAY_S = 86400.0
OPERATOR = "operator"
OWN_REASONS = frozenset({"no_room", "cannot_fit", "dependency", "backoff", "retry_later", "missing", "quarantined"})
"""Reasons to wait that are a service's own; all others hold for every service alike."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One service that was shed and waits. In observe mode it never stopped: `observed`."""

    service: ServiceKey
    phase: int
    containers: tuple[str, ...]
    reason: str
    expected_bytes: int | None
    expected_cores: float | None
    observed: bool = False


def waiting(entries: Iterable[Entry], virtual: tuple[Virtual, ...], platform: Platform) -> list[Waiting]:
    """All that guardian stopped and has not given back; in observe mode, what it would have stopped."""
    found = []
    for entry in entries:
        if entry.state is not EntryState.SHED or entry.means is Means.THROTTLE or entry.returned_wall_s is not None:
            continue
        ids = tuple(one.id for one in entry.containers if one.stopped)
        service = platform.services.get(entry.service)
        phase = entry.phase if service is None else service.phase
        found.append(Waiting(entry.service, phase, ids, entry.reason, entry.expected_bytes, entry.expected_cores))
    found.extend(Waiting(one.service, one.phase, one.containers, "observed", None, None, observed=True) for one in virtual)
    return found


def in_order(found: list[Waiting], platform: Platform) -> list[Waiting]:
    """Lowest phase first; a dependency before its dependents; the highest priority first; then by name."""
    others = {one.service for one in found}

    def key(one: Waiting) -> tuple[float, float, float, ServiceKey]:
        service = platform.services.get(one.service)
        if service is None:
            return one.phase, -1e9, 0, one.service
        waits = not others.isdisjoint(service.requires | service.depends_on)  # something of these must be up before it
        depth = -platform.stop_order.get(one.service, 0)
        return one.phase, depth if waits else -1e9, -service.priority, one.service

    return sorted(found, key=key)


def admit(
    one: Waiting, assessment: Assessment, platform: Platform, state: PolicyState, config: Config, now_s: float, trial: bool
) -> str:
    """Why there is no room for it, in words; empty: it fits.

    `use + expected use < soft − margin` for each memory and CPU signal. Use includes what services on probation are
    still expected to grow to, and leaves out what observe mode only pretends to have stopped.
    """
    memo = state.memo(one.service)
    expected_bytes: float | None = memo.early_bytes if trial and memo.early_bytes is not None else one.expected_bytes
    expected_cores = memo.early_cores if trial and memo.early_cores is not None else one.expected_cores
    service = platform.services.get(one.service)
    if expected_bytes is None and service is not None:
        expected_bytes = service.memory_limit_bytes or service.memory_share_bytes
    if expected_cores is None and service is not None:
        expected_cores = service.cpu_limit_cores or service.cpu_share_cores
    if one.observed:  # it runs: what it uses is in the readings
        expected_bytes = expected_cores = 0.0
    found = rooms(expected_bytes, expected_cores, assessment, platform, state, config, now_s, growing=not one.observed)
    return next((str(room) for room in found if not room.fits), "")


@dataclass(frozen=True, slots=True)
class Choice:
    """The next restore, if any; why each other waits; and the memos with their refusals noted."""

    take: Waiting | None
    held: tuple[Held, ...]
    memos: Mapping[ServiceKey, Memo]


def choose(
    found: list[Waiting], assessment: Assessment, platform: Platform, state: PolicyState, config: Config, now_s: float
) -> Choice:
    """Take the first that may start. One that does not fit holds back later phases, not its peers that fit."""
    memos = dict(state.memos)
    held: list[Held] = []
    take: Waiting | None = None
    full_phase: int | None = None
    by_key = {one.service: one for one in found}
    for one in in_order(found, platform):
        memo = memos.get(one.service, Memo())
        why, detail = _not_yet(one, by_key, memos, platform, config, now_s)
        if not why and take is not None:
            why = "one_at_a_time"
        if not why and full_phase is not None and one.phase > full_phase:
            why, detail = "earlier_phase_waits", f"a service of phase {full_phase} does not fit yet"
        if not why:
            refused_s = None if memo.refused_since_s is None else now_s - memo.refused_since_s
            trial = refused_s is not None and refused_s >= TRIAL_AFTER_S
            detail = admit(one, assessment, platform, state, config, now_s, trial)
            if not detail:
                take = one
                memos[one.service] = replace(memo, refused_since_s=None)
                continue
            why = "cannot_fit" if trial else "no_room"
            if not trial and full_phase is None:  # what may never fit holds nobody back for ever
                full_phase = one.phase
            if memo.refused_since_s is None:
                memos[one.service] = replace(memo, refused_since_s=now_s)
        held.append(Held(ActionKind.RESTORE, why, one.service, detail))
    return Choice(take, tuple(held), memos)


def _will_come(one: Waiting, memos: Mapping[ServiceKey, Memo], config: Config, now_s: float) -> bool:
    """Whether a dependency is worth waiting for: `depends_on` is only an order, and what it names may never come."""
    memo = memos.get(one.service, Memo())
    refused = memo.refused_since_s is not None and now_s - memo.refused_since_s >= TRIAL_AFTER_S
    never = one.reason == OPERATOR or is_above(one.phase, config)
    return not (never or memo.quarantined or refused or memo.failures)


def _not_yet(
    one: Waiting,
    found: Mapping[ServiceKey, Waiting],
    memos: Mapping[ServiceKey, Memo],
    platform: Platform,
    config: Config,
    now_s: float,
) -> tuple[str, str]:
    """Reasons that have nothing to do with room."""
    memo = memos.get(one.service, Memo())
    if is_above(one.phase, config):
        return TARGET_PHASE, f"it is above target_phase {config.target_phase}"
    if one.reason == OPERATOR:
        return "operator", "an operator stopped it: `guardian restore` starts it"
    if memo.quarantined:
        return "quarantined", "it kept bringing the pressure back: `guardian restore` starts it"
    if memo.not_before_s is not None and now_s < memo.not_before_s:
        return "backoff", f"{memo.not_before_s - now_s:.0f} s to go"
    if memo.retry_at_s is not None and now_s < memo.retry_at_s:
        return "retry_later", f"its last start failed; {memo.retry_at_s - now_s:.0f} s to go"
    if not one.observed and not any(container_id in platform.containers for container_id in one.containers):
        how = f", as by `docker compose up --no-start {one.service.name}`" if one.service.project else ""
        return "missing", f"its container was removed while it was shed: create it again{how}, and it is restored"
    service = platform.services.get(one.service)
    if service is not None and not one.observed:
        position = platform.stop_order.get(one.service, 0)
        for needed in sorted(service.requires | service.depends_on):
            comes_first = platform.stop_order.get(needed, 0) > position  # false only inside a cycle
            if (
                comes_first
                and needed in found
                and (needed in service.requires or _will_come(found[needed], memos, config, now_s))
            ):
                return "dependency", f"{needed} comes first"
    return "", ""


def rise(rising: Rising, containers: tuple[str, ...], platform: Platform, config: Config, now_s: float) -> tuple[str, Rising]:
    """How a restore is doing: `up` (or it has done its work and ended), `fell`, `late` (runs, not healthy in time) or empty: wait."""
    there = [platform.containers[container_id] for container_id in containers if container_id in platform.containers]
    newer = platform.read_s is not None and platform.read_s > rising.since_s
    if not newer:
        return "", rising
    at_work = [one for one in there if one.id not in platform.completed]
    down = [one for one in at_work if one.state not in (ContainerState.RUNNING, ContainerState.RESTARTING)]
    in_time = now_s - rising.since_s < HEALTHY_WITHIN_S
    if not there or any(not (one.unread and in_time) for one in down):  # unread: whether it has completed is not known yet
        return "fell", rising
    if not at_work:
        return "up", rising
    there = at_work
    healths = {one.health for one in there} - {Health.NONE}
    running = all(one.state is ContainerState.RUNNING for one in there)
    if not running:
        rising = replace(rising, up_since_s=None)
    elif rising.up_since_s is None:
        rising = replace(rising, up_since_s=now_s)
    stable = rising.up_since_s is not None and now_s - rising.up_since_s >= config.restoring.stable_for
    if (healths == {Health.HEALTHY} and running) or (not healths and stable):
        return "up", rising
    return ("" if in_time else "late"), rising


def after_shed(
    memo: Memo, signal: Signal, used: float | None, own: float | None, config: Config, decided_s: float, now_s: float
) -> Memo:
    """What a shed by pressure means for the next restore: waits twice as long if it came on probation, and may be a flap.

    A flap counts only if the service's own use made at least half of the rise since it was restored. `used` is the
    amount of `signal`, which shed it, and `own` the service's part of it, both when it was decided at `decided_s`. Only
    an operator starts what is quarantined: what runs is not.
    """
    cleared = replace(
        memo, restored_bytes=None, restored_cores=None, refused_since_s=None, failures=0, retry_at_s=None, quarantined=False
    )
    if memo.probation_until_s is None or decided_s >= memo.probation_until_s:
        return replace(cleared, backoff_s=0.0, not_before_s=None, probation_until_s=None)
    backoff = min(config.restoring.backoff.max, 2 * memo.backoff_s) if memo.backoff_s else float(config.restoring.backoff.min)
    flaps = tuple(at_s for at_s in memo.flaps_s if now_s - at_s < DAY_S)
    base = memo.base_bytes.get(signal)
    flapped = base is not None and used is not None and own is not None and used > base and own >= (used - base) / 2
    if flapped:
        flaps = (*flaps, now_s)
    return replace(
        cleared,
        backoff_s=backoff,
        not_before_s=now_s + backoff,
        probation_until_s=None,
        flaps_s=flaps,
        quarantined=flapped and len(flaps) >= config.restoring.max_flaps,
    )
