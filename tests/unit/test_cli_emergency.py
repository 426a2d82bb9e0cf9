"""`guardian emergency` against a real control socket: what it shows, asks, orders and reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.fake_daemon import FakeDaemon
from support.snapshots import key

from guardian.cli import emergency as command
from guardian.cli import options
from guardian.cli.main import main
from guardian.expose.orders import Order, OrderKind

Run = Callable[..., Result]
CORE = tuple(map(key, ("postgres", "redis", "api", "web", "gateway")))


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.setattr(command, "FIRST_LOOK_S", 0.0)  # this one has done it when it answers
    monkeypatch.setattr(command, "END_WITHIN_S", 0.5)
    monkeypatch.setattr(command, "UP_WITHIN_S", 0.5)
    daemon = FakeDaemon(tmp_path / "control.sock")
    yield daemon
    daemon.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(options, "DEFAULT_CONFIG", tmp_path / "no-such.yaml")
    monkeypatch.setattr(command, "DEFAULT_CONFIG", tmp_path / "no-such.yaml")
    runner = CliRunner(env={"GUARDIAN_WEB_CONTROL": str(tmp_path / "control.sock"), "NO_COLOR": "1"})
    return lambda *arguments, **options: runner.invoke(main, ("emergency", *arguments), prog_name="guardian", **options)


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes what it is asked for, and restarts nothing."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $2 >> {tmp_path}/asked\necho loaded\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    return tmp_path / "asked"


def kinds(daemon: FakeDaemon) -> list[str]:
    return [f"{one.kind}{' plan' if one.plan_only else ''}" for one in daemon.orders]


def test_it_shows_the_plan_and_asks(run: Run, daemon: FakeDaemon) -> None:
    """Without --yes it shows who is kept, who is ended and what that gives back, asks, and does nothing for a no."""
    result = run("--keep-phase", "1", input="n\n")
    assert result.exit_code == 1
    out = " ".join(result.stdout.split())
    for shown in ("openpolicy/postgres 1 kept runs", "openpolicy/grafana 5 100 MiB", "This gives back", "Do this? [y/N]"):
        assert shown in out, shown
    assert "Not managed, and so not touched: openpolicy-debug-1" in out
    assert kinds(daemon) == ["emergency plan"]


def test_it_ends_the_rest_and_reports_each(run: Run, daemon: FakeDaemon) -> None:
    """After a yes the rest is ended by one order, and each service has its line."""
    result = run("--keep-phase", "1", input="y\n")
    assert result.exit_code == 0, result.output
    assert kinds(daemon) == ["emergency plan", "emergency"]
    assert (daemon.orders[1].keep_phase, daemon.orders[1].restart_engine) == (1, False)
    assert "end openpolicy/grafana: ended" in result.stdout
    assert "start openpolicy/postgres: runs" in result.stdout
    assert "by its rules" in result.stdout


def test_services_can_be_named(run: Run, daemon: FakeDaemon) -> None:
    """Services to keep can be named, and reach the daemon as such."""
    assert run("--keep", "postgres", "--keep", "openpolicy/redis", "--yes").exit_code == 0
    assert {one.services for one in daemon.orders} == {(key("postgres"), key("redis"))}


def test_one_that_does_not_end_fails_it_and_the_rest_goes_on(run: Run, daemon: FakeDaemon) -> None:
    """A service that does not end is told on stderr and makes it end with 1; all other steps are taken."""
    daemon.stubborn.add(key("grafana"))
    result = run("--keep-phase", "1", "--yes")
    assert result.exit_code == 1
    assert "end openpolicy/grafana: runs on (failed)" in result.stderr
    assert "end openpolicy/prometheus: ended" in result.stdout
    assert "start openpolicy/postgres: runs" in result.stdout


def test_docker_is_restarted_with_starts_held_meanwhile(run: Run, daemon: FakeDaemon, systemctl: Path) -> None:
    """With --restart-engine starts are held, the rest is ended, systemd restarts Docker, and the hold ends."""
    result = run("--keep-phase", "1", "--restart-engine", "--yes")
    assert result.exit_code == 0, result.output
    assert systemctl.read_text().split() == ["show", "restart"]
    assert kinds(daemon) == ["emergency plan", "hold", "emergency", "emergency plan", "release"]
    assert daemon.orders[2].restart_engine
    assert "restart engine: done by systemd" in result.stdout
    assert "every container on it ends for a moment" in result.stdout


def test_a_hold_that_was_there_stays(run: Run, daemon: FakeDaemon, systemctl: Path) -> None:
    """A hold that an operator had ordered before stays in force."""
    daemon.submit(Order(OrderKind.HOLD, by="ada"))
    assert run("--keep-phase", "1", "--restart-engine", "--yes").exit_code == 0
    assert kinds(daemon) == ["hold", "emergency plan", "emergency", "emergency plan"]


def test_a_restart_that_is_not_possible_is_said_before_anything_ends(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where systemd cannot restart Docker, that is said before anything is ended."""
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("--keep-phase", "1", "--restart-engine", "--yes")
    assert result.exit_code == 1
    assert "there is no systemctl here" in result.stderr
    assert kinds(daemon) == ["emergency plan"]


def test_as_json_it_says_the_same(run: Run, daemon: FakeDaemon) -> None:
    """With --json it prints the plan and every step, and nothing else."""
    result = run("--keep-phase", "1", "--yes", "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["ok"]) == (0, True)
    assert [one["service"] for one in shown["plan"]["kept"]] == [str(one) for one in CORE]
    assert {"step": "end", "service": "openpolicy/grafana", "ok": True, "detail": "ended"} in shown["steps"]


def test_no_hold_stays_behind_where_it_is_broken_off(
    run: Run, daemon: FakeDaemon, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off by an error or an interrupt, it leaves no hold of its own behind."""
    monkeypatch.setattr(command, "restart_docker", lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert run("--keep-phase", "1", "--restart-engine", "--yes").exit_code == 130
    assert kinds(daemon) == ["emergency plan", "hold", "emergency", "release"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--keep", "api", "--keep-phase", "1", "--yes"), "not both"),
        (("--keep-phase", "0"), "--keep-phase"),
        (("--keep-phase", "1", "--json"), "--json goes with --yes"),
        (("--keep", "postgrse", "--yes"), "did you mean postgres?"),
        (("--yes",), "it is not said what to keep"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, daemon: FakeDaemon, arguments: tuple[str, ...], says: str) -> None:
    """Wrong usage ends with 2 and says what is wrong, also where neither the order nor the file says what to keep."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert daemon.orders == []


def test_without_a_daemon_it_needs_the_file(run: Run) -> None:
    """Without a daemon the file is needed, and its absence is a mistake in the configuration."""
    result = run("--yes")
    assert result.exit_code == 78
    assert "no-such.yaml: cannot be read" in result.stderr


def test_without_a_daemon_observe_mode_is_refused(run: Run, tmp_path: Path) -> None:
    """Without a daemon a file in observe mode is refused with 1, as the daemon would."""
    file = tmp_path / "guardian.yaml"
    file.write_text(f"version: 1\nproject: demo\nstate_dir: {tmp_path}\nphases: [{{phase: 1, services: [db]}}]\n")
    result = run("--yes", "--config", str(file))
    assert result.exit_code == 1
    assert "the mode is observe" in result.stderr
