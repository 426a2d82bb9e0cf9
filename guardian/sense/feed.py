"""The newest that is known of the containers: lists and events from the engine, use from cgroup files where they can be read.

The engine is asked on a job of its own (`refresh`); the tick takes what there is (`current`) and reads the cgroup files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from guardian import logs
from guardian.clock import Clock
from guardian.engine.protocol import Engine
from guardian.errors import EngineError
from guardian.model import ContainerState, EngineInfo, Inventory
from guardian.sense.cgroups import CgroupReader, Readings
from guardian.sense.containers import ContainerSensor
from guardian.sense.selves import own_ids

_log = logs.get("containers")


class Feed:
    """`refresh` is for the engine's job, `current` for the tick; the rest may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        sensor: ContainerSensor,
        cgroups: CgroupReader | None,
        clock: Clock,
        url: str = "",
        want_list: Callable[[], None] = lambda: None,
        on_outage: Callable[[float, float], None] = lambda _from, _to: None,
    ) -> None:
        """`cgroups` None: use comes from the engine alone. `want_list` asks for a `refresh` soon.

        `on_outage` hears from when until when (wall time) the engine did not answer, before a list of afterwards is shown.
        """
        self._engine = engine
        self._sensor = sensor
        self._cgroups = cgroups
        self._clock = clock
        self._url = url
        self._want_list = want_list
        self._on_outage = on_outage
        self._answered_wall_s: float | None = None
        self._listed: Inventory | None = None
        self._followed: Inventory | None = None
        self._shown: Inventory | None = None
        self._read_s = -math.inf  # when the files were
        self._gone: set[str] = set()  # ended since the list: what it says they use is history
        self._trusted: frozenset[str] = frozenset()
        self._info: EngineInfo | None = None
        self._excluded: frozenset[str] = frozenset()
        self._up: bool | None = None
        self._distrusted_s: float | None = None

    def refresh(self, round_s: float) -> None:
        """One round with the engine: the list, and the use of what no cgroup file tells. A failure leaves what was known."""
        began_s, began_wall_s = self._clock.monotonic(), self._clock.wall()
        if self._cgroups is not None:
            self._cgroups.read_strain()
        try:
            if self._info is None or not self._up:
                self._info = self._engine.info()
            inventory = self._sensor.refresh(round_s, self._trusted)
        except EngineError as error:
            if self._up is not False:
                _log.error("the engine does not answer", error=str(error), reason=error.reason)
            self._up = False
            return
        if self._up is False:
            _log.warning("the engine answers again")
            if self._answered_wall_s is not None:
                self._on_outage(self._answered_wall_s, self._clock.wall())
        self._answered_wall_s = began_wall_s
        if inventory.containers != (self._listed.containers if self._listed else None):
            self._excluded = own_ids(inventory.containers, self._url)
        self._listed = inventory
        if self._distrusted_s is not None and began_s >= self._distrusted_s:
            self._distrusted_s = None
        self._up = True

    def distrust(self) -> None:
        """Events were missed: nothing is ready before a list that was begun after now."""
        self._distrusted_s = self._clock.monotonic()
        if self._listed is not None:
            self._engine.invalidate([container.id for container in self._listed.containers])
        self._want_list()

    def current(self, max_age_s: float = 0.0) -> Inventory | None:
        """The newest list with the newest use. Reads cgroup files, and never waits for the engine.

        They are read anew when the newest reading is older than `max_age_s` (0: always) or the list is another. Where
        nothing was read and the list is the same, so is the object: what was made of it still holds.
        """
        inventory = self._listed
        if inventory is None or self._cgroups is None:
            return inventory
        same_list = inventory is self._followed
        if not same_list:
            self._follow(self._cgroups, inventory)
        elif self._clock.monotonic() - self._read_s < max_age_s:
            return self._shown
        readings = self._cgroups.read()
        self._read_s = readings.at_s
        self._gone |= readings.gone
        if readings.gone:
            self._want_list()
        if same_list and not readings.usage and not self._gone:
            return self._shown
        self._shown = self._with_use(inventory, readings)
        return self._shown

    @property
    def ready(self) -> bool:
        """The engine answers, and the list is complete."""
        return self._up is True and self._distrusted_s is None

    @property
    def down(self) -> bool:
        """The engine does not answer at all."""
        return self._up is False

    @property
    def engine(self) -> EngineInfo | None:
        return self._info

    @property
    def excluded(self) -> frozenset[str]:
        return self._excluded

    def _with_use(self, inventory: Inventory, readings: Readings) -> Inventory:
        """`inventory` with what the files say, and without what has gone since."""
        usage = {**inventory.usage, **readings.usage}
        for id_ in self._gone:
            usage.pop(id_, None)
        if not self._gone or not self.down:
            return replace(inventory, usage=usage)
        # No list will tell for now, and the kernel has: nothing of these runs any more.
        containers = tuple(
            replace(one, state=ContainerState.EXITED) if one.id in self._gone else one for one in inventory.containers
        )
        return replace(inventory, containers=containers, usage=usage)

    def _follow(self, cgroups: CgroupReader, inventory: Inventory) -> None:
        """Open the files of what is new, and compare each container once with what the engine says of it."""
        known = self._followed.containers if self._followed else None
        self._followed = inventory
        self._gone.clear()
        if inventory.containers is not known:
            cgroups.follow(inventory.containers)
        for id_ in cgroups.unchecked:
            said = inventory.usage.get(id_)
            if said is not None and said.at_s >= inventory.at_s:
                cgroups.check(id_, said)
        self._trusted = cgroups.covered - cgroups.unchecked
