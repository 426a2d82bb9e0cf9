"""The thinned recording: a row a minute, whatever the level, of which use over time is read."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.ledger.entries import Controls, Entry
from guardian.model import Container, HostReading, Inventory, Mode
from guardian.record.moment import Moment
from guardian.record.rows import HostRow, Kind, Minute, MinuteRow, Row, encode, host_row, list_of, packed

MINUTE_S = 60.0
HOST_S = 10.0  # a host reading of the row stands for so long
WHOLE_S = 3600.0  # once in so long a row has all, so that what is read does not depend on rows that were pruned


@dataclass(slots=True)
class _Use:
    """Of one container within the minute."""

    working_set_bytes: int | None = None
    footprint_bytes: int | None = None
    cores: float = 0.0
    cores_most: float | None = None
    readings: int = 0

    def row(self) -> MinuteRow:
        mean = round(self.cores / self.readings, 4) if self.readings else None
        most = None if self.cores_most is None else round(self.cores_most, 4)
        return self.working_set_bytes, self.footprint_bytes, mean, most


@dataclass(frozen=True, slots=True)
class _Told:
    """What the last row said, and the next need not repeat."""

    containers: tuple[Container, ...]
    excluded: frozenset[str]
    entries: tuple[Entry, ...]
    controls: Controls
    settings: str
    mode: Mode


class Minutes:
    """Adds up ticks. A minute ends early, though not at once, where the list of containers changes."""

    def __init__(self) -> None:
        self._told: _Told | None = None
        self._whole_s = 0.0
        self._first: Moment | None = None
        self._last: Moment | None = None
        self._inventory: Inventory | None = None
        self._use: dict[str, _Use] = {}
        self._hosts: list[HostReading] = []
        self._host_since_s = 0.0

    def forget(self) -> None:
        """The next row has all."""
        self._told = None

    def take(self, moment: Moment, settings: tuple[str, bytes]) -> list[Row]:
        rows: list[Row] = []
        if self._first is not None:
            passed_s = moment.now_s - self._first.now_s
            if passed_s >= MINUTE_S or (passed_s >= HOST_S and _containers(moment) != _containers(self._first)):
                rows = self.end(settings)
        if self._first is None:
            self._first, self._inventory, self._use, self._hosts = moment, None, {}, []
        self._last = moment
        if moment.sample.host is not None:
            self._add_host(moment.sample.host)
        inventory = moment.sample.inventory
        if inventory is not None and inventory is not self._inventory:
            self._inventory = inventory
            self._add_use(inventory)
        return rows

    def end(self, settings: tuple[str, bytes]) -> list[Row]:
        """The row of what came since the last."""
        first, last = self._first, self._last
        self._first = None
        if first is None or last is None:
            return []
        containers = _containers(last)
        now = _Told(containers, last.excluded, last.inputs.entries, last.inputs.controls, settings[0], last.mode)
        if last.now_s - self._whole_s >= WHOLE_S:
            self._told = None
        before, self._told = self._told, now
        if before is None:
            self._whole_s = last.now_s
        whole, changed = list_of(None if before is None else before.containers, containers)
        minute = Minute(
            began_wall_s=first.now_wall_s,
            until_wall_s=last.now_wall_s,
            until_s=last.now_s,
            ready=last.inputs.engine_ready,
            hosts=tuple(map(_host_row, self._hosts)),
            round_s=0.0 if self._inventory is None else self._inventory.round_s,
            use=tuple(None if (use := self._use.get(one.id)) is None else use.row() for one in containers),
            containers=whole,
            changed=changed,
            excluded=None if before and before.excluded == now.excluded else tuple(sorted(now.excluded)),
            entries=None if before and before.entries == now.entries else now.entries,
            controls=None if before and before.controls == now.controls else now.controls,
            settings=None if before and before.settings == now.settings else now.settings,
            mode=None if before and before.mode is now.mode else now.mode,
        )
        return [Row(Kind.MINUTE, first.now_wall_s, last.now_wall_s, "", packed(encode(minute)), settings)]

    def _add_host(self, host: HostReading) -> None:
        """Of each HOST_S keep the reading with the most memory in use: a peak must not be thinned away."""
        if not self._hosts or host.at_s - self._host_since_s >= HOST_S:
            self._hosts.append(host)
            self._host_since_s = host.at_s
        elif _used(host) > _used(self._hosts[-1]):
            self._hosts[-1] = host

    def _add_use(self, inventory: Inventory) -> None:
        for id_, usage in inventory.usage.items():
            use = self._use.get(id_)
            if use is None:
                use = self._use[id_] = _Use()
            use.working_set_bytes = _most(use.working_set_bytes, usage.working_set_bytes)
            use.footprint_bytes = _most(use.footprint_bytes, usage.footprint_bytes)
            if usage.cpu_cores is not None:
                use.cores += usage.cpu_cores
                use.readings += 1
                if use.cores_most is None or usage.cpu_cores > use.cores_most:
                    use.cores_most = usage.cpu_cores


def _containers(moment: Moment) -> tuple[Container, ...]:
    inventory = moment.sample.inventory
    return () if inventory is None else inventory.containers


def _used(host: HostReading) -> int:
    """For a comparison only: what is not known is least."""
    if host.memory_total_bytes is None or host.memory_available_bytes is None:
        return -1
    return host.memory_total_bytes - host.memory_available_bytes


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _host_row(host: HostReading) -> HostRow:
    """Rounded: nobody can tell the rest apart, and it takes room."""
    return tuple([round(value, 4) if isinstance(value, float) else value for value in host_row(host)])
