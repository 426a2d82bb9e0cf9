"""A one-shot that a phase lists: it runs, does its work and ends, and that is no trouble."""

from __future__ import annotations

from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import ThresholdsConfig
from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service, Step
from guardian.model import ServiceState

DONE_S, PRESSED_S, CALM_S = 10.0, 30.0, 70.0


def test_a_one_shot_that_has_completed_is_shown_so_and_left_alone_through_pressure_and_after() -> None:
    """Once it has ended well a one-shot is completed: it is no victim while memory is short, owed nothing, and never started again."""
    services = {
        "db": Service(memory=200 * MIB),
        "seed": Service(memory=300 * MIB, restart="no", steps=(Step(after=DONE_S, exit=0),)),
        "logs": Service(memory=900 * MIB),
    }
    steps = (HostStep(at=PRESSED_S, memory=steady(1500 * MIB)), HostStep(at=CALM_S, memory=ramp_to(0, 400 * MIB)))
    host = VirtualHost(
        Scenario(host=Host(memory=4096 * MIB, base=900 * MIB, steps=steps), services=services),
        a_config(Phase(("db",), protected=True), Phase(("seed", "logs")), thresholds=ThresholdsConfig(cpu="off")),
    )
    assert _state(host, DONE_S / 2) is ServiceState.RUNNING
    assert _state(host, DONE_S) is ServiceState.COMPLETED
    assert _state(host, 300) is ServiceState.COMPLETED
    assert (host.stops(), host.starts()) == (["logs"], ["logs"])
    assert host.ledger.open_entries == ()
    counts = host.snapshots[-1].assessment.phases[-1].services
    assert (counts[ServiceState.COMPLETED], counts[ServiceState.RUNNING]) == (1, 1)


def _state(host: VirtualHost, seconds: float) -> ServiceState:
    status = host.run(seconds).assessment.service(key("seed"))
    assert status is not None
    return status.state
