"""What the feed shows of the containers, from lists of the engine and from cgroup files, and when it is to be trusted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats, Scope
from guardian.errors import EngineError, EngineTimeout, EngineUnreachable
from guardian.model import Container, ContainerState, EngineEvent, EngineInfo, Health, Inventory, ServiceKey, Strain, Usage
from guardian.sense.cgroups import Readings
from guardian.sense.feed import CHECK_EVERY_S, UNREAD_EVERY_S, Feed
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
        self.lists = 0
        self.pings = 0
        self.inspected: list[str] = []
        self.amid: Callable[[], None] = lambda: None  # while it is asked for figures
        self.asked: list[tuple[str, ...]] = []  # ids of each round of stats
        self.infos = 0
        self.invalidated: list[str] = []

    def info(self) -> EngineInfo:
        self._answer()
        self.infos += 1
        return INFO

    def ping(self) -> None:
        self._answer()
        self.pings += 1

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        self._answer()
        self.lists += 1
        return tuple(one for one in self.listed if one.service.project in scope.projects)

    def inspect(self, scope: Scope, container_ids: Sequence[str]) -> dict[str, Container]:
        self._answer()
        self.inspected.extend(container_ids)
        return {one.id: one for one in self.listed if one.id in container_ids and one.service.project in scope.projects}

    def calls(self) -> dict[str, int]:
        return {"list": self.lists, "inspect": len(self.inspected), "stats": len(self.asked), "ping": self.pings}

    def stats(self, container_ids: Sequence[str]) -> dict[str, RawStats]:
        self._answer()
        self.amid()
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


class FakeEvents:
    """A stream that is up or not."""

    def __init__(self, live: bool) -> None:
        self.live = live
        self.reopened = 0
        self.scopes: list[Scope] = []

    def reopen(self) -> None:
        self.reopened += 1

    def rescope(self, scope: Scope) -> None:
        self.scopes.append(scope)


class Recorder(NullTelemetry):
    def __init__(self) -> None:
        self.rounds: list[tuple[float, bool]] = []
        self.reconnects = 0

    def event_stream_reconnected(self) -> None:
        self.reconnects += 1

    def sampled(self, source: str, seconds: float, ok: bool) -> None:
        assert source == "containers"
        self.rounds.append((seconds, ok))


class Stage:
    def __init__(self, cgroups: bool = False, url: str = "", following: bool = False, files_only: bool = False) -> None:
        self.clock = VirtualClock(START_S, START_WALL_S)
        self.engine = FakeEngine(self.clock)
        self.files = FakeCgroups(self.clock)
        self.events = FakeEvents(following)
        self.telemetry = Recorder()
        self.wanted = 0
        self.outages: list[tuple[float, float]] = []
        self.feed = Feed(
            self.engine,  # type: ignore[arg-type]
            Scope(("demo",)),
            self.files if cgroups else None,  # type: ignore[arg-type]
            self.clock,
            self.telemetry,
            self.events,
            url,
            files_only,
            self._want,
            self._out,
        )

    def _want(self) -> None:
        self.wanted += 1

    def _out(self, from_wall_s: float, to_wall_s: float) -> None:
        self.outages.append((from_wall_s, to_wall_s))

    def round(self) -> Inventory:
        """A round with the engine, and then what a tick sees."""
        self.clock.advance(5.0)
        self.feed.refresh(5.0)
        return self.current()

    def happens(self, action: str, *changed: Container) -> None:
        """These are so from now on, and an event says so a moment later."""
        by_id = {one.id: one for one in (*self.engine.listed, *changed)}
        self.engine.listed = tuple(by_id.values())
        self.engine.footprints.update({one.id: MIB for one in changed if one.id not in self.engine.footprints})
        self.feed.take_events([EngineEvent(self.clock.wall(), action, one.id, one.name) for one in changed])

    def turn(self, after_s: float = 0.3) -> bool:
        """The engine's job comes before its next round is due. Whether it has news."""
        self.clock.advance(after_s)
        return self.feed.refresh(5.0)

    def state(self, id_: str) -> ContainerState | None:
        return next((one.state for one in self.current().containers if one.id == id_), None)

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


