"""The newest that is known of the containers: lists and events from the engine, use from cgroup files where they can be read.

The engine is asked on a job of its own (`refresh`); the tick takes what there is (`current`) and reads the cgroup files.
While events tell what changes, a round in which nothing did costs one ping.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from guardian import logs
from guardian.clock import Clock
from guardian.engine.protocol import Engine, Scope
from guardian.errors import EngineError
from guardian.model import Container, ContainerState, EngineEvent, EngineInfo, Inventory
from guardian.sense.cgroups import CgroupReader, Readings
from guardian.sense.containers import ContainerSensor
from guardian.sense.listing import Listing
from guardian.sense.selves import own_ids
from guardian.telemetry import Telemetry

CHECK_EVERY_S = 180.0  # a whole list, in case that an event was lost
UNREAD_EVERY_S = 30.0  # … while one cannot be inspected: to try it may take as long as a call may
MOST_CAUSES = 8  # of one outage, that the log tells

# After these an inspect shows something else than before. A kill and an OOM kill are followed by a die where they end it.
_CHANGES = frozenset({"create", "start", "die", "stop", "pause", "unpause", "rename", "update", "destroy", "health_status"})

_log = logs.get("containers")


class EventSource(Protocol):
    """Where events come from. `live`: they come; `reopen` and `rescope` are `sense.events.EventWatcher`'s."""

    live: bool

    def reopen(self) -> None: ...

    def rescope(self, scope: Scope) -> None: ...


