"""What the daemon takes into its memory: the libraries that it needs, and no others that happen to be installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guardian.lean import without

# Each is paid for in memory on a host that is short of it. A new one has to earn that (CONTRIBUTING.md, Dependencies).
LIBRARIES = {
    "apscheduler", "certifi", "click", "docker", "idna", "msgspec", "prometheus_client", "psutil", "requests", "structlog",
    "tzlocal", "urllib3", "yaml", "_yaml",
    "typing_extensions",  # msgspec takes it where tests have it installed; the daemon's lock does not name it
}  # fmt: skip
KEPT_OUT = {"rich", "pygments", "charset_normalizer", "chardet", "sqlalchemy", "twisted", "unittest", "xml", "pydoc"}


def loaded_by_the_daemon() -> set[str]:
    """Top-level modules of a process that has imported what `guardian run` does."""
    code = (
        "import sys; site = set(sys.modules)\n"
        "import guardian.cli.main, guardian.cli.run, guardian.config.load, guardian.daemon\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - site}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return set(result.stdout.split())


def test_the_daemon_imports_the_libraries_that_it_needs_and_no_others() -> None:
    """The daemon imports the libraries that it needs, and no others: rich and guessing of encodings stay out."""
    loaded = loaded_by_the_daemon()
    foreign = {name for name in loaded if not name.startswith("_")} - sys.stdlib_module_names - {"guardian", "cython_runtime"}
    assert foreign <= LIBRARIES
    assert not loaded & KEPT_OUT


def test_what_is_kept_out_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept out of some imports fails there as if it were not installed, and can be imported afterwards."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without("colorsys"), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)


def test_what_is_loaded_already_stays() -> None:
    """What is loaded already can be imported within too: nobody who uses it loses it."""
    with without("sys"):
        import sys as again
    assert again is sys
