"""The log's way from a caller through the queue to a reader that may stall."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from guardian import logs
from guardian.telemetry import NullTelemetry

F_SETPIPE_SZ = 1031


class Counter(NullTelemetry):
    dropped = 0

    def log_dropped(self, lines: int) -> None:
        self.dropped += lines


class Reader:
    """The far end of a pipe."""

    def __init__(self) -> None:
        self.fd, self.to = os.pipe()
        self.file = os.fdopen(self.fd, encoding="utf-8")
        self.telemetry = Counter()

    def line(self) -> str:
        return self.file.readline().rstrip("\n")

    def json(self) -> dict[str, object]:
        found = json.loads(self.line())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Logs go to this reader; afterwards nothing of the log is left."""
    reader = Reader()
    yield reader
    logs.close()
    os.close(reader.to)
    reader.file.close()


def configure(reader: Reader, **options: object) -> None:
    logs.configure(fd=reader.to, telemetry=reader.telemetry, **options)  # type: ignore[arg-type]


def test_a_line_is_json_with_time_level_event_and_fields(reader: Reader) -> None:
    """A line is JSON with its time in UTC, its level, its event and its fields."""
    configure(reader)
    logs.get("loop").info("shed decided", service="demo/kibana", deficit_bytes=5, candidates=["a", "b"])
    line = reader.json()
    stamp = datetime.fromisoformat(str(line.pop("ts")))
    assert stamp.tzinfo is not None
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 60
    assert line == {
        "level": "info",
        "event": "shed decided",
        "logger": "loop",
        "service": "demo/kibana",
        "deficit_bytes": 5,
        "candidates": ["a", "b"],
    }


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("not today")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        ({("a", "tuple"): 1}, "{('a', 'tuple'): 1}"),
        (b"bytes", "b'bytes'"),
        ("two\nlines", "two\nlines"),
        ("\udcff", "?"),
    ],
)
def test_every_value_becomes_valid_json(reader: Reader, value: object, shown: object) -> None:
    """A value that JSON does not know becomes text, and the line stays one valid line."""
    configure(reader)
    logs.get("loop").info("odd", value=value, other=1)
    line = reader.json()
    assert (line["value"], line["other"]) == (shown, 1)


def test_a_value_that_cannot_be_shown_costs_only_itself(reader: Reader) -> None:
    """A value whose own text fails does not raise in the caller, and the event is still told."""
    configure(reader)
    logs.get("loop").info("odd", value=Rude())
    assert reader.json()["event"] == "odd"


def test_the_console_shows_one_readable_line(reader: Reader) -> None:
    """The console format shows one readable line, with values that have blanks or controls quoted."""
    configure(reader, format="console")
    logs.get("loop").warning("memory soft", value=0.81, why="two words", evil="a\x1b[2Jb")
    line = reader.line()
    assert line[12:] == " warning loop: memory soft  value=0.81  why='two words'  evil='a\\x1b[2Jb'"


def test_level_and_format_change_at_run_time(reader: Reader) -> None:
    """Level and format change at run time, also for loggers taken before."""
    log = logs.get("loop")
    log.error("before it is configured")
    configure(reader, level="warning")
    log.info("not wanted")
    log.warning("first")
    logs.configure(level="debug")
    log.debug("second")
    logs.configure(level="error", format="console")
    log.warning("not wanted")
    log.error("third")
    assert [reader.json()["event"], reader.json()["event"]] == ["first", "second"]
    assert reader.line().endswith("error   loop: third")


def test_an_exception_brings_its_traceback_in_one_line(reader: Reader) -> None:
    """An exception brings its traceback along, in one line of JSON, as an error."""
    configure(reader)
    try:
        raise ValueError("inside")
    except ValueError:
        logs.get("loop").exception("tick failed")
    line = reader.json()
    assert line["level"] == "error"
    assert "ValueError: inside" in str(line["exception"])


def test_other_libraries_come_through_from_warning_on(reader: Reader) -> None:
    """Lines of other libraries come through from warning on, under their own names."""
    configure(reader)
    logging.getLogger("apscheduler.scheduler").info("added a job")
    logging.getLogger("urllib3.connectionpool").warning("retrying %s", "/events")
    line = reader.json()
    assert (line["logger"], line["level"], line["event"]) == ("urllib3.connectionpool", "warning", "retrying /events")


