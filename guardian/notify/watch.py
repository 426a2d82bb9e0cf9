"""From ticks to messages: what holds now, and what of it is news. Pure: `(watch, snapshot) -> (watch, message)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter

from guardian.boots import REBOOT
from guardian.emergency import ENGINE_RESTART
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import Entry, Means
from guardian.model import (
    CPU_SIGNALS,
    TARGET_PHASE,
    Action,
    ActionKind,
    Assessment,
    Level,
    Mode,
    Outcome,
    Result,
    ServiceKey,
    Settled,
    Signal,
    SignalStatus,
)
from guardian.notify.message import NO_RELIEF, Alert, Consumer, Message, Relief, Severity
from guardian.storage.advice import hints
from guardian.units import format_bytes, format_cores, format_ratio, format_seconds

GATHER_S = 3.0  # what follows a change within this is told with it, so that fourteen stops are one message
ENGINE_DOWN_S = 10.0  # a restart of the engine takes less, and is not worth a message
RECENT_S = 600.0  # an action that failed and was not tried again, or a restart, is no news after this
TOP = 3
MOST_DONE = 100

_BAD = (Result.FAILED, Result.REFUSED, Result.TIMED_OUT)
_VERBS = {
    ActionKind.SHED: "stop",
    ActionKind.HASTEN: "stop",
    ActionKind.RESTORE: "start",
    ActionKind.THROTTLE: "throttle",
    ActionKind.UNTHROTTLE: "unthrottle",
    ActionKind.RESTART: "restart",
}
_PAST = {
    "stop": "stopped", "start": "started", "throttle": "throttled", "unthrottle": "gave its CPU quota back to",
    "restart": "restarted",
}  # fmt: skip
# Why a service is down, where it is neither an order nor a signal: nobody has to do anything about these.
_EXPECTED = {
    TARGET_PHASE: "because it is above target_phase",
    REBOOT: "since the host went down, and is started by the rules",
    ENGINE_RESTART: "since the engine was restarted by order",
}

Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Recent:
    """An action of a service that failed, until one of its kind works or it is old; or a restart, until it is old."""

    name: str  # of the alert
    summary: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What was told, and what has happened since. `host` is the name in every message."""

    host: str
    seen: tuple[object, ...] | None = None  # what alerts come from, as of the last look; None: nothing was looked at yet
    told: Mapping[Key, Alert] = field(default_factory=dict)
    holds: Mapping[Key, Alert] = field(default_factory=dict)
    gather_until_s: float | None = None  # something changed: told then
    look_s: float | None = None  # when time alone may change what holds
    down_since_s: float | None = None  # of the engine
    recent: Mapping[tuple[ServiceKey, str], Recent] = field(default_factory=dict)  # by service and verb
    level: Level | None = None
    cause: str = ""  # of the level, as of when it was reached
    done: tuple[str, ...] = ()
    relief: Relief = NO_RELIEF


def step(watch: Watch, snapshot: Snapshot, config_failed: bool = False) -> tuple[Watch, Message | None]:
    """One tick. A tick in which nothing changed costs a comparison of a few values, whatever runs on the host."""
    decision = snapshot.decision
    happened = snapshot.outcomes or decision.settled or decision.fallen
    seen = _seen(snapshot, config_failed)
    due = min((one for one in (watch.gather_until_s, watch.look_s) if one is not None), default=None)
    if seen == watch.seen and not happened and (due is None or snapshot.at_s < due):
        return watch, None
    if happened:
        watch = _record(watch, snapshot)
    return _look(replace(watch, seen=seen), snapshot, config_failed, first=watch.seen is None)


def _seen(snapshot: Snapshot, config_failed: bool) -> tuple[object, ...]:
    assessment, decision = snapshot.assessment, snapshot.decision
    return (
        assessment.level,
        assessment.disk_level,
        decision.exhausted,
        decision.emergency,
        decision.ineffective,
        snapshot.engine_up,
        snapshot.mode,
        snapshot.config_pending,
        snapshot.quarantined,
        snapshot.entries,
        config_failed,
    )


