"""The emulated host for every test here: made once in a run, and taken back to a snapshot for each module or scenario."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import pytest
from host import report
from host.guarded import GUARDIAN, PLATFORM, Host, bring_up, image, install_and_await, make_platform, refresh_payload
from host.payload import ROOT, make_payload

RESULTS = ROOT / ".run" / "host"


@pytest.fixture(scope="session")
def resume(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Host]]:
    """Gives the host as it was at a snapshot (PLATFORM or GUARDIAN). There is one machine: the next call ends the one before."""
    made, folder = image(), tmp_path_factory.mktemp("host")
    if all(item.get_closest_marker("one_boot") for item in request.session.items):
        yield from _once(Host(folder, made, make_payload(folder)))
        return
    making = tmp_path_factory.mktemp("making")
    disk = make_platform(making, made)
    host = Host(folder, made, make_payload(folder))
    shutil.copyfile(disk, host.disk)
    saved = {PLATFORM}

    def resume(snapshot: str) -> Host:
        host.close()
        if snapshot not in saved:
            host.start(PLATFORM)
            refresh_payload(host)
            install_and_await(host)
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


def _once(host: Host) -> Iterator[Callable[[str], Host]]:
    """For a run that needs the host only once: no snapshot is made, and nothing is kept."""

    def boot(snapshot: str) -> Host:
        assert snapshot == GUARDIAN
        assert not host.boot_id, "what is marked one_boot takes the host once"
        bring_up(host)
        install_and_await(host)
        return host

    try:
        yield boot
    finally:
        host.close()
        host.disk.unlink(missing_ok=True)


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
