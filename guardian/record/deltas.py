"""A tick in few bytes: only what is another than in the tick before."""

from __future__ import annotations

from guardian.model import Inventory, Mode
from guardian.policy.inputs import Inputs
from guardian.record.moment import Moment
from guardian.record.rows import Readings, Tick, encode, host_row, list_of, use_rows


class Ticks:
    """Encodes one tick after the other. After `forget` the next one is whole."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._inventory: Inventory | None = None
        self._inputs: Inputs | None = None
        self._excluded: frozenset[str] | None = None
        self._settings = ""
        self._mode: Mode | None = None

    def encode(self, moment: Moment, settings: str) -> bytes:
        """`settings`: the digest of its configuration."""
        inventory, host = moment.sample.inventory, moment.sample.host
        readings = None
        if inventory is not None and inventory is not self._inventory:
            before = None if self._inventory is None else self._inventory.containers
            readings = Readings(
                inventory.at_s,
                inventory.round_s,
                *list_of(before, inventory.containers),
                use_rows(inventory.containers, inventory.usage, inventory.at_s),
            )
        tick = Tick(
            now_s=moment.now_s,
            now_wall_s=moment.now_wall_s,
            interval_s=moment.interval_s,
            slept=moment.slept,
            host=None if host is None else host_row(host),
            known=inventory is not None,
            readings=readings,
            inputs=None if moment.inputs == self._inputs else moment.inputs,
            actions=moment.decision.actions,
            level=moment.assessment.level,
            excluded=None if moment.excluded == self._excluded else tuple(moment.excluded),
            settings=None if settings == self._settings else settings,
            mode=None if moment.mode is self._mode else moment.mode,
        )
        self._inventory = inventory
        self._inputs, self._excluded, self._settings, self._mode = moment.inputs, moment.excluded, settings, moment.mode
        return encode(tick)
