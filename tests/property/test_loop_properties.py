"""What holds over time, for guardian as a whole: whatever the load, whatever fails, wherever its process ends."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.cases import TROUBLE_S, Case, a_case, assert_sound
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.config.schema import EmergencyConfig
from guardian.engine.simulated.behaviour import steady
from guardian.engine.simulated.scenario import Scenario, Service, Step
from guardian.expose.orders import OrderKind
from guardian.ledger.entries import EntryState
from guardian.model import ActionKind, Mode, Result

CALM_S = 3 * 3600


def cases(sudden: bool | None = None) -> st.SearchStrategy[Case]:
    return st.builds(a_case, st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**32), st.just(sudden))


def calm(host: VirtualHost) -> None:
    """Let it be calm for CALM_S, at most until nothing is owed. The pace is slower: little happens any more."""
    host.interval_s = host.round_s = 10.0
    for _ in range(CALM_S // 10):
        if not host.tick().entries:
            return


def assert_all_is_back(host: VirtualHost) -> None:
    """Nothing is owed, and nothing is down but what the kernel or the engine ended and no restart policy brings back."""
    assert host.snapshots[-1].entries == ()
    killed = {one.service.name for one in host.engine.oom_kills}
    for name in host.down:
        policy = host.scenario.services[name].restart
        assert (name in killed and policy == "no") or (host.engine_restarts and policy in ("no", "on-failure")), name


@given(cases())
@settings(max_examples=120)
def test_after_lasting_calm_every_shed_service_is_restored(case: Case) -> None:
    """After lasting calm every service that guardian stopped runs again, and nothing is owed."""
    host = VirtualHost(case.scenario, case.config)
    host.run(TROUBLE_S + 30)
    calm(host)
    assert_all_is_back(host)
    assert_sound(case, host)


@given(cases())
@settings(max_examples=60)
def test_at_its_own_pace_guardian_keeps_all_that_it_keeps_at_a_steady_one(case: Case) -> None:
    """Guardian that sets its own pace ticks every tenth of a second to every second, and brings all back in the end."""
    host = VirtualHost(case.scenario, case.config, paced=True)
    host.run(TROUBLE_S + 30)
    gaps = [after.at_s - before.at_s for before, after in pairwise(host.snapshots)]
    assert all(0.1 - 1e-6 <= gap <= 1.0 + 1e-6 for gap in gaps)
    host.paced = False
    calm(host)
    assert_all_is_back(host)
    assert_sound(case, host)


@given(cases(), st.integers(1, 160), st.integers(1, 160))
@settings(max_examples=250)
def test_a_crash_at_any_step_loses_no_obligation_and_starts_nothing_else(case: Case, first: int, second: int) -> None:
    """Wherever guardian dies, twice, what it stopped is restored in the end, and it starts nothing else."""
    host = VirtualHost(case.scenario, case.config)
    host.run_through_crash(TROUBLE_S, first)
    host.run_through_crash(TROUBLE_S, second)
    calm(host)
    assert_all_is_back(host)
    assert_sound(case, host)


def run_with_faults(case: Case, seed: int) -> VirtualHost:
    """Five faults, one after the other, some with guardian's end; then the load goes away."""
    host, rng = VirtualHost(case.scenario, case.config), random.Random(seed)
    names = sorted(case.scenario.services)
    for _ in range(5):
        fault = rng.choice(("refuse_stops", "refuse_starts", "miss_stats", "down", "restart", "crash", "slow"))
        name = rng.choice(names)
        if fault in ("refuse_stops", "refuse_starts", "miss_stats"):
            getattr(host.engine, fault)(name, True)
        elif fault == "restart":
            host.restart_engine(rng.choice((0.5, 5.0)))
        elif fault == "down":
            host.engine_down()
        elif fault == "slow":
            host.store.slow = True
        else:
            host.crash()
        host.run(rng.choice((3, 10, 30)))
        if fault in ("refuse_stops", "refuse_starts", "miss_stats"):
            getattr(host.engine, fault)(name, False)
        elif fault == "down":
            host.engine_down(False)
        host.store.slow = False
        host.store.commit()  # a crash before that is the one exception to "no obligation is lost"
    host.run(TROUBLE_S)
    return host


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=150)
def test_whatever_fails_on_the_way_all_is_restored_in_the_end(case: Case, seed: int) -> None:
    """Stops and starts that are refused, figures that are missing, an engine that is away or restarts: all ends well."""
    host = run_with_faults(case, seed)
    calm(host)
    assert_all_is_back(host)
    assert_sound(case, host)


@given(cases(sudden=True))
@settings(max_examples=120)
def test_a_batch_that_suffices_is_never_followed_by_another(case: Case) -> None:
    """A hard batch whose reliefs cover the deficit is the last one, as long as nothing else grows."""
    host = VirtualHost(case.scenario, case.config)
    host.run(TROUBLE_S - 5)
    batches = [one.decision for one in host.snapshots if any(action.kind is ActionKind.SHED for action in one.decision.actions)]
    for number, decision in enumerate(batches):
        deficit = next(one for one in decision.deficits if one.signal.value == "memory")
        relief = sum(action.relief_bytes or 0 for action in decision.actions if action.kind is ActionKind.SHED)
        assert deficit.open > 0
        if relief >= deficit.open and not any(outcome_failed(host, action.id) for action in decision.actions):
            assert number == len(batches) - 1, "the batch sufficed, and another one followed"


