"""Structured logs through a bounded queue: whoever reads them may stall without holding up whoever writes them.

    log = logs.get("loop")
    log.info("shed decided", service="demo/kibana", deficit_bytes=1_000_000)

Lines are rendered where they are written, and written out by one thread. What does not fit into the queue is dropped,
counted, and said in a line of its own once the reader reads again.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import queue
import select
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, cast

from guardian.lean import without
from guardian.telemetry import NullTelemetry, Telemetry

with without("colorama", "rich", "better_exceptions"):  # for its console output, which guardian does not use
    import structlog
    from structlog.typing import FilteringBoundLogger

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

QUEUE_LINES = 10_000
_FLUSH_S = 1.0
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}


def get(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger: name`. May be taken before `configure`; until then its lines go nowhere."""
    return cast("FilteringBoundLogger", structlog.get_logger().bind(logger=name))


def configure(
    level: Level = "info",
    format: Format = "json",  # noqa: A002 - the configuration calls it so
    *,
    telemetry: Telemetry | None = None,
    fd: int = 2,
    queue_lines: int = QUEUE_LINES,
) -> None:
    """Start writing to the file descriptor `fd`, or change `level` and `format` of what is written already.

    `telemetry` is told of every dropped line. Lines of other libraries' loggers come through from warning on.
    """
    _state.level = _LEVELS[level]
    _state.render = _json_line if format == "json" else _console_line
    if telemetry is not None:
        _state.telemetry = telemetry
    if _state.writer is None:
        _state.writer = _Writer(fd, queue_lines)
        logging.getLogger().addHandler(_handler)
        logging.getLogger().setLevel(logging.WARNING)
        atexit.register(close)


def close() -> None:
    """Write out what waits, for at most a second, and stop. Later lines are dropped. May be called twice."""
    writer, _state.writer = _state.writer, None
    logging.getLogger().removeHandler(_handler)
    atexit.unregister(close)
    if writer is not None:
        writer.close()


# --- the way of one line --------------------------------------------------------------------------------------------

Event = MutableMapping[str, Any]


def _json_line(event: Mapping[str, Any]) -> str:
    try:
        return json.dumps(event, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, numbers that JSON does not know
        return json.dumps({str(key): _plain(value) for key, value in event.items()}, ensure_ascii=False)


def _plain(value: object) -> object:
    """A value that JSON can always show: what is no finite number and no text is written as Python shows it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else repr(value)


def _console_line(event: Mapping[str, Any]) -> str:
    """`12:00:00.123 warning loop: shed decided  service=demo/kibana`. In UTC, like the JSON."""
    left = dict(event)
    head = f"{left.pop('ts')[11:23]} {left.pop('level'):<7} {left.pop('logger', 'guardian')}: {left.pop('event')}"
    traceback = left.pop("exception", None)
    line = "  ".join([head, *(f"{key}={_shown(value)}" for key, value in left.items())])
    return f"{line}\n{traceback}" if traceback else line


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and text else repr(text)


def _only_wanted(_logger: object, method: str, event: Event) -> Event:
    if _state.writer is None or _LEVELS.get(method, 20) < _state.level:
        raise structlog.DropEvent
    return event


def _stamped(_logger: object, method: str, event: Event) -> Event:
    """Time, level and event first, as people read them."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    level = "error" if method == "exception" else method
    return {"ts": now, "level": level, "event": str(event.pop("event", "")), **event}


def _rendered(_logger: object, _method: str, event: Event) -> str:
    return _render(event)


def _render(event: Mapping[str, Any]) -> str:
    try:
        return _state.render(event)
    except Exception as error:  # a value whose own str() fails must not take its writer down
        return _state.render({"ts": event["ts"], "level": event["level"], "event": event["event"], "unshown": repr(error)})


class _ToQueue:
    """What structlog hands finished lines to."""

    def msg(self, line: str) -> None:
        if (writer := _state.writer) is not None:
            writer.put(line)

    debug = info = warning = error = exception = critical = msg


class _FromStdlib(logging.Handler):
    """Lines of libraries that log with the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the format
            message = str(record.msg)
        get(record.name).log(min(record.levelno, logging.ERROR), message, exc_info=record.exc_info or False)


# --- writing --------------------------------------------------------------------------------------------------------


class _Writer:
    """One thread that writes lines to a file descriptor.

    It bypasses `sys.stderr`: a thread that is stuck in there would make the interpreter abort at its end.
    """

    def __init__(self, fd: int, queue_lines: int) -> None:
        self._fd = fd
        self._most = queue_lines
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # a signal handler may log: its `put` is reentrant
        self._dropped = 0
        self._bearing = suppress(MemoryError)  # made before there is none: it costs a line, and not the thread
        self._counting = threading.RLock()  # likewise
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue one line; returns at once."""
        if self._lines.qsize() < self._most:
            self._lines.put(line)
        else:
            self._drop(1)

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(_FLUSH_S)

    def _drop(self, lines: int) -> None:
        with self._counting:
            self._dropped += lines
        _state.telemetry.log_dropped(lines)

    def _write_all(self) -> None:
        ended = False
        while not ended:
            with self._bearing:
                ended = not self._write_next()

    def _write_next(self) -> bool:
        """Wait for a line and write it. False: there will be no more."""
        line = self._lines.get()
        if line is None:
            return False
        if not self._write(line):
            self._drop(1)
        elif self._dropped and self._lines.qsize() <= self._most // 2:
            self._say_dropped()
        return True

    def _say_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        event = _stamped(None, "warning", {"event": "log lines dropped", "logger": "logs", "lines": dropped})
        if not self._write(_render(event)):
            with self._counting:
                self._dropped += dropped  # still to be said

    def _write(self, line: str) -> bool:
        try:
            data = memoryview(f"{line}\n".encode("utf-8", "replace"))
        except MemoryError:
            return False
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # the descriptor is shared with somebody who made it non-blocking
                with suppress(OSError):
                    select.select([], [self._fd], [], 1.0)
            except OSError:  # nobody reads any more, or the disk is full
                return False
        return True


class _State:
    """What `configure` sets, once for the process: loggers are global by nature."""

    def __init__(self) -> None:
        self.level = _LEVELS["info"]
        self.render = _json_line
        self.telemetry: Telemetry = NullTelemetry()
        self.writer: _Writer | None = None


_state = _State()
_handler = _FromStdlib()
structlog.configure(
    processors=[_only_wanted, _stamped, structlog.processors.format_exc_info, _rendered],
    wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    logger_factory=lambda *_: _ToQueue(),
    cache_logger_on_first_use=False,  # `get` binds at once
)
