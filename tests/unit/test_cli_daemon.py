"""Commands that talk to the daemon, run against a real control socket."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.fake_daemon import HISTORY, FakeDaemon
from support.ledgers import a_store
from support.snapshots import AT_WALL_S, GIB, MIB, key, snapshot

from guardian.cli import client as clients
from guardian.cli import options
from guardian.cli.main import COMMANDS, main
from guardian.clock import VirtualClock
from guardian.config.schema import Config
from guardian.errors import ConfigError, GuardianError, Problem
from guardian.expose.orders import Order, OrderKind
from guardian.expose.status import status
from guardian.ledger.entries import Controls
from guardian.model import Level
from guardian.storage.growth import storage_of
from guardian.storage.values import Command, Reading, ServiceDisk, Storage

Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def daemon(path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(path)
    yield daemon
    daemon.close()


@pytest.fixture
def run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `guardian …` against the socket at `path`; no configuration of this host is looked at."""
    monkeypatch.setattr(options, "DEFAULT_CONFIG", tmp_path / "no-such.yaml")
    monkeypatch.setattr(options, "DEFAULT_STATE_DIR", tmp_path / "no-state")
    runner = CliRunner(env={"GUARDIAN_WEB_CONTROL": str(path), "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(main, arguments, prog_name="guardian")


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_shows_levels_phases_services_and_what_is_shed(run: Run, daemon: FakeDaemon) -> None:
    """`status` shows levels, phases against budgets, services, and what is shed since when and why."""
    result = run("status")
    assert result.exit_code == 0
    out = " ".join(result.stdout.split())
    for shown in (
        "enforce mode, level soft, engine up (host, 26.1.5, cgroup v2)",
        "memory 83.0% soft 30s 80.0% 90.0% 70.0%",
        "swap 10.0% ok 30s 80.0% - 70.0%",
        "1 core 600 MiB of 800 MiB 0.25 cores of 0.40 cores ? of 954 MiB - 5 running",
        "4 running, 1 shed, 1 quarantined",
        "hold: nothing is started: pressure",
        "deficit of memory: 330 MiB, and 200 MiB on its way back",
        "in flight: shed openpolicy/fluentd since 3s",
        "next to shed: openpolicy/fluentd, for 100 MiB",
        "next to restore: openpolicy/kibana",
        "in no phase, so never stopped: openpolicy-debug-1",
        "5 openpolicy/kibana shed - - 512 MiB -",
        "openpolicy/grafana running 120 MiB 100 MiB 512 MiB 0.05 cores pinned",
        "restore openpolicy/kibana pressure the host is soft",
    ):
        assert shown in out, shown
    assert "memory guardian shed 190 MiB 220 MiB" in out
    assert "operator anna quarantined" in out


def test_status_marks_a_phase_over_budget_in_words(run: Run, daemon: FakeDaemon) -> None:
    """`status` marks a phase over its budget in words: colours carry no meaning alone."""
    shown = snapshot()
    phases = tuple(replace(use, over=("memory", "cpu")) for use in shown.assessment.phases)
    daemon.snapshot = replace(shown, assessment=replace(shown.assessment, phases=phases))
    assert "over: memory, cpu" in run("status").stdout


def test_status_shows_what_is_out_of_the_ordinary(run: Run, daemon: FakeDaemon) -> None:
    """`status` shows standby, hold, exhaustion, a pending edit and an engine that is down."""
    shown = snapshot(engine_up=False, engine=None, config_pending=("phases.core.protected: true -> false",))
    daemon.snapshot = replace(
        shown,
        decision=replace(shown.decision, standby=True, exhausted=True, holds=("operator", "engine")),
        controls=Controls(hold="anna", standby_until_wall_s=float("inf"), standby_by="ben"),
    )
    out = run("status").stdout
    assert "engine down" in out
    assert "standby: nothing is stopped or started until `guardian standby --off` (ordered by ben)" in out
    assert "hold: nothing is started: operator, engine (ordered by anna)" in out
    assert "exhausted: memory is hard" in out
    assert "waits for `guardian reload`: phases.core.protected: true -> false" in out


def test_status_as_json_is_what_the_daemon_says(run: Run, daemon: FakeDaemon) -> None:
    """`status --json` is what the daemon says, and nothing else."""
    assert json.loads(run("status", "--json").stdout) == status(snapshot())


def test_what_could_steer_a_terminal_is_not_printed(run: Run, daemon: FakeDaemon) -> None:
    """What could steer a terminal is not printed."""
    shown = snapshot(in_flight=("shed \x1b[2Jevil",))
    daemon.snapshot = replace(shown, assessment=replace(shown.assessment, unmanaged=("a\x1b]0;b",)))
    assert "\x1b" not in run("status").stdout


# --- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (("shed", "grafana", "openpolicy/fluentd"), Order(OrderKind.SHED, (key("grafana"), key("fluentd")))),
        (("restore", "kibana"), Order(OrderKind.RESTORE, (key("kibana"),))),
        (("restore", "--all"), Order(OrderKind.RESTORE, all=True)),
        (("forget", "kibana"), Order(OrderKind.FORGET, (key("kibana"),))),
        (("pin", "web", "api"), Order(OrderKind.PIN, (key("web"), key("api")))),
        (("unpin", "grafana"), Order(OrderKind.UNPIN, (key("grafana"),))),
        (("hold",), Order(OrderKind.HOLD)),
        (("release",), Order(OrderKind.RELEASE)),
        (("standby",), Order(OrderKind.STANDBY)),
        (("standby", "--for", "1h30m"), Order(OrderKind.STANDBY, for_s=5400.0)),
        (("standby", "--off"), Order(OrderKind.STANDBY, for_s=0.0)),
        (("reload",), Order(OrderKind.RELOAD)),
    ],
)
def test_each_command_gives_its_order(run: Run, daemon: FakeDaemon, arguments: tuple[str, ...], order: Order) -> None:
    """Each command gives its order, in the name of who runs it, and ends with 0."""
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert daemon.orders == [replace(order, by=getpass.getuser())]