def test_each_cause_of_an_outage_is_told_once_and_unread_files_are_not_told_again_for_it() -> None:
    """Each cause of an outage is told once, in each outage anew; what no file tells is not told again because of it."""
    stage = Stage(cgroups=True, files_only=True)
    stage.files.footprints = {WEB: 1 * MIB}
    with capture_logs() as logged:
        stage.round()
        for _ in range(2):
            for cause in ("it was cut", "permission denied", "it was cut"):
                stage.engine.down = EngineUnreachable(cause)
                stage.round()
            stage.engine.down = None
            stage.round()
    assert [line["error"] for line in logged if line["log_level"] == "error"] == ["it was cut", "permission denied"] * 2
    assert [line["containers"] for line in logged if "containers" in line] == ["demo-api-1"]


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


def test_after_missed_events_the_next_turn_lists() -> None:
    """Where events were missed the next turn lists, though no round is due and the stream is up again."""
    stage = Stage(following=True)
    stage.round()
    stage.feed.distrust()
    assert not stage.feed.ready
    assert stage.turn()
    assert (stage.feed.ready, stage.engine.lists) == (True, 2)


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


# --- kept by events -------------------------------------------------------------------------------------------------


def test_a_calm_minute_costs_a_ping_each_round() -> None:
    """While events come and nothing happens, a minute lists nothing, inspects nothing, and measures what files do not tell."""
    stage = Stage(following=True)
    stage.round()
    before = stage.engine.calls()
    for _ in range(12):
        stage.round()
    after = stage.engine.calls()
    assert {call: after[call] - before[call] for call in after} == {"list": 0, "inspect": 0, "stats": 12, "ping": 12}


def test_with_files_of_all_containers_a_calm_minute_costs_pings_alone() -> None:
    """Where cgroup files cover every container a calm minute costs a ping each round, and nothing else."""
    stage = Stage(cgroups=True, following=True)
    stage.files.footprints = dict(stage.engine.footprints)
    stage.round()
    stage.round()
    before = stage.engine.calls()
    for _ in range(12):
        stage.round()
    after = stage.engine.calls()
    assert {call: after[call] - before[call] for call in after} == {"list": 0, "inspect": 0, "stats": 0, "ping": 12}


def test_a_calm_round_is_as_new_as_its_ping() -> None:
    """A round without news dates the same list by its begin: what no event told of is as it was."""
    stage = Stage(following=True)
    first = stage.round()
    second = stage.round()
    assert second.at_s == first.at_s + 5
    assert second.containers is first.containers


def test_an_event_has_its_container_alone_read_anew() -> None:
    """An event asks for a turn soon, in which only its container is read, and dates the list by that."""
    stage = Stage(following=True)
    stage.round()
    before = stage.engine.calls()
    stage.happens("die", replace(container(WEB, "web"), state=ContainerState.EXITED))
    assert (stage.wanted, stage.feed.waiting) == (1, True)
    assert stage.turn()
    assert stage.state(WEB) is ContainerState.EXITED
    assert stage.current().at_s == stage.clock.monotonic()
    assert set(stage.current().usage) == {API}
    assert stage.engine.inspected == [WEB]
    assert {**stage.engine.calls(), "inspect": 0} == before
    assert not stage.feed.waiting


def test_the_use_of_what_has_started_is_asked_for_at_once() -> None:
    """What has started is measured in the same turn, and the others are not; it is shown before that."""
    stage = Stage(following=True)
    stage.round()
    shown: list[Inventory | None] = []
    stage.engine.amid = lambda: shown.append(stage.feed.current())
    new = container("c" * 64, "new")
    stage.happens("start", new)
    stage.turn()
    assert stage.engine.asked[-1] == (new.id,)
    assert stage.footprint(new.id) == MIB
    (before_measured,) = shown
    assert before_measured is not None
    assert (before_measured.containers[-1], new.id in before_measured.usage) == (new, False)


def test_a_turn_without_news_is_quiet() -> None:
    """A turn before the next round in which nothing was heard asks nothing and has nothing to show."""
    stage = Stage(following=True)
    stage.round()
    before = stage.engine.calls()
    assert not stage.turn()
    assert stage.engine.calls() == before


