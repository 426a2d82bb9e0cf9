"""A daemon behind a control socket that does what orders say to a snapshot, without an engine or a loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.snapshots import AT_WALL_S, MIB, entry, key, snapshot

from guardian.errors import GuardianError
from guardian.expose.control import ControlServer
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import HistoryRow
from guardian.model import ActionKind, Level, Result, ServiceKey, ServiceStatus
from guardian.storage.values import Storage

HISTORY = (
    HistoryRow(
        at_wall_s=AT_WALL_S - 90,
        action=ActionKind.SHED,
        service=key("kibana"),
        phase=5,
        reason="memory",
        result=Result.DONE,
        signal="memory",
        value=0.84,
        threshold=0.8,
        deficit=560.0 * MIB,
        expected_bytes=200 * MIB,
        measured_bytes=190 * MIB,
        action_id="shed-kibana",
    ),
    HistoryRow(
        at_wall_s=AT_WALL_S - 3600,
        action=ActionKind.SHED,
        service=key("logstash"),
        phase=5,
        reason="operator",
        result=Result.TIMED_OUT,
        by="anna",
        detail="still there after 15s",
        action_id="shed-logstash",
    ),
    HistoryRow(AT_WALL_S - 7200, "level", None, None, "memory", "soft", signal="memory", value=0.81, threshold=0.8),
)


class FakeDaemon:
    """Refuses to shed a protected service or to restore what is not shed; all else it does at once. `orders` are those it was given."""

    def __init__(self, path: Path, shown: Snapshot | None = None) -> None:
        self.snapshot: Snapshot | None = shown or snapshot()
        self.orders: list[Order] = []
        self.history = HISTORY
        self.fails: Exception | None = None  # what every order ends with instead
        self.measured: Storage | None = None  # what an order to measure storage finds
        self.measure_problem = ""
        self.stubborn: set[ServiceKey] = set()  # an emergency does not end them
        self.server = ControlServer(path, lambda: self.snapshot, self.submit, self.read_history)
        self.server.start()

    def close(self) -> None:
        self.server.close()

    def _measure(self) -> OrderReply:
        """As an engine that has the answer at once; under pressure it is not asked."""
        assert self.snapshot is not None
        known = self.snapshot.storage
        if self.snapshot.assessment.level is not Level.OK:
            return OrderReply(False, "the host is soft, and measuring would add to that")
        again = replace(known, newest=self.measured, problem=self.measure_problem, attempts=known.attempts + 1)
        self.snapshot = replace(self.snapshot, storage=again)
        return OrderReply(True, "the engine is asked", data={"attempts": known.attempts})

    def read_history(self, limit: int, since_wall_s: float | None, service: ServiceKey | None) -> tuple[HistoryRow, ...]:
        rows = (
            row
            for row in self.history
            if (since_wall_s is None or row.at_wall_s >= since_wall_s) and (service is None or row.service == service)
        )
        return tuple(rows)[:limit]

    def submit(self, order: Order) -> OrderReply:
        self.orders.append(order)
        if self.fails is not None:
            raise self.fails
        if self.snapshot is None:
            raise GuardianError("nothing is known yet")
        if order.kind is OrderKind.MEASURE:
            return self._measure()
        if order.kind is OrderKind.RELOAD:
            return OrderReply(True, "the configuration was read again: nothing changed")
        if order.kind is OrderKind.EMERGENCY:
            return self._emergency(order)
        shed = {one.service for one in self.snapshot.entries}
        if order.kind is OrderKind.SHED:
            refused = {one.key for one in self.snapshot.assessment.services if one.protected} & set(order.services)
            done = [one for one in order.services if one not in refused]
            added = tuple(entry(one, self.snapshot.at_wall_s, reason="operator", by=order.by) for one in done)
            self.snapshot = replace(self.snapshot, entries=(*self.snapshot.entries, *added))
        elif order.kind in (OrderKind.RESTORE, OrderKind.FORGET):
            done = [one for one in (sorted(shed) if order.all else order.services) if one in shed]
            left = tuple(one for one in self.snapshot.entries if one.service not in done)
            self.snapshot = replace(self.snapshot, entries=left)
        else:
            self._stand(order)
            done = list(order.services)
        asked = done if order.all else order.services
        lines = tuple(f"{one}: {order.kind.value}" + ("" if one in done else " refused") for one in asked)
        return OrderReply(len(done) == len(asked), f"{order.kind.value}: {len(done)} of {len(asked)}", lines)

    def _emergency(self, order: Order) -> OrderReply:
        """End all that runs and is not kept; `stubborn` services run on."""
        assert self.snapshot is not None
        services, wall_s = self.snapshot.assessment.services, self.snapshot.at_wall_s

        def keeps(one: ServiceStatus) -> bool:
            return one.key in order.services or (order.keep_phase is not None and one.phase <= order.keep_phase)

        ended = [one for one in services if one.running and not keeps(one)]
        data = {
            "kept": [
                {"service": str(one.key), "phase": one.phase, "why": "kept", "running": bool(one.running)}
                for one in services
                if keeps(one)
            ],
            "ended": [{"service": str(one.key), "phase": one.phase, "footprint_bytes": one.footprint_bytes} for one in ended],
            "untouched": list(self.snapshot.assessment.unmanaged),
            "relief_bytes": sum(one.footprint_bytes or 0 for one in ended),
            "relief_is_whole": True,
            "by_signal": False,
        }
        if not order.plan_only:
            down = {one.key for one in ended} - self.stubborn
            after = tuple(replace(one, running=0) if one.key in down else one for one in services)
            added = tuple(entry(one, wall_s, reason="emergency", by=order.by) for one in sorted(down))
            assessment = replace(self.snapshot.assessment, services=after)
            self.snapshot = replace(self.snapshot, assessment=assessment, entries=(*self.snapshot.entries, *added))
        return OrderReply(True, "planned", data=data)

    def _stand(self, order: Order) -> None:
        assert self.snapshot is not None
        controls, decision = self.snapshot.controls, self.snapshot.decision
        if order.kind is OrderKind.PIN:
            controls = replace(controls, pins=controls.pins | set(order.services))
        elif order.kind is OrderKind.UNPIN:
            controls = replace(controls, pins=controls.pins - set(order.services))
        elif order.kind is OrderKind.HOLD:
            controls = replace(controls, hold=order.by)
            decision = replace(decision, holds=(*decision.holds, "operator"))
        elif order.kind is OrderKind.RELEASE:
            controls = replace(controls, hold="")
            decision = replace(decision, holds=tuple(one for one in decision.holds if one != "operator"))
        elif order.kind is OrderKind.STANDBY:
            until = float("inf") if order.for_s is None else self.snapshot.at_wall_s + order.for_s
            over = order.for_s == 0
            controls = replace(controls, standby_until_wall_s=None if over else until, standby_by="" if over else order.by)
            decision = replace(decision, standby=not over)
        self.snapshot = replace(self.snapshot, controls=controls, decision=decision)