def test_an_order_that_is_refused_in_part_ends_with_1(run: Run, daemon: FakeDaemon) -> None:
    """An order that is refused in part ends with 1, and says for which service."""
    result = run("shed", "postgres", "grafana")
    assert result.exit_code == 1
    assert "openpolicy/postgres: shed refused" in result.stdout
    assert result.stderr == "shed: 1 of 2\n"


def test_an_order_as_json_says_the_same(run: Run, daemon: FakeDaemon) -> None:
    """An order with --json prints the reply as JSON, refused or not, with the same exit code."""
    result = run("shed", "postgres", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "ok": False,
        "message": "shed: 0 of 1",
        "lines": ["openpolicy/postgres: shed refused"],
        "data": {},
    }


def test_what_was_shed_by_order_can_be_seen_and_restored(run: Run, daemon: FakeDaemon) -> None:
    """What was shed by order can be seen in the status, and restored."""
    run("shed", "grafana")
    assert "openpolicy/grafana" in run("status").stdout.split("Stopped by guardian")[1]
    assert run("restore", "grafana").exit_code == 0
    assert "openpolicy/grafana" not in run("status").stdout.split("Stopped by guardian")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("shed",), "Missing argument"),
        (("restore",), "Name services or give --all, not both."),
        (("restore", "kibana", "--all"), "Name services or give --all, not both."),
        (("standby", "--for", "2h", "--off"), "not both"),
        (("standby", "--for", "soon"), "expected a duration such as"),
        (("standby", "--for", "0s"), "needs a duration above 0"),
        (("shed", "kibanna"), "did you mean kibana?"),
        (("history", "--limit", "0"), "--limit"),
        (("history", "--service", "nobody"), "nobody is not a managed service"),
        (("explode",), "No such command"),
        (("status", "--nope"), "No such option"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, daemon: FakeDaemon, arguments: tuple[str, ...], says: str) -> None:
    """Wrong usage ends with 2 and says what is wrong; nothing reaches the daemon."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert daemon.orders == []


def test_an_ambiguous_name_lists_the_choices(run: Run, daemon: FakeDaemon) -> None:
    """An ambiguous name ends with 2 and lists the choices."""
    shown = snapshot()
    twin = replace(shown.assessment.services[0], key=type(key("x"))("other", "postgres"))
    services = (*shown.assessment.services, twin)
    daemon.snapshot = replace(shown, assessment=replace(shown.assessment, services=services))
    result = run("pin", "postgres")
    assert result.exit_code == 2
    assert "say openpolicy/postgres or other/postgres" in result.stderr


def test_a_configuration_with_mistakes_ends_with_78(run: Run, daemon: FakeDaemon) -> None:
    """`reload` of a file with mistakes ends with 78 and lists every one."""
    problems = tuple(Problem("guardian.yaml", line, 1, "mode", "expected observe or enforce") for line in (3, 7))
    daemon.fails = ConfigError(problems)
    result = run("reload")
    assert result.exit_code == 78
    assert "guardian.yaml:3: mode" in result.stderr
    assert "guardian.yaml:7: mode" in result.stderr


def test_a_daemon_whose_loop_stands_still_ends_with_69(run: Run, daemon: FakeDaemon) -> None:
    """A daemon whose loop does not answer an order in time ends with 69."""
    daemon.fails = TimeoutError()
    result = run("hold")
    assert result.exit_code == 69
    assert "did not answer in time" in result.stderr


def test_a_mistake_inside_the_daemon_points_to_its_log(run: Run, daemon: FakeDaemon) -> None:
    """A mistake inside the daemon ends with 1 and points to its log."""
    daemon.fails = RuntimeError("secret")
    result = run("hold")
    assert result.exit_code == 1
    assert "could not answer: something went wrong; the log says what" in result.stderr


# --- history ----------------------------------------------------------------------------------------------------------


def test_history_shows_what_when_why_and_relief(run: Run, daemon: FakeDaemon) -> None:
    """`history` shows what, when, why, relief expected and measured, the result, and who ordered it."""
    out = " ".join(run("history").stdout.split())
    assert "shed openpolicy/kibana memory at 84.0%, mark 80.0% done 200 MiB 190 MiB guardian" in out
    assert "shed openpolicy/logstash operator timed_out - - anna still there after 15s" in out


def test_history_can_be_narrowed(run: Run, daemon: FakeDaemon) -> None:
    """`history` can be narrowed by number and by service."""
    assert len(json.loads(run("history", "--limit", "1", "--json").stdout)["history"]) == 1
    rows = json.loads(run("history", "--service", "logstash", "--json").stdout)["history"]
    assert [row["service"] for row in rows] == ["openpolicy/logstash"]
    assert "Nothing has happened" in run("history", "--since", "1s").stdout  # the rows are years old


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A state directory with a history in it."""
    directory = tmp_path / "state"
    directory.mkdir()
    store = a_store(directory, clock=VirtualClock(wall_s=AT_WALL_S))
    assert store.put(history=HISTORY, deadline_s=20)
    assert store.close(10)
    return directory


