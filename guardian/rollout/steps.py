"""One step of a roll-out: from what is remembered and what is seen to what is to be done next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

from guardian.model import PhaseUse, ServiceKey
from guardian.policy.room import Verdict
from guardian.rollout.gates import NOTHING, Amount, Seen, failed, is_up, needed, over_budget, unmet
from guardian.rollout.plan import Member, Plan
from guardian.rollout.progress import Failure, Progress, Stage
from guardian.units import format_bytes, format_cores

READ_WITHIN_S = 15.0  # a use that is not known by then is compared with no budget


class EventKind(StrEnum):
    """What is told of a roll-out as it goes. The words are those of `--json`."""

    PHASE = "phase"  # begins
    HELD = "held"  # a start waits, and why
    CREATE = "create"
    START = "start"
    UP = "up"
    STOP = "stop"
    KEPT = "kept"  # is not stopped, and why
    SOAK = "soak"  # all are up
    PASSED = "passed"  # every gate of the phase
    UNDO = "undo"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventKind
    phase: int
    service: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What is seen now. Times are monotonic seconds."""

    now_s: float
    seen: Mapping[ServiceKey, Seen] = field(default_factory=dict)  # by service, what no phase lists too
    phases: tuple[PhaseUse, ...] = ()
    use: Mapping[str, Amount] = field(default_factory=dict)  # of what runs, by the name of the service
    kept: Mapping[ServiceKey, str] = field(default_factory=dict)  # what must not be stopped, and why
    busy: frozenset[ServiceKey] = frozenset()  # is being started or stopped right now
    refused: Mapping[ServiceKey, str] = field(default_factory=dict)  # starts and stops that failed since the last step
    held: Mapping[ServiceKey | None, Verdict] = field(default_factory=dict)  # why starts were not admitted; None: the phase
    admitted: bool = False  # the phase as a whole was
    stable_for_s: float = 15.0
    began_wall_s: float = 0.0  # when this process took the roll-out on

    def of(self, key: ServiceKey) -> Seen:
        return self.seen.get(key, NOTHING)


@dataclass(frozen=True, slots=True)
class Rising:
    """A service that was started and is not up yet."""

    since_s: float
    restarts: int = 0  # that it had before


