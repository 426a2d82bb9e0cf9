"""How much an object keeps in memory, counted in values and not in bytes, so that it is exact."""

from __future__ import annotations

from collections import deque
from typing import Any

from support.virtual_host import MemoryStore, Steps

from guardian.clock import VirtualClock
from guardian.config.schema import Config
from guardian.engine.simulated import SimulatedEngine

NOT_GUARDIAN = (SimulatedEngine, MemoryStore, Steps, VirtualClock, Config)
OURS = ("guardian", "support")


def held(root: object) -> int:
    """How many values `root` holds, directly or through others."""
    seen: set[int] = set()
    waiting, total = [root], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, NOT_GUARDIAN):
            continue
        seen.add(id(one))
        within = _within(one)
        total += len(within)
        waiting.extend(within)
    return total


def _within(one: Any) -> list[object]:
    if isinstance(one, dict):
        return [*one.keys(), *one.values()]
    if isinstance(one, list | tuple | set | frozenset | deque):
        return list(one)
    if isinstance(one, type) or not type(one).__module__.startswith(OURS):
        return []
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(one, name) for name in (*getattr(one, "__dict__", ()), *slots) if hasattr(one, name)]
