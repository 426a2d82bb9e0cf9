"""What the web side and the control socket answer alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus

from guardian.errors import GuardianError, UsageError
from guardian.expose.http import Request, Response, json
from guardian.expose.orders import find_or_parse
from guardian.expose.snapshot import Snapshot
from guardian.expose.status import history_row
from guardian.ledger.entries import HistoryRow
from guardian.model import ServiceKey

MAX_HISTORY = 10_000
STATUSES = {2: HTTPStatus.BAD_REQUEST, 69: HTTPStatus.SERVICE_UNAVAILABLE, 78: HTTPStatus.CONFLICT}  # by exit code

GetHistory = Callable[[int, float | None, ServiceKey | None], Sequence[HistoryRow]]
"""`(limit, since_wall_s, service)` -> rows, newest first. May raise LedgerError."""


def history(request: Request, snapshot: Snapshot | None, get_history: GetHistory) -> Response:
    """The newest `limit` rows, as `since` and `service` narrow them. UsageError for a bad question."""
    unknown = sorted(set(request.query) - {"limit", "since", "service"})
    if unknown:
        raise UsageError(f"{unknown[0]} is not known here; allowed are limit, since and service")
    limit = number(request, "limit", 100.0)
    if limit is None or not 1 <= limit <= MAX_HISTORY or limit != int(limit):
        raise UsageError(f"limit: expected a whole number from 1 to {MAX_HISTORY}")
    service = find_or_parse(request.query["service"], known_services(snapshot)) if "service" in request.query else None
    rows = get_history(int(limit), number(request, "since", None), service)
    return json(HTTPStatus.OK, {"history": [history_row(row) for row in rows]})


def known_services(snapshot: Snapshot | None) -> set[ServiceKey]:
    """Services that a question or an order may be about: managed ones, and those that guardian owes something although they left the file."""
    if snapshot is None:
        return set()
    return {
        *(one.key for one in snapshot.assessment.services),
        *(entry.service for entry in snapshot.entries),
        *snapshot.quarantined,
        *snapshot.controls.pins,
    }


def number(request: Request, name: str, default: float | None) -> float | None:
    """A finite number of the query. UsageError for anything else."""
    if name not in request.query:
        return default
    try:
        value = float(request.query[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{name}: expected a number, got {request.query[name]!r}")
    return value


def failed(error: GuardianError) -> Response:
    """`exit_code` is what the command line ends with."""
    return json(
        STATUSES.get(error.exit_code, HTTPStatus.INTERNAL_SERVER_ERROR), {"error": str(error), "exit_code": error.exit_code}
    )
