"""Everything that an engine has, in one call: for a first look, before any file says which containers are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardian.engine import endpoints
from guardian.engine.link import Link
from guardian.engine.parse import MALFORMED, ONEOFF_LABEL, PROJECT_LABEL
from guardian.errors import EngineProtocolError


@dataclass(frozen=True, slots=True)
class Seen:
    """One container as the list shows it. `project` is empty outside of Compose."""

    id: str
    name: str
    project: str
    image: str
    running: bool
    oneoff: bool
    ports: tuple[int, ...]  # on the host


def survey(link: Link, timeout_s: float) -> tuple[Seen, ...]:
    """Every container, running or not. Raises EngineError."""
    answer = link.get(endpoints.LIST, timeout_s, {"all": "1"})
    try:
        return tuple(_seen(row) for row in answer)
    except MALFORMED as error:
        raise EngineProtocolError(f"the engine gave a list of an unknown form: {error!r}") from error


def _seen(row: Mapping[str, Any]) -> Seen:
    labels: Mapping[str, str] = row.get("Labels") or {}
    ports = {int(port["PublicPort"]) for port in row.get("Ports") or () if port.get("PublicPort")}
    return Seen(
        id=row["Id"],
        name=next((name[1:] for name in row["Names"] or () if name.count("/") == 1), ""),
        project=labels.get(PROJECT_LABEL, ""),
        image=str(row.get("Image") or ""),
        running=row["State"] in ("running", "paused", "restarting"),
        oneoff=labels.get(ONEOFF_LABEL, "").lower() == "true",
        ports=tuple(sorted(ports)),
    )
