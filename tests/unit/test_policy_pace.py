"""How soon to look again: headroom, what rises, and when it is calm again."""

from __future__ import annotations

from typing import Any

import pytest
from support.policy import MIB, TOTAL, World, a_config, an_entry, marks

from guardian.config.schema import HostConfig, SamplingConfig, ThresholdsConfig
from guardian.model import Inventory, Level, Signal
from guardian.policy.pace import AFTER_S, CALM_S, Pace, at_start, bearable_s, follow, use_age_s

CALM_HOST_S, CALM_CONTAINERS_S = 1.0, 5.0
SETTLED_S = 10.0  # a rise is forgotten, and what was quick has slowed down
PART = 200 * MIB / TOTAL  # of memory: what a hog takes in a second


class Paced:
    """A world that ticks at the pace it is told, with the thresholds of the reference file unless said otherwise."""

    def __init__(self, thresholds: ThresholdsConfig | None = None, config: dict[str, Any] | None = None, **host: Any) -> None:
        self.world = World(a_config(("core",), ("extra",), thresholds=thresholds, **(config or {})), **host)
        self.world.add("core").add("extra")
        self.pace = at_start(self.world.config, self.world.now_s)
        self.round_s: float | None = CALM_CONTAINERS_S  # of the newest list; None: there is none

    def tick(self, after_s: float | None = None, **host: Any) -> Pace:
        """One tick, at the present pace unless `after_s` says when; then the pace of the next."""
        for name, value in host.items():
            setattr(self.world, name, value)
        world = self.world
        world.tick(self.pace.host_s if after_s is None else after_s)
        self.pace = follow(self.pace, world.assessment, world.host, world.state, bool(world.entries), world.config, world.now_s)
        return self.pace

    def settle(self, **host: Any) -> Pace:
        """Nothing changes for a while."""
        self.tick(**host)
        until_s = self.world.now_s + SETTLED_S
        while self.world.now_s < until_s:
            self.tick()
        return self.pace

    def age_s(self, **host: Any) -> float:
        """How old the containers' use may be in a tick that comes now and reads this of the host."""
        for name, value in host.items():
            setattr(self.world, name, value)
        world = self.world
        listed = None if self.round_s is None else Inventory(world.now_s, (), round_s=self.round_s)
        return use_age_s(self.pace, world.assessment, listed, world.state, bool(world.entries), world.host, world.config)


def on_platform(mib: int) -> Paced:
    """A large host on which the platform may use 1,000 MiB and uses `mib`."""
    paced = Paced(config={"host": HostConfig(memory=1000 * MIB)}, memory=0.3)  # type: ignore[arg-type]
    paced.world.mib["extra-1"] = 0
    paced.world.mib["core-1"] = mib
    return paced


# --- headroom -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "host_s"),
    [
        (0.30, 1.0),
        (0.60, 1.0),  # in use, and calm: it must not be read ten times a second for ever
        (0.69, 1.0),
        (0.71, 0.7),  # a quarter of the capacity a second is plausible: 19% last 0.76 s
        (0.75, 0.6),
        (0.80, 0.4),
        (0.85, 0.2),
        (0.89, 0.1),
    ],
)
def test_the_interval_shrinks_with_the_headroom_below_the_hard_mark(memory: float, host_s: float) -> None:
    """Far from every mark the host is read each `sampling.host`, and from recover on the sooner the less room is left."""
    assert Paced().settle(memory=memory).host_s == pytest.approx(host_s)


def test_a_mark_that_must_last_leaves_that_much_more_time() -> None:
    """A mark that acts only after some seconds is in so much less of a hurry."""
    near_soft = {"memory": 0.79}
    assert Paced(ThresholdsConfig(memory=marks(soft_for=0.0))).settle(**near_soft).host_s == pytest.approx(0.1)
    assert Paced(ThresholdsConfig(memory=marks(soft_for=0.3))).settle(**near_soft).host_s == pytest.approx(0.3)
    slow = ThresholdsConfig(memory=marks(soft_for=10.0, hard_for=20.0))
    assert Paced(slow).settle(memory=0.89).host_s == CALM_HOST_S


