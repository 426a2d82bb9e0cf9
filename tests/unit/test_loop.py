"""One tick after the other: what the glue between sensing, deciding, the ledger and acting must not lose or repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import Resources, ServiceConfig
from guardian.engine.simulated.behaviour import Shape, ramp_to, steady
from guardian.engine.simulated.scenario import Host, HostStep, Limits, Scenario, Service, Stop
from guardian.errors import LedgerError
from guardian.expose.orders import Order, OrderKind
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import EntryState, Means
from guardian.model import ActionKind, Level, Mode, Outcome, Result, ServiceState
from guardian.scope import scope_of
from guardian.sense.feed import CHECK_EVERY_S
from guardian.telemetry import NullTelemetry
from guardian.units import Cores

PRESSED_S = 20.0  # from here on the host's memory is soft: 84% of 4 GiB
CALM_S = 60.0
HORIZON_S = 10.0


class Heard(NullTelemetry):
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.holds: list[tuple[str, str]] = []
        self.overrides: list[str] = []
        self.fails: dict[str, int] = {}  # how often a report is still to raise

    def acted(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def held(self, held: Any) -> None:
        self.holds.append((held.action.value, held.reason))
        self._fail("held")

    def overridden(self, kind: str) -> None:
        self.overrides.append(kind)

    def sampled(self, source: str, seconds: float, ok: bool) -> None:
        self._fail(source)

    def _fail(self, what: str) -> None:
        if self.fails.get(what, 0):
            self.fails[what] -= 1
            raise MemoryError(what)


def a_host(
    mode: Mode = Mode.ENFORCE, pressure: Shape | None = None, takes_s: float = 0.3, pressed_s: float = PRESSED_S
) -> VirtualHost:
    """A protected `db`, `web`, and the victim `logs` of 900 MiB, on a host of which 60% are in use until it is pressed."""
    scenario = Scenario(
        host=Host(
            steps=(
                HostStep(at=pressed_s, memory=pressure or steady(970 * MIB)),
                HostStep(at=CALM_S, memory=ramp_to(0, 400 * MIB)),
            )
        ),
        services={
            "db": Service(memory=700 * MIB),
            "web": Service(memory=500 * MIB),
            "logs": Service(memory=900 * MIB, stop=Stop(takes=takes_s)),
        },
    )
    host = VirtualHost(scenario, a_config(Phase(("db",), protected=True), ("web",), ("logs",), mode=mode))
    host.telemetry = Heard()  # type: ignore[assignment]
    host._begin()
    return host


def heard(host: VirtualHost) -> Heard:
    assert isinstance(host.loop._telemetry, Heard)
    return host.loop._telemetry


def until_shed(host: VirtualHost) -> None:
    host.run_until(lambda snapshot: any(entry.state is EntryState.SHED for entry in snapshot.entries), within_s=PRESSED_S + 25)


def state_of(host: VirtualHost, name: str) -> ServiceState | None:
    status = host.snapshots[-1].assessment.service(key(name))
    return None if status is None else status.state


def rows(host: VirtualHost, action: str) -> list[tuple[str, str, str]]:
    host.store.commit()
    return [
        (row.service.name if row.service else "", str(row.reason), str(row.result))
        for row in host.store.rows
        if str(row.action) == action
    ]


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_a_shed_is_entered_sent_and_settled() -> None:
    """Under pressure the victim is stopped once, its entry is settled by the outcome, and history says why."""
    host = a_host()
    until_shed(host)
    host.run(5)
    assert host.stops() == ["logs"]
    (entry,) = host.loop.snapshot.entries if host.loop.snapshot else ()
    assert (entry.service, entry.state) == (key("logs"), EntryState.SHED)
    host.store.commit()
    (row,) = [row for row in host.store.rows if row.action is ActionKind.SHED]
    assert (row.service, row.signal, row.result, row.action_id) == (key("logs"), "memory", Result.DONE, entry.id)
    assert row.value is not None
    assert row.value >= 0.8
    assert (row.threshold, row.deficit is not None and row.deficit > 0) == (0.8, True)


def test_a_restore_is_settled_once_the_service_is_up() -> None:
    """After the pressure the service is started once; the entry stays open as long as it is not up, and is then closed."""
    host = a_host()
    until_shed(host)
    host.run_until(lambda _: host.starts() == ["logs"], within_s=300)
    host.run(5)  # it runs, but not for `stable_for` yet
    assert host.up("logs")
    assert [entry.state for entry in host.ledger.open_entries] == [EntryState.RESTORING]
    assert rows(host, "restore") == []
    host.run_until(lambda snapshot: not snapshot.entries, within_s=60)
    assert host.starts() == ["logs"]
    assert rows(host, "restore") == [("logs", "room", "done")]


def test_a_stop_that_the_engine_refuses_owes_nothing() -> None:
    """A stop that failed is no shed: nothing of it is restored, and history says what came of it."""
    host = a_host()
    host.engine.refuse_stops("logs")
    host.run_until(lambda _: bool(rows(host, "shed")), within_s=PRESSED_S + 25)
    assert rows(host, "shed")[0] == ("logs", "memory", "refused")
    host.run(CALM_S)
    assert host.starts() == []
    assert host.up("logs")


# --- a tick that raised ---------------------------------------------------------------------------------------------


def raising_tick(host: VirtualHost, what: str) -> None:
    heard(host).fails[what] = 1
    with pytest.raises(MemoryError):
        host.tick()


def test_a_tick_that_raised_before_it_decided_loses_no_outcome() -> None:
    """An outcome that came while a tick failed is settled by the next one."""
    host = a_host(takes_s=0.5)
    host.run_until(lambda _: bool(host.actor.in_flight), within_s=PRESSED_S + 25)
    raising_tick(host, "host")
    host.tick()
    assert [entry.state for entry in host.ledger.open_entries] == [EntryState.SHED]
    assert rows(host, "shed") == [("logs", "memory", "done")]
    host.run(10)
    assert host.stops() == ["logs"]


def test_a_tick_that_raised_before_it_decided_loses_no_order() -> None:
    """An order that was given before a tick that failed is answered by the next one."""
    host = a_host()
    host.tick()
    replied = host.loop.put_order(Order(OrderKind.PIN, (key("logs"),), by="ada"))
    raising_tick(host, "host")
    assert replied.empty()
    host.tick()
    assert replied.get_nowait().ok


@pytest.mark.parametrize("step", ["_report", "_publish"])
def test_a_tick_that_raised_after_it_acted_does_not_act_twice(step: str) -> None:
    """When a tick fails after the stop was handed over, the next one knows of that stop, and sends no other."""
    host = a_host(takes_s=3.0)
    host.run(PRESSED_S)
    at = next_action(host)
    again = a_host(takes_s=3.0)
    again.run(at - 1)
    setattr(again.loop, step, failing_once(getattr(again.loop, step)))
    with pytest.raises(MemoryError):
        again.tick()
    again.run(15)
    assert again.stops() == ["logs"]
    assert [entry.state for entry in again.ledger.open_entries] == [EntryState.SHED]
    assert rows(again, "shed") == [("logs", "memory", "done")]
    assert [outcome.result for outcome in heard(again).outcomes] == []  # none was made up by the loop


def test_an_action_that_a_broken_tick_never_sent_is_decided_again() -> None:
    """When a tick fails between deciding and sending, the next one decides the same again, and no other service pays for it."""
    host = a_host()
    host.run(PRESSED_S)
    host.ledger.intend = failing_once(host.ledger.intend)  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        host.run(20)
    assert host.stops() == []
    host.run(15)
    assert host.stops() == ["logs"]
    assert [(entry.service, entry.state) for entry in host.ledger.open_entries] == [(key("logs"), EntryState.SHED)]


def test_what_cannot_be_entered_is_not_done() -> None:
    """A stop that the ledger refuses to enter is not sent: it fails with the ledger's words, in history too."""
    host = a_host()
    host.run(PRESSED_S)
    host.ledger.intend = refusing  # type: ignore[method-assign]
    host.run(20)
    assert host.stops() == []
    assert heard(host).outcomes[0].result is Result.FAILED
    assert heard(host).outcomes[0].detail == "no room in the ledger"
    assert rows(host, "shed")[0] == ("logs", "memory", "failed")


