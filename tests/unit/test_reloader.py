"""What the daemon makes of an edited file: what it takes, what waits, and what an operator is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.clock import VirtualClock
from guardian.config.load import loads
from guardian.config.schema import Config
from guardian.errors import ConfigError
from guardian.model import Mode
from guardian.reloading import Reloader
from guardian.telemetry import NullTelemetry

FILE = """\
version: 1
mode: observe
project: demo
thresholds: {memory: {soft: 80%, hard: 90%, recover: 70%}}
phases:
- {phase: 1, protected: true, services: [db]}
- {phase: 2, services: [web]}
"""
WALL_S = 1_700_000_000.0


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.reloads: list[tuple[bool, float]] = []

    def config_reloaded(self, ok: bool, at_wall_s: float) -> None:
        self.reloads.append((ok, at_wall_s))


class Stage:
    """A reloader of one file, as the daemon drives it."""

    def __init__(self, directory: Path, **flags: object) -> None:
        self.path = directory / "guardian.yaml"
        self.path.write_text(FILE)
        self.clock = VirtualClock(wall_s=WALL_S)
        self.telemetry = Heard()
        self.config = loads(FILE.encode(), str(self.path), {}, flags)
        self.reloader = Reloader(self.path, FILE.encode(), self.config, flags, {}, self.clock, self.telemetry)

    def save(self, text: str) -> None:
        """By rename, as editors do: another inode, so that no two saves look the same."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.path)

    def edit(self, *replacements: tuple[str, str]) -> None:
        text = self.path.read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        self.save(text)

    def settle(self) -> Config | None:
        """Poll until the file has been unchanged for more than a second."""
        taken = self.reloader.poll()
        for _ in range(8):
            self.clock.advance(0.25)
            taken = self.reloader.poll() or taken
        return taken


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


LOWER_SOFT = ("soft: 80%", "soft: 75%")
ENFORCE = ("mode: observe", "mode: enforce")
OTHER_STATE = ("version: 1", "version: 1\nstate_dir: /var/lib/elsewhere")
TUNED = "thresholds.memory.soft: 80% -> 75%"
WAITS = "mode: observe -> enforce (waits: guardian would act)"
RESTART = "state_dir: /var/lib/guardian -> /var/lib/elsewhere (restart: it is read once, at the start)"


def test_a_file_that_stays_as_it_is_changes_nothing(stage: Stage) -> None:
    """Without an edit nothing is taken, nothing waits, and the start counts as the last good reload."""
    assert stage.settle() is None
    assert stage.reloader.pending == ()
    assert stage.reloader.reply().message == "nothing has changed"
    assert stage.telemetry.reloads == [(True, WALL_S)]


def test_a_threshold_applies_by_itself_once_the_file_is_still(stage: Stage) -> None:
    """A new threshold is taken when the file has been unchanged for a second, and not before."""
    stage.edit(LOWER_SOFT)
    assert stage.reloader.poll() is None
    stage.clock.advance(0.5)
    assert stage.reloader.poll() is None
    stage.clock.advance(0.6)
    taken = stage.reloader.poll()
    assert taken is not None
    assert not isinstance(taken.thresholds.memory, str)
    assert float(taken.thresholds.memory.soft) == 0.75
    assert stage.reloader.pending == ()
    assert stage.telemetry.reloads[-1] == (True, WALL_S + 1.1)


def test_what_makes_guardian_bolder_waits_for_an_order(stage: Stage) -> None:
    """An edit to enforce is shown as pending; an order takes it, and then nothing waits."""
    stage.edit(ENFORCE)
    assert stage.settle() is None
    assert stage.reloader.pending == (WAITS,)
    taken = stage.reloader.order()
    assert taken is not None
    assert taken.mode is Mode.ENFORCE
    reply = stage.reloader.reply()
    assert (reply.ok, reply.message) == (True, "1 change applied")
    assert reply.lines == (WAITS,)
    assert stage.reloader.pending == ()


def test_one_edit_is_taken_in_parts(stage: Stage) -> None:
    """Of one edit the safe part applies, one part waits for an order and one for a restart; both are shown as pending."""
    stage.edit(LOWER_SOFT, ENFORCE, OTHER_STATE)
    taken = stage.settle()
    assert taken is not None
    assert (taken.mode, taken.state_dir) == (Mode.OBSERVE, stage.config.state_dir)
    assert stage.reloader.pending == (WAITS, RESTART)


