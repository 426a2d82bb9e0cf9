"""What is told to people: an alert holds for a while, a message says which began and which are over, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardian.model import Level, Mode, ServiceKey
from guardian.units import format_bytes, format_cores

MOST_LINES = 20
"""Of one kind in a text; the rest is counted."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that a person should know of for as long as it holds. `labels` tell it from others of its name."""

    name: str
    severity: Severity
    summary: str
    since_wall_s: float
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.name, self.labels


@dataclass(frozen=True, slots=True)
class Relief:
    """What stops were expected to give back, and what was seen of it. None: nothing of that kind was looked for."""

    expected_bytes: int | None = None
    measured_bytes: int | None = None
    expected_cores: float | None = None
    measured_cores: float | None = None

    def __str__(self) -> str:
        parts = []
        for measured, expected, spelled in (
            (self.measured_bytes, self.expected_bytes, format_bytes),
            (self.measured_cores, self.expected_cores, format_cores),
        ):
            if measured is not None and expected is not None:
                parts.append(f"{spelled(measured)} measured of {spelled(expected)} expected")
            elif measured is not None or expected is not None:
                parts.append(f"{spelled(measured)} measured" if expected is None else f"{spelled(expected)} expected")
        return ", ".join(parts)


NO_RELIEF = Relief()


@dataclass(frozen=True, slots=True)
class Consumer:
    """A service and what it uses; None is unknown."""

    service: ServiceKey
    phase: int
    memory_bytes: int | None
    cpu_cores: float | None

    def __str__(self) -> str:
        used = [format_bytes(self.memory_bytes)] if self.memory_bytes is not None else []
        used += [format_cores(self.cpu_cores)] if self.cpu_cores is not None else []
        return f"{self.service} (phase {self.phase}): {', '.join(used)}"


@dataclass(frozen=True, slots=True)
class Message:
    """What changed on one host since the message before, with what belongs to it. `active` is all that holds now."""

    host: str
    at_wall_s: float
    mode: Mode
    level: Level
    cause: str  # the signals behind the level when it was reached, with their marks
    now: str  # … and now
    began: tuple[Alert, ...] = ()
    ended: tuple[Alert, ...] = ()
    active: tuple[Alert, ...] = ()
    done: tuple[str, ...] = ()  # what was done since, in words
    relief: Relief = NO_RELIEF
    top: tuple[Consumer, ...] = ()
    disk: tuple[str, ...] = ()  # while the disk fills: who fills it, and what would free some of it

    @property
    def news(self) -> bool:
        """Whether there is anything to tell a person; without, only the list of what holds is passed on."""
        return bool(self.began or self.ended)

    @property
    def title(self) -> str:
        """One line: the level and its cause where that is the news, else the gravest of what began or ended."""
        if any(alert.name in LEVEL_ALERTS for alert in (*self.began, *self.ended)):
            return f"{self.host}: {self.level}: {self.cause}"
        if self.began:
            gravest = max(self.began, key=lambda alert: list(Severity).index(alert.severity))
            return f"{self.host}: {gravest.summary}"
        return f"{self.host}: over: {self.ended[0].summary}" if self.ended else f"{self.host}: {self.level}"

    @property
    def text(self) -> str:
        """All of it, a line for each kind of thing."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.title
        if self.now != self.cause or self.cause not in self.title:
            yield f"now {self.level}: {self.now}"
        for word, alerts in (("new", self.began), ("over", self.ended)):
            told = [alert.summary for alert in alerts if alert.name not in LEVEL_ALERTS]
            yield from (f"{word}: {summary}" for summary in _some(told))
        yield from (f"done: {one}" for one in _some(self.done))
        if relief := str(self.relief):
            yield f"relief: {relief}"
        if self.top:
            yield f"top: {'; '.join(map(str, self.top))}"
        yield from (f"disk: {line}" for line in self.disk)
        if self.mode is Mode.OBSERVE:
            yield "observe mode: nothing is stopped"


LEVEL_ALERTS = ("GuardianPressure", "GuardianHardPressure")


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"and {len(lines) - MOST_LINES} more"
