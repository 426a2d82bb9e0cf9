"""The list of containers, over a fake engine: what is read anew, when, and what date it bears."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import Scope
from guardian.errors import EngineUnreachable
from guardian.model import Container, ContainerState, ServiceKey
from guardian.sense.listing import HEARD_WITHIN_S, LATE_S, READ_AGAIN_S, Listing

SCOPE = Scope(("demo",))


class FakeEngine:
    """Holds containers by id. A scope shows those of its projects; `amid` is called while an answer is made."""

    def __init__(self) -> None:
        self.held: dict[str, Container] = {}
        self.down = False
        self.lists: list[Scope] = []
        self.inspected: list[tuple[str, ...]] = []
        self.invalidated: list[str] = []
        self.amid: Callable[[], None] = lambda: None

    def put(self, id_: str, project: str = "demo", state: ContainerState = ContainerState.RUNNING, run: int = 1) -> None:
        """A new container, or another state of it."""
        self.held[id_] = Container(id_, f"{project}-{id_}", ServiceKey(project, id_), state=state, restarts=run)

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        self.lists.append(scope)
        answer = tuple(one for one in self.held.values() if one.service.project in scope.projects)
        self._answer()
        return answer

    def inspect(self, scope: Scope, container_ids: Sequence[str]) -> dict[str, Container]:
        self.inspected.append(tuple(container_ids))
        here = (self.held[id_] for id_ in container_ids if id_ in self.held)
        answer = {one.id: one for one in here if one.service.project in scope.projects}
        self._answer()
        return answer

    def invalidate(self, container_ids: Collection[str]) -> None:
        self.invalidated.extend(container_ids)

    def _answer(self) -> None:
        self.amid()
        if self.down:
            raise EngineUnreachable("nobody there")


class Stage:
    """A list that was read a minute ago, of `api` and `web`."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.engine = FakeEngine()
        self.listing = Listing(self.engine, SCOPE, self.clock)  # type: ignore[arg-type]
        for id_ in ("api", "web"):
            self.engine.put(id_)
        self.listing.list()
        self.clock.advance(60)

    def touch(self, *ids: str) -> None:
        self.listing.touch(ids)

    def read(self, after_s: float = 1.0) -> frozenset[str]:
        self.clock.advance(after_s)
        return self.listing.read()

    @property
    def shown(self) -> dict[str, ContainerState]:
        return {one.id: one.state for one in self.listing.containers}

    @property
    def age_s(self) -> float:
        return self.clock.monotonic() - self.listing.at_s


@pytest.fixture
def stage() -> Stage:
    return Stage()


RUNNING, EXITED, RESTARTING = ContainerState.RUNNING, ContainerState.EXITED, ContainerState.RESTARTING


# --- what is read ---------------------------------------------------------------------------------------------------


def test_only_what_was_touched_is_read(stage: Stage) -> None:
    """Only the containers that something was heard of are read anew; the list is not asked for."""
    stage.engine.put("api", state=EXITED)
    stage.touch("api")
    assert stage.read() == {"api"}
    assert stage.shown == {"api": EXITED, "web": RUNNING}
    assert (stage.engine.inspected, len(stage.engine.lists)) == ([("api",)], 1)


def test_without_news_nothing_is_asked_and_the_same_list_is_true_later(stage: Stage) -> None:
    """Where nothing was heard nothing is asked; once the engine is known to answer, the same list is dated by that."""
    before, age_s = stage.listing.containers, stage.age_s
    assert stage.read(1) == frozenset()
    assert stage.engine.inspected == []
    assert stage.age_s == age_s + 1
    stage.listing.confirm(stage.clock.monotonic())
    assert stage.age_s == 0
    assert stage.listing.containers is before


def test_a_burst_is_read_at_once(stage: Stage) -> None:
    """Whatever was heard of many containers is read in one go, each once."""
    ids = [f"c{number}" for number in range(32)]
    for id_ in ids:
        stage.engine.put(id_)
        stage.touch(id_)  # created
        stage.touch(id_)  # started
    assert stage.read() == set(ids)
    assert stage.engine.inspected == [tuple(ids)]
    assert len(stage.shown) == 34


def test_a_storm_costs_one_read_of_a_container_in_a_while(stage: Stage) -> None:
    """A container of which news come all the time is read at most once in 0.2 s; others do not wait for it."""
    for _ in range(100):  # two seconds
        stage.touch("api")
        stage.read(0.02)
    assert 8 <= len(stage.engine.inspected) <= 2 / READ_AGAIN_S
    stage.touch("web")
    assert "web" in stage.read(0)


def test_what_waits_for_its_turn_is_not_forgotten(stage: Stage) -> None:
    """What must not be read again yet waits, and is read as soon as it may be."""
    stage.touch("api")
    stage.read()
    stage.engine.put("api", state=EXITED)
    stage.touch("api")
    assert stage.read(READ_AGAIN_S / 2) == frozenset()
    assert (stage.listing.waiting, stage.shown["api"]) == (True, RUNNING)
    assert stage.read(READ_AGAIN_S) == {"api"}
    assert (stage.listing.waiting, stage.shown["api"]) == (False, EXITED)


