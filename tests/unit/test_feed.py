"""What the feed shows of the containers, from lists of the engine and from cgroup files, and when it is to be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats, Scope
from guardian.errors import EngineError, EngineUnreachable
from guardian.model import Container, ContainerState, EngineInfo, Inventory, ServiceKey, Strain, Usage
from guardian.sense.cgroups import Readings
from guardian.sense.containers import ContainerSensor
from guardian.sense.feed import Feed
from guardian.telemetry import NullTelemetry

MIB = 1024 * 1024
WEB, API = "a" * 64, "b" * 64
START_S, START_WALL_S = 1000.0, 1_700_000_000.0
INFO = EngineInfo("id", "host", "26.1.5", "1.45", 2, 2, 4096 * MIB, "/var/lib/docker")


def container(id_: str, name: str) -> Container:
    return Container(id_, f"demo-{name}-1", ServiceKey("demo", name))


class FakeEngine:
    """Lists what runs and says what each uses, while it is not `down`."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.listed: tuple[Container, ...] = (container(WEB, "web"), container(API, "api"))
        self.footprints = {WEB: 100 * MIB, API: 200 * MIB}
        self.down: EngineError | None = None
        self.asked: list[tuple[str, ...]] = []  # ids of each round of stats
        self.infos = 0
        self.invalidated: list[str] = []

    def info(self) -> EngineInfo:
        self._answer()
        self.infos += 1
        return INFO

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        self._answer()
        return self.listed

    def stats(self, container_ids: Sequence[str]) -> dict[str, RawStats]:
        self._answer()
        self.asked.append(tuple(container_ids))
        now_s = self.clock.monotonic()
        return {id_: RawStats(now_s, self.footprints[id_], self.footprints[id_]) for id_ in container_ids}

    def invalidate(self, container_ids: Sequence[str]) -> None:
        self.invalidated.extend(container_ids)

    def _answer(self) -> None:
        if self.down is not None:
            raise self.down


@dataclass
class FakeCgroups:
    """The files of those containers that `footprints` names. A check against the engine convinces when they agree."""

    clock: VirtualClock
    footprints: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    follows: int = 0
    checked: set[str] = field(default_factory=set)
    compared: list[str] = field(default_factory=list)
    strain_reads: int = 0

    @property
    def covered(self) -> frozenset[str]:
        return frozenset(self.followed)

    @property
    def unchecked(self) -> frozenset[str]:
        return frozenset(self.followed - self.checked)

    def follow(self, containers: Sequence[Container]) -> None:
        self.follows += 1
        self.followed = {one.id for one in containers} & self.footprints.keys()

    def read_strain(self) -> None:
        self.strain_reads += 1

    def check(self, container_id: str, said: Usage) -> None:
        self.compared.append(container_id)
        if said.footprint_bytes == self.footprints[container_id]:
            self.checked.add(container_id)
        else:
            self.followed.discard(container_id)

    def read(self) -> Readings:
        now_s = self.clock.monotonic()
        gone, self.ended = frozenset(self.ended & self.followed), set()
        self.followed -= gone
        usage = {id_: Usage(now_s, self.footprints[id_], self.footprints[id_], 0.5, Strain(3, 7)) for id_ in self.followed}
        return Readings(now_s, usage, gone)


class Stage:
    def __init__(self, cgroups: bool = False, url: str = "") -> None:
        self.clock = VirtualClock(START_S, START_WALL_S)
        self.engine = FakeEngine(self.clock)
        self.files = FakeCgroups(self.clock)
        self.wanted = 0
        self.outages: list[tuple[float, float]] = []
        sensor = ContainerSensor(self.engine, Scope(("demo",)), self.clock, NullTelemetry())  # type: ignore[arg-type]
        reader = self.files if cgroups else None
        self.feed = Feed(self.engine, sensor, reader, self.clock, url, self._want, self._out)  # type: ignore[arg-type]

    def _want(self) -> None:
        self.wanted += 1

    def _out(self, from_wall_s: float, to_wall_s: float) -> None:
        self.outages.append((from_wall_s, to_wall_s))

    def round(self) -> Inventory:
        """A round with the engine, and then what a tick sees."""
        self.clock.advance(5.0)
        self.feed.refresh(5.0)
        return self.current()

    def current(self) -> Inventory:
        inventory = self.feed.current()
        assert inventory is not None
        return inventory

    def footprint(self, id_: str) -> int | None:
        usage = self.current().usage.get(id_)
        return None if usage is None else usage.footprint_bytes


# --- ready or not ---------------------------------------------------------------------------------------------------


def test_before_the_first_list_nothing_is_known() -> None:
    """Before the first list there is no inventory, no engine, and it is not ready."""
    feed = Stage().feed
    assert (feed.current(), feed.engine, feed.ready, feed.excluded) == (None, None, False, frozenset())


