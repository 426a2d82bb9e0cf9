"""Carries a roll-out out: looks, has `steps` decide, writes down what will be done, does it, tells of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import msgspec

from guardian.act import Actor
from guardian.clock import Clock
from guardian.config.schema import Config
from guardian.engine.protocol import Engine
from guardian.errors import ComposeError, EngineError, GuardianError
from guardian.model import ROLL_OUT, Action, ActionKind, Outcome, Result, ServiceKey
from guardian.policy.room import Verdict
from guardian.rollout import steps
from guardian.rollout.admission import Admission
from guardian.rollout.gates import Amount, see
from guardian.rollout.plan import Member, Plan, in_calls
from guardian.rollout.progress import Failure, Progress, Stage
from guardian.rollout.senses import Look, Senses
from guardian.rollout.steps import Event, EventKind, Memory, Turn, View

LOOK_EVERY_S = 0.5
LAST_LINES = 10
START_WITHIN_S = 10.0  # beyond the engine's time-out: an image that has to be unpacked, a volume that is slow
RETURN_WITHIN_S = 30.0  # a restore that the daemon was asked for begins within this


class Composer(Protocol):
    """`guardian.compose.command.ComposeCalls`. ComposeError where it cannot be done."""

    @property
    def waits(self) -> bool: ...

    def create(self, services: Sequence[str]) -> None: ...


class Record(Protocol):
    """`guardian.rollout.progress.ProgressFile`."""

    def save(self, progress: Progress) -> None: ...


class RollOut:
    """One roll-out, from wherever it stands to its end. `pause` lets time pass; `tell` hears of each event, `wait` what is waited for."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        engine: Engine,
        actor: Actor,
        senses: Senses,
        admission: Admission,
        record: Record,
        clock: Clock,
        pause: Callable[[float], None],
        tell: Callable[[Event], None],
        wait: Callable[[Progress, Sequence[str]], None] = lambda _progress, _waits: None,
        composer: Composer | None = None,
    ) -> None:
        self._config, self._plan, self._engine, self._actor = config, plan, engine, actor
        self._senses, self._admission, self._record, self._clock = senses, admission, record, clock
        self._pause, self._tell, self._wait, self._composer = pause, tell, wait, composer
        self._memory = Memory()
        self._run_id, self._numbers = secrets.token_hex(4), count(1)
        self._held: dict[ServiceKey | None, Verdict] = {}
        self._refused: dict[ServiceKey, str] = {}
        self._admitted = False
        self._busy: frozenset[ServiceKey] = frozenset()
        self._asked: dict[ServiceKey, float] = {}  # the daemon was asked to restore it, and when
        self._late: dict[ServiceKey, float] = {}  # since when starts and stops of it had no answer
        self._blind_since_s: float | None = None
        self._began_wall_s = clock.wall()

    def run(self, progress: Progress) -> Progress:
        """Until it is done, or has failed. GuardianError where it cannot be gone on with: then `--resume` may."""
        self._record.save(progress)
        while progress.stage not in (Stage.DONE, Stage.FAILED):
            look = self._look(progress)
            if look is not None:
                progress = self._step(progress, look)
            if progress.stage not in (Stage.DONE, Stage.FAILED):
                self._pause(LOOK_EVERY_S)
        return progress

    def _step(self, progress: Progress, look: Look) -> Progress:
        turn, after, self._memory = steps.step(self._plan, progress, self._memory, self._view(look))
        self._held, self._refused, self._admitted = {}, {}, False
        if after.failure is not None and after.failure != progress.failure:
            after = msgspec.structs.replace(after, failure=self._with_evidence(after.failure, look))
        if after.stage in (Stage.DONE, Stage.FAILED):
            after = msgspec.structs.replace(after, ended_wall_s=self._clock.wall())
        if after != progress:
            self._record.save(after)
        for event in turn.events:
            self._tell(event)
        self._wait(after, turn.waits)
        self._stop(turn.stops, look)
        after = self._create(turn, after)
        if turn.room is not None:
            self._ask_for_phase(turn.room, after, look)
        return self._start(turn.starts, after, look)

    # --- looking ----------------------------------------------------------------------------------------------------

    def _look(self, progress: Progress) -> Look | None:
        """None where the engine does not answer; EngineError once it has not for as long as a start may be held."""
        # Both first: what is listed afterwards shows what has ended by now, and what ends meanwhile still counts as busy.
        self._busy = frozenset(one.service for one in self._actor.in_flight)
        for outcome in self._actor.outcomes():
            self._take(outcome, progress)
        try:
            look = self._senses.look()
            self._admission.refresh()
        except GuardianError as error:
            now_s = self._clock.monotonic()
            self._blind_since_s = now_s if self._blind_since_s is None else self._blind_since_s
            self._wait(progress, (str(error),))
            if now_s - self._blind_since_s >= progress.settings.wait_s:
                raise
            return None
        self._blind_since_s = None
        return look

    def _take(self, outcome: Outcome, progress: Progress) -> None:
        """One that failed fails the phase. One without an answer may have worked: that is seen, or else it is tried again."""
        key, what = outcome.action.service, "stop" if outcome.action.kind is ActionKind.SHED else "start"
        if outcome.result.ended_well:
            self._late.pop(key, None)
            return
        since_s = self._late.setdefault(key, outcome.at_s)
        if outcome.result is Result.TIMED_OUT and outcome.at_s - since_s < progress.settings.healthy_within_s:
            self._memory = steps.unanswered(self._memory, key)
            return
        self._refused[key] = f"the engine did not {what} it: {outcome.detail or outcome.result.value}"

    def _view(self, look: Look) -> View:
        standing = self._admission.standing
        now_s = look.at_s
        self._asked = {
            key: at_s for key, at_s in self._asked.items() if now_s - at_s < RETURN_WITHIN_S and key in standing.owed
        }
        services = look.platform.services
        kept = {key: "it is under protect" for key, one in services.items() if one.protect}
        kept |= dict.fromkeys(standing.pins, "it is pinned")
        return View(
            now_s=now_s,
            seen={key: see(found, key in standing.owed) for key, found in look.by_service().items()},
            phases=look.assessment.phases,
            use={
                str(key): Amount(look.platform.footprint(one, now_s, 2), look.platform.cores(one, now_s, 2))
                for key, one in services.items()
                if one.up
            },
            kept=kept,
            busy=self._busy | standing.returning | self._asked.keys(),
            refused=self._refused,
            held=self._held,
            admitted=self._admitted,
            stable_for_s=float(self._config.restoring.stable_for),
            began_wall_s=self._began_wall_s,
        )

    def _with_evidence(self, failure: Failure, look: Look) -> Failure:
        """The last that the service said. What cannot be read is left out: the failure itself is what counts."""
        found = [one for key, those in look.by_service().items() if str(key) == failure.service for one in those]
        if not found:
            return failure
        problem = self._senses.probed.get(found[0].service, "")
        probed = (f"its probe: {problem}",) if problem else ()
        try:
            words = self._engine.last_words(found[0].id, LAST_LINES)
        except EngineError:
            return msgspec.structs.replace(failure, health=probed)
        return msgspec.structs.replace(failure, log=words.log, health=(*words.health, *probed))

    # --- acting -----------------------------------------------------------------------------------------------------

    def _stop(self, stops: Sequence[ServiceKey], look: Look) -> None:
        """Stop these side by side: whatever depends on one of them is down already."""
        if not stops:
            return
        refused = self._admission.take_down(stops)
        if refused:  # for a moment: it is asked for again
            self._tell(Event(EventKind.HELD, 0, detail=refused))
            return
        for key in stops:
            service = look.platform.services[key]
            self._actor.submit(
                [
                    Action(
                        id=self._next_id(),
                        kind=ActionKind.SHED,
                        service=key,
                        phase=service.phase,
                        containers=tuple(one.id for one in service.up),
                        reason=ROLL_OUT,
                        grace_s=service.stop_timeout_s,
                        kill_after_grace=not service.kill_never,
                        deadline_s=service.stop_timeout_s + self._config.engine.timeout,
                    )
                ]
            )

    def _create(self, turn: Turn, progress: Progress) -> Progress:
        """Have Compose make what does not exist. It starts none of it."""
        if not turn.create:
            return progress
        if self._composer is None:
            names = ", ".join(one.key.name for one in turn.create)
            why = f"there is no container of {names}: name the Compose file by --compose, or create them first"
        else:
            try:
                for members in in_calls(turn.create, self._composer.waits):
                    self._composer.create([one.key.name for one in members])
                return progress
            except ComposeError as error:
                why = str(error)
        failure = Failure(why=why)
        failed = msgspec.structs.replace(progress, stage=Stage.FAILED, failure=failure, ended_wall_s=self._clock.wall())
        self._record.save(failed)
        self._tell(Event(EventKind.FAILED, progress.phase, detail=why))
        return failed

    def _ask_for_phase(self, room: Amount, progress: Progress, look: Look) -> None:
        members = self._plan.phase(progress.phase).members
        managed = [one.key for one in members if one.managed]
        verdict = self._admission.ask(managed, room, look, plan_only=True)
        if verdict.reason:
            self._held[None] = verdict
        else:
            self._admitted = True

    def _start(self, starts: Sequence[Member], progress: Progress, look: Look) -> Progress:
        """Start those for which there is room, each written down before it is sent."""
        containers = look.by_service()
        for one in starts:
            found = [each for each in containers.get(one.key, []) if not each.state.up and not each.oneoff and not each.swarm]
            if not found:
                self._refused[one.key] = "there is no container of it"
                continue
            expected = self._expected(one)
            # What no phase lists is none of the daemon's: it is asked for on behalf of what needs it.
            asked = one.key if one.managed or one.needed_by is None else one.needed_by
            verdict = self._admission.ask([asked], expected, look, plan_only=not one.managed)
            if verdict.reason:
                self._held[one.key] = verdict
                if verdict.reason != "no_room":  # it would be said of all others too
                    break
                continue
            if not progress.has_started(one.key):
                progress = msgspec.structs.replace(progress, started=(*progress.started, str(one.key)))
                self._record.save(progress)
            self._memory = steps.started(self._memory, one, look.at_s)
            standing = self._admission.standing
            if one.key in standing.owed and standing.by_daemon:
                refused = self._admission.restore(one.key)
                if refused:
                    self._held[one.key] = Verdict("daemon", refused)
                    continue
                self._asked[one.key] = look.at_s
            else:
                self._admission.take_over([one.key])
                self._actor.submit([self._start_action(one, tuple(each.id for each in found))])
            self._tell(Event(EventKind.START, one.phase, str(one.key)))
        return progress

    def _expected(self, one: Member) -> Amount:
        """What it is expected to use: as seen when guardian shed it, where it has, else as planned."""
        shed = self._admission.standing.expected.get(one.key)
        expected = one.expected if shed is None or shed.memory_bytes is None else shed
        return Amount(expected.memory_bytes, expected.cores)

    def _start_action(self, one: Member, containers: tuple[str, ...]) -> Action:
        return Action(
            id=self._next_id(),
            kind=ActionKind.RESTORE,
            service=one.key,
            phase=one.phase,
            containers=containers,
            reason=ROLL_OUT,
            deadline_s=self._config.engine.timeout + START_WITHIN_S,
        )

    def _next_id(self) -> str:
        return f"{self._run_id}-{next(self._numbers)}"
