"""Writes `docs/engine-api.md` from the list of endpoints, or says whether it is current: `python -m guardian.engine.reference --check|--write`."""

from __future__ import annotations

import sys

from guardian.engine.endpoints import ENDPOINTS, Endpoint
from guardian.generated import DOCS, main

PATH = DOCS / "engine-api.md"

HEAD = """\
# Calls to the engine

Generated from `guardian/engine/endpoints.py` by `python -m guardian.engine.reference --write`: edit that, not this.

These are all the calls that Guardian makes to a Docker Engine; tests hold it to that, in both modes, behind a filter that lets nothing else pass. It never
creates, removes, builds, pulls, attaches or executes. What acts is called in enforce mode, and for an operator's order.

| call | what for | mode |
|---|---|---|
"""

FILTER = """
## For a filter before the socket

Regular expressions for the path, without the query. The second list is needed in enforce mode, and in any mode for `guardian restore`, `guardian rollout` and
`guardian limits --apply`. The Compose that `guardian rollout --compose` runs makes calls of its own, which this filter refuses: create containers beforehand.

```
{reads}
```

```
{acts}
```
"""


def reference() -> str:
    """The whole page."""
    rows = [f"| `{one.method} {one.path}` | {one.purpose} | {'enforce' if one.acts else 'both'} |\n" for one in ENDPOINTS]
    return HEAD + "".join(rows) + FILTER.format(reads=_lines(acts=False), acts=_lines(acts=True))


def _lines(*, acts: bool) -> str:
    def line(one: Endpoint) -> str:
        return f"{one.method:<5}{one.pattern}"

    return "\n".join(line(one) for one in ENDPOINTS if one.acts is acts)


if __name__ == "__main__":
    sys.exit(main("guardian.engine.reference", {PATH: reference()}, sys.argv[1:]))