def test_the_platforms_own_memory_hurries_likewise() -> None:
    """Footprints that come close to the platform's hard mark quicken the pace, however much of the host is free."""
    assert on_platform(600).settle().host_s == CALM_HOST_S
    assert on_platform(890).settle().host_s == pytest.approx(0.1)


def test_cpu_pressure_and_swap_are_in_no_hurry() -> None:
    """Signals that are means of ten seconds quicken nothing: only memory can be full within one."""
    for figures in ({"cpu": 0.96}, {"cpu": 1.0}, {"memory_pressure": 0.9}, {"swap": 0.99}, {"disk": 0.99}):
        assert Paced(memory=0.5).settle(**figures).host_s == CALM_HOST_S


@pytest.mark.parametrize("thresholds", [None, ThresholdsConfig(memory="off")])
def test_what_is_unknown_or_off_hurries_nothing(thresholds: ThresholdsConfig | None) -> None:
    """Memory that cannot be read, or that is off, calls for no quicker pace."""
    assert Paced(thresholds).settle(memory=0.89 if thresholds else None).host_s == CALM_HOST_S


def test_the_file_sets_the_slowest_pace_and_a_tenth_of_a_second_is_the_quickest() -> None:
    """`sampling.host` bounds the pace from above, a tenth of a second from below, unless the file asks for less."""
    for host_s, slowest_s, quickest_s in ((10.0, 10.0, 0.1), (0.5, 0.5, 0.1), (0.05, 0.05, 0.05)):
        paced = Paced(config={"sampling": SamplingConfig(host=host_s)})  # type: ignore[arg-type]
        assert paced.settle(memory=0.3).host_s == slowest_s
        assert paced.tick(memory=0.899).host_s == pytest.approx(quickest_s)


# --- what rises -----------------------------------------------------------------------------------------------------


def test_a_rise_below_recover_counts_by_its_own_speed() -> None:
    """Below recover only what is seen to rise hurries: twice its speed, for the way to where it would act."""
    paced = Paced()
    paced.settle(memory=0.50)
    assert paced.tick(memory=0.50 + PART).host_s == CALM_HOST_S  # 0.55: it acts at recover, 1.5 s away at twice the speed
    assert paced.tick(memory=0.50 + 2 * PART).host_s == pytest.approx(1.0)
    assert paced.tick(memory=0.50 + 3 * PART).host_s == pytest.approx(0.5)
    assert paced.tick(memory=0.69).host_s == pytest.approx(0.1)


def test_a_rise_that_ends_is_forgotten() -> None:
    """Once memory has stopped rising, and some seconds later, all is calm again."""
    paced = Paced()
    paced.settle(memory=0.30)
    paced.tick(memory=0.69)
    assert paced.pace.host_s == pytest.approx(0.1)
    assert paced.settle().host_s == CALM_HOST_S


def test_small_changes_are_no_rise() -> None:
    """Memory that goes up and down by some tens of MB does not hurry a host that is in use."""
    paced = Paced()
    paced.settle(memory=0.68)
    for _ in range(20):
        assert paced.tick(memory=0.69).host_s == CALM_HOST_S
        assert paced.tick(memory=0.68).host_s == CALM_HOST_S


def test_what_the_host_gains_is_taken_for_the_platforms_until_it_is_read() -> None:
    """Between two readings of the containers, what the host gains counts as theirs."""
    paced = on_platform(600)
    paced.settle()
    world = paced.world
    platform = world.platform
    world.now_s += 1.0
    world.memory = 0.3 + 280 * MIB / TOTAL  # and of the containers nothing newer is known
    pace = follow(paced.pace, world.assessment, world.host, world.state, False, world.config, world.now_s)
    assert pace.host_s < CALM_HOST_S
    assert platform.read_s == paced.pace.read_s