def refusing(*_: object) -> bool:
    raise LedgerError("no room in the ledger")


def next_action(host: VirtualHost) -> int:
    """At which tick the first action is decided."""
    for _ in range(30):
        if host.tick().decision.actions:
            return host.engine.tick
    raise AssertionError("nothing was decided")


def failing_once(step: Callable[..., Any]) -> Callable[..., Any]:
    left = [True]

    def once(*arguments: Any) -> Any:
        if left and left.pop():
            raise MemoryError
        return step(*arguments)

    return once


# --- orders ---------------------------------------------------------------------------------------------------------


def test_orders_are_answered_at_the_next_tick() -> None:
    """Orders wait until the next tick, and all of them are answered by it, each by what the ones before it changed."""
    host = a_host()
    host.run(3)
    given = [
        host.loop.put_order(Order(kind, (key("logs"),), by="ada")) for kind in (OrderKind.PIN, OrderKind.SHED, OrderKind.UNPIN)
    ]
    assert all(replied.empty() for replied in given)
    host.tick()
    assert [replied.get_nowait().ok for replied in given] == [True, False, True]  # what is pinned is not shed
    assert host.stops() == []


def test_a_shed_by_order_is_sent_in_the_tick_that_answers_it() -> None:
    """An order to shed is carried out at once, and stays down until somebody says otherwise or the rules restore it."""
    host = a_host()
    host.run(3)
    assert host.order(OrderKind.SHED, "logs").ok
    assert host.stops() == ["logs"]
    host.run(3)
    (entry,) = host.ledger.open_entries
    assert (entry.state, entry.by) == (EntryState.SHED, "ada")


