"""Two guardians for one state directory or one engine: the second is told who has it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from support.ledgers import T0
from support.scarcity import limited

from guardian.errors import AlreadyRunning, LedgerError
from guardian.ledger.lock import LOCK_NAME, EngineLock, StateLock


def test_a_second_guardian_of_a_state_directory_is_told_who_has_it(tmp_path: Path) -> None:
    """A second guardian of a state directory is told who has it."""
    held = StateLock(tmp_path, T0)
    held.note_engine("ENGINE-1", "/var/lib/docker")
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}, since 2023-11-14 22:13:20 UTC, engine ENGINE-1"):
        StateLock(tmp_path, T0)
    held.release()


def test_a_released_state_directory_can_be_had_again(tmp_path: Path) -> None:
    """A released state directory can be had again."""
    StateLock(tmp_path, T0).release()
    StateLock(tmp_path, T0).release()


def test_a_lock_file_that_nobody_holds_is_no_obstacle(tmp_path: Path) -> None:
    """A lock file that nobody holds is no obstacle, whatever it says."""
    (tmp_path / LOCK_NAME).write_text("rubbish that is longer than what replaces it" * 10)
    held = StateLock(tmp_path, T0)
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        StateLock(tmp_path, T0)
    held.release()


def test_a_full_disk_is_no_obstacle_and_keeps_what_was_noted(tmp_path: Path) -> None:
    """A full disk is no obstacle to the lock, and where the engine keeps its data stays noted."""
    before = StateLock(tmp_path, T0)
    before.note_engine("ENGINE-1", "/data")
    before.release()
    for _ in range(2):
        with limited(os.getpid(), resource.RLIMIT_FSIZE, 0):
            held = StateLock(tmp_path, T0)
            held.note_engine("ENGINE-1", "/data")
            assert held.root_dir == "/data"
            with pytest.raises(AlreadyRunning):
                StateLock(tmp_path, T0)
            held.release()


def test_a_state_directory_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """A state directory that is not there says what to do."""
    with pytest.raises(LedgerError, match="create it"):
        StateLock(tmp_path / "nowhere", T0)


def test_a_second_guardian_of_an_engine_is_told_who_has_it(tmp_path: Path) -> None:
    """A second guardian of an engine is told who has it, and another engine is free."""
    engine = f"test-{tmp_path}"
    held = EngineLock(engine)
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        EngineLock(engine)
    EngineLock(engine + "-other").release()
    held.release()
    EngineLock(engine).release()
