"""What goes wrong when, made by a seed alone: the same seed and length give the same plan. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MANAGED = ("auth-service", "etl-service", "notification-service", "grafana", "kibana", "fluentd")
"""Services that guardian may stop: phases 2 to 4."""
GAP_S = 1.6  # mean, between the beginnings of two faults


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault as it may be drawn. While it lasts, nothing else of one of its `groups` begins."""

    name: str
    weight: int
    least_s: float
    most_s: float
    groups: tuple[str, ...]
    of_service: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """`name` from `at_s` on for `for_s` seconds; 0 is a single blow. `service` is empty where it is about none."""

    at_s: float
    name: str
    for_s: float
    service: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.name}{f' {self.service}' if self.service else ''}" + (
            f" for {self.for_s:.1f} s" if self.for_s else ""
        )


# A disk that takes nothing while guardian is killed loses what it is owed, and that is promised: the two never meet.
_GUARDIAN = ("guardian", "disk")
_FILE = ("file", "guardian")  # with a file that is none it does not start, and that is promised too
KINDS = (
    Kind("memory soft", 7, 4, 20, ("pressure",)),
    Kind("memory hard", 7, 3, 15, ("pressure",)),
    Kind("engine hangs", 3, 1, 14, ("engine",)),
    Kind("engine killed", 1, 0.5, 5, ("engine",)),
    Kind("engine restarted", 1, 0, 0, ("engine",)),
    Kind("answers cut", 2, 1, 8, ("answers",)),
    Kind("answers cut amid their body", 1, 1, 8, ("answers",)),
    Kind("answers are errors", 2, 1, 8, ("answers",)),
    Kind("answers are garbage", 2, 1, 8, ("answers",)),
    Kind("answers hang", 2, 1, 8, ("answers",)),
    Kind("answers are slow", 2, 1, 8, ("answers",)),
    Kind("stops cut", 1, 1, 8, ("acts",)),
    Kind("stops done and their answers cut", 2, 1, 8, ("acts",)),
    Kind("stops hang", 1, 1, 8, ("acts",)),
    Kind("starts are errors", 1, 1, 8, ("acts",)),
    Kind("starts done and their answers cut", 2, 1, 8, ("acts",)),
    Kind("events cut", 3, 1, 10, ("events",)),
    Kind("connections cut", 2, 0, 0, ()),
    Kind("person stops", 3, 3, 12, ("person",), True),
    Kind("person starts", 3, 0, 0, ("person",), True),
    Kind("recreated", 2, 0, 0, ("person",), True),
    Kind("removed", 1, 2, 8, ("person",), True),
    Kind("paused", 1, 1, 5, ("person",), True),
    Kind("crashes", 2, 0, 0, ("person",), True),
    Kind("guardian killed", 3, 0.2, 3, _GUARDIAN),
    Kind("guardian frozen", 2, 1, 10, _GUARDIAN),
    Kind("guardian ended", 1, 0.2, 2, _GUARDIAN),
    Kind("disk full", 2, 2, 8, _GUARDIAN),
    Kind("disk stalls", 2, 1, 6, _GUARDIAN),
    Kind("file edited", 2, 1, 6, ("file",)),
    Kind("file broken", 1, 1, 6, _FILE),
    Kind("file half written", 1, 1, 6, _FILE),
    Kind("file gone", 1, 1, 6, _FILE),
    Kind("ordered shed", 2, 2, 8, ("order",), True),
    Kind("ordered pin", 1, 2, 10, ("order",), True),
    Kind("ordered hold", 1, 2, 6, ("order",)),
    Kind("ordered standby", 1, 2, 6, ("order",)),
    Kind("ordered reload", 1, 0, 0, ("order",)),
    Kind("readers that never read", 2, 2, 10, ("readers",)),
)


def plan(seed: int, seconds: float, kinds: Sequence[Kind] = KINDS) -> tuple[Fault, ...]:
    """All faults that begin within `seconds`, in their order. None lasts longer than that."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    busy_until_s: dict[str, float] = {}
    at_s = 1.0
    while at_s < seconds:
        free = [one for one in kinds if all(busy_until_s.get(group, 0.0) <= at_s for group in one.groups)]
        kind = rng.choices(free, [one.weight for one in free])[0]
        for_s = min(round(rng.uniform(kind.least_s, kind.most_s), 1), max(0.0, seconds - at_s))
        faults.append(Fault(round(at_s, 1), kind.name, for_s, rng.choice(MANAGED) if kind.of_service else ""))
        busy_until_s.update(dict.fromkeys(kind.groups, at_s + for_s + 1.0))
        at_s += max(0.2, rng.expovariate(1 / GAP_S))
    return tuple(faults)
