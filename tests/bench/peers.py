"""The programs that guardian is compared with: where they come from, and how each is run.

Nothing is installed on the machine: Debian packages are fetched by apt and unpacked below .cache, Glances has a virtual
environment there. A peer that cannot be had is left out, and the table says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import CADVISOR, EARLYOOM, GLANCES, NODE_EXPORTER
from bench.programs import CACHE

CADVISOR_VARIABLE = "GUARDIAN_BENCH_CADVISOR"
# The last Debian release that had cAdvisor is 11; its program needs nothing that a later one has not.
_DEBIAN_11 = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bullseye main\n"


@dataclass
class Peers:
    """Programs by the peer's name, what each says of its version, and why one is missing."""

    programs: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def prepare() -> Peers:
    """Fetch what is not there yet."""
    peers = Peers()
    _have(peers, GLANCES, _glances, "--version")
    _have(peers, CADVISOR, _cadvisor, "--version")
    _have(peers, NODE_EXPORTER, lambda: _unpacked("prometheus-node-exporter", "usr/bin/prometheus-node-exporter"), "--version")
    _have(peers, EARLYOOM, lambda: _unpacked("earlyoom", "usr/bin/earlyoom"), "-v")
    return peers


def _have(peers: Peers, name: str, get: Callable[[], Path], version_flag: str) -> None:
    try:
        program = get()
        said = subprocess.run([program, version_flag], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        stderr = getattr(error, "stderr", None) or b""
        words = stderr.decode(errors="replace") if isinstance(stderr, bytes) else stderr
        peers.missing[name] = (words.strip().splitlines() or [str(error)])[-1]
        sys.stderr.write(f"without {name}: {peers.missing[name]}\n")
        return
    peers.programs[name] = program
    peers.versions[name] = " ".join((said.stdout + said.stderr).strip().splitlines()[0].split())


def _glances() -> Path:
    home = CACHE / "glances"
    program = home / "bin" / "glances"
    if not program.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], capture_output=True, check=True)
        install = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "glances[containers]"]
        subprocess.run(install, capture_output=True, check=True)
    return program


def _cadvisor() -> Path:
    given = os.environ.get(CADVISOR_VARIABLE)
    return Path(given) if given else _unpacked("cadvisor", "usr/bin/cadvisor", _DEBIAN_11)


def _unpacked(package: str, path: str, source: str | None = None) -> Path:
    """A program out of a Debian package; `source`: a line of sources.list, where this machine's own have it not."""
    home = CACHE / package
    program = home / path
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        options = []
        if source is not None:
            lists = Path(folder) / "lists"
            (lists / "partial").mkdir(parents=True)
            (Path(folder) / "sources.list").write_text(source)
            options = [
                "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Etc::sourcelist={folder}/sources.list",
                "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::Cache={folder}",
            ]  # fmt: skip
            subprocess.run(["apt-get", *options, "update"], capture_output=True, check=True)
        subprocess.run(["apt-get", *options, "download", package], cwd=folder, capture_output=True, check=True)
        unpacked = Path(folder) / "root"
        subprocess.run(["dpkg", "-x", str(next(Path(folder).glob("*.deb"))), unpacked], capture_output=True, check=True)
        shutil.rmtree(home, ignore_errors=True)
        unpacked.rename(home)
    return program
