"""What an operator may order, and what the daemon answers. Plain values: who hands them over is not known here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from guardian.errors import UsageError
from guardian.model import ServiceKey


class OrderKind(StrEnum):
    SHED = "shed"
    RESTORE = "restore"
    FORGET = "forget"  # a shed service is meant to stay down
    PIN = "pin"
    UNPIN = "unpin"
    HOLD = "hold"  # start nothing
    RELEASE = "release"
    STANDBY = "standby"  # stop and start nothing
    RELOAD = "reload"
    MEASURE = "measure"  # what lies on the engine's disk
    EMERGENCY = "emergency"  # stop all but what is kept
    ADMIT = "admit"  # a roll-out asks whether it may start these now
    TAKE_DOWN = "take_down"  # a roll-out is about to stop these itself


NOTHING_TO_KEEP = "it is not said what to keep: name services, give a phase, or set emergency.keep in the file"
NEEDS_SERVICES = frozenset(
    {
        OrderKind.SHED,
        OrderKind.RESTORE,
        OrderKind.FORGET,
        OrderKind.PIN,
        OrderKind.UNPIN,
        OrderKind.ADMIT,
        OrderKind.TAKE_DOWN,
    }
)


@dataclass(frozen=True, slots=True)
class Order:
    """One order of an operator.

    `services` is empty for the kinds that are about the whole host. `all` is for RESTORE alone: whatever is shed. `for_s`
    is for STANDBY alone: None is until told otherwise, 0 ends it. `by` is who gave it: a user's name on this host.

    For EMERGENCY `services` are those that are kept (none: as the file says), or all phases up to `keep_phase`; `plan_only`
    does nothing yet, and `restart_engine` says that the engine will be restarted, which ends what is kept, too.

    For ADMIT `memory_bytes` and `cores` are what the services are expected to use together, None where that is unknown; `plan_only`
    asks, and starts nothing.
    """

    kind: OrderKind
    services: tuple[ServiceKey, ...] = ()
    all: bool = False
    for_s: float | None = None
    by: str = ""
    keep_phase: int | None = None
    plan_only: bool = False
    restart_engine: bool = False
    memory_bytes: int | None = None
    cores: float | None = None


@dataclass(frozen=True, slots=True)
class OrderReply:
    """What came of an order. `ok` is false where it was refused, or failed for some of its services.

    `message` is one sentence, `lines` say more (one per service, or a diff), `data` is the same for programs.
    """

    ok: bool
    message: str
    lines: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def resolve(names: Sequence[str], known: Iterable[ServiceKey]) -> tuple[ServiceKey, ...]:
    """The services that people mean by `service` or `project/service`, each once, in the order given.

    Raises UsageError, with every name that is unknown or means more than one service.
    """
    known = sorted(set(known))
    found: dict[ServiceKey, None] = {}
    mistakes = []
    for name in names:
        fits = [key for key in known if name == str(key)] or [key for key in known if name == key.name]
        if len(fits) == 1:
            found[fits[0]] = None
        elif fits:
            mistakes.append(f"{name} is ambiguous: say {' or '.join(map(str, fits))}")
        else:
            close = difflib.get_close_matches(name, [key.name for key in known] + [str(key) for key in known], n=1)
            hint = f": did you mean {close[0]}?" if close else "; `guardian status` lists those that are"
            mistakes.append(f"{name} is not a managed service{hint}")
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return tuple(found)


def find_or_parse(name: str, known: Iterable[ServiceKey]) -> ServiceKey:
    """The service whose history is asked for: one that nobody knows any more may have some too, under its full name.

    Raises UsageError as `resolve` does.
    """
    project, slash, service = name.partition("/")
    return ServiceKey(project, service) if slash else resolve([name], known)[0]
