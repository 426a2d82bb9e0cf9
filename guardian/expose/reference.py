"""Writes `docs/metrics.md` from the catalog, or says whether it is current: `python -m guardian.expose.reference --check|--write`."""

from __future__ import annotations

import sys

from guardian.expose.catalog import CATALOG
from guardian.generated import DOCS, main

PATH = DOCS / "metrics.md"

HEAD = """\
# Metrics

Generated from `guardian/expose/catalog.py` by `python -m guardian.expose.reference --write`: edit that, not this.

Guardian serves these at `http://127.0.0.1:9877/metrics` (`web.listen`), as Prometheus text or OpenMetrics, together with the usual `process_*`
metrics of its own process. Units are base units, ratios go from 0 to 1, and names of counters end in `_total`. What is not known has no sample:
an absent series means *unknown*, never zero. The counters of sheds and restores exist at 0 from the first tick, so that an alert sees the first
failure too; the series of a service that is removed from the configuration vanish.

| metric | type | labels | what it says |
|---|---|---|---|
"""


def reference() -> str:
    """The whole page."""
    rows = []
    for spec in CATALOG.values():
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        rows.append(f"| `{spec.name}` | {spec.kind} | {labels} | {spec.help} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    sys.exit(main("guardian.expose.reference", {PATH: reference()}, sys.argv[1:]))
