"""What `objectives.db` holds: one row an hour, with all services and phases in it (JSON, then zlib). Some kilobytes a day and service.

All sums are of seconds, bytes, or counts, so that hours add up. What an hour does not have is unknown, never zero.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import msgspec

OBJECTIVES_NAME = "objectives.db"  # in the state directory
VERSION = 1
HOUR_S = 3600


class Targets(NamedTuple):
    """`objectives` of the file. None: not set."""

    response_time_s: float | None = None
    availability_ratio: float | None = None
    utilisation_ratio: float | None = None
    healthy_ratio: float | None = None


NO_TARGETS = Targets()


class ServiceHour(msgspec.Struct, array_like=True):
    """One service in one hour. Each second that was watched is in exactly one of the first five sums, or in the last."""

    project: str
    name: str
    phase: int
    first_wall_s: float  # watched from here …
    last_wall_s: float  # … to here
    up_s: float = 0.0  # runs, and no check says that it is not well
    unhealthy_s: float = 0.0  # runs, and a check says so; or is being restarted for that
    down_s: float = 0.0  # stopped, by somebody or by itself
    shed_s: float = 0.0  # stopped by guardian
    absent_s: float = 0.0  # there is no container of it
    healthy_s: float = 0.0  # a check says that it is well
    probes: int = 0  # guardian's own, those that count
    failures: int = 0  # … of which failed
    answers: dict[int, int] = {}  # of those that did not: how many by `figures.bucket`
    http: bool = False  # the probe is one by HTTP
    use_s: float = 0.0  # of how many seconds the next four are: it ran, and was measured
    byte_s: float = 0.0  # working set times time
    core_s: float = 0.0
    most_bytes: int = 0
    most_cores: float = 0.0
    network: str = ""  # why its traffic is not known: host, shared; empty: it is counted where it can be read
    network_s: float = 0.0  # of how many seconds the next two are
    rx_bytes: int = 0
    tx_bytes: int = 0
    completed_s: float = 0.0  # a one-shot that had done its work


class PhaseHour(msgspec.Struct, array_like=True):
    """Phases 1 to this one together in one hour, against their budget as it was last."""

    phase: int
    name: str
    memory_budget_bytes: int | None = None
    cpu_budget_cores: float | None = None
    memory_s: dict[int, float] = {}  # seconds by use in whole percent of the budget, rounded up
    cpu_s: dict[int, float] = {}
    use_s: float = 0.0  # of how many seconds the next two are
    byte_s: float = 0.0
    core_s: float = 0.0


class Hour(msgspec.Struct, array_like=True):
    """`number` is the hour's since the Unix epoch."""

    number: int
    watched_s: float = 0.0  # the engine answered, and guardian looked
    first_wall_s: float = 0.0  # from when …
    last_wall_s: float = 0.0  # … until when
    targets: Targets = NO_TARGETS  # as they were last
    services: list[ServiceHour] = []
    phases: list[PhaseHour] = []


def encode(hour: Hour) -> bytes:
    return zlib.compress(msgspec.json.encode(hour), 6)


def decode(body: bytes) -> Hour:
    """msgspec.DecodeError or zlib.error where it is something else."""
    return _decoder().decode(zlib.decompress(body))


@cache
def _decoder() -> msgspec.json.Decoder[Hour]:
    return msgspec.json.Decoder(Hour)
