"""What a recording says, for any process and whether or not guardian runs. Read-only; nothing here is imported by the daemon."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from guardian.config.schema import Config
from guardian.errors import GuardianError
from guardian.ledger.schema import BUSY_S
from guardian.model import Container, ServiceKey
from guardian.policy.demand import percentile
from guardian.record.rows import VERSION, Kind, Minute, MinuteRow, decode, told_list

LEAD_S = 3700.0  # a row with all of the containers is at most this much older than one that refers to it
PERCENTILE = 0.95


class RecordError(GuardianError):
    """The recording is not there or cannot be read."""


class ServiceUse(NamedTuple):
    """What one service used, all of its replicas together. A figure is of a minute: its most, of cores its mean.

    None where none of the minutes had it. `replicas`: the most that ran in one minute.
    """

    samples: int  # minutes in which it ran
    replicas: int
    working_set_p95_bytes: int | None
    footprint_p95_bytes: int | None
    cores_p95: float | None


@dataclass(frozen=True, slots=True)
class MinuteUse:
    """One minute with its containers."""

    minute: Minute
    containers: tuple[Container, ...]

    @property
    def use(self) -> Mapping[str, MinuteRow]:
        """By container id, of those that were measured."""
        return {one.id: row for one, row in zip(self.containers, self.minute.use, strict=True) if row is not None}


def service_use(path: Path, since_wall_s: float, until_wall_s: float | None = None) -> Mapping[ServiceKey, ServiceUse]:
    """Use of each service within the time, by minutes; services that never ran in it are missing.

    RecordError where there is no recording at `path` or it cannot be read.
    """
    found: dict[ServiceKey, _Figures] = {}
    for one in minutes(path, since_wall_s, until_wall_s):
        use = one.use
        replicas: dict[ServiceKey, list[MinuteRow | None]] = {}
        for container in one.containers:
            if container.state.up:
                replicas.setdefault(container.service, []).append(use.get(container.id))
        for service, rows in replicas.items():
            found.setdefault(service, _Figures()).add(rows)
    return {service: figures.sum() for service, figures in sorted(found.items())}


def minutes(path: Path, since_wall_s: float, until_wall_s: float | None = None) -> Iterator[MinuteUse]:
    """Minutes that end within the time, oldest first."""
    until_wall_s = float("inf") if until_wall_s is None else until_wall_s
    containers: tuple[Container, ...] | None = None
    with opened(path) as connection:
        for body, end_wall_s in connection.execute(
            "SELECT body, until_wall_s FROM rows WHERE kind = ? AND until_wall_s BETWEEN ? AND ? ORDER BY id",
            (Kind.MINUTE.value, since_wall_s - LEAD_S, until_wall_s),
        ):
            minute = decode(body, Minute)
            if containers is None and minute.containers is None:
                continue  # its list was in a row that is gone
            containers = told_list(containers or (), minute.containers, minute.changed)
            if end_wall_s >= since_wall_s:
                yield MinuteUse(minute, containers)


def settings_of(path: Path) -> Mapping[str, Config]:
    """Every configuration that the recording names, by digest: what of it decides."""
    with opened(path) as connection:
        return {digest: decode(body, Config) for digest, body in connection.execute("SELECT digest, body FROM settings")}


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection; whatever goes wrong with the file while it is open becomes a RecordError."""
    try:
        there = path.exists()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}; read it as the user that guardian runs as") from None
    if not there:
        raise RecordError(f"{path}: there is no recording here; check `state_dir`, or let guardian run for a minute")
    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            raise RecordError(
                f"{path}: the recording is of version {version}, and this guardian reads version {VERSION}; use the guardian "
                "that wrote it"
            )
        yield connection
    except (sqlite3.Error, msgspec.DecodeError, zlib.error) as error:
        raise RecordError(f"{path}: the recording cannot be read: {error}; read it as the user that guardian runs as") from None
    finally:
        if connection is not None:
            connection.close()


class _Figures:
    """Of one service, minute by minute."""

    def __init__(self) -> None:
        self.samples = self.replicas = 0
        self.working_sets: list[int] = []
        self.footprints: list[int] = []
        self.cores: list[float] = []

    def add(self, rows: list[MinuteRow | None]) -> None:
        """A minute's sum is unknown where one replica's part is."""
        self.samples += 1
        self.replicas = max(self.replicas, len(rows))
        if None in rows:
            return
        columns = tuple(zip(*(row for row in rows if row is not None), strict=True))
        figures: tuple[list[Any], ...] = (self.working_sets, self.footprints, self.cores)
        for values, column in zip(figures, columns[:3], strict=True):  # without the most cores of one reading
            if None not in column:
                values.append(sum(column))

    def sum(self) -> ServiceUse:
        def p95(values: list[int] | list[float]) -> float | None:
            return percentile(values, PERCENTILE) if values else None

        working_set, footprint = p95(self.working_sets), p95(self.footprints)
        return ServiceUse(
            samples=self.samples,
            replicas=self.replicas,
            working_set_p95_bytes=None if working_set is None else int(working_set),
            footprint_p95_bytes=None if footprint is None else int(footprint),
            cores_p95=p95(self.cores),
        )
