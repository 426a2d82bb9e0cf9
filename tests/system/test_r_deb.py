"""The Debian package: built here, and installed and removed on a copy of this machine's own system, which stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.ledgers import a_container, shed

from guardian.clock import SystemClock
from guardian.ledger.entries import Closed, Entry, EntryState
from guardian.ledger.store import Store
from guardian.telemetry import NullTelemetry

ROOT = Path(__file__).parents[2]
PACKAGE = "guardian-docker"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [ROOT / "scripts/deb.sh", folder],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (package,) = folder.glob("*.deb")
    return package


class System:
    """This machine's system with a layer of its own above it, where all that is changed goes."""

    def __init__(self, layer: Path) -> None:
        self.root = layer / "root"
        _run("mount", "-t", "tmpfs", "none", layer)
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        _run("mount", "-t", "overlay", "none", "-o", f"lowerdir=/,upperdir={layer}/upper,workdir={layer}/work", self.root)
        _run("mount", "--bind", "/dev", self.root / "dev")
        _run("mount", "-t", "proc", "none", self.root / "proc")
        (self.root / "tmp/packages").mkdir(parents=True)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return subprocess.run(["chroot", self.root, *command], env=environ, capture_output=True, text=True, check=False)

    def does(self, *command: str | Path) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> str:
        return self.run("dpkg-query", "--show", "--showformat=${Status}", PACKAGE).stdout

    def note(self, entry: Entry) -> None:
        """Have it in the ledger of the guardian there."""
        folder = self.root / "var/lib/guardian"
        folder.mkdir(exist_ok=True)
        store = Store(folder / "ledger.db", SystemClock(), NullTelemetry())
        assert store.put(entries=[entry], deadline_s=20)
        store.close(20)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def system(package: Path, tmp_path: Path) -> Iterator[System]:
    """With the package installed."""
    layer = tmp_path / "layer"
    layer.mkdir()
    try:
        system = System(layer)
        inside = system.root / "tmp/packages" / package.name
        inside.write_bytes(package.read_bytes())
        system.does("dpkg", "--install", f"/tmp/packages/{package.name}")
        yield system
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", layer], check=False, capture_output=True)


def test_it_installs_command_user_unit_configuration_and_completions(system: System) -> None:
    """It installs a command that runs on the system's own Python, a user without shell and home, the unit, a configuration, completions."""
    assert system.does("guardian", "version").startswith("guardian ")
    system.does("guardian", "check", "/etc/guardian/guardian.yaml")
    system.does(
        "python3", "-I", "-c", "import sys; sys.path.insert(0, '/usr/lib/guardian'); import guardian.daemon, yaml.cyaml"
    )
    assert system.does("getent", "passwd", "guardian").strip().endswith(":/nonexistent:/usr/sbin/nologin")
    unit = (system.root / "usr/lib/systemd/system/guardian.service").read_text()
    assert "\nExecStart=/usr/bin/guardian run --config /etc/guardian/guardian.yaml\n" in unit
    words = "COMP_WORDS='guardian res' COMP_CWORD=1 _GUARDIAN_COMPLETE=bash_complete guardian"
    assert system.does("sh", "-c", words).split() == ["plain,restore"]
    completions = {"bash": "bash-completion/completions/guardian", "zsh": "zsh/vendor-completions/_guardian"}
    for name in (*completions.values(), "fish/vendor_completions.d/guardian.fish"):
        assert "_GUARDIAN_COMPLETE" in (system.root / "usr/share" / name).read_text()
    assert system.does("dpkg", "--verify", PACKAGE) == ""


def test_it_is_not_removed_while_a_service_is_shed_and_leaves_nothing_once_it_is_purged(system: System, package: Path) -> None:
    """It refuses to be removed while a service is shed, which it names, or while nobody can tell; an upgrade goes on; without one it goes, and a purge leaves nothing."""
    ledger = system.root / "var/lib/guardian/ledger.db"
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(b"x" * 8192)
    unknown = system.run("dpkg", "--remove", PACKAGE)
    assert unknown.returncode != 0
    assert "cannot be read" in unknown.stderr
    ledger.unlink()

    entry = shed(a_container())
    system.note(entry)
    refused = system.run("dpkg", "--remove", PACKAGE)
    assert refused.returncode != 0
    assert "nobody would start them again: demo/kibana" in refused.stderr
    assert system.status().endswith(" ok installed")
    system.does("guardian", "version")
    system.does("dpkg", "--install", f"/tmp/packages/{package.name}")

    system.note(replace(entry, state=EntryState.CLOSED, closed=Closed.RESTORED, closed_wall_s=entry.decided_wall_s + 60))
    system.does("dpkg", "--remove", PACKAGE)
    left = [
        name
        for name in ("usr/bin/guardian", "usr/lib/guardian", "usr/lib/systemd/system/guardian.service")
        if (system.root / name).exists()
    ]
    assert left == []
    assert (system.root / "etc/guardian/guardian.yaml").exists()
    assert (system.root / "var/lib/guardian/ledger.db").exists()
    system.does("dpkg", "--purge", PACKAGE)
    assert not (system.root / "etc/guardian").exists()
    assert not (system.root / "var/lib/guardian").exists()
    assert system.run("getent", "passwd", "guardian").returncode != 0
