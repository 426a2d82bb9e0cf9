"""A whole roll-out on a virtual host: the executor over the simulated engine, and one clock. Nothing sleeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support.virtual_host import Crash, Steps, VirtualHost

from guardian.clock import VirtualClock
from guardian.compose.model import ComposeProject, ComposeService, Dependency
from guardian.config.schema import Config
from guardian.config.tree import Place
from guardian.engine.simulated import Scenario, SimulatedEngine, SimulatedHost, VirtualActor
from guardian.errors import UnreachableError
from guardian.expose.orders import OrderKind, OrderReply
from guardian.expose.status import status
from guardian.model import Action, Outcome, Result, ServiceKey
from guardian.policy.assess import cpu_capacity
from guardian.rollout.admission import Admission
from guardian.rollout.plan import Expected, make_plan
from guardian.rollout.progress import Progress, Settings, Stage
from guardian.rollout.run import RollOut
from guardian.rollout.senses import Senses
from guardian.rollout.steps import Event, EventKind, again


class NoDaemon:
    """Nobody listens at the control socket."""

    def status(self) -> Mapping[str, Any]:
        raise UnreachableError("no guardian answers")

    def order(self, kind: OrderKind, services: Sequence[str] = (), **fields: Any) -> OrderReply:
        raise UnreachableError("no guardian answers")


class Beside:
    """The control socket of the guardian on a virtual host."""

    def __init__(self, host: VirtualHost) -> None:
        self._host = host

    def status(self) -> Mapping[str, Any]:
        return status(self._host.snapshots[-1])

    def order(self, kind: OrderKind, services: Sequence[str] = (), **fields: Any) -> OrderReply:
        return self._host.order(kind, *(name.partition("/")[2] for name in services), **fields)


@dataclass
class Record:
    """`rollout.json`: what was saved last is what the next process finds. A crash may come before each save and after it."""

    steps: Steps
    progress: Progress | None = None

    def save(self, progress: Progress) -> None:
        self.steps("before:save")
        self.progress = progress
        self.steps("after:save")


class RecordingActor(VirtualActor):
    """Counts a step around each action that is handed over, and keeps them."""

    def __init__(self, whole: VirtualRollOut) -> None:
        super().__init__(whole.engine, whole.clock)
        self._whole, self._step, self._handed = whole, whole.steps, whole.actions

    def submit(self, actions: Sequence[Action]) -> None:
        self._step("before:act")
        self._handed.extend(actions)
        self._whole.on_act(self._whole)
        super().submit(actions)
        self._step("after:act")

    def outcomes(self) -> list[Outcome]:
        """Of services in `unanswered` the first that would have come is one without an answer, whatever the engine did."""
        return [self._without_answer(one) for one in super().outcomes()]

    def _without_answer(self, outcome: Outcome) -> Outcome:
        name = outcome.action.service.name
        if name not in self._whole.unanswered:
            return outcome
        self._whole.unanswered.remove(name)
        return replace(outcome, result=Result.TIMED_OUT, stopped=(), failed=outcome.action.containers)


def composed(**depends_on: Sequence[Dependency]) -> ComposeProject:
    """A Compose project in which these services have these dependencies."""
    place = Place("compose.yml", 1, 1)
    services = {name: ComposeService(name, place, depends_on=tuple(needs)) for name, needs in depends_on.items()}
    return ComposeProject("openpolicy", Path(), (), services)


@dataclass
class VirtualRollOut:
    """`run` carries one out to its end; after a `Crash` it begins anew, as `--resume` does.

    With a `host` it is rolled out there, beside its guardian, which ticks at each pause.
    """

    scenario: Scenario
    config: Config
    measured: Mapping[ServiceKey, Expected] = field(default_factory=dict)
    project: ComposeProject | None = None
    client: Any = field(default_factory=NoDaemon)
    host: VirtualHost | None = None
    on_act: Callable[[VirtualRollOut], None] = lambda _one: None  # called just before each action

    def __post_init__(self) -> None:
        self.clock = VirtualClock() if self.host is None else self.host.clock
        self.steps = Steps()
        self.engine = SimulatedEngine(self.scenario, self.clock) if self.host is None else self.host.engine
        if self.host is not None:
            self.client = Beside(self.host)
        self.record = Record(self.steps)
        self.actions: list[Action] = []
        self.events: list[Event] = []
        self.unanswered: list[str] = []  # names of services; once for each time
        self._begin()

    def _begin(self) -> None:
        """A process begins: all it knows is what was saved."""
        self.senses = Senses(self.config, self.engine, SimulatedHost(self.engine), None, self.clock, "")
        self.admission = Admission(self.client, self.config, self.senses, self.clock)
        self.actor = RecordingActor(self)
        look = self.senses.look()
        cpus = cpu_capacity(self.config, look.host)
        self.plan = make_plan(look.platform, self.config, cpus, self.measured, self.project)
        self.roll_out = RollOut(
            self.config, self.plan, self.engine, self.actor, self.senses, self.admission, self.record, self.clock,
            self._pause, self.events.append,
        )  # fmt: skip

    def _pause(self, seconds: float) -> None:
        if self.host is not None:
            self.host.tick()
            return
        self.clock.advance(seconds)
        self.engine.poll()

    def run(self, goal: int, *, down: bool = False, from_zero: bool = False, **settings: Any) -> Progress:
        progress = Progress(
            goal=goal, down=down, from_zero=from_zero, by="ada", began_wall_s=self.clock.wall(), settings=Settings(**settings)
        )
        return self.roll_out.run(progress)

    def resume(self) -> Progress:
        assert self.record.progress is not None
        self._begin()
        return self.roll_out.run(again(self.record.progress))

    def run_through_crash(self, crash_at: int, goal: int, **how: Any) -> Progress:
        """Die at that step, go on with `--resume`, and return how it ends."""
        self.steps.crash_at = self.steps.passed + crash_at
        try:
            return self.run(goal, **how)
        except Crash:
            self.steps.crash_at = None
            if self.record.progress is None:  # nothing was on disk: an operator gives the command again
                self._begin()
                return self.run(goal, **how)
            return self.resume()

    # --- what became of it ------------------------------------------------------------------------------------------

    def running(self) -> set[str]:
        world = self.engine._world
        return {cell.service.name for cell in world.cells.values() if cell.state.up}

    def told(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def order(self, kind: EventKind) -> list[str]:
        """Names of services, in the order in which this was told of them."""
        return [event.service.partition("/")[2] for event in self.told(kind)]

    @property
    def done(self) -> bool:
        return self.record.progress is not None and self.record.progress.stage is Stage.DONE
