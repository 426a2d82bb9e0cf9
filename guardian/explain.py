"""A recorded decision in plain words, with its numbers. Every figure is the recorded one; nothing is decided again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from guardian.config.schema import Config, DiskThresholds, Thresholds
from guardian.model import (
    CPU_SIGNALS,
    TARGET_PHASE,
    Action,
    ActionKind,
    Candidate,
    Deficit,
    Held,
    Level,
    Mode,
    Result,
    Signal,
    SignalStatus,
)
from guardian.policy.assess import SHEDDING
from guardian.record.notes import Story
from guardian.record.rows import Note
from guardian.units import format_bytes, format_cores, format_ratio, format_seconds

MOST_NAMES = 12

NO_VICTIM = {
    "not_running": "does not run",
    "protect": "protected, absolutely",
    "protected": "its phase is protected",
    "pinned": "pinned by an operator",
    "phase_observed": "its phase is in observe",
    "required": "required by one that stays",
    "in_flight": "was being stopped or started",
    "retry_later": "its last stop failed a moment before",
}
PASSED_OVER = {
    "not_needed": "not needed, as others give back enough",
    "too_small": "would give back too little to be worth a stop",
    "unknown_use": "what it used was unknown",
    "after_unknown": "one before it is of unknown use, which is seen first",
    "overridden": "somebody had started it: left alone for ten minutes",
    "starting_up": "was starting up",
}
NO_SHED = {
    "relief_pending": "what is on its way back is enough",
    "reading_not_newer": "the host had not been read since the last stop ended",
    "relief_unknown": "a stop was under way of which nobody knew what it brings",
    "no_victim": "nothing was left that may be stopped",
    "in_flight": "another stop was under way",
    "settling": "the last stop's relief was not seen yet",
    "ineffective": "stops had brought too little twice in a row: soft ones pause for ten minutes",
    "max_per_hour": "as many had been shed within the hour as `shedding.max_per_hour` allows",
    "waiting_unknown": "whether anything waited for CPU was unknown",
    "no_waiting": "nothing waited for CPU: full use without waiting is a good use",
    "unknown_use": "what the candidates used was unknown",
    "no_useful_victim": "nobody's stop would have been worth it",
    "standby": "an operator had ordered standby",
    "engine": "the engine could not be trusted: it did not answer, or its list was not complete",
}
UNTIL = {
    "pressure": "the host must be ok again",
    "operator": "the operator's hold must end (`guardian release`), or `guardian restore` starts it",
    "engine": "the engine must answer, and its list be complete",
    "disk": "the engine's disk must no longer be hard",
    "standby": "standby must end",
    "in_flight": "what is being stopped or started must be done",
    "rising": "the service that was started before it must be up",
    "starting": "guardian must have seen the host be ok for its `recover_for`",
    "settling": "the relief of the last stop must be seen, and no signal may support memory pressure",
    "disabled": "`restoring.enabled` is false: `guardian restore` starts it",
    "no_room": "there must be room for what it needs",
    "cannot_fit": "there must be room for it; not even a trial with what it used a minute after its last start fits",
    "dependency": "what it depends on must be up first",
    "backoff": "its wait must pass: it was shed soon after its last restore",
    "retry_later": "a pause must pass: its last start failed",
    "missing": "its containers must be there again",
    "quarantined": "it kept bringing the pressure back: `guardian restore` starts it",
    "earlier_phase_waits": "a service of an earlier phase must be back first",
    "target_phase": "the file's `target_phase` must be raised",
    "one_at_a_time": "its turn must come: one is started at a time",
}


def told(note: Note, config: Config | None, when: Callable[[float], str]) -> list[str]:
    """One decision: what it answered, whom it considered, what it did and what it held back."""
    decision = note.decision
    lines = [f"{when(note.now_wall_s)}: the host was {note.level}{_observed(note)}.", *_signals(note, config)]
    for action in decision.actions:
        lines.append(f"Decided: {_act(action)}.")
    if decision.signal is not None and decision.deficit is not None:
        lines += ["", *_deficit(decision.signal, decision.deficit, note)]
        lines += ["", *_candidates(note)] if decision.candidates else []
    sheds = [one for one in decision.held if one.action is ActionKind.SHED]
    lines += [f"Nothing was stopped for {one.detail or 'it'}: {NO_SHED.get(one.reason, one.reason)}." for one in sheds]
    if decision.exhausted:
        lines.append("Exhausted: nothing that was left to shed would have been enough.")
    if decision.holds:
        lines.append(f"Nothing was started, because of: {', '.join(decision.holds)}.")
    restores = [one for one in decision.held if one.action is not ActionKind.SHED and one.service is not None]
    if restores:
        lines += ["", "Waiting to be restored:", *(f"  {one.service}: {_until(one)}" for one in restores)]
    return lines


def story(one: Story, config: Config | None, when: Callable[[float], str]) -> list[str]:
    """What was last done to a service: why, how it ended, and what it waits for."""
    action, note = one.action, one.note
    verb = {
        ActionKind.SHED: "was shed",
        ActionKind.RESTORE: "was restored",
        ActionKind.THROTTLE: "was throttled",
        ActionKind.UNTHROTTLE: "got its CPU quota back",
    }.get(action.kind, action.kind.value)
    if note.mode is Mode.OBSERVE and not action.by:
        verb = f"would have been {verb.removeprefix('was ')}"
    why = f"by order of {action.by}" if action.by else _because(action)
    lines = [f"{action.service} {verb} at {when(note.now_wall_s)}, {why}.", ""]
    lines += told(note, config, when)
    lines += ["", *_ended(one, when)]
    if action.kind in (ActionKind.SHED, ActionKind.THROTTLE):
        lines += ["", *_back(one, config, when)]
    return lines


def not_shed(note: Note, candidate: Candidate | None, excluded: str, when: Callable[[float], str]) -> str:
    """Of a service that was only considered: why it was left alone."""
    if candidate is None:
        return f"At {when(note.now_wall_s)} it could be no victim: {NO_VICTIM.get(excluded, excluded)}."
    why = PASSED_OVER.get(candidate.passed_over, candidate.passed_over) or "its turn had not come"
    return f"At {when(note.now_wall_s)} it was number {candidate.rank} in the order, and left alone: {why}."


# --- parts ----------------------------------------------------------------------------------------------------------


def _observed(note: Note) -> str:
    return "; guardian only observed" if note.mode is Mode.OBSERVE else ""


def _signals(note: Note, config: Config | None) -> list[str]:
    """Each that is not ok, with its marks and for how long; else those that shed, in one line."""
    lines = []
    for one in note.signals:
        if one.level is Level.OK:
            continue
        since = format_seconds(max(0.0, note.now_s - one.since_s))
        mark = one.hard if one.level is Level.HARD and one.hard is not None else one.soft
        lines.append(
            f"  {_name(one.signal)}: {one.level} for {since}, at {_ratio(one.value)}; "
            f"{one.level} from {format_ratio(mark)}{_for(one, config)}, ok below {format_ratio(one.recover)}"
        )
    if note.full_in_s is not None and note.fill_bytes_per_s is not None:
        lines.append(
            f"  memory was filling by {format_bytes(note.fill_bytes_per_s)}/s: full in {format_seconds(note.full_in_s)}"
        )
    if not lines:
        known = [f"{_name(one.signal)} {_ratio(one.value)}" for one in note.signals if one.signal in SHEDDING]
        lines = [f"  {', '.join(known)}"]
    return lines


def _for(status: SignalStatus, config: Config | None) -> str:
    """`, for 10s`: how long the mark must be passed, where the configuration of then is known."""
    marks = None if config is None else config.thresholds.of(status.signal)
    if marks is None:
        return ""
    hard = status.level is Level.HARD and isinstance(marks, Thresholds | DiskThresholds)
    lasting_s = marks.hard_for if hard and isinstance(marks, Thresholds | DiskThresholds) else marks.soft_for
    return f" for {format_seconds(lasting_s)}" if lasting_s else " at once"


def _deficit(signal: SignalStatus, deficit: Deficit, note: Note) -> list[str]:
    shown = _shown(signal.signal)
    pending = f", and {shown(deficit.pending)} of it was on its way" if deficit.pending else ""
    line = f"To bring {_name(signal.signal)} below {format_ratio(signal.recover)}, {shown(deficit.total)} had to be given back{pending}."
    crossed = next((action.crossed_s for action in note.decision.actions if action.crossed_s is not None), None)
    if crossed is None:
        return [line]
    return [line, f"It had crossed the mark {format_seconds(round(max(0.0, note.now_s - crossed), 1))} before."]


def _candidates(note: Note) -> list[str]:
    decision = note.decision
    signal = Signal.MEMORY if decision.signal is None else decision.signal.signal
    chosen = {action.service for action in decision.actions}
    ranked = [one for one in decision.candidates if one.rank]
    spare = [one for one in ranked if one.passed_over == "not_needed" and one.service not in chosen]
    lines = ["Candidates, in order:"]
    for one in ranked:
        if one in spare:
            continue
        relief = one.relief_cores if signal in CPU_SIGNALS else one.relief_bytes
        notes = [f"gives back {_shown(signal)(relief)}"]
        notes += ["over its share"] if one.over_share else []
        notes += [f"priority {one.priority}"] if one.priority else []
        notes += ["on probation"] if one.on_probation else []
        taken = one.service in chosen
        verdict = "taken" if taken else PASSED_OVER.get(one.passed_over, one.passed_over) or "its turn would have come after"
        lines.append(f"  {one.rank}. {one.service} (phase {one.phase}; {', '.join(notes)}): {verdict}")
    if spare:
        lines.append(f"  not needed, as the others give back enough: {_listed(str(one.service) for one in spare)}")
    barred = [one for one in decision.candidates if one.rank == 0]
    lines += [f"  -  {one.service} (phase {one.phase}): {PASSED_OVER.get(one.passed_over, one.passed_over)}" for one in barred]
    if decision.excluded:
        lines.append("No candidates:")
        by_reason: dict[str, list[str]] = {}
        for service, reason in sorted(decision.excluded.items()):
            by_reason.setdefault(reason, []).append(str(service))
        lines += [f"  {NO_VICTIM.get(reason, reason)}: {_listed(names)}" for reason, names in by_reason.items()]
    return lines


def _act(action: Action) -> str:
    relief = [format_bytes(action.relief_bytes)] if action.relief_bytes is not None else []
    relief += [format_cores(action.relief_cores)] if action.relief_cores is not None else []
    expected = f", expected to give back {' and '.join(relief)}" if relief and action.kind is ActionKind.SHED else ""
    grace = (
        f", with {format_seconds(action.grace_s)} to end by itself" if action.kind is ActionKind.SHED and action.grace_s else ""
    )
    kill = ", killed at once" if action.kind is ActionKind.SHED and not action.grace_s else ""
    return f"{action.kind.value} {action.service} (phase {action.phase}){expected}{grace}{kill}"


def _because(action: Action) -> str:
    if action.reason == "room":
        return "because there was room again"
    if action.reason == TARGET_PHASE:
        return "because the file's `target_phase` is below its phase"
    if action.reason in list(Signal):
        return f"because of {_name(Signal(action.reason))}"
    return f"because of {action.reason.replace('_', ' ')}"


def _ended(one: Story, when: Callable[[float], str]) -> list[str]:
    lines = []
    if one.outcome is None:
        lines.append("How it ended is not recorded.")
    elif one.outcome.result is Result.OBSERVED:
        lines.append("Nothing was done: guardian only observed.")
    else:
        detail = f": {one.outcome.detail}" if one.outcome.detail else ""
        lines.append(
            f"It ended as {one.outcome.result.value.replace('_', ' ')} after {format_seconds(one.outcome.duration_s)}{detail}."
        )
    if one.settled is not None:
        shown = _shown(one.settled.signal or Signal.MEMORY)
        if one.settled.measured is None:
            lines.append(f"Expected relief: {shown(one.settled.expected)}. It could not be measured.")
        else:
            lines.append(f"Expected relief: {shown(one.settled.expected)}; measured: {shown(one.settled.measured)}.")
    if one.fell:
        lines.append("It did not stay up.")
    elif one.up_wall_s is not None:
        lines.append(f"It was up again at {when(one.up_wall_s)}.")
    return lines


def _back(one: Story, config: Config | None, when: Callable[[float], str]) -> list[str]:
    """What must become true before a restore."""
    needs = [format_bytes(one.action.expected_bytes)] if one.action.expected_bytes is not None else []
    needs += [format_cores(one.action.expected_cores)] if one.action.expected_cores is not None else []
    lines = []
    if one.action.kind is ActionKind.SHED and needs:
        margin = "" if config is None else f", {format_ratio(config.restoring.margin)} below the soft mark"
        lines.append(f"A restore will need {' and '.join(needs)}, with room for that{margin}.")
    if one.waits is None:
        lines.append("Why it has not been restored yet is not recorded." if one.outcome is not None else "")
        return [line for line in lines if line]
    note, held = one.waits
    lines.append(f"At {when(note.now_wall_s)} it waited: {_until(held)}.")
    if held.reason == "pressure":
        lines += _still(note, config)
    return lines


def _still(note: Note, config: Config | None) -> list[str]:
    lines = []
    for one in note.signals:
        if one.signal not in SHEDDING or one.level is Level.OK:
            continue
        marks = None if config is None else config.thresholds.of(one.signal)
        lasting = "" if marks is None else f" for {format_seconds(marks.recover_for)}"
        lines.append(f"  {_name(one.signal)} was at {_ratio(one.value)}; it must be below {format_ratio(one.recover)}{lasting}")
    return lines


def _until(held: Held) -> str:
    detail = f" ({held.detail})" if held.detail else ""
    return f"{UNTIL.get(held.reason, held.reason)}{detail}"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - MOST_NAMES
    return ", ".join(every[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _name(signal: Signal) -> str:
    return {Signal.CPU: "CPU", Signal.PLATFORM_CPU: "platform CPU"}.get(signal, signal.value.replace("_", " "))


def _shown(signal: Signal) -> Callable[[float | None], str]:
    return format_cores if signal in CPU_SIGNALS else format_bytes


def _ratio(value: float | None) -> str:
    return "an unknown value" if value is None else format_ratio(value)