def test_an_ill_formed_line_of_a_library_is_shown_as_it_is(reader: Reader) -> None:
    """A library's line whose arguments do not fit its format is shown as it is, and raises nothing."""
    configure(reader)
    logs._handler.handle(logging.LogRecord("docker", logging.WARNING, "", 0, "ill %s %s", ("formed",), None))
    assert reader.json()["event"] == "ill %s %s"


def fill(log_line: Callable[[int], object], lines: int) -> float:
    """Seconds that the slowest of `lines` calls took."""
    slowest = 0.0
    for number in range(lines):
        start_s = time.perf_counter()
        log_line(number)
        slowest = max(slowest, time.perf_counter() - start_s)
    return slowest


def test_a_reader_that_stalls_holds_nobody_up_and_hears_what_it_missed(reader: Reader) -> None:
    """A reader that stalls holds up no caller; what did not fit is counted, and said once lines flow again."""
    fcntl.fcntl(reader.to, F_SETPIPE_SZ, 4096)
    configure(reader, queue_lines=20)
    slowest = fill(lambda number: logs.get("loop").info("line", number=number, padding="x" * 400), 200)
    assert slowest < 1.0
    dropped = reader.telemetry.dropped
    assert 150 < dropped < 190
    seen = []
    while (line := reader.json())["event"] == "line":
        seen.append(line["number"])
    assert (line["event"], line["level"], line["lines"]) == ("log lines dropped", "warning", dropped)
    assert seen == sorted(seen)
    logs.get("loop").info("after")
    while (line := reader.json())["event"] == "line":
        seen.append(line["number"])
    assert line["event"] == "after"
    assert len(seen) + dropped == 200


def test_a_reader_that_went_away_costs_lines_and_nothing_else() -> None:
    """A reader that went away costs the lines, counted, and nothing else."""
    reader = Reader()
    reader.file.close()
    configure(reader)
    for _ in range(3):
        logs.get("loop").info("to nobody")
    logs.close()
    os.close(reader.to)
    assert reader.telemetry.dropped == 3


def test_a_non_blocking_descriptor_loses_no_line(reader: Reader) -> None:
    """A descriptor that somebody made non-blocking loses no line."""
    fcntl.fcntl(reader.to, F_SETPIPE_SZ, 4096)
    os.set_blocking(reader.to, False)
    configure(reader)
    for number in range(100):
        logs.get("loop").info("line", number=number, padding="x" * 400)
    assert [reader.json()["number"] for _ in range(100)] == list(range(100))


def test_close_writes_what_waits(reader: Reader) -> None:
    """Close writes what waits in the queue, and drops what comes later."""
    configure(reader)
    for number in range(50):
        logs.get("loop").info("line", number=number)
    logs.close()
    logs.get("loop").info("too late")
    logs.close()
    os.write(reader.to, b'{"number": "end"}\n')
    assert [reader.json()["number"] for _ in range(51)] == [*range(50), "end"]


def test_close_waits_a_second_at_most(reader: Reader) -> None:
    """Close waits a second at most for a reader that stalls."""
    fcntl.fcntl(reader.to, F_SETPIPE_SZ, 4096)
    configure(reader)
    for _ in range(100):
        logs.get("loop").info("line", padding="x" * 400)
    start_s = time.monotonic()
    logs.close()
    assert time.monotonic() - start_s < 2.0
    threading.Thread(target=reader.file.read, daemon=True).start()  # let the writer end


def test_a_process_with_a_stalled_reader_ends_cleanly() -> None:
    """A process whose log reader stalls ends by itself, soon, and without an abort of the interpreter."""
    program = "from guardian import logs\nlogs.configure()\nfor _ in range(2000): logs.get('x').info('line', padding='x' * 400)"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_signal_handler_may_log_at_any_moment(reader: Reader) -> None:
    """A signal handler may log while the line that it interrupts is being queued."""
    configure(reader, queue_lines=5)
    os.set_blocking(reader.to, True)
    threading.Thread(target=lambda: [None for _ in reader.file], daemon=True).start()
    handled = []
    previous = signal.signal(signal.SIGALRM, lambda *_: handled.append(logs.get("signal").info("alarm")))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        ends_s = time.monotonic() + 10
        while len(handled) < 50 and time.monotonic() < ends_s:
            logs.get("loop").info("line")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(handled) >= 50
    logs.close()
