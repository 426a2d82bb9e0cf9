"""Which containers are guardian itself: the one that it runs in, and the proxy through which it talks to the engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from guardian.model import Container

_ID = re.compile(r"[0-9a-f]{64}")
_TOLD_BY = ("self/cgroup", "self/mountinfo")  # the first names it on cgroup v1, the second where cgroups have a namespace


def own_ids(containers: Iterable[Container], url: str, proc_root: str = "/proc") -> frozenset[str]:
    """Ids among `containers` that must never be managed. `url` is the engine's: a host name in it may be a container's."""
    inside = _ids_inside(proc_root)
    host = urlsplit(url).hostname if url.startswith("tcp://") else None
    return frozenset(one.id for one in containers if one.id in inside or (host and host in (one.name, one.service.name)))


def _ids_inside(proc_root: str) -> frozenset[str]:
    """Container ids in what the kernel says of this process. On a host there are none of its own: mounts of containers
    that the host sees lie under the engine's data root, in `overlay2`, with ids of layers and not of containers.
    """
    found: set[str] = set()
    for name in _TOLD_BY:
        try:
            text = (Path(proc_root) / name).read_text("utf-8", "replace")
        except OSError:
            continue
        if name.endswith("mountinfo"):
            text = "\n".join(line for line in text.splitlines() if "/hostname " in line or "/resolv.conf " in line)
        found.update(_ID.findall(text))
    return frozenset(found)