def test_standby_holds_from_the_tick_that_answers_it() -> None:
    """After an order for standby nothing is stopped, and when it is over guardian goes on."""
    host = a_host()
    host.run(3)
    assert host.order(OrderKind.STANDBY, for_s=40.0).ok
    host.run(38)
    assert host.stops() == []
    host.run(12)
    assert host.stops() == ["logs"]


def test_what_is_forgotten_is_not_restored() -> None:
    """A service that is forgotten while shed is never started, however calm it is."""
    host = a_host()
    until_shed(host)
    assert host.order(OrderKind.FORGET, "logs").ok
    host.run(CALM_S + 200)
    assert (host.starts(), host.ledger.open_entries) == ([], ())


# --- not to act -----------------------------------------------------------------------------------------------------


def test_a_hold_is_said_once_and_again_when_it_comes_back() -> None:
    """A reason that holds for many ticks is counted once; when it ends and comes back, it is counted again."""
    host = a_host()
    until_shed(host)
    assert host.order(OrderKind.HOLD).ok
    host.run(CALM_S + 100)
    assert heard(host).holds.count(("restore", "operator")) == 1
    kept = [held for held in host.snapshots[-1].decision.held if held.reason == "operator"]
    assert len(kept) == 1  # it still holds
    assert host.starts() == []
    assert host.order(OrderKind.RELEASE).ok
    host.run(5)
    assert host.starts() == ["logs"]


def test_observe_mode_decides_and_sends_nothing() -> None:
    """In observe mode the decision is made and kept in history as observed; no call leaves and nothing is owed."""
    host = a_host(Mode.OBSERVE)
    host.run(CALM_S)
    assert [action.service for action in host.actions if action.kind is ActionKind.SHED] == [key("logs")]
    assert host.engine.calls == []
    assert host.ledger.open_entries == ()
    assert rows(host, "shed") == [("logs", "memory", "observed")]


