"""What one tick publishes for readers: one immutable value, swapped whole, so that no reader ever holds up the loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from guardian.config.schema import Config
from guardian.ledger.entries import Controls, Entry
from guardian.model import Assessment, Container, Decision, EngineInfo, Inventory, Mode, Outcome, Sample, ServiceKey
from guardian.policy.state import PolicyState
from guardian.rollout.progress import KnownRollOut
from guardian.storage.values import NOTHING_KNOWN, KnownStorage


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The newest tick: what was sensed, assessed and decided, and what the ledger holds."""

    at_s: float
    at_wall_s: float
    mode: Mode
    config: Config
    sample: Sample
    assessment: Assessment
    decision: Decision
    entries: tuple[Entry, ...]  # open ones
    quarantined: tuple[ServiceKey, ...]
    controls: Controls
    in_flight: tuple[str, ...]  # "shed demo/kibana since 3s", in words
    engine_up: bool
    engine: EngineInfo | None
    config_pending: tuple[str, ...]  # a diff in words: edits that wait for an operator
    ticks: int
    storage: KnownStorage = NOTHING_KNOWN
    state: PolicyState = field(default_factory=PolicyState)  # what the policy remembers from here on
    rollout: KnownRollOut | None = None  # the newest
    outcomes: tuple[Outcome, ...] = ()  # of actions that ended since the tick before

    @property
    def inventory(self) -> Inventory | None:
        return self.sample.inventory

    def running_containers(self) -> tuple[Container, ...]:
        """Of managed services."""
        managed = {one.key for one in self.assessment.services}
        found = () if self.inventory is None else self.inventory.containers
        return tuple(one for one in found if one.state.up and one.service in managed)
