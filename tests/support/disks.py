"""Disks of a test's own, which can be made to fill up, fail or hang."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_BYTES = 8 << 20


@contextmanager
def small_disk(folder: Path, at: Path | None = None) -> Iterator[Path]:
    """An ext4 of 8 MiB in a file below `folder`, mounted at `at`."""
    image, mounted = folder / "disk", at or folder / "mounted"
    mounted.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-o", "loop", str(image), str(mounted))
    try:
        yield mounted
    finally:
        run("umount", "--lazy", str(mounted))


@contextmanager
def frozen(disk: Path) -> Iterator[None]:
    """Within, whoever writes to it hangs and cannot be killed."""
    run("fsfreeze", "--freeze", str(disk))
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", str(disk))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
