"""The recording as it is replayed: one step after the other, whole ticks where there are any, else readings of minutes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guardian.config.schema import Config
from guardian.ledger.entries import Controls, Entry
from guardian.model import Action, Container, HostReading, Inventory, Mode, Usage
from guardian.policy.inputs import Inputs
from guardian.policy.state import PolicyState
from guardian.record.reader import LEAD_S, RecordError, opened, settings_of
from guardian.record.rows import Key, Kind, Minute, Tick, decode, host_of, told_list, usage_of

THINNED_S = 10.0  # from one reading of a minute to the next
ROUND_S = 60.0  # … whose containers were read once
JOINED_S = 15.0  # ticks that follow each other within this belong together


@dataclass(frozen=True, slots=True)
class Step:
    """What was known at one moment. `whole`: all that the policy saw; `actions` are what it decided then."""

    now_s: float
    now_wall_s: float
    interval_s: float
    slept: bool
    host: HostReading | None
    inventory: Inventory | None
    inputs: Inputs
    excluded: frozenset[str]
    config: Config
    mode: Mode
    whole: bool
    actions: tuple[Action, ...] = ()
    began: bool = False  # guardian was started, or what was before is missing
    state: PolicyState | None = None  # what the policy remembered before this, where that was recorded


class _Span(NamedTuple):
    since_wall_s: float
    until_wall_s: float


class _Turn(NamedTuple):
    """A step, or the state before the next one."""

    at_wall_s: float
    order: int
    step: Step | None
    key: Key | None


def timeline(path: Path, since_wall_s: float) -> Iterator[Step]:
    """Steps since then, oldest first. RecordError where there is no recording, or it cannot be read."""
    settings = settings_of(path)
    spans = _spans(path, since_wall_s)
    streams = (
        _keys(path, since_wall_s),
        _ticks(path, since_wall_s, settings),
        _minutes(path, since_wall_s, settings, spans),
    )
    key: Key | None = None
    for turn in heapq.merge(*streams, key=lambda turn: (turn.at_wall_s, turn.order)):
        step = turn.step
        if step is None:
            began = key is not None and key.began
            key = turn.key if not began or turn.key is None else Key(True, turn.key.state)
            continue
        if key is not None:
            step = _with_key(step, key)
            key = None
        yield step


def _with_key(step: Step, key: Key) -> Step:
    return Step(**{**{name: getattr(step, name) for name in Step.__slots__}, "began": key.began, "state": key.state})


def _rows(path: Path, kind: Kind, since_wall_s: float) -> Iterator[bytes]:
    with opened(path) as connection:
        for (body,) in connection.execute(
            "SELECT body FROM rows WHERE kind = ? AND until_wall_s >= ? ORDER BY id", (kind.value, since_wall_s)
        ):
            yield body


def _spans(path: Path, since_wall_s: float) -> list[_Span]:
    """From when until when there are whole ticks."""
    spans: list[_Span] = []
    with opened(path) as connection:
        for at_wall_s, end_wall_s in connection.execute(
            "SELECT at_wall_s, until_wall_s FROM rows WHERE kind = ? AND until_wall_s >= ? ORDER BY at_wall_s",
            (Kind.TICKS.value, since_wall_s),
        ):
            if spans and at_wall_s - spans[-1].until_wall_s <= JOINED_S:
                spans[-1] = _Span(spans[-1].since_wall_s, max(spans[-1].until_wall_s, end_wall_s))
            else:
                spans.append(_Span(at_wall_s, end_wall_s))
    return spans


def _keys(path: Path, since_wall_s: float) -> Iterator[_Turn]:
    with opened(path) as connection:
        for at_wall_s, body in connection.execute(
            "SELECT at_wall_s, body FROM rows WHERE kind = ? AND until_wall_s >= ? ORDER BY id",
            (Kind.KEY.value, since_wall_s),
        ):
            yield _Turn(at_wall_s, 0, None, decode(body, Key))


def _ticks(path: Path, since_wall_s: float, settings: Mapping[str, Config]) -> Iterator[_Turn]:
    """Each refers to the one before: those before the first that is whole are left out."""
    containers: tuple[Container, ...] | None = None
    inventory: Inventory | None = None
    inputs: Inputs | None = None
    excluded: frozenset[str] = frozenset()
    config: Config | None = None
    mode = Mode.ENFORCE
    for body in _rows(path, Kind.TICKS, since_wall_s):
        for tick in decode(body, list[Tick]):
            inputs = tick.inputs or inputs
            excluded = excluded if tick.excluded is None else frozenset(tick.excluded)
            config = config if tick.settings is None else _known(settings, tick.settings, path)
            mode = tick.mode or mode
            if not tick.known:
                containers = inventory = None
            elif tick.readings is not None:
                read = tick.readings
                if containers is None and read.containers is None:
                    continue
                containers = told_list(containers or (), read.containers, read.changed)
                usage = usage_of(containers, read.usage, read.at_s)
                inventory = Inventory(read.at_s, containers, usage, read.round_s)
            if inputs is None or config is None or tick.now_wall_s < since_wall_s:
                continue
            step = Step(
                now_s=tick.now_s,
                now_wall_s=tick.now_wall_s,
                interval_s=tick.interval_s,
                slept=tick.slept,
                host=None if tick.host is None else host_of(tick.host),
                inventory=inventory,
                inputs=inputs,
                excluded=excluded,
                config=config,
                mode=mode,
                whole=True,
                actions=tick.actions,
            )
            yield _Turn(step.now_wall_s, 1, step, None)


def _minutes(path: Path, since_wall_s: float, settings: Mapping[str, Config], spans: list[_Span]) -> Iterator[_Turn]:
    """The host readings of minutes, without those for which there are whole ticks."""
    containers: tuple[Container, ...] | None = None
    excluded: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()
    controls = Controls()
    config: Config | None = None
    mode = Mode.ENFORCE
    place = 0
    for body in _rows(path, Kind.MINUTE, since_wall_s - LEAD_S):
        minute = decode(body, Minute)
        if containers is None and minute.containers is None:
            continue
        containers = told_list(containers or (), minute.containers, minute.changed)
        excluded = excluded if minute.excluded is None else frozenset(minute.excluded)
        entries = entries if minute.entries is None else minute.entries
        controls = controls if minute.controls is None else minute.controls
        config = config if minute.settings is None else _known(settings, minute.settings, path)
        mode = minute.mode or mode
        if config is None or minute.until_wall_s < since_wall_s:
            continue
        hosts = [host_of(row) for row in minute.hosts]
        at_s = hosts[0].at_s if hosts else minute.until_s
        usage = {
            one.id: Usage(at_s, use[0], use[1], use[2])
            for one, use in zip(containers, minute.use, strict=True)
            if use is not None
        }
        inventory = Inventory(at_s, containers, usage, ROUND_S) if containers else None
        inputs = Inputs(entries=entries, controls=controls, engine_ready=minute.ready)
        for host in hosts:
            wall_s = minute.until_wall_s - (minute.until_s - host.at_s)
            while place < len(spans) and spans[place].until_wall_s < wall_s:
                place += 1
            if wall_s < since_wall_s or (place < len(spans) and spans[place].since_wall_s <= wall_s):
                continue
            step = Step(
                now_s=host.at_s,
                now_wall_s=wall_s,
                interval_s=THINNED_S,
                slept=False,
                host=host,
                inventory=inventory,
                inputs=inputs,
                excluded=excluded,
                config=config,
                mode=mode,
                whole=False,
            )
            yield _Turn(wall_s, 2, step, None)


def _known(settings: Mapping[str, Config], digest: str, path: Path) -> Config:
    try:
        return settings[digest]
    except KeyError:
        raise RecordError(
            f"{path}: names the configuration {digest}, which it does not have; delete it to begin anew"
        ) from None
