"""Has the engine's disk measured now and then, on a thread of its own: it may take the engine minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from guardian import journal, logs
from guardian.clock import Clock
from guardian.engine.protocol import Scope
from guardian.errors import EngineError
from guardian.expose.orders import OrderReply
from guardian.expose.snapshot import Snapshot
from guardian.model import Level, ServiceKey
from guardian.storage import advice, shelf
from guardian.storage.growth import storage_of
from guardian.storage.values import NOTHING_KNOWN, EngineDisk, KnownStorage, Reading, by_service

EVERY_S = 6 * 3600.0
FIRST_S = 600.0  # after the start of guardian: the engine has other work while a host boots
CHECK_S = 60.0  # whether it is needed sooner than that is looked at so often
AGAIN_S = 3600.0  # soonest, for a service that the newest reading does not have, or a disk that fills
DEADLINE_S = 900.0

_log = logs.get("storage")


class DiskEngine(Protocol):
    def disk(self, scope: Scope, deadline_s: float) -> EngineDisk: ...


@dataclass(frozen=True, slots=True)
class _Job:
    scope: Scope
    phases: Mapping[ServiceKey, int]
    used_bytes: int | None
    size_bytes: int | None
    disk_level: Level


class StorageKeeper:
    """`look` after each tick decides whether to measure; `known` is what came of it."""

    def __init__(self, engine: DiskEngine, get_scope: Callable[[], Scope], path: Path, clock: Clock) -> None:
        self._engine = engine
        self._get_scope = get_scope
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = False
        self._measuring = False
        self._due_s = clock.monotonic() + FIRST_S
        self._check_s = self._due_s
        self._readings: tuple[Reading, ...] = ()
        self._known = NOTHING_KNOWN
        self._load()

    @property
    def known(self) -> KnownStorage:
        """The same object for as long as nothing changes."""
        return self._known

    def look(self, snapshot: Snapshot) -> None:
        """After each tick, on its thread. Waits for nobody."""
        now_s = snapshot.at_s
        if self._measuring:
            return
        if now_s < self._due_s and not self._asked:
            if now_s < self._check_s:
                return
            self._check_s = now_s + CHECK_S
            if not self._wanted(snapshot):
                return
        if why_not := self._why_not(snapshot):
            if self._asked:
                self._asked = False
                self._ended(why_not)
            return
        self._asked, self._measuring = False, True
        self._set(busy=True)
        self._check_s, self._due_s = now_s + AGAIN_S, now_s + EVERY_S
        host = snapshot.sample.host
        size = None if host is None else host.disk_total_bytes
        used = None if host is None or size is None or host.disk_available_bytes is None else size - host.disk_available_bytes
        phases = {service.key: service.phase for service in snapshot.assessment.services}
        job = _Job(self._get_scope(), phases, used, size, snapshot.assessment.disk_level)
        try:
            threading.Thread(target=self._measure, args=(job,), name="storage", daemon=True).start()
        except RuntimeError:
            self._ended("the host has no thread to give")

    def order(self, snapshot: Snapshot | None) -> OrderReply:
        """An operator wants it measured now: it begins with the next tick."""
        why_not = "no tick has ended yet; try again in a moment" if snapshot is None else self._why_not(snapshot)
        if why_not:
            return OrderReply(False, why_not)
        self._asked = True
        self._set(busy=True)
        message = "the engine is asked; it can take minutes, `guardian storage` shows what it says"
        return OrderReply(True, message, data={"attempts": self._known.attempts})

    def _why_not(self, snapshot: Snapshot) -> str:
        """It would cost a host under pressure what it has least of."""
        if snapshot.assessment.level is not Level.OK:
            return f"the host is {snapshot.assessment.level}, and measuring would add to that; try again once it is ok"
        if not snapshot.engine_up:
            return "the engine does not answer; try again once `guardian status` shows it up"
        return ""

    def _wanted(self, snapshot: Snapshot) -> bool:
        """Sooner than usual: the disk fills, or services have come."""
        storage = self._known.newest
        if storage is None:
            return False
        if snapshot.assessment.disk_level is not Level.OK:
            return True
        return any(service.containers and service.key not in storage.totals for service in snapshot.assessment.services)

    def _measure(self, job: _Job) -> None:
        began_s = self._clock.monotonic()
        problem = ""
        try:
            disk = self._engine.disk(job.scope, DEADLINE_S)
            self._take(job, disk)
            _log.info("storage measured", took_s=round(self._clock.monotonic() - began_s, 2))
        except EngineError as error:
            problem = str(error)
            _log.warning("storage could not be measured: what is known of it is older", problem=problem)
        except OSError as error:
            problem = f"{self._path}: {error.strerror or error}"
            _log.warning("what was measured of storage could not be kept", problem=problem)
        finally:
            self._ended(problem)

    def _take(self, job: _Job, disk: EngineDisk) -> None:
        reading = Reading(self._clock.wall(), job.used_bytes, job.size_bytes, by_service(disk, job.phases))
        before = [one for one in self._readings if one.at_wall_s < reading.at_wall_s]  # the wall clock may have been set back
        self._readings = (*before, reading)[-shelf.MOST_READINGS :]
        commands = advice.commands(disk)
        storage = storage_of(self._readings, commands)
        self._set(newest=storage)
        if job.disk_level is not Level.OK and storage is not None:
            journal.disk(job.disk_level, storage)
        shelf.save(self._path, self._readings, commands)

    def _ended(self, problem: str) -> None:
        """An attempt is over; empty: it went well."""
        self._measuring = False
        self._set(busy=self._asked, problem=problem, attempts=self._known.attempts + 1)

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._known = replace(self._known, **changes)

    def _load(self) -> None:
        try:
            self._readings, commands = shelf.load(self._path)
        except (OSError, ValueError) as error:
            _log.warning(
                "earlier readings of storage cannot be used: they begin anew", path=str(self._path), problem=str(error)
            )
            return
        self._set(newest=storage_of(self._readings, commands))
        if self._readings:
            age_s = self._clock.wall() - self._readings[-1].at_wall_s
            if 0 <= age_s < EVERY_S:
                self._due_s = self._clock.monotonic() + max(FIRST_S, EVERY_S - age_s)