def test_a_list_makes_it_ready() -> None:
    """A whole round makes the feed ready, with what the engine lists and says."""
    stage = Stage()
    inventory = stage.round()
    assert stage.feed.ready
    assert stage.feed.engine == INFO
    assert (inventory.containers, inventory.at_s) == (stage.engine.listed, START_S + 5)
    assert stage.footprint(API) == 200 * MIB


def test_an_engine_that_fails_leaves_what_was_known_and_is_not_ready() -> None:
    """While the engine does not answer the last list stays with its old date, and the feed is not ready."""
    stage = Stage()
    known = stage.round()
    stage.engine.down = EngineUnreachable("no connection")
    assert stage.round() == known
    assert not stage.feed.ready
    assert stage.outages == []  # not over yet


def test_an_engine_that_never_answered_is_no_outage() -> None:
    """An engine that answers for the first time was not away: nothing was known before."""
    stage = Stage()
    stage.engine.down = EngineUnreachable("no connection")
    stage.feed.refresh(5.0)
    assert stage.feed.current() is None
    stage.engine.down = None
    stage.round()
    assert (stage.feed.ready, stage.outages) == (True, [])


def test_an_outage_is_told_before_a_list_of_afterwards_is_shown() -> None:
    """When the engine is back, the outage is told from its last good answer until now, before anybody sees the new list."""
    stage = Stage()
    known = stage.round()
    stage.engine.down = EngineUnreachable("no connection")
    stage.round()
    stage.engine.down = None
    shown_at_outage: list[Inventory | None] = []
    stage.feed._on_outage = lambda *times: (stage._out(*times), shown_at_outage.append(stage.feed.current()))[0]
    assert stage.round() is not known
    assert stage.outages == [(START_WALL_S + 5, START_WALL_S + 15)]
    assert shown_at_outage == [known]
    stage.round()
    assert len(stage.outages) == 1


def test_the_engine_is_asked_who_it_is_once_and_after_each_outage() -> None:
    """What the engine says of itself is asked at the start and when it is back: it may be another."""
    stage = Stage()
    stage.round()
    stage.round()
    assert stage.engine.infos == 1
    stage.engine.down = EngineUnreachable("no connection")
    stage.round()
    stage.engine.down = None
    stage.round()
    assert stage.engine.infos == 2


def test_after_missed_events_only_a_list_begun_later_is_trusted() -> None:
    """Distrust lasts until a list that was begun afterwards; what was remembered is asked for anew, and a list at once."""
    stage = Stage()
    stage.round()
    begun_before = stage.engine.containers

    def missed_while_listing(scope: Scope) -> tuple[Container, ...]:
        listed = begun_before(scope)
        stage.clock.advance(0.1)
        stage.feed.distrust()
        return listed

    stage.engine.containers = missed_while_listing  # type: ignore[method-assign]
    stage.round()
    assert not stage.feed.ready
    assert stage.wanted == 1
    assert stage.engine.invalidated == [WEB, API]
    stage.engine.containers = begun_before  # type: ignore[method-assign]
    stage.round()
    assert stage.feed.ready


def test_distrust_before_the_first_list_is_no_error() -> None:
    """Events may be missed before there is a list: then there is nothing to forget."""
    stage = Stage()
    stage.feed.distrust()
    assert stage.engine.invalidated == []
    stage.round()
    assert stage.feed.ready


def test_the_proxy_is_excluded_as_soon_as_it_is_listed() -> None:
    """The container that guardian talks through is excluded from the first list on that has it."""
    stage = Stage(url="tcp://proxy:2375")
    stage.round()
    assert stage.feed.excluded == frozenset()
    proxy = container("c" * 64, "proxy")
    stage.engine.listed = (*stage.engine.listed, proxy)
    stage.engine.footprints[proxy.id] = MIB
    stage.round()
    assert stage.feed.excluded == {proxy.id}


# --- cgroup files ---------------------------------------------------------------------------------------------------


def test_figures_of_cgroup_files_replace_the_engines() -> None:
    """A container whose cgroup files are read has their figures, as new as the tick; the others keep the engine's."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.clock.advance(1.0)
    stage.files.footprints[WEB] = 150 * MIB
    usage = stage.current().usage
    assert usage[WEB] == Usage(START_S + 6, 150 * MIB, 150 * MIB, 0.5, Strain(3, 7))
    assert (usage[API].at_s, usage[API].footprint_bytes) == (START_S + 5, 200 * MIB)


def test_the_engine_is_not_asked_for_what_the_files_are_trusted_with() -> None:
    """Once the files agreed with the engine, it is asked for the others alone."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.round()
    assert stage.engine.asked == [(WEB, API), (API,)]
    assert stage.files.compared == [WEB]
    assert stage.footprint(WEB) == 100 * MIB


