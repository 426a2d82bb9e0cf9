"""Promise K: `guardian emergency` works with the daemon up and down, and with the engine hung; the rest comes back by the rules."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.processes import Processes
from support.waiting import eventually

KEPT = "postgres"
NOBODY = 65534


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """What is kept has no restart policy; Docker restarts all else that ends without its doing."""
    options = {KEPT: {"HostConfig": {"RestartPolicy": {"Name": "no"}}}}
    platform = ReferencePlatform(standin_engine.url, only=small.SERVICES, restart_policy="unless-stopped", options=options)
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def guardian(
    make_guardian: Callable[..., GuardianProcess], standin_engine: PrivateEngine, processes: Processes, tmp_path: Path
) -> GuardianProcess:
    """On a calm platform, so that what is ended is restored as soon as it may be; it has seen the engine."""
    settings = small.small_settings(standin_engine.url)
    settings["engine"]["timeout"] = "2s"
    settings["emergency"] = {"keep": [KEPT]}
    guardian = make_guardian(small.as_yaml(settings), GUARDIAN_STATE_DIR=str(tmp_path / "guardian" / "state"))
    small.start(guardian)
    return guardian


@pytest.fixture
def systemctl(standin_engine: PrivateEngine, tmp_path: Path) -> Iterator[str]:
    """A PATH on which `systemctl restart` restarts the private engine."""
    folder, asked, done = tmp_path / "bin", tmp_path / "asked", tmp_path / "done"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\n[ "$2" = restart ] || {{ echo loaded; exit; }}\ntouch {asked}\nwhile [ ! -e {done} ]; do sleep 0.05; done\n'
    )
    program.chmod(0o755)
    over = threading.Event()

    def restart() -> None:
        while not over.wait(0.05):
            if asked.exists() and not done.exists():
                standin_engine.resume()
                standin_engine.kill()  # as systemd does with one that does not end
                standin_engine.start()
                done.touch()

    thread = threading.Thread(target=restart)
    thread.start()
    yield f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"
    over.set()
    thread.join()


def order(guardian: GuardianProcess, *arguments: str, **environ: str) -> dict[str, Any]:
    """Run it to its end, and return what it says."""
    done = guardian.cli("emergency", "--config", str(guardian.config_path), "--yes", "--json", *arguments, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ended_by_signal(answer: dict[str, Any]) -> bool:
    details = [one["detail"] for one in answer["steps"] if one["step"] == "end"]
    assert len(details) == len(small.SERVICES) - 1
    return all("by signal" in detail for detail in details)


def comes_back(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """The rules restore all of it, and nothing counts as somebody else's doing."""
    eventually(lambda: platform.running() == small.SERVICES, "all runs again")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed any more")
    assert guardian.metric("guardian_overrides_total") == 0


def test_with_the_daemon_up_it_is_an_order(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """With the daemon up the rest is ended by its order, what the file keeps runs on, and the rest is restored by the rules."""
    answer = order(guardian)
    assert [one["service"] for one in answer["plan"]["kept"]] == [f"openpolicy/{KEPT}"]
    assert {one["service"] for one in answer["steps"] if one["step"] == "end"} == {
        f"openpolicy/{name}" for name in small.SERVICES - {KEPT}
    }
    comes_back(guardian, platform)
    rows = [row for row in guardian.history() if row["action"] == "shed"]
    assert {(row["reason"], row["by"], row["result"]) for row in rows} == {("emergency", "root", "done")}
    assert KEPT not in {row["service"].partition("/")[2] for row in rows}


def test_with_the_daemon_down_it_does_it_itself_and_leaves_the_rest_in_the_ledger(
    guardian: GuardianProcess, platform: ReferencePlatform
) -> None:
    """With the daemon down the command does it itself; the files stay the daemon's, and its next start restores the rest."""
    assert guardian.stop() == 0
    for path in (guardian.state_dir, *guardian.state_dir.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    order(guardian)
    assert platform.running() == {KEPT}
    assert {path.stat().st_uid for path in guardian.state_dir.iterdir()} == {NOBODY}
    small.start(guardian)
    comes_back(guardian, platform)


def test_two_at_once_are_not_possible(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """A daemon that does not answer at its socket keeps its ledger: the command says who has it, and does nothing."""
    guardian.socket.unlink()
    done = guardian.cli("emergency", "--config", str(guardian.config_path), "--yes")
    assert done.returncode == 1
    assert "another guardian has this state directory (pid" in done.stderr
    assert platform.running() == small.SERVICES


def test_with_the_engine_hung_the_daemon_ends_the_rest_by_signal(
    guardian: GuardianProcess, platform: ReferencePlatform, processes: Processes, standin_engine: PrivateEngine
) -> None:
    """With the engine hung the daemon ends the rest by signal; once it answers, the rest is restored by the rules."""
    standin_engine.suspend()
    eventually(lambda: guardian.metric("guardian_engine_up") == 0, "guardian sees that the engine hangs")
    assert order(guardian)["plan"]["by_signal"]
    assert processes.alive() == {KEPT}
    standin_engine.resume()
    comes_back(guardian, platform)


def test_with_daemon_and_engine_gone_it_ends_by_signal_restarts_the_engine_and_starts_what_is_kept(
    guardian: GuardianProcess, platform: ReferencePlatform, processes: Processes, standin_engine: PrivateEngine, systemctl: str
) -> None:
    """With the daemon down and the engine hung: the rest ends by signal, systemd restarts the engine, what is kept is started."""
    assert guardian.stop() == 0
    standin_engine.suspend()
    answer = order(guardian, "--restart-engine", PATH=systemctl)
    assert ended_by_signal(answer)
    assert processes.alive() == set()  # with the engine what was kept has ended, too
    assert platform.running() == {KEPT}
    assert [(one["service"], one["ok"]) for one in answer["steps"] if one["step"] == "start"] == [(f"openpolicy/{KEPT}", True)]
    small.start(guardian)
    comes_back(guardian, platform)
