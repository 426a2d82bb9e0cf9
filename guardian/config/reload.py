"""What an edit of the file changes, what of it applies by itself, and what waits. Pure, but for the reading in `FileWatch`.

The rule behind every kind: an edit by itself may tune guardian or make it less bold. Whatever widens what guardian may stop waits for
somebody who says so (SIGHUP, `guardian reload`), because half a file can be valid YAML with a protection missing.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from guardian.config.load import read_bytes
from guardian.config.rules import verify
from guardian.config.schema import Config, PhaseConfig, ServiceConfig
from guardian.errors import ConfigError, Problem
from guardian.units import spell

SETTLE_S = 1.0

Policy = Literal["thresholds", "all", "none"]


class Kind(StrEnum):
    SAFE = "safe"  # tunes guardian, or makes it less bold
    WAITS = "waits"  # for an operator
    RESTART = "restart"  # cannot change at run time


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two configurations. `phases[2]` is the phase of that number; `services.X.phase` the phase that lists X."""

    path: str
    old: Any
    new: Any
    kind: Kind
    why: str = ""  # why it waits

    def __str__(self) -> str:
        line = f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"
        return line if self.kind is Kind.SAFE else f"{line} ({self.kind}: {self.why})"


@dataclass(frozen=True, slots=True)
class Reload:
    """What is to be in force now. `pending` waits for an operator, `refused_until_restart` for a restart."""

    config: Config
    applied: tuple[Change, ...] = ()
    pending: tuple[Change, ...] = ()
    refused_until_restart: tuple[Change, ...] = ()


def changes(old: Config, new: Config) -> tuple[Change, ...]:
    """Every difference that means something, in the order of the schema. The order within a list of names means nothing."""
    merge = _Merge(lambda _: False)
    merge.config(old, new)
    return tuple(merge.seen)


def apply(old: Config, new: Config, policy: Policy | None = None, ordered: bool = False) -> Reload:
    """Take over from `new` what may be taken now. The result is a whole configuration that breaks no rule.

    `policy` is `old.reload` unless given. `ordered`: an operator asked, and so everything applies that does not need a restart.
    """
    admitted = _admission(policy or old.reload, ordered)
    merge = _Merge(admitted)
    config = merge.config(old, new)
    if verify(config):  # a new budget, say, that only fits the phases that wait
        merge = _Merge(lambda _: False)
        merge.config(old, new)
        held = [_held(change) if admitted(change) else change for change in merge.seen]
        return Reload(old, (), *_split(held))
    return Reload(config, tuple(filter(admitted, merge.seen)), *_split(change for change in merge.seen if not admitted(change)))


def _admission(policy: Policy, ordered: bool) -> Callable[[Change], bool]:
    kinds = {Kind.SAFE, Kind.WAITS} if ordered or policy == "all" else {Kind.SAFE} if policy == "thresholds" else set()
    return lambda change: change.kind in kinds