def test_files_that_disagree_leave_the_engines_figures() -> None:
    """Files that are not to be believed are not read: the engine goes on being asked."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 1 * MIB}
    stage.round()
    stage.round()
    assert stage.engine.asked == [(WEB, API), (WEB, API)]
    assert stage.footprint(WEB) == 100 * MIB


def test_an_old_figure_of_the_engine_is_compared_with_nothing() -> None:
    """A figure that the engine gave before this list says nothing of the files now: they stay unchecked, and it is asked again."""
    stage = Stage(cgroups=True)
    stage.round()
    stage.files.footprints = {WEB: 100 * MIB}
    stage.engine.listed = (container(WEB, "web"), container(API, "other"))  # another list: the files are looked for anew

    def no_stats(_: Sequence[str]) -> dict[str, RawStats]:
        raise EngineUnreachable("cut")

    answers, stage.engine.stats = stage.engine.stats, no_stats  # type: ignore[method-assign]
    stage.round()
    assert stage.files.compared == []
    stage.engine.stats = answers  # type: ignore[method-assign]
    stage.round()
    assert stage.engine.asked[-1] == (WEB, API)
    assert stage.files.compared == [WEB]


def test_files_are_looked_for_only_when_the_list_differs() -> None:
    """The same list again opens no files."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    for _ in range(3):
        stage.round()
    assert stage.files.follows == 1
    stage.engine.listed = stage.engine.listed[:1]
    stage.round()
    assert stage.files.follows == 2


def test_what_has_gone_stays_gone_until_the_next_list() -> None:
    """A container that ended since the list uses nothing that is known: not what the list says, at no tick before the next list."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB, API: 200 * MIB}
    stage.round()
    stage.files.ended = {WEB}
    assert stage.footprint(WEB) is None
    assert stage.wanted == 1  # a list is asked for, once
    assert (stage.footprint(WEB), stage.footprint(API)) == (None, 200 * MIB)
    assert stage.wanted == 1
    stage.engine.listed = stage.engine.listed[1:]
    assert WEB not in stage.round().usage


def test_what_ends_while_the_engine_does_not_answer_is_shown_as_ended() -> None:
    """What the kernel says has ended while the engine does not answer is shown as ended: no list will say so for now."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB, API: 200 * MIB}
    stage.round()
    assert not stage.feed.down
    stage.engine.down = EngineUnreachable("hangs")
    stage.files.ended = {WEB}
    shown = {one.id: one.state for one in stage.round().containers}
    assert stage.feed.down
    assert shown == {WEB: ContainerState.EXITED, API: ContainerState.RUNNING}
    stage.engine.down = None
    assert {one.state for one in stage.round().containers} == {ContainerState.RUNNING}  # as the new list says
    assert not stage.feed.down


def test_what_has_gone_and_is_listed_again_is_known_again() -> None:
    """A container that is running in the next list has a use again: the engine's."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.files.ended = {WEB}
    assert stage.footprint(WEB) is None
    stage.round()  # begun while the files were trusted, so the engine was not asked
    stage.round()
    assert stage.footprint(WEB) == 100 * MIB


def test_files_that_were_read_lately_are_not_read_again() -> None:
    """A reading that is not older than asked for is shown again, as the same object; an older one is replaced."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    shown = stage.round()
    stage.files.footprints[WEB] = 150 * MIB
    stage.clock.advance(0.9)
    assert stage.feed.current(max_age_s=1.0) is shown
    stage.clock.advance(0.1)
    newer = stage.feed.current(max_age_s=1.0)
    assert newer is not None
    assert newer.usage[WEB].footprint_bytes == 150 * MIB
    assert newer.containers is shown.containers


def test_another_list_is_shown_at_once_with_its_use() -> None:
    """A new list does not wait for the reading to grow old, and what it has more is read at once."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.files.footprints[API] = 200 * MIB
    stage.engine.listed = (container(WEB, "web"), container(API, "other"))
    stage.clock.advance(0.1)
    stage.feed.refresh(5.0)
    shown = stage.feed.current(max_age_s=60.0)
    assert shown is not None
    assert shown.containers == stage.engine.listed
    assert {id_: usage.at_s for id_, usage in shown.usage.items()} == dict.fromkeys((WEB, API), stage.clock.monotonic())


@pytest.mark.parametrize("cgroups", [True, False], ids=["none is readable", "not looked for"])
def test_without_files_the_same_list_is_the_same_object(cgroups: bool) -> None:
    """Where no file is read, what is shown is one object until the next list."""
    stage = Stage(cgroups=cgroups)
    shown = stage.round()
    stage.clock.advance(1.0)
    assert stage.current() is shown
    assert stage.round() is not shown


def test_strain_is_read_on_the_engines_job_even_while_the_engine_is_down() -> None:
    """What is read more rarely is read in rounds with the engine, which may take their time, whether or not it answers."""
    stage = Stage(cgroups=True)
    stage.round()
    stage.current()
    stage.engine.down = EngineUnreachable("no connection")
    stage.feed.refresh(5.0)
    assert stage.files.strain_reads == 2