def _look(watch: Watch, snapshot: Snapshot, config_failed: bool, first: bool) -> tuple[Watch, Message | None]:
    now_s = snapshot.at_s
    down_since_s = None if snapshot.engine_up else now_s if watch.down_since_s is None else watch.down_since_s
    recent = {key: one for key, one in watch.recent.items() if now_s < one.until_s}
    watch = replace(watch, down_since_s=down_since_s, recent=recent)
    if watch.level is not snapshot.assessment.level:
        watch = replace(watch, level=snapshot.assessment.level, cause=cause(snapshot.assessment))
    holds = {alert.key: watch.holds.get(alert.key, alert) for alert in _alerts(watch, snapshot, config_failed)}
    times = [one.until_s for one in recent.values()]
    if down_since_s is not None and now_s < down_since_s + ENGINE_DOWN_S:
        times.append(down_since_s + ENGINE_DOWN_S)
    watch = replace(watch, holds=holds, look_s=min(times, default=None))
    if first:  # what was shed before this process began was told by the one before
        inherited = {key: alert for key, alert in holds.items() if alert.name in ("GuardianShed", "GuardianThrottled")}
        watch = replace(watch, told=inherited)
        if inherited and inherited.keys() == holds.keys():
            return watch, _message(watch, snapshot)
    if holds.keys() == watch.told.keys():
        return replace(watch, told=holds, gather_until_s=None), None
    if watch.gather_until_s is None:
        return replace(watch, gather_until_s=now_s + GATHER_S), None
    if now_s < watch.gather_until_s:
        return watch, None
    message = _message(watch, snapshot)
    relief = NO_RELIEF if snapshot.assessment.level is Level.OK else watch.relief
    return replace(watch, told=holds, gather_until_s=None, done=(), relief=relief), message


# --- what holds -----------------------------------------------------------------------------------------------------


def _alerts(watch: Watch, snapshot: Snapshot, config_failed: bool) -> Iterator[Alert]:
    at_wall_s, assessment, decision = snapshot.at_wall_s, snapshot.assessment, snapshot.decision

    def alert(name: str, severity: Severity, summary: str, since_wall_s: float = at_wall_s, **labels: object) -> Alert:
        return Alert(name, severity, summary, since_wall_s, tuple((key, str(value)) for key, value in labels.items()))

    if assessment.level is not Level.OK:
        yield alert("GuardianPressure", Severity.WARNING, f"{assessment.level}: {watch.cause}")
    if assessment.level is Level.HARD:
        yield alert("GuardianHardPressure", Severity.CRITICAL, f"hard: {watch.cause}")
    if decision.exhausted:
        summary = "exhausted: memory is hard and nothing that is left to shed would be enough"
        yield alert("GuardianExhausted", Severity.CRITICAL, summary)
    if decision.emergency:
        kept = ", ".join(snapshot.config.emergency.keep) or "nothing by name"
        summary = f"emergency: phases that are protected as phases are shed too; kept: {kept}"
        yield alert("GuardianEmergency", Severity.CRITICAL, summary)
    for signal in decision.ineffective:
        summary = f"ineffective: shedding for {signal} brought next to nothing, and pauses"
        yield alert("GuardianIneffective", Severity.WARNING, summary, signal=signal)
    disk = assessment.signal(Signal.DISK)
    if assessment.disk_level is not Level.OK and disk is not None:
        yield alert("GuardianDisk", Severity.WARNING, f"the engine's file system: {_marked(disk)}")
        if assessment.disk_level is Level.HARD:
            yield alert("GuardianDiskFull", Severity.CRITICAL, f"nothing is started: {_marked(disk)}")
    for entry in snapshot.entries:
        if entry.owed and entry.returned_wall_s is None:
            yield _shed(entry)
    for service in snapshot.quarantined:
        summary = f"{service} is quarantined: it kept bringing the pressure back; `guardian restore {service.name}` starts it"
        yield alert("GuardianQuarantine", Severity.WARNING, summary, service=service)
    if watch.down_since_s is not None and snapshot.at_s >= watch.down_since_s + ENGINE_DOWN_S:
        yield alert("GuardianEngineDown", Severity.CRITICAL, "the engine does not answer: nothing is started")
    if config_failed:
        summary = "the edited configuration has mistakes: the old one stays in force; `guardian check FILE` lists them"
        yield alert("GuardianConfigFailed", Severity.WARNING, summary)
    if snapshot.config_pending:
        count = len(snapshot.config_pending)
        summary = f"{count} change{'' if count == 1 else 's'} of the configuration wait: `guardian status` shows which"
        yield alert("GuardianConfigPending", Severity.INFO, summary)
    if snapshot.mode is Mode.OBSERVE and snapshot.entries:
        summary = "left enforce while services are shed: `guardian restore --all` starts them"
        yield alert("GuardianLeftEnforce", Severity.WARNING, summary)
    for (service, verb), recent in watch.recent.items():
        yield alert(recent.name, Severity.WARNING, recent.summary, service=service, action=verb)


