"""A restart of Docker by systemd: what is run, and what is said where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.engine import restart
from guardian.errors import GuardianError


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only program on the path: it notes its words in `words`, and does what `does` holds."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n. {tmp_path}/does\n')
    program.chmod(0o755)
    (tmp_path / "does").write_text("echo loaded\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path


def test_docker_is_restarted_as_an_operator_would(systemctl: Path) -> None:
    """The unit is looked for, and restarted, by systemctl, which asks for no password."""
    restart.check_docker_unit()
    restart.restart_docker()
    assert (systemctl / "words").read_text().splitlines() == [
        "--no-ask-password show --property=LoadState --value docker.service",
        "--no-ask-password restart docker.service",
    ]


def test_a_host_without_the_unit_is_told_so(systemctl: Path) -> None:
    """A systemd that knows no Docker is an error before anything is done."""
    (systemctl / "does").write_text("echo not-found\n")
    with pytest.raises(GuardianError, match=r"systemd has no docker.service \(it is not-found\): restart Docker yourself"):
        restart.check_docker_unit()


def test_a_restart_that_is_not_permitted_says_so(systemctl: Path) -> None:
    """What systemctl says against it is the message, with what to do."""
    (systemctl / "does").write_text("echo 'Access denied' >&2; exit 4\n")
    with pytest.raises(GuardianError, match=r"systemctl restart docker\.service: Access denied; run this as root"):
        restart.restart_docker()


def test_a_restart_that_takes_too_long_is_given_up(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart that is not done in time is given up, in words."""
    (systemctl / "does").write_text("exec sleep 30\n")
    monkeypatch.setattr(restart, "RESTART_WITHIN_S", 0.2)
    with pytest.raises(GuardianError, match=r"not done within 0.2 s"):
        restart.restart_docker()


def test_without_systemctl_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no systemctl at all, the message says what to do instead."""
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(GuardianError, match="there is no systemctl here: restart Docker yourself"):
        restart.check_docker_unit()