def outcome_failed(host: VirtualHost, action_id: str) -> bool:
    rows = [row for row in host.store.rows if row.action_id == action_id]
    return any(row.result not in (Result.DONE, "done") for row in rows)


@given(cases())
@settings(max_examples=80)
def test_observe_mode_calls_nothing_and_repeats_nothing(case: Case) -> None:
    """Observe mode makes no call that changes anything, and decides each shed once."""
    host = VirtualHost(case.scenario, replace(case.config, mode=Mode.OBSERVE))
    host.run(TROUBLE_S)
    assert host.engine.calls == []
    sheds = [action.service for action in host.actions if action.kind is ActionKind.SHED]
    restores = [action.service for action in host.actions if action.kind is ActionKind.RESTORE]
    for service in set(sheds):
        assert sheds.count(service) <= restores.count(service) + 1


@given(cases(), st.integers(1, 30), st.integers(1, 40), st.integers(1, 120))
@settings(max_examples=150)
def test_an_engine_that_hangs_under_pressure_costs_nothing_for_good(case: Case, since: int, lasts: int, crash_at: int) -> None:
    """Whenever the engine hangs, and guardian dies in it: no protected service is signalled, and all is restored in the end."""
    host = VirtualHost(case.scenario, case.config, with_cgroups=True)
    host.run(since)
    host.engine_down()
    host.run_through_crash(lasts, crash_at)
    host.engine_down(False)
    host.run(TROUBLE_S)
    calm(host)
    assert_all_is_back(host)
    assert_sound(case, host)


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=120)
def test_an_emergency_stops_nothing_that_is_kept_and_costs_nothing_for_good(case: Case, seed: int) -> None:
    """Where an emergency is allowed what is kept is never stopped, all else only after ten seconds; all is restored in the end."""
    names, rng = sorted(case.scenario.services), random.Random(seed)
    keep = tuple(rng.sample(names, min(2, len(names))))
    phases = tuple(replace(phase, protected=rng.random() < 0.8) for phase in case.config.phases)
    config = replace(case.config, phases=phases, emergency=EmergencyConfig(enabled=True, keep=keep))
    host = VirtualHost(case.scenario, config)
    host.run(TROUBLE_S + 30)
    calm(host)
    assert_all_is_back(host)
    protected = {name for phase in phases if phase.protected for name in phase.services}
    assert_sound(Case(case.scenario, config, frozenset(protected & set(keep)), case.never_killed), host)
    for action in host.actions:
        if action.kind is ActionKind.SHED and action.service.name in protected:
            assert action.reason == "emergency"


def run_with_operator(case: Case, seed: int) -> tuple[VirtualHost, str, str]:
    """Somebody stops one service by docker, and orders another down. Returned: the host, and these two; empty: refused."""
    host, rng = VirtualHost(case.scenario, case.config), random.Random(seed)
    names = sorted(case.scenario.services)
    host.run(3)
    by_docker, by_order = rng.choice(names), rng.choice(names)
    host.engine.external_kill(by_docker)
    host.run(20)
    deaf = by_order in case.never_killed and case.scenario.services[by_order].stop.ignores_sigterm
    if not host.order(OrderKind.SHED, by_order).ok or deaf:
        by_order = ""
    host.run(TROUBLE_S)
    host.interval_s = host.round_s = 5.0
    host.run(900)
    return host, by_docker, by_order


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=100)
def test_what_an_operator_stopped_or_ordered_down_stays_down(case: Case, seed: int) -> None:
    """What an operator stopped by docker, or shed by order, stays down, and the order is the reason; all else comes back."""
    host, by_docker, by_order = run_with_operator(case, seed)
    last = host.snapshots[-1]
    assert not host.up(by_docker)
    if by_order:
        assert not host.up(by_order)
        assert [one.reason for one in last.decision.held if one.service == key(by_order)] == ["operator"]
    assert {entry.service.name for entry in last.entries} == ({by_order} if by_order else set())
    assert_sound(case, host)


def test_what_can_never_fit_is_held_and_holds_back_nobody_else() -> None:
    """A service that can never fit again is held with that reason, and those of later phases come back."""
    services = {
        "huge": Service(memory=1500 * MIB),
        "small": Service(memory=300 * MIB),
        "core": Service(memory=500 * MIB, steps=(Step(at=10, memory=steady(1900 * MIB)),)),
    }
    config = a_config(Phase(("core",), protected=True), ("huge",), ("small",))
    host = VirtualHost(Scenario(services=services), config)
    host.run(300)
    assert host.down == {"huge", "small"}
    host.interval_s = host.round_s = 10.0
    host.run(2400)
    assert host.down == {"huge"}
    assert [(one.service, one.reason) for one in host.snapshots[-1].decision.held] == [(key("huge"), "cannot_fit")]
    assert [entry.state for entry in host.snapshots[-1].entries] == [EntryState.SHED]
