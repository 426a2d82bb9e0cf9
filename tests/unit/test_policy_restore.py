"""What is started again, in which order, when there is room, and what waits longer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.policy import AT_ONCE, MIB, Phase, World, a_config, a_container, an_entry, key, restores, why_waiting

from guardian.config.schema import HostConfig, RestoringConfig, ServiceConfig
from guardian.ledger.entries import EntryContainer, EntryState, Means
from guardian.model import ContainerState, Health, Signal
from guardian.policy.demand import expected, percentile, remember
from guardian.policy.platform import Platform
from guardian.policy.restore import after_shed, in_order, rise, waiting
from guardian.policy.state import Memo, PolicyState, Rising

ROOM_MIB = 1000  # at half memory: 0.8 less 5% of 4000 MiB, less 2000


def a_world(*phases: tuple[str, ...], services: dict[str, ServiceConfig] | None = None, **options: Any) -> World:
    """A calm host: 4000 MiB and 4 cores, half of the memory and a tenth of the CPU used."""
    return World(a_config(*phases, services=services, thresholds=AT_ONCE, **options))


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("services", "order"),
    [
        ({"a": {}, "b": {}, "c": {}}, ["c", "a", "b"]),  # c is of a lower phase
        ({"a": {}, "b": {"priority": 5}}, ["b", "a"]),
        ({"a": {"requires": ("b",)}, "b": {}}, ["b", "a"]),
        ({"a": {"requires": ("b",), "priority": 9}, "b": {}}, ["b", "a"]),
        ({"a": {"requires": ("b",)}, "b": {"requires": ("d",)}, "d": {}}, ["d", "b", "a"]),
    ],
)
def test_the_lowest_phase_comes_first_and_a_dependency_before_its_dependents(
    services: dict[str, dict[str, Any]], order: list[str]
) -> None:
    """The lowest phase comes first, a dependency before its dependents, then the highest priority, then the name."""
    world = a_world(("c",), ("a", "b", "d"), services={name: ServiceConfig(**written) for name, written in services.items()})
    for name in services:
        world.add_shed(name, 1 if name == "c" else 2)
    found = waiting(world.entries.values(), (), world.platform)
    assert [one.service.name for one in in_order(found, world.platform)] == order


def test_a_phase_is_that_of_the_present_file() -> None:
    """The phase of what waits is that of the present file, where it still lists the service."""
    world = a_world(("a",), ("b",)).add_shed("a", 2).add_shed("gone", 2)
    assert {one.service.name: one.phase for one in waiting(world.entries.values(), (), world.platform)} == {"a": 1, "gone": 2}


@pytest.mark.parametrize(
    "fields",
    [
        {"state": EntryState.INTENDED},
        {"state": EntryState.SENT},
        {"state": EntryState.RESTORING},
        {"state": EntryState.CLOSED},
        {"means": Means.THROTTLE},
        {"returned_wall_s": 5.0},  # the engine brought it back
    ],
)
def test_only_what_is_known_to_be_stopped_waits(fields: dict[str, Any]) -> None:
    """Only what guardian is known to have stopped, and what is still down, waits for a restore."""
    assert waiting([an_entry("a", 1, **fields)], (), a_world(("a",)).platform) == []


def test_only_the_replicas_that_guardian_stopped_are_started() -> None:
    """Only the replicas that guardian stopped, and that are still there, are started."""
    world = a_world(("a",)).add("a", replicas=3)
    for number in (1, 2, 3):
        world.containers[f"a-{number}"] = a_container("a", number, state=ContainerState.EXITED)
    owed = tuple(EntryContainer(f"a-{number}", "", number, stopped=number != 2) for number in (1, 2, 3, 4))
    world.entries[key("a")] = an_entry("a", 1, containers=owed)
    (action,) = world.tick().actions
    assert action.containers == ("a-1", "a-3")


# --- room -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "mib", "cores", "fits"),
    [
        ({}, ROOM_MIB - 1, 0.1, True),
        ({}, ROOM_MIB, 0.1, False),  # must stay below
        ({"memory": 0.69}, 239, 0.1, True),
        ({"memory": 0.69}, 241, 0.1, False),
        ({}, 10, 2.5, True),  # 3 cores less 0.4
        ({}, 10, 2.7, False),
        ({"memory": None}, 10, 0.1, False),  # unknown is no room
        ({"cpu": None}, 10, 0.1, False),
        ({"swap": 0.5, "disk": 0.5}, 10, 0.1, True),
    ],
)
def test_a_restore_is_admitted_only_where_memory_and_cpu_both_have_room(
    figures: dict[str, float | None], mib: int, cores: float, fits: bool
) -> None:
    """A restore is admitted only where use and expected use stay below soft less the margin, for memory and CPU both."""
    world = a_world(("a",)).add_shed("a", 1, expected_bytes=mib * MIB, expected_cores=cores)
    for name, value in figures.items():
        setattr(world, name, value)
    decision = world.tick()
    assert (restores(decision), why_waiting(decision)) == ((["a"], {}) if fits else ([], {"a": "no_room"}))


def test_the_platforms_own_capacity_must_have_room_too() -> None:
    """The platform's own capacity must have room, too."""
    host = HostConfig(memory=1000 * MIB)  # type: ignore[arg-type]
    for used, taken in ((600, ["a"]), (660, [])):
        world = a_world(("a", "b"), host=host).add("b", used).add_shed("a", 1, expected_bytes=100 * MIB)
        assert restores(world.tick()) == taken


