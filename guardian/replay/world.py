"""The recorded host as it would have been: with what a replay stopped gone, and what it did not stop still there.

A stop gives back the footprint of what it ends, at each moment that which the record shows; its CPU leaves the host's mean
over ten seconds. What the record's guardian stopped and the replay did not goes on with what it last used. Swap, page
cache and pressure figures stay as they were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from guardian.ledger.entries import Entry, Means
from guardian.model import Action, ActionKind, Container, ContainerState, Health, HostReading, Inventory, Outcome, Result, Usage
from guardian.policy.shed import CPU_WINDOW_S

STOP_TAKES_S = 0.5  # … a container that ends when it is told to
START_TAKES_S = 1.0


@dataclass(frozen=True, slots=True)
class _Last:
    """A container while it ran, and what it used then."""

    container: Container
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was made of one recorded list, and holds until something changes."""

    of: Inventory
    theirs: frozenset[str]
    changes: int
    inventory: Inventory
    freed_bytes: int  # less what is still there and was freed in the record
    cores: dict[str, float]  # freed, by container; negative: still used


class World:
    """`see` each recorded list in order; `shown` is what the replay sees of it."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}
        self._inventory: Inventory | None = None
        self._down: frozenset[str] = frozenset()  # containers that the replay has stopped
        self._started: dict[str, float] = {}  # those that it started again, and when
        self._quotas: dict[str, float] = {}  # cores that it left to a container
        self._since_s: dict[str, float] = {}  # since when a container is another than in the record
        self._changes = 0
        self._shown: _Shown | None = None

    def begin(self, owed: Iterable[Entry]) -> None:
        """What is stopped when the replay begins to go its own way."""
        self._down = _stopped(owed)
        self._changes += 1

    def see(self, inventory: Inventory | None) -> None:
        """Keep what runs, for when the record has stopped it."""
        if inventory is None or inventory is self._inventory:
            return
        self._inventory = inventory
        for container in inventory.containers:
            usage = inventory.usage.get(container.id)
            if container.state.up and usage is not None and usage.footprint_bytes is not None:
                self._last[container.id] = _Last(container, usage)

    def did(self, outcome: Outcome) -> None:
        """What the replay has done, once it is done."""
        action, ids = outcome.action, outcome.action.containers
        self._changes += 1
        if action.kind is ActionKind.SHED:
            self._down |= frozenset(ids)
        elif action.kind is ActionKind.RESTORE:
            self._down -= frozenset(ids)
            self._started.update(dict.fromkeys(ids, outcome.at_s))
        elif action.kind is ActionKind.THROTTLE and action.cores is not None:
            self._quotas.update(dict.fromkeys(ids, action.cores))
        elif action.kind is ActionKind.UNTHROTTLE:
            for id_ in ids:
                self._quotas.pop(id_, None)

    def shown(
        self,
        host: HostReading | None,
        inventory: Inventory | None,
        recorded: tuple[Entry, ...],
        now_s: float,
    ) -> tuple[HostReading | None, Inventory | None]:
        """The host and the list as they would have been. `recorded`: what the record's guardian owed then.

        The same objects where that is what they were.
        """
        if inventory is None:
            return host, None
        theirs = _stopped(recorded)
        shown = self._shown
        if shown is None or shown.of is not inventory or shown.theirs != theirs or shown.changes != self._changes:
            shown = self._shown = self._show(inventory, theirs)
            self._since_s = {id_: self._since_s.get(id_, now_s) for id_ in shown.cores}
        freed_cores = sum(cores * self._part(id_, now_s) for id_, cores in shown.cores.items())
        return _with(host, shown.freed_bytes, freed_cores), shown.inventory

    def _show(self, inventory: Inventory, theirs: frozenset[str]) -> _Shown:
        containers: list[Container] = []
        usage = dict(inventory.usage)
        freed_bytes = 0
        cores: dict[str, float] = {}
        for one in inventory.containers:
            now, shown = inventory.usage.get(one.id), one
            if one.state.up and one.id in self._down:
                shown = replace(one, state=ContainerState.EXITED, started_s=None)
                usage.pop(one.id, None)
                freed_bytes += 0 if now is None else now.footprint_bytes or 0
                cores[one.id] = 0.0 if now is None else now.cpu_cores or 0.0
            elif not one.state.up and one.id in theirs and one.id not in self._down and one.id in self._last:
                last = self._last[one.id]
                shown = self._running(last.container)
                usage[one.id] = last.usage._replace(at_s=inventory.at_s)
                freed_bytes -= last.usage.footprint_bytes or 0
                cores[one.id] = -(last.usage.cpu_cores or 0.0)
            elif one.state.up:
                shown = self._running(one)
                quota = self._quotas.get(one.id)
                if quota is not None and now is not None and now.cpu_cores is not None and now.cpu_cores > quota:
                    usage[one.id] = now._replace(cpu_cores=quota)
                    cores[one.id] = now.cpu_cores - quota
            containers.append(shown)
        before = inventory.containers if self._shown is None else self._shown.inventory.containers
        listed = next((known for known in (inventory.containers, before) if known == tuple(containers)), tuple(containers))
        if listed is inventory.containers and not cores:
            return _Shown(inventory, theirs, self._changes, inventory, 0, cores)
        newer = replace(inventory, containers=listed, usage=usage)
        return _Shown(inventory, theirs, self._changes, newer, freed_bytes, cores)

    def _part(self, container_id: str, now_s: float) -> float:
        """How much of a change of CPU is in the host's mean by now."""
        return min(1.0, (now_s - self._since_s.get(container_id, now_s)) / CPU_WINDOW_S)

    def _running(self, container: Container) -> Container:
        started_s = self._started.get(container.id)
        health = Health.HEALTHY if container.health is not Health.NONE else Health.NONE
        if started_s is None:
            return container
        return replace(container, state=ContainerState.RUNNING, health=health, started_s=started_s)


