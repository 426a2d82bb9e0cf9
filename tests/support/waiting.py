"""Waiting for something outside the test's own process to become so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def eventually(look: Callable[[], _Value | None], what: str, timeout_s: float = 20.0, every_s: float = 0.05) -> _Value:
    """The first truthy value of `look`; fails with `what` if there is none in time."""
    ends_s = time.monotonic() + timeout_s
    while True:
        if value := look():
            return value
        assert time.monotonic() < ends_s, f"waited {timeout_s:g}s in vain: {what}"
        time.sleep(every_s)
