"""One configuration over a recording, on the record's clock: the real policy, and what it would have done.

As long as the configuration is the recorded one, and it was enforced, the record itself says how each action ended: then
the policy is given exactly what it was given, from the state that it had. Another configuration goes its own way from the
start, in the world as it would have been (`world`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from guardian.config.schema import Config
from guardian.errors import LedgerError
from guardian.ledger.book import Ledger
from guardian.ledger.entries import EntryState, ServiceMemory
from guardian.memos import from_ledger, to_ledger
from guardian.model import (
    Action,
    ActionKind,
    Assessment,
    Decision,
    HostReading,
    Inventory,
    Level,
    Mode,
    Outcome,
    Result,
    ServiceKey,
)
from guardian.policy.assess import assess, cpu_capacity
from guardian.policy.decide import decide, refusal
from guardian.policy.inputs import Inputs
from guardian.policy.platform import EMPTY, Platform, resolve
from guardian.policy.state import PolicyState
from guardian.record.rows import policy_part
from guardian.record.timeline import Step
from guardian.replay.books import a_ledger, at_rest
from guardian.replay.world import ModelActor, World

BUSY_S = 1.0  # while something goes on, a thinned record is looked at this often
GAP_S = 120.0  # a longer pause than this was not recorded


class RecordClock:
    """Shows the time of the record, which may go back where a host was started anew."""

    def __init__(self) -> None:
        self.now_s = self.now_wall_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_wall_s

    def boottime(self) -> float:
        return self.now_s

    def set(self, now_s: float, now_wall_s: float) -> None:
        self.now_s, self.now_wall_s = now_s, now_wall_s


@dataclass(frozen=True, slots=True)
class Look:
    """One tick of a replay: what `assess` and `decide` made of it. `after_s`: since the one before, as far as that is recorded."""

    now_wall_s: float
    after_s: float
    host: HostReading | None
    assessment: Assessment
    decision: Decision | None  # None: nothing was decided then, by the record
    whole: bool
    as_recorded: bool
    quarantined: tuple[ServiceKey, ...] = ()


@dataclass(slots=True)
class _Resolved:
    config: Config
    inventory: Inventory
    excluded: frozenset[str]
    owed: frozenset[str]
    platform: Platform


class Run:
    """Goes through steps once. `own_way`: by now, decisions or the world are others than recorded."""

    def __init__(self, config: Config | None) -> None:
        """`config` None: whatever was in force; then all is as it was."""
        self.config = None if config is None else enforced(policy_part(config))
        self.clock = RecordClock()
        self.own_way = False
        self._acted = False  # … and has done something since
        self._state: PolicyState | None = None
        self._known: _Resolved | None = None
        self._ledger: Ledger = a_ledger(self.clock)
        self._world = World()
        self._actor = ModelActor()
        self._starting: dict[ServiceKey, Outcome] = {}
        self._step: Step | None = None
        self._same: dict[int, bool] = {}
        self._exact = False  # the state is the recorded one

    def over(self, steps: Iterable[Step]) -> Iterable[Look]:
        """Look after look."""
        for step in steps:
            yield from self._between(step)
            yield self._look(step, step.now_s, step.now_wall_s, step.interval_s)
            self._step = step

    # --- time -------------------------------------------------------------------------------------------------------

    def _between(self, following: Step) -> Iterable[Look]:
        """While something goes on, a thinned record stands still between its readings, and time does not."""
        step = self._step
        if step is None or following.whole or following.began or not self.own_way:
            return
        now_s, now_wall_s = step.now_s + BUSY_S, step.now_wall_s + BUSY_S
        while now_s < following.now_s - BUSY_S / 2 and following.now_s - step.now_s <= GAP_S and self._busy():
            host = None if step.host is None else replace(step.host, at_s=now_s)
            carried = replace(step, host=host, state=None, began=False)
            yield self._look(carried, now_s, now_wall_s, BUSY_S)
            now_s, now_wall_s = now_s + BUSY_S, now_wall_s + BUSY_S

    def _busy(self) -> bool:
        state = self._state
        return state is not None and bool(
            state.level is not Level.OK
            or state.flights
            or state.landings
            or state.rising
            or self._actor.busy
            or any(one.soft_run_s is not None or one.hard_run_s is not None for one in state.signals.values())
        )

    # --- one look ---------------------------------------------------------------------------------------------------

    def _look(self, step: Step, now_s: float, now_wall_s: float, interval_s: float) -> Look:
        before = self._step
        after_s = 0.0 if before is None else now_wall_s - self.clock.wall()
        config = enforced(step.config) if self.config is None else self.config
        if step.began and before is not None and self.own_way:
            self._begin_again(config, step)
        self.clock.set(now_s, now_wall_s)
        if self.own_way and self._may_rejoin(step, config):
            self.own_way = False
        elif not self.own_way and not self._is_recorded(step, config):
            self._go_own_way(step)
        self._world.see(step.inventory)
        if not self.own_way:
            look = self._as_recorded(step, config, interval_s)
            if look is not None:
                return replace(look, after_s=_within(after_s))
            self._go_own_way(step)
        return replace(self._own(step, config, now_s, now_wall_s, interval_s), after_s=_within(after_s))

    def _is_recorded(self, step: Step, config: Config) -> bool:
        """Whether `config` is what was in force then, and acted."""
        known = self._same.get(id(step.config))
        if known is None:
            known = self._same[id(step.config)] = enforced(step.config) == config
        return known

    def _may_rejoin(self, step: Step, config: Config) -> bool:
        """Whether nothing has come of going another way, and the state that was recorded is that of the same configuration."""
        return step.state is not None and step.mode is Mode.ENFORCE and not self._acted and self._is_recorded(step, config)

    def _as_recorded(self, step: Step, config: Config, interval_s: float) -> Look | None:
        """The tick again, with what it was made of. None where what is decided is not what was done."""
        if step.state is not None:
            self._state, self._exact = step.state, True
        state = self._state or PolicyState(run_id="replay")
        inputs = step.inputs
        platform = self._platform(step, step.inventory, config, tuple(one.id for e in inputs.entries for one in e.containers))
        assessment, after = assess(
            step.host, platform, inputs.entries, inputs.controls.pins, state, config, step.now_s, interval_s, step.slept
        )
        if not step.whole:  # nothing was done: all that is done is recorded whole
            self._state, self._exact = after, False
            return Look(step.now_wall_s, 0.0, step.host, assessment, None, False, True)
        if not self._exact:  # the state that it was decided by is not in the record
            self._state = after
            return Look(step.now_wall_s, 0.0, step.host, assessment, None, True, True)
        decision, after = decide(assessment, step.host, platform, replace(inputs, observe=False), after, config, step.now_s)
        if (inputs.observe and decision.actions) or decision.actions != step.actions:
            return None
        self._state = after
        return Look(step.now_wall_s, 0.0, step.host, assessment, decision, True, True, _quarantined(after))

    def _own(self, step: Step, config: Config, now_s: float, now_wall_s: float, interval_s: float) -> Look:
        """The tick in the world as it would have been."""
        outcomes = self._take_outcomes(now_s, now_wall_s)
        read = step.inventory if step.whole or not self._busy() else _dated(step.inventory, now_s)
        host, inventory = self._world.shown(step.host, read, step.inputs.entries, now_s)
        self._forget_vanished(inventory)
        entries = self._ledger.open_entries
        platform = self._platform(step, inventory, config, tuple(one.id for entry in entries for one in entry.containers))
        state = self._state or PolicyState(run_id="replay")
        controls = step.inputs.controls
        assessment, state = assess(host, platform, entries, controls.pins, state, config, now_s, interval_s, step.slept)
        inputs = Inputs(
            outcomes=outcomes,
            shed_orders=tuple(
                one for one in step.inputs.shed_orders if not refusal(platform.services.get(one[0]), platform, controls.pins)
            ),
            ends=step.inputs.ends,
            restore_orders=tuple(
                one for one in step.inputs.restore_orders if any(entry.service == one[0] for entry in entries)
            ),
            entries=entries,
            controls=controls,
            standby=step.inputs.standby,
            engine_ready=step.inputs.engine_ready and inventory is not None,
            engine_down=step.inputs.engine_down,
            signals=step.inputs.signals,
            under_way=self._actor.ids,
        )
        decision, after = decide(assessment, host, platform, inputs, state, config, now_s)
        self._settle(decision, after)
        self._act(decision, platform, now_s)
        self._state = after
        return Look(now_wall_s, 0.0, host, assessment, decision, step.whole, False, _quarantined(after))

    # --- its steps --------------------------------------------------------------------------------------------------

    def _go_own_way(self, step: Step) -> None:
        """From here on the world is another. What was under way at this moment counts as done."""
        self.own_way = True
        state = step.state if self._state is None else self._state
        owed = at_rest(step.inputs.entries, step.inventory)
        if state is not None:
            self._state = replace(state, flights=(), rising=None, virtual=(), tally=None)
        self._ledger = a_ledger(self.clock, owed, step.inputs.controls)
        self._world.begin(owed)

    def _begin_again(self, config: Config, step: Step) -> None:
        """Guardian was started anew then: it remembers what the ledger keeps."""
        before = self._state
        if before is None:
            return
        now_s, now_wall_s = self.clock.monotonic(), self.clock.wall()
        kept: list[ServiceMemory] = [to_ledger(key, memo, now_s, now_wall_s) for key, memo in before.memos.items()]
        longest_s = float(config.restoring.backoff.max)
        memos = {one.service: from_ledger(one, step.now_s, step.now_wall_s, longest_s) for one in kept}
        self._state = PolicyState(run_id=before.run_id, actions=before.actions, memos=memos)
        self._actor.clear()
        self._starting.clear()
        self.clock.set(step.now_s, step.now_wall_s)
        owed = at_rest(self._ledger.open_entries, None)
        self._ledger = a_ledger(self.clock, owed, step.inputs.controls)
        self._world.begin(owed)

    def _platform(self, step: Step, inventory: Inventory | None, config: Config, owed: tuple[str, ...]) -> Platform:
        """As the loop does it: sorted anew only where something is another."""
        if inventory is None:
            return EMPTY
        known, ids = self._known, frozenset(owed)
        if (
            known is None
            or known.config is not config
            or known.excluded != step.excluded
            or known.inventory.containers != inventory.containers
            or (known.owed ^ ids) & known.platform.completed
        ):
            before = EMPTY if known is None else known.platform
            platform = resolve(config, inventory, step.excluded, cpu_capacity(config, step.host), ids).after(before)
            self._known = _Resolved(config, inventory, step.excluded, ids, platform)
            return platform
        if known.inventory is not inventory:
            known.platform, known.inventory = known.platform.read_again(inventory), inventory
        return known.platform

    def _take_outcomes(self, now_s: float, now_wall_s: float) -> tuple[Outcome, ...]:
        outcomes = self._actor.ended(now_s, now_wall_s)
        for outcome in outcomes:
            self._world.did(outcome)
            if outcome.action.kind is ActionKind.RESTORE:
                self._starting[outcome.action.service] = outcome
            else:
                self._ledger.settle(outcome)
        return outcomes

    def _settle(self, decision: Decision, after: PolicyState) -> None:
        for service in (*decision.restored, *decision.fallen):
            outcome = self._starting.pop(service, None)
            if outcome is None:
                continue
            fell = service in decision.fallen
            self._ledger.settle(replace(outcome, result=Result.FAILED, failed=outcome.action.containers) if fell else outcome)
        if after.rising is None and self._starting and not after.flights:
            for outcome in self._starting.values():
                self._ledger.settle(outcome)
            self._starting.clear()

    def _act(self, decision: Decision, platform: Platform, now_s: float) -> None:
        actions: list[Action] = list(decision.actions)
        self._acted = self._acted or bool(actions)
        try:
            self._ledger.intend(actions, platform.containers)
            for action in actions:
                self._ledger.mark(action)
        except LedgerError:  # what it says of is done already
            actions = [one for one in actions if any(one.id == entry.id for entry in self._ledger.open_entries)]
        self._actor.submit(actions, now_s)

    def _forget_vanished(self, inventory: Inventory | None) -> None:
        """What was removed, or recreated under another id, in the record is nobody's debt."""
        there = {one.id for one in (() if inventory is None else inventory.containers)}
        for entry in self._ledger.open_entries:
            if there and entry.state is EntryState.SHED and not any(one.id in there for one in entry.containers):
                self._ledger.forget(entry.service, "")


def enforced(config: Config) -> Config:
    """What is asked is what would be done."""
    return config if config.mode is Mode.ENFORCE else msgspec.structs.replace(config, mode=Mode.ENFORCE)


def _dated(inventory: Inventory | None, now_s: float) -> Inventory | None:
    """The same readings, taken anew."""
    if inventory is None:
        return None
    return replace(inventory, at_s=now_s, usage={id_: use._replace(at_s=now_s) for id_, use in inventory.usage.items()})


def _quarantined(state: PolicyState) -> tuple[ServiceKey, ...]:
    return tuple(sorted(key for key, memo in state.memos.items() if memo.quarantined))


def _within(seconds: float) -> float:
    return seconds if 0 <= seconds <= GAP_S else 0.0