@pytest.mark.parametrize(
    ("last_mib", "next_s"),
    [
        (870, 0.1),  # 0.3 s before it crosses: the next tick is well before that
        (881, 0.19 + AFTER_S),  # one tick, just after
        (885, 0.15 + AFTER_S),
        (889, 0.11 + AFTER_S),
        (895, 0.1),  # 0.05 s before: there is no quicker pace
    ],
)
def test_a_crossing_that_is_seen_to_come_is_looked_at_just_after_it(last_mib: int, next_s: float) -> None:
    """Where a steady rise will cross a mark between two ticks at the quickest pace, the next tick comes just after that."""
    paced = on_platform(500)
    paced.settle()
    for mib, after_s in ((600, 1.0), (700, 1.0), (800, 1.0), (last_mib, (last_mib - 800) / 100)):
        paced.world.mib["core-1"] = mib
        paced.tick(after_s, memory=0.3 + (mib - 500) * MIB / TOTAL)
    assert paced.pace.host_s == pytest.approx(0.1)
    assert paced.pace.next_s == pytest.approx(next_s, abs=0.002)


# --- hard, and after ------------------------------------------------------------------------------------------------


def test_while_relief_is_on_its_way_at_hard_the_pace_stays_quick() -> None:
    """At hard with stops under way, and until their relief is seen, the pace is the quickest."""
    paced = Paced(memory=0.95)
    paced.world.mib["extra-1"] = 1500
    paced.tick()
    assert paced.world.assessment.level is Level.HARD
    assert paced.world.state.flights
    assert paced.settle().host_s == pytest.approx(0.1)


def test_a_hard_level_that_nothing_can_be_done_about_is_read_calmly() -> None:
    """Memory that stays hard with nothing left to stop is read each `sampling.host`: haste would only cost the host more."""
    paced = Paced(memory=0.95)
    for name in ("core-1", "extra-1"):
        paced.world.mib[name] = 0
    assert paced.tick().host_s <= CALM_HOST_S
    assert paced.world.assessment.level is Level.HARD
    assert paced.settle().host_s == CALM_HOST_S


def test_it_quickens_at_once_and_slows_down_after_some_seconds() -> None:
    """A quicker pace is taken at once, and given up only after nothing has asked for it for three seconds."""
    paced = Paced()
    paced.settle(memory=0.5)
    quick = paced.tick(memory=0.89)
    assert quick.host_s == pytest.approx(0.1)
    asked_s = paced.world.now_s
    while paced.world.now_s - asked_s < CALM_S - 0.2:
        assert paced.tick(memory=0.5).host_s == pytest.approx(0.1)
    paced.tick(1.0)
    assert paced.tick().host_s == CALM_HOST_S


# --- containers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "containers_s"),
    [
        ({"memory": 0.5}, CALM_CONTAINERS_S),
        ({"disk": 0.99}, CALM_CONTAINERS_S),  # no service is stopped for it
        ({"memory": 0.72}, 1.0),
        ({"cpu": 0.7}, 1.0),
        ({"memory": 0.95}, 1.0),
    ],
)
def test_the_engine_is_asked_oftener_near_a_mark(figures: dict[str, float], containers_s: float) -> None:
    """Rounds with the engine come each `sampling.containers` while all is well, and each second near a mark or past it."""
    assert Paced(memory=0.5).settle(**figures).containers_s == containers_s


def test_the_engine_is_asked_oftener_while_something_is_owed() -> None:
    """While the ledger has open entries, rounds with the engine are quick."""
    paced = Paced(memory=0.5)
    paced.world.entries[an_entry("gone", 2).service] = an_entry("gone", 2)
    assert paced.settle().containers_s == 1.0


def test_rounds_with_the_engine_are_no_oftener_than_the_host_is_read_and_no_rarer_than_the_file_says() -> None:
    """The file's own pace bounds the rounds."""
    slow = Paced(config={"sampling": SamplingConfig(host=3.0, containers=60.0)}, memory=0.95)  # type: ignore[arg-type]
    assert slow.settle().containers_s == 3.0
    quick = Paced(config={"sampling": SamplingConfig(host=1.0, containers=0.5)}, memory=0.95)  # type: ignore[arg-type]
    assert quick.settle().containers_s == 0.5


