"""What the emulated host is given to install and to run: one tar, made from this working tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from support.standin import standin_program

ROOT = Path(__file__).parents[2]
SIZE_BYTES = 32 * 1024 * 1024
GUEST_PYTHON = "3.13"
_GLIBC_TAGS = ("manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{minor}" for minor in range(5, 42)))


def make_payload(folder: Path) -> Path:
    """The tar, in `folder`: guardian's wheel, its locked dependencies, its files, the stand-ins, and the guest's own scripts."""
    _command("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    tar_path = folder / "payload.tar"
    with tarfile.open(tar_path, "w") as tar:
        for wheel in [*folder.glob("*.whl"), *_dependencies().glob("*.whl")]:
            tar.add(wheel, f"wheels/{wheel.name}")
        for name in ("README.md", "requirements.txt", "config", "systemd"):
            tar.add(ROOT / name, name)
        for script in sorted(path for path in (Path(__file__).parent / "guest").iterdir() if path.is_file()):
            tar.add(script, script.name)
        tar.add(standin_program(), "standin")
    # Of one size, so that a guest which goes on from a snapshot finds the disk as large as it remembers it.
    assert tar_path.stat().st_size < SIZE_BYTES
    os.truncate(tar_path, SIZE_BYTES)
    return tar_path


def _dependencies() -> Path:
    """The wheels that requirements.txt locks, for the guest's Python; downloaded once for each state of the lock."""
    lock = ROOT / "requirements.txt"
    folder = ROOT / ".cache" / "host" / f"wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        making = folder.with_suffix(".making")
        platforms = [argument for tag in _GLIBC_TAGS for argument in ("--platform", f"{tag}_x86_64")]
        abis = ["--implementation", "cp", "--abi", f"cp{GUEST_PYTHON.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
        _command(
            *("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
            *("--python-version", GUEST_PYTHON, *abis, *platforms, "--dest", str(making), "--requirement", str(lock)),
        )
        making.rename(folder)
    return folder


def _command(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