@pytest.mark.parametrize("action", ["exec_start: sh", "kill", "top", "attach"])
def test_an_event_that_changes_nothing_costs_nothing(action: str) -> None:
    """Events after which a container looks as before are passed over."""
    stage = Stage(following=True)
    stage.round()
    stage.happens(action, stage.engine.listed[0])
    assert (stage.wanted, stage.feed.waiting) == (0, False)


def test_health_comes_with_its_event() -> None:
    """A change of health, which has its event alone, is read."""
    stage = Stage(following=True)
    stage.round()
    stage.happens("health_status: unhealthy", replace(container(WEB, "web"), health=Health.UNHEALTHY))
    stage.turn()
    assert stage.current().containers[0].health is Health.UNHEALTHY


def test_a_missed_event_is_corrected_by_the_check_and_the_events_are_followed_anew() -> None:
    """What no event told is corrected a few minutes later; then it is said, and the stream is opened anew."""
    stage = Stage(following=True)
    stage.round()
    stage.engine.listed = (replace(container(WEB, "web"), state=ContainerState.EXITED), container(API, "api"))
    for _ in range(round(CHECK_EVERY_S / 5) - 1):
        stage.round()
    assert (stage.state(WEB), stage.engine.lists) == (ContainerState.RUNNING, 1)
    stage.round()
    assert (stage.state(WEB), stage.engine.lists, stage.events.reopened) == (ContainerState.EXITED, 2, 0)
    stage.round()
    assert stage.events.reopened == 1
    for _ in range(round(CHECK_EVERY_S / 5) - 1):
        stage.round()
    assert (stage.engine.lists, stage.events.reopened) == (3, 1)


def test_what_cannot_be_inspected_is_told_once_and_tried_again_before_long() -> None:
    """A container that cannot be inspected is told of once, and the list is read again before long, until it has been inspected."""
    stage = Stage(following=True)
    broken = replace(container(WEB, "web"), unread=True)
    stage.engine.listed = (broken, container(API, "api"))
    with capture_logs() as log:
        stage.round()
        for lists in (2, 3):
            for _ in range(round(UNREAD_EVERY_S / 5)):
                stage.round()
            assert stage.engine.lists == lists
    assert [line["containers"] for line in log if "cannot be inspected" in line["event"]] == ["demo-web-1"]
    stage.engine.listed = (container(WEB, "web"), container(API, "api"))
    for _ in range(2 * round(UNREAD_EVERY_S / 5)):
        stage.round()
    assert (stage.engine.lists, stage.events.reopened) == (4, 0)


def test_without_a_stream_each_round_lists() -> None:
    """While no events come each round lists, and goes back to pings once they come."""
    stage = Stage(following=True)
    stage.round()
    stage.events.live = False
    stage.round()
    stage.round()
    assert stage.engine.lists == 3
    stage.events.live = True
    stage.round()
    assert (stage.engine.lists, stage.engine.pings) == (3, 1)


def test_what_waits_for_its_restart_is_read_each_round() -> None:
    """A container that waits for its restart is read each round: where that fails, no event says so."""
    stage = Stage(following=True)
    stage.round()
    stage.happens("die", replace(container(WEB, "web"), state=ContainerState.RESTARTING))
    stage.turn()
    stage.engine.listed = (replace(container(WEB, "web"), state=ContainerState.EXITED), container(API, "api"))
    stage.round()
    assert stage.state(WEB) is ContainerState.EXITED
    assert stage.engine.inspected == [WEB, WEB]


def test_an_engine_that_hangs_while_its_stream_is_silent_is_noticed_by_the_next_round() -> None:
    """An engine that hangs without ending its stream is not ready at the next round; when it answers again all is listed."""
    stage = Stage(following=True)
    known = stage.round()
    stage.engine.down = EngineTimeout("too slow")
    stage.clock.advance(5.0)
    assert stage.feed.refresh(5.0)  # that is news
    assert (stage.feed.ready, stage.current()) == (False, known)
    stage.engine.down = None
    stage.round()
    assert (stage.feed.ready, stage.engine.lists) == (True, 2)
    assert stage.outages == [(START_WALL_S + 5, START_WALL_S + 15)]


