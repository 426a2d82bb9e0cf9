"""A simulated host under guardian, on a clock of its own: minutes pass in a moment."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from guardian.clock import VirtualClock
from guardian.config.schema import Config
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine, SimulatedHost, VirtualActor
from guardian.loop import Loop
from guardian.model import EngineEvent, Mode
from guardian.record.moment import Moment
from guardian.replay.books import a_ledger
from guardian.replay.run import Look
from guardian.sense.feed import Feed
from guardian.telemetry import NullTelemetry


class _Events:
    """Stands for the event watcher: events are fetched before each tick."""

    live = True

    def reopen(self) -> None:
        """None is missed."""

    def rescope(self, scope: Scope) -> None:
        """The scope stays."""


def simulate(scenario: Scenario, config: Config, seconds: float | None = None) -> Iterator[Look]:
    """Each tick of the whole loop on `scenario`, enforced, for `seconds` (None: as long as it is interesting)."""
    config = msgspec.structs.replace(config, mode=Mode.ENFORCE)
    clock = VirtualClock()
    engine = SimulatedEngine(scenario, clock)
    scope = Scope(config.projects or (scenario.project,), config.containers)
    feed = Feed(engine, scope, None, clock, NullTelemetry(), _Events())
    ledger = a_ledger(clock)
    actor = VirtualActor(engine, clock, ledger.mark, lambda container_id: feed.touch((container_id,)))
    told: list[Moment] = []
    loop = Loop(
        config=config,
        mode=config.mode,
        host=SimulatedHost(engine),
        containers=feed,
        actor=actor,
        ledger=ledger,
        clock=clock,
        telemetry=NullTelemetry(),
        run_id="simulated",
        record=told.append,
    )
    ends_s = clock.monotonic() + (float(scenario.duration) if seconds is None else seconds)
    read_s: float | None = None
    while clock.monotonic() < ends_s:
        passed_s = loop.pace.next_s
        clock.advance(passed_s)
        engine.poll()
        events: tuple[EngineEvent, ...] = engine.pending_events(scope)
        loop.take_events(events)
        feed.take_events(events)
        now_s = clock.monotonic()
        if read_s is None or now_s - read_s >= loop.pace.containers_s or feed.waiting:
            feed.refresh(loop.pace.containers_s)
            read_s = now_s
        snapshot = loop.tick(max(passed_s, float(config.sampling.host)))
        told.clear()
        yield Look(
            now_wall_s=snapshot.at_wall_s,
            after_s=passed_s,
            host=snapshot.sample.host,
            assessment=snapshot.assessment,
            decision=snapshot.decision,
            whole=True,
            as_recorded=False,
            quarantined=snapshot.quarantined,
        )