def test_without_an_engine_nothing_is_done() -> None:
    """While the engine does not answer nothing is sent, although memory is soft; once it does, guardian goes on."""
    host = a_host()
    host.run(10)
    host.engine.engine_down()
    snapshot = host.run(35)
    assert (snapshot.assessment.level, snapshot.engine_up) == (Level.SOFT, False)
    assert (host.stops(), host.ledger.open_entries) == ([], ())
    host.engine.engine_down(False)
    host.run(10)
    assert host.stops() == ["logs"]


def test_before_the_first_list_nothing_is_done() -> None:
    """With an engine that was never seen, ticks go on: the host is read, a snapshot is published, and orders are refused."""
    host = a_host()
    host.engine.engine_down()
    reply = host.order(OrderKind.SHED, "logs")
    assert not reply.ok
    assert "the engine does not answer" in reply.message
    snapshot = host.snapshots[-1]
    assert (snapshot.inventory, snapshot.engine_up, snapshot.sample.host is not None) == (None, False, True)


# --- somebody else --------------------------------------------------------------------------------------------------


def test_somebody_who_starts_a_shed_service_is_counted_once() -> None:
    """A shed service that somebody starts is theirs: the override is counted once, and nothing is owed."""
    host = a_host()
    until_shed(host)
    host.engine.external_start("logs")
    host.run(5)
    assert heard(host).overrides == ["started"]
    assert key("logs") not in {entry.service for entry in host.ledger.open_entries}
    assert host.starts() == []


def test_somebody_who_stops_a_service_is_counted_once_and_it_stays_down() -> None:
    """What somebody else stopped is counted, and never started by guardian."""
    host = a_host()
    host.run(5)
    host.engine.external_stop("web")
    host.run(20)
    assert heard(host).overrides == []  # it may still be the engine's own end
    host.run(30)
    assert heard(host).overrides == ["stopped"]
    assert not host.up("web")
    assert host.starts() == []


def test_an_inventory_that_missed_an_event_is_corrected_by_the_next_check() -> None:
    """What somebody stopped while its event was lost is seen by the next check, and the events are followed anew."""
    host = a_host(pressure=steady(0))
    host.run(5)
    reopened: list[float] = []
    host.events.reopen = lambda: reopened.append(host.clock.monotonic())  # type: ignore[method-assign]
    host.engine.external_stop("web")
    host.clock.advance(1)
    host.engine.pending_events()  # lost
    until_s = host.clock.monotonic() + CHECK_EVERY_S
    assert state_of(host, "web") is ServiceState.RUNNING
    host.run_until(lambda _: state_of(host, "web") is ServiceState.STOPPED, within_s=CHECK_EVERY_S + 2)
    host.run(5)
    assert len(reopened) == 1
    assert reopened[0] <= until_s + 5


# --- the configuration, and a restart -------------------------------------------------------------------------------


def test_a_configuration_that_is_swapped_counts_from_the_next_tick() -> None:
    """A phase that is protected by a reload has no victim from the next tick on."""
    host = a_host()
    host.run(5)
    host.loop.config = a_config(
        Phase(("db",), protected=True), Phase(("web",), protected=True), Phase(("logs",), protected=True)
    )
    host.run(CALM_S - 10)
    assert host.snapshots[-1].assessment.level is Level.SOFT
    assert host.stops() == []


def test_of_a_project_that_has_left_the_file_only_what_is_owed_is_touched() -> None:
    """Once another project is named the old one loses nothing more, however short memory is; what it is owed comes back, once."""
    host = a_host()
    until_shed(host)
    host.loop.config = config = a_config(("web",), ("logs",), project="another")
    host.scope = scope_of(config, host.ledger.open_entries)
    host.feed.rescope(host.scope)
    hog = host.engine.external_create("hog", Service(project="", memory=1000 * MIB))
    host.run(CALM_S)
    assert host.snapshots[-1].assessment.level is not Level.OK
    assert ("logs", "engine", "unlisted") in rows(host, "reconcile")
    host.engine.external_stop(host.engine._world.cells[hog].name)
    host.run_until(lambda snapshot: not snapshot.entries, within_s=400)
    assert (host.stops(), host.starts(), host.down - {"hog"}) == (["logs"], ["logs"], set())


