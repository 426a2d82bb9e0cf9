"""The emulated host for every test here: made once in a run, and taken back to a snapshot for each module or scenario."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import pytest
from host import report
from host.guarded import GUARDIAN, PLATFORM, Host, image, install, make_platform, refresh_payload
from host.payload import ROOT, make_payload

RESULTS = ROOT / ".run" / "host"


@pytest.fixture(scope="session")
def resume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Host]]:
    """Gives the host as it was at a snapshot (PLATFORM or GUARDIAN). There is one machine: the next call ends the one before."""
    made = image()
    making, folder = tmp_path_factory.mktemp("making"), tmp_path_factory.mktemp("host")
    disk = make_platform(making, made)
    host = Host(folder, made, make_payload(folder))
    shutil.copyfile(disk, host.disk)
    saved = {PLATFORM}

    def resume(snapshot: str) -> Host:
        host.close()
        if snapshot not in saved:
            host.start(PLATFORM)
            refresh_payload(host)
            install(host)
            host.await_(lambda: host.run("guardian", "status").ok, "guardian answers", 120)
            host.save(snapshot)
            saved.add(snapshot)
        else:
            host.start(snapshot)
            if snapshot == PLATFORM:
                refresh_payload(host)
        return host

    try:
        yield resume
    finally:
        host.close()
        host.disk.unlink()


@pytest.fixture(scope="module")
def host(resume: Callable[[str], Host]) -> Host:
    """The host with the platform up and guardian installed as the README says, in observe mode."""
    return resume(GUARDIAN)


@pytest.fixture(scope="session")
def record() -> Callable[[str, object], None]:
    """Keep figures for the report at the end, and in .run/host."""

    def record(name: str, figures: object) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The overloads that were measured, in this run or an earlier one, as the table of docs/reliability.md."""
    if rows := report.read(RESULTS):
        terminalreporter.section("overloads")
        terminalreporter.line(report.overload_table(rows))