@pytest.mark.parametrize(
    ("limit_mib", "share_mib", "fits"), [(900, None, True), (1100, None, False), (None, 1100, False), (None, None, True)]
)
def test_an_unknown_need_is_taken_as_the_limit_else_the_share(limit_mib: int | None, share_mib: int | None, fits: bool) -> None:
    """Where the need of a restore is unknown its limit is taken for it, else its share."""
    world = World(a_config(Phase(("a",), budget_mib=share_mib), thresholds=AT_ONCE))
    world.add_shed("a", 1, expected_bytes=None, expected_cores=None)
    world.containers["a-1"] = replace(
        world.containers["a-1"], memory_limit_bytes=None if limit_mib is None else limit_mib * MIB
    )
    assert restores(world.tick()) == (["a"] if fits else [])


@pytest.mark.parametrize(
    ("uses_mib", "ends_in_s", "fits"), [(100, 60, False), (450, 60, True), (900, 60, True), (100, 0, True)]
)
def test_growth_of_those_on_probation_is_held_back_for_them(uses_mib: int, ends_in_s: float, fits: bool) -> None:
    """What services on probation are still expected to grow to is no room for others."""
    world = a_world(("a",), ("b",)).add("a", uses_mib).add_shed("b", 2, expected_bytes=900 * MIB)
    memo = Memo(probation_until_s=world.now_s + 1 + ends_in_s, restored_bytes=500 * MIB, restored_cores=0.1)
    world.state = replace(world.state, memos={key("a"): memo})
    assert restores(world.tick()) == (["b"] if fits else [])


# --- who waits for whom ---------------------------------------------------------------------------------------------


def test_one_that_does_not_fit_holds_back_later_phases_and_not_its_peers() -> None:
    """One that does not fit holds back later phases, not its peers that fit."""
    world = a_world(("a", "b"), ("c",))
    world.add_shed("a", 1, expected_bytes=2000 * MIB).add_shed("b", 1).add_shed("c", 2)
    decision = world.tick()
    assert restores(decision) == ["b"]
    assert why_waiting(decision) == {"a": "no_room", "c": "one_at_a_time"}
    world.end_all(decision)
    world.tick()
    world.set_health("b", Health.HEALTHY)
    decision = world.tick()
    assert (restores(decision), why_waiting(decision)) == ([], {"a": "no_room", "c": "earlier_phase_waits"})


def test_one_is_restored_at_a_time_and_the_next_waits_until_it_is_up() -> None:
    """One is restored at a time; the next waits until it is started, and up."""
    world = a_world(("a", "b")).add_shed("a", 1).add_shed("b", 1)
    decision = world.tick()
    assert restores(decision) == ["a"]
    assert why_waiting(world.tick()) == {"b": "in_flight"}
    world.end_all(decision)
    world.set_health("a", Health.STARTING)
    for _ in range(100):
        assert why_waiting(world.tick()) == {"b": "rising"}
    world.set_health("a", Health.HEALTHY)
    decision = world.tick()
    assert (decision.restored, restores(decision)) == ((key("a"),), ["b"])


def test_after_thirty_minutes_one_trial_is_made_at_what_it_used_a_minute_after_its_start() -> None:
    """After thirty minutes refused, one trial is made at what it used a minute after its last start."""
    world = a_world(("a",)).add_shed("a", 1, expected_bytes=2000 * MIB)
    world.state = replace(world.state, memos={key("a"): Memo(early_bytes=300 * MIB)})
    for _ in range(30):
        assert why_waiting(world.tick(60.0)) == {"a": "no_room"}
    assert restores(world.tick(60.0)) == ["a"]


