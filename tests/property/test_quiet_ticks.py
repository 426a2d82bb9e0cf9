"""What a tick leaves out because nothing has changed, or nothing is there, is never what it would have found."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as with_fields
from support.policy import an_entry
from support.random_platforms import (
    CORES,
    MIB,
    NOW_S,
    TOTAL,
    Facts,
    Spec,
    config_of,
    host_of,
    inventory_of,
    platforms,
    resolve_facts,
)

from guardian.config.schema import Budget, Config, HostConfig
from guardian.ledger.entries import Controls, Entry, EntryState, Means
from guardian.model import Decision, HostReading, Inventory, ServiceKey, Signal
from guardian.policy import decide as decisions
from guardian.policy.assess import assess
from guardian.policy.decide import decide
from guardian.policy.inputs import Inputs
from guardian.policy.platform import Platform
from guardian.policy.state import Breaker, Memo, PolicyState
from guardian.units import Share

QUIET_TICKS = 12


@dataclass
class Course:
    """A platform over some ticks: now and then something is another, and mostly all is the same object as before."""

    facts: Facts
    rng: random.Random

    def __post_init__(self) -> None:
        self.config, self.platform = resolve_facts(self.facts)
        self._capacity(self.rng.choice((None, 2.0)))
        self.now_s = NOW_S
        self.entries: tuple[Entry, ...] = ()
        self.pins: frozenset[ServiceKey] = frozenset()
        self.state = PolicyState(run_id="run")
        self.host: HostReading | None = host_of(self.facts)

    def step(self) -> None:
        """Time passes; one time in two something changes."""
        self.now_s += self.rng.choice((0.1, 1.0, 1.0, 3.0))
        self.host = replace(host_of(self.facts), at_s=self.now_s)
        change = self.rng.randrange(14)
        if change == 0:  # some containers are read anew, the others grow old
            inventory = inventory_of(self.facts, self.now_s)
            read = {id_: usage for id_, usage in inventory.usage.items() if self.rng.random() < 0.5}
            self.platform = self.platform.read_again(
                Inventory(inventory.at_s, inventory.containers, {**self.platform.usage, **read}, self.rng.choice((1.0, 5.0)))
            )
        elif change == 1:
            self.pins = frozenset(spec.key for spec in self.facts.managed if self.rng.random() < 0.3)
        elif change == 2:
            states = [*EntryState]
            self.entries = tuple(
                an_entry(spec.name, 1, service=spec.key, state=self.rng.choice(states), settled_wall_s=self.rng.random())
                for spec in self.facts.managed
                if self.rng.random() < 0.3
            )
        elif change == 3:
            memos = {spec.key: Memo(quarantined=self.rng.random() < 0.5) for spec in self.facts.managed}
            self.state = replace(self.state, memos=memos)
        elif change == 4:
            self.config = config_of(self.facts)
            self._capacity(self.rng.choice((None, 2.0, 4.0)))
        elif change == 5:
            self.host = None
        elif change == 6:
            self.now_s += 20.0
            self.host = replace(host_of(self.facts), at_s=self.now_s, cores=CORES * 2)

    def _capacity(self, cores: float | None) -> None:
        memory = None if cores is None else TOTAL // 2
        half = Budget(cpu=Share(ratio=0.5))
        self.config = with_fields(
            self.config,
            host=HostConfig(memory=memory, cpu=cores),  # type: ignore[arg-type]
            phases=tuple(with_fields(phase, budget=half) for phase in self.config.phases),
        )


@given(platforms(), st.integers(0, 2**32))
@settings(max_examples=200)
def test_a_tally_that_is_taken_again_is_what_would_be_made_anew(facts: Facts, seed: int) -> None:
    """A tally of the tick before that is taken again gives the same assessment as one that is made anew."""
    course = Course(facts, random.Random(seed))
    for _ in range(QUIET_TICKS):
        course.step()
        arguments = course.entries, course.pins
        rest = course.config, course.now_s
        kept, after = assess(course.host, course.platform, *arguments, course.state, *rest)
        anew, after_anew = assess(course.host, course.platform, *arguments, replace(course.state, tally=None), *rest)
        assert kept == anew
        assert after == after_anew
        course.state = after


def test_a_tally_is_taken_again_until_a_reading_in_it_is_too_old() -> None:
    """While nothing is new the statuses are not made again, until a reading in them is more than two rounds old."""
    facts = Facts((Spec("s00"),), (False,), (False,))
    config, platform = resolve_facts(facts)
    state = PolicyState()
    made = []
    for age_s in (0.0, 1.0, 2.0, 2.5, 4.0):  # of rounds of 1 s, on readings that were taken a second before
        now_s = NOW_S + age_s
        assessment, state = assess(host_of(facts, now_s), platform, (), frozenset(), state, config, now_s)
        made.append(assessment.services)
    assert made[0] is made[1] is made[2] is made[3]
    assert (made[3][0].footprint_bytes, made[4][0].footprint_bytes) == (100 * MIB, None)


def some_state(facts: Facts, rng: random.Random) -> PolicyState:
    """Remembers this and that, with nothing under way."""
    keys = [spec.key for spec in facts.managed]
    return PolicyState(
        run_id="run",
        memos={key: Memo(failures=rng.randrange(2), refused_since_s=NOW_S - 5) for key in keys if rng.random() < 0.3},
        breakers={Signal.MEMORY: Breaker(1, rng.choice((None, NOW_S + 5, NOW_S - 5)))} if rng.random() < 0.5 else {},
        soft_sheds_s=tuple(NOW_S - age_s for age_s in (4000.0, 100.0) if rng.random() < 0.5),
        last_outcome_s=rng.choice((None, NOW_S - 100)),
    )


def looked(
    decision: Decision, host: HostReading, platform: Platform, inputs: Inputs, state: PolicyState, config: Config
) -> tuple[Decision, PolicyState]:
    """What the steps that `decide` leaves out would have made of this."""
    assessment, _ = assess(host, platform, inputs.entries, inputs.controls.pins, state, config, NOW_S)
    decision, state = decisions._shed(decision, (), assessment, host, platform, inputs, state, config, NOW_S)
    return decisions._restore(decision, assessment, platform, inputs, state, config, NOW_S)


@given(platforms(memory=st.floats(0.0, 0.69)), st.integers(0, 2**32))
@settings(max_examples=200)
def test_a_tick_without_deficit_order_or_debt_would_have_found_nothing_to_do(facts: Facts, seed: int) -> None:
    """Where there is no deficit, no order and no debt, looking for something to stop or start would have found nothing."""
    rng = random.Random(seed)
    facts = replace(facts, cpu=0.1)
    config, platform = resolve_facts(facts)
    inputs = Inputs(
        controls=Controls(hold=rng.choice(("", "ada"))),
        standby=rng.random() < 0.3,
        engine_ready=rng.random() < 0.7,
        observe=rng.random() < 0.3,
        under_way=frozenset(),
    )
    host = host_of(facts)
    assessment, state = assess(host, platform, (), frozenset(), some_state(facts, rng), config, NOW_S)
    decision, after = decide(assessment, host, platform, inputs, state, config, NOW_S)
    found, after_looking = looked(decision, host, platform, inputs, after, config)
    assert decision.actions == ()
    assert found == decision
    assert replace(after_looking, actions=after.actions) == after


@given(platforms(memory=st.floats(0.0, 0.69)), st.integers(0, 2**32))
@settings(max_examples=100)
def test_what_is_owed_is_looked_at_in_every_tick(facts: Facts, seed: int) -> None:
    """Whatever is owed, each of it is started, or held back with its reason, in every tick."""
    rng = random.Random(seed)
    facts = replace(facts, cpu=0.1)
    config, platform = resolve_facts(facts)
    owed = tuple(
        an_entry(spec.name, 1, service=spec.key, means=rng.choice((Means.API, Means.SIGNAL)))
        for spec in facts.managed
        if rng.random() < 0.5
    )
    host = host_of(facts)
    inputs = Inputs(entries=owed, under_way=frozenset())
    assessment, state = assess(host, platform, owed, frozenset(), some_state(facts, rng), config, NOW_S)
    decision, _ = decide(assessment, host, platform, inputs, state, config, NOW_S)
    answered = {action.service for action in decision.actions} | {held.service for held in decision.held}
    assert answered == {entry.service for entry in owed}
