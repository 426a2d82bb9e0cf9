"""Restarts of what is unhealthy, through the loop, the ledger and the engine on a virtual clock."""

from __future__ import annotations

import pytest
from support.virtual_host import VirtualHost, a_config, key

from guardian.config.schema import HealthConfig, ServiceConfig
from guardian.engine.simulated.scenario import Health, Scenario, Service, Stop
from guardian.engine.simulated.world import Cell
from guardian.ledger.entries import EntryState, Means
from guardian.model import ActionKind, Mode, Outcome, Result, ServiceState
from guardian.telemetry import NullTelemetry
from guardian.units import Seconds

WELL_S = 60.0


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.overrides: list[str] = []
        self.outcomes: list[Outcome] = []

    def overridden(self, kind: str) -> None:
        self.overrides.append(kind)

    def acted(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def a_host(mode: Mode = Mode.ENFORCE, stop: Stop | None = None, starts: str = "well") -> VirtualHost:
    """`db`, and `api`, which depends on it and has become unhealthy a moment ago: its next run will be well."""
    check = Health(healthy_after=3)
    services = {
        "db": Service(health=check),
        "api": Service(health=check, depends_on=("db",), stop=stop or Stop(), starts=starts),  # type: ignore[arg-type]
    }
    config = a_config(("db",), ("api",), mode=mode, services={"api": ServiceConfig(health=HealthConfig(restart=True))})
    host = VirtualHost(Scenario(services=services), config)
    host.telemetry = Heard()  # type: ignore[assignment]
    host._begin()
    host.run(3)
    cell = the_api(host)
    cell.healthy = False
    host.engine._world._judge(cell)
    return host


def the_api(host: VirtualHost) -> Cell:
    return next(one for one in host.engine._world.cells.values() if one.service.name == "api")


def heard(host: VirtualHost) -> Heard:
    assert isinstance(host.telemetry, Heard)
    return host.telemetry


def restarts(host: VirtualHost) -> list[str]:
    return [call.service.name for call in host.engine.calls if call.kind == "restart" and call.service is not None]


def test_an_unhealthy_service_is_restarted_and_well_again() -> None:
    """An unhealthy service is restarted once; nothing is owed afterwards, and history has it."""
    host = a_host()
    snapshot = host.run(WELL_S)
    assert restarts(host) == ["api"]
    assert host.up("api")
    status = snapshot.assessment.service(key("api"))
    assert status is not None
    assert status.healthy
    assert host.ledger.open_entries == ()
    (row,) = [one for one in host.store.rows if one.action is ActionKind.RESTART]
    assert (row.service, row.reason, row.result) == (key("api"), "unhealthy", Result.DONE)


def test_a_restart_is_never_counted_as_shed_or_as_an_override() -> None:
    """While a service is restarted, and after it, it is unhealthy and never shed, and nobody is said to have stopped it."""
    host = a_host(stop=Stop(takes=4.0))
    host.run(WELL_S)
    seen = {snapshot.assessment.service(key("api")).state for snapshot in host.snapshots}  # type: ignore[union-attr]
    assert seen == {ServiceState.RUNNING, ServiceState.UNHEALTHY}
    assert all(snapshot.entries == () for snapshot in host.snapshots)
    assert heard(host).overrides == []
    assert host.stops() == host.starts() == []


def test_what_somebody_stops_stays_down() -> None:
    """What somebody stops while it is unhealthy is not started by a restart."""
    host = a_host()
    host.engine.external_stop("api")
    host.run(120)
    assert restarts(host) == []
    assert not host.up("api")


def test_observe_mode_restarts_nothing() -> None:
    """In observe mode a restart is decided, as often as it would be, and nothing leaves the process."""
    host = a_host(Mode.OBSERVE)
    host.run(50)
    assert restarts(host) == []
    assert [one.result for one in heard(host).outcomes] == [Result.OBSERVED]


def test_a_service_that_does_not_start_again_is_owed_and_restored() -> None:
    """Where the engine has stopped it and cannot start it, guardian owes the start, and makes it by the rules."""
    host = a_host(starts="refused")
    host.run_until(lambda _: restarts(host) == ["api"], 10)
    host.run(10)
    (entry,) = host.ledger.open_entries
    assert (entry.state, entry.means) == (EntryState.SHED, Means.RESTART)
    assert not host.up("api")
    cell = the_api(host)
    cell.spec = Service(health=cell.spec.health)
    host.run(240)
    assert host.up("api")
    assert host.ledger.open_entries == ()
    assert heard(host).overrides == []


def test_a_restart_that_outlasts_its_deadline_is_settled_by_what_is_seen() -> None:
    """A restart that takes longer than its deadline owes nothing once the service is seen to run again."""
    host = a_host(stop=Stop(takes=28.0))
    health = host.config.services["api"].health
    host.config.services["api"] = ServiceConfig(health=health, kill="never", stop_timeout=Seconds(1))
    host.run(120)
    assert [one.result for one in host.store.rows if one.action is ActionKind.RESTART] == [Result.TIMED_OUT]
    assert host.up("api")
    assert host.ledger.open_entries == ()
    assert heard(host).overrides == []


@pytest.mark.parametrize("crash_at", range(1, 15))
def test_a_crash_at_any_step_of_a_restart_loses_no_service(crash_at: int) -> None:
    """Wherever guardian dies around a restart: the service runs in the end, nothing is owed, and nobody is blamed."""
    host = a_host(stop=Stop(takes=2.0))
    assert host.run_through_crash(12, crash_at)
    host.run(100)
    assert host.up("api")
    assert host.ledger.open_entries == ()
    assert 1 <= len(restarts(host)) <= 2
    assert heard(host).overrides == []
