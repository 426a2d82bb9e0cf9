"""From a sample to the levels of all signals and of the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from msgspec import structs
from support.policy import AT_ONCE, CORES, MIB, TOTAL, World, a_config, an_entry, key, marks

from guardian.config.schema import HostConfig, SheddingConfig, ThresholdsConfig
from guardian.model import Assessment, ContainerState, Health, Level, ServiceState, Signal, Strain
from guardian.policy.assess import assess
from guardian.policy.platform import EMPTY
from guardian.policy.state import Memo

OK, SOFT, HARD = Level.OK, Level.SOFT, Level.HARD


def a_world(thresholds: ThresholdsConfig = AT_ONCE, **host: Any) -> World:
    """Two services in two phases; figures of the host by name."""
    world = World(a_config(("core",), ("extra",), thresholds=thresholds), **host)
    return world.add("core").add("extra")


def level_of(assessment: Assessment, signal: Signal) -> Level:
    status = assessment.signal(signal)
    assert status is not None
    return status.level


def assessed(world: World, **options: Any) -> Assessment:
    """One assessment a second later, without a decision."""
    world.now_s += 1.0
    assessment, world.state = assess(
        world.host,
        world.platform,
        tuple(world.entries.values()),
        frozenset(),
        world.state,
        world.config,
        world.now_s,
        **options,
    )
    return assessment


def test_swap_that_was_turned_off_presses_no_more() -> None:
    """Swap that was turned off presses no more."""
    world = a_world(memory=0.75, swap=0.9)
    assert assessed(world).level is SOFT
    world.swap, world.swap_total_bytes = None, 0
    after = assessed(world)
    assert (after.level, level_of(after, Signal.SWAP)) == (OK, OK)


def test_a_signal_that_has_left_the_configuration_presses_no_more() -> None:
    """A signal that has left the configuration presses no more."""
    world = a_world()
    world.config = structs.replace(world.config, host=HostConfig(memory=150 * MIB))  # type: ignore[arg-type]
    assert assessed(world).level is HARD
    world.config = structs.replace(world.config, host=HostConfig())
    assert assessed(world).level is OK


# --- the host's level -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "level"),
    [
        ({"memory": 0.5, "cpu": 0.5}, OK),
        ({"memory": 0.85}, SOFT),
        ({"memory": 0.95}, HARD),
        ({"cpu": 0.85}, SOFT),
        ({"cpu": 0.95}, HARD),
        ({"memory": 0.85, "cpu": 0.95}, HARD),
        ({"memory": None, "cpu": None}, OK),
        ({"memory": 0.5, "disk": 0.99}, OK),  # stopping services frees no disk
        ({"memory": 0.75, "swap": 0.7}, SOFT),
        ({"memory": 0.75, "memory_pressure": 0.3}, SOFT),
        ({"memory": 0.75, "memory_pressure": 1.0, "swap": 1.0}, SOFT),  # never hard
        ({"memory": 0.69, "memory_pressure": 1.0, "swap": 1.0}, OK),  # one container thrashing against its own limit
        ({"memory": None, "memory_pressure": 1.0}, OK),
        ({"memory": 0.75, "swap": None}, OK),  # no swap
    ],
)
def test_the_host_is_as_bad_as_its_worst_shedding_signal(figures: dict[str, float | None], level: Level) -> None:
    """The host is as bad as its worst shedding signal; support makes it soft while memory is at or above recover."""
    assert assessed(a_world(**figures)).level is level


@pytest.mark.parametrize(("disk", "level"), [(0.8, OK), (0.9, SOFT), (0.96, HARD), (None, OK)])
def test_the_disk_has_a_level_of_its_own(disk: float | None, level: Level) -> None:
    """The disk has a level of its own, which is not the host's."""
    assessment = assessed(a_world(disk=disk))
    assert (assessment.disk_level, assessment.level) == (level, OK)


def test_a_signal_that_is_off_is_not_there() -> None:
    """A signal that is off is not there, whatever its reading."""
    world = a_world(ThresholdsConfig(memory="off", cpu=marks()), memory=0.99)
    assessment = assessed(world)
    assert (assessment.signal(Signal.MEMORY), assessment.level) == (None, OK)


def test_support_counts_for_nothing_where_memory_is_off() -> None:
    """Support counts for nothing where memory is off."""
    world = a_world(ThresholdsConfig(memory="off", memory_pressure=AT_ONCE.memory_pressure), memory=0.99, memory_pressure=1.0)
    assert assessed(world).level is OK


