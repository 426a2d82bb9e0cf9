"""The containers as the engine's own files have them, for an operator's emergency while the engine hangs. Needs root.

`containers/ID/config.v2.json` and `hostconfig.json` below the data root hold what an inspect shows, in the same words but for the
state. They are the engine's own business: nothing else than the emergency reads them, and a file that is not understood is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardian.engine.parse import MALFORMED, parse_container, service_of
from guardian.engine.protocol import Scope
from guardian.errors import EngineError
from guardian.model import Container

DEFAULT_ROOT = "/var/lib/docker"


def containers_on_disk(root: str, scope: Scope) -> tuple[Container, ...]:
    """Those in scope, by name. EngineError where the files cannot be read at all."""
    folder = Path(root) / "containers"
    try:
        homes = sorted(folder.iterdir())
    except OSError as error:
        raise EngineError(f"{folder}: {error.strerror}; run this as root, where the engine keeps its data") from None
    found = [_container(home, scope) for home in homes]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.name))


def _container(home: Path, scope: Scope) -> Container | None:
    try:
        written = json.loads((home / "config.v2.json").read_bytes())
        host = json.loads((home / "hostconfig.json").read_bytes())
        name, labels = written["Name"].lstrip("/"), written["Config"].get("Labels") or {}
        service = service_of(labels, name, scope)
        if service is None:
            return None
        answer = {
            "Id": written["ID"],
            "Name": name,
            "State": {**written["State"], "Status": _status(written["State"])},
            "Config": written["Config"],
            "HostConfig": host,
            "RestartCount": written.get("RestartCount"),
        }
        return parse_container(answer, service, None)
    except (OSError, *MALFORMED):
        return None  # just removed, or of a form that this guardian does not know


def _status(state: Mapping[str, Any]) -> str:
    """In the words of an inspect."""
    if state.get("Running"):
        return "paused" if state.get("Paused") else "restarting" if state.get("Restarting") else "running"
    if state.get("Dead"):
        return "dead"
    return "created" if str(state.get("StartedAt", "")).startswith("0001-01-01") else "exited"
