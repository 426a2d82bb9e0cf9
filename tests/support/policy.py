"""Small builders for unit tests of the policy, and a world in which its ticks run: no loop, no engine, no ledger file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from support.virtual_host import MIB, Phase, a_config, key

from guardian.config.schema import Config, DiskThresholds, SupportThresholds, Thresholds, ThresholdsConfig
from guardian.ledger.entries import Controls, Entry, EntryContainer, EntryState, Means
from guardian.model import (
    Action,
    ActionKind,
    Assessment,
    Container,
    ContainerState,
    Decision,
    Health,
    HostReading,
    Inventory,
    Outcome,
    Result,
    ServiceKey,
    Usage,
)
from guardian.policy.assess import assess
from guardian.policy.decide import decide
from guardian.policy.inputs import Inputs
from guardian.policy.platform import Platform, resolve
from guardian.policy.state import PolicyState

__all__ = ["AT_ONCE", "CORES", "MIB", "TOTAL", "Phase", "World", "a_config", "a_container", "an_entry", "key", "marks"]

TOTAL = 4000 * MIB
CORES = 4


def marks(
    soft: float = 0.8,
    hard: float = 0.9,
    recover: float = 0.7,
    soft_for: float = 0.0,
    hard_for: float = 0.0,
    recover_for: float = 0.0,
) -> Thresholds:
    """Thresholds that the first reading reaches, unless said otherwise."""
    return Thresholds(
        soft=soft,  # type: ignore[arg-type]
        hard=hard,  # type: ignore[arg-type]
        recover=recover,  # type: ignore[arg-type]
        soft_for=soft_for,  # type: ignore[arg-type]
        hard_for=hard_for,  # type: ignore[arg-type]
        recover_for=recover_for,  # type: ignore[arg-type]
    )


def support_marks(soft: float, recover: float, soft_for: float = 0.0, recover_for: float = 0.0) -> SupportThresholds:
    return SupportThresholds(soft=soft, recover=recover, soft_for=soft_for, recover_for=recover_for)  # type: ignore[arg-type]


AT_ONCE = ThresholdsConfig(
    memory=marks(),
    cpu=marks(),
    swap=support_marks(0.6, 0.4),
    memory_pressure=support_marks(0.2, 0.05),
    disk=DiskThresholds(soft=0.85, hard=0.95, recover=0.8, soft_for=0, recover_for=0),  # type: ignore[arg-type]
)
"""Every level changes with the first reading, so that one tick decides."""


def a_container(name: str, number: int = 1, **fields: Any) -> Container:
    """A running container of the project's service `name`, long started."""
    return Container(
        **{
            "id": f"{name}-{number}",
            "name": f"openpolicy-{name}-{number}",
            "service": key(name),
            "number": number,
            "started_s": 0.0,
            **fields,
        }
    )


def an_entry(name: str, phase: int, **fields: Any) -> Entry:
    """A service that guardian has stopped, as the ledger holds it; one replica."""
    return Entry(
        **{
            "id": f"entry-{name}",
            "service": key(name),
            "phase": phase,
            "containers": (EntryContainer(f"{name}-1", f"openpolicy-{name}-1", 1, stopped=True),),
            "reason": "memory",
            "state": EntryState.SHED,
            "decided_wall_s": 0.0,
            "expected_bytes": 100 * MIB,
            "expected_cores": 0.1,
            **fields,
        }
    )


