"""Roll-outs on the simulated engine: what they promise on any platform, at any crash, and under any pressure."""

from __future__ import annotations

import random
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rollouts import VirtualRollOut, composed
from support.virtual_host import MIB, Phase, VirtualHost, a_config

from guardian.compose.model import Condition, Dependency
from guardian.config.schema import Config, Resources, RestoringConfig, ServiceConfig
from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import Health, Host, HostStep, Scenario, Service, Step
from guardian.model import ActionKind
from guardian.rollout.progress import Stage
from guardian.rollout.steps import EventKind

SOFT, SOFT_CPU = 0.80, 0.85
QUICK = RestoringConfig(stable_for=1.0, probation=20.0)  # type: ignore[arg-type]


def a_platform(rng: random.Random, state_dir: str) -> tuple[Scenario, Config]:
    """Up to ten services of up to 900 MiB and half a core in up to three phases, with limits that they keep; some fill slowly."""
    services, limits = {}, {}
    phases: list[list[str]] = [[] for _ in range(rng.randint(1, 3))]
    for number in range(rng.randint(3, 10)):
        name, size = f"s{number}", rng.randint(5, 900) * MIB
        rng.choice(phases).append(name)
        steps = () if rng.random() < 0.25 else (Step(after=0.1, memory=ramp_to(size, rng.choice((8, 20, 200)) * MIB)),)
        cores = rng.choice((0.01, 0.1, 0.5))
        services[name] = Service(
            memory=size if not steps else size // 10,
            cpu=cores,
            running=rng.random() < 0.2,
            health=rng.choice((None, Health(healthy_after=2))),
            steps=steps,
        )
        limits[name] = ServiceConfig(limits=Resources(memory=size, cpus=cores))  # type: ignore[arg-type]
    load = tuple(
        HostStep(at=float(at), memory=steady(rng.choice((0, 0, rng.randint(0, 1600))) * MIB))
        for at in sorted(rng.sample(range(200), rng.randint(0, 4)))
    )
    scenario = Scenario(host=Host(memory=4096 * MIB, base=300 * MIB, steps=load), services=services)
    restoring = RestoringConfig(stable_for=1.0, probation=150.0)  # type: ignore[arg-type]  # longer than the slowest fills
    config = a_config(*(tuple(each) for each in phases), services=limits, restoring=restoring, state_dir=state_dir)
    return scenario, config


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_its_own_starts_never_take_the_host_past_soft(seed: int) -> None:
    """Whatever presses from outside: at each start, all that was started so far would fit below soft, fully grown."""
    with tempfile.TemporaryDirectory() as folder:
        one = VirtualRollOut(*a_platform(random.Random(seed), folder), on_act=all_fits)
        one.run(3, wait_s=60, soak_s=1)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_beside_the_daemon_its_own_starts_never_take_the_host_past_soft(seed: int) -> None:
    """The same where a guardian admits each start; and where nothing else grows, nothing is shed at all."""
    with tempfile.TemporaryDirectory() as folder:
        scenario, config = a_platform(random.Random(seed), folder)
        host = VirtualHost(scenario, config, interval_s=0.5, round_s=0.5)
        host.run(15)  # by then the host's CPU is known
        one = VirtualRollOut(scenario, config, host=host, on_act=all_fits)
        one.run(3, wait_s=60, soak_s=1)
        if not scenario.host.steps and not any(each.running and each.steps for each in scenario.services.values()):
            host.run(200)
            assert host.stops() == []


def all_fits(one: VirtualRollOut) -> None:
    """What is in use now and what all that it has started will grow to lie below soft, of memory and of CPU."""
    one.engine.poll()
    world, total = one.engine._world, one.scenario.host.memory
    held = {cell.service.name: world.stats(cell).footprint_bytes for cell in world.cells.values() if cell.runs}
    started = {action.service.name for action in one.actions if action.kind is ActionKind.RESTORE}
    growing = sum((one.config.services[name].limits.memory or 0) - (held.get(name) or 0) for name in started)
    assert total - world.available_bytes() + growing < SOFT * total
    busy = sum(cell.spec.cpu for cell in world.cells.values() if cell.runs and cell.service.name not in started)
    assert busy + sum(one.config.services[name].limits.cpus or 0 for name in started) < SOFT_CPU * one.scenario.host.cores


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_crash_at_any_step_is_gone_on_from(seed: int, crash_at: int) -> None:
    """Killed at any save and any action, and resumed, a roll-out ends where it would have without."""
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(rng.randint(2, 5))]
    services = {
        name: Service(memory=20 * MIB, running=rng.random() < 0.4, health=rng.choice((None, Health(healthy_after=1))))
        for name in names
    }
    project = composed(
        **{
            name: tuple(Dependency(other, rng.choice((Condition.STARTED, Condition.HEALTHY))) for other in rng.sample(names[:at], rng.randint(0, at)))
            for at, name in enumerate(names)
        }
    )  # fmt: skip
    phases: list[list[str]] = [[], []]
    for name in names:
        rng.choice(phases).append(name)
    with tempfile.TemporaryDirectory() as folder:
        config = a_config(*(Phase(tuple(each)) for each in phases), restoring=QUICK, state_dir=folder)
        one = VirtualRollOut(Scenario(services=services), config, project=project)
        down, from_zero = rng.random() < 0.25, rng.random() < 0.5
        goal = rng.randint(0 if down else 1, 2)
        ended = one.run_through_crash(crash_at, goal, down=down, from_zero=from_zero and not down, soak_s=1)
        assert ended.stage is Stage.DONE, ended
        if down:
            phase_of = {member.key.name: member.phase for phase in one.plan.phases for member in phase.members}
            assert one.running() <= {name for name in names if phase_of[name] <= goal}
        else:
            assert one.running() >= {name for name in names if name in phases[0] or goal == 2}


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_what_it_stops_is_managed_and_not_protected(seed: int) -> None:
    """From zero, containers of other projects, unlisted services and what is under protect stay as they are."""
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(rng.randint(2, 8))]
    foreign = {name for name in names if rng.random() < 0.2}
    unlisted = {name for name in names if rng.random() < 0.2}
    protected = {name for name in names if rng.random() < 0.2}
    services = {name: Service(memory=20 * MIB, project="other" if name in foreign else None) for name in names}
    listed = [name for name in names if name not in unlisted]
    with tempfile.TemporaryDirectory() as folder:
        config = a_config(
            Phase(tuple(listed[::2]), protected=True),
            Phase(tuple(listed[1::2])),
            services={name: ServiceConfig(protect=True) for name in protected if name in listed},
            restoring=QUICK,
            state_dir=folder,
        )
        one = VirtualRollOut(Scenario(services=services), config)
        one.run(0, down=True)
        touched = {action.service.name for action in one.actions}
        assert touched == set(listed) - foreign - protected
        assert {event.service.partition("/")[2] for event in one.told(EventKind.KEPT)} == protected & set(listed) - foreign
