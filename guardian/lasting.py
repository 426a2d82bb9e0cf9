"""Threads that go on. On a host without memory anything may fail, a wait for a lock included, and a thread would end by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guardian import logs

AGAIN_S = 0.2

_log = logs.get("threads")


def lasting(run: Callable[[], None], name: str) -> threading.Thread:
    """A thread, not started yet, for `last`. It keeps no process from ending."""
    return threading.Thread(target=last, args=(run, name), name=name, daemon=True)


def last(run: Callable[[], None], name: str) -> None:
    """Return when `run` returns. Where that raises it is told, and run again from its beginning, which it must bear."""
    failure: Exception | None = None
    while True:
        try:
            if failure is not None:
                told, failure = failure, None
                time.sleep(AGAIN_S)
                _log.error("a thread failed and goes on", thread=name, error=repr(told), exc_info=told)
            run()
            return
        except Exception as error:  # also of the telling: nothing outside of this may need memory
            failure = error