def test_an_order_does_not_take_what_needs_a_restart(stage: Stage) -> None:
    """An order says what waits for a restart, and the value in force stays."""
    stage.edit(ENFORCE, OTHER_STATE)
    taken = stage.reloader.order()
    assert taken is not None
    assert (taken.mode, taken.state_dir) == (Mode.ENFORCE, stage.config.state_dir)
    reply = stage.reloader.reply()
    assert (reply.ok, reply.message) == (True, "1 change applied, 1 wait for a restart")
    assert reply.lines == (WAITS, RESTART)
    assert stage.reloader.pending == (RESTART,)


def test_an_order_does_not_wait_for_the_file_to_be_still(stage: Stage) -> None:
    """An operator's order takes the file as it is now, and the edit is not taken a second time by itself."""
    stage.edit(LOWER_SOFT)
    assert stage.reloader.order() is not None
    assert stage.settle() is None


BAD = """\
version: 1
mode: enforce
project: demo
thresholds: {memory: {soft: 95%, hard: 90%, recover: 70%}}
phases:
- {phase: 1, protected: true, services: [db]}
- {phase: 2, services: [web], colour: green}
"""


@pytest.mark.parametrize("ordered", [True, False])
def test_a_bad_file_keeps_the_old_configuration_and_says_every_mistake(stage: Stage, ordered: bool) -> None:
    """A file with mistakes changes nothing, is counted as a failure, and an order's reply names each mistake with its line."""
    stage.save(BAD)
    taken = stage.reloader.order() if ordered else stage.settle()
    assert taken is None
    assert stage.telemetry.reloads[-1][0] is False
    with pytest.raises(ConfigError) as refused:
        stage.reloader.reply()
    lines = str(refused.value).splitlines()
    assert [line for line in lines if f"{stage.path}:4: thresholds.memory" in line]
    assert [line for line in lines if f"{stage.path}:7: phases[1].colour" in line]


def test_a_bad_file_that_is_mended_is_taken(stage: Stage) -> None:
    """After a mistake the next good save is taken by itself, from the configuration that stayed in force."""
    stage.save(BAD)
    assert stage.settle() is None
    stage.save(FILE.replace("soft: 80%", "soft: 75%"))
    assert stage.settle() is not None
    reply = stage.reloader.reply()
    assert (reply.ok, reply.lines) == (True, (TUNED,))
    assert [ok for ok, _ in stage.telemetry.reloads] == [True, False, True]


def test_a_mistake_does_not_hide_what_waits(stage: Stage) -> None:
    """What was pending before a bad save is still shown: it is not in force."""
    stage.edit(ENFORCE)
    stage.settle()
    stage.save(BAD)
    stage.settle()
    assert stage.reloader.pending == (WAITS,)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_file_that_is_gone_keeps_the_configuration(stage: Stage, ordered: bool) -> None:
    """A file that was removed changes nothing, and the reply says that it cannot be read."""
    stage.path.unlink()
    assert (stage.reloader.order() if ordered else stage.settle()) is None
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; the configuration in force stays"):
        stage.reloader.reply()


def test_an_order_without_an_edit_changes_nothing(stage: Stage) -> None:
    """A reload of the same file is fine, and says that nothing was applied."""
    assert stage.reloader.order() is None
    assert (stage.reloader.reply().ok, stage.reloader.reply().message) == (True, "0 changes applied")


def test_a_flag_stays_above_the_file(tmp_path: Path) -> None:
    """A flag of the command line stays in force over every reload: an edit of the same key changes nothing."""
    stage = Stage(tmp_path, mode="enforce")
    stage.edit(LOWER_SOFT)
    taken = stage.settle()
    assert taken is not None
    assert taken.mode is Mode.ENFORCE
    stage.edit(ENFORCE)
    assert stage.settle() is None
    assert stage.reloader.pending == ()


def test_each_change_is_taken_once(stage: Stage) -> None:
    """A second edit is judged against what is in force by now, so that a change applied before is not said again."""
    stage.edit(LOWER_SOFT)
    first = stage.settle()
    stage.edit(("soft: 75%", "soft: 76%"))
    second = stage.settle()
    assert first is not None
    assert second is not None
    assert stage.reloader.reply().lines == ("thresholds.memory.soft: 75% -> 76%",)
