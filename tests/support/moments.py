"""Ticks for the recording: what a loop hands over, of a virtual host, or made by hand where only its size matters."""

from __future__ import annotations

from collections.abc import Iterator

from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import Config
from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service
from guardian.model import Assessment, Container, Decision, HostReading, Inventory, Level, Mode, Sample, Usage
from guardian.policy.inputs import Inputs
from guardian.policy.state import PolicyState
from guardian.record.moment import Moment

PRESSED_S = 120.0
CALM_S = 180.0


def an_overload(
    config: Config | None = None, pressed_s: float = PRESSED_S, calm_s: float = CALM_S
) -> tuple[VirtualHost, list[Moment]]:
    """A host whose memory is soft for a while: the victim `logs` is shed, and restored. Each tick goes into the list."""
    moments: list[Moment] = []
    scenario = Scenario(
        host=Host(
            steps=(
                HostStep(at=pressed_s, memory=steady(700 * MIB)),
                HostStep(at=calm_s, memory=ramp_to(0, 400 * MIB)),
            )
        ),
        services={
            "db": Service(memory=700 * MIB, cpu=0.2),
            "web": Service(memory=500 * MIB, cpu=0.1, replicas=2),
            "logs": Service(memory=600 * MIB),
        },
    )
    config = config or a_config(Phase(("db",), protected=True), ("web",), ("logs",))
    return VirtualHost(scenario, config, record=moments.append, with_cgroups=True), moments


CONFIG = a_config(("web",))
_READY = Inputs()


def plain(
    count: int, every_s: float = 1.0, services: int = 4, level: Level = Level.OK, first: int = 1, now_s: float = 1000.0
) -> Iterator[Moment]:
    """Ticks in a row in which the figures, and nothing else, change."""
    names = tuple(f"service-{number}" for number in range(services))
    containers = tuple(Container(name, name, key(name)) for name in names)
    for number in range(first, first + count):
        now_s += every_s
        usage = {
            name: Usage(now_s, (number * 7919 + place) % 10**9, (number * 104729 + place) % 10**9, (number % 97) / 97)
            for place, name in enumerate(names)
        }
        host = HostReading(now_s, 4, 4096 * MIB, (number * 1299709) % (4096 * MIB), cpu_ratio=(number % 89) / 89)
        yield Moment(
            number=number,
            now_s=now_s,
            now_wall_s=1_700_000_000.0 + now_s,
            interval_s=every_s,
            slept=False,
            sample=Sample(host, Inventory(now_s, containers, usage)),
            excluded=frozenset(),
            inputs=_READY,
            config=CONFIG,
            mode=Mode.ENFORCE,
            before=PolicyState(),
            assessment=Assessment(now_s, level, (), (), (), None, None),
            decision=Decision(now_s),
        )