def test_news_in_any_order_end_in_what_is_so(stage: Stage) -> None:
    """News that come late, twice or in the wrong order show what is so now, and not what they told."""
    stage.engine.put("api", run=2)  # it died, and runs again: the start is heard of first
    stage.touch("api")
    stage.read()
    stage.touch("api")
    stage.read()
    assert stage.shown["api"] is RUNNING
    assert next(one for one in stage.listing.containers if one.id == "api").restarts == 2


def test_a_container_that_is_gone_when_it_is_read_is_removed(stage: Stage) -> None:
    """A container that was removed between the news and the reading is in the list no more, and never was if it was new."""
    del stage.engine.held["api"]
    stage.touch("api", "never-seen")
    stage.read()
    assert stage.shown == {"web": RUNNING}


def test_a_recreated_container_takes_the_place_of_the_old(stage: Stage) -> None:
    """After a recreation the new container is in the list and the old one is not."""
    del stage.engine.held["api"]
    stage.engine.put("api2")
    stage.touch("api", "api2")
    stage.read()
    assert stage.shown == {"web": RUNNING, "api2": RUNNING}


def test_a_renamed_container_has_its_new_name(stage: Stage) -> None:
    """A renamed container has its new name; one whose new name is out of scope is in the list no more."""
    stage.engine.held["api"] = replace(stage.engine.held["api"], name="other")
    stage.touch("api")
    stage.read()
    assert [one.name for one in stage.listing.containers] == ["other", "demo-web"]
    stage.engine.put("api", project="foreign")
    stage.touch("api")
    stage.read()
    assert stage.shown == {"web": RUNNING}


def test_a_container_out_of_scope_is_not_taken_in(stage: Stage) -> None:
    """News of a container out of scope leave the list as it is."""
    before = stage.listing.containers
    stage.engine.put("foreign", project="foreign")
    stage.touch("foreign")
    stage.read()
    assert stage.listing.containers is before


def test_a_state_that_ends_by_itself_is_told(stage: Stage) -> None:
    """Containers that wait for their restart or are being removed are named: no event tells of a restart that failed."""
    stage.engine.put("api", state=RESTARTING)
    stage.engine.put("web", state=ContainerState.REMOVING)
    stage.touch("api", "web")
    stage.read()
    assert stage.listing.passing == ("api", "web")
    stage.engine.put("api", state=EXITED)
    assert stage.listing.read(stage.listing.passing) == {"api", "web"}
    assert stage.shown["api"] is EXITED


# --- its date -------------------------------------------------------------------------------------------------------


def test_a_reading_is_dated_by_its_begin(stage: Stage) -> None:
    """What was read is dated by when the reading began, however long it took."""
    stage.touch("api")
    stage.engine.amid = lambda: stage.clock.advance(3)
    stage.read()
    assert stage.age_s == 3


def test_what_is_touched_while_it_is_read_bounds_the_date(stage: Stage) -> None:
    """A change that is heard of amid a reading may not be in it: the date stays before it, until it was read again."""

    def change() -> None:
        stage.engine.amid = lambda: None
        stage.clock.advance(1)
        stage.engine.put("api", state=EXITED)
        stage.touch("api")
        stage.clock.advance(1)

    stage.touch("api")
    stage.engine.amid = change
    stage.read()
    assert stage.shown["api"] is RUNNING
    assert stage.age_s == pytest.approx(2)
    stage.read()
    assert (stage.shown["api"], stage.age_s) == (EXITED, 0)


def test_nothing_is_dated_later_than_news_that_were_not_read(stage: Stage) -> None:
    """While a container waits to be read, what is read of others dates nothing later than the news of it."""
    stage.touch("api")
    stage.read()
    stage.clock.advance(READ_AGAIN_S / 2)
    stage.touch("api")
    heard_s = stage.clock.monotonic()
    stage.touch("web")
    assert stage.read(READ_AGAIN_S / 4) == {"web"}
    assert stage.listing.at_s <= heard_s - HEARD_WITHIN_S + 1e-9
    assert stage.read(READ_AGAIN_S) == {"api"}
    assert stage.age_s == 0


def test_the_first_of_many_news_bounds_the_date(stage: Stage) -> None:
    """Of all that was heard of a container since it was read, the first counts."""
    heard_s = stage.clock.monotonic()
    stage.touch("api")
    stage.clock.advance(1)
    stage.touch("api")
    stage.listing.confirm(stage.clock.monotonic())
    assert stage.listing.at_s == heard_s - HEARD_WITHIN_S


def test_news_that_come_just_after_a_reading_are_older_than_it(stage: Stage) -> None:
    """What is heard of just after a reading may have happened just before it: until it is read, the date goes back so far."""
    stage.touch("api")
    stage.read()
    read_s = stage.clock.monotonic()
    stage.touch("api")
    stage.listing.confirm(read_s)
    assert stage.listing.at_s == read_s - HEARD_WITHIN_S


