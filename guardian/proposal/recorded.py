"""What services used, from what the daemon has recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from guardian.model import ServiceKey
from guardian.proposal.model import Use
from guardian.record.reader import RecordError, service_use
from guardian.record.rows import RECORD_NAME

SINCE_S = 7 * 86400.0
ENOUGH = 60  # minutes: fewer say less than a look at it now


def recorded(state_dir: Path) -> Mapping[ServiceKey, Use]:
    """Of the last seven days, services that ran for an hour of them; empty where nothing was recorded or it cannot be read."""
    try:
        found = service_use(state_dir / RECORD_NAME, time.time() - SINCE_S)
    except RecordError:
        return {}
    return {
        key: Use(use.samples, use.working_set_p95_bytes, use.cores_p95) for key, use in found.items() if use.samples >= ENOUGH
    }
