"""Hosts under a load that they cannot bear, at random; and what must hold of what guardian did on them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from support.virtual_host import MIB, Phase, VirtualHost, a_config

from guardian.config.schema import Config, ServiceConfig
from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import GIB, Health, Host, HostStep, Scenario, Service, Stop
from guardian.model import ActionKind

TROUBLE_S = 60


@dataclass(frozen=True)
class Case:
    """A host whose services fit, and a load from outside that does not, for the first TROUBLE_S."""

    scenario: Scenario
    config: Config
    protected: frozenset[str]
    never_killed: frozenset[str]


def a_case(count: int, phases: int, seed: int, sudden: bool | None = None) -> Case:
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(count)]
    room = 1700 * MIB // count
    services, written, listed = {}, {}, [[] for _ in range(phases)]  # type: ignore[var-annotated]
    for number, name in enumerate(names):
        lower, replicas = names[:number], rng.choice((1, 1, 1, 2))
        services[name] = Service(
            memory=rng.randint(20 * MIB, room) // replicas,
            cpu=rng.choice((0.0, 0.01, 0.1)),
            replicas=replicas,
            depends_on=tuple(rng.sample(lower, min(len(lower), rng.choice((0, 0, 1, 2))))),
            health=rng.choice((None, None, Health(healthy_after=3.0))),
            stop=Stop(takes=rng.choice((0.1, 0.5, 2.0)), ignores_sigterm=rng.random() < 0.2, code=rng.choice((0, 143))),
            stop_timeout=rng.choice((None, 2.0, 5.0)),
            restart=rng.choice(("no", "unless-stopped", "always", "on-failure")),
        )
        requires = tuple(rng.sample(lower, 1)) if lower and rng.random() < 0.2 else ()
        written[name] = ServiceConfig(kill=rng.choice(("allow", "allow", "never")), requires=requires)
        listed[rng.randrange(phases)].append(name)
    base = sum(one.memory * one.replicas for one in services.values()) + 350 * MIB
    top = rng.uniform(0.82, 0.99 if sudden else 1.05) * 4 * GIB - base  # more than all: the kernel takes its own victims
    is_sudden = rng.random() < 0.5 if sudden is None else sudden
    load = steady(top) if is_sudden else ramp_to(top, rng.choice((10 * MIB, 40 * MIB, 200 * MIB)))
    host = Host(steps=(HostStep(at=10, memory=load), HostStep(at=TROUBLE_S, memory=ramp_to(0.0, 100 * MIB))))
    protected = [rng.random() < 0.3 and number == 0 for number in range(phases)]
    config = a_config(
        *(Phase(tuple(members), protected=protected[number]) for number, members in enumerate(listed)), services=written
    )
    return Case(
        Scenario(host=host, services=services),
        config,
        frozenset(name for number, members in enumerate(listed) for name in members if protected[number]),
        frozenset(name for name, one in written.items() if one.kill == "never"),
    )


def assert_sound(case: Case, host: VirtualHost) -> None:
    """What must hold after any run, judged by the calls that the engine got."""
    stopped_by_us: set[str] = set()
    by_tick: dict[int, dict[str, set[str]]] = {}
    for call in host.engine.calls:
        assert call.service is not None
        kinds = by_tick.setdefault(call.tick, {"stop": set(), "start": set(), "quota": set()})
        kind = "stop" if call.kind == "signal" else call.kind
        kinds[kind].add(call.service.name)
        if kind == "stop":
            assert call.service.name not in case.protected
            assert call.kill or call.service.name in case.never_killed
            assert call.kill != (call.service.name in case.never_killed)
            stopped_by_us.add(call.container_id)
        if call.kind == "start":
            assert call.container_id in stopped_by_us, "guardian started what it had not stopped"
    for tick, kinds in by_tick.items():
        assert not kinds["stop"] & kinds["start"], f"stopped and started in tick {tick}"
    for snapshot in host.snapshots:
        acted = [(action.kind, action.service) for action in snapshot.decision.actions]
        services = [service for kind, service in acted if kind is not ActionKind.HASTEN]
        assert len(services) == len(set(services)), "one service twice in one decision"