@pytest.mark.parametrize("how", ["list", "read"])
def test_a_reading_that_fails_forgets_no_news(stage: Stage, how: str) -> None:
    """A reading that fails leaves list and date, and what was to be read still is."""
    dated_s = stage.listing.at_s
    stage.engine.put("api", state=EXITED)
    stage.touch("api")
    stage.engine.down = True
    with pytest.raises(EngineUnreachable):
        getattr(stage.listing, how)()
    assert (stage.listing.waiting, stage.listing.at_s, stage.shown["api"]) == (True, dated_s, RUNNING)
    stage.engine.down = False
    assert stage.read() == {"api"}
    assert stage.shown["api"] is EXITED


def test_news_from_another_thread_are_not_lost(stage: Stage) -> None:
    """However touches and readings meet, the last state of every container is read in the end."""
    states = (RUNNING, EXITED)

    def change() -> None:
        for number in range(400):
            stage.engine.put("api", state=states[number % 2], run=number)
            stage.touch("api")

    changer = threading.Thread(target=change)
    changer.start()
    while changer.is_alive():
        stage.read()
    changer.join()
    stage.read()
    assert stage.listing.containers[0] == stage.engine.held["api"]


# --- whole lists ----------------------------------------------------------------------------------------------------


def test_a_whole_list_reads_what_was_touched_too(stage: Stage) -> None:
    """A list takes in what was touched before it began: the engine is told to look at it anew, and it does not wait any more."""
    stage.engine.put("api", state=EXITED)
    stage.touch("api")
    assert stage.engine.invalidated == ["api"]
    stage.listing.list()
    assert (stage.shown["api"], stage.listing.waiting, stage.engine.inspected) == (EXITED, False, [])


def test_another_scope_makes_it_outdated_until_it_is_listed(stage: Stage) -> None:
    """With another scope the list is outdated until it is read whole."""
    stage.engine.put("lone", project="other")
    stage.listing.scope = Scope(("other",))
    assert stage.listing.outdated
    stage.listing.list()
    assert (stage.listing.outdated, stage.shown) == (False, {"lone": RUNNING})
    assert stage.engine.lists == [SCOPE, Scope(("other",))]


def test_what_no_event_told_is_corrected_and_named_by_the_next_check(stage: Stage) -> None:
    """A check corrects what no event told, and names each container once: changed, new and gone ones."""
    stage.engine.put("api", state=EXITED)
    stage.engine.put("new")
    del stage.engine.held["web"]
    stage.listing.list(check=True)
    assert stage.shown == {"api": EXITED, "new": RUNNING}
    assert stage.listing.missed() == ()  # its event may still come
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ("demo-api", "demo-new", "demo-web")
    assert stage.listing.missed() == ()


def test_an_event_that_comes_a_little_after_the_check_was_not_missed(stage: Stage) -> None:
    """A difference whose event comes within a second was told."""
    stage.engine.put("api", state=EXITED)
    stage.listing.list(check=True)
    stage.clock.advance(LATE_S / 2)
    stage.touch("api")
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ()


def test_a_check_that_shows_what_was_told_names_nobody(stage: Stage) -> None:
    """What was touched before or amid a check, or waited for its restart, is no surprise."""
    stage.engine.put("waits", state=RESTARTING)
    stage.touch("waits")
    stage.read()
    stage.engine.put("waits", state=EXITED)
    stage.engine.put("api", state=EXITED)
    stage.touch("api")
    stage.engine.put("web", state=EXITED)
    stage.engine.amid = lambda: stage.touch("web")
    stage.listing.list(check=True)
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ()


def test_what_was_read_without_an_event_and_differs_is_named_unless_one_comes(stage: Stage) -> None:
    """What is read because of guardian's own call, and differs, is named where no event tells of it in time; it need not differ."""
    for id_ in ("api", "web"):
        stage.engine.put(id_, state=EXITED)
        stage.listing.touch((id_,), by_event=False)
        stage.read()
    stage.touch("web")
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ("demo-api",)
    stage.listing.touch(("api", "never-seen"), by_event=False)
    stage.read()
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ()


@pytest.mark.parametrize("event_first", [True, False])
def test_an_event_beside_guardian_s_own_call_tells(stage: Stage, event_first: bool) -> None:
    """Where an event and guardian's own call are heard of before the reading, in either order, nothing was missed."""
    stage.engine.put("api", state=EXITED)
    for by_event in (event_first, not event_first):
        stage.listing.touch(("api",), by_event=by_event)
    stage.read()
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ()


def test_a_reading_that_failed_is_still_to_be_told_of(stage: Stage) -> None:
    """Where the reading after guardian's own call fails, the next one is held to the same."""
    stage.engine.put("api", state=EXITED)
    stage.listing.touch(("api",), by_event=False)
    stage.engine.down = True
    with pytest.raises(EngineUnreachable):
        stage.read()
    stage.engine.down = False
    stage.read()
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ("demo-api",)


def test_a_list_after_missed_events_names_nobody(stage: Stage) -> None:
    """A list that is read because events were missed expects differences, and names none."""
    stage.engine.put("api", state=EXITED)
    stage.listing.list()
    stage.clock.advance(LATE_S)
    assert stage.listing.missed() == ()