@dataclass(frozen=True, slots=True)
class Memory:
    """What one process remembers from step to step; nothing of it must outlive that."""

    rising: Mapping[ServiceKey, Rising] = field(default_factory=dict)
    up: frozenset[ServiceKey] = frozenset()  # of this phase, as told
    held_since_s: float | None = None
    held_why: str = ""  # as told last
    stage_since_s: float | None = None
    kept: frozenset[ServiceKey] = frozenset()  # as told


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done now. `starts` are asked for one by one, in this order, as there is room; `room` is of the whole phase."""

    stops: tuple[ServiceKey, ...] = ()
    create: tuple[Member, ...] = ()
    starts: tuple[Member, ...] = ()
    room: Amount | None = None
    waits: tuple[str, ...] = ()  # what is waited for, in words
    events: tuple[Event, ...] = ()


def again(progress: Progress) -> Progress:
    """The same roll-out, ready to be gone on with: a failure is forgotten, and its phase tried again."""
    stage = progress.stage
    if stage is not Stage.DONE:
        stage = Stage.CLEAR if progress.phase == 0 else Stage.ROOM
    return msgspec.structs.replace(progress, stage=stage, failure=None, ended_wall_s=None)


def started(memory: Memory, member: Member, now_s: float) -> Memory:
    """The start of this one is sent now. The engine then counts its restarts anew."""
    return replace(memory, rising={**memory.rising, member.key: Rising(now_s)})


def unanswered(memory: Memory, key: ServiceKey) -> Memory:
    """Nobody said whether it was started: if it runs, it is on its way; else it may be started again."""
    return replace(memory, rising={other: one for other, one in memory.rising.items() if other != key})


def step(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """One step, at `view.now_s`. Whoever calls it writes the progress down before it does what the turn says."""
    if memory.stage_since_s is None:
        memory = replace(memory, stage_since_s=view.now_s)
    turn, after, memory = _STEPS[progress.stage](plan, progress, memory, view)
    if (after.stage, after.phase) != (progress.stage, progress.phase):
        memory = replace(memory, stage_since_s=view.now_s, held_since_s=None, held_why="")
    return turn, after, memory


def _clear(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """Stop what is not to run: all of it from zero, and on the way down what is above the goal; the highest phase first."""
    doomed = [
        one
        for phase in reversed(plan.phases)
        for one in phase.members
        if one.managed and (progress.from_zero or (progress.down and phase.phase > progress.goal))
    ]
    stopping, events, memory = _stopping(plan, doomed, progress, memory, view)
    if isinstance(stopping, Progress):
        return Turn(events=events), stopping, memory
    if stopping is not None:
        return replace(stopping, events=events), progress, memory
    if progress.down:
        done = msgspec.structs.replace(progress, stage=Stage.DONE, reached=progress.goal)
        return Turn(events=(*events, Event(EventKind.DONE, progress.goal))), done, memory
    return _next_phase(plan, progress, memory, view, events)


def _undo(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """Take down what this roll-out has started of the phase that failed."""
    members = plan.phase(progress.phase).members
    doomed = [one for one in members if one.managed and progress.has_started(one.key)]
    stopping, events, memory = _stopping(plan, doomed, progress, memory, view)
    if isinstance(stopping, Progress):
        failure = progress.failure or Failure(why="")
        why = f"{failure.why}; and it could not be taken down again: {stopping.failure.why if stopping.failure else ''}"
        lost = msgspec.structs.replace(stopping, failure=msgspec.structs.replace(failure, why=why))
        return Turn(events=events), lost, memory
    if stopping is not None:
        return replace(stopping, events=events), progress, memory
    after = msgspec.structs.replace(progress, stage=Stage.FAILED, started=())
    return Turn(events=(*events, Event(EventKind.UNDO, progress.phase, detail="taken down again"))), after, memory


def _stopping(
    plan: Plan, doomed: list[Member], progress: Progress, memory: Memory, view: View
) -> tuple[Turn | Progress | None, tuple[Event, ...], Memory]:
    """The next stops; None once none of it runs; or the progress that has failed."""
    events: list[Event] = []
    for key in view.kept.keys() - memory.kept:
        one = plan.member(key)
        if one in doomed and view.of(key).running:
            events.append(Event(EventKind.KEPT, one.phase if one else 0, str(key), view.kept[key]))
    memory = replace(memory, kept=memory.kept | view.kept.keys())
    for key, why in view.refused.items():
        failure = Failure(service=str(key), why=why)
        return msgspec.structs.replace(progress, stage=Stage.FAILED, failure=failure), tuple(events), memory
    running = [one for one in doomed if view.of(one.key).running and one.key not in view.kept]
    if not running and not any(one.key in view.busy for one in doomed):
        return None, tuple(events), memory
    left = {one.key for one in running} | view.busy
    free = [one for one in running if one.key not in view.busy and not plan.dependents(one.key) & left]
    if not free and not view.busy:  # a cycle: whoever is first
        free = running[:1]
    highest = max((one.phase for one in free), default=0)
    stops = [one for one in free if one.phase == highest]
    events.extend(Event(EventKind.STOP, one.phase, str(one.key)) for one in stops)
    waits = tuple(f"{key.name} to stop" for key in sorted(view.busy))
    return Turn(stops=tuple(one.key for one in stops), waits=waits), tuple(events), memory


def _next_phase(
    plan: Plan, progress: Progress, memory: Memory, view: View, events: tuple[Event, ...] = ()
) -> tuple[Turn, Progress, Memory]:
    number = plan.after(progress.reached, progress.goal)
    if number is None:
        return _done(plan, progress, memory, events)
    phase = plan.phase(number)
    up = sum(1 for one in phase.members if _is_up(one, progress, view))
    told = Event(EventKind.PHASE, number, detail=f"{phase.name}: {_services(len(phase.members))}, {up} of them up")
    after = msgspec.structs.replace(progress, stage=Stage.ROOM, phase=number, started=())
    return Turn(events=(*events, told)), after, replace(memory, rising={}, up=frozenset())


def _done(plan: Plan, progress: Progress, memory: Memory, events: tuple[Event, ...]) -> tuple[Turn, Progress, Memory]:
    services = sum(len(phase.members) for phase in plan.phases if phase.phase <= progress.goal)
    told = Event(EventKind.DONE, progress.goal, detail=f"phases 1 to {progress.goal} are up: {_services(services)}")
    return Turn(events=(*events, told)), msgspec.structs.replace(progress, stage=Stage.DONE), memory


def _services(count: int) -> str:
    return f"{count} service{'' if count == 1 else 's'}"


def _room(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """Wait for room for all that is still to be started of the phase; then make what does not exist."""
    if progress.phase == 0:
        return _next_phase(plan, progress, memory, view)
    phase = plan.phase(progress.phase)
    waiting = [one for one in phase.members if not _is_up(one, progress, view)]
    if not waiting and not progress.started:
        return _passed(plan, progress, memory, view)  # all of it was up before
    due = [one for one in waiting if not view.of(one.key).alive]
    if due and not view.admitted:
        turn = Turn(room=needed(phase, due, view.use))
        return _held(progress, memory, view, turn, view.held.get(None), "")
    missing = tuple(one for one in waiting if not view.of(one.key).containers)
    events = tuple(Event(EventKind.CREATE, phase.phase, str(one.key)) for one in missing)
    return Turn(create=missing, events=events), msgspec.structs.replace(progress, stage=Stage.START), memory


def _start(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """Start what may be started, and see whether what was started comes up."""
    phase = plan.phase(progress.phase)
    events: list[Event] = []
    for key, why in view.refused.items():
        return _fail(progress, memory, key, why)
    memory, told = _risen(phase.members, progress, memory, view)
    events.extend(told)
    for key, rising in memory.rising.items():
        member = plan.member(key)
        if member is None or key in view.busy:
            continue
        seen = view.of(key)
        why = failed(member, seen, rising.restarts, rising.since_s, progress.settings.healthy_within_s, view.now_s)
        if why and not seen.owed:
            return _fail(progress, memory, key, why, tuple(events))
    waiting = [one for one in phase.members if one.key not in memory.up]
    if not waiting:
        if not progress.started:
            return _passed(plan, progress, memory, view, tuple(events))
        soak = Event(EventKind.SOAK, phase.phase, detail=f"all are up; they have to stay so for {progress.settings.soak_s:g}s")
        return Turn(events=(*events, soak)), msgspec.structs.replace(progress, stage=Stage.SOAK), memory
    starts, waits, why = _ready(plan, waiting, progress, memory, view)
    first = next((view.held[one.key] for one in starts if one.key in view.held), None)
    verdict = first or (Verdict("dependency", why) if why and not starts else None)
    busy = bool(memory.rising) or bool(view.busy)
    turn = Turn(starts=starts, waits=waits, events=tuple(events))
    if busy or verdict is None:
        held = tuple(view.held[one.key].detail for one in starts if one.key in view.held)
        return replace(turn, waits=(*turn.waits, *held)), progress, replace(memory, held_since_s=None)
    return _held(progress, memory, view, turn, verdict, next((str(one.key) for one in starts), ""))


def _ready(
    plan: Plan, waiting: list[Member], progress: Progress, memory: Memory, view: View
) -> tuple[tuple[Member, ...], tuple[str, ...], str]:
    """Those that may be started now, what all others wait for, and the first need that is not met."""
    starts: list[Member] = []
    waits: list[str] = []
    first = ""
    for one in waiting:
        seen = view.of(one.key)
        coming = one.key in memory.rising and progress.has_started(one.key) and not seen.owed
        if one.key in view.busy or coming or (seen.alive and seen.alive == seen.containers):
            waits.append(f"{one.key.name}: {'starting' if seen.health.value == 'none' else seen.health.value}")
            continue
        why = next(
            (
                said
                for need in one.needs
                if (
                    said := unmet(
                        need,
                        plan.member(need.service),
                        view.of(need.service),
                        _is_ours(need.service, progress, view),
                        view.stable_for_s,
                        view.now_s,
                    )
                )
            ),
            "",
        )
        if why:
            waits.append(f"{one.key.name}: {why}")
            first = first or f"{one.key.name}: {why}"
        else:
            starts.append(one)
    return _one_unknown_at_a_time(starts, plan, memory), tuple(waits), first


def _one_unknown_at_a_time(starts: list[Member], plan: Plan, memory: Memory) -> tuple[Member, ...]:
    """Where it is not known what a service will use, room cannot be kept for it: it comes up alone, and is then seen."""
    rising = [member for key in memory.rising if (member := plan.member(key)) is not None]
    if any(one.expected.memory_bytes is None for one in rising):
        return ()
    known = tuple(one for one in starts if one.expected.memory_bytes is not None)
    if known or rising:
        return known
    return tuple(starts[:1])


def _risen(members: tuple[Member, ...], progress: Progress, memory: Memory, view: View) -> tuple[Memory, tuple[Event, ...]]:
    """Take in what runs now: what has come up, and what is on its way."""
    events: list[Event] = []
    rising, up = dict(memory.rising), set(memory.up)
    for one in members:
        seen = view.of(one.key)
        if _is_up(one, progress, view):
            if one.key not in up and one.key in rising:
                took_s = view.now_s - rising[one.key].since_s
                events.append(Event(EventKind.UP, one.phase, str(one.key), f"after {took_s:.1f}s"))
            up.add(one.key)
            rising.pop(one.key, None)
            continue
        up.discard(one.key)
        if seen.owed and not seen.alive and one.key not in view.busy:
            rising.pop(one.key, None)  # shed meanwhile: guardian's rules have come first
        elif seen.alive and one.key not in rising:
            rising[one.key] = Rising(view.now_s, seen.restarts)
    return replace(memory, rising=rising, up=frozenset(up)), tuple(events)


def _soak(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """All have to stay up."""
    fallen = _fallen(plan, progress, view)
    if fallen is not None:
        return _fallen_back(progress, memory, view, fallen)
    since_s = view.now_s if memory.stage_since_s is None else memory.stage_since_s
    left_s = progress.settings.soak_s - (view.now_s - since_s)
    if left_s > 0:
        return Turn(waits=(f"{left_s:.0f}s more",)), progress, memory
    return Turn(), msgspec.structs.replace(progress, stage=Stage.BUDGET), memory


def _budget(plan: Plan, progress: Progress, memory: Memory, view: View) -> tuple[Turn, Progress, Memory]:
    """What phases 1..n use has to be within their budget. Use that is not known is not over it."""
    fallen = _fallen(plan, progress, view)
    if fallen is not None:
        return _fallen_back(progress, memory, view, fallen)
    use = next((one for one in view.phases if one.phase == progress.phase), None)
    over = over_budget(use)
    waited_s = view.now_s - (view.now_s if memory.stage_since_s is None else memory.stage_since_s)
    if (use is None or use.memory_bytes is None) and waited_s < READ_WITHIN_S:
        return Turn(waits=("a reading of what it uses",)), progress, memory
    if over:
        why = f"phases 1 to {progress.phase} use more than their budget: {over}"
        return _held(progress, memory, view, Turn(), Verdict("over_budget", why), "")
    return _passed(plan, progress, memory, view)


def _passed(
    plan: Plan, progress: Progress, memory: Memory, view: View, events: tuple[Event, ...] = ()
) -> tuple[Turn, Progress, Memory]:
    """The phase has passed every gate: on to the next."""
    told = Event(EventKind.PASSED, progress.phase, detail=_used(progress, view))
    after = msgspec.structs.replace(progress, reached=progress.phase, started=())
    return _next_phase(plan, after, memory, view, (*events, told))


def _used(progress: Progress, view: View) -> str:
    use = next((one for one in view.phases if one.phase == progress.phase), None)
    if use is None:
        return ""
    memory = format_bytes(use.memory_bytes)
    if use.memory_budget_bytes is not None:
        memory += f" of {format_bytes(use.memory_budget_bytes)}"
    cpu = format_cores(use.cpu_cores)
    if use.cpu_budget_cores is not None:
        cpu += f" of {format_cores(use.cpu_budget_cores)}"
    return f"phases 1 to {use.phase} use {memory}, {cpu}"


def _held(
    progress: Progress, memory: Memory, view: View, turn: Turn, verdict: Verdict | None, subject: str
) -> tuple[Turn, Progress, Memory]:
    """A start waits: told once for each reason, and given up after `wait_s`."""
    if verdict is None:
        return turn, progress, memory
    since_s = view.now_s if memory.held_since_s is None else memory.held_since_s
    memory = replace(memory, held_since_s=since_s)
    why = verdict.detail or verdict.reason
    if view.now_s - since_s >= progress.settings.wait_s:
        return _fail(progress, memory, None, f"{subject + ': ' if subject else ''}{why}", turn.events)
    turn = replace(turn, waits=(*turn.waits, why))
    if memory.held_why == verdict.reason:
        return turn, progress, memory
    told = Event(EventKind.HELD, progress.phase, subject, why)
    return replace(turn, events=(*turn.events, told)), progress, replace(memory, held_why=verdict.reason)


def _fallen(plan: Plan, progress: Progress, view: View) -> Member | None:
    return next((one for one in plan.phase(progress.phase).members if not _is_up(one, progress, view)), None)


def _fallen_back(progress: Progress, memory: Memory, view: View, one: Member) -> tuple[Turn, Progress, Memory]:
    """One that was up is not: shed, it is waited for; else the phase has failed."""
    seen = view.of(one.key)
    if seen.owed:
        return Turn(), msgspec.structs.replace(progress, stage=Stage.START), replace(memory, up=memory.up - {one.key})
    if seen.up:
        return _fail(progress, memory, one.key, f"it was up, and did not stay so: {seen.health.value}")
    code = "" if seen.exit_code is None else f": it ended with {seen.exit_code}"
    return _fail(progress, memory, one.key, f"it was up, and did not stay so{code}")


def _fail(
    progress: Progress, memory: Memory, key: ServiceKey | None, why: str, events: tuple[Event, ...] = ()
) -> tuple[Turn, Progress, Memory]:
    service = "" if key is None else str(key)
    undo = progress.settings.rollback and bool(progress.started) and progress.stage is not Stage.UNDO
    after = msgspec.structs.replace(
        progress, stage=Stage.UNDO if undo else Stage.FAILED, failure=Failure(why=why, service=service)
    )
    return Turn(events=(*events, Event(EventKind.FAILED, progress.phase, service, why))), after, memory


def _is_up(one: Member, progress: Progress, view: View) -> bool:
    return is_up(one, view.of(one.key), _is_ours(one.key, progress, view), view.stable_for_s, view.now_s)


def _is_ours(key: ServiceKey, progress: Progress, view: View) -> bool:
    """Whether its newest run was begun by this process: what ended before may have been stopped, by this roll-out too."""
    began_wall_s = view.of(key).began_wall_s
    return progress.has_started(key) and began_wall_s is not None and began_wall_s >= view.began_wall_s


def _ended(_plan: Plan, progress: Progress, memory: Memory, _view: View) -> tuple[Turn, Progress, Memory]:
    return Turn(), progress, memory


_STEPS = {
    Stage.CLEAR: _clear,
    Stage.ROOM: _room,
    Stage.START: _start,
    Stage.SOAK: _soak,
    Stage.BUDGET: _budget,
    Stage.UNDO: _undo,
    Stage.DONE: _ended,
    Stage.FAILED: _ended,
}
