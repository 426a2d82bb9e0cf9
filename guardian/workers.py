"""Threads for work that waits for others. Some exist before memory runs short; more are made while work asks for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from guardian import logs
from guardian.lasting import last

Work = Callable[[], None]

_log = logs.get("workers")


class Workers:
    """At most `most` threads, of which `ready` are there from the start. They keep no process from ending."""

    def __init__(self, name: str, most: int, ready: int = 0) -> None:
        self._name = name
        self._most = most
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0  # threads without work; negative: work without a thread
        self._closed = False
        for _ in range(ready):
            self._start(None)
            self._free += 1

    def submit(self, work: Work) -> None:
        """Do it soon; it waits only while all `most` threads are busy.

        Raises RuntimeError, and does nothing, after `close` and where the host has no thread to give.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            if self._free <= 0 and self._threads < self._most:
                self._start(work)
            else:
                self._free -= 1
                self._work.put(work)

    def close(self) -> None:
        """Begin nothing more. What is under way goes on. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with suppress(queue.Empty):
                    while True:
                        self._work.get_nowait()
                for _ in range(self._threads):
                    self._work.put(None)

    def _start(self, work: Work | None) -> None:
        try:
            threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True).start()
        except MemoryError as error:
            raise RuntimeError("no memory for a thread") from error
        self._threads += 1

    def _run(self, work: Work | None) -> None:
        if work is not None:
            self._do(work)
        last(self._do_all, self._name)

    def _do_all(self) -> None:
        while (waiting := self._work.get()) is not None:
            self._do(waiting)

    def _do(self, work: Work) -> None:
        try:
            work()
        except Exception:  # a mistake must not cost a thread
            with suppress(Exception):
                _log.exception("a worker failed", worker=self._name)
        finally:
            with self._lock:
                self._free += 1