def test_an_engine_that_hangs_at_an_event_is_retried_at_the_pace_of_rounds() -> None:
    """While the engine does not answer, news wait, and nothing asks for a quicker turn; then the list brings them."""
    stage = Stage(following=True)
    stage.round()
    stage.engine.down = EngineTimeout("too slow")
    stage.happens("die", replace(container(WEB, "web"), state=ContainerState.EXITED))
    stage.turn()
    assert (stage.feed.ready, stage.feed.waiting) == (False, False)
    stage.engine.down = None
    stage.round()
    assert stage.state(WEB) is ContainerState.EXITED


def test_another_scope_is_listed_and_followed() -> None:
    """Another scope is listed at the next turn, and its events are followed."""
    stage = Stage(following=True)
    stage.round()
    other = Scope(("other",))
    stage.feed.rescope(other)
    assert stage.wanted == 1
    stage.turn()
    assert (stage.current().containers, stage.engine.lists, stage.events.scopes) == ((), 2, [other])


def test_a_stream_that_tells_nothing_of_guardian_s_own_stop_is_opened_anew() -> None:
    """Where a container of which no event came shows another state after guardian's own call, the events are followed anew, and it is counted."""
    stage = Stage(following=True)
    stage.round()
    stage.engine.listed = (replace(container(WEB, "web"), state=ContainerState.EXITED), container(API, "api"))
    stage.feed.touch((WEB,))
    stage.turn()
    assert (stage.state(WEB), stage.events.reopened) == (ContainerState.EXITED, 0)
    stage.round()
    assert (stage.events.reopened, stage.telemetry.reconnects) == (1, 1)


def test_what_guardian_did_is_shown_by_nothing_dated_later() -> None:
    """After a call of guardian's own, no list that does not show its end is dated later than that, whatever else was heard."""
    stage = Stage(following=True)
    stage.round()
    stage.feed.touch((WEB,))
    stage.turn()
    stage.clock.advance(0.1)
    stage.engine.listed = (replace(container(WEB, "web"), state=ContainerState.EXITED), container(API, "api"))
    stage.feed.touch((WEB,))  # its stop has returned: no event yet, and it was read a moment ago
    ended_s = stage.clock.monotonic()
    stage.happens("update", stage.engine.listed[1])
    stage.turn(0.05)
    shown = stage.current()
    assert (shown.containers[0].state, shown.at_s < ended_s) == (ContainerState.RUNNING, True)
    stage.turn()
    shown = stage.current()
    assert (shown.containers[0].state, shown.at_s > ended_s) == (ContainerState.EXITED, True)


def test_a_round_counts_as_a_reading_and_a_turn_between_does_not() -> None:
    """Rounds are counted as readings, good or not; what is read between them is counted only where it fails."""
    stage = Stage(following=True)
    stage.round()
    stage.happens("update", stage.engine.listed[0])
    stage.turn()
    assert [ok for _, ok in stage.telemetry.rounds] == [True]
    stage.round()
    stage.engine.down = EngineUnreachable("no connection")
    stage.happens("update", stage.engine.listed[0])
    stage.turn()
    assert [ok for _, ok in stage.telemetry.rounds] == [True, True, False]


def test_figures_that_fail_leave_the_list_good() -> None:
    """When only the figures fail, the list is good, the use grows old, and the round counts as failed."""
    stage = Stage(following=True)
    before = stage.round()

    def no_stats(_: Sequence[str]) -> dict[str, RawStats]:
        raise EngineTimeout("too slow")

    stage.engine.stats = no_stats  # type: ignore[method-assign]
    after = stage.round()
    assert (stage.feed.ready, after.usage, after.at_s) == (True, before.usage, before.at_s + 5)
    assert [ok for _, ok in stage.telemetry.rounds] == [True, False]


def test_a_slow_round_says_how_long_it_took() -> None:
    """An inventory is dated by the begin of its round; one that takes longer than its pace says how long."""
    stage = Stage()
    stage.engine.amid = lambda: stage.clock.advance(8.0)
    inventory = stage.round()
    assert (inventory.at_s, inventory.round_s) == (stage.clock.monotonic() - 8.0, 8.0)
    stage.engine.amid = lambda: stage.clock.advance(1.0)
    assert stage.round().round_s == 5.0


