"""An operator's emergency without a daemon: this process takes the daemon's lock and its ledger until it is done.

What it stops is in the ledger like any shed, so the next start of guardian restores it by the rules.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from guardian import emergency
from guardian.act import Signals, ThreadedActor
from guardian.act_signals import Signaller
from guardian.clock import SystemClock
from guardian.config.schema import Config
from guardian.emergency import BACK_WITHIN_S, Step
from guardian.engine.connect import open_engine, resolve
from guardian.engine.dataroot import DEFAULT_ROOT, containers_on_disk
from guardian.engine.protocol import Engine
from guardian.errors import EngineError, GuardianError, UsageError
from guardian.expose.orders import NOTHING_TO_KEEP
from guardian.expose.orders import resolve as services_named
from guardian.ledger.book import Ledger
from guardian.ledger.entries import EntryState, Means
from guardian.ledger.handover import hand_over
from guardian.ledger.lock import EngineLock, StateLock
from guardian.ledger.reconcile import Context, reconcile
from guardian.ledger.schema import LEDGER_NAME
from guardian.ledger.store import Store
from guardian.model import Action, ActionKind, Container, Inventory, Mode, Outcome, Result, ServiceKey
from guardian.policy import platform as services
from guardian.policy.batch import EMERGENCY
from guardian.policy.decide import without_owed
from guardian.policy.platform import Service
from guardian.scope import scope_of
from guardian.sense.cgroups import CgroupReader
from guardian.sense.selves import own_ids
from guardian.telemetry import NullTelemetry

LOOK_EVERY_S = 0.1
CLOSE_S = 5.0


def open_rescue(config: Config, by: str) -> Rescue:
    """On the engine that the configuration means. GuardianError in observe mode, and where another guardian is at work."""
    if config.mode is Mode.OBSERVE:
        raise GuardianError("the mode is observe, so guardian stops nothing: set `mode: enforce`, or use docker")
    if config.engine.url == "simulated":
        raise GuardianError("engine.url: the simulated engine lives in its daemon alone, and no daemon answers; start that")
    clock, url = SystemClock(), resolve(config.engine.url, os.environ)
    signaller = None if url.startswith("tcp://") else Signaller(clock)
    return Rescue(config, by, open_engine(config, clock, NullTelemetry()), url, signaller)


class Rescue:
    """Holds the state directory, and the engine where it answers, until `close`. GuardianError where another guardian has them."""

    def __init__(self, config: Config, by: str, engine: Engine, url: str, signals: Signals | None) -> None:
        """`by` is who ordered it, `url` where the engine was reached."""
        self._config, self._by, self._clock = config, by, SystemClock()
        self._engine, self._url = engine, url
        state_dir = Path(config.state_dir)
        self._lock = StateLock(state_dir, self._clock.wall())
        self._engine_lock: EngineLock | None = None
        self._store = Store(state_dir / LEDGER_NAME, self._clock, NullTelemetry())
        self._ledger = Ledger(self._store, self._clock)
        self._actor = ThreadedActor(engine, self._clock, NullTelemetry(), self._ledger.mark, signals=signals)
        self._run_id, self._numbers = secrets.token_hex(4), count(1)
        self._platform = services.EMPTY
        self._plan = emergency.Plan((), (), ())
        self.hung = False  # the engine does not answer

    def close(self) -> None:
        self._actor.close(CLOSE_S)
        self._engine.close()
        self._store.close(CLOSE_S)
        hand_over(Path(self._config.state_dir))
        if self._engine_lock is not None:
            self._engine_lock.release()
        self._lock.release()

    # --- the plan ---------------------------------------------------------------------------------------------------

    def plan(self, names: Sequence[str], keep_phase: int | None) -> emergency.Plan:
        """See what there is, and plan. EngineError where neither the engine nor its files tell; UsageError for unknown names."""
        try:
            info = self._engine.info()
            self._engine_lock = EngineLock(info.id)
            self._lock.note_engine(info.id, info.root_dir)
            self._look()
        except EngineError as error:
            self.hung = True
            if self._actor.no_signals:
                raise EngineError(f"{error}; by signal nothing can be ended either: {self._actor.no_signals}") from None
            scope = scope_of(self._config, self._ledger.open_entries)
            self._sort(containers_on_disk(self._lock.root_dir or DEFAULT_ROOT, scope))
        keep = frozenset(services_named(names, self._platform.services)) if names else frozenset()
        if not names and keep_phase is None:
            if not self._config.emergency.keep:
                raise UsageError(NOTHING_TO_KEEP)
            keep = emergency.from_file(self._config.emergency.keep, self._platform)
        pins = self._ledger.controls.pins
        self._plan = emergency.plan(self._platform, pins, keep, keep_phase, self._clock.monotonic())
        return self._plan

    def _look(self) -> None:
        """List the containers, and compare them with the ledger."""
        read_wall_s = self._clock.wall()
        containers = self._engine.containers(scope_of(self._config, self._ledger.open_entries))
        context = Context(startup=True, probation_s=float(self._config.restoring.probation))
        self._ledger.apply(reconcile(self._ledger.open_entries, containers, context, read_wall_s))
        self._sort(containers)

    def _sort(self, containers: tuple[Container, ...]) -> None:
        now_s = self._clock.monotonic()
        reader = CgroupReader(self._clock)
        reader.follow(containers)
        usage = reader.read().usage
        reader.close()
        entries = self._ledger.open_entries
        owed = frozenset(one.id for entry in entries for one in entry.containers)
        inventory = Inventory(now_s, containers, usage)
        platform = services.resolve(self._config, inventory, own_ids(containers, self._url), owed=owed)
        self._platform = without_owed(platform, entries)

    # --- its steps --------------------------------------------------------------------------------------------------

    def end(self) -> Iterator[Step]:
        """Stop what is not kept, all at once; what the engine does not get done, by signal."""
        left = [(service, footprint) for service, footprint in self._plan.ended]
        by_signal = self.hung
        outcomes = self._carry_out([self._stop(*one, by_signal=by_signal) for one in left])
        missed = {one.action.service for one in outcomes if not (one.result.ended_well or one.result is Result.REFUSED)}
        if missed and not by_signal and not self._actor.no_signals:
            again = [self._stop(*one, by_signal=True) for one in left if one[0].key in missed]
            outcomes = [one for one in outcomes if one.action.service not in missed] + self._carry_out(again)
        for one in outcomes:
            yield Step("end", one.result.ended_well, one.detail or one.result.value, str(one.action.service))

    def expect_restart(self) -> None:
        """The engine is about to be restarted: what ends with it is to come back."""
        running = [service for service, _ in self._plan.kept if service.up]
        self._ledger.expect_end(emergency.with_engine(running, self._run_id, self._by), self._platform.containers)

    def wait_for_engine(self) -> Step:
        """Until it answers, after its restart."""
        ends_s = self._clock.monotonic() + BACK_WITHIN_S
        while True:
            try:
                self._engine.info()
                self.hung = False
                return Step("engine", True, "it answers")
            except EngineError as error:
                if self._clock.monotonic() >= ends_s:
                    return Step("engine", False, str(error))
            time.sleep(LOOK_EVERY_S)

    def start_kept(self) -> Iterator[Step]:
        """Start what is kept and that guardian owes a start, what others need first."""
        if self.hung:
            yield Step("start", False, "the engine does not answer, so nothing can be started: give --restart-engine")
            return
        before = {service.key for service, _ in self._plan.kept if service.up}
        self._look()
        yield from self._end_again()
        order = {key: -position for key, position in self._platform.stop_order.items()}
        kept = sorted(
            (service.key for service, _ in self._plan.kept), key=lambda key: (self._phase(key), order.get(key, 0), key)
        )
        for key in kept:
            service = self._platform.services.get(key)
            start = self._start(key)
            if start is not None:
                (outcome,) = self._carry_out([start])
                yield Step("start", outcome.result.ended_well, outcome.detail or outcome.result.value, str(key))
            elif service is not None and service.up:
                yield Step("start", True, "runs", str(key))
            elif key in before:
                yield Step("start", False, "it ran before, and does not run now: start it yourself", str(key))
            else:
                yield Step("start", True, "does not run, and guardian had not stopped it: left as it is", str(key))

    def _end_again(self) -> Iterator[Step]:
        """What a restarted engine has brought back, by its restart policy, although it is not kept."""
        ended = {service.key for service, _ in self._plan.ended}
        back = [service for key, service in self._platform.services.items() if key in ended and service.up]
        for one in self._carry_out([self._stop(service, None, by_signal=False) for service in back]):
            yield Step("end again", one.result.ended_well, one.detail or one.result.value, str(one.action.service))

    def rest(self) -> Step:
        """What is left to the next start of guardian."""
        owed = sum(1 for entry in self._ledger.open_entries if entry.state is EntryState.SHED)
        return Step("rest", True, f"{owed} are in the ledger: guardian restores them by its rules once it is started")

    # --- actions ----------------------------------------------------------------------------------------------------

    def _stop(self, service: Service, footprint: int | None, by_signal: bool) -> Action:
        grace_s = (
            service.stop_timeout_s if service.kill_never else min(service.stop_timeout_s, self._config.shedding.hard_grace)
        )
        return Action(
            id=self._next_id(),
            kind=ActionKind.SHED,
            service=service.key,
            phase=service.phase,
            containers=tuple(one.id for one in service.up),
            reason=EMERGENCY,
            grace_s=grace_s,
            kill_after_grace=not service.kill_never,
            deadline_s=grace_s + self._config.engine.timeout,
            hard=True,
            by_signal=by_signal,
            relief_bytes=footprint,
            expected_bytes=footprint,
            by=self._by,
        )

    def _start(self, key: ServiceKey) -> Action | None:
        """The start that is owed to it; None where none is."""
        for entry in self._ledger.open_entries:
            if entry.service != key or entry.state is not EntryState.SHED or entry.means is Means.THROTTLE:
                continue
            there = tuple(one.id for one in entry.owed if one.id in self._platform.containers)
            if there and entry.returned_wall_s is None:
                deadline_s = self._config.engine.timeout + BACK_WITHIN_S
                return Action(
                    self._next_id(), ActionKind.RESTORE, key, entry.phase, there, EMERGENCY, deadline_s=deadline_s, by=self._by
                )
        return None

    def _phase(self, key: ServiceKey) -> int:
        service = self._platform.services.get(key)
        return 0 if service is None else service.phase

    def _next_id(self) -> str:
        return f"{self._run_id}-{next(self._numbers)}"

    def _carry_out(self, actions: Sequence[Action]) -> list[Outcome]:
        """All side by side, each entered before and settled after; returns when every one has ended, in the order given."""
        self._ledger.intend(actions, self._platform.containers, hard=True)
        self._actor.submit(actions)
        ended: dict[str, Outcome] = {}
        while len(ended) < len(actions):
            time.sleep(LOOK_EVERY_S)
            for outcome in self._actor.outcomes():
                self._ledger.settle(outcome)
                ended[outcome.action.id] = outcome
        return [ended[action.id] for action in actions]
