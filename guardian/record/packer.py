"""From ticks to rows: what of a tick is kept, and when. Pure but for its memory; the recording's thread has one.

While all is well, a minute is one row, and the ticks of the last minute wait in memory. Once the level leaves ok, or
something is done, they are written, with the policy's state from before them, and so is every tick until ten minutes have
passed in which neither was the case.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field, replace

from guardian.config.schema import Config
from guardian.model import Level
from guardian.policy.restore import OWN_REASONS
from guardian.record.deltas import Ticks
from guardian.record.minutes import Minutes
from guardian.record.moment import Moment
from guardian.record.rows import Key, Kind, Note, Row, encode, joined, packed, policy_part

KEPT_S = 60.0  # of whole ticks in memory while all is well
BLOCK_S = 30.0  # … in blocks of this, each with the state before it
KEPT_BYTES = 4 * 1024 * 1024  # … encoded, at most
LOUD_S = 600.0  # ticks are written for so long after the last that had to be
CHUNK_S = 5.0  # … in chunks of this, or at once when something is done
KEY_S = 300.0  # … with the policy's state once in so long
HOUR_S = 3600.0  # the state while all is well
CHANGED_S = 1.0  # a decision without an action is noted where it is another than before, at most once in so long …
PRESSED_S = 10.0  # … the same again after so long while the level is not ok
HELD_S = 60.0  # … and while something waits


@dataclass(slots=True)
class _Block:
    """Ticks, encoded, of which the first is whole; `first` has the state before it."""

    first: Moment
    ticks: list[bytes] = field(default_factory=list)
    until_wall_s: float = 0.0

    @property
    def size(self) -> int:
        return sum(map(len, self.ticks))


class Packer:
    """`take` each tick in order; `flush` gives what waits, at the end of the process."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._loud_until_s: float | None = None  # ticks are written until then; None: all is well
        self._ring: deque[_Block] = deque()  # while all is well
        self._chunk: _Block | None = None  # while it is not: ticks that wait for their row
        self._key_s = 0.0
        self._ticks = Ticks()
        self._minutes = Minutes()
        self._note_s: float | None = None
        self._noted: object = None
        self._config: Config | None = None
        self._settings = ("", b"")

    def restart(self) -> None:
        """What was given out may not have been written: what comes next must stand alone."""
        self._number = None

    def take(self, moment: Moment) -> list[Row]:
        """The rows that are due with this tick; most have none."""
        if moment.config is not self._config:
            body = encode(policy_part(moment.config))
            self._config, self._settings = moment.config, (hashlib.sha256(body).hexdigest()[:16], packed(body))
        rows: list[Row] = []
        began = self._number is None or moment.number != self._number + 1
        self._number = moment.number
        was_loud = self._loud_until_s is not None
        if is_loud(moment):
            self._loud_until_s = moment.now_s + LOUD_S
        elif self._loud_until_s is not None and moment.now_s >= self._loud_until_s:
            self._loud_until_s = None
        if began:
            rows += self._end_chunk()
            self._ring.clear()
        if began or (self._loud_until_s is None and moment.now_s - self._key_s >= HOUR_S):
            rows.append(self._key(moment, began))
            self._minutes.forget()
        rows += self._minutes.take(moment, self._settings)
        rows += self._quiet(moment) if self._loud_until_s is None else self._loud(moment, began, was_loud)
        rows += self._note(moment)
        return rows

    def flush(self) -> list[Row]:
        """At the end: what would have been given out later."""
        return [*self._minutes.end(self._settings), *self._end_chunk()]

    # --- ticks ------------------------------------------------------------------------------------------------------

    def _quiet(self, moment: Moment) -> list[Row]:
        """Keep the tick in memory, and let go of what is older than a minute."""
        rows = self._end_chunk()
        if not self._ring or moment.now_s - self._ring[-1].first.now_s >= BLOCK_S:
            self._ring.append(_Block(moment))
            self._ticks.forget()
        self._add(self._ring[-1], moment)
        while len(self._ring) > 1 and (
            moment.now_s - self._ring[1].first.now_s >= KEPT_S or sum(block.size for block in self._ring) > KEPT_BYTES
        ):
            self._ring.popleft()
        return rows

    def _loud(self, moment: Moment, began: bool, was_loud: bool) -> list[Row]:
        """Write the tick, and first what was kept in memory."""
        rows: list[Row] = []
        for block in self._ring:
            rows += [self._key(block.first), self._row_of(block)]
        goes_on = self._chunk is not None or bool(self._ring)
        self._ring.clear()
        if not goes_on or (was_loud and moment.now_s - self._key_s >= KEY_S):
            rows += self._end_chunk()
            if not began:  # it has its row already
                rows.append(self._key(moment))
            self._chunk = None
            self._ticks.forget()
        if self._chunk is None:
            self._chunk = _Block(moment)
        self._add(self._chunk, moment)
        if not was_loud or moment.decision.actions or moment.now_s - self._chunk.first.now_s >= CHUNK_S:
            rows.append(self._row_of(self._chunk))
            self._chunk = _Block(moment)
        return rows

    def _add(self, block: _Block, moment: Moment) -> None:
        block.ticks.append(self._ticks.encode(moment, self._settings[0]))
        block.until_wall_s = moment.now_wall_s

    def _end_chunk(self) -> list[Row]:
        chunk, self._chunk = self._chunk, None
        return [self._row_of(chunk)] if chunk is not None and chunk.ticks else []

    def _row_of(self, block: _Block) -> Row:
        return Row(Kind.TICKS, block.first.now_wall_s, block.until_wall_s, "", packed(joined(block.ticks)), self._settings)

    def _key(self, moment: Moment, began: bool = False) -> Row:
        self._key_s = moment.now_s
        body = packed(encode(Key(began, replace(moment.before, tally=None))))
        return Row(Kind.KEY, moment.now_wall_s, moment.now_wall_s, "", body, self._settings)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _note(self, moment: Moment) -> list[Row]:
        """A decision that did something, saw how something ended, or is another than before."""
        decision, now_s = moment.decision, moment.now_s
        outcomes = moment.inputs.outcomes
        acted = bool(decision.actions or outcomes or decision.settled or decision.restored or decision.fallen or decision.notes)
        if not acted:
            if moment.assessment.level is Level.OK and not decision.held:
                self._noted = None
                return []
            what = _gist(moment)
            passed_s = float("inf") if self._note_s is None else now_s - self._note_s
            again_s = HELD_S if moment.assessment.level is Level.OK else PRESSED_S
            if passed_s < (again_s if what == self._noted else CHANGED_S):
                return []
            self._noted = what
        self._note_s = now_s
        about = {
            *(action.service for action in decision.actions),
            *(outcome.action.service for outcome in outcomes),
            *(one.action.service for one in decision.settled),
            *decision.restored,
            *decision.fallen,
        }
        assessment = moment.assessment
        note = Note(
            now_s=now_s,
            now_wall_s=moment.now_wall_s,
            mode=moment.mode,
            level=assessment.level,
            signals=assessment.signals,
            full_in_s=assessment.full_in_s,
            fill_bytes_per_s=assessment.fill_bytes_per_s,
            outcomes=outcomes,
            decision=decision,
            settings=self._settings[0],
        )
        names = "".join(f" {service} " for service in sorted(about))
        return [Row(Kind.DECISION, moment.now_wall_s, moment.now_wall_s, names, packed(encode(note)), self._settings)]


def is_loud(moment: Moment) -> bool:
    """Whether a tick is one of those that must be kept whole."""
    busy = moment.decision.actions or moment.inputs.outcomes or moment.before.flights
    return bool(busy) or moment.assessment.level is not Level.OK


def _gist(moment: Moment) -> object:
    """What makes one decision another than the last, beside its figures."""
    decision = moment.decision
    return (
        moment.assessment.level,
        frozenset((one.action, one.reason, one.service if one.reason in OWN_REASONS else None) for one in decision.held),
        decision.holds,
        decision.standby,
        decision.exhausted,
        decision.emergency,
        decision.ineffective,
        tuple((deficit.signal, deficit.level) for deficit in decision.deficits),
        None if decision.next_shed is None else decision.next_shed.service,
    )
