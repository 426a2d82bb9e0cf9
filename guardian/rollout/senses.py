"""What a roll-out sees of the host and its containers, with the daemon's own means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guardian.clock import Clock
from guardian.config.schema import Config
from guardian.engine.protocol import Engine, Scope
from guardian.health.overlay import ProbedContainers, start_prober
from guardian.health.prober import Probe
from guardian.model import Assessment, Container, HostReading, Inventory, ServiceKey, Usage
from guardian.policy.assess import assess, cpu_capacity
from guardian.policy.platform import Platform, resolve
from guardian.policy.state import PolicyState
from guardian.sense.cgroups import CgroupReader
from guardian.sense.containers import ContainerSensor
from guardian.sense.selves import own_ids


class HostSource(Protocol):
    def read(self) -> HostReading: ...


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all of it, and what the rules make of it. `state` is the rules' own."""

    at_s: float
    host: HostReading
    platform: Platform
    assessment: Assessment
    state: PolicyState

    def by_service(self) -> dict[ServiceKey, list[Container]]:
        """All containers in scope, managed or not."""
        found: dict[ServiceKey, list[Container]] = {}
        for one in self.platform.containers.values():
            found.setdefault(one.service, []).append(one)
        return found


class _Listing:
    """The engine's list, read anew each time: `guardian.health.overlay.Containers`."""

    ready, down, engine, excluded = True, False, None, frozenset[str]()

    def __init__(self, engine: Engine, scope: Scope, clock: Clock) -> None:
        self._engine, self._scope, self._clock = engine, scope, clock

    def current(self, max_age_s: float = 0.0) -> Inventory:  # noqa: ARG002
        at_s = self._clock.monotonic()
        return Inventory(at_s, self._engine.containers(self._scope))


class Senses:
    """Looks as often as it is asked to. `reader` None: use is asked of the engine alone."""

    def __init__(
        self, config: Config, engine: Engine, host: HostSource, reader: CgroupReader | None, clock: Clock, url: str
    ) -> None:
        self._config, self._host, self._clock, self._url = config, host, clock, url
        self._reader = reader
        self._sensor = ContainerSensor(engine)
        self.probed: dict[ServiceKey, str] = {}  # what the newest probe of a service found wrong; empty: nothing
        listing = _Listing(engine, Scope(config.projects, config.containers), clock)
        self._containers = ProbedContainers(listing, lambda: start_prober(clock, self._take_probe, lambda: None))
        self._containers.configure(config)
        self._last_s: float | None = None
        self._known: frozenset[str] = frozenset()
        self._own: frozenset[str] = frozenset()  # of the known containers, those that are guardian
        self.state = PolicyState()

    def look(self) -> Look:
        """EngineError where the engine does not tell which containers there are."""
        at_s = self._clock.monotonic()
        host = self._host.read()
        listed = self._containers.current()
        containers = () if listed is None else listed.containers
        usage: dict[str, Usage] = {}
        covered: frozenset[str] = frozenset()
        if self._reader is not None:
            self._reader.follow(containers)
            usage.update(self._reader.read().usage)
            covered = self._reader.covered
        self._sensor.follow(containers)
        self._sensor.measure(containers, skip=covered)
        usage.update({id_: one for id_, one in self._sensor.usage.items() if id_ not in covered})
        now_s = self._clock.monotonic()
        interval_s = 1.0 if self._last_s is None else max(0.1, at_s - self._last_s)
        self._last_s = at_s
        inventory = Inventory(at_s, containers, usage, round_s=max(1.0, now_s - at_s))
        # What has ended well counts too: it may be a one-shot, or a service that somebody has stopped.
        every = frozenset(one.id for one in containers)
        cpus = cpu_capacity(self._config, host)
        if every != self._known:
            self._known, self._own = every, own_ids(containers, self._url)
        platform = resolve(self._config, inventory, self._own, cpus, owed=every)
        assessment, self.state = assess(host, platform, (), frozenset(), self.state, self._config, now_s, max(1.0, interval_s))
        return Look(now_s, host, platform, assessment, self.state)

    def _take_probe(self, probe: Probe) -> None:
        self.probed[probe.service] = probe.problem

    def close(self) -> None:
        self._containers.close()
        if self._reader is not None:
            self._reader.close()
