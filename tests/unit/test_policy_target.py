"""`target_phase` on a whole virtual host: what is stopped and in which order, what comes back, and whom it yields to."""

from __future__ import annotations

import msgspec
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import RestoringConfig, ThresholdsConfig
from guardian.engine.simulated.behaviour import steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service
from guardian.expose.orders import OrderKind
from guardian.model import ActionKind, Mode

PHASES = (Phase(("db",), protected=True), Phase(("api", "web")), Phase(("logs", "graphs")))
QUICK = RestoringConfig(stable_for=2.0, probation=5.0)  # type: ignore[arg-type]


def a_host(target: int | None, mode: Mode = Mode.ENFORCE, steps: tuple[HostStep, ...] = (), **services: Service) -> VirtualHost:
    """Three phases, all of which run, 100 MiB each on 4 GiB; graphs depends on logs."""
    every = {name: Service(memory=100 * MIB) for name in ("db", "api", "web", "logs")}
    every |= {"graphs": Service(memory=100 * MIB, depends_on=("logs",)), **services}
    config = a_config(*PHASES, target_phase=target, mode=mode, thresholds=ThresholdsConfig(cpu="off"), restoring=QUICK)
    return VirtualHost(Scenario(host=Host(memory=4096 * MIB, base=300 * MIB, steps=steps), services=every), config)


def set_target(host: VirtualHost, target: int | None) -> None:
    """As a reload does."""
    host.config = host.loop.config = msgspec.structs.replace(host.config, target_phase=target)


def test_what_is_above_it_is_stopped_the_highest_phase_first_one_at_a_time() -> None:
    """Services above the target are stopped for that reason: the highest phase first, a dependent before what it needs."""
    host = a_host(1)
    host.run(30)
    assert host.stops() == ["graphs", "logs", "web", "api"]
    assert {action.reason for action in host.actions} == {"target_phase"}
    assert all(len(snapshot.decision.actions) <= 1 for snapshot in host.snapshots)
    assert host.up("db")


def test_once_it_is_raised_they_come_back_as_there_is_room() -> None:
    """What it stopped is in the ledger: a higher target restores it by the rules, lowest phase first; the rest stays down."""
    host = a_host(1)
    host.run(30)
    set_target(host, 2)
    host.run(90)
    assert host.starts() == ["api", "web"]
    assert host.down == {"logs", "graphs"}
    set_target(host, None)
    host.run(90)
    assert host.down == set()


def test_what_waits_above_it_says_so() -> None:
    """While it is down the decision says why it is not restored."""
    host = a_host(2)
    snapshot = host.run(90)
    held = {(one.service, one.reason) for one in snapshot.decision.held}
    assert held == {(key("logs"), "target_phase"), (key("graphs"), "target_phase")}


def test_in_observe_mode_it_is_only_reported() -> None:
    """In observe mode nothing is stopped, and history says what would have been, once each."""
    host = a_host(2, Mode.OBSERVE)
    host.run(60)
    assert host.stops() == []
    rows = [(row.service, row.reason, row.result) for row in host.store.rows if row.action == "shed"]
    assert rows == [(key("graphs"), "target_phase", "observed"), (key("logs"), "target_phase", "observed")]


def test_what_somebody_starts_above_it_is_left_for_ten_minutes() -> None:
    """It yields to whoever starts a service that it has stopped, as any shed does; after that the file holds again."""
    host = a_host(2)
    host.run(30)
    host.engine.start(host.engine.ids("logs")[0])
    host.run(300)
    assert host.up("logs")
    host.run(400)
    assert not host.up("logs")


def test_pressure_comes_first() -> None:
    """While memory asks for a shed, nothing is stopped for the target; afterwards nothing above it is restored."""
    host = a_host(2, steps=(HostStep(at=0, memory=steady(2900 * MIB)), HostStep(at=40, memory=steady(0))))
    host.run(200)
    assert {action.reason for action in host.actions if action.kind is ActionKind.SHED} == {"memory"}
    assert host.down == {"logs", "graphs"}


def test_protected_and_pinned_services_above_it_stay_up() -> None:
    """A target of 0 leaves a protected phase alone, and a pin holds against it."""
    host = a_host(0)
    host.order(OrderKind.PIN, "logs")
    host.run(60)
    assert host.down == {"api", "web", "graphs"}


def test_an_ordered_restore_above_it_is_refused() -> None:
    """What Guardian starts never exceeds it, by order neither: the reply says what to do."""
    host = a_host(2)
    host.run(30)
    reply = host.order(OrderKind.RESTORE, "logs")
    assert not reply.ok
    assert reply.lines == ("openpolicy/logs: is above target_phase 2: raise that first, and reload",)
    assert host.starts() == []