def _shed(entry: Entry) -> Alert:
    throttled = entry.means is Means.THROTTLE
    expected = entry.by or throttled or entry.reason in _EXPECTED
    why = f"by order of {entry.by}" if entry.by else _EXPECTED.get(entry.reason) or _shed_for(entry.reason)
    return Alert(
        "GuardianThrottled" if throttled else "GuardianShed",
        Severity.INFO if expected else Severity.WARNING,
        f"{entry.service} (phase {entry.phase}) is {'throttled' if throttled else 'down'} {why}",
        entry.settled_wall_s or entry.sent_wall_s or entry.decided_wall_s,
        (("service", str(entry.service)), ("phase", str(entry.phase))),
    )


def _shed_for(reason: str) -> str:
    return f"to relieve {reason.replace('_', ' ')}" if reason in set(Signal) else f"({reason.replace('_', ' ')})"


def cause(assessment: Assessment) -> str:
    """The signals behind the level, each with the mark it is over; while all is ok, what memory and CPU are at."""
    inside = [one for one in assessment.signals if one.signal is not Signal.DISK]
    if assessment.level is Level.OK:
        known = [one for one in inside if one.hard is not None and one.value is not None]
        return ", ".join(f"{_word(one)} {format_ratio(one.value)}" for one in known) or "nothing is known of memory and CPU"
    behind = [one for one in inside if one.level is assessment.level]
    parts = [_marked(one) for one in behind]
    if assessment.full_in_s is not None and any(one.signal is Signal.MEMORY for one in behind):
        parts.append(f"memory full in {format_seconds(assessment.full_in_s)}")
    return ", ".join(parts) or "by the readings before"


def _marked(one: SignalStatus) -> str:
    mark = one.hard if one.level is Level.HARD and one.hard is not None else one.soft
    return f"{_word(one)} {format_ratio(one.value)} ({one.level} at {format_ratio(mark)})"


def _word(one: SignalStatus) -> str:
    return one.signal.value.replace("_", " ")


# --- what happened --------------------------------------------------------------------------------------------------


def _record(watch: Watch, snapshot: Snapshot) -> Watch:
    recent, done, relief = dict(watch.recent), list(watch.done), watch.relief
    until_s = snapshot.at_s + RECENT_S
    for outcome in snapshot.outcomes:
        action = outcome.action
        key = (action.service, _VERBS[action.kind])
        done.append(_did(outcome))
        if outcome.result in _BAD:
            recent[key] = Recent("GuardianActionFailed", _did(outcome), until_s)
        elif action.kind is ActionKind.RESTART and outcome.result is Result.DONE:
            recent[key] = Recent("GuardianRestarted", _did(outcome), until_s)
        elif outcome.result.ended_well:
            recent.pop(key, None)
        if action.kind is ActionKind.SHED and outcome.result is Result.DONE:
            relief = _expect(relief, action)
    for service in snapshot.decision.fallen:
        done.append(f"{service} was started and did not stay up")
        recent[service, "start"] = Recent("GuardianActionFailed", done[-1], until_s)
    for service in snapshot.decision.restored:
        recent.pop((service, "start"), None)
    for settled in snapshot.decision.settled:
        relief = _measure(relief, settled)
    return replace(watch, recent=recent, done=tuple(done[-MOST_DONE:]), relief=relief)


