"""What an event of the engine says about other people's doing: pure. Somebody started what guardian stopped, or stopped something.

Docker sends for a stop by API: kill (the stop signal), kill 9 if that was not enough, die, stop; for `docker kill`: kill,
die; for an exit by itself or by the kernel: die alone. Nothing is sent for a stop of a stopped container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardian.ledger.entries import Entry, EntryState, Means
from guardian.ledger.reconcile import Context, brought_back, in_restore_window
from guardian.model import EngineEvent

HARMLESS_SIGNALS = frozenset({"1", "10", "12", "17", "18", "19", "20", "28"})
"""Reload, user signals, child, continue, stop, window change: sent to talk to a process, not to end it."""


ENGINE_END_S = 30.0
"""How long an engine may take to end. It stops its containers as somebody would (by default 15 s for all), and goes last."""


class OverrideKind(StrEnum):
    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody else acted. `entry` is what guardian gives up because of it; None: it owed nothing."""

    kind: OverrideKind
    container_id: str
    name: str
    at_wall_s: float
    entry: Entry | None = None


def classify(event: EngineEvent, entries: Sequence[Entry], context: Context, killed: Mapping[str, str]) -> Override | None:
    """What `event` means, given the open `entries`, actions in flight and a gap (`context`), and the signals seen (`remember`).

    None for everything that guardian or the engine did, that a container did by itself, or that is older than the entry.
    """
    if event.container_id in context.restarting:
        return None
    holders = [entry for entry in entries if any(one.id == event.container_id for one in entry.containers)]
    if any(entry.id in context.in_flight or entry.restore_id in context.in_flight for entry in holders):
        return None
    holder = holders[0] if holders else None
    if event.action == "start":
        return _started(event, holder, context)
    if event.action == "stop" and killed.get(event.container_id) != "died":
        return _stopped(event, holder)
    if event.action == "die" and killed.get(event.container_id) == "signalled":
        return _stopped(event, holder)
    return None


def remember(event: EngineEvent, killed: Mapping[str, str]) -> Mapping[str, str]:
    """The signals seen so far, by container id: `signalled`, then `died`; forgotten once it has stopped or runs again.

    Call after `classify`, with every event; so one stop is found once, at its `die`.
    """
    known = killed.get(event.container_id)
    if event.action == "kill" and event.attributes.get("signal", "") not in HARMLESS_SIGNALS:
        return {**killed, event.container_id: "signalled"}
    if event.action == "die" and known == "signalled":
        return {**killed, event.container_id: "died"}
    if event.action in ("stop", "start", "destroy") and known is not None:
        return {container_id: state for container_id, state in killed.items() if container_id != event.container_id}
    return killed


def believed(
    found: Iterable[Override], gap: tuple[float, float] | None, ready: bool, now_wall_s: float
) -> tuple[tuple[Override, ...], tuple[Override, ...]]:
    """Of stops by somebody: those that count by now, and those that may still be the beginning of the engine's own end.

    The rest is given up: what stopped before a `gap` in what is known of the engine, or while it is not `ready`, may
    have been stopped by its restart.
    """
    left = tuple(one for one in found if ready and (gap is None or one.at_wall_s > gap[1]))
    return (
        tuple(one for one in left if now_wall_s - one.at_wall_s >= ENGINE_END_S),
        tuple(one for one in left if now_wall_s - one.at_wall_s < ENGINE_END_S),
    )


def stop_of(restoring: Entry, found: Iterable[Override], killed: Mapping[str, str], now_wall_s: float) -> Override | None:
    """The stop by somebody that ended what guardian has just started for this entry, if one did.

    `found` are the stops of which it is not clear yet who made them. A list may be faster than the event of an end: then
    the signal tells (`killed`).
    """
    for stop in found:
        if stop.entry is not None and stop.entry.restore_id == restoring.restore_id:
            return stop
    for one in restoring.owed:
        if one.id in killed:
            return Override(OverrideKind.STOPPED, one.id, one.name, now_wall_s, restoring)
    return None


def _started(event: EngineEvent, holder: Entry | None, context: Context) -> Override | None:
    if holder is None or holder.state is not EntryState.SHED or holder.means is Means.THROTTLE:
        return None
    one = next(one for one in holder.containers if one.id == event.container_id)
    ours = in_restore_window(holder, event.at_wall_s)
    stale = one.sent_wall_s is not None and event.at_wall_s < one.sent_wall_s
    engine = brought_back(holder, one.restart_policy, context.may_have_restarted(event.at_wall_s))
    if not one.stopped or ours or stale or engine or holder.returned_wall_s is not None:
        return None
    return Override(OverrideKind.STARTED, event.container_id, event.name, event.at_wall_s, holder)


def _stopped(event: EngineEvent, holder: Entry | None) -> Override | None:
    """A container that an entry holds was stopped by guardian, unless the engine or guardian's own start had brought it back since."""
    if holder is None or holder.means is Means.THROTTLE:
        return Override(OverrideKind.STOPPED, event.container_id, event.name, event.at_wall_s)
    back_wall_s = holder.restore_sent_wall_s if holder.state is EntryState.RESTORING else holder.returned_wall_s
    if back_wall_s is None or event.at_wall_s <= back_wall_s:
        return None
    return Override(OverrideKind.STOPPED, event.container_id, event.name, event.at_wall_s, holder)