def test_a_stale_reading_of_the_host_is_unknown() -> None:
    """A stale reading of the host is unknown: it neither raises nor lowers a level."""
    world = a_world(memory=0.95)
    world.reading_s = world.now_s - 10.0
    assert assessed(world).level is OK
    world.reading_s = None
    assert assessed(world).level is HARD
    world.reading_s, world.memory = world.now_s - 10.0, 0.1
    assert assessed(world).level is HARD


def test_no_reading_of_the_host_changes_no_level() -> None:
    """No reading of the host at all changes no level."""
    world = a_world(memory=0.85)
    assert assessed(world).level is SOFT
    for _ in range(100):
        world.now_s += 1.0
        assessment, world.state = assess(None, world.platform, (), frozenset(), world.state, world.config, world.now_s)
        assert assessment.level is SOFT


# --- time -----------------------------------------------------------------------------------------------------------

SLOW = ThresholdsConfig(memory=marks(soft_for=10, recover_for=60))


@pytest.mark.parametrize(("late_s", "ticks"), [(1.0, 10), (2.0, 5), (3.0, 4), (60.0, 4), (0.5, 20)])
def test_a_late_tick_adds_at_most_three_intervals_to_a_timer(late_s: float, ticks: int) -> None:
    """A late tick adds at most three intervals to a running timer, so that a thrashing host still fills it."""
    world = a_world(SLOW, memory=0.85)
    assessed(world)
    for number in range(1, ticks + 1):
        world.now_s += late_s - 1.0
        assert assessed(world).level is (SOFT if number == ticks else OK)


def test_a_late_tick_is_measured_by_the_present_pace() -> None:
    """What counts as late is measured by the present pace."""
    world = a_world(SLOW, memory=0.85)
    assessed(world)
    world.now_s += 59.0
    assert assessed(world, interval_s=4.0).level is SOFT  # 12 s of it count


def test_only_a_suspend_clears_the_timers() -> None:
    """Only a suspend clears the timers, and those of filling memory too."""
    world = a_world(SLOW, memory=0.85)
    for _ in range(10):
        assessed(world)
    assert assessed(world, suspended=True).level is OK
    assert len(world.state.memory_readings) == 1
    assert [assessed(world).level for _ in range(10)][-2:] == [OK, SOFT]


# --- filling up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "step", "level"),
    [
        (0.60, 0.04, HARD),  # at 0.72 full is 7 s away
        (0.50, 0.04, OK),  # below recover
        (0.70, 0.01, OK),  # 27 s away
        (0.60, 0.0, OK),
    ],
)
def test_memory_that_will_be_full_within_the_horizon_is_hard_at_once(first: float, step: float, level: Level) -> None:
    """Memory at or above recover that will be full within the horizon is hard at once."""
    world = a_world()
    for number in range(4):
        world.memory = first + number * step
        assessment = assessed(world)
    assert level_of(assessment, Signal.MEMORY) is level


def test_the_horizon_is_that_of_the_file() -> None:
    """The horizon is that of the file."""
    world = a_world()
    world.config = a_config(("core",), ("extra",), thresholds=AT_ONCE, shedding=SheddingConfig(horizon=5.0))  # type: ignore[arg-type]
    for number in range(4):
        world.memory = 0.60 + number * 0.04
        assessment = assessed(world)
    assert assessment.full_in_s == pytest.approx(7.0, rel=0.01)
    assert assessment.fill_bytes_per_s == pytest.approx(0.04 * TOTAL, rel=0.01)
    assert assessment.level is OK


def test_a_start_that_was_admitted_is_no_filling_host() -> None:
    """What a restored service was admitted to take fills no host, below soft; more than that does."""
    world = a_world()
    admitted = Memo(
        probation_until_s=world.now_s + 100, base_bytes={Signal.MEMORY: 0.6 * TOTAL}, restored_bytes=int(0.14 * TOTAL)
    )
    world.state = replace(world.state, memos={key("extra"): admitted})
    levels = []
    for number in range(5):
        world.memory = 0.60 + number * 0.04
        levels.append(assessed(world).level)
    assert levels == [OK, OK, OK, OK, HARD]


# --- CPU ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "cores", "level"),
    [
        (30, 2.0, OK),  # 0.95 - 2/4
        (30, 0.1, HARD),  # 0.95 - 0.1/4
        (500, 2.0, HARD),
        (30, None, OK),  # nobody knows how much of it is start-up
    ],
)
def test_containers_that_start_up_do_not_raise_the_cpu_level_alone(age_s: float, cores: float | None, level: Level) -> None:
    """Containers younger than startup_grace do not raise the level of CPU alone."""
    world = a_world(cpu=0.95)
    world.add("extra", cores=cores, started_s=world.now_s - age_s)
    assessment = assessed(world)
    assert level_of(assessment, Signal.CPU) is level
    assert assessment.signal(Signal.CPU).value == 0.95  # type: ignore[union-attr]