@pytest.mark.parametrize(
    ("host", "age_s"),
    [
        ({"memory": 0.5, "cpu": 0.1}, CALM_CONTAINERS_S),
        ({"memory": 0.71, "cpu": 0.1}, 0.0),
        ({"memory": 0.95, "cpu": 0.1}, 0.0),
        ({"memory": 0.5, "cpu": 0.7}, 0.0),
        ({"memory": None, "cpu": 0.1}, 0.0),
        ({"memory": 0.5, "cpu": None}, 0.0),
        ({"memory": 0.5, "cpu": 0.1, "disk": 0.99}, CALM_CONTAINERS_S),
    ],
)
def test_use_may_be_old_only_while_all_that_matters_is_known_to_be_calm(host: dict[str, float | None], age_s: float) -> None:
    """A tick that finds memory or CPU near a mark, or unknown, reads the containers anew; a calm one need not."""
    paced = Paced(memory=0.5, cpu=0.1)
    paced.settle()
    assert paced.age_s(**host) == age_s


def test_use_must_be_new_where_the_platform_may_have_reached_its_mark() -> None:
    """Containers are read anew once the host has gained what the platform needs to its recover mark."""
    paced = on_platform(600)
    paced.world.cpu = 0.1
    paced.settle()
    assert paced.age_s() == CALM_CONTAINERS_S
    assert paced.age_s(memory=0.3 + 90 * MIB / TOTAL) == CALM_CONTAINERS_S
    assert paced.age_s(memory=0.3 + 110 * MIB / TOTAL) == 0.0


def test_use_must_be_new_before_the_first_tick_and_while_anything_is_under_way() -> None:
    """Use is read anew before the first assessment, while something is owed, and at any level but ok."""
    paced = Paced(memory=0.5, cpu=0.1)
    world = paced.world
    listed = Inventory(world.now_s, (), round_s=CALM_CONTAINERS_S)
    assert use_age_s(paced.pace, None, listed, world.state, False, world.host, world.config) == 0.0
    paced.settle()
    assert paced.age_s() == CALM_CONTAINERS_S
    world.entries[an_entry("gone", 2).service] = an_entry("gone", 2)
    assert paced.age_s() == 0.0
    world.entries.clear()
    paced.tick(memory=0.95)
    assert paced.age_s(memory=0.5) == 0.0


@pytest.mark.parametrize(("round_s", "age_s"), [(5.0, 5.0), (60.0, 5.0), (1.0, 1.0), (None, 0.0)])
def test_use_is_never_so_old_that_it_would_be_unknown(round_s: float | None, age_s: float) -> None:
    """While the newest list is of a quick round, use is no older than that: what is older counts as unknown."""
    paced = Paced(memory=0.5, cpu=0.1)
    paced.settle()
    paced.round_s = round_s
    assert paced.age_s() == age_s


def test_use_must_be_new_while_some_of_it_is_unknown() -> None:
    """A platform of which one container is unknown is read anew, however little the others use."""
    paced = on_platform(600)
    paced.world.cpu = 0.1
    paced.settle()
    paced.world.mib["extra-1"] = None
    paced.tick()
    assert paced.age_s() == 0.0


# --- a slow host ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("took_s", "least_s"), [(0.0, 0.1), (0.001, 0.1), (0.025, 0.1), (0.06, 0.3), (5.0, 1.0)])
def test_ticks_that_take_long_are_further_apart(took_s: float, least_s: float) -> None:
    """Where a tick takes long the next leaves the host three times as long to itself, up to the calm pace."""
    assert bearable_s(took_s, CALM_HOST_S) == pytest.approx(least_s)
    assert bearable_s(took_s, 0.05) == 0.05


def test_signals_are_those_of_the_file() -> None:
    """The platform's memory hurries also where the host's own is off."""
    paced = Paced(
        ThresholdsConfig(memory="off", platform_memory=marks(soft_for=10.0)),
        {"host": HostConfig(memory=1000 * MIB)},  # type: ignore[arg-type]
        memory=0.3,
    )
    paced.world.mib.update({"core-1": 890, "extra-1": 0})
    paced.settle()
    assert paced.world.assessment.signal(Signal.MEMORY) is None
    assert paced.pace.host_s == pytest.approx(0.1)
