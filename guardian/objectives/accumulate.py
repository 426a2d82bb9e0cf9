"""Adds up what ticks show, hour by hour. What one tick shows holds until the next; where none came in time, nothing is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guardian.config.schema import Config
from guardian.model import PhaseUse, ServiceKey, ServiceState, ServiceStatus
from guardian.objectives.evaluate import Window
from guardian.objectives.figures import add, bucket, percent
from guardian.objectives.rows import HOUR_S, Hour, PhaseHour, ServiceHour, Targets

GAP_S = 60.0  # between two ticks: longer is unknown time, unless the file itself has guardian look so rarely
CLOCKS_APART_S = 1.0  # the wall clock was set, or the host slept
MOST_BESIDE = 10_000  # probes and readings that may wait for a tick
KEPT_HOURS = 48  # that may wait for a disk which fails

_SUM = {
    ServiceState.RUNNING: "up_s",
    ServiceState.UNHEALTHY: "unhealthy_s",
    ServiceState.STOPPED: "down_s",
    ServiceState.SHED: "shed_s",
    ServiceState.QUARANTINED: "shed_s",
    ServiceState.MISSING: "absent_s",
    ServiceState.COMPLETED: "completed_s",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What one tick shows: references to values that do not change. `known` is False while the engine does not answer."""

    at_s: float
    at_wall_s: float
    known: bool
    services: tuple[ServiceStatus, ...]
    phases: tuple[PhaseUse, ...]
    config: Config


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of guardian's own that counts. `took_s` is None where it failed."""

    service: ServiceKey
    at_wall_s: float
    took_s: float | None
    http: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a service received and sent within `seconds`; `unknown` says why that is not known."""

    service: ServiceKey
    at_wall_s: float
    seconds: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    unknown: str = ""


class Accumulator:
    """For one thread. `hours` are those that `flush` has brought up to date and that nobody has said to be written since."""

    def __init__(self) -> None:
        self.hours: dict[int, Hour] = {}
        self._index: dict[int, dict[ServiceKey, ServiceHour]] = {}
        self._phases: dict[int, dict[int, PhaseHour]] = {}
        self._first: Look | None = None  # of ticks that all show the same
        self._last: Look | None = None
        self._beside: list[Probed | Traffic] = []

    def resume(self, hour: Hour) -> None:
        """Go on with an hour that was begun before guardian was started again: what has been added up since comes on top."""
        since = self.hours.get(hour.number)
        if since is not None:
            whole = Window(0.0, 0.0)
            whole.add(hour)
            whole.add(since)
            hour = whole.as_hour(hour.number)
        self.hours[hour.number] = hour
        self._index[hour.number] = {ServiceKey(one.project, one.name): one for one in hour.services}
        self._phases[hour.number] = {one.phase: one for one in hour.phases}

    def note(self, look: Look) -> None:
        """One tick. Ticks that show the same objects are added up at once, when one shows something else."""
        first, last = self._first, self._last
        if first is None or last is None:
            self._first = self._last = look
            return
        passed_s = look.at_s - last.at_s
        apart_s = look.at_wall_s - last.at_wall_s - passed_s
        gap_s = max(GAP_S, 3 * float(last.config.sampling.host))
        if not 0 <= passed_s <= gap_s or abs(apart_s) > CLOCKS_APART_S:
            self._add(first, last)  # what was in between nobody knows
            self._first = self._last = look
        elif _shows_the_same(first, look):
            self._last = look
        else:
            self._add(first, look)
            self._first = self._last = look

    def beside(self, one: Probed | Traffic) -> None:
        """A probe, or a reading of traffic."""
        self._beside.append(one)

    def flush(self) -> Iterable[Hour]:
        """Bring the hours up to date, and return them."""
        if self._first is not None and self._last is not None:
            self._add(self._first, self._last)
            self._first = self._last
        beside, self._beside = self._beside[-MOST_BESIDE:], []
        for one in beside:
            number = int(one.at_wall_s // HOUR_S)
            hour = self._index.get(number, {}).get(one.service)
            if hour is not None:
                _add_beside(hour, one)
            elif number >= max(self.hours, default=0):
                self._beside.append(one)  # the tick that shows the service in that hour is still to come
        return list(self.hours.values())

    def written(self) -> None:
        """All hours are on disk: only the present one is needed from now on."""
        now = max(self.hours, default=0)
        self._forget([number for number in self.hours if number != now])

    def bound(self) -> None:
        """The disk has failed: keep no more than may wait."""
        self._forget(sorted(self.hours)[:-KEPT_HOURS])

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            for kept in (self.hours, self._index, self._phases):
                kept.pop(number, None)

    def _add(self, first: Look, until: Look) -> None:
        """What `first` shows held until then."""
        seconds = until.at_s - first.at_s
        if not first.known or seconds <= 0:
            return
        for number, from_wall_s, to_wall_s in _by_hours(until.at_wall_s - seconds, until.at_wall_s):
            hour = self.hours.get(number)
            if hour is None:
                hour = Hour(number, first_wall_s=from_wall_s)
                self.resume(hour)
            part_s = to_wall_s - from_wall_s
            hour.watched_s += part_s
            hour.last_wall_s = max(hour.last_wall_s, to_wall_s)
            hour.targets = targets_of(first.config)
            index, phases = self._index[number], self._phases[number]
            for status in first.services:
                service = index.get(status.key)
                if service is None:
                    service = index[status.key] = ServiceHour(*status.key, status.phase, from_wall_s, to_wall_s)
                    hour.services.append(service)
                _add_service(service, status, part_s, from_wall_s, to_wall_s)
            names = {one.phase: one.name for one in first.config.phases}
            for use in first.phases:
                phase = phases.get(use.phase)
                if phase is None:
                    phase = phases[use.phase] = PhaseHour(use.phase, names.get(use.phase, ""))
                    hour.phases.append(phase)
                _add_phase(phase, use, part_s)


def targets_of(config: Config) -> Targets:
    aims = config.objectives
    if aims is None:
        return Targets()
    values = (aims.response_time, aims.availability, aims.utilisation, aims.healthy)
    return Targets(*(None if value is None else float(value) for value in values))


def _shows_the_same(one: Look, other: Look) -> bool:
    return (
        one.services is other.services
        and one.phases is other.phases
        and one.known is other.known
        and one.config is other.config
    )


def _by_hours(from_wall_s: float, to_wall_s: float) -> Iterator[tuple[int, float, float]]:
    """The number of each hour that the time is in, with its part of it."""
    while from_wall_s < to_wall_s:
        number = int(from_wall_s // HOUR_S)
        end_wall_s = min(to_wall_s, float((number + 1) * HOUR_S))
        yield number, from_wall_s, end_wall_s
        from_wall_s = end_wall_s


def _add_service(hour: ServiceHour, status: ServiceStatus, seconds: float, from_wall_s: float, to_wall_s: float) -> None:
    hour.first_wall_s, hour.last_wall_s = min(hour.first_wall_s, from_wall_s), max(hour.last_wall_s, to_wall_s)
    hour.phase = status.phase
    name = _SUM[status.state]
    setattr(hour, name, getattr(hour, name) + seconds)
    if not status.running:
        return
    if status.healthy:
        hour.healthy_s += seconds
    used, cores = status.working_set_bytes, status.cpu_cores
    if used is not None and cores is not None:
        hour.use_s += seconds
        hour.byte_s += used * seconds
        hour.core_s += cores * seconds
        hour.most_bytes, hour.most_cores = max(hour.most_bytes, used), max(hour.most_cores, cores)


def _add_phase(hour: PhaseHour, use: PhaseUse, seconds: float) -> None:
    hour.memory_budget_bytes, hour.cpu_budget_cores = use.memory_budget_bytes, use.cpu_budget_cores
    if use.memory_bytes is not None and use.memory_budget_bytes:
        add(hour.memory_s, {percent(use.memory_bytes / use.memory_budget_bytes): seconds})
    if use.cpu_cores is not None and use.cpu_budget_cores:
        add(hour.cpu_s, {percent(use.cpu_cores / use.cpu_budget_cores): seconds})
    if use.memory_bytes is not None and use.cpu_cores is not None:
        hour.use_s += seconds
        hour.byte_s += use.memory_bytes * seconds
        hour.core_s += use.cpu_cores * seconds


def _add_beside(hour: ServiceHour, one: Probed | Traffic) -> None:
    if isinstance(one, Probed):
        hour.probes += 1
        hour.http = hour.http or one.http
        if one.took_s is None:
            hour.failures += 1
        else:
            add(hour.answers, {bucket(one.took_s): 1})
    elif one.unknown:
        hour.network = one.unknown
    else:
        hour.network = ""
        hour.network_s += one.seconds
        hour.rx_bytes += one.rx_bytes
        hour.tx_bytes += one.tx_bytes