@dataclass
class World:
    """A host, its containers and what the ledger owes; the test changes them by hand, and `tick` decides once.

    `memory` and the other figures of the host are ratios. Uses are MiB and cores of one container, by its id.
    """

    config: Config
    now_s: float = 10_000.0
    memory: float | None = 0.5
    cpu: float | None = 0.1
    waiting: float | None = 0.5  # PSI cpu some avg10
    psi_present: bool = True
    swap: float | None = None
    swap_total_bytes: int = TOTAL
    memory_pressure: float | None = None
    disk: float | None = None
    containers: dict[str, Container] = field(default_factory=dict)
    mib: dict[str, float | None] = field(default_factory=dict)
    cores: dict[str, float | None] = field(default_factory=dict)
    entries: dict[ServiceKey, Entry] = field(default_factory=dict)
    controls: Controls = field(default_factory=Controls)
    standby: bool = False
    engine_ready: bool = True
    observe: bool = False
    state: PolicyState = field(default_factory=lambda: PolicyState(run_id="run"))
    reading_s: float | None = None  # set: the host's reading stays at this time

    def __post_init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def add(self, name: str, mib: float | None = 100, cores: float | None = 0.1, replicas: int = 1, **fields: Any) -> World:
        """A service that runs; returns the world, so that several can be added in one line."""
        for number in range(1, replicas + 1):
            container = a_container(name, number, **fields)
            self.containers[container.id] = container
            self.mib[container.id], self.cores[container.id] = mib, cores
        return self

    def add_shed(self, name: str, phase: int, **fields: Any) -> World:
        """A service that guardian has stopped."""
        self.add(name)
        self._change(f"{name}-1", state=ContainerState.EXITED)
        self.entries[key(name)] = an_entry(name, phase, **fields)
        return self

    # --- one tick ---------------------------------------------------------------------------------------------------

    @property
    def host(self) -> HostReading:
        return HostReading(
            at_s=self.now_s if self.reading_s is None else self.reading_s,
            cores=CORES,
            memory_total_bytes=TOTAL,
            memory_available_bytes=None if self.memory is None else round(TOTAL * (1 - self.memory)),
            swap_total_bytes=self.swap_total_bytes,
            swap_used_bytes=None if self.swap is None else round(TOTAL * self.swap),
            cpu_ratio=self.cpu,
            cpu_some_avg10_ratio=self.waiting,
            memory_full_avg10_ratio=self.memory_pressure,
            psi_present=self.psi_present,
            disk_total_bytes=None if self.disk is None else TOTAL,
            disk_available_bytes=None if self.disk is None else round(TOTAL * (1 - self.disk)),
        )

    @property
    def platform(self) -> Platform:
        usage = {
            one.id: Usage(self.now_s, _bytes(self.mib[one.id]), _bytes(self.mib[one.id]), self.cores[one.id])
            for one in self.containers.values()
            if one.state.up
        }
        owed = frozenset(one.id for entry in self.entries.values() for one in entry.containers)
        inventory = Inventory(self.now_s, tuple(self.containers.values()), usage, round_s=1.0)
        return resolve(self.config, inventory, cpus=float(CORES), owed=owed)

    def tick(self, seconds: float = 1.0, **inputs: Any) -> Decision:
        """Let time pass and decide once. What was decided is noted in the ledger as the loop does; nothing is carried out."""
        self.now_s += seconds
        host, platform, entries = self.host, self.platform, tuple(self.entries.values())
        self.assessment: Assessment
        self.assessment, state = assess(host, platform, entries, self.controls.pins, self.state, self.config, self.now_s)
        given = {
            "outcomes": tuple(self._outcomes),
            "entries": entries,
            "controls": self.controls,
            "standby": self.standby,
            "engine_ready": self.engine_ready,
            "observe": self.observe,
            **inputs,
        }
        self._outcomes = []
        decision, self.state = decide(self.assessment, host, platform, Inputs(**given), state, self.config, self.now_s)
        for action in () if self.observe else decision.actions:
            if action.kind is ActionKind.RESTORE:
                self.entries[action.service] = replace(self.entries[action.service], state=EntryState.RESTORING)
        for service in decision.restored:
            self.entries.pop(service, None)
        for service in decision.fallen:
            self.entries[service] = replace(self.entries[service], state=EntryState.SHED)
        return decision

    def ticks(self, count: int, seconds: float = 1.0) -> list[Decision]:
        return [self.tick(seconds) for _ in range(count)]

    # --- what comes of it -------------------------------------------------------------------------------------------

    def end(self, action: Action, result: Result = Result.DONE) -> None:
        """The action ends now; the next tick hears of it. A shed that worked gives back no memory by itself: set `memory`."""
        done = result is Result.DONE
        self._outcomes.append(
            Outcome(action, result, self.now_s, self.now_s, 1.0, stopped=action.containers if done else ()),
        )
        if not done:
            return
        if action.kind in (ActionKind.SHED, ActionKind.HASTEN):
            for container_id in action.containers:
                self._change(container_id, state=ContainerState.EXITED)
            self._owe(action, Means.API)
        elif action.kind is ActionKind.RESTORE:
            for container_id in action.containers:
                self._change(container_id, state=ContainerState.RUNNING, started_s=self.now_s)
        elif action.kind is ActionKind.RESTART:
            for container_id in action.containers:
                self._change(container_id, started_s=self.now_s, health=Health.STARTING)
        elif action.kind is ActionKind.THROTTLE:
            self._owe(action, Means.THROTTLE)
        else:
            self.entries.pop(action.service, None)

    def end_all(self, decision: Decision, result: Result = Result.DONE) -> None:
        for action in decision.actions:
            self.end(action, result)

    def set_health(self, name: str, health: Health) -> None:
        self._change(f"{name}-1", health=health)

    def set_state(self, name: str, state: ContainerState) -> None:
        self._change(f"{name}-1", state=state)

    def complete(self, name: str) -> None:
        """It ends well, as a one-shot does."""
        self._change(f"{name}-1", state=ContainerState.EXITED, exit_code=0, completed=True)

    def _change(self, container_id: str, **fields: Any) -> None:
        self.containers[container_id] = replace(self.containers[container_id], **fields)

    def _owe(self, action: Action, means: Means) -> None:
        self.entries[action.service] = an_entry(
            action.service.name,
            action.phase,
            id=action.id,
            containers=tuple(EntryContainer(one, one, 1, stopped=True) for one in action.containers),
            reason=action.reason,
            means=means,
            expected_bytes=action.expected_bytes,
            expected_cores=action.expected_cores,
        )


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else round(mib * MIB)


def of_kind(decision: Decision, kind: ActionKind) -> list[str]:
    """Names of the services that this kind of action is for, in the order given."""
    return [action.service.name for action in decision.actions if action.kind is kind]


def sheds(decision: Decision) -> list[str]:
    return of_kind(decision, ActionKind.SHED)


def restores(decision: Decision) -> list[str]:
    return of_kind(decision, ActionKind.RESTORE)


def why_held(decision: Decision, kind: ActionKind = ActionKind.SHED) -> list[str]:
    """The reasons why nothing of this kind was done, in the order given."""
    return [held.reason for held in decision.held if held.action is kind]


def why_waiting(decision: Decision) -> Mapping[str, str]:
    """Of each service that waits for its restore, why."""
    return {
        held.service.name: held.reason
        for held in decision.held
        if held.action is ActionKind.RESTORE and held.service is not None
    }


def names(keys: Iterable[ServiceKey]) -> list[str]:
    return [one.name for one in keys]
