"""What guardian remembers does not grow with time: counted in values held, not in bytes, so that it is exact."""

from __future__ import annotations

from support.held import held
from support.sized_host import ROUND_S, SizedHost
from support.virtual_host import MIB, Phase, VirtualHost, a_config

from guardian.config.schema import HostConfig
from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import GIB, Host, HostStep, Scenario, Service
from guardian.sense.host import CpuWindow
from guardian.sense.proc import CpuTicks

HOUR_S = 3600
HOURS = 8


def test_hours_of_sheds_and_restores_leave_no_more_behind_than_the_first_two() -> None:
    """Hours of sheds and restores leave no more behind than the first two: what is over is forgotten."""
    steps = [
        step
        for hour in range(HOURS)
        for step in (
            HostStep(at=hour * HOUR_S + 600, memory=steady(970 * MIB)),
            HostStep(at=hour * HOUR_S + 900, memory=ramp_to(0, 400 * MIB)),
        )
    ]
    scenario = Scenario(
        host=Host(steps=tuple(steps)),
        services={
            "db": Service(memory=700 * MIB),
            "web": Service(memory=500 * MIB),
            "logs": Service(memory=900 * MIB),
            "more": Service(memory=100 * MIB, replicas=2),
        },
    )
    config = a_config(Phase(("db",), protected=True), ("web",), ("logs", "more"), host=HostConfig(memory=4 * GIB, cpu=4.0))  # type: ignore[arg-type]
    host = VirtualHost(scenario, config, interval_s=5.0, round_s=5.0)
    sizes = []
    for _ in range(HOURS // 2):
        host.run(2 * HOUR_S)
        host.snapshots.clear()
        sizes.append(held([host.loop, host.ledger, host.feed, host.actor]))
    assert len(host.stops()) >= HOURS
    assert sizes[1:] == sizes[:1] * (len(sizes) - 1)


def test_ticks_on_a_calm_host_leave_nothing_behind() -> None:
    """Ticks on a calm host leave nothing behind once the last hour of use is full, and decide as soon as it is pressed."""
    host = SizedHost(20)
    host.settle()
    sizes = []
    for _ in range(3):
        for _ in range(HOUR_S // ROUND_S):
            host.step(ROUND_S, containers=True)
            host.tick()
        sizes.append(held([host.loop, host.metrics]))
    assert sizes[1:] == sizes[1:2] * 2
    host.press()
    assert host.tick().decision.actions


def test_ten_ticks_a_second_keep_no_more_than_the_window() -> None:
    """Ten ticks a second keep no more CPU readings than the window of ten seconds has."""
    window = CpuWindow()
    for tick in range(1000):
        window.add(tick / 10, CpuTicks(tick / 20, tick / 5))
    assert len(window._history) <= 101
