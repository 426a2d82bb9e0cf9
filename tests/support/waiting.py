"""Waiting for something outside the test's own process to become so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


PATIENCE_S = 60.0  # only a test that fails waits so long: a busy machine with two cores takes its time


def eventually(look: Callable[[], _Value | None], what: str, timeout_s: float = PATIENCE_S, every_s: float = 0.05) -> _Value:
    """The first truthy value of `look`; fails with `what` if there is none in time."""
    ends_s = time.monotonic() + timeout_s
    while True:
        if value := look():
            return value
        assert time.monotonic() < ends_s, f"waited {timeout_s:g}s in vain: {what}"
        time.sleep(every_s)
