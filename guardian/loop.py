"""One tick: sense, assess, decide, act. Glue; the rules are in `policy`, what is owed in `ledger`, the effects in `act`."""

from __future__ import annotations

import math
import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Protocol

from guardian import emergency, journal
from guardian.act import Actor
from guardian.boots import Ran, ended_with_host
from guardian.clock import Clock
from guardian.config.schema import Config
from guardian.errors import LedgerError
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.expose.snapshot import Snapshot
from guardian.ledger import overrides as others
from guardian.ledger.book import Ledger
from guardian.ledger.entries import Entry, HistoryRow
from guardian.ledger.reconcile import RETURN_S, Context, Finding, FindingKind, reconcile
from guardian.memos import from_ledger, to_ledger
from guardian.model import (
    ROLL_OUT,
    Action,
    ActionKind,
    Assessment,
    Decision,
    EngineEvent,
    EngineInfo,
    Held,
    HostReading,
    Inventory,
    Level,
    Mode,
    Outcome,
    Result,
    Sample,
    ServiceKey,
)
from guardian.orders import Answer, Situation, answer
from guardian.policy.assess import assess, cpu_capacity
from guardian.policy.decide import decide, holds_of
from guardian.policy.inputs import Inputs
from guardian.policy.pace import at_start, follow, use_age_s
from guardian.policy.platform import EMPTY, Platform, resolve
from guardian.policy.restore import OWN_REASONS
from guardian.policy.room import Verdict, may_start, with_admitted
from guardian.policy.state import PolicyState
from guardian.policy.target import is_above
from guardian.record.moment import Moment
from guardian.rollout.progress import KnownRollOut
from guardian.storage.values import NOTHING_KNOWN
from guardian.telemetry import Telemetry

SUSPEND_S = 1.0  # boot time ahead of monotonic time by more than this since the last tick: the host slept
ORDER_WAIT_S = 5.0
TAKE_DOWN_S = 60.0  # beyond its stop timeout: a roll-out that has announced a stop may be slow to make it
OOM_EVERY_S = 60.0  # a container whose processes the kernel ends again and again is told of once in this time
ECHO_S = 10.0  # events of a restart may come so much later than its outcome
_STARTS = (ActionKind.RESTORE, ActionKind.UNTHROTTLE)
_NOBODY = ServiceKey("", "")


def _held_as(held: Held) -> tuple[ActionKind, str, ServiceKey | None]:
    """What makes one hold the same as another: the service only where the reason is its own, not the host's."""
    own = held.action is ActionKind.RESTART or held.reason in OWN_REASONS
    return held.action, held.reason, held.service if own else None


def _is_real(action: Action, mode: Mode) -> bool:
    """Whether it leaves this process: in observe mode only a start that somebody ordered does."""
    return mode is Mode.ENFORCE or (action.kind in _STARTS and bool(action.by))


def _services(findings: tuple[Finding, ...], kind: FindingKind) -> tuple[ServiceKey, ...]:
    return tuple(finding.service for finding in findings if finding.kind is kind)


def _owing(entries: tuple[Entry, ...], config: Config) -> bool:
    """Whether something waits for its restore. What is above target_phase waits for no room."""
    return any(not is_above(entry.phase, config) for entry in entries)


class HostSource(Protocol):
    def read(self) -> HostReading: ...