def test_history_is_read_from_a_state_directory(run: Run, ledger: Path) -> None:
    """`history --state-dir` reads the ledger without a daemon, and can be narrowed likewise."""
    result = run("history", "--state-dir", str(ledger), "--service", "kibana")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "openpolicy/kibana" in result.stdout
    assert "openpolicy/logstash" not in result.stdout


def test_history_falls_back_to_the_file_while_the_daemon_is_down(run: Run, ledger: Path, tmp_path: Path) -> None:
    """`history` falls back to the ledger's file while the daemon is down, and says so."""
    config = tmp_path / "guardian.yaml"
    config.write_text(f"state_dir: {ledger}\n")
    result = run("history", "--config", str(config))
    assert result.exit_code == 0
    assert "openpolicy/kibana" in result.stdout
    assert "no guardian answers" in result.stderr


def test_history_without_daemon_and_file_ends_with_69(run: Run) -> None:
    """`history` with neither a daemon nor a ledger ends with 69 and says both."""
    result = run("history")
    assert result.exit_code == 69
    assert "no guardian answers" in result.stderr
    assert "there is no ledger here" in result.stderr


def test_a_state_directory_without_a_ledger_ends_with_1(run: Run, tmp_path: Path) -> None:
    """`history --state-dir` of a directory without a ledger ends with 1."""
    result = run("history", "--state-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "there is no ledger here" in result.stderr


# --- where the daemon is found ----------------------------------------------------------------------------------------


def test_no_daemon_ends_with_69_and_what_to_do(run: Run, path: Path) -> None:
    """Without a daemon a command ends with 69, and says where it looked and what to do."""
    result = run("status")
    assert result.exit_code == 69
    assert f"no guardian answers at {path}; start it (systemctl start guardian)" in result.stderr


def test_a_socket_that_nobody_listens_on_ends_with_69(run: Run, path: Path) -> None:
    """A socket left by a dead daemon ends with 69."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert run("status").exit_code == 69


def test_a_socket_that_one_may_not_use_names_the_group(run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that one may not use ends with 69 and names the group to join."""

    def refused(_: clients._UnixConnection) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(clients._UnixConnection, "connect", refused)
    result = run("status")
    assert result.exit_code == 69
    assert "and group " in result.stderr
    assert "join its group, or use sudo" in result.stderr


def test_a_daemon_that_never_answers_ends_with_69(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that never answers ends with 69."""
    monkeypatch.setattr(clients.Client.__init__, "__defaults__", (0.1,))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        result = run("status")
    assert result.exit_code == 69
    assert "did not answer within 0.1 s" in result.stderr


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b""])
def test_something_else_on_the_socket_ends_with_69(run: Run, path: Path, answer: bytes) -> None:
    """Something on the socket that is not guardian ends with 69."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def reply() -> None:
            peer, _ = other.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        result = run("status")
        thread.join()
    assert result.exit_code == 69


def test_the_flag_goes_before_the_environment_and_that_before_the_file(run: Run, tmp_path: Path) -> None:
    """The flag --control goes before the environment, and that before the file."""
    config = tmp_path / "guardian.yaml"
    config.write_text(f"web: {{control: {tmp_path}/from-file.sock}}\n")
    assert "/from-flag.sock" in run("status", "--control", f"{tmp_path}/from-flag.sock", "--config", str(config)).stderr
    assert "/from-flag.sock" in run("status", "--socket", f"{tmp_path}/from-flag.sock").stderr
    assert "/control.sock" in run("status", "--config", str(config)).stderr


def test_the_file_says_where_the_daemon_listens(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says where the daemon listens, whatever other mistakes are in it; without one it is the default."""
    config = tmp_path / "guardian.yaml"
    config.write_text(f"version: 99\nnonsense: true\nweb: {{control: {tmp_path}/from-file.sock}}\n")
    assert options.control_path(config) == tmp_path / "from-file.sock"
    monkeypatch.setattr(options, "DEFAULT_CONFIG", config)
    assert options.control_path(None) == tmp_path / "from-file.sock"
    config.write_text("web: nonsense\n")
    assert options.control_path(None) == Path("/run/guardian/control.sock")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_ends_with_78(run: Run, tmp_path: Path, content: bytes | None) -> None:
    """A file that was asked for and cannot be read ends with 78; the default one may be missing."""
    config = tmp_path / "guardian.yaml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(ConfigError, match=r"guardian\.yaml(:\d)?: (cannot be read|not valid YAML|not UTF-8)"):
        options.control_path(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GUARDIAN_WEB_CONTROL", raising=False)
        result = CliRunner().invoke(main, ["status", "--config", str(config)])
    assert result.exit_code == 78


def test_the_default_state_directory_is_the_schemas() -> None:
    """The default state directory is the one of the configuration."""
    assert Path(Config(version=1, phases=snapshot().config.phases).state_dir) == options.DEFAULT_STATE_DIR


# --- the command as a whole -------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_the_exit_codes(run: Run) -> None:
    """`guardian --help` lists every command and the exit codes."""
    out = run("--help").stdout
    for name, line in COMMANDS.items():
        assert name in out
        assert line.split(" (")[0][:30] in out
    assert "69" in out


# --- storage ----------------------------------------------------------------------------------------------------------


def _stored() -> Storage | None:
    kept = [
        Reading(AT_WALL_S + hour * 3600, 20 * GIB + hour * GIB, 50 * GIB, {key("api"): ServiceDisk(hour * GIB, 3 * MIB)})
        for hour in range(4)
    ]
    return storage_of(kept, (Command("docker builder prune", 2 * GIB, "builds take longer once"),))


def _calm(daemon: FakeDaemon) -> None:
    assert daemon.snapshot is not None
    daemon.snapshot = replace(daemon.snapshot, assessment=replace(daemon.snapshot.assessment, level=Level.OK))


def test_storage_shows_services_growth_and_what_would_free_some(run: Run, daemon: FakeDaemon) -> None:
    """`storage` shows what each service keeps, how fast that grows, when the disk is full, and what would free how much."""
    assert "Nothing was measured yet" in run("storage").stdout
    _calm(daemon)
    daemon.measured = _stored()
    result = run("storage", "--refresh")
    assert result.exit_code == 0
    for words in (
        "openpolicy/api",
        "3.0 GiB",
        "24.0 GiB",
        "23.0 GiB of 50.0 GiB",
        "full in 1d3h",
        "docker builder prune",
        "2.0 GiB",
    ):
        assert words in result.stdout, result.stdout
    shown = json.loads(run("storage", "--json").stdout)
    assert shown["storage"]["commands"][0]["frees_bytes"] == 2 * GIB
    assert shown["phases"][0]["storage_budget_bytes"] == 10**9


def test_storage_that_could_not_be_measured_is_said(run: Run, daemon: FakeDaemon) -> None:
    """`storage --refresh` fails with the reason where the host is under pressure, and where the engine refuses."""
    refused = run("storage", "--refresh")
    assert (refused.exit_code, "measuring would add to that" in refused.stderr) == (1, True)
    _calm(daemon)
    daemon.measure_problem = "a filter says no"
    failed = run("storage", "--refresh")
    assert (failed.exit_code, "not measured: a filter says no" in failed.stderr) == (1, True)
    assert "The last attempt failed: a filter says no" in run("storage").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_with_examples(run: Run, name: str) -> None:
    """Each command explains itself with examples."""
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"guardian {name}" in result.stdout.split("Example")[1]


def test_the_version_is_shown(run: Run) -> None:
    """The version is shown by `version`, in JSON too, and by --version."""
    assert run("version").stdout == run("--version").stdout
    assert json.loads(run("version", "--json").stdout)["version"] in run("version").stdout


def test_no_traceback_reaches_a_user(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is one line with its place, and ends with 1."""

    def broken(_: clients.Client) -> None:
        raise ZeroDivisionError("of course")

    monkeypatch.setattr(clients.Client, "status", broken)
    result = run("status")
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: of course (at " in result.stderr
    assert "Traceback" not in result.stderr


def test_an_interrupt_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130, and says nothing."""

    def interrupted(_: clients.Client) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(clients.Client, "status", interrupted)
    result = run("status")
    assert (result.exit_code, result.stderr) == (130, "")


def test_a_message_keeps_its_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that we foresaw is its message, and ends with its own code."""

    def failed(_: clients.Client) -> None:
        raise GuardianError("say what, where and what to do")

    monkeypatch.setattr(clients.Client, "status", failed)
    result = run("status")
    assert (result.exit_code, result.stderr) == (1, "Error: say what, where and what to do\n")


def test_a_reader_that_leaves_is_no_error(daemon: FakeDaemon, path: Path) -> None:
    """A reader that leaves, as `head` does, brings no message."""
    reading, writing = os.pipe()
    os.close(reading)  # nobody reads any more
    try:
        for command in ("status", "history", "version"):
            options_ = [] if command == "version" else ["--control", str(path)]
            result = subprocess.run(
                [sys.executable, "-c", "from guardian.cli.main import main; main()", command, *options_],
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
            assert result.stderr == "", command
    finally:
        os.close(writing)


def test_help_imports_nothing_heavy() -> None:
    """`guardian --help` imports nothing heavy: it comes at once."""
    code = (
        "import sys\n"
        "from guardian.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'rich', 'docker', 'yaml', 'msgspec', 'psutil', 'prometheus_client', 'apscheduler', 'structlog'}\n"
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
