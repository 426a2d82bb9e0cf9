"""When a change of the file counts. Time is the test's own; the file is real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.config.reload import FileWatch
from guardian.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guardian.yaml"
    path.write_bytes(b"one")
    return path


def test_a_file_that_stays_the_same_is_no_news(file: Path) -> None:
    """A file that stays the same is no news, however long one looks."""
    watch = FileWatch(file)
    assert [watch.poll(at) for at in (0.0, 1.0, 100.0)] == [None, None, None]


def test_a_change_counts_once_it_is_a_second_old(file: Path) -> None:
    """A change counts once, and only after the file has been unchanged for a second."""
    watch = FileWatch(file)
    file.write_bytes(b"two!")
    assert [watch.poll(at) for at in (10.0, 10.5, 10.9)] == [None, None, None]
    assert watch.poll(11.0) == b"two!"
    assert [watch.poll(at) for at in (12.0, 20.0)] == [None, None]


def test_half_a_save_is_never_taken(file: Path) -> None:
    """A file saved in two writes is taken after the second, never in between."""
    watch = FileWatch(file)
    file.write_bytes(b"half")
    assert watch.poll(10.0) is None
    assert watch.poll(10.9) is None
    file.write_bytes(b"half and half")
    assert [watch.poll(at) for at in (11.0, 11.9)] == [None, None]
    assert watch.poll(12.0) == b"half and half"


class CoarseWatch(FileWatch):
    """On a file system whose clock ticks so rarely that a second write of the same size leaves no trace but its content."""

    ticks = 0

    def _signature(self) -> tuple[int, ...]:
        return (self.ticks,)


def test_a_write_within_one_tick_of_the_clock_is_seen(file: Path) -> None:
    """A second write within one tick of the file system's clock is seen by its content: the wait begins anew."""
    watch = CoarseWatch(file)
    watch.ticks += 1
    file.write_bytes(b"abc")
    assert watch.poll(10.0) is None
    file.write_bytes(b"xyz")
    assert watch.poll(11.0) is None
    assert watch.poll(12.0) == b"xyz"


def test_a_save_by_rename_is_a_change(file: Path) -> None:
    """A file replaced by rename counts like any other change."""
    watch = FileWatch(file)
    other = file.with_suffix(".new")
    other.write_bytes(b"new")
    other.replace(file)
    assert watch.poll(10.0) is None
    assert watch.poll(11.0) == b"new"


def test_a_save_that_leaves_a_gap_is_no_error(file: Path) -> None:
    """A file that is gone for half a second, while an editor replaces it, is no error."""
    watch = FileWatch(file)
    file.unlink()
    assert watch.poll(10.0) is None
    file.write_bytes(b"new")
    assert watch.poll(10.5) is None
    assert watch.poll(11.5) == b"new"


def test_a_touch_and_an_edit_taken_back_are_no_news(file: Path) -> None:
    """A touch is no news, nor is an edit that is taken back before it counts."""
    watch = FileWatch(file)
    os.utime(file)
    file.write_bytes(b"two")
    assert watch.poll(10.0) is None
    file.write_bytes(b"one")
    assert [watch.poll(at) for at in (10.5, 11.0, 12.0)] == [None, None, None]


def test_an_edit_taken_back_after_it_counted_is_news(file: Path) -> None:
    """An edit that counted and is then taken back is a change again."""
    watch = FileWatch(file)
    for at, content in ((10.0, b"two"), (20.0, b"one")):
        file.write_bytes(content)
        assert watch.poll(at) is None
        assert watch.poll(at + 1) == content


@pytest.mark.parametrize("how", ["gone", "folder", "pipe"])
def test_a_file_that_cannot_be_read_is_an_error_once(file: Path, how: str) -> None:
    """A file that is gone, or replaced by a folder or a pipe, is an error once; that it is back is news."""
    watch = FileWatch(file)
    file.unlink()
    if how == "folder":
        file.mkdir()
    if how == "pipe":
        os.mkfifo(file)
    assert [watch.poll(at) for at in (10.0, 10.9)] == [None, None]
    with pytest.raises(ConfigError, match="the configuration in force stays"):
        watch.poll(11.0)
    assert [watch.poll(at) for at in (12.0, 13.0)] == [None, None]
    file.rmdir() if how == "folder" else file.unlink(missing_ok=True)
    file.write_bytes(b"one")
    assert watch.poll(20.0) is None
    assert watch.poll(21.0) == b"one"


def test_a_change_between_loading_and_watching_is_seen(file: Path) -> None:
    """A file that changed after it was loaded and before it was watched is news."""
    watch = FileWatch(file, loaded=b"zero")
    assert watch.poll(10.0) is None
    assert watch.poll(11.0) == b"one"


def test_an_operator_does_not_wait(file: Path) -> None:
    """What an operator asks for is read at once, and is no news afterwards."""
    watch = FileWatch(file)
    file.write_bytes(b"two")
    assert watch.poll(10.0) is None
    assert watch.read() == b"two"
    assert [watch.poll(at) for at in (10.5, 11.5)] == [None, None]
    file.unlink()
    with pytest.raises(ConfigError):
        watch.read()