def test_without_a_list_of_containers_cpu_raises_nothing() -> None:
    """Without a list of containers nobody knows what starts up, so CPU raises nothing."""
    world = a_world(cpu=0.95)
    assessment, _ = assess(world.host, EMPTY, (), frozenset(), world.state, world.config, world.now_s)
    assert level_of(assessment, Signal.CPU) is OK


# --- what the platform may use --------------------------------------------------------------------------------------


def capped(memory: int | None = 1000 * MIB, cpu: float | None = 2.0) -> World:
    """A platform that may use 1000 MiB and two cores of its host, in two services of 400 MiB and 0.5 cores each."""
    config = a_config(("core",), ("extra",), thresholds=AT_ONCE, host=HostConfig(memory=memory, cpu=cpu))  # type: ignore[arg-type]
    return World(config).add("core", 400, 0.5).add("extra", 400, 0.5)


def test_platform_signals_are_there_only_where_the_file_sets_a_capacity() -> None:
    """Platform signals are there only where the file sets a capacity."""
    assert assessed(a_world()).signal(Signal.PLATFORM_MEMORY) is None
    assert assessed(capped(cpu=None)).signal(Signal.PLATFORM_CPU) is None
    assert assessed(capped(memory=None)).signal(Signal.PLATFORM_MEMORY) is None


def test_platform_signals_are_the_sum_of_managed_use_over_the_capacity() -> None:
    """Platform signals are the sum of managed footprints, or cores, over the capacity; strangers do not count."""
    assessment = assessed(capped().add("stranger", 9999, 9.0))
    memory, cpu = assessment.signal(Signal.PLATFORM_MEMORY), assessment.signal(Signal.PLATFORM_CPU)
    assert memory is not None
    assert cpu is not None
    assert (memory.value, memory.level, memory.capacity) == (pytest.approx(0.8), SOFT, 1000 * MIB)
    assert (cpu.value, cpu.level, cpu.capacity) == (pytest.approx(0.5), OK, 2.0)
    assert assessment.unmanaged == ("openpolicy-stranger-1",)


@pytest.mark.parametrize(("core_mib", "level", "floor"), [(400, OK, 0.4), (810, SOFT, 0.81), (950, HARD, 0.95)])
def test_a_platform_signal_with_an_unknown_container_is_raised_only_by_what_is_known(
    core_mib: float, level: Level, floor: float
) -> None:
    """A platform signal with an unknown container is unknown; only what is known for sure raises it."""
    world = capped()
    world.mib |= {"core-1": core_mib, "extra-1": None}
    status = assessed(world).signal(Signal.PLATFORM_MEMORY)
    assert status is not None
    assert (status.value, status.level, status.floor) == (None, level, pytest.approx(floor))


def test_a_platform_signal_with_an_unknown_container_never_recovers() -> None:
    """A platform signal with an unknown container never recovers."""
    world = capped()
    assert assessed(world).level is SOFT
    world.mib |= {"core-1": 100, "extra-1": None}
    assert [assessed(world).level for _ in range(20)][-1] is SOFT
    world.mib["extra-1"] = 100
    assert assessed(world).level is OK


@pytest.mark.parametrize(("age_s", "known"), [(0.0, True), (3.0, True), (4.0, False)])
def test_a_reading_of_more_than_two_rounds_ago_is_unknown(age_s: float, known: bool) -> None:
    """A container's reading of more than two rounds ago (and a little slack) is unknown."""
    world = capped()
    platform = world.platform
    usage = {one: read._replace(at_s=world.now_s - age_s) for one, read in platform.usage.items()}
    assessment, _ = assess(world.host, replace(platform, usage=usage), (), frozenset(), world.state, world.config, world.now_s)
    assert (assessment.signal(Signal.PLATFORM_MEMORY).value is not None) is known  # type: ignore[union-attr]


def test_a_platform_that_was_never_listed_is_unknown() -> None:
    """A platform that was never listed is unknown, not empty."""
    world = capped()
    assessment, _ = assess(world.host, EMPTY, (), frozenset(), world.state, world.config, world.now_s)
    assert [assessment.signal(signal).value for signal in (Signal.PLATFORM_MEMORY, Signal.PLATFORM_CPU)] == [None, None]  # type: ignore[union-attr]


