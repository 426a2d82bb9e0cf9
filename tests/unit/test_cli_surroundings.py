"""The command line where the terminal, the locale, the output or the names of files are not what one would wish."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from guardian.cli import main as command_line
from guardian.cli.main import main

FILE = yaml.safe_dump({"version": 1, "project": "demo", "phases": [{"phase": 1, "services": ["a-service-of-some-length"]}]})


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, and those below it."""
    for name in command_line.COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        yield name, command
        yield from command.commands.items() if isinstance(command, click.Group) else ()


def test_what_a_file_is_missing_is_said_by_what_reads_it() -> None:
    """No option judges a path by itself: whoever may not read a file learns from what reads it what to do."""
    paths = [one for _, command in commands() for one in command.params if isinstance(one.type, click.Path)]
    assert len(paths) > 20
    assert not [one.name for one in paths if one.type.readable or one.type.exists]


def test_every_command_shows_its_form_and_examples() -> None:
    """Each command's help has examples, and each of its options says what it takes and what it does."""
    for name, command in commands():
        assert "Examples:" in (command.help or ""), name
        for one in command.params:
            if isinstance(one, click.Option):
                assert one.help, f"{name} {one.name}"
                assert one.is_flag or one.metavar or one.type.name != "text", f"{name} {one.name}"


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["check", "FILE"], ["check", "FILE", "--json"]])
def test_an_output_without_room_is_an_error_in_words(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the output cannot be written, as on a full disk, the command says so and ends with 1."""
    (tmp_path / "FILE").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    said = "Error: the output cannot be written: No space left on device; make room, or send it elsewhere\n"
    assert capsys.readouterr().err == said


def test_a_locale_without_a_character_shows_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the locale has no character for is shown as a question mark, and ends nothing."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as ended:
        main(["restore", "--help"])
    out.flush()
    assert ended.value.code == 0
    assert b"[SERVICE]?" in out.buffer.getvalue()


def test_json_is_utf_8_whatever_the_locale_or_the_name_of_a_file(tmp_path: Path) -> None:
    """JSON is UTF-8 in every locale, and a file whose name is none of any locale does not spoil it."""
    path = os.fsencode(tmp_path / "caf") + b"\xe9\xc3\xa9"
    Path(os.fsdecode(path)).write_text(FILE)
    result = CliRunner(charset="latin-1").invoke(main, ["check", "--json", os.fsdecode(path)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout_bytes)["file"] == f"{tmp_path}/caf?é"


def test_a_proposal_is_utf_8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal on the standard output is what a file would hold: UTF-8, as a configuration must be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")  # no Compose
    (tmp_path / "compose.yml").write_text("services: {café: {image: nginx}}", encoding="utf-8")
    result = CliRunner(charset="latin-1").invoke(main, ["init", "--output", "-", "--engine", f"unix://{tmp_path}/none.sock"])
    assert result.exit_code == 0, result.output
    assert "café" in result.stdout_bytes.decode()


def test_a_narrow_terminal_leaves_names_whole(tmp_path: Path) -> None:
    """On a terminal too narrow for a table its lines wrap; names are not cut into letters below each other."""
    (tmp_path / "f.yaml").write_text(FILE)
    result = CliRunner(env={"COLUMNS": "40", "FORCE_COLOR": "1", "NO_COLOR": "1"}).invoke(
        main, ["check", str(tmp_path / "f.yaml")]
    )
    assert result.exit_code == 0
    assert "a-service-of-some-length" in result.stdout
