"""Which `docker` commands would free how much. Pure; nothing here is ever run."""

from __future__ import annotations

from collections.abc import Iterator

from guardian.storage.values import Command, EngineDisk, Storage
from guardian.units import format_bytes

LEAST_BYTES = 1024 * 1024
MOST_NAMED = 3
MOST_HINTS = 5


def commands(disk: EngineDisk) -> tuple[Command, ...]:
    """Those that free a MiB or more, the largest first. What cannot be sized is not counted, so each frees at least that.

    `docker container prune` and `docker system prune` are never among them: they would remove what guardian has shed.
    """
    found = [one for one in _commands(disk) if one.frees_bytes >= LEAST_BYTES]
    return tuple(sorted(found, key=lambda one: (-one.frees_bytes, one.command)))


def _commands(disk: EngineDisk) -> Iterator[Command]:
    if disk.build_cache_bytes is not None:
        yield Command("docker builder prune", disk.build_cache_bytes, "builds take longer once")
    unused = [image for image in disk.images if image.containers == 0 and image.unique_bytes is not None]
    dangling = sum(image.unique_bytes or 0 for image in unused if image.dangling)
    named = sum(image.unique_bytes or 0 for image in unused)
    yield Command("docker image prune", dangling, "images without a name")
    if named > dangling:
        yield Command(
            "docker image prune --all", named, "every image that no container uses; they are pulled again when needed"
        )
    left = [volume for volume in disk.volumes if volume.containers == 0 and volume.size_bytes]
    yield Command(
        "docker volume prune",
        sum(volume.size_bytes or 0 for volume in left if volume.anonymous),
        "volumes without a name or user",
    )
    kept = sorted((one for one in left if not one.anonymous), key=lambda one: (-(one.size_bytes or 0), one.name))
    for volume in kept[:MOST_NAMED]:
        yield Command(
            f"docker volume rm {volume.name}", volume.size_bytes or 0, "no container uses it; is its data still wanted?"
        )
    strangers = [one for one in disk.containers if one.service is None and not one.up and one.writable_bytes]
    for container in sorted(strangers, key=lambda one: (-(one.writable_bytes or 0), one.name))[:MOST_NAMED]:
        yield Command(f"docker rm {container.name}", container.writable_bytes or 0, "stopped, and not guardian's")


def spelled(command: Command) -> str:
    """`docker builder prune` frees 2.1 GiB: builds take longer once."""
    return f"`{command.command}` frees {format_bytes(command.frees_bytes)}" + (f": {command.note}" if command.note else "")


def growers(storage: Storage) -> tuple[str, ...]:
    """The three services that grow fastest, for people."""
    return tuple(
        f"{one.service} grows by {format_bytes((one.bytes_per_s or 0.0) * 86400)} a day, to {format_bytes(one.disk.total_bytes)} now"
        for one in storage.fastest
    )


def hints(storage: Storage) -> tuple[str, ...]:
    """Who fills the disk, and the commands that would free most."""
    return (*growers(storage), *(spelled(one) for one in storage.commands[:MOST_HINTS]))