def _with(host: HostReading | None, freed_bytes: int, freed_cores: float) -> HostReading | None:
    if host is None or not (freed_bytes or freed_cores):
        return host
    available, total, ratio = host.memory_available_bytes, host.memory_total_bytes, host.cpu_ratio
    if available is not None and total is not None:
        available = min(total, max(0, available + freed_bytes))
    if ratio is not None:
        ratio = min(1.0, max(0.0, ratio - freed_cores / host.cores))
    return replace(host, memory_available_bytes=available, cpu_ratio=ratio)


def _stopped(entries: Iterable[Entry]) -> frozenset[str]:
    """Ids of what was stopped, by those entries, and not started since; and of what is being stopped."""
    return frozenset(
        one.id
        for entry in entries
        if entry.means is not Means.THROTTLE
        for one in entry.containers
        if one.stopped or one.sent_wall_s is not None
    )


@dataclass(frozen=True, slots=True)
class _UnderWay:
    action: Action
    ends_s: float
    began_s: float


class ModelActor:
    """Carries out what a replay decides: every stop and start succeeds, after the time that it takes."""

    def __init__(self) -> None:
        self._under_way: list[_UnderWay] = []

    def submit(self, actions: Iterable[Action], now_s: float) -> None:
        for action in actions:
            if action.kind is ActionKind.HASTEN:
                self._under_way = [
                    replace(one, ends_s=min(one.ends_s, now_s + action.grace_s)) if one.action.id == action.id else one
                    for one in self._under_way
                ]
                continue
            takes_s = min(STOP_TAKES_S, action.grace_s) if action.kind is ActionKind.SHED else START_TAKES_S
            self._under_way.append(_UnderWay(action, now_s + takes_s, now_s))

    def ended(self, now_s: float, now_wall_s: float) -> tuple[Outcome, ...]:
        """What has ended by now, each with an outcome dated when it did."""
        over = [one for one in self._under_way if one.ends_s <= now_s]
        self._under_way = [one for one in self._under_way if one.ends_s > now_s]
        return tuple(
            Outcome(
                action=one.action,
                result=Result.DONE,
                at_s=one.ends_s,
                at_wall_s=now_wall_s - (now_s - one.ends_s),
                duration_s=one.ends_s - one.began_s,
                stopped=one.action.containers if one.action.kind in (ActionKind.SHED, ActionKind.THROTTLE) else (),
            )
            for one in over
        )

    def clear(self) -> None:
        self._under_way = []

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(one.action.id for one in self._under_way)