class Feed:
    """`refresh` is for the engine's job, `current` for the tick; the rest may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        cgroups: CgroupReader | None,
        clock: Clock,
        telemetry: Telemetry,
        events: EventSource | None = None,
        url: str = "",
        files_only: bool = False,
        want_refresh: Callable[[], None] = lambda: None,
        on_outage: Callable[[float, float], None] = lambda _from, _to: None,
    ) -> None:
        """`cgroups` None: use comes from the engine alone; `files_only`: from cgroup files alone. `events` None: each round lists. `want_refresh` asks for one soon.

        `on_outage` hears from when until when (wall time) the engine did not answer, before a list of afterwards is shown.
        """
        self._engine = engine
        self._listing = Listing(engine, scope, clock)
        self._sensor = ContainerSensor(engine)
        self._cgroups = cgroups
        self._clock = clock
        self._telemetry = telemetry
        self._events = events
        self._url = url
        self._files_only = files_only
        self._told: set[str] = set()  # ids of those that no file can be read of
        self._told_unread: set[str] = set()  # … and of those that could not be inspected
        self._want_refresh = want_refresh
        self._on_outage = on_outage
        self._one_at_a_time = threading.Lock()
        self._round_s = -math.inf  # when the newest whole round began
        self._took_s = 0.0  # and how long it took
        self._answered_wall_s: float | None = None
        self._listed: Inventory | None = None
        self._followed: Inventory | None = None
        self._shown: Inventory | None = None
        self._read_s = -math.inf  # when the files were
        self._gone: dict[str, float] = {}  # since when these are known to have ended: what a list of before says is history
        self._trusted: frozenset[str] = frozenset()
        self._info: EngineInfo | None = None
        self._excluded: frozenset[str] = frozenset()
        self._up: bool | None = None
        self._causes: set[str] = set()  # of the present outage, those that the log has
        self._distrusted_s: float | None = None

    def refresh(self, round_s: float) -> bool:
        """Ask the engine for what was touched, and once in `round_s` also whether it answers and for the use of the others.

        Blocks up to the engine's deadlines. A failure leaves what was known, with its old date. Returned: whether there
        is something new to see, beside a newer date.
        """
        with self._one_at_a_time:
            began_s, began_wall_s = self._clock.monotonic(), self._clock.wall()
            whole = began_s - self._round_s >= round_s / 2  # one that came by itself may come early, and late is worse
            before, was_ready = self._listed, self.ready
            if whole and self._cgroups is not None:
                self._cgroups.read_strain()
            try:
                if self._info is None or not self._up:
                    self._info = self._engine.info()
                asked = self._look(began_s, whole)
            except EngineError as error:
                self._telemetry.sampled("containers", self._clock.monotonic() - began_s, False)
                self._fail(error)
                return was_ready
            listed = self._listing.listed_s >= began_s
            self._sensor.follow(self._listing.containers)
            if not listed:
                self._publish(round_s)  # what runs is shown at once: to ask what it uses may take a second
            measured = self._sensor.measure(() if self._files_only else asked, self._trusted)
            if listed or whole:
                self._round_s, self._took_s = began_s, self._clock.monotonic() - began_s
                self._telemetry.sampled("containers", self._took_s, measured)
            self._answer(began_wall_s)
            self._publish(round_s)
            if self._distrusted_s is not None and self._listing.listed_s >= self._distrusted_s:
                self._distrusted_s = None
            self._up = True
            return self.ready is not was_ready or _differs(before, self._listed)

    def take_events(self, events: Iterable[EngineEvent]) -> None:
        """Have read anew what these changed."""
        changed = {event.container_id for event in events if event.action.partition(":")[0] in _CHANGES}
        self.touch(changed, by_event=True)

    def touch(self, container_ids: Collection[str], by_event: bool = False) -> None:
        """What is known of these may be untrue from now on: it is read anew soon, and nothing is dated later until then.

        A difference of which no event tells shows that the stream is silent: it is opened anew.
        """
        if container_ids:
            self._listing.touch(container_ids, by_event)
            self._want_refresh()

    def distrust(self) -> None:
        """Events were missed: nothing is ready before a list that was begun after now."""
        self._distrusted_s = self._clock.monotonic()
        self._engine.invalidate([container.id for container in self._listing.containers])
        self._want_refresh()

    def rescope(self, scope: Scope) -> None:
        """Other containers count from the next list on, which comes soon."""
        self._listing.scope = scope
        if self._events is not None:
            self._events.rescope(scope)
        self._want_refresh()

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
        if readings.gone:
            self.touch(readings.gone)
            self._gone.update(dict.fromkeys(readings.gone, self._clock.monotonic()))
            self._trusted -= readings.gone
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
    def waiting(self) -> bool:
        """Whether something was touched that a `refresh` can read as soon as it may be read again."""
        return self._up is True and self._listing.waiting

    @property
    def engine(self) -> EngineInfo | None:
        return self._info

    @property
    def excluded(self) -> frozenset[str]:
        return self._excluded

    def _look(self, now_s: float, whole: bool) -> tuple[Container, ...]:
        """Bring the list up to date, and see that the engine answers. Returned: of which containers to ask for the use."""
        listing = self._listing
        following = self._events is not None and self._events.live
        if not self._up or self._distrusted_s is not None or listing.outdated or (whole and not following):
            listing.list()
        elif whole and now_s - listing.listed_s >= (UNREAD_EVERY_S if listing.unread else CHECK_EVERY_S):
            listing.list(check=True)
        else:
            read = listing.read(listing.passing if whole else ())
            if not whole:
                return tuple(one for one in listing.containers if one.id in read)
            if not read:
                self._engine.ping()
                listing.confirm(now_s)
        if (missed := listing.missed()) and self._events is not None:
            _log.warning(
                "containers had changed and no event had told: following the events anew", containers=", ".join(missed)
            )
            self._telemetry.event_stream_reconnected()
            self._events.reopen()
        return listing.containers

    def _publish(self, round_s: float) -> None:
        """Show what is known now, unless that is nothing new."""
        listing, before = self._listing, self._listed
        inventory = Inventory(listing.at_s, listing.containers, self._sensor.usage, max(round_s, self._took_s))
        if before is None or before.containers is not inventory.containers:
            self._excluded = own_ids(inventory.containers, self._url)
            self._tell_unread(listing.unread)
        if inventory != before:
            self._listed = inventory

    def _answer(self, began_wall_s: float) -> None:
        if self._up is False:
            _log.warning("the engine answers again")
            if self._answered_wall_s is not None:
                self._on_outage(self._answered_wall_s, self._clock.wall())
        self._answered_wall_s = began_wall_s

    def _fail(self, error: EngineError) -> None:
        """Each cause is told once in an outage: the first is often that a connection was cut, and the next says why."""
        if self._up is not False:
            self._causes.clear()
        self._up = False
        if str(error) not in self._causes and len(self._causes) < MOST_CAUSES:
            self._causes.add(str(error))
            _log.error("the engine does not answer", error=str(error), reason=error.reason)

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
        before, self._followed = self._followed, inventory
        self._gone = {id_: since_s for id_, since_s in self._gone.items() if inventory.at_s < since_s}
        covered = cgroups.covered
        if (
            before is None
            or inventory.containers is not before.containers
            or any(one.state is ContainerState.RUNNING and one.id not in covered for one in inventory.containers)
        ):
            cgroups.follow(inventory.containers)
        for id_ in cgroups.unchecked:
            said = inventory.usage.get(id_)
            if said is not None and (before is None or said is not before.usage.get(id_)):
                cgroups.check(id_, said)
        self._trusted = cgroups.covered - cgroups.unchecked
        if self._files_only:
            self._tell_uncovered(inventory, cgroups.covered)

    def _tell_unread(self, unread: Mapping[str, str]) -> None:
        """Each is told once, until it has been inspected."""
        if names := [name for id_, name in unread.items() if id_ not in self._told_unread]:
            _log.warning(
                "containers cannot be inspected: the list alone tells of them, and what was never inspected is not stopped",
                containers=", ".join(names),
            )
        self._told_unread = set(unread)

    def _tell_uncovered(self, inventory: Inventory, covered: frozenset[str]) -> None:
        """Nobody is asked for the use of these: each is told once."""
        unread = {
            one.id: one.name for one in inventory.containers if one.state is ContainerState.RUNNING and one.id not in covered
        }
        if names := [name for id_, name in unread.items() if id_ not in self._told]:
            _log.warning(
                "no cgroup files can be read of these, so what they use is unknown: set sampling.source to auto",
                containers=", ".join(names),
            )
        self._told = set(unread)


def _differs(before: Inventory | None, after: Inventory | None) -> bool:
    """Whether there is more to see than a newer date."""
    if before is None or after is None:
        return before is not after
    return before.containers is not after.containers or before.usage != after.usage