def a_throttled_host() -> VirtualHost:
    """`burn` runs with the quota that CPU pressure has lowered; the pressure ends later."""
    steps = (HostStep(at=PRESSED_S, cpu=steady(3.2)), HostStep(at=3 * CALM_S, cpu=steady(0.2)))
    services = {"db": Service(), "burn": Service(cpu=1.5, limits=Limits(cpus=2.0))}
    reserved = ServiceConfig(on_pressure="throttle", reservations=Resources(cpus=Cores(0.5)))
    host = VirtualHost(
        Scenario(host=Host(steps=steps), services=services),
        a_config(Phase(("db",), protected=True), ("burn",), services={"burn": reserved}),
    )
    host.run_until(lambda snapshot: any(entry.state is EntryState.SHED for entry in snapshot.entries), within_s=3 * CALM_S)
    assert quotas(host) == [("burn", 0.5)]
    return host


def quotas(host: VirtualHost) -> list[tuple[str, float | None]]:
    """What was set on containers that are there, by service."""
    return [(call.service.name, call.cores) for call in host.engine.calls if call.kind == "quota" and call.service is not None]


def test_a_throttled_service_that_leaves_the_file_gets_its_quota_back() -> None:
    """The quota of a service that leaves the file while it is throttled is put back, and nothing is owed then."""
    host = a_throttled_host()
    host.loop.config = a_config(Phase(("db",), protected=True))
    host.run_until(lambda snapshot: not snapshot.entries, within_s=300)
    assert quotas(host) == [("burn", 0.5), ("burn", 2.0)]


def test_the_limits_of_what_is_recreated_while_it_was_throttled_are_left_alone() -> None:
    """A container that is created anew while the old one was throttled keeps the limits that it was created with."""
    host = a_throttled_host()
    host.engine.external_recreate("burn")
    host.run(300)
    assert host.ledger.open_entries == ()
    assert len([call for call in host.engine.calls if call.kind == "quota"]) == 1


def test_a_restart_of_guardian_goes_on_with_what_is_owed() -> None:
    """After a restart what was shed is still owed, and is restored once by the rules."""
    host = a_host()
    until_shed(host)
    host.store.commit()
    host.crash()
    host.run_until(lambda snapshot: snapshot.ticks > 5 and not snapshot.entries, within_s=400)
    assert (host.stops(), host.starts()) == (["logs"], ["logs"])


# --- the pace -------------------------------------------------------------------------------------------------------


def a_paced_host(pressure: Shape) -> VirtualHost:
    """As `a_host`, between two ticks of which the pressure begins; the loop says when it ticks."""
    host = a_host(pressure=pressure, pressed_s=PRESSED_S + 0.37)
    host.paced = True
    return host


@pytest.mark.parametrize("mib_per_s", [100, 200, 400])
def test_memory_that_fills_is_answered_where_it_is_known_to_fill_up(mib_per_s: int) -> None:
    """A hog is answered at the first of quick ticks at which memory would be full within the horizon."""
    host = a_paced_host(ramp_to(1500 * MIB, mib_per_s * MIB))
    host.run_until(lambda snapshot: bool(snapshot.decision.actions), within_s=CALM_S)
    last, before = host.snapshots[-1], host.snapshots[-2]
    assert 0.1 - 1e-6 <= last.at_s - before.at_s <= 0.22
    assert used(before) < 0.70 or before.assessment.full_in_s is None or before.assessment.full_in_s > HORIZON_S
    assert last.assessment.full_in_s is not None
    assert last.assessment.full_in_s <= HORIZON_S


