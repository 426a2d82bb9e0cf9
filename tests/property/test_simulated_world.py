"""What holds of the simulated host whatever its services do and whoever stops and starts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.clock import VirtualClock
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine, SimulatedHost
from guardian.engine.simulated.behaviour import Shape, burst, leak, ramp, ramp_to, spike, steady
from guardian.engine.simulated.scenario import MIB, Health, Host, HostStep, Limits, Service, Step, Stop

SCOPE = Scope(("openpolicy",))
NAMES = ("a", "b", "c", "d")
HOST_BYTES = 1024 * MIB

times = st.integers(0, 240).map(lambda tenths: tenths / 4)


def shapes(amounts: st.SearchStrategy[float], rates: st.SearchStrategy[float]) -> st.SearchStrategy[Shape]:
    return st.one_of(
        amounts.map(steady),
        st.builds(ramp, amounts, rates),
        st.builds(ramp_to, amounts, rates),
        rates.map(leak),
        st.builds(spike, amounts, times),
        st.builds(
            lambda amount, on_s, off_s: burst(amount, on_s, on_s + off_s), amounts, *[st.sampled_from((1.0, 2.5, 7.0))] * 2
        ),
    )


sizes = st.integers(0, 600).map(lambda mib: float(mib * MIB))
memory = shapes(sizes, st.sampled_from((1.0, 8.0, 200.0)).map(lambda mib: mib * MIB))
cpu = shapes(st.sampled_from((0.0, 0.3, 1.0, 4.0)), st.sampled_from((0.1, 1.0)))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    when = draw(st.sampled_from(("at", "after")))
    figures = {"memory": memory, "cache": memory, "cpu": cpu, "healthy": st.booleans(), "exit": st.integers(0, 3)}
    what = draw(st.sampled_from(sorted(figures)))
    return Step(**{when: draw(times), what: draw(figures[what])})


services = st.builds(
    Service,
    memory=st.integers(0, 300).map(lambda mib: mib * MIB),
    cpu=st.sampled_from((0.0, 0.5, 3.0)),
    cache=st.sampled_from((0, 500 * MIB)),
    cache_active=st.sampled_from((0.0, 0.5, 1.0)),
    replicas=st.integers(1, 2),
    limits=st.builds(Limits, memory=st.sampled_from((None, 256 * MIB)), cpus=st.sampled_from((None, 0.5))),
    restart=st.sampled_from(("no", "on-failure", "always", "unless-stopped")),
    health=st.none() | st.just(Health()),
    stop=st.builds(Stop, takes=st.sampled_from((0.0, 0.3, 5.0)), ignores_sigterm=st.booleans()),
    running=st.booleans(),
    starts=st.sampled_from(("well", "well", "refused", "exits")),
    steps=st.lists(steps(), max_size=4).map(tuple),
)
scenarios = st.builds(
    Scenario,
    host=st.builds(
        Host,
        memory=st.just(HOST_BYTES),
        cores=st.integers(1, 4),
        base=st.sampled_from((0, 100 * MIB, 2 * HOST_BYTES)),
        swap=st.sampled_from((0, 256 * MIB)),
        steps=st.lists(st.builds(HostStep, at=times, memory=memory, cpu=cpu), max_size=2).map(tuple),
    ),
    services=st.dictionaries(st.sampled_from(NAMES), services, min_size=1),
)
pauses = st.sampled_from((0.0, 0.05, 0.3, 1.0, 4.0, 15.0))
calls = st.tuples(
    pauses, st.sampled_from(("look", "stop", "kill", "start", "remove", "recreate", "engine", "quota")), st.sampled_from(NAMES)
)
playbooks = st.lists(calls, max_size=20)


def do(engine: SimulatedEngine, what: str, name: str) -> None:
    try:
        ids = engine.ids(name)
    except KeyError:  # not in this scenario, or removed
        return
    simple: dict[str, Callable[[str], object]] = {
        "start": engine.external_start,
        "remove": engine.external_remove,
        "recreate": engine.external_recreate,
    }
    if what in simple:
        simple[what](name)
    elif what == "engine":
        engine.restart_engine()
    for id_ in ids:
        if what == "stop":
            engine.begin_stop(id_, 2)
        elif what == "kill":
            engine.begin_stop(id_, 0)
        elif what == "quota":
            engine.set_cpu_quota(id_, 0.2)


def play(scenario: Scenario, playbook: list[tuple[float, str, str]]) -> Iterator[tuple[SimulatedEngine, SimulatedHost]]:
    clock = VirtualClock()
    engine = SimulatedEngine(scenario, clock)
    host = SimulatedHost(engine)
    for pause_s, what, name in playbook:
        clock.advance(pause_s)
        do(engine, what, name)
        yield engine, host


@given(scenarios, playbooks)
@settings(max_examples=100, deadline=None)
def test_every_reading_is_possible(scenario: Scenario, playbook: list[tuple[float, str, str]]) -> None:
    """Every reading is possible: no figure below nothing, none above what there is, and the parts make the whole."""
    used_before: dict[tuple[str, float | None], float] = {}
    for engine, sensor in play(scenario, playbook):
        reading = sensor.read()
        containers = engine.containers(SCOPE)
        stats = engine.stats([one.id for one in containers])
        available = reading.memory_available_bytes or 0
        assert 0 <= available <= HOST_BYTES
        assert 0 <= (reading.swap_used_bytes or 0) <= scenario.host.swap
        for ratio in (reading.cpu_some_avg10_ratio, reading.memory_some_avg10_ratio, reading.memory_full_avg10_ratio):
            assert ratio is not None
            assert 0 <= ratio <= 1
        assert reading.cpu_ratio is None or 0 <= reading.cpu_ratio <= 1
        assert set(stats) == {one.id for one in containers if one.state.value == "running"}
        held = 0
        for one in containers:
            if (raw := stats.get(one.id)) is None:
                continue
            assert 0 <= (raw.footprint_bytes or 0) <= (raw.working_set_bytes or 0)
            assert one.memory_limit_bytes is None or (raw.working_set_bytes or 0) <= one.memory_limit_bytes + 1
            run = (one.id, one.started_s)
            assert (raw.cpu_total_s or 0.0) >= used_before.get(run, 0.0) - 1e-6
            used_before[run] = raw.cpu_total_s or 0.0
            held += raw.footprint_bytes or 0
        assert held + available <= HOST_BYTES + 1


@given(scenarios, playbooks)
@settings(max_examples=100, deadline=None)
def test_the_same_scenario_and_calls_give_the_same_readings(scenario: Scenario, playbook: list[tuple[float, str, str]]) -> None:
    """The same scenario and the same calls give the same readings and events."""

    def record() -> list[object]:
        return [
            (
                host.read(),
                engine.containers(SCOPE),
                engine.stats(tuple(one.id for one in engine.containers(SCOPE))),
                engine.pending_events(),
            )
            for engine, host in play(scenario, playbook)
        ]

    assert record() == record()


@given(scenarios, st.lists(st.integers(1, 160).map(lambda part: part / 16), max_size=25))
@settings(max_examples=100, deadline=None)
def test_looking_more_often_changes_nothing(scenario: Scenario, looks: list[float]) -> None:
    """Looking more often changes nothing: one long step leads to where many short ones do."""
    clocks = VirtualClock(), VirtualClock()
    often, once = (SimulatedEngine(scenario, clock) for clock in clocks)
    for pause_s in looks:
        clocks[0].advance(pause_s)
        often.read_host()
    clocks[1].advance(clocks[0].monotonic() - clocks[1].monotonic())
    first, second = often.read_host()[0], once.read_host()[0]
    assert abs((first.memory_available_bytes or 0) - (second.memory_available_bytes or 0)) <= 4096
    assert abs((first.memory_some_avg10_ratio or 0) - (second.memory_some_avg10_ratio or 0)) < 1e-6
    assert abs((first.cpu_some_avg10_ratio or 0) - (second.cpu_some_avg10_ratio or 0)) < 1e-6
    assert often.containers(SCOPE) == once.containers(SCOPE)
    assert [one.name for one in often.oom_kills] == [one.name for one in once.oom_kills]


@given(scenarios, playbooks, st.sampled_from(NAMES))
@settings(max_examples=100, deadline=None)
def test_stopping_never_leaves_less_available(scenario: Scenario, playbook: list[tuple[float, str, str]], name: str) -> None:
    """Stopping a container never leaves less available, and without swap it gives back what it held."""
    engine = None
    for engine, _ in play(scenario, playbook):  # noqa: B007
        pass
    if engine is None or name not in scenario.services:
        return
    before = engine.read_host()[0]
    ids = tuple(one.id for one in engine.containers(SCOPE) if one.service.name == name)
    held = sum(raw.footprint_bytes or 0 for raw in engine.stats(ids).values())
    full = before.memory_available_bytes == 0
    for id_ in ids:
        engine.external_remove(id_)
    gained = (engine.read_host()[0].memory_available_bytes or 0) - (before.memory_available_bytes or 0)
    assert gained >= 0
    assert full or abs(gained - held) <= 4
