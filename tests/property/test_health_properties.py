"""What holds for restarts whatever happens: who may be restarted, how often, and what never stands beside one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.policy import AT_ONCE, Phase, World, a_config, key

from guardian.config.schema import HealthConfig, ServiceConfig
from guardian.ledger.entries import Controls
from guardian.model import Action, ActionKind, ContainerState, Health, Level, Mode, Result
from guardian.policy.health import FIRST_PAUSE_S, HOUR_S

NAMES = ("a", "b", "c", "d")

configs = st.builds(
    lambda restart, per_hour, protect: ServiceConfig(
        health=HealthConfig(restart=restart, restarts_per_hour=per_hour, tcp="127.0.0.1:1"), protect=protect
    ),
    st.sampled_from((True, True, True, False)),
    st.integers(1, 4),
    st.sampled_from((None, None, None, True)),
)
events = st.lists(
    st.tuples(
        st.sampled_from(("health", "state", "memory", "standby", "hold", "pin", "end", "fail", "wait", "wait")),
        st.sampled_from(NAMES),
        st.integers(0, 3),
    ),
    min_size=10,
    max_size=40,
)
HEALTHS = (Health.UNHEALTHY, Health.HEALTHY, Health.STARTING, Health.UNHEALTHY)
STATES = (ContainerState.RUNNING, ContainerState.EXITED, ContainerState.RUNNING, ContainerState.PAUSED)


def happen(world: World, what: str, name: str, number: int, under_way: list[Action]) -> None:
    if what == "health":
        world.set_health(name, HEALTHS[number])
    elif what == "state":
        world.set_state(name, STATES[number])
    elif what == "memory":
        world.memory = (0.5, 0.5, 0.85, 0.95)[number]
    elif what == "standby":
        world.standby = number == 0
    elif what == "hold":
        world.controls = replace(world.controls, hold="ada" if number == 0 else "")
    elif what == "pin":
        world.controls = Controls(world.controls.hold, pins=frozenset({key(name)} if number else ()))
    elif what in ("end", "fail") and under_way:
        world.end(under_way.pop(0), Result.DONE if what == "end" else Result.TIMED_OUT)


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, configs)), events, st.booleans())
@settings(max_examples=80)
def test_no_restart_breaks_a_rule(services: dict[str, ServiceConfig], story: list[tuple[str, str, int]], needs: bool) -> None:
    """Whatever happens: only what is unhealthy and may be is restarted, alone, seldom enough, and never against anybody."""
    config = a_config(("a",), ("b", "c"), Phase(("d",), mode=Mode.OBSERVE), thresholds=AT_ONCE, services=services)
    world = World(config)
    for before, name in zip((None, *NAMES), NAMES, strict=False):
        world.add(name, health=Health.UNHEALTHY, depends_on=(before,) if needs and before else ())
    times: dict[str, list[float]] = {}
    under_way: list[Action] = []
    for what, name, number in story:
        happen(world, what, name, number, under_way)
        decision = world.tick(1.0 if what != "wait" else 45.0 * (number + 1))
        made = [action for action in decision.actions if action.kind is ActionKind.RESTART]
        assert not made or len(decision.actions) == 1
        for action in made:
            own, service = services[action.service.name], action.service.name
            assert own.health is not None
            assert own.health.restart
            assert not own.protect
            assert service != "d"
            assert not under_way
            assert not world.standby
            assert not world.controls.hold
            assert action.service not in world.controls.pins
            assert action.service not in world.entries
            assert world.assessment.level is not Level.HARD
            assert all(world.containers[one].health is Health.UNHEALTHY for one in action.containers)
            assert all(world.containers[one].state is ContainerState.RUNNING for one in action.containers)
            if needs and service != "a":
                needed = world.containers[f"{NAMES[NAMES.index(service) - 1]}-1"]
                assert needed.state.up
                assert needed.health is Health.HEALTHY
            recent = [at_s for at_s in times.get(service, ()) if world.now_s - at_s < HOUR_S]
            assert len(recent) < own.health.restarts_per_hour
            assert not recent or world.now_s - recent[-1] >= FIRST_PAUSE_S * 2 ** (len(recent) - 1)
            times.setdefault(service, []).append(world.now_s)
        under_way.extend(action for action in decision.actions if action.kind is not ActionKind.HASTEN)


@given(st.lists(st.sampled_from(HEALTHS), min_size=4, max_size=4), st.booleans())
@settings(max_examples=25)
def test_what_may_be_restarted_is_in_the_end(healths: list[Health], needs: bool) -> None:
    """Where nothing stands against it all that is unhealthy is restarted in the end, if each becomes well by that."""
    restarted = ServiceConfig(health=HealthConfig(restart=True))
    world = World(a_config(NAMES, thresholds=AT_ONCE, services=dict.fromkeys(NAMES, restarted)))
    for before, name, health in zip((None, *NAMES), NAMES, healths, strict=False):
        world.add(name, health=health, depends_on=(before,) if needs and before else ())
    for name, health in zip(NAMES, healths, strict=True):
        if health is Health.STARTING:
            world.set_health(name, Health.HEALTHY)
    for _ in range(20):
        decision = world.tick(5.0)
        for action in decision.actions:
            world.end(action)
        world.tick()
        for action in decision.actions:
            world.set_health(action.service.name, Health.HEALTHY)
    assert {one.health for one in world.containers.values()} == {Health.HEALTHY}
