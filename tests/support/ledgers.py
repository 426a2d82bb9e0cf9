"""Short ways to the values that ledger tests need. Wall time begins at `T0`; a container ran since long before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from guardian.clock import VirtualClock
from guardian.ledger import transitions
from guardian.ledger.entries import Entry, Means
from guardian.ledger.reconcile import Context, Reconciled, reconcile
from guardian.ledger.store import Store
from guardian.model import Action, ActionKind, Container, ContainerState, Outcome, Result, ServiceKey
from guardian.telemetry import NullTelemetry

T0 = 1_700_000_000.0
KIBANA = ServiceKey("demo", "kibana")


def a_container(container_id: str = "c1", service: ServiceKey = KIBANA, **fields: Any) -> Container:
    return Container(id=container_id, name=f"name-{container_id}", service=service, **{"started_wall_s": T0 - 5000, **fields})


def ended(container: Container, at_wall_s: float) -> Container:
    return replace(container, state=ContainerState.EXITED, finished_wall_s=at_wall_s)


def started(container: Container, at_wall_s: float) -> Container:
    return replace(container, state=ContainerState.RUNNING, started_wall_s=at_wall_s, finished_wall_s=None)


def an_action(
    action_id: str = "a1", kind: ActionKind = ActionKind.SHED, containers: tuple[str, ...] = ("c1",), **fields: Any
) -> Action:
    return Action(
        id=action_id, kind=kind, containers=containers, **{"service": KIBANA, "phase": 5, "reason": "memory", **fields}
    )


def an_outcome(action: Action, result: Result = Result.DONE, at_wall_s: float = T0 + 3, **fields: Any) -> Outcome:
    """DONE stopped everything; anything else failed everything, unless said otherwise."""
    if result is Result.DONE:
        fields.setdefault("stopped", action.containers)
    elif result is not Result.GONE:
        fields.setdefault("failed", action.containers)
    return Outcome(action=action, result=result, at_s=1.0, at_wall_s=at_wall_s, duration_s=1.0, **fields)


def intended(*containers: Container, action: Action | None = None) -> Entry:
    action = action or an_action(containers=tuple(one.id for one in containers), service=containers[0].service)
    return transitions.intend(action, by_id(*containers), T0)


def sent(*containers: Container, means: Means | None = None, action: Action | None = None) -> Entry:
    """Sent at T0 + 1."""
    return transitions.sent(intended(*containers, action=action), T0 + 1, means)


def shed(*containers: Container, means: Means | None = None) -> Entry:
    """Sent at T0 + 1, settled at T0 + 3, and seen once since, as ended at T0 + 2."""
    action = an_action(containers=tuple(one.id for one in containers), service=containers[0].service)
    entry = transitions.settled(sent(*containers, means=means, action=action), an_outcome(action))
    return seen_once(entry, *(ended(one, T0 + 2) for one in containers))


def seen_once(entry: Entry, *containers: Container) -> Entry:
    """The entry after an inventory in which nothing surprising happened."""
    reconciled = reconcile((entry,), containers, Context(), T0 + 4)
    assert reconciled.findings == ()
    return reconciled.entries[0]


def restoring(*containers: Container) -> Entry:
    """The start (action r1) was sent at T0 + 100."""
    entry = shed(*containers)
    ids = tuple(one.id for one in containers)
    return transitions.restoring(entry, an_action("r1", ActionKind.RESTORE, ids, service=entry.service), T0 + 100)


def look(entry: Entry, *containers: Container, at: float, **context: Any) -> Reconciled:
    """Reconcile one entry with an inventory read `at` seconds after T0."""
    return reconcile((entry,), containers, Context(**context), T0 + at)


def by_id(*containers: Container) -> Mapping[str, Container]:
    return {one.id: one for one in containers}


class Counting(NullTelemetry):
    """Counts what the ledger reports."""

    def __init__(self) -> None:
        self.late = 0
        self.failed_once = threading.Event()

    def ledger_late(self) -> None:
        self.late += 1

    def ledger_failed(self) -> None:
        self.failed_once.set()


def a_store(directory: Path, **options: Any) -> Store:
    clock = options.pop("clock", None) or VirtualClock(wall_s=T0)
    return Store(directory / "ledger.db", clock, options.pop("telemetry", NullTelemetry()), **options)
