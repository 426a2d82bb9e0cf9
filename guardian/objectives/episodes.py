"""What was shed and what was restarted, from rows of history: pure. Rows are those of `guardian history`, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

_ENDS = {
    ("restore", "done"): "restored",
    ("override", "started"): "started by somebody",
    ("forget", "done"): "forgotten by order",
    ("reconcile", "restored"): "restored",
    ("reconcile", "returned"): "brought back by the engine",
    ("reconcile", "removed"): "removed",
    ("reconcile", "override_stopped"): "stopped by somebody",
}


@dataclass(frozen=True, slots=True)
class Shed:
    """One time that a service was down because of guardian. `until_wall_s` None: it still is, as far as is known."""

    service: str
    phase: int | None
    since_wall_s: float
    until_wall_s: float | None
    reason: str
    ended: str = ""
    relief_bytes: int | None = None  # measured
    by: str = ""

    def seconds(self, now_wall_s: float) -> float:
        return (now_wall_s if self.until_wall_s is None else self.until_wall_s) - self.since_wall_s


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart of an unhealthy service by rule."""

    service: str
    phase: int | None
    at_wall_s: float
    result: str
    detail: str


def sheds(rows: Iterable[Row], from_wall_s: float) -> tuple[Shed, ...]:
    """Those that were still on at `from_wall_s` or began since, oldest first. What observe mode only pretended is none."""
    found: list[Shed] = []
    going: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: float(row["at_wall_s"])):
        service = row["service"]
        if service is None:
            continue
        if _begins(row):
            going.setdefault(service, row)
        elif (ended := _ENDS.get((row["action"], row["result"]), "")) and service in going:
            found.append(_shed(going.pop(service), float(row["at_wall_s"]), ended))
    found.extend(_shed(row, None, "") for row in going.values())
    left = [one for one in found if one.until_wall_s is None or one.until_wall_s > from_wall_s]
    return tuple(sorted(left, key=lambda one: (one.since_wall_s, one.service)))


def restarts(rows: Iterable[Row], from_wall_s: float) -> tuple[Restart, ...]:
    """Those since `from_wall_s`, oldest first; observed ones are none."""
    found = (
        Restart(row["service"], row["phase"], float(row["at_wall_s"]), row["result"], row["detail"])
        for row in rows
        if row["action"] == "restart" and row["result"] != "observed" and row["at_wall_s"] >= from_wall_s
    )
    return tuple(sorted(found, key=lambda one: (one.at_wall_s, one.service)))


def _begins(row: Row) -> bool:
    return (row["action"], row["result"]) in (("shed", "done"), ("reconcile", "ours"), ("reconcile", "shed_again"))


def _shed(row: Row, until_wall_s: float | None, ended: str) -> Shed:
    return Shed(
        service=row["service"],
        phase=row["phase"],
        since_wall_s=float(row["at_wall_s"]),
        until_wall_s=until_wall_s,
        reason=row["reason"],
        ended=ended,
        relief_bytes=row["measured_relief_bytes"],
        by=row["by"] or "",
    )
