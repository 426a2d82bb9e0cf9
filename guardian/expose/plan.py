"""What `/api/v1/plan` and `guardian plan` show: who would go, in which order, and where it would stop."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from guardian.errors import GuardianError, UsageError
from guardian.expose.answers import number
from guardian.expose.http import Request, Response, json
from guardian.expose.snapshot import Snapshot
from guardian.model import Signal
from guardian.policy.assess import SHEDDING
from guardian.policy.outlook import Outlook, outlook
from guardian.policy.platform import EMPTY
from guardian.policy.shed import resource_of


class NoPlan(GuardianError):
    """There is nothing to plan with, in words."""


def planned(request: Request, snapshot: Snapshot) -> Response:
    """By what the newest tick knew: `signal` (memory) at the ratio `at` (its hard mark). UsageError for a bad question."""
    unknown = sorted(set(request.query) - {"signal", "at"})
    if unknown:
        raise UsageError(f"{unknown[0]} is not known here; allowed are signal and at")
    name, at_ratio = request.query.get("signal", Signal.MEMORY.value), number(request, "at", None)
    if name not in list(SHEDDING):
        raise UsageError(f"signal: expected one of {', '.join(SHEDDING)}, got {name!r}")
    if at_ratio is not None and not 0 <= at_ratio <= 1:
        raise UsageError("at: expected a ratio from 0 to 1")
    signal, state = Signal(name), snapshot.state
    platform = EMPTY if state.tally is None else state.tally.of.platform
    host, pins = snapshot.sample.host, snapshot.controls.pins
    found = outlook(signal, at_ratio, host, platform, snapshot.entries, pins, state, snapshot.config, snapshot.at_s)
    return json(HTTPStatus.OK, plan(found))


def plan(found: Outlook | str) -> dict[str, Any]:
    """Ratios 0 to 1. Amounts are bytes, or cores where `unit` is cores."""
    if isinstance(found, str):
        raise NoPlan(found)
    unit = resource_of(found.signal)
    relief = {one.service: one.relief_bytes if unit.value == "memory" else one.relief_cores for one in found.picked}
    total, sheds = 0.0, []
    for order, one in enumerate(found.picked, start=1):
        total += relief[one.service] or 0.0
        sheds.append(
            {
                "order": order,
                "service": str(one.service),
                "phase": one.phase,
                "with": [str(key) for key in one.group[:-1]],
                "relief": relief[one.service],
                "relief_so_far": min(total, found.covered),
            }
        )
    return {
        "signal": found.signal.value,
        "unit": "bytes" if unit.value == "memory" else "cores",
        "at_ratio": found.at_ratio,
        "now_ratio": found.now_ratio,
        "recover_ratio": found.recover_ratio,
        "capacity": found.capacity,
        "deficit": found.deficit,
        "at_once": found.hard,
        "covered": found.covered,
        "enough": found.covered >= found.deficit,
        "sheds": sheds,
        "left": [
            *({"service": str(one.service), "phase": one.phase, "why": one.passed_over or "not_needed"} for one in found.left),
            *({"service": str(key), "phase": None, "why": why} for key, why in found.excluded),
        ],
    }
