"""From the engine's answer to `GET /system/df` to values. API 1.52 puts what were lists into `{"Items": […]}` under new names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from guardian.engine.parse import service_of
from guardian.engine.protocol import Scope
from guardian.model import ContainerState
from guardian.storage.values import ContainerDisk, EngineDisk, ImageDisk, VolumeDisk

_NO_NAME = re.compile(r"[0-9a-f]{64}")
_ANONYMOUS_LABEL = "com.docker.volume.anonymous"
Json = Mapping[str, Any]


def parse_disk(answer: Json, scope: Scope) -> EngineDisk:
    """KeyError, TypeError or ValueError for what is no such answer."""
    cache = _items(answer, "BuildCache", "BuildCacheUsage")
    return EngineDisk(
        containers=tuple(_container(row, scope) for row in _items(answer, "Containers", "ContainerUsage")),
        volumes=tuple(_volume(row) for row in _items(answer, "Volumes", "VolumeUsage")),
        images=tuple(_image(row) for row in _items(answer, "Images", "ImageUsage")),
        build_cache_bytes=sum(int(row["Size"]) for row in cache if not row.get("InUse") and not row.get("Shared")),
    )


def _items(answer: Json, old: str, new: str) -> Sequence[Json]:
    if new in answer:
        return (answer[new] or {}).get("Items") or ()
    return answer.get(old) or ()


def _container(row: Json, scope: Scope) -> ContainerDisk:
    name = next((name[1:] for name in row["Names"] or () if name.count("/") == 1), "")
    mounts = row.get("Mounts") or ()
    return ContainerDisk(
        name=name,
        service=service_of(row.get("Labels") or {}, name, scope),
        up=ContainerState(row["State"]).up,
        writable_bytes=int(row.get("SizeRw") or 0),  # left out where nothing was written
        volumes=tuple(mount["Name"] for mount in mounts if mount.get("Type") == "volume" and mount.get("Name")),
    )


def _volume(row: Json) -> VolumeDisk:
    usage, labels = row.get("UsageData") or {}, row.get("Labels") or {}
    name = str(row["Name"])
    return VolumeDisk(
        name=name,
        size_bytes=_known(usage.get("Size")),
        containers=_known(usage.get("RefCount")),
        anonymous=_ANONYMOUS_LABEL in labels or _NO_NAME.fullmatch(name) is not None,
    )


def _image(row: Json) -> ImageDisk:
    size, shared = _known(row.get("Size")), _known(row.get("SharedSize"))
    tags = [tag for tag in row.get("RepoTags") or () if tag != "<none>:<none>"]
    return ImageDisk(
        unique_bytes=None if size is None or shared is None else max(0, size - shared),
        containers=_known(row.get("Containers")),
        dangling=not tags and not row.get("RepoDigests"),
    )


def _known(value: int | None) -> int | None:
    """-1 is how the engine says that it does not know."""
    return None if value is None or value < 0 else int(value)
