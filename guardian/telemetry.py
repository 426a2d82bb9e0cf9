"""How the parts report what cannot be read from a snapshot: counts and durations. `expose.metrics` turns them into metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from guardian.model import Held, Outcome


class Objective(NamedTuple):
    """One objective of the file over the last 30 days. None is unknown."""

    name: str
    target: float  # seconds for the response time, else a ratio
    value: float | None  # the worst of all that it is about
    met: bool | None
    budget_ratio: float | None  # what is left of the error budget where least is


class Telemetry(Protocol):
    """Every method may be called from any thread, and returns at once."""

    def engine_request(self, operation: str, seconds: float, error: str | None = None) -> None:
        """One API call ended; `error` is `EngineError.reason` where it failed."""

    def engine_not_understood(self, operation: str) -> None:
        """The answer to a call that had ended well could not be used."""

    def event_stream_reconnected(self) -> None: ...

    def time_jumped(self, kind: str) -> None:
        """Time passed unseen: a tick came very `late`, the host slept (`suspend`), or the wall clock was set (`clock_set`)."""

    def sampled(self, source: str, seconds: float, ok: bool) -> None:
        """One reading of `host` or `containers` ended."""

    def acted(self, outcome: Outcome) -> None: ...

    def relief(self, predicted_bytes: int | None, measured_bytes: int | None) -> None:
        """A settled shed: what it was expected to give back, and what was seen."""

    def reacted(self, seconds: float) -> None:
        """From crossing a threshold to the stop being sent."""

    def held(self, held: Held) -> None:
        """A decision not to act, counted once each time it begins to hold, not at every tick."""

    def overridden(self, kind: str) -> None:
        """Somebody `started` or `stopped` something."""

    def log_dropped(self, lines: int) -> None: ...

    def ledger_late(self) -> None: ...

    def ledger_failed(self) -> None: ...

    def record_dropped(self, count: int) -> None:
        """Ticks, or rows, that the recording will never have."""

    def record_failed(self) -> None:
        """The recording could not be written; it is tried again."""

    def record_size(self, size_bytes: int) -> None: ...

    def ledger_put_aside(self) -> None: ...

    def config_reloaded(self, ok: bool, at_wall_s: float) -> None: ...

    def notified(self, channel: str, result: str) -> None: ...

    def objectives(self, told: Iterable[Objective]) -> None:
        """All that the file sets, as they are now."""


class NullTelemetry:
    """Reports to nobody; for tests and one-off commands."""

    def engine_request(self, operation: str, seconds: float, error: str | None = None) -> None: ...
    def engine_not_understood(self, operation: str) -> None: ...
    def event_stream_reconnected(self) -> None: ...
    def time_jumped(self, kind: str) -> None: ...
    def sampled(self, source: str, seconds: float, ok: bool) -> None: ...
    def acted(self, outcome: Outcome) -> None: ...
    def relief(self, predicted_bytes: int | None, measured_bytes: int | None) -> None: ...
    def reacted(self, seconds: float) -> None: ...
    def held(self, held: Held) -> None: ...
    def overridden(self, kind: str) -> None: ...
    def log_dropped(self, lines: int) -> None: ...
    def ledger_late(self) -> None: ...
    def ledger_failed(self) -> None: ...
    def ledger_put_aside(self) -> None: ...
    def record_dropped(self, count: int) -> None: ...
    def record_failed(self) -> None: ...
    def record_size(self, size_bytes: int) -> None: ...
    def config_reloaded(self, ok: bool, at_wall_s: float) -> None: ...
    def notified(self, channel: str, result: str) -> None: ...
    def objectives(self, told: Iterable[Objective]) -> None: ...