def test_a_calm_host_is_read_at_the_pace_of_the_file_before_and_after() -> None:
    """Ticks come each second while all is well, and again some seconds after all is well once more."""
    host = a_paced_host(ramp_to(1500 * MIB, 200 * MIB))
    host.run(PRESSED_S)
    assert len(host.snapshots) == PRESSED_S
    host.run_until(lambda snapshot: host.loop.pace.host_s == pytest.approx(0.1), within_s=5)
    host.run(300)
    assert host.loop.pace.host_s == 1.0
    assert host.loop.pace.containers_s == 5.0
    assert len([one for one in host.snapshots if one.at_s > host.snapshots[-1].at_s - 30.5]) == 31


def used(snapshot: Snapshot) -> float:
    host = snapshot.sample.host
    assert host is not None
    assert host.memory_total_bytes
    assert host.memory_available_bytes is not None
    return 1 - host.memory_available_bytes / host.memory_total_bytes


# --- the engine hangs -----------------------------------------------------------------------------------------------


def a_hanging_host(restart: str = "unless-stopped", mode: Mode = Mode.ENFORCE) -> VirtualHost:
    """As `a_host`, whose engine is away when memory becomes hard, for a while from PRESSED_S on."""
    scenario = Scenario(
        host=Host(steps=(HostStep(at=PRESSED_S, memory=steady(1300 * MIB)), HostStep(at=CALM_S, memory=ramp_to(0, 400 * MIB)))),
        services={
            "db": Service(memory=700 * MIB),
            "web": Service(memory=500 * MIB),
            "logs": Service(memory=900 * MIB, restart=restart),
        },
    )
    config = a_config(Phase(("db",), protected=True), ("web",), ("logs",), mode=mode)
    host = VirtualHost(scenario, config, with_cgroups=True)
    host.telemetry = Heard()  # type: ignore[assignment]
    host._begin()
    host.run(PRESSED_S - 3)
    host.engine_down()
    return host


def test_under_hard_memory_a_hanging_engine_is_done_without_and_told_later() -> None:
    """With the engine away the victim ends by signal; what the engine restarts is stopped by it, and restored later; no override."""
    host = a_hanging_host()
    until_shed(host)
    (entry,) = host.run(5).entries
    assert (entry.service, entry.state, entry.means) == (key("logs"), EntryState.SHED, Means.SIGNAL)
    assert [(call.kind, call.service) for call in host.engine.calls] == [("signal", key("logs"))]
    host.engine_down(False)
    host.run_until(lambda _: host.stops() == ["logs"], within_s=5)
    host.run(3)
    assert host.down == {"logs"}
    host.run_until(lambda snapshot: not snapshot.entries, within_s=300)
    assert host.starts() == ["logs"]
    assert host.down == set()
    assert heard(host).overrides == []


def test_what_ended_by_signal_and_stays_down_is_restored_like_any_other() -> None:
    """What ended by signal and no policy restarts is owed like any other, and restored."""
    host = a_hanging_host(restart="no")
    until_shed(host)
    host.engine_down(False)
    host.run_until(lambda snapshot: not snapshot.entries and host.down == set(), within_s=300)
    assert (host.stops(), host.starts()) == ([], ["logs"])
    assert heard(host).overrides == []


def test_a_crash_while_the_engine_hangs_forgets_nothing() -> None:
    """Guardian is killed after the signal and starts while the engine still hangs: what it ended is stopped or restored."""
    host = a_hanging_host(restart="no")
    until_shed(host)
    host.crash()
    host.run(5)
    host.engine_down(False)
    host.run_until(lambda snapshot: not snapshot.entries and host.down == set(), within_s=300)
    assert host.starts() == ["logs"]


def test_observe_mode_signals_nobody() -> None:
    """In observe mode the same is decided, and nobody is signalled."""
    host = a_hanging_host(mode=Mode.OBSERVE)
    host.run(10)
    assert host.engine.calls == []
    assert [(action.service, action.by_signal) for action in host.actions] == [(key("logs"), True)]


