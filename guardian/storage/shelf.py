"""The readings that are kept: one small file in the state directory, written whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from guardian.files import write_whole
from guardian.model import ServiceKey
from guardian.storage.values import Command, Reading, ServiceDisk

NAME = "storage.json"
MOST_READINGS = 60
VERSION = 1


class _Row(msgspec.Struct, frozen=True):
    at_wall_s: float
    used_bytes: int | None
    size_bytes: int | None
    services: dict[str, tuple[int | None, int | None]]  # layers and volumes by `project/service`


class _File(msgspec.Struct, frozen=True):
    version: int
    readings: list[_Row]
    commands: list[tuple[str, int, str]]


def load(path: Path) -> tuple[tuple[Reading, ...], tuple[Command, ...]]:
    """Oldest first. Nothing where there is no file; ValueError for one that is not ours, OSError where it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return (), ()
    try:
        file = msgspec.json.decode(content, type=_File)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    if file.version != VERSION:
        raise ValueError(f"version {file.version} is not known")
    readings = [
        Reading(
            row.at_wall_s,
            row.used_bytes,
            row.size_bytes,
            {_key(name): ServiceDisk(layers, volumes) for name, (layers, volumes) in row.services.items()},
        )
        for row in file.readings
    ]
    return tuple(readings), tuple(Command(*one) for one in file.commands)


def save(path: Path, readings: Sequence[Reading], commands: Sequence[Command]) -> None:
    """The newest sixty. A crash leaves the old file or the new one, never half of one. OSError where it cannot be written."""
    rows = [
        _Row(
            one.at_wall_s,
            one.used_bytes,
            one.size_bytes,
            {str(service): (disk.layers_bytes, disk.volumes_bytes) for service, disk in one.services.items()},
        )
        for one in readings[-MOST_READINGS:]
    ]
    file = _File(VERSION, rows, [(one.command, one.frees_bytes, one.note) for one in commands])
    write_whole(path, msgspec.json.encode(file))


def _key(name: str) -> ServiceKey:
    project, slash, service = name.partition("/")
    return ServiceKey(project, service) if slash else ServiceKey("", name)
