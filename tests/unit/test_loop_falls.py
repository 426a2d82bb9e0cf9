"""Restores that do not last: the service is started, and is down again before it counts as up."""

from __future__ import annotations

import pytest
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.engine.simulated.scenario import Scenario, Service, Step, Stop
from guardian.engine.simulated.world import Cell
from guardian.expose.orders import OrderKind
from guardian.telemetry import NullTelemetry


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.overrides: list[str] = []

    def overridden(self, kind: str) -> None:
        self.overrides.append(kind)


def a_host(**victim: object) -> VirtualHost:
    """`logs` was ended in an emergency on a calm host, and has just been started again by the rules."""
    services = {"db": Service(memory=200 * MIB), "logs": Service(**{"restart": "no", **victim})}  # type: ignore[arg-type]
    host = VirtualHost(Scenario(services=services), a_config(Phase(("db",), protected=True), ("logs",)))
    host.telemetry = Heard()  # type: ignore[assignment]
    host._begin()
    host.run(5)
    assert host.order(OrderKind.EMERGENCY, "db").ok
    host.run_until(lambda _: bool(host.starts()), within_s=120)
    return host


def settle(host: VirtualHost) -> None:
    host.run_until(lambda snapshot: not snapshot.entries, within_s=120)
    host.run(60)


def rows(host: VirtualHost) -> list[tuple[str, str, str]]:
    """What history has of `logs` since it was shed."""
    host.store.commit()
    return [(str(one.action), str(one.result), one.detail) for one in host.store.rows if one.service == key("logs")][1:]


def heard(host: VirtualHost) -> list[str]:
    assert isinstance(host.telemetry, Heard)
    return host.telemetry.overrides


def cells(host: VirtualHost) -> list[Cell]:
    return [host.engine._world.cells[id_] for id_ in host.engine.ids("logs")]


def mend(host: VirtualHost) -> None:
    """From now on it starts well."""
    for cell in cells(host):
        cell.spec = Service(restart=cell.spec.restart)


def test_a_restore_that_exits_soon_is_tried_again_until_it_stays_up() -> None:
    """A service that exits right after its restore is owed still, and started again at growing intervals until it stays up."""
    host = a_host(starts="exits")
    host.run(20)
    assert 3 <= len(host.starts()) <= 5
    assert len(host.ledger.open_entries) == 1
    mend(host)
    settle(host)
    assert host.up("logs")
    assert heard(host) == []
    assert {row[1:] for row in rows(host)[:-1]} == {("failed", "did not stay up")}
    assert rows(host)[-1] == ("restore", "done", "")


def test_of_a_restore_only_the_replicas_that_fell_are_started_again() -> None:
    """Of two replicas the one that stays up is owed no more; the other one is started again, alone."""
    host = a_host(replicas=2)
    first, second = cells(host)
    host.engine._world._end(first, 1)
    settle(host)
    assert (first.state.up, second.state.up) == (True, True)
    assert [call.container_id for call in host.engine.calls if call.kind == "start"][2:] == [first.id]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("how", ["external_stop", "external_kill"])
def test_what_somebody_stops_while_it_is_restored_stays_down(how: str, listed: bool) -> None:
    """What somebody stops, or kills, before it counts as up is given up as an override, and not started again, listed or not."""
    host = a_host(stop=Stop(code=143))
    if not listed:
        host.loop.config = a_config(Phase(("db",), protected=True))
    host.run(2)
    getattr(host.engine, how)("logs")
    settle(host)
    assert (host.starts(), host.up("logs"), heard(host)) == (["logs"], False, ["stopped"])
    assert [row[:2] for row in rows(host)] == [("override", "stopped"), ("restore", "failed")]


def test_a_list_that_is_faster_than_the_event_of_a_stop_does_not_hide_it() -> None:
    """Where the list shows the end before its event is there, the signal that was heard of tells that somebody stopped it."""
    host = a_host(stop=Stop(code=143))
    host.run(2)
    host.engine.external_stop("logs")
    host.clock.advance(1.0)
    signal, *late = host.engine.pending_events(host.scope)
    host.feed.take_events(late)
    host.loop.take_events((signal,))
    assert host.tick().decision.fallen == (key("logs"),)
    host.loop.take_events(tuple(late))
    settle(host)
    assert (host.starts(), host.up("logs"), heard(host)) == (["logs"], False, ["stopped"])


def test_what_has_done_its_work_soon_after_its_restore_is_not_repeated() -> None:
    """A one-shot that was cut off, is restored and ends well before it counts as up has been restored: it is not run again."""
    host = a_host(steps=(Step(after=8.0, exit=0),), stop=Stop(code=143))
    settle(host)
    assert host.starts() == ["logs"]
    assert rows(host) == [("restore", "done", "")]


def test_what_falls_with_the_engine_is_started_again() -> None:
    """What the engine took down with it while it was restored is owed still: it is started once the engine is back."""
    host = a_host(stop=Stop(code=143))
    host.run(2)
    host.restart_engine(5.0)
    settle(host)
    assert (host.starts(), host.up("logs"), heard(host)) == (["logs", "logs"], True, [])


def test_a_restart_of_guardian_knows_which_end_it_has_seen() -> None:
    """Guardian ends after a restore fell, and begins again: the service is owed still, and started."""
    host = a_host(starts="exits")
    host.run_until(lambda snapshot: bool(snapshot.decision.fallen), within_s=10)
    mend(host)
    host.store.commit()
    host.crash()
    host.run(3)
    settle(host)
    assert (host.starts(), host.up("logs"), heard(host)) == (["logs", "logs"], True, [])
