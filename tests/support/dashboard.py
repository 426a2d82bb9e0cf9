"""The dashboard that comes with guardian, and every query in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "config/grafana/guardian.json"


def load() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(PATH.read_text())
    return read


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Those with queries: no rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Where each is, and what it asks: of panels and annotations, variables as they stand."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def filled(query: str) -> str:
    """As Grafana asks it when all hosts are chosen, over the last minute."""
    return query.replace("$instance", ".+").replace("$__range", "1m")