def test_what_cannot_fit_even_then_says_so_and_holds_nobody_back_any_more() -> None:
    """What cannot fit even then says so, and holds nobody back any more."""
    world = a_world(("a",), ("b",)).add_shed("a", 1, expected_bytes=2000 * MIB).add_shed("b", 2)
    for _ in range(30):
        assert why_waiting(world.tick(60.0)) == {"a": "no_room", "b": "earlier_phase_waits"}
    decision = world.tick(60.0)
    assert (restores(decision), why_waiting(decision)) == (["b"], {"a": "cannot_fit"})


@pytest.mark.parametrize(
    ("memo", "reason", "comes"),
    [
        ({}, "memory", True),
        ({"quarantined": True}, "memory", False),
        ({"refused_since_s": 1.0}, "memory", False),
        ({"failures": 1, "retry_at_s": 99_999.0}, "memory", False),
        ({}, "operator", False),
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_a_dependency_comes_first_unless_it_only_orders_and_may_never_come(
    memo: dict[str, Any], reason: str, comes: bool, required: bool
) -> None:
    """A dependency comes first; one that only orders is not waited for where it may never come."""
    world = a_world(("a", "b"), services={"a": ServiceConfig(requires=("b",) if required else ())})
    world.add_shed("a", 1).add_shed("b", 1, reason=reason, expected_bytes=5000 * MIB)
    world.containers["a-1"] = replace(world.containers["a-1"], depends_on=("b",))
    world.state = replace(world.state, memos={key("b"): Memo(**memo)})
    decision = world.tick()
    waits = required or comes
    assert (restores(decision), why_waiting(decision).get("a")) == (([], "dependency") if waits else (["a"], None))


@pytest.mark.parametrize(
    ("memo", "entry", "why"),
    [
        ({"not_before_s": 10_002.0}, {}, "backoff"),
        ({"retry_at_s": 10_002.0}, {}, "retry_later"),
        ({"quarantined": True}, {}, "quarantined"),
        ({}, {"reason": "operator"}, "operator"),
        ({}, {"containers": (EntryContainer("lost", "lost", 1, stopped=True),)}, "missing"),
    ],
)
def test_each_service_may_have_a_reason_of_its_own_to_wait(memo: dict[str, Any], entry: dict[str, Any], why: str) -> None:
    """A service waits for its backoff, after a failed start, in quarantine, for its operator, or for its container."""
    world = a_world(("a",)).add_shed("a", 1, **entry)
    world.state = replace(world.state, memos={key("a"): Memo(**memo)})
    decision = world.tick()
    assert (restores(decision), why_waiting(decision)) == ([], {"a": why})
    decision = world.tick(5.0)
    assert bool(restores(decision)) is (why in ("backoff", "retry_later"))


# --- how a restore goes ---------------------------------------------------------------------------------------------

RISEN = RestoringConfig(stable_for=15)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "health", "after_s", "how"),
    [
        (ContainerState.RUNNING, Health.HEALTHY, 1, "up"),
        (ContainerState.RUNNING, Health.STARTING, 100, ""),
        (ContainerState.RUNNING, Health.UNHEALTHY, 100, ""),
        (ContainerState.RUNNING, Health.UNHEALTHY, 180, "late"),
        (ContainerState.RUNNING, Health.NONE, 15, ""),  # runs for 14 s, as far as was seen
        (ContainerState.RUNNING, Health.NONE, 16, "up"),
        (ContainerState.EXITED, Health.NONE, 1, "fell"),
        (ContainerState.DEAD, Health.HEALTHY, 1, "fell"),
        (ContainerState.RESTARTING, Health.NONE, 100, ""),
        (ContainerState.RESTARTING, Health.NONE, 180, "late"),
        (None, Health.NONE, 1, "fell"),
    ],
)
def test_a_restore_is_up_when_it_is_healthy_or_has_run_for_long_enough(
    state: ContainerState | None, health: Health, after_s: int, how: str
) -> None:
    """A restore is up when it is healthy, or has run for `stable_for` without a health check; else it fell, or is late."""
    config = a_config(("a",), restoring=RISEN)
    there = {} if state is None else {"a-1": a_container("a", state=state, health=health)}
    rising = Rising(key("a"), 0.0)
    for now_s in range(1, after_s + 1):
        found, rising = rise(rising, ("a-1",), Platform({}, containers=there, read_s=float(now_s)), config, float(now_s))
        assert found == (how if now_s == after_s else "")


