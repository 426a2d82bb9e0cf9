"""What holds for every single decision, on any platform: who may be stopped, how many, and in which order."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_platforms import (
    CORES,
    HARD,
    NOW_S,
    RECOVER,
    TOTAL,
    Facts,
    Spec,
    decide_once,
    host_of,
    inventory_of,
    pins_of,
    platforms,
    resolve_facts,
    shed_names,
    state_of,
    without_id,
)

from guardian.ledger.entries import Controls
from guardian.model import Action, HostReading, Level, ServiceState
from guardian.policy.assess import assess
from guardian.policy.decide import decide
from guardian.policy.inputs import Inputs
from guardian.policy.state import PolicyState

MIB = 1024 * 1024

hard = platforms(memory=st.floats(0.9, 1.0))
soft = platforms(memory=st.floats(0.8, 0.89))


def useful(facts: Facts, spec: Spec, deficit: float) -> bool:
    """At least 16 MiB or 1% of the deficit; one of unknown use may be worth a stop."""
    relief = facts.relief_bytes(facts.group(spec))
    return relief is None or relief >= 16 * MIB or (relief > 0 and relief >= 0.01 * deficit)


def barred(facts: Facts, spec: Spec, is_hard: bool) -> bool:
    return not is_hard and any(facts.by_name[name].overridden for name in facts.group(spec))


def possible(facts: Facts, is_hard: bool) -> list[Spec]:
    return [spec for spec in facts.specs if not facts.untouchable(spec) and not barred(facts, spec, is_hard)]


@given(platforms())
def test_what_has_completed_is_shown_so_and_everything_else_is_not(facts: Facts) -> None:
    """A service is shown as completed where all its containers have ended well and are not started again, and nowhere else."""
    config, platform = resolve_facts(facts)
    assessment, _ = assess(host_of(facts), platform, (), pins_of(facts), state_of(facts), config, NOW_S)
    shown = {one.key for one in assessment.services if one.state is ServiceState.COMPLETED}
    assert shown == {spec.key for spec in facts.specs if spec.kind == "completed" and spec.replicas}


@given(st.one_of(hard, soft))
@settings(max_examples=500)
def test_nothing_protected_pinned_unmanaged_stopped_or_foreign_is_ever_stopped(facts: Facts) -> None:
    """Nothing protected, pinned, unmanaged, stopped or foreign is ever stopped."""
    for action in decide_once(facts).actions:
        assert facts.untouchable(facts.by_name[action.service.name]) == ""
        running = {f"id-{action.service.name}-{n}" for n, up in enumerate(facts.by_name[action.service.name].replicas, 1) if up}
        assert set(action.containers) == running


@given(st.one_of(hard, soft))
@settings(max_examples=500)
def test_no_lower_phase_is_entered_while_a_useful_victim_is_left_in_a_higher_one(facts: Facts) -> None:
    """No lower phase is entered while a useful victim is left in a higher one."""
    decision = decide_once(facts)
    stopped = set(shed_names(decision))
    if not stopped or decision.deficit is None or "memory" not in decision.actions[0].reason:
        return
    is_hard = decision.actions[0].hard
    roots = [name for name in stopped if not any(name in facts.group(facts.by_name[other]) for other in stopped - {name})]
    lowest = min(facts.phase(facts.by_name[name]) for name in roots)
    for spec in possible(facts, is_hard):
        if facts.phase(spec) > lowest and useful(facts, spec, decision.deficit.open):
            assert spec.name in stopped, f"{spec.name} of phase {facts.phase(spec)} is left, and phase {lowest} was entered"


@given(hard)
@settings(max_examples=500)
def test_no_victim_of_the_lowest_phase_picked_is_unneeded(facts: Facts) -> None:
    """Within the lowest phase picked no victim is unneeded."""
    decision = decide_once(facts)
    stopped = set(shed_names(decision))
    if not stopped or decision.deficit is None:
        return
    groups = {name: facts.group(facts.by_name[name]) for name in stopped}
    roots = [name for name in stopped if not any(name in groups[other] for other in stopped - {name})]
    lowest = min(facts.phase(facts.by_name[name]) for name in roots)
    for name in roots:
        if facts.phase(facts.by_name[name]) == lowest:
            rest = set().union(*(groups[other] for other in roots if other != name))
            assert facts.known_bytes(rest) < decision.deficit.open, f"{name} is not needed"


@given(hard)
@settings(max_examples=300)
def test_a_hard_plan_covers_the_deficit_or_takes_all_that_is_worth_it_or_ends_at_the_unknown(facts: Facts) -> None:
    """A hard plan covers the deficit, or takes all there is, or ends at a victim whose relief is unknown."""
    decision = decide_once(facts)
    stopped = set(shed_names(decision))
    deficit = next((one for one in decision.deficits if one.signal.value == "memory"), None)
    if deficit is None or deficit.level is not Level.HARD:
        return
    covers = facts.known_bytes(stopped) >= deficit.open
    unknown = any(facts.relief_bytes([name]) is None for name in stopped)
    left = [
        spec.name for spec in possible(facts, True) if spec.name not in stopped and facts.relief_bytes(facts.group(spec)) != 0
    ]
    assert covers or unknown or not left


@given(soft)
@settings(max_examples=200)
def test_a_soft_plan_stops_one_service_with_what_requires_it(facts: Facts) -> None:
    """A soft plan stops one service, with what requires it and nothing else."""
    stopped = set(shed_names(decide_once(facts)))
    assert not stopped or any(stopped == facts.group(facts.by_name[name]) for name in stopped)


@given(platforms(), st.randoms(use_true_random=False))
@settings(max_examples=400)
def test_the_order_of_containers_services_and_phases_changes_nothing(facts: Facts, shuffle: random.Random) -> None:
    """The order in which containers, services and phases are given changes nothing."""
    one, other = decide_once(facts), decide_once(facts, shuffle)
    assert [without_id(action) for action in one.actions] == [without_id(action) for action in other.actions]
    assert one.candidates == other.candidates
    assert one.held == other.held


@given(platforms(), st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_readings_that_become_unknown_never_make_it_bolder(facts: Facts, choose: random.Random) -> None:
    """Uses that become unknown never let memory reach a lower phase, nor stop a second one, nor one for a soft host."""
    facts = replace(facts, cpu=None)
    hidden = {spec.name for spec in facts.specs if choose.random() < 0.5}
    blind = replace(
        facts, specs=tuple(replace(spec, footprint_mib=None) if spec.name in hidden else spec for spec in facts.specs)
    )
    known, unknown = shed_names(decide_once(facts)), shed_names(decide_once(blind))
    unseen = [name for name in unknown if blind.by_name[name].footprint_mib is None]
    groups = [blind.group(blind.by_name[name]) for name in unknown]
    assert not unseen or any(set(unseen) <= group for group in groups), "more than one victim of unknown use"
    if known and unknown:
        assert min(facts.phase(facts.by_name[name]) for name in unknown) >= min(
            facts.phase(facts.by_name[name]) for name in known
        )
    if facts.memory is not None and facts.memory < HARD:
        assert not unseen
        assert known or not unknown


@given(platforms(memory=st.floats(0.8, 1.0)))
@settings(max_examples=200)
def test_an_unknown_signal_stops_nothing(facts: Facts) -> None:
    """Neither an unreadable host nor a host without the figure stops anything for that signal."""
    assert shed_names(decide_once(facts, host=False)) == []
    no_memory = decide_once(replace(facts, memory=None))
    assert all(action.reason == "cpu" for action in no_memory.actions)
    no_cpu = decide_once(replace(facts, cpu=None))
    assert all(action.reason == "memory" for action in no_cpu.actions)
    assert shed_names(decide_once(replace(facts, memory=None, cpu=None))) == []
    assert all(action.reason == "memory" for action in decide_once(replace(facts, waiting=None)).actions)


@given(platforms(), st.floats(0.8, 1.0))
@settings(max_examples=400)
def test_cpu_stops_only_who_uses_it_and_only_where_something_waits(facts: Facts, cpu: float) -> None:
    """CPU pressure stops only grown-up services whose use is known and worth it, and only where something waits for CPU."""
    seen = tuple(replace(spec, cores=0.0) if spec.age_s < 120 else spec for spec in facts.specs)  # else no level is known
    facts = replace(facts, memory=0.5, cpu=cpu, specs=seen)
    decision = decide_once(facts)
    stopped = set(shed_names(decision))
    if stopped:
        assert facts.waiting is not None
        assert facts.waiting >= 0.2
        assert decision.deficit is not None
        cores = [facts.by_name[name].cores for name in stopped]
        assert None not in cores
        used = sum(facts.by_name[name].running * (facts.by_name[name].cores or 0.0) for name in stopped)
        assert used >= max(0.1, 0.1 * decision.deficit.open)
        assert all(facts.by_name[name].age_s >= 120 for name in stopped)


@given(platforms(memory=st.just(0.75)), st.lists(st.floats(-0.012, 0.012), min_size=20, max_size=60), st.floats(0.701, 0.799))
@settings(max_examples=150)
def test_wobble_inside_the_hysteresis_band_makes_no_action(facts: Facts, steps: list[float], start: float) -> None:
    """Starting from ok, memory and CPU that wobble between recover and soft, never fast, make no action."""
    config, platform = resolve_facts(facts)
    state: PolicyState = state_of(facts)
    value = start
    for number, step in enumerate(steps):
        value = min(0.799, max(RECOVER, value + step))
        now_s = NOW_S + number
        platform = replace_usage(facts, platform, now_s)
        reading = HostReading(
            at_s=now_s,
            cores=CORES,
            memory_total_bytes=TOTAL,
            memory_available_bytes=round(TOTAL * (1 - value)),
            cpu_ratio=value,
            cpu_some_avg10_ratio=1.0,
            memory_full_avg10_ratio=0.04,
            swap_total_bytes=TOTAL,
            swap_used_bytes=round(TOTAL * 0.5),
            psi_present=True,
        )
        assessment, state = assess(reading, platform, (), pins_of(facts), state, config, now_s)
        decision, state = decide(
            assessment, reading, platform, Inputs(controls=Controls(pins=pins_of(facts))), state, config, now_s
        )
        assert assessment.level is Level.OK
        assert decision.actions == ()


def replace_usage(facts: Facts, platform: object, now_s: float) -> object:
    return replace(platform, usage=inventory_of(facts, now_s).usage, read_s=now_s - 1)  # type: ignore[type-var]


@given(st.one_of(hard, soft))
@settings(max_examples=300)
def test_without_the_engine_hard_memory_takes_the_same_victims_and_nothing_else_is_stopped(facts: Facts) -> None:
    """Without the engine hard memory takes the same victims, by signal; soft memory and CPU take none."""
    with_it, without = decide_once(facts), decide_once(facts, engine_ready=False, engine_down=True, signals=True)
    assert without.actions == tuple(replace(action, by_signal=True) for action in with_it.actions if action.hard)
    assert decide_once(facts, engine_ready=False, engine_down=True).actions == ()


def in_emergency(facts: Facts, keep: frozenset[str]) -> Facts:
    """The same platform written so that `protect` and pins alone protect: what an emergency may do, ordinary rules may do there."""
    kept = tuple(replace(spec, protect=spec.protect or spec.name in keep) for spec in facts.specs)
    return replace(facts, specs=kept, protected=(False,) * len(facts.protected))


@given(platforms(memory=st.floats(0.901, 1.0)), st.sets(st.integers(0, 11)))
@settings(max_examples=300)
def test_an_emergency_goes_down_to_what_is_kept_and_no_further(facts: Facts, numbers: set[int]) -> None:
    """In an emergency phases do not protect: `protect`, pins and `keep` do; all other rules stay as they are."""
    keep = frozenset(f"s{number:02}" for number in numbers) & facts.by_name.keys()
    decision = decide_once(facts, keep=keep)
    assert decision.emergency
    hard_ones = [action for action in decision.actions if action.hard]
    for action in hard_ones:
        assert in_emergency(facts, keep).untouchable(facts.by_name[action.service.name]) == ""
    expected = [action for action in decide_once(in_emergency(facts, keep)).actions if action.hard]
    assert [without_reason(action) for action in hard_ones] == [without_reason(action) for action in expected]
    for action in hard_ones:
        assert (action.reason == "emergency") == facts.untouchable(facts.by_name[action.service.name]).startswith("protected")


def without_reason(action: Action) -> Action:
    return replace(action, reason="")


@given(st.one_of(hard, soft), st.booleans())
@settings(max_examples=200)
def test_without_an_emergency_its_settings_change_nothing(facts: Facts, enabled: bool) -> None:
    """As long as it is not exhausted, an emergency that is enabled changes no decision."""
    assert decide_once(facts, enabled=enabled).actions == decide_once(facts).actions


@given(hard)
@settings(max_examples=150)
def test_the_same_input_twice_is_the_same_decision(facts: Facts) -> None:
    """The same input twice is the same decision: nothing is read that was not passed in."""
    assert decide_once(facts) == decide_once(facts)
    assert host_of(facts) == host_of(facts)