class ContainerSource(Protocol):
    """The newest inventory, its use read anew where that is older than `max_age_s`; never waits.

    `ready`: the engine answers and its list is complete.
    """

    def current(self, max_age_s: float = 0.0) -> Inventory | None: ...

    @property
    def ready(self) -> bool: ...

    @property
    def down(self) -> bool:
        """The engine does not answer at all: what it was asked last has failed."""
        ...

    @property
    def engine(self) -> EngineInfo | None: ...

    @property
    def excluded(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A platform, and what it was made of."""

    config: Config
    inventory: Inventory
    owed: frozenset[str]
    platform: Platform

    def holds(self, config: Config, inventory: Inventory, owed: frozenset[str]) -> bool:
        """Whether its services are those of these inputs too. What is owed makes a difference only where it looks completed."""
        return (
            self.config is config
            and self.inventory.containers == inventory.containers
            and not (self.owed ^ owed) & self.platform.completed
        )


@dataclass(slots=True)
class _Ordered:
    order: Order
    replied: queue.Queue[OrderReply]


class Loop:
    """State goes round by value; what comes from other threads waits in queues until the next tick."""

    def __init__(
        self,
        config: Config,
        mode: Mode,
        host: HostSource,
        containers: ContainerSource,
        actor: Actor,
        ledger: Ledger,
        clock: Clock,
        telemetry: Telemetry,
        run_id: str,
        record: Callable[[Moment], None] = lambda _: None,
    ) -> None:
        """`record` is handed each tick once it is done; it must not wait."""
        self.config = config  # swapped whole by a reload
        self.mode = mode
        self.config_pending: tuple[str, ...] = ()
        self.rollout: KnownRollOut | None = None  # only shown
        self.storage = NOTHING_KNOWN
        self.snapshot: Snapshot | None = None
        self._host = host
        self._containers = containers
        self._actor = actor
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._record = record
        now_s, now_wall_s = clock.monotonic(), clock.wall()
        longest = float(config.restoring.backoff.max)
        memos = {key: from_ledger(one, now_s, now_wall_s, longest) for key, one in ledger.memories.items()}
        self._state = PolicyState(run_id=run_id, memos=memos)
        self.pace = at_start(config, now_s)
        self._platform: _Resolved | None = None
        self._reconciled_s: float | None = None
        self._startup = True
        self.ran_before: Ran | None = None  # in the boot before this one, until it was made up for
        self._pretended: list[Outcome] = []  # outcomes of observe mode, for the next tick
        self._starting: dict[ServiceKey, Outcome] = {}  # restores that the engine has started and that are not up yet
        self._rows = journal.Rows()
        self._slept_s = clock.boottime() - now_s
        self._lock = Lock()
        self._orders: deque[_Ordered] = deque()
        self._events: deque[EngineEvent] = deque(maxlen=10_000)
        self._signalled: dict[str, str] = {}
        self._taken_down: dict[ServiceKey, float] = {}  # until when a stop of it is a roll-out's
        self._oom_s: dict[str, float] = {}  # containers that the kernel ended a process of, and when that was told
        self._restarted: dict[str, float] = {}  # containers that guardian restarted, and when it was done
        self._stops: tuple[others.Override, ...] = ()  # by somebody, unless the engine turns out to have ended
        self._gap: tuple[float, float] | None = None
        self._answers_since_wall_s: float | None = None
        self._ticks = 0

    # --- from other threads -----------------------------------------------------------------------------------------

    def submit_order(self, order: Order) -> OrderReply:
        """Hand an order to the next tick and wait for its reply."""
        try:
            return self.put_order(order).get(timeout=ORDER_WAIT_S)
        except queue.Empty:
            return OrderReply(False, "the loop did not answer in time; see `guardian status`")

    def put_order(self, order: Order) -> queue.Queue[OrderReply]:
        """Hand an order to the next tick. The queue gets its reply."""
        waiting = _Ordered(order, queue.Queue(1))
        with self._lock:
            self._orders.append(waiting)
        return waiting.replied

    def take_events(self, events: tuple[EngineEvent, ...]) -> None:
        self._events.extend(events)

    def take_gap(self, from_wall_s: float, to_wall_s: float) -> None:
        """The event stream was down in between, or the engine did not answer: it may have restarted."""
        with self._lock:
            self._gap = (from_wall_s if self._gap is None else min(self._gap[0], from_wall_s), to_wall_s)

    # --- the tick ---------------------------------------------------------------------------------------------------

    def tick(self, interval_s: float = 1.0) -> Snapshot:
        """Sense, assess, decide, act, publish. Raises nothing that a sensor, the engine or the ledger can cause.

        `interval_s` is what a late tick is measured by. How soon the next one should come is in `pace`.
        """
        now_s, config, mode = self._clock.monotonic(), self.config, self.mode  # a reload swaps them at any time
        sample = self._sense(config)
        platform = self._resolve(config, sample)
        under_way = frozenset(action.id for action in self._actor.in_flight)
        outcomes = self._take_outcomes()
        under_way -= {outcome.action.id for outcome in outcomes}  # so that one which ends just now still counts as under way
        findings = self._reconcile(config, sample.inventory, platform, under_way)
        self._classify_events(platform, under_way)
        entries, controls = self._ledger.open_entries, self._ledger.controls
        slept = self._slept()
        storage = self.storage
        stored = None if storage.newest is None else storage.newest.totals
        assessment, state = assess(
            sample.host, platform, entries, controls.pins, self._state, config, now_s, interval_s, slept, stored
        )
        inputs = Inputs(
            outcomes=outcomes,
            overrides=_services(findings, FindingKind.OVERRIDE_STARTED),
            resend=_services(findings, FindingKind.RESEND_STOP),
            entries=entries,
            controls=controls,
            standby=self._standby(),
            engine_ready=self._containers.ready and sample.inventory is not None,
            engine_down=self._containers.down,
            signals=not self._actor.no_signals,
            observe=mode is Mode.OBSERVE,
            under_way=under_way,
        )
        inputs = self._take_orders(inputs, assessment, state, platform, mode)
        decision, after = decide(assessment, sample.host, platform, inputs, state, config, now_s)
        self._settle(decision, after, platform)
        self._act(decision, assessment, platform, mode)
        before = self._state
        self._state = after  # at once: if the tick breaks off below, the next one must know what was sent
        self.pace = follow(self.pace, assessment, sample.host, after, _owing(entries, config), config, now_s)
        self._report(decision, assessment, mode)
        snapshot = self._publish(sample, assessment, decision, after, mode, outcomes)
        excluded = self._containers.excluded
        self._record(
            Moment(
                self._ticks, now_s, snapshot.at_wall_s, interval_s, slept, sample, excluded, inputs, config, mode, before,
                assessment, decision,
            )
        )  # fmt: skip
        return snapshot

    # --- its steps --------------------------------------------------------------------------------------------------

    def _sense(self, config: Config) -> Sample:
        """The host first: what it shows says whether the containers must be read anew."""
        began_s = self._clock.monotonic()
        host = self._host.read()
        self._telemetry.sampled("host", self._clock.monotonic() - began_s, host.memory_total_bytes is not None)
        last = self.snapshot
        before, listed = (None, None) if last is None else (last.assessment, last.inventory)
        owing = _owing(self._ledger.open_entries, config)
        age_s = use_age_s(self.pace, before, listed, self._state, owing, host, config)
        return Sample(host, self._containers.current(age_s))

    def _resolve(self, config: Config, sample: Sample) -> Platform:
        """Sorting containers into services is pure: done again only when one of its inputs is another."""
        inventory = sample.inventory
        if inventory is None:
            return EMPTY
        owed = frozenset(one.id for entry in self._ledger.open_entries for one in entry.containers)
        known = self._platform
        if known is not None and known.holds(config, inventory, owed):
            if known.inventory is not inventory:
                known = replace(known, inventory=inventory, platform=known.platform.read_again(inventory))
        else:
            before = EMPTY if known is None else known.platform
            platform = resolve(config, inventory, self._containers.excluded, cpu_capacity(config, sample.host), owed)
            known = _Resolved(config, inventory, owed, platform.after(before))
            for problem in platform.problems if platform.problems != before.problems else ():
                journal.warn(problem)
        self._platform = known
        return known.platform

    def _take_outcomes(self) -> tuple[Outcome, ...]:
        """Settle what has ended. A restore stays in the ledger as under way until the service is up."""
        outcomes = (*self._actor.outcomes(), *self._pretended)
        self._pretended = []
        for outcome in outcomes:
            journal.ended(outcome)
            if outcome.action.kind is ActionKind.RESTART:
                self._restarted.update(dict.fromkeys(outcome.action.containers, outcome.at_s))
            if outcome.action.kind is ActionKind.RESTORE and outcome.result is Result.DONE:
                self._starting[outcome.action.service] = outcome
            else:
                self._book(outcome)
        return outcomes

    def _book(self, outcome: Outcome) -> None:
        """Settle it in the ledger; a refusal there must not keep the policy from hearing of it."""
        try:
            self._ledger.settle(outcome, self._rows.of(outcome))
        except LedgerError as error:
            journal.warn(str(error))

    def _reconcile(
        self, config: Config, inventory: Inventory | None, platform: Platform, under_way: frozenset[str]
    ) -> tuple[Finding, ...]:
        """Compare each new list with what is owed."""
        if self._containers.down:
            self._answers_since_wall_s = self._clock.wall()
        if inventory is None or not self._containers.ready or inventory.at_s == self._reconciled_s:
            return ()
        self._reconciled_s = inventory.at_s
        self._make_up_for_reboot(config, platform)
        read_wall_s = self._clock.wall() - (self._clock.monotonic() - inventory.at_s)
        with self._lock:
            gap = self._gap
        context = Context(
            startup=self._startup,
            gap=gap,
            answers_since_wall_s=self._answers_since_wall_s,
            in_flight=under_way | {outcome.action.id for outcome in self._starting.values()},
            listed={key: service.phase for key, service in platform.services.items()},
            probation_s=float(config.restoring.probation),
        )
        entries, now_s = self._ledger.open_entries, self._clock.monotonic()
        for entry in entries:
            if entry.returning:  # its answer may be lost: what this list shows of it is guardian's doing still
                self._restarted.update((one.id, now_s) for one in entry.containers)
        findings = self._ledger.apply(reconcile(entries, inventory.containers, context, read_wall_s))
        self._startup = False
        with self._lock:
            if gap is not None and self._gap == gap and read_wall_s > gap[1] + RETURN_S:
                self._gap = None  # all that the engine may have brought back is in this list
        for finding in findings:
            journal.found(finding)
            if finding.kind in (FindingKind.OVERRIDE_STARTED, FindingKind.OVERRIDE_STOPPED):
                self._telemetry.overridden("started" if finding.kind is FindingKind.OVERRIDE_STARTED else "stopped")
        return findings

    def _make_up_for_reboot(self, config: Config, platform: Platform) -> None:
        """Once, after a reboot, where the file has a target: what ran before is owed a start. Observe mode owes nothing."""
        ran, self.ran_before = self.ran_before, None
        if ran is None or config.target_phase is None or self.mode is Mode.OBSERVE:
            return
        actions = ended_with_host(ran, platform, config, self._state.run_id, self._clock.wall())
        try:
            self._ledger.expect_end(actions, platform.containers, ran.at_wall_s)
        except LedgerError as error:
            journal.warn(str(error))

    def _classify_events(self, platform: Platform, under_way: frozenset[str]) -> None:
        """Count what other people stopped. What they started shows in the next list, whole."""
        if not self._events and not self._stops:
            return
        context = Context(in_flight=under_way, restarting=self._restarting())
        now_s = self._clock.monotonic()
        managed = {container.id: key for key, service in platform.services.items() for container in service.containers}
        while self._events:
            event = self._events.popleft()
            if event.action == "oom" and event.container_id in managed:
                self._note_oom(event, managed[event.container_id], platform)
            override = others.classify(event, self._ledger.open_entries, context, self._signalled)
            self._signalled = dict(others.remember(event, self._signalled))
            stopped = override is not None and override.kind is others.OverrideKind.STOPPED
            if stopped and now_s < self._taken_down.get(managed.get(event.container_id, _NOBODY), 0.0):
                continue
            if override is not None and stopped and (event.container_id in managed or override.entry is not None):
                self._stops = (*self._stops, override)
        with self._lock:
            gap = self._gap
        counted, self._stops = others.believed(self._stops, gap, self._containers.ready, self._clock.wall())
        for override in counted:
            if self._ledger.yield_to(override):
                self._telemetry.overridden("stopped")

    def _note_oom(self, event: EngineEvent, key: ServiceKey, platform: Platform) -> None:
        """The kernel was faster, or the container met its own limit: nothing that guardian did."""
        now_s = self._clock.monotonic()
        self._oom_s = {id_: at_s for id_, at_s in self._oom_s.items() if now_s - at_s < OOM_EVERY_S}
        if event.container_id not in self._oom_s:
            self._oom_s[event.container_id] = now_s
            journal.oom(key, event.name)
            self._ledger.record(journal.row_of_oom(event, key, platform.services[key].phase))

    def _restarting(self) -> frozenset[str]:
        """Containers whose ends and starts are guardian's own restarts."""
        now_s = self._clock.monotonic()
        self._restarted = {id_: at_s for id_, at_s in self._restarted.items() if now_s - at_s < ECHO_S}
        under_way = (id_ for one in self._actor.in_flight if one.kind is ActionKind.RESTART for id_ in one.containers)
        return frozenset((*self._restarted, *under_way))

    def _take_orders(
        self, inputs: Inputs, assessment: Assessment, state: PolicyState, platform: Platform, mode: Mode
    ) -> Inputs:
        """Answer what operators ordered since the last tick."""
        with self._lock:
            orders, self._orders = self._orders, deque()
        busy = frozenset(flight.action.service for flight in self._state.flights)
        for waiting in orders:
            order = waiting.order
            situation = Situation(
                platform,
                inputs.entries,
                inputs.controls,
                mode,
                inputs.standby,
                inputs.engine_ready,
                self._clock.wall(),
                busy,
                self._clock.monotonic(),
                self.config.emergency.keep,
                inputs.engine_down,
                self._actor.no_signals,
                partial(self._may_start, inputs, assessment, state, platform),
                self.config.target_phase,
            )
            answered = answer(order, situation)
            if order.kind is not OrderKind.ADMIT or answered.admitted:  # one that may not start yet asks again and again
                journal.ordered(order, answered.reply)
            if answered.controls is not None:
                row = journal.row_of_order(order, self._clock.wall())
                self._ledger.set_controls(answered.controls, row)
                inputs = replace(inputs, controls=answered.controls, standby=self._standby())
            self._expect_end(answered.with_engine, platform, order.by)
            self._note_roll_out(answered, platform, order.by)
            for service in answered.forgotten:
                self._ledger.forget(service, order.by)
            inputs = replace(
                inputs,
                entries=self._ledger.open_entries if answered.forgotten or answered.with_engine else inputs.entries,
                admitted=(*inputs.admitted, *answered.admitted),
                ends=(*inputs.ends, *((key, order.by or "operator") for key in answered.ends)),
                shed_orders=(*inputs.shed_orders, *((key, order.by or "operator") for key in answered.sheds)),
                restore_orders=(*inputs.restore_orders, *((key, order.by or "operator") for key in answered.restores)),
            )
            waiting.replied.put(answered.reply)
        return inputs

    def _may_start(
        self,
        inputs: Inputs,
        assessment: Assessment,
        state: PolicyState,
        platform: Platform,
        need_bytes: int | None,
        need_cores: float | None,
    ) -> Verdict:
        """Whether a roll-out may start something now, beside what it was granted in this same tick."""
        now_s, holds = assessment.at_s, holds_of(assessment, inputs)
        state = with_admitted(state, inputs.admitted, assessment, self.config, now_s)
        return may_start(need_bytes, need_cores, holds, assessment, platform, state, self.config, now_s)

    def _note_roll_out(self, answered: Answer, platform: Platform, by: str) -> None:
        """What a roll-out is about to do itself: for history, and so that its stops are not taken for somebody else's."""
        now_s, now_wall_s = self._clock.monotonic(), self._clock.wall()
        for key in answered.taken_down:
            service = platform.services.get(key)
            stop_s = 0.0 if service is None else service.stop_timeout_s
            self._taken_down[key] = now_s + stop_s + TAKE_DOWN_S
        for what, keys in (("start", [one.service for one in answered.admitted]), ("stop", answered.taken_down)):
            phases = {key: service.phase for key in keys if (service := platform.services.get(key)) is not None}
            self._ledger.record(
                *(HistoryRow(now_wall_s, what, key, phases.get(key), ROLL_OUT, "ordered", by=by) for key in keys)
            )

    def _expect_end(self, services: tuple[ServiceKey, ...], platform: Platform, by: str) -> None:
        """The engine is about to be restarted by an operator: what ends with it is to come back."""
        actions = emergency.with_engine([platform.services[key] for key in services], f"{self._state.run_id}-{self._ticks}", by)
        try:
            self._ledger.expect_end(actions, platform.containers)
        except LedgerError as error:
            journal.warn(str(error))

    def _settle(self, decision: Decision, after: PolicyState, platform: Platform) -> None:
        """Book what sheds were seen to bring, restores that are up or fell, and what must outlive a restart."""
        for settled in decision.settled:
            if settled.signal is None or settled.signal.value.endswith("memory"):
                measured = None if settled.measured is None else int(settled.measured)
                self._telemetry.relief(settled.action.relief_bytes, measured)
                if measured is not None:
                    self._ledger.measured(settled.action.id, measured)
            journal.settled(settled)
        for service in decision.restored:
            if (outcome := self._starting.pop(service, None)) is not None:
                self._book(outcome)
        for service in decision.fallen:
            if (outcome := self._starting.pop(service, None)) is not None:
                self._book_fall(outcome, platform)
        if after.rising is None and self._starting and not after.flights:
            for outcome in self._starting.values():  # its entry was closed meanwhile
                self._book(outcome)
            self._starting.clear()
        if after.memos is self._state.memos:
            return
        changed = [key for key, memo in after.memos.items() if self._state.memos.get(key) is not memo]
        if changed:
            now_s, now_wall_s = self._clock.monotonic(), self._clock.wall()
            self._ledger.remember(to_ledger(key, after.memos[key], now_s, now_wall_s) for key in changed)

    def _book_fall(self, outcome: Outcome, platform: Platform) -> None:
        """What was started is down again: it is owed still, unless somebody stopped it."""
        entry = next((one for one in self._ledger.open_entries if one.restore_id == outcome.action.id), None)
        stop = None if entry is None else others.stop_of(entry, self._stops, self._signalled, self._clock.wall())
        if stop is not None and self._ledger.yield_to(stop) and stop in self._stops:  # else its event is still to be counted
            self._telemetry.overridden("stopped")
        detail = "did not stay up" if stop is None else "somebody stopped it"
        fallen = replace(outcome, result=Result.FAILED, failed=outcome.action.containers, stopped=(), detail=detail)
        try:
            self._ledger.fell(fallen, platform.containers, self._rows.of(fallen))
        except LedgerError as error:
            journal.warn(str(error))

    def _act(self, decision: Decision, assessment: Assessment, platform: Platform, mode: Mode) -> None:
        """Enter what will be owed, then hand over. In observe mode nothing leaves this process, save a restore by order."""
        if not decision.actions:
            return
        self._rows.note(decision, assessment)
        journal.decided(decision, assessment, mode)
        real = [action for action in decision.actions if _is_real(action, mode)]
        # A hastened stop has its outcome from the stop itself, so it has none of its own.
        rest = [one for one in decision.actions if not _is_real(one, mode) and one.kind is not ActionKind.HASTEN]
        self._pretended = [self._without_a_call(action, Result.OBSERVED) for action in rest]
        try:
            self._ledger.intend(real, platform.containers, any(action.hard for action in real))
        except LedgerError as error:  # what cannot be entered must not be done
            failed = [action for action in real if action.kind is not ActionKind.HASTEN]
            self._pretended += [self._without_a_call(action, Result.FAILED, str(error)) for action in failed]
            return
        self._actor.submit(real)

    def _without_a_call(self, action: Action, result: Result, detail: str = "") -> Outcome:
        outcome = Outcome(action, result, self._clock.monotonic(), self._clock.wall(), 0.0, detail)
        self._telemetry.acted(outcome)
        return outcome

    def _report(self, decision: Decision, assessment: Assessment, mode: Mode) -> None:
        """One line for each change: a level, a decision not to act, a note."""
        before = self.snapshot
        if before is None or before.assessment.level is not assessment.level:
            journal.level(assessment, None if before is None else before.assessment.level)
        if assessment.disk_level is not (Level.OK if before is None else before.assessment.disk_level):
            journal.disk(assessment.disk_level, self.storage.newest)
        known = set() if before is None else {_held_as(one) for one in before.decision.held}
        for held in decision.held:
            if _held_as(held) not in known:
                known.add(_held_as(held))
                self._telemetry.held(held)
                journal.held(held)
        for note in decision.notes:
            journal.warn(note)
        if decision.exhausted and (before is None or not before.decision.exhausted):
            journal.exhausted(assessment)
        if decision.emergency and (before is None or not before.decision.emergency):
            journal.emergency(self.config.emergency.keep)
        if before is not None and before.mode is Mode.ENFORCE and mode is Mode.OBSERVE and self._ledger.open_entries:
            journal.warn(
                "left enforce while services are shed: `guardian restore --all` starts them, `guardian forget` lets them be"
            )

    def _publish(
        self,
        sample: Sample,
        assessment: Assessment,
        decision: Decision,
        after: PolicyState,
        mode: Mode,
        outcomes: tuple[Outcome, ...],
    ) -> Snapshot:
        self._ticks += 1
        now_s, entries = assessment.at_s, self._ledger.open_entries
        self.snapshot = Snapshot(
            at_s=now_s,
            at_wall_s=self._clock.wall(),
            mode=mode,
            config=self.config,
            sample=sample,
            assessment=assessment,
            decision=decision,
            entries=tuple(one for one in entries if not one.returning),
            quarantined=tuple(sorted(entry.service for entry in entries if after.memo(entry.service).quarantined)),
            controls=self._ledger.controls,
            in_flight=tuple(
                f"{flight.action.kind.value} {flight.action.service} for {now_s - flight.since_s:.0f} s"
                for flight in after.flights
            ),
            engine_up=self._containers.ready,
            engine=self._containers.engine,
            config_pending=self.config_pending,
            ticks=self._ticks,
            storage=self.storage,
            state=after,
            rollout=self.rollout,
            outcomes=outcomes,
        )
        return self.snapshot

    def _standby(self) -> bool:
        until = self._ledger.controls.standby_until_wall_s
        return until is not None and (math.isinf(until) or self._clock.wall() < until)

    def _slept(self) -> bool:
        """Whether the host was suspended since the last tick."""
        slept_s = self._clock.boottime() - self._clock.monotonic()
        before, self._slept_s = self._slept_s, slept_s
        if slept_s - before <= SUSPEND_S:
            return False
        self._telemetry.time_jumped("suspend")
        return True