def test_a_container_that_waits_for_its_restart_holds_nothing() -> None:
    """A container that waits for its restart by the engine holds nothing, and makes nothing unknown."""
    world = capped()
    world.set_state("extra", ContainerState.RESTARTING)
    world.mib["extra-1"] = None
    assert assessed(world).signal(Signal.PLATFORM_MEMORY).value == pytest.approx(0.4)  # type: ignore[union-attr]


def test_start_up_does_not_raise_the_platforms_cpu_alone() -> None:
    """Start-up does not raise the platform's CPU alone either."""
    world = capped()
    world.add("extra", 100, 1.9, started_s=world.now_s)
    assert level_of(assessed(world), Signal.PLATFORM_CPU) is OK
    world.add("extra", 100, 1.9, started_s=0.0)
    assert level_of(assessed(world), Signal.PLATFORM_CPU) is HARD


# --- what people see ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "health", "shed", "quarantined", "state"),
    [
        (ContainerState.RUNNING, Health.NONE, False, False, ServiceState.RUNNING),
        (ContainerState.RUNNING, Health.STARTING, False, False, ServiceState.RUNNING),
        (ContainerState.RUNNING, Health.UNHEALTHY, False, False, ServiceState.UNHEALTHY),
        (ContainerState.EXITED, Health.NONE, False, False, ServiceState.STOPPED),
        (ContainerState.EXITED, Health.NONE, True, False, ServiceState.SHED),
        (ContainerState.EXITED, Health.NONE, True, True, ServiceState.QUARANTINED),
        (None, Health.NONE, False, False, ServiceState.MISSING),
        ("completed", Health.NONE, False, False, ServiceState.COMPLETED),
        ("completed", Health.NONE, True, False, ServiceState.SHED),
    ],
)
def test_a_services_state_says_who_stopped_it(
    container: ContainerState | Literal["completed"] | None, health: Health, shed: bool, quarantined: bool, state: ServiceState
) -> None:
    """A service's state says whether it runs, and who stopped it."""
    world = a_world()
    if container is None:
        del world.containers["extra-1"]
    elif container == "completed":
        world.complete("extra")
    else:
        world.set_state("extra", container)
        world.set_health("extra", health)
    if shed:
        world.entries[key("extra")] = an_entry("extra", 2)
    world.state = replace(world.state, memos={key("extra"): Memo(quarantined=quarantined)})
    status = assessed(world).service(key("extra"))
    assert status is not None
    assert status.state is state


def test_uses_are_summed_over_replicas_and_unknown_where_one_is() -> None:
    """Uses are summed over replicas, and unknown where that of one is."""
    world = World(a_config(("core",), thresholds=AT_ONCE)).add("core", 100, 0.25, replicas=3)
    status = assessed(world).service(key("core"))
    assert status is not None
    assert (status.running, status.footprint_bytes, status.cpu_cores) == (3, 300 * MIB, 0.75)
    world.mib["core-2"] = None
    status = assessed(world).service(key("core"))
    assert status is not None
    assert (status.footprint_bytes, status.working_set_bytes, status.cpu_cores) == (None, None, 0.75)


def test_the_strain_of_replicas_is_what_is_known_of_all_and_the_worst_pressure() -> None:
    """Counts of replicas add up as far as they are known, pressure is that of the worst; unknown stays unknown."""
    world = World(a_config(("web",)))
    world.add("web", replicas=2)
    platform = world.platform
    strains = (Strain(1, None, 60, 6, 0.25, None, 0.5), Strain(None, 4, 40, 1, 0.125, None, 0.75))
    usage = {
        id_: read._replace(strain=strain) for (id_, read), strain in zip(sorted(platform.usage.items()), strains, strict=True)
    }
    assessment, _ = assess(world.host, replace(platform, usage=usage), (), frozenset(), world.state, world.config, world.now_s)
    (web,) = assessment.services
    assert web.strain == Strain(1, 4, 100, 7, 0.25, None, 0.75)


def test_the_signals_capacity_is_what_ratio_one_means() -> None:
    """A signal's capacity is what a ratio of one means: bytes, cores, or nothing for pressure."""
    assessment = assessed(a_world(memory_pressure=0.1, swap=0.1))
    assert {status.signal: status.capacity for status in assessment.signals if status.value is not None} == {
        Signal.MEMORY: TOTAL,
        Signal.CPU: float(CORES),
        Signal.SWAP: TOTAL,
        Signal.MEMORY_PRESSURE: None,
    }