def test_a_restore_whose_service_has_done_its_work_is_up() -> None:
    """What has completed since its start is up, as far as a restore goes; beside it every other replica must be."""
    done, down = a_container("a", state=ContainerState.EXITED), a_container("a", 2, state=ContainerState.EXITED)
    for there, how in (([done], "up"), ([done, down], "fell")):
        platform = Platform({}, containers={one.id: one for one in there}, completed=frozenset({done.id}), read_s=2.0)
        assert rise(Rising(key("a"), 1.0), tuple(platform.containers), platform, a_config(("a",)), 2.0)[0] == how


def test_what_is_down_and_could_not_be_inspected_is_waited_for() -> None:
    """Where the list shows it down and no inspect tells how it ended it may have completed: for a while it is waited for."""
    down = a_container("a", state=ContainerState.EXITED, unread=True)
    for now_s, how in ((2.0, ""), (180.0, ""), (181.0, "fell")):
        platform = Platform({}, containers={down.id: down}, read_s=now_s)
        assert rise(Rising(key("a"), 1.0), (down.id,), platform, a_config(("a",)), now_s)[0] == how


def test_while_the_engine_is_away_no_restore_fell() -> None:
    """What is down while the engine does not answer may come back with it: its restore is judged once it does."""
    world = a_world(("a",)).add_shed("a", 1)
    world.end_all(world.tick())
    world.tick()
    world.set_state("a", ContainerState.EXITED)
    world.engine_ready = False
    assert world.tick().fallen == ()
    world.engine_ready = True
    assert world.tick().fallen == (key("a"),)


def test_a_list_from_before_the_start_says_nothing() -> None:
    """A list from before the start says nothing about it."""
    platform = Platform({}, containers={"a-1": a_container("a", state=ContainerState.EXITED)}, read_s=5.0)
    assert rise(Rising(key("a"), 5.0), ("a-1",), platform, a_config(("a",)), 6.0)[0] == ""


# --- shed again -----------------------------------------------------------------------------------------------------

CONFIG = a_config(("a",))
NOW_S = 100_000.0
ON_PROBATION = Memo(probation_until_s=NOW_S + 10, base_bytes={Signal.MEMORY: 1000.0})


@pytest.mark.parametrize(
    ("before_s", "after_s"), [(0.0, 60.0), (60.0, 120.0), (120.0, 240.0), (1800.0, 3600.0), (3600.0, 3600.0)]
)
def test_a_service_shed_on_probation_waits_twice_as_long_up_to_an_hour(before_s: float, after_s: float) -> None:
    """A service that is shed again on probation waits twice as long for its next restore, from a minute to an hour."""
    memo = after_shed(replace(ON_PROBATION, backoff_s=before_s), Signal.MEMORY, None, None, CONFIG, NOW_S, NOW_S + 1)
    assert (memo.backoff_s, memo.not_before_s, memo.probation_until_s) == (after_s, NOW_S + 1 + after_s, None)


def test_a_shed_after_probation_begins_anew() -> None:
    """A shed after probation begins anew: no wait, and the next backoff is the first."""
    memo = replace(ON_PROBATION, probation_until_s=NOW_S, backoff_s=600.0)
    after = after_shed(memo, Signal.MEMORY, 2000.0, 2000.0, CONFIG, NOW_S, NOW_S + 1)
    assert (after.backoff_s, after.not_before_s, after.flaps_s) == (0.0, None, ())


@pytest.mark.parametrize(
    ("signal", "used", "own", "flap"),
    [
        (Signal.MEMORY, 2000.0, 500.0, True),  # half of the rise of 1000
        (Signal.MEMORY, 2000.0, 499.0, False),
        (Signal.MEMORY, 900.0, 500.0, False),  # there was no rise
        (Signal.MEMORY, None, 500.0, False),
        (Signal.MEMORY, 2000.0, None, False),
        (Signal.CPU, 4.0, 4.0, False),  # its base is unknown
    ],
)
def test_a_flap_counts_only_if_its_own_growth_made_half_of_the_rise(
    signal: Signal, used: float | None, own: float | None, flap: bool
) -> None:
    """A flap counts only if the service's own growth made at least half of the rise."""
    memo = after_shed(ON_PROBATION, signal, used, own, CONFIG, NOW_S, NOW_S + 1)
    assert memo.flaps_s == ((NOW_S + 1,) if flap else ())
    assert memo.backoff_s == 60.0  # it waits, flap or not