def _did(outcome: Outcome) -> str:
    action, verb = outcome.action, _VERBS[outcome.action.kind]
    who = f"{action.service} (phase {action.phase})"
    if outcome.result is Result.OBSERVED:
        return f"would {verb} {who}{_why(action)}{_expected(action)}"
    if outcome.result is Result.GONE:
        return f"{who} had ended by itself"
    if outcome.result is Result.DONE:
        return f"{_PAST[verb]} {who}{_why(action)}{_expected(action)}"
    return f"could not {verb} {who}: {outcome.detail or outcome.result}"


def _why(action: Action) -> str:
    if action.by:
        return f" by order of {action.by}"
    return " because it was unhealthy" if action.kind is ActionKind.RESTART else f" for {action.reason}"


def _expected(action: Action) -> str:
    if action.kind is not ActionKind.SHED:
        return ""
    if _for_cpu(action):
        return "" if action.relief_cores is None else f": {format_cores(action.relief_cores)} expected back"
    return "" if action.relief_bytes is None else f": {format_bytes(action.relief_bytes)} expected back"


def _for_cpu(action: Action) -> bool:
    return action.reason in CPU_SIGNALS


def _expect(relief: Relief, action: Action) -> Relief:
    if _for_cpu(action):
        return replace(relief, expected_cores=(relief.expected_cores or 0.0) + (action.relief_cores or 0.0))
    return replace(relief, expected_bytes=(relief.expected_bytes or 0) + (action.relief_bytes or 0))


def _measure(relief: Relief, settled: Settled) -> Relief:
    if settled.measured is None:
        return relief
    if settled.signal in CPU_SIGNALS:
        return replace(relief, measured_cores=(relief.measured_cores or 0.0) + settled.measured)
    return replace(relief, measured_bytes=(relief.measured_bytes or 0) + int(settled.measured))


# --- the message ----------------------------------------------------------------------------------------------------


def _message(watch: Watch, snapshot: Snapshot) -> Message:
    assessment = snapshot.assessment
    return Message(
        host=watch.host,
        at_wall_s=snapshot.at_wall_s,
        mode=snapshot.mode,
        level=assessment.level,
        cause=watch.cause,
        now=cause(assessment),
        began=tuple(alert for key, alert in watch.holds.items() if key not in watch.told),
        ended=tuple(alert for key, alert in watch.told.items() if key not in watch.holds),
        active=tuple(watch.holds.values()),
        done=watch.done,
        relief=watch.relief,
        top=_top(assessment),
        disk=() if assessment.disk_level is Level.OK or snapshot.storage.newest is None else hints(snapshot.storage.newest),
    )


def _top(assessment: Assessment) -> tuple[Consumer, ...]:
    """The services that use most of what is short: memory, unless only CPU is. What is unknown is in no such list."""
    behind = {one.signal for one in assessment.signals if one.level is not Level.OK and one.signal is not Signal.DISK}
    by_cpu = bool(behind) and behind <= set(CPU_SIGNALS)
    used = [
        (-use, one.key, Consumer(one.key, one.phase, one.working_set_bytes, one.cpu_cores))
        for one in assessment.services
        if (use := one.cpu_cores if by_cpu else one.working_set_bytes) is not None
    ]
    return tuple(consumer for _, _, consumer in sorted(used, key=itemgetter(0, 1))[:TOP])
