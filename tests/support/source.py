"""Copies of guardian's source, as others would have it, and what is built of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGED = (
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.txt", "requirements-build.txt",
    "guardian", "config", "systemd", "docs", "scripts/dist.sh",
)  # fmt: skip
LOCKS = ("requirements.txt", "requirements-build.txt")


def copied(to: Path, made_s: float, mode: int, names: Iterable[str] = PACKAGED) -> Path:
    """The source without its history, as if made at `made_s`; files have this mode, scripts can be run."""
    for name in names:
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    for path in [path for path in to.rglob("*") if path.is_file()]:
        path.chmod(mode if path.suffix != ".sh" else 0o755)
        os.utime(path, (made_s, made_s))
    return to


def wheels() -> Path:
    """What the locks name, downloaded once for each state of them, by whichever of several workers is the first to be done."""
    locked = hashlib.sha256(b"".join((ROOT / lock).read_bytes() for lock in LOCKS)).hexdigest()[:16]
    folder = ROOT / ".cache" / f"image-wheels-{locked}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".making"))
        command = [sys.executable, "-m", "pip", "-qq", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        for lock in LOCKS:
            subprocess.run([*command, "--dest", making, "-r", ROOT / lock], check=True)
        try:
            making.rename(folder)
        except OSError:  # another worker's is there
            shutil.rmtree(making)
    return folder
