"""What the recording's file holds: the shape of each row's body, and how it is encoded (msgpack, then zlib).

A replay must decide what was decided, so what the policy sees is kept exactly. Two ticks are mostly alike: a tick has only
what is another than in the tick before; None is *the same*. Containers are referred to by their place in the newest list.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from guardian.config.schema import Config, EngineConfig
from guardian.ledger.entries import Controls, Entry
from guardian.model import Action, Container, Decision, HostReading, Level, Mode, Outcome, SignalStatus, Usage
from guardian.policy.inputs import Inputs
from guardian.policy.state import PolicyState

RECORD_NAME = "record.db"
VERSION = 1

HostRow = tuple[float | int | bool | None, ...]  # the fields of a HostReading, in their order
UseRow = tuple[float | None, int | None, int | None, float | None]  # at_s (None: as the list's), working set, footprint, cores
MinuteRow = tuple[int | None, int | None, float | None, float | None]  # most of working set, footprint; mean, most of cores

_T = TypeVar("_T")


class Kind(StrEnum):
    KEY = "key"  # the policy's state; what follows needs nothing from before it
    TICKS = "ticks"  # some seconds of whole ticks
    MINUTE = "minute"  # one minute, thinned
    DECISION = "decision"


class Row(NamedTuple):
    """One row of the file. `about`: the services that something was done to, each as ` project/name `."""

    kind: Kind
    at_wall_s: float
    until_wall_s: float
    about: str
    body: bytes
    settings: tuple[str, bytes] | None = None  # digest and body of a configuration that this row may be the first to name


class Readings(msgspec.Struct, frozen=True, array_like=True):
    """An inventory. `usage` is in the order of the containers; of these `changed` has those that are not as before."""

    at_s: float
    round_s: float
    containers: tuple[Container, ...] | None
    changed: tuple[Container, ...]
    usage: tuple[UseRow | None, ...]


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """One tick: what `assess` and `decide` were given, and the actions and the level that came of it."""

    now_s: float
    now_wall_s: float
    interval_s: float
    slept: bool
    host: HostRow | None
    known: bool  # whether there was an inventory at all
    readings: Readings | None
    inputs: Inputs | None
    actions: tuple[Action, ...]
    level: Level
    excluded: tuple[str, ...] | None = None
    settings: str | None = None  # digest of the configuration
    mode: Mode | None = None


class Key(msgspec.Struct, frozen=True):
    """The policy's state before the tick that follows. `began`: guardian was started, or ticks before are missing."""

    began: bool
    state: PolicyState


class Minute(msgspec.Struct, frozen=True, array_like=True):
    """A minute in which every 10 s are one host reading: that with the most memory in use."""

    began_wall_s: float
    until_wall_s: float
    until_s: float  # the same on the monotonic clock
    ready: bool  # the engine answered, and its list was complete
    hosts: tuple[HostRow, ...]
    round_s: float
    use: tuple[MinuteRow | None, ...]  # in the order of the containers
    containers: tuple[Container, ...] | None
    changed: tuple[Container, ...]
    excluded: tuple[str, ...] | None
    entries: tuple[Entry, ...] | None
    controls: Controls | None
    settings: str | None
    mode: Mode | None


class Note(msgspec.Struct, frozen=True):
    """A decision with what it was made on, to be explained later."""

    now_s: float
    now_wall_s: float
    mode: Mode
    level: Level
    signals: tuple[SignalStatus, ...]
    full_in_s: float | None
    fill_bytes_per_s: float | None
    outcomes: tuple[Outcome, ...]
    decision: Decision
    settings: str = ""  # digest of the configuration


def host_row(host: HostReading) -> HostRow:
    return (
        host.at_s, host.cores, host.memory_total_bytes, host.memory_available_bytes, host.swap_total_bytes,
        host.swap_used_bytes, host.cpu_ratio, host.cpu_some_avg10_ratio, host.memory_some_avg10_ratio,
        host.memory_full_avg10_ratio, host.io_some_avg10_ratio, host.io_full_avg10_ratio, host.psi_present,
        host.disk_total_bytes, host.disk_available_bytes,
    )  # fmt: skip


def host_of(row: HostRow) -> HostReading:
    return HostReading(*row)  # type: ignore[arg-type]


def list_of(
    before: tuple[Container, ...] | None, now: tuple[Container, ...]
) -> tuple[tuple[Container, ...] | None, tuple[Container, ...]]:
    """How `now` is told where `before` is known: None and those that changed, or all of it where others are there."""
    if before is None or len(before) != len(now) or any(old.id != new.id for old, new in zip(before, now, strict=True)):
        return now, ()
    return None, tuple([new for old, new in zip(before, now, strict=True) if new is not old and new != old])


def told_list(
    before: tuple[Container, ...], whole: tuple[Container, ...] | None, changed: tuple[Container, ...]
) -> tuple[Container, ...]:
    """The other way round; the same object where nothing changed."""
    if whole is not None:
        return whole
    if not changed:
        return before
    newer = {one.id: one for one in changed}
    return tuple(newer.get(one.id, one) for one in before)


def use_rows(containers: Sequence[Container], usage: Mapping[str, Usage], at_s: float) -> tuple[UseRow | None, ...]:
    """What decides is kept; what a container ran short of (`strain`) decides nothing, and is not."""
    return tuple(
        [
            None
            if (one := usage.get(container.id)) is None
            else (None if one.at_s == at_s else one.at_s, one.working_set_bytes, one.footprint_bytes, one.cpu_cores)
            for container in containers
        ]
    )


def usage_of(containers: Sequence[Container], rows: Sequence[UseRow | None], at_s: float) -> dict[str, Usage]:
    return {
        container.id: Usage(at_s if row[0] is None else row[0], row[1], row[2], row[3])
        for container, row in zip(containers, rows, strict=True)
        if row is not None
    }


# --- encoding -------------------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    """Sizes, shares and durations are numbers with a name."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is nothing that a recording can hold")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


def encode(value: object) -> bytes:
    return _encoder.encode(value)


def packed(body: bytes) -> bytes:
    return zlib.compress(body, 1)


def joined(encoded: Sequence[bytes]) -> bytes:
    """The body of an array of what was encoded already."""
    return _encoder.encode([msgspec.Raw(one) for one in encoded])


def decode(body: bytes, type_: type[_T]) -> _T:
    """msgspec.DecodeError or zlib.error where it is not what was written."""
    decoder: msgspec.msgpack.Decoder[_T] = _decoder(type_)  # type: ignore[arg-type]
    return decoder.decode(zlib.decompress(body))


@cache
def _decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_, dec_hook=lambda named, value: named(value))


def policy_part(config: Config) -> Config:
    """What decisions depend on. Addresses, files and secrets of other sections are nothing for a recording."""
    services = {name: msgspec.structs.replace(one, health=None) for name, one in config.services.items()}
    return Config(
        version=config.version,
        phases=config.phases,
        mode=config.mode,
        project=config.project,
        containers=config.containers,
        engine=EngineConfig(timeout=config.engine.timeout),
        host=config.host,
        sampling=config.sampling,
        thresholds=config.thresholds,
        shedding=config.shedding,
        dependencies=config.dependencies,
        restoring=config.restoring,
        services=services,
        emergency=config.emergency,
        target_phase=config.target_phase,
    )
