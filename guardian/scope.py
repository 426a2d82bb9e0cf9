"""Which containers guardian looks at."""

from __future__ import annotations

from collections.abc import Iterable

from guardian.config.schema import Config
from guardian.engine.protocol import Scope
from guardian.ledger.entries import Entry


def scope_of(config: Config, owed: Iterable[Entry]) -> Scope:
    """What the file names, and the projects of all that is owed, also where the file no longer names them."""
    services = [entry.service for entry in owed]
    projects = {*config.projects, *(service.project for service in services if service.project)}
    lone = {*config.containers, *(service.name for service in services if not service.project)}
    return Scope(tuple(sorted(projects)), tuple(sorted(lone)))