@pytest.mark.parametrize(
    ("ages_s", "own", "quarantined"),
    [
        ((1, 2, 3, 4), 900.0, True),
        ((1, 2, 3), 900.0, False),
        ((1, 2, 3, 86_400), 900.0, False),  # more than a day ago
        ((1, 2, 3, 4, 5), 1.0, False),  # this time it was not the one
    ],
)
def test_five_flaps_in_a_day_are_quarantine(ages_s: tuple[float, ...], own: float, quarantined: bool) -> None:
    """`max_flaps` in a day are quarantine, by a flap and nothing else."""
    memo = replace(ON_PROBATION, flaps_s=tuple(NOW_S - age_s for age_s in ages_s))
    assert after_shed(memo, Signal.MEMORY, 2000.0, own, CONFIG, NOW_S, NOW_S).quarantined is quarantined


# --- what a restore will need ---------------------------------------------------------------------------------------


def running(mib: float | None, cores: float | None = 0.1, started_s: float = 0.0, **limits: Any) -> World:
    world = a_world(("a",)).add("a", mib, cores, started_s=started_s, **limits)
    world.now_s = 0.0
    return world


def watch(world: World, mib: list[float | None], every_s: float = 60.0) -> PolicyState:
    """A figure every minute."""
    state = PolicyState()
    for one in mib:
        world.now_s += every_s
        world.mib["a-1"] = one
        state = remember(world.platform, state, world.now_s)
    return state


def need(world: World, state: PolicyState) -> tuple[int | None, float | None]:
    platform = world.platform
    bytes_, cores = expected(platform.services[key("a")], platform, state, world.now_s)
    return (None if bytes_ is None else bytes_ // MIB), cores


@pytest.mark.parametrize(
    ("mib", "limit_mib", "expected_mib"),
    [
        ([100] * 60, None, 100),
        ([100] * 57 + [900] * 3, None, 100),  # the 95th percentile of sixty
        ([100] * 56 + [900] * 4, None, 900),
        ([900] * 4 + [100] * 60, None, 100),  # more than an hour ago
        ([900] * 60, 500, 500),
        ([None, None, 70], None, 70),
        ([None], None, None),
    ],
)
def test_a_restore_needs_the_95th_percentile_of_the_hour_before_at_most_the_limit(
    mib: list[float | None], limit_mib: int | None, expected_mib: int | None
) -> None:
    """A restore needs the 95th percentile of the footprint over the hour before, at most the limit."""
    world = running(1, memory_limit_bytes=None if limit_mib is None else limit_mib * MIB)
    assert need(world, watch(world, mib))[0] == expected_mib


def test_what_was_not_watched_for_a_minute_needs_what_it_uses_now() -> None:
    """A service that was not watched yet needs what it uses now; its CPU at most its limit."""
    world = running(70, 0.8, cpu_limit_cores=0.5)
    assert need(world, PolicyState()) == (70, 0.5)


def test_one_figure_a_minute_is_kept() -> None:
    """One figure a minute is kept, however fast the ticks are."""
    world = running(70)
    assert len(watch(world, [70] * 120, every_s=1.0).demand[key("a")]) == 2


@pytest.mark.parametrize(
    ("started_s", "early_mib"),
    [(0.0, 200), (30.0, 200), (100.0, 300), (-500.0, None)],  # its first minute was not watched
)
def test_what_it_used_a_minute_after_its_start_is_remembered_once(started_s: float, early_mib: int | None) -> None:
    """What a service used a minute after its newest start is remembered, once for each start."""
    world = running(1, started_s=started_s)
    state = watch(world, [None, 200, 300, 400] if started_s else [200, 300, 400])
    early = state.memo(key("a")).early_bytes
    assert early == (None if early_mib is None else early_mib * MIB)


@pytest.mark.parametrize(
    ("values", "part", "value"),
    [([5], 0.95, 5), ([1, 2], 0.5, 1), ([3, 1, 2], 0.95, 3), (list(range(1, 101)), 0.95, 95), (list(range(1, 21)), 0.95, 19)],
)
def test_a_percentile_is_by_nearest_rank(values: list[int], part: float, value: float) -> None:
    """A percentile is by nearest rank."""
    assert percentile(values, part) == value
