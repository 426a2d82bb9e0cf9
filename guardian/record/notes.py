"""Recorded decisions, found by service or by time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guardian.model import Action, ActionKind, Held, Outcome, ServiceKey, Settled
from guardian.record.reader import minutes, opened
from guardian.record.rows import Kind, Note, decode

MOST = 500  # decisions that are looked through


@dataclass(frozen=True, slots=True)
class Story:
    """What was last done to one service, how it ended, and what it waits for."""

    note: Note
    action: Action
    outcome: Outcome | None = None
    settled: Settled | None = None
    up_wall_s: float | None = None  # of a restore: when it was up again
    fell: bool = False  # of a restore: it did not stay up
    waits: tuple[Note, Held] | None = None  # of a shed: why it has not been restored yet, as last decided


def newest(path: Path, until_wall_s: float = float("inf"), service: ServiceKey | None = None) -> Iterator[Note]:
    """Decisions at or before that time, the newest first; those in which something was done to `service`, where it is given."""
    about = "%" if service is None else f"% {_escaped(str(service))} %"
    with opened(path) as connection:
        for (body,) in connection.execute(
            "SELECT body FROM rows WHERE kind = ? AND at_wall_s <= ? AND about LIKE ? ESCAPE '\\' ORDER BY id DESC LIMIT ?",
            (Kind.DECISION.value, until_wall_s, about, MOST),
        ):
            yield decode(body, Note)


def last_story(path: Path, service: ServiceKey, until_wall_s: float = float("inf")) -> Story | None:
    """What was last done to `service` at or before that time, and what came of it. None: nothing is recorded."""
    later: list[Note] = []
    for note in newest(path, service=service):
        action = next((one for one in note.decision.actions if one.service == service), None)
        if action is not None and action.kind is not ActionKind.HASTEN and note.now_wall_s <= until_wall_s:
            story = _told(Story(note, action), later)
            return story if action.kind is ActionKind.RESTORE else _with_wait(story, path, until_wall_s)
        later.append(note)
    return None


def last_considered(path: Path, service: ServiceKey, until_wall_s: float = float("inf")) -> Note | None:
    """The newest decision that had `service` among its candidates, or said why it was none."""
    for note in newest(path, until_wall_s):
        decision = note.decision
        if service in decision.excluded or any(one.service == service for one in decision.candidates):
            return note
    return None


def known_services(path: Path) -> set[ServiceKey]:
    """Those that the newest minutes show, and those that something was done to."""
    with opened(path) as connection:
        (last_wall_s,) = connection.execute(
            "SELECT max(until_wall_s) FROM rows WHERE kind = ?", (Kind.MINUTE.value,)
        ).fetchone()
        named = {
            name
            for (about,) in connection.execute("SELECT DISTINCT about FROM rows WHERE kind = ?", (Kind.DECISION.value,))
            for name in about.split()
        }
    found = {ServiceKey(*name.rpartition("/")[::2]) for name in named}
    if last_wall_s is not None:
        for minute in minutes(path, last_wall_s - 60.0):
            found.update(one.service for one in minute.containers)
    return found


def _told(story: Story, later: list[Note]) -> Story:
    """With what later decisions, the newest first, say of its end."""
    id_ = story.action.id
    outcome = next((one for note in later for one in note.outcomes if one.action.id == id_), None)
    settled = next((one for note in later for one in note.decision.settled if one.action.id == id_), None)
    up_wall_s, fell = None, False
    if story.action.kind is ActionKind.RESTORE:
        for note in reversed(later):  # the first that tells is of this one
            if story.action.service in (*note.decision.restored, *note.decision.fallen):
                fell = story.action.service in note.decision.fallen
                up_wall_s = None if fell else note.now_wall_s
                break
    return Story(story.note, story.action, outcome, settled, up_wall_s, fell)


def _with_wait(story: Story, path: Path, until_wall_s: float) -> Story:
    for note in newest(path, until_wall_s):
        if note.now_wall_s <= story.note.now_wall_s:
            break
        for held in note.decision.held:
            if held.service == story.action.service and held.action is not ActionKind.SHED:
                return Story(story.note, story.action, story.outcome, story.settled, waits=(note, held))
    return story


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
