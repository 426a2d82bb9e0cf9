"""What the daemon sees of a roll-out in another process, by what that has left in the state directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.snapshots import AT_WALL_S, snapshot

from guardian.clock import VirtualClock
from guardian.expose.metrics import Metrics
from guardian.rollout.progress import (
    FILE_NAME,
    KnownRollOut,
    Progress,
    ProgressFile,
    RollOutState,
    RollOutWatch,
    Settings,
    Stage,
)

BEGUN = Progress(
    goal=3, down=False, from_zero=False, by="ada", began_wall_s=AT_WALL_S, settings=Settings(wait_s=60, soak_s=3600)
)


@pytest.mark.parametrize(
    ("stage", "alive", "state"),
    [
        (Stage.START, True, RollOutState.RUNNING),
        (Stage.START, False, RollOutState.BROKEN_OFF),
        (Stage.FAILED, False, RollOutState.FAILED),
        (Stage.DONE, False, RollOutState.DONE),
    ],
)
def test_it_is_known_what_has_become_of_a_roll_out(tmp_path: Path, stage: Stage, alive: bool, state: RollOutState) -> None:
    """It runs while its process lives, is broken off where that has died before an end, and is done or failed by its own word."""
    file = ProgressFile(tmp_path)
    file.save(msgspec.structs.replace(BEGUN, stage=stage))
    if not alive:
        file.release()
    known = RollOutWatch(tmp_path).look()
    assert known is not None
    assert known.state is state
    if alive:
        file.release()


def test_a_file_that_is_none_of_ours_is_no_roll_out(tmp_path: Path) -> None:
    """Where there is no file, or one that cannot be understood, nothing is said of a roll-out."""
    watch = RollOutWatch(tmp_path)
    assert watch.look() is None
    (tmp_path / FILE_NAME).write_text("{")
    assert watch.look() is None


def test_the_next_step_is_due_after_its_longest_waits(tmp_path: Path) -> None:
    """Due is counted from the newest step, by the waits that were given; only while it runs, and each step moves it."""
    file, watch = ProgressFile(tmp_path), RollOutWatch(tmp_path)
    file.save(BEGUN)
    path = tmp_path / FILE_NAME
    waits_s = 60 + 180 + 3600

    def due_s() -> float | None:
        known = watch.look()
        assert known is not None
        return known.due_wall_s

    assert due_s() == pytest.approx(path.stat().st_mtime + waits_s)
    file.save(msgspec.structs.replace(BEGUN, stage=Stage.ROOM, phase=1))
    assert due_s() == pytest.approx(path.stat().st_mtime + waits_s)
    file.release()
    assert due_s() is None


def test_when_it_is_due_is_a_metric_while_it_runs() -> None:
    """The metric is there with a roll-out that runs, and absent with one that has ended."""
    for known, there in (
        (KnownRollOut(BEGUN, RollOutState.RUNNING, AT_WALL_S + 480), True),
        (KnownRollOut(BEGUN, RollOutState.BROKEN_OFF), False),
    ):
        metrics = Metrics(VirtualClock())
        metrics.update(snapshot(rollout=known))
        text = metrics.exposition()[1].decode()
        assert ("\nguardian_rollout_due_timestamp_seconds " in text) is there
