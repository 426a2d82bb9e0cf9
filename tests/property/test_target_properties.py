"""`target_phase`, on any platform: what it stops, what it never touches, and that it fights nobody."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_platforms import Facts, decide_once, platforms, shed_names, without_id
from support.virtual_host import MIB, Phase, VirtualHost, a_config

from guardian.config.schema import RestoringConfig, ThresholdsConfig
from guardian.engine.simulated.behaviour import steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service
from guardian.model import TARGET_PHASE, ActionKind

calm = platforms(memory=st.floats(0.1, 0.69))
pressed = platforms(memory=st.floats(0.8, 1.0))
targets = st.integers(0, 5)


@given(calm, targets)
@settings(max_examples=500)
def test_it_stops_one_group_above_the_target_and_nothing_that_must_not_be_touched(facts: Facts, target: int) -> None:
    """Without pressure, what is stopped is above the target, may be touched, was not just started by somebody, and is one service with what requires it."""
    if facts.cpu is None or facts.cpu >= 0.8:
        return
    names = shed_names(decide_once(facts, target=target))
    for name in names:
        spec = facts.by_name[name]
        assert facts.phase(spec) > target
        assert facts.untouchable(spec) == ""
        assert not spec.overridden
    if names:
        assert set(names) == facts.group(facts.by_name[names[-1]])


@given(calm, targets)
@settings(max_examples=500)
def test_it_stops_something_while_anything_above_the_target_may_be_stopped(facts: Facts, target: int) -> None:
    """As long as a service above the target runs that may be touched, one is stopped: of the highest phase that has one."""
    if facts.cpu is None or facts.cpu >= 0.8:
        return
    able = [
        spec
        for spec in facts.managed
        if facts.phase(spec) > target
        and not facts.untouchable(spec)
        and not any(facts.by_name[name].overridden for name in facts.group(spec))
    ]
    names = shed_names(decide_once(facts, target=target))
    assert bool(names) == bool(able)
    if able:
        assert facts.phase(facts.by_name[names[-1]]) == max(facts.phase(spec) for spec in able)


@given(pressed, targets)
@settings(max_examples=300)
def test_under_pressure_the_decision_is_the_same_as_without(facts: Facts, target: int) -> None:
    """It never fights a shed: while memory asks for one, victims are those that they would be without a target."""
    assert [without_id(one) for one in decide_once(facts, target=target).actions] == [
        without_id(one) for one in decide_once(facts).actions
    ]


@given(st.integers(0, 2**32))
@settings(max_examples=8)
def test_through_pressure_and_crashes_nothing_above_the_target_is_ever_started(seed: int) -> None:
    """Over minutes with pressure and crashes: guardian starts nothing above the target, all of it ends up down, and phase 1, which is protected, stays up."""
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(6)]
    services = {name: Service(memory=rng.randint(20, 200) * MIB) for name in names}
    load = tuple(
        HostStep(at=float(at), memory=steady(rng.choice((0, 3200)) * MIB)) for at in sorted(rng.sample(range(20, 200), 3))
    )
    phases = [names[:2], names[2:4], names[4:]]
    config = a_config(
        *(Phase(tuple(each), protected=number == 0) for number, each in enumerate(phases)),
        target_phase=rng.randint(0, 3),
        thresholds=ThresholdsConfig(cpu="off"),
        restoring=RestoringConfig(probation=5.0),  # type: ignore[arg-type]
    )
    host = VirtualHost(Scenario(host=Host(memory=4096 * MIB, base=300 * MIB, steps=load), services=services), config)
    phase_of = {name: number for number, each in enumerate(phases, start=1) for name in each}
    for _ in range(4):
        host.run_through_crash(60, rng.randint(1, 200))
    target = config.target_phase or 0
    assert [name for name in host.starts() if phase_of[name] > target] == []
    assert [name for name in host.stops() if phase_of[name] == 1] == []
    assert all(host.up(name) for name in phases[0])
    for name in names:
        if phase_of[name] > max(target, 1):
            assert not host.up(name)
    stopped = [
        action.service.name for action in host.actions if action.kind is ActionKind.SHED and action.reason == TARGET_PHASE
    ]
    assert all(phase_of[name] > target for name in stopped)