def test_two_turns_are_never_under_way_at_once() -> None:
    """Two turns are never under way at once: the second waits for the first."""
    stage = Stage()
    entered, release, inside = threading.Event(), threading.Event(), []

    def slow() -> None:
        inside.append(1)
        assert len(inside) == 1
        entered.set()
        assert release.wait(10)
        inside.pop()

    stage.engine.amid = slow
    threads = [threading.Thread(target=stage.feed.refresh, args=(5.0,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(stage.telemetry.rounds) >= 1


# --- cgroup files ---------------------------------------------------------------------------------------------------


def test_what_a_file_shows_as_ended_is_read_anew() -> None:
    """A cgroup that vanished has its container read at once, without an event, and no whole list."""
    stage = Stage(cgroups=True, following=True)
    stage.files.footprints = {WEB: 100 * MIB, API: 200 * MIB}
    stage.round()
    stage.files.ended = {WEB}
    stage.current()
    stage.engine.listed = (replace(container(WEB, "web"), state=ContainerState.EXITED), container(API, "api"))
    stage.turn()
    assert (stage.state(WEB), stage.engine.lists, stage.engine.inspected) == (ContainerState.EXITED, 1, [WEB])


def test_what_has_gone_stays_gone_while_others_are_read() -> None:
    """What a cgroup file showed as ended stays without use until it is itself read anew, not when another is."""
    stage = Stage(cgroups=True, following=True)
    stage.files.footprints = {WEB: 100 * MIB, API: 200 * MIB}
    stage.round()
    stage.happens("update", stage.engine.listed[0])
    stage.turn()
    shown = stage.current()
    stage.clock.advance(0.15)
    stage.files.ended = {WEB}
    assert stage.footprint(WEB) is None
    stage.happens("update", stage.engine.listed[1])
    stage.turn(0.02)
    assert stage.engine.inspected == [WEB, API]
    assert stage.current().at_s > shown.at_s
    assert stage.footprint(WEB) is None


def test_the_engines_figure_is_compared_with_the_files_once() -> None:
    """A figure that was compared is not compared again when a newer list has it still: that would be a doubt too many."""
    stage = Stage(cgroups=True, following=True)
    stage.files.footprints = {WEB: 1 * MIB, API: 200 * MIB}
    stage.files.check = lambda id_, _: stage.files.compared.append(id_)  # type: ignore[method-assign]  # undecided
    stage.round()
    stage.happens("update", stage.engine.listed[1])
    stage.turn()
    stage.current()
    assert stage.files.compared.count(WEB) == 1


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


def test_where_files_alone_count_the_engine_is_never_asked_for_use() -> None:
    """With files alone the engine lists and is asked for no use; what no file tells is unknown, and is told once."""
    stage = Stage(cgroups=True, files_only=True)
    stage.files.footprints = {WEB: 1 * MIB}
    with capture_logs() as logged:
        for _ in range(3):
            stage.round()
    assert stage.engine.asked == []
    assert (stage.footprint(WEB), stage.footprint(API)) == (1 * MIB, None)
    assert [(line["log_level"], line["containers"]) for line in logged] == [("warning", "demo-api-1")]


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


def test_files_are_looked_for_only_when_the_list_differs_or_some_were_not_found() -> None:
    """The same list again opens no files, unless those of a running container were not found yet."""
    stage = Stage(cgroups=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.files.footprints[API] = 200 * MIB
    stage.round()
    assert stage.files.follows == 2
    for _ in range(3):
        stage.round()
    assert stage.files.follows == 2
    stage.engine.listed = stage.engine.listed[:1]
    stage.round()
    assert stage.files.follows == 3


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
    stage.round()
    assert stage.engine.asked[-1] == (WEB, API)
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
    stage = Stage(cgroups=True, following=True)
    stage.files.footprints = {WEB: 100 * MIB}
    stage.round()
    stage.files.footprints[API] = 200 * MIB
    stage.happens("rename", container(API, "other"))
    stage.turn(0.1)
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
    stage.turn()
    assert stage.files.strain_reads == 1
    stage.engine.down = EngineUnreachable("no connection")
    stage.round()
    assert stage.files.strain_reads == 2
