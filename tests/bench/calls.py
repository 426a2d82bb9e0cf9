"""What an engine spends on guardian's calls: how many of each kind there are, times what one of them costs it.

An engine at rest uses now more and now less, by many times what guardian asks of it: before and after, or with and
without, only show how it varies. One kind of call, made over and over, does show what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.procs import cpu_each, spent_s
from bench.stage import PROJECT
from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.engine.protocol import Scope
from guardian.telemetry import NullTelemetry

REPEATS: Mapping[str, int] = {"ping": 1000, "info": 20, "list": 100, "inspect": 300, "stats": 3}
STATS_AT_ONCE = 32  # on Engine 20.10 each takes a second, however many are asked for
_COUNT = "guardian_engine_request_duration_seconds_count"

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def calls_made(before: Samples, after: Samples) -> dict[str, float]:
    """By operation, between two readings of guardian's metrics; only what was called, and without the stream, which stays open."""
    made = {
        dict(labels)["operation"]: value - before.get((name, labels), 0.0)
        for (name, labels), value in after.items()
        if name == _COUNT
    }
    return {operation: count for operation, count in made.items() if count > 0 and operation != "events"}


def costs_ms(url: str, engine: Sequence[int], operations: Iterable[str]) -> dict[str, float]:
    """CPU of the processes `engine` for one call of each kind, in milliseconds."""
    client = DockerEngine(url, 30.0, SystemClock(), NullTelemetry())
    scope = Scope((PROJECT,), ())
    try:
        some, *others = [container.id for container in client.containers(scope)]
        at_once = [some, *others][:STATS_AT_ONCE]
        calls: dict[str, Callable[[], Any]] = {
            "ping": client.ping,
            "info": client.info,
            "list": lambda: client.containers(scope),
            "inspect": lambda: client.inspect(scope, [some]),
            "stats": lambda: client.stats(at_once),
        }
        costs = {one: _cost_ms(calls[one], REPEATS[one], engine) for one in operations}
        return {one: cost / len(at_once) if one == "stats" else cost for one, cost in costs.items()}
    finally:
        client.close()


def _cost_ms(call: Callable[[], Any], repeats: int, engine: Sequence[int]) -> float:
    call()
    before = cpu_each(engine)
    for _ in range(repeats):
        call()
    return spent_s(before, cpu_each(engine)) * 1000 / repeats


def share(made: Mapping[str, float], costs: Mapping[str, float], took_s: float) -> float:
    """Milliseconds of the engine's CPU each second."""
    return math.fsum(count * costs[operation] for operation, count in made.items()) / took_s
