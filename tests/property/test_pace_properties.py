"""What holds of the pace whatever is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.policy import MIB, World, a_config

from guardian.config.schema import Config, HostConfig, SamplingConfig
from guardian.model import Inventory
from guardian.policy.pace import SHORTEST_S, Pace, at_start, follow, use_age_s

RATIOS = st.floats(0.0, 1.0)


def configs() -> st.SearchStrategy[Config]:
    """Paces from 50 ms to a minute, with a capacity of the platform's own and without."""
    return st.builds(
        lambda host_s, containers_s, capacity: a_config(
            ("core",),
            ("extra",),
            sampling=SamplingConfig(host=host_s, containers=containers_s),  # type: ignore[arg-type]
            host=HostConfig(memory=capacity),  # type: ignore[arg-type]
        ),
        st.floats(0.05, 60.0),
        st.floats(0.05, 60.0),
        st.none() | st.just(1000 * MIB),
    )


def paces(config: Config, readings: list[float | None], footprints: list[int | None], gaps_s: list[float]) -> list[Pace]:
    """One pace after each reading of the host's memory, on a world that nobody acts on."""
    world = World(config).add("core").add("extra")
    pace, found = at_start(config, world.now_s), []
    for memory, footprint, gap_s in zip(readings, footprints, gaps_s, strict=False):
        world.memory = memory
        world.mib["core-1"] = footprint
        world.tick(gap_s)
        pace = follow(pace, world.assessment, world.host, world.state, bool(world.entries), config, world.now_s)
        listed = Inventory(world.now_s, (), round_s=2.0)
        age_s = use_age_s(pace, world.assessment, listed, world.state, bool(world.entries), world.host, config)
        assert age_s in (0.0, min(2.0, config.sampling.containers))
        found.append(pace)
    return found


@given(
    configs(),
    st.lists(st.none() | RATIOS, min_size=1, max_size=12),
    st.lists(st.none() | st.integers(0, 1200), min_size=12, max_size=12),
    st.lists(st.floats(0.0, 30.0), min_size=12, max_size=12),
)
def test_the_pace_keeps_within_what_the_file_and_the_host_can_bear(
    config: Config, readings: list[float | None], footprints: list[int | None], gaps_s: list[float]
) -> None:
    """Whatever is read, the pace is never above the file's, and never below a tenth of a second unless the file's is."""
    for pace in paces(config, readings, footprints, gaps_s):
        assert min(SHORTEST_S, config.sampling.host) <= pace.host_s <= config.sampling.host
        assert pace.host_s <= pace.next_s <= min(config.sampling.host, max(pace.host_s, 0.22))
        assert min(1.0, config.sampling.containers) <= pace.containers_s <= config.sampling.containers


@given(configs(), st.integers(1, 10))
def test_nothing_known_hurries_nothing(config: Config, ticks: int) -> None:
    """Where neither the host's memory nor the containers' can be read, the pace is the file's."""
    for pace in paces(config, [None] * ticks, [None] * ticks, [1.0] * ticks):
        assert pace.host_s == config.sampling.host


@given(st.floats(0.0, 0.899), st.floats(0.0, 0.899))
def test_less_headroom_is_never_slower(one: float, other: float) -> None:
    """Of two hosts at rest below the hard mark, the one with less room left is read at least as soon."""
    config = a_config(("core",), ("extra",))
    more, less = (paces(config, [ratio], [0], [1.0])[0] for ratio in sorted((one, other)))
    assert less.host_s <= more.host_s


@given(st.floats(0.0, 0.699), st.floats(0.0, 0.02))
def test_a_host_in_use_but_at_rest_is_calm(ratio: float, noise: float) -> None:
    """Below recover, memory that only goes up and down a little is read at the file's pace."""
    config = a_config(("core",), ("extra",))
    readings = [max(0.0, ratio - noise * (number % 2)) for number in range(12)]
    assert all(pace.host_s == 1.0 for pace in paces(config, list(readings), [0] * 12, [1.0] * 12))