def _split(found: Iterable[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Those that wait, and those that need a restart."""
    left = tuple(found)
    return (
        tuple(change for change in left if change.kind is not Kind.RESTART),
        tuple(change for change in left if change.kind is Kind.RESTART),
    )


def _held(change: Change) -> Change:
    return Change(change.path, change.old, change.new, Kind.WAITS, "it does not fit what stays in force until the rest applies")


# --- kinds ----------------------------------------------------------------------------------------------------------

# What is opened or set up once, at the start.
_AT_START = ("state_dir", "engine", "web", "log", "sampling.source", "version")
# Thresholds, budgets and timings, and the reins on acting at all.
_TUNING = ("objectives", "thresholds", "shedding", "restoring", "sampling.host", "sampling.containers", "notify")
_TUNING_ENDS = (".name", ".stop_timeout", ".budget.memory", ".budget.cpu", ".budget.storage")
# One value is less bold than the other: (end of the path, values from the bolder to the less bold, what is lost the other way).
_BOLDER_FIRST: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("mode", ("enforce", "observe"), "guardian would act"),
    (".protected", (False, True), "protection would be lost"),
    (".protect", (False, None, True), "protection would be lost"),  # None: as its labels say
    (".health.restart", (True, False), "it could be restarted"),
    (".kill", ("allow", "never"), "it could be killed"),
    (".on_pressure", ("stop", "throttle"), "it would be stopped instead of throttled"),
    ("dependencies", ("order", "inherit"), "services would lose what they inherit"),
    ("emergency.enabled", (True, False), "protected phases could be stopped"),
    ("reload", ("all", "thresholds", "none"), "edits would apply by themselves"),
)
# Names that shield: (end of the path, what is lost with one of them).
_SHIELDS = (
    ("emergency.keep", "it could be stopped in an emergency"),
    (".requires", "what it requires would lose its phase and protection"),
)


def _kind(path: str, old: Any, new: Any) -> tuple[Kind, str]:
    if path.startswith(_AT_START):
        return Kind.RESTART, "it is read once, at the start"
    if path.startswith(_TUNING) or path.endswith(_TUNING_ENDS):
        return Kind.SAFE, ""
    for end, order, loss in _BOLDER_FIRST:
        if path.endswith(end):
            return (Kind.SAFE, "") if order.index(new) > order.index(old) else (Kind.WAITS, loss)
    for end, loss in _SHIELDS:
        if path.endswith(end):
            return (Kind.SAFE, "") if set(old) < set(new) else (Kind.WAITS, loss)
    return Kind.WAITS, "it may change what is stopped or started"


# --- one walk over both ---------------------------------------------------------------------------------------------


class _Merge:
    """Walks two configurations at once. `seen` are the differences; the result has `new` where `admitted`, else `old`."""

    def __init__(self, admitted: Callable[[Change], bool]) -> None:
        self.seen: list[Change] = []
        self._admitted = admitted

    def config(self, old: Config, new: Config) -> Config:
        merged: Config = self._section(
            old, new, "", {"phases": self._phases, "services": self._services, "project": self._project}
        )
        return merged

    def _section(self, old: Any, new: Any, path: str, special: dict[str, Callable[[Any, Any], Any]] | None = None) -> Any:
        values = {}
        for name in old.__struct_fields__:
            before, after = getattr(old, name), getattr(new, name)
            here = f"{path}.{name}" if path else name
            merge = (special or {}).get(name)
            values[name] = merge(before, after) if merge else self._value(before, after, here)
        return msgspec.structs.replace(old, **values)

    def _value(self, old: Any, new: Any, path: str) -> Any:
        if isinstance(old, Struct) and type(old) is type(new):
            return self._section(old, new, path)
        if isinstance(old, tuple) and isinstance(new, tuple) and _names(old) and _names(new):
            if set(old) == set(new):
                return old
        elif old == new:
            return old
        return new if self._differs(path, old, new, *_kind(path, old, new)) else old

    def _differs(self, path: str, old: Any, new: Any, kind: Kind, why: str) -> bool:
        """Note the difference, and say whether the new value is taken."""
        change = Change(path, old, new, kind, why)
        self.seen.append(change)
        return self._admitted(change)

    def _project(self, old: Any, new: Any) -> Any:
        """One name and a list of it are the same."""
        before, after = ((value,) if isinstance(value, str) else value or () for value in (old, new))
        if set(before) == set(after):
            return old
        return new if self._differs("project", old, new, Kind.WAITS, "it changes whose containers guardian may stop") else old

    def _phases(self, old: tuple[PhaseConfig, ...], new: tuple[PhaseConfig, ...]) -> tuple[PhaseConfig, ...]:
        """Which phases there are, and which services are in which, is taken whole or not at all: they only make sense together."""
        before, after = {phase.phase: phase for phase in old}, {phase.phase: phase for phase in new}
        homes_before = {name: phase.phase for phase in old for name in phase.services}
        homes_after = {name: phase.phase for phase in new for name in phase.services}
        whole = False
        for number in sorted(before.keys() | after.keys()):
            if number not in after:
                gone = before[number].name or "there"
                whole = self._differs(f"phases[{number}]", gone, None, Kind.WAITS, "a phase would be gone")
            elif number not in before:
                come = after[number].name or "there"
                whole = self._differs(f"phases[{number}]", None, come, Kind.WAITS, "a phase would be new")
        for name in dict.fromkeys((*homes_before, *homes_after)):
            was, becomes = homes_before.get(name), homes_after.get(name)
            if was != becomes:
                why = (
                    "guardian could stop it"
                    if was is None
                    else "guardian would no longer manage it"
                    if becomes is None
                    else "it would move"
                )
                whole = self._differs(f"services.{name}.phase", was, becomes, Kind.WAITS, why)
        merged = {
            number: msgspec.structs.replace(
                self._section(before[number], after[number], f"phases[{number}]", {"services": lambda was, _: was}),
                services=(after if whole else before)[number].services,
            )
            for number in sorted(before.keys() & after.keys())
        }
        rest = after if whole else before
        return tuple(merged.get(number, rest[number]) for number in sorted(rest))

    def _services(self, old: dict[str, ServiceConfig], new: dict[str, ServiceConfig]) -> dict[str, ServiceConfig]:
        """A service without overrides is one with none set."""
        merged = {}
        none = ServiceConfig()
        for name in dict.fromkeys((*old, *new)):
            service = self._section(old.get(name, none), new.get(name, none), f"services.{name}")
            if service != none or name in old:
                merged[name] = service
        return merged


def _names(value: tuple[Any, ...]) -> bool:
    return all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    if isinstance(value, Struct):
        return ", ".join(f"{name} {spell(getattr(value, name))}" for name in value.__struct_fields__)
    return "none" if value == "" else spell(value)


# --- the file -------------------------------------------------------------------------------------------------------


class FileWatch:
    """Says when the file has changed and then stayed the same for `SETTLE_S`, so that half a save is never taken.

    Looks at the file's identity, size and times first, and at its content only when one of them moved: a look costs one stat.
    A save by rename is a change like any other; a touch, or an edit that is taken back in time, is none. Poll it a
    little less often than that: the second look takes what the first has seen.
    """

    def __init__(self, path: Path, loaded: bytes | None = None) -> None:
        """`loaded` is the content in force; what the file holds now, unless given."""
        self._path = path
        self._seen = None if loaded is not None else self._signature()
        self._look = loaded is not None  # the file may have changed since it was loaded
        self._known = self._digest_now() if loaded is None else _digest(loaded)  # of the content in force; empty: unreadable
        self._candidate: str | None = None  # digest of what may be half a save
        self._since_s = 0.0

    def poll(self, now_s: float) -> bytes | None:
        """The new content, once; None where there is none. ConfigError, once, for a file that is gone or cannot be read."""
        signature = self._signature()
        if self._look or signature != self._seen:
            self._look, self._seen = False, signature
            self._consider(self._digest_now(), now_s)
            return None
        if self._candidate is None or now_s - self._since_s < SETTLE_S:
            return None
        content, error = self._attempt()
        digest = "" if content is None else _digest(content)
        if digest != self._candidate:  # written again within one tick of the file system's clock
            self._consider(digest, now_s)
            return None
        self._candidate, self._known = None, digest
        if error is not None:
            raise error
        return content

    def read(self) -> bytes:
        """The content as it is now, settled or not, for an operator who says so. ConfigError where it cannot be read."""
        self._look, self._seen, self._candidate = False, self._signature(), None
        content, error = self._attempt()
        self._known = "" if content is None else _digest(content)
        if content is None:
            raise error or _unreadable(self._path, "cannot be read")
        return content

    def _consider(self, digest: str, now_s: float) -> None:
        """Begin to wait, if this is not what is known already."""
        self._candidate = digest if digest != self._known else None
        self._since_s = now_s

    def _attempt(self) -> tuple[bytes | None, ConfigError | None]:
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):  # a read of a pipe would wait for ever
                return None, _unreadable(self._path, "is not a file")
            return read_bytes(self._path), None
        except OSError as error:
            return None, _unreadable(self._path, f"cannot be read: {error.strerror or error}")
        except ConfigError as error:
            return None, error

    def _digest_now(self) -> str:
        content, _ = self._attempt()
        return "" if content is None else _digest(content)

    def _signature(self) -> tuple[int, ...] | None:
        """What moves with any write or replacement; None for a file that is gone."""
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_dev, seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError((Problem(str(path), None, None, "", f"{why}; the configuration in force stays"),))
