"""Random doings of guardian, of the engine and of other people, with a crash of guardian between any two steps.

A crash drops the book in memory; the file is opened anew. Every write that guardian waits for is a step of its own, so a
crash before its commit is a crash before the step, and one after it a crash after the step.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from support.ledgers import T0, a_container, a_store, by_id, ended, started

from guardian.clock import VirtualClock
from guardian.ledger.book import Ledger
from guardian.ledger.entries import EntryState
from guardian.ledger.overrides import classify, remember
from guardian.ledger.reconcile import DOUBT_S, Context, reconcile
from guardian.ledger.schema import own_uri
from guardian.model import Action, ActionKind, Container, EngineEvent, Outcome, Result, ServiceKey

ONE, TWO = ServiceKey("demo", "one"), ServiceKey("demo", "two")
IDS = ("one-1", "two-1", "two-2")
STEP_S = 4.0  # more than the slack that reconciling allows between clocks
DEADLINE_S = 15.0
LONG_S = 100.0  # by then no lost answer can have an effect any more

services = st.sampled_from([ONE, TWO])
container_ids = st.sampled_from(IDS)


class Unsynced(sqlite3.Connection):
    """Does not wait for the disk: here processes end, and hosts do not."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *values)


def unsynced(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(own_uri(path), uri=True, isolation_level=None, check_same_thread=False, factory=Unsynced)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


@dataclass
class Flight:
    """An action under way. `reached`: the running containers that its call asked to stop."""

    action: Action
    sent_wall_s: float | None = None
    called: bool = False
    reached: tuple[str, ...] = ()


def alive(rule_if: Callable[[Crashes], bool] = lambda _: True) -> Callable[[Crashes], bool]:
    return lambda machine: machine.alive and rule_if(machine)


class Crashes(RuleBasedStateMachine):
    """`owed` is the truth: what guardian's stops have ended and nobody has started since."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = VirtualClock(wall_s=T0)
        self.containers: dict[str, Container] = {
            "one-1": a_container("one-1", service=ONE),
            "two-1": a_container("two-1", service=TWO),
            "two-2": a_container("two-2", service=TWO, number=2),
        }
        self.owed: set[str] = set()
        self.stopping: dict[str, float] = {}  # stops that the engine carries out though nobody listens: when at the latest
        self.doubtful: dict[str, float] = {}  # until when an end of it must be taken for guardian's doing: the answer is lost
        self.either: set[str] = set()  # may be owed or not: ended by somebody while doubtful, or its service was taken over
        self.flights: dict[str, Flight] = {}
        self.killed: Mapping[str, str] = {}
        self.actions = 0
        self.alive = True
        self._open()

    def teardown(self) -> None:
        """After lasting calm the ledger owes exactly what guardian has stopped."""
        try:
            if self.alive:
                self.crash()
            self.restart()
            for _ in range(2):
                self._pass(LONG_S)
                self._reconcile()
            assert self._owed_by_the_book() - self.either == self.owed - self.either
        finally:
            self.store.close(10)
            shutil.rmtree(self.directory)

    # --- the world --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.store = a_store(self.directory, clock=self.clock, connecting=unsynced)
        self.ledger = Ledger(self.store, self.clock)

    def _pass(self, seconds: float) -> float:
        """Let time pass; the engine carries out by then what it still has to stop, and calls without an answer end."""
        for container_id, latest_wall_s in list(self.stopping.items()):
            if latest_wall_s <= self.clock.wall() + seconds:
                self._engine_stops(container_id)
        self.clock.advance(seconds)
        for flight in tuple(self.flights.values()):
            if flight.sent_wall_s is not None and self.clock.wall() > flight.sent_wall_s + DEADLINE_S:
                self._end(flight, answered=False)
        return self.clock.wall()

    def _engine_stops(self, container_id: str) -> None:
        """A stop of guardian's takes effect."""
        self.stopping.pop(container_id, None)
        if self.containers[container_id].state.up:
            self.containers[container_id] = ended(self.containers[container_id], self.clock.wall())
            self.owed.add(container_id)

    def _start(self, container_id: str) -> bool:
        if self.containers[container_id].state.up:
            return False
        self.containers[container_id] = started(self.containers[container_id], self.clock.wall())
        self.owed.discard(container_id)
        self.either.discard(container_id)
        return True

    def _event(self, action: str, container_id: str) -> None:
        """The engine tells guardian, if that is there."""
        if not self.alive:
            return
        event = EngineEvent(self.clock.wall(), action, container_id, container_id, {"signal": "15"} if action == "kill" else {})
        override = classify(event, self.ledger.open_entries, self._context(), self.killed)
        self.killed = remember(event, self.killed)
        if override is not None:
            self.ledger.yield_to(override)

    def _held(self, container_id: str) -> bool:
        """A call for it is between its commit and its answer: nobody else acts on it in that moment."""
        return any(one.sent_wall_s is not None and container_id in one.action.containers for one in self.flights.values())

    @rule(container_id=container_ids)
    def somebody_starts(self, container_id: str) -> None:
        self._pass(STEP_S)
        if not self._held(container_id) and self._start(container_id):
            service = self.containers[container_id].service
            self.either |= {one for one in self.owed if self.containers[one].service == service}
            self._event("start", container_id)

    @rule(container_id=container_ids)
    def somebody_stops(self, container_id: str) -> None:
        now_wall_s = self._pass(STEP_S)
        if self._held(container_id) or not self.containers[container_id].state.up:
            return
        self.stopping.pop(container_id, None)
        self.containers[container_id] = ended(self.containers[container_id], now_wall_s)
        if now_wall_s <= self.doubtful.get(container_id, 0.0):
            self.either.add(container_id)
        for event in ("kill", "die", "stop"):
            self._event(event, container_id)

    @rule()
    def the_engine_carries_out_what_it_was_told(self) -> None:
        self._pass(STEP_S)
        for container_id in tuple(self.stopping):
            self._engine_stops(container_id)

    # --- guardian, step by step -------------------------------------------------------------------------------------

    def _busy(self, service: ServiceKey) -> bool:
        return any(flight.action.service == service for flight in self.flights.values())

    def _begin(self, kind: ActionKind, service: ServiceKey, containers: Iterable[str]) -> Action:
        self.actions += 1
        action = Action(f"a{self.actions}", kind, service, 1, tuple(containers), "memory", deadline_s=DEADLINE_S)
        self.flights[action.id] = Flight(action)
        return action

    @precondition(alive())
    @rule(service=services)
    def a_shed_is_intended(self, service: ServiceKey) -> None:
        self._pass(STEP_S)
        mine = [one for one in self.containers.values() if one.service == service]
        running = [one.id for one in mine if one.state.up]
        if running and not self._busy(service):
            self.ledger.intend([self._begin(ActionKind.SHED, service, running)], by_id(*mine))

    @precondition(alive())
    @rule(service=services)
    def a_restore_is_decided(self, service: ServiceKey) -> None:
        self._pass(STEP_S)
        for entry in self.ledger.open_entries:
            if entry.service == service and entry.state is EntryState.SHED and not self._busy(service):
                self._begin(ActionKind.RESTORE, service, (one.id for one in entry.owed))

    @precondition(alive(lambda machine: any(one.sent_wall_s is None for one in machine.flights.values())))
    @rule(data=st.data())
    def an_action_is_marked_as_sent(self, data: st.DataObject) -> None:
        now_wall_s = self._pass(STEP_S)
        flight = data.draw(st.sampled_from([one for one in self.flights.values() if one.sent_wall_s is None]))
        if flight.action.kind is ActionKind.SHED:
            self._bury_doubts(flight.action.service)
            self.ledger.mark_sent(flight.action)
        else:
            owing = {
                one.id
                for entry in self.ledger.open_entries
                if entry.service == flight.action.service and entry.state is EntryState.SHED
                for one in entry.owed
            }
            if not owing or not owing >= set(flight.action.containers):  # somebody has started it meanwhile
                del self.flights[flight.action.id]
                return
            self.ledger.mark_restore_sent(flight.action)
        flight.sent_wall_s = now_wall_s

    def _bury_doubts(self, service: ServiceKey) -> None:
        """A stop is sent again before anybody has looked what the one before has done: what ended may be taken for its doing."""
        for entry in self.ledger.open_entries:
            for one in entry.in_doubt:
                container = self.containers[one.id]
                first_run = (container.started_wall_s or 0.0) < (one.sent_wall_s or 0.0)
                if entry.service == service and not container.state.up and not (first_run and one.id in self.owed):
                    self.either.add(one.id)

    @precondition(alive(lambda machine: any(one.sent_wall_s and not one.called for one in machine.flights.values())))
    @rule(data=st.data())
    def a_call_reaches_the_engine(self, data: st.DataObject) -> None:
        flight = data.draw(st.sampled_from([one for one in self.flights.values() if one.sent_wall_s and not one.called]))
        self._pass(STEP_S)
        if flight.action.id not in self.flights:
            return
        flight.called = True
        flight.reached = tuple(one for one in flight.action.containers if self.containers[one].state.up)
        if flight.action.kind is ActionKind.RESTORE:
            for container_id in flight.action.containers:
                if self._start(container_id):
                    self._event("start", container_id)

    @precondition(alive(lambda machine: any(one.called for one in machine.flights.values())))
    @rule(data=st.data(), answered=st.booleans())
    def a_call_ends(self, data: st.DataObject, answered: bool) -> None:
        flight = data.draw(st.sampled_from([one for one in self.flights.values() if one.called]))
        self._pass(STEP_S)
        if flight.action.id in self.flights:
            self._end(flight, answered)

    def _end(self, flight: Flight, answered: bool) -> None:
        """With an answer, or without one: then what it asked for may still come about."""
        action, stopped, failed = flight.action, (), ()
        if answered:
            result = Result.DONE
            if action.kind is ActionKind.SHED:
                stopped = tuple(one for one in flight.reached if self.containers[one].state.up)
                for container_id in stopped:
                    self._engine_stops(container_id)
                result = Result.DONE if stopped else Result.GONE
        else:
            result, failed = Result.TIMED_OUT, action.containers
            self._lose_the_answer(flight)
        self.ledger.settle(
            Outcome(action, result, self.clock.monotonic(), self.clock.wall(), 1.0, stopped=stopped, failed=failed)
        )
        del self.flights[action.id]

    def _lose_the_answer(self, flight: Flight) -> None:
        if flight.action.kind is not ActionKind.SHED or flight.sent_wall_s is None:
            return
        for container_id in flight.action.containers:
            until_wall_s = flight.sent_wall_s + DEADLINE_S + DOUBT_S
            self.doubtful[container_id] = max(until_wall_s, self.doubtful.get(container_id, 0.0))
            if container_id in flight.reached and self.containers[container_id].state.up:
                self.stopping[container_id] = self.clock.wall() + DEADLINE_S / 3

    @precondition(alive())
    @rule()
    def guardian_looks(self) -> None:
        self._pass(STEP_S)
        self._reconcile()

    @precondition(alive())
    @rule()
    def crash(self) -> None:
        for flight in self.flights.values():
            self._lose_the_answer(flight)
        self.flights.clear()
        self.killed = {}
        self.alive = False
        assert self.store.close(10)

    @precondition(lambda self: not self.alive)
    @rule()
    def restart(self) -> None:
        self._pass(STEP_S)
        self._open()
        self.alive = True
        self._reconcile(startup=True)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def _context(self, startup: bool = False) -> Context:
        return Context(startup=startup, in_flight=frozenset(self.flights))

    def _owed_by_the_book(self) -> set[str]:
        return {one.id for entry in self.ledger.open_entries for one in entry.owed}

    def _reconcile(self, startup: bool = False) -> None:
        """Afterwards nothing that guardian stopped is missing from the ledger, and nothing else is claimed."""
        context, entries = self._context(startup), self.ledger.open_entries
        self.ledger.apply(reconcile(entries, self.containers.values(), context, self.clock.wall()))
        in_doubt = {one.id for entry in self.ledger.open_entries for one in entry.in_doubt}
        idle = {one.id for one in self.containers.values() if not self._busy(one.service)}
        lost = (self.owed - self.either - self._owed_by_the_book() - in_doubt) & idle
        wrong = (self._owed_by_the_book() - self.owed - self.either) & idle
        assert not lost, f"guardian stopped {lost}, and has forgotten it"
        assert not wrong, f"guardian did not stop {wrong}, and would start it"


Crashes.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class TestCrashes(Crashes.TestCase):  # type: ignore[misc]
    """A crash at any step loses no obligation and claims nothing that others stopped."""
