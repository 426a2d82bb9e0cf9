"""What `make dist` builds, from copies of the source as others would have it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from support.source import ROOT, copied


def built(source: Path) -> dict[str, str]:
    """Name -> SHA-256 of what was built."""
    environ = {key: value for key, value in os.environ.items() if key not in ("SOURCE_DATE_EPOCH", "PYTHONPATH")}
    done = subprocess.run(
        [source / "scripts/dist.sh"], env={**environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (source / "dist").iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copied(tmp_path_factory.mktemp("here"), time.time(), 0o644)
    built(source)
    return source


def test_the_same_source_makes_the_same_files_anywhere_and_at_any_time(source: Path, tmp_path: Path) -> None:
    """Wheel and sdist of one source are the same to the byte, whatever its folder, its times and its modes."""
    elsewhere = copied(tmp_path / "else/where", time.time() - 40 * 86400, 0o600)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (source / "dist").iterdir()}
    assert len(sums) == 2
    assert built(elsewhere) == sums


def test_the_sdist_makes_the_same_wheel(source: Path, tmp_path: Path) -> None:
    """Who builds from the sdist gets the wheel that was built beside it."""
    (sdist,), (wheel,) = (source / "dist").glob("*.tar.gz"), (source / "dist").glob("*.whl")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    (unpacked / "scripts").mkdir()
    shutil.copy(source / "scripts/dist.sh", unpacked / "scripts")
    assert built(unpacked)[wheel.name] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_wheel_installs_a_command_that_finds_its_files(source: Path, tmp_path: Path) -> None:
    """The wheel installs with a command that runs and finds its files."""
    (package,) = (source / "dist").glob("*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    found = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}  # guardian's dependencies
    site = next((venv / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text("\n".join(found) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(venv), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(package)], check=True, capture_output=True)
    done = subprocess.run(
        [venv / "bin/guardian", "check", ROOT / "config/guardian.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (site / "guardian/expose/page/index.html").is_file()
