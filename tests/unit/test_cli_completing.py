"""What a shell is offered at the tabulator key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete
from support.fake_daemon import FakeDaemon

from guardian.cli import options
from guardian.cli.main import COMMANDS, main

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offered:
    """What is offered after these words, the last of which is being typed; a type stands for what the shell finds itself."""
    monkeypatch.setattr(options, "DEFAULT_CONFIG", tmp_path / "no-such.yaml")
    monkeypatch.setenv("GUARDIAN_WEB_CONTROL", str(tmp_path / "control.sock"))

    def ask(*words: str) -> list[str]:
        found = BashComplete(main, {}, "guardian", "_GUARDIAN_COMPLETE").get_completions(list(words[:-1]), words[-1])
        return [one.value if one.type == "plain" else one.type for one in found]

    return ask


def test_every_command_and_every_option_is_offered(offered: Offered) -> None:
    """Every command is offered, and of each of them every option."""
    assert offered("") == list(COMMANDS)
    assert offered("st") == ["status", "storage", "standby"]
    assert offered("baseline", "") == ["list", "save"]
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        options_of = {
            option for one in command.params if isinstance(one, click.Option) for option in one.opts if option[1] == "-"
        }
        assert set(offered(name, "--")) == options_of | {"--help"}, name


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("run", "--mode", ""), ["observe", "enforce"]),
        (("run", "--log-level", "w"), ["warning"]),
        (("simulate", "c"), ["calm", "cpu", "file"]),
        (("run", "--engine", "simulated", "--scenario", "over"), ["overload", "file"]),
        (("check", ""), ["file"]),
        (("rollout", "--compose", ""), ["file"]),
        (("run", "--state-dir", ""), ["file"]),
    ],
)
def test_values_that_are_known_are_offered(offered: Offered, words: tuple[str, ...], values: list[str]) -> None:
    """Where the values of an option are known they are offered; where it is a file, the shell offers files."""
    assert offered(*words) == values


def test_services_are_offered_as_the_daemon_knows_them(offered: Offered, tmp_path: Path) -> None:
    """Services are offered by the name that says which; for what undoes a shed, those that are shed."""
    daemon = FakeDaemon(tmp_path / "control.sock")
    try:
        assert {"postgres", "kibana"} <= set(offered("shed", ""))
        assert offered("pin", "post") == ["postgres"]
        assert offered("pin", "openpolicy/post") == ["openpolicy/postgres"]
        assert offered("emergency", "--keep", "red") == ["redis"]
        assert offered("why", "kib") == ["kibana"]
        assert offered("restore", "") == ["kibana", "logstash"]
        assert offered("forget", "post") == []
    finally:
        daemon.close()
    assert offered("shed", "") == []


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_a_word_of_help_goes_with_a_command(shell: type[BashComplete | ZshComplete | FishComplete]) -> None:
    """Each shell has a script, and shells that show help beside a command have that of `guardian --help`."""
    one = shell(main, {}, "guardian", "_GUARDIAN_COMPLETE")
    assert "_GUARDIAN_COMPLETE" in one.source()
    item = next(one for one in one.get_completions([], "hold") if isinstance(one, CompletionItem))
    assert (item.value, item.help) == ("hold", "Have nothing started until `guardian release`.")


def test_bash_completes_as_the_readme_says(tmp_path: Path) -> None:
    """In bash, after the line of the README, the tabulator key completes the command that is being typed."""
    program = tmp_path / "guardian"
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c \"from guardian.cli.main import main; main(prog_name='guardian')\"\n"
    )
    program.chmod(0o755)
    script = (
        'eval "$(_GUARDIAN_COMPLETE=bash_source guardian)"; '
        'COMP_WORDS=(guardian res); COMP_CWORD=1; _guardian_completion guardian; echo "${COMPREPLY[@]}"'
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("restore\n", "")
