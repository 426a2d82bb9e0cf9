"""What a decision is made of, beside the assessment: what happened since the last tick, and what stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from guardian.ledger.entries import Controls, Entry
from guardian.model import (
    Outcome,
    ServiceKey,
)
from guardian.policy.room import Admitted


@dataclass(frozen=True, slots=True)
class Inputs:
    """What happened since the last tick, and what stands."""

    outcomes: tuple[Outcome, ...] = ()
    overrides: tuple[ServiceKey, ...] = ()  # shed services that somebody started
    shed_orders: tuple[tuple[ServiceKey, str], ...] = ()  # by an operator: service, who; already checked by `refusal`
    ends: tuple[
        tuple[ServiceKey, str], ...
    ] = ()  # an operator's emergency: service, who; at once, and past the engine if need be
    restore_orders: tuple[tuple[ServiceKey, str], ...] = ()
    admitted: tuple[Admitted, ...] = ()  # an operator's roll-out starts these now
    entries: tuple[Entry, ...] = ()  # open ones of the ledger
    controls: Controls = field(default_factory=Controls)
    standby: bool = False
    engine_ready: bool = True  # it answers, and the list of containers is complete
    engine_down: bool = False  # it does not answer at all
    signals: bool = False  # containers can be ended by signal, without the engine
    resend: tuple[ServiceKey, ...] = ()  # ended by signal, and the engine started them again: the stop is due
    observe: bool = False  # decide as always; what comes of it is only pretended
    under_way: frozenset[str] | None = None  # ids of actions that are being carried out; None: not told