# --- an operator's emergency ----------------------------------------------------------------------------------------


def a_calm_host(restart: str = "unless-stopped") -> VirtualHost:
    """Protected `db`, `web` and `logs` on a host with plenty of room; use is read past the engine, too."""
    services = {name: Service(memory=300 * MIB, restart=restart, stop=Stop(takes=1.5)) for name in ("db", "web", "logs")}
    config = a_config(Phase(("db",), protected=True), ("web",), ("logs",))
    host = VirtualHost(Scenario(services=services), config, with_cgroups=True)
    host.telemetry = Heard()  # type: ignore[assignment]
    host._begin()
    host.run(5)
    return host


def test_an_emergency_ends_all_but_what_is_kept_and_the_rules_restore_it() -> None:
    """An emergency ends all that is not kept at once, protected phases too; the rules restore it, and no order is needed."""
    host = a_calm_host()
    reply = host.order(OrderKind.EMERGENCY, "logs")
    assert reply.ok
    assert sorted(host.stops()) == ["db", "web"]
    entries = host.run_until(lambda snapshot: len(snapshot.entries) == 2 and host.down == {"db", "web"}, within_s=10).entries
    assert {(entry.reason, entry.by) for entry in entries} == {("emergency", "ada")}
    host.run_until(lambda snapshot: not snapshot.entries, within_s=300)
    assert host.starts() == ["db", "web"]
    assert host.down == set()


def test_an_emergency_is_not_left_to_an_engine_that_hangs() -> None:
    """An emergency whose stops the engine leaves undone is carried out by signal, although memory is not hard."""
    host = a_calm_host()
    host.order(OrderKind.EMERGENCY, "db")
    assert sorted(host.stops()) == ["logs", "web"]
    host.engine_down()
    host.run(2)
    assert sorted(call.service.name for call in host.engine.calls if call.kind == "signal" and call.service) == ["logs", "web"]
    host.engine_down(False)
    host.run_until(lambda snapshot: not snapshot.entries, within_s=300)
    assert host.down == set()
    assert heard(host).overrides == []


def test_an_emergency_while_the_engine_hangs_is_carried_out_by_signal() -> None:
    """While the engine hangs an emergency is carried out by signal; what the engine restarts is stopped by it, then restored."""
    host = a_calm_host()
    host.engine_down()
    host.run(3)
    assert host.order(OrderKind.EMERGENCY, "db").data["by_signal"]
    host.run(5)
    assert {(call.kind, call.service) for call in host.engine.calls} == {("signal", key("web")), ("signal", key("logs"))}
    host.engine_down(False)
    host.run_until(lambda _: sorted(host.stops()) == ["logs", "web"], within_s=10)
    host.run_until(lambda snapshot: not snapshot.entries, within_s=300)
    assert (host.down, heard(host).overrides) == (set(), [])


@pytest.mark.parametrize("restart", ["no", "always"])
def test_what_is_kept_and_ends_with_the_engine_comes_back(restart: str) -> None:
    """What is kept and ends when an operator has the engine restarted runs again, whatever its restart policy."""
    host = a_calm_host(restart)
    host.order(OrderKind.EMERGENCY, "db", restart_engine=True)
    host.run_until(lambda _: {"web", "logs"} <= host.down, within_s=10)
    host.restart_engine(2.0)
    host.run_until(lambda snapshot: not snapshot.entries and host.down == set(), within_s=900)
    assert heard(host).overrides == []
    assert ("db" in host.starts()) == (restart == "no")


def test_what_the_kernel_ends_is_recorded() -> None:
    """Whom the kernel's OOM killer ends stands in history, once a minute however often it comes back for that."""
    host = a_host(Mode.OBSERVE, pressure=steady(2500 * MIB))
    host.run(CALM_S)
    killed = [one.service.name for one in host.engine.oom_kills]
    assert killed.count("logs") > 1
    assert sorted(rows(host, "oom")) == sorted((name, "kernel", "done") for name in set(killed))
