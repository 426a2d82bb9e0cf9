"""A roll-out beside a running guardian, both on one virtual host: admission, probation, and whose stop is whose."""

from __future__ import annotations

from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import ThresholdsConfig
from guardian.engine.simulated.behaviour import ramp_to
from guardian.engine.simulated.scenario import Health, Host, Scenario, Service, Step
from guardian.expose.orders import OrderKind, OrderReply
from guardian.policy.room import Verdict


def a_host(**services: Service) -> VirtualHost:
    """4 GiB with 400 MiB of the system's; `web` runs, and `big` does not."""
    every = {
        "web": Service(memory=100 * MIB, health=Health()),
        "big": Service(memory=1500 * MIB, running=False),
        "more": Service(memory=1500 * MIB, running=False),
        **services,
    }
    phases = (Phase(("web",), protected=True), Phase(("big", "more")))
    config = a_config(*phases, thresholds=ThresholdsConfig(cpu="off"))
    return VirtualHost(Scenario(host=Host(memory=4096 * MIB, base=400 * MIB), services=every), config)


def ask(host: VirtualHost, name: str, need_mib: int) -> OrderReply:
    return host.order(OrderKind.ADMIT, name, memory_bytes=need_mib * MIB)


def test_room_is_kept_for_what_was_granted() -> None:
    """Two starts that fit alone and not together: the second is refused at once, before the first has grown at all."""
    host = a_host()
    host.run(5)
    assert ask(host, "big", 1500).ok
    refused = ask(host, "more", 1500)
    assert (refused.ok, Verdict.of_data(dict(refused.data)).reason) == (False, "no_room")
    assert "missing" in refused.message


def test_a_granted_start_that_fills_memory_quickly_is_no_emergency() -> None:
    """A large service that was admitted is started at once, and nothing is shed for the speed at which it fills."""
    fills = Service(memory=10 * MIB, running=False, steps=(Step(after=0, memory=ramp_to(2500 * MIB, 500 * MIB)),))
    host = a_host(big=fills)
    host.paced = True
    host.run(5)
    assert ask(host, "big", 2500).ok
    host.engine.start(host.engine.ids("big")[0])
    host.run(30)
    assert host.stops() == []
    assert host.up("big")


def test_granted_starts_that_fill_memory_side_by_side_are_no_emergency() -> None:
    """Two large services that were admitted one after the other and fill at the same time: nothing is shed for their speed."""
    fills = Service(memory=10 * MIB, running=False, steps=(Step(after=0, memory=ramp_to(1200 * MIB, 250 * MIB)),))
    host = a_host(big=fills, more=fills)
    host.paced = True
    host.run(5)
    for name in ("big", "more"):
        assert ask(host, name, 1200).ok
    for name in ("big", "more"):
        host.engine.start(host.engine.ids(name)[0])
    host.run(30)
    assert host.stops() == []
    assert host.down == set()


def test_history_says_who_rolled_out_and_no_stop_of_it_is_an_override() -> None:
    """Granted starts and announced stops are rows of history with the operator's name; the stop itself counts for nobody's override."""
    host = a_host()
    host.run(5)
    ask(host, "big", 1500)
    host.engine.start(host.engine.ids("big")[0])
    host.run(5)
    assert host.order(OrderKind.TAKE_DOWN, "big").ok
    host.engine.begin_stop(host.engine.ids("big")[0], 1.0)
    host.run(60)
    rows = [(row.action, row.service, row.reason, row.by) for row in host.store.rows if row.reason == "rollout"]
    assert rows == [("start", key("big"), "rollout", "ada"), ("stop", key("big"), "rollout", "ada")]
    assert [row.action for row in host.store.rows if row.action == "override"] == []
    assert host.ledger.open_entries == ()
    assert not host.up("big")


def test_a_hold_of_an_operator_holds_a_roll_out_too() -> None:
    """What an operator holds for all starts holds for a roll-out, with that reason."""
    host = a_host()
    host.run(5)
    host.order(OrderKind.HOLD)
    reply = ask(host, "big", 100)
    assert (reply.ok, Verdict.of_data(dict(reply.data)).reason) == (False, "operator")
