"""Who says whether a roll-out may start something: the daemon where one runs, else the same rules on the roll-out's own readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from guardian.clock import Clock
from guardian.config.schema import Config
from guardian.errors import GuardianError, UnreachableError
from guardian.expose.orders import OrderKind, OrderReply
from guardian.ledger.book import Ledger
from guardian.ledger.entries import EntryState, Means
from guardian.ledger.handover import hand_over
from guardian.ledger.lock import StateLock, is_held
from guardian.ledger.schema import LEDGER_NAME
from guardian.ledger.store import Store
from guardian.model import Level, ServiceKey
from guardian.policy.room import Admitted, Verdict, may_start, with_admitted
from guardian.rollout.gates import Amount
from guardian.rollout.plan import Expected
from guardian.rollout.senses import Look, Senses
from guardian.telemetry import NullTelemetry

CLOSE_S = 5.0
CPU_KNOWN_S = 12.0  # by then the host's CPU has been read for long enough to have a mean


class DaemonClient(Protocol):
    """`guardian.cli.client.Client`. UnreachableError where no daemon answers."""

    def status(self) -> Mapping[str, Any]: ...

    def order(self, kind: OrderKind, services: Sequence[str] = (), **fields: Any) -> OrderReply: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands between a roll-out and a service. `by_daemon`: a daemon said so."""

    by_daemon: bool = False
    owed: frozenset[ServiceKey] = frozenset()  # shed by guardian, which starts it again
    returning: frozenset[ServiceKey] = frozenset()  # guardian is starting it right now
    pins: frozenset[ServiceKey] = frozenset()
    expected: Mapping[ServiceKey, Expected] = field(default_factory=dict)  # of what is shed: it was measured then
    hold: str = ""
    standby: bool = False


class Admission:
    """Asks the daemon at every step, and goes by its own readings where none runs: daemons come and go meanwhile."""

    def __init__(self, client: DaemonClient, config: Config, senses: Senses, clock: Clock) -> None:
        self._client, self._config, self._senses, self._clock = client, config, senses, clock
        self._began_s = clock.monotonic()
        self._state_dir = Path(config.state_dir)
        self._alone: Standing | None = None  # as the ledger said, where no daemon runs
        self.standing = Standing()

    def refresh(self) -> Standing:
        """See what stands now. GuardianError where a daemon runs that does not answer."""
        try:
            self.standing, self._alone = _of_status(self._client.status()), None
        except UnreachableError as error:
            if is_held(self._state_dir):
                raise UnreachableError(f"a guardian has {self._state_dir}, and does not answer: {error}") from None
            if self._alone is None:
                self._alone = self._read_ledger()
            self.standing = self._alone
        return self.standing

    def ask(self, services: Sequence[ServiceKey], need: Amount, look: Look, *, plan_only: bool = False) -> Verdict:
        """Whether these may be started now. Unless `plan_only`, room is kept for what they grow to from here on."""
        memory = None if need.memory_bytes is None else int(need.memory_bytes)
        verdict = self._daemon_says(services, memory, need.cores, plan_only) if self.standing.by_daemon else None
        if verdict is None:
            verdict = self._own(need, look)
        if not verdict.reason and not plan_only:
            admitted = [Admitted(key, memory, need.cores) for key in services]
            # Kept in mind here too: should the daemon end, it is known what is starting.
            self._senses.state = with_admitted(self._senses.state, admitted, look.assessment, self._config, look.at_s)
        return verdict

    def restore(self, key: ServiceKey) -> str:
        """Have the daemon start what it has shed; why not, in words."""
        reply = self._client.order(OrderKind.RESTORE, [str(key)])
        return "" if reply.ok else " ".join(reply.lines) or reply.message

    def take_down(self, services: Sequence[ServiceKey]) -> str:
        """Say that these are about to be stopped; why not now, in words. Guardian then owes none of them a start."""
        if self.standing.by_daemon:
            try:
                reply = self._client.order(OrderKind.TAKE_DOWN, [str(key) for key in services])
            except UnreachableError as error:
                return str(error)
            return "" if reply.ok else reply.message
        self.take_over(services)
        return ""

    def take_over(self, services: Sequence[ServiceKey]) -> None:
        """Where no daemon runs: what of these is in the ledger is the roll-out's from now on, and no longer guardian's."""
        mine = [key for key in services if key in self.standing.owed]
        if mine:
            with self._ledger() as ledger:
                for key in mine:
                    ledger.forget(key, "rollout")
            self._alone = None

    # --- with a daemon ----------------------------------------------------------------------------------------------

    def _daemon_says(
        self, services: Sequence[ServiceKey], memory: int | None, cores: float | None, plan_only: bool
    ) -> Verdict | None:
        """None where it has just ended."""
        names = [str(key) for key in services]
        try:
            reply = self._client.order(OrderKind.ADMIT, names, plan_only=plan_only, memory_bytes=memory, cores=cores)
        except UnreachableError as error:
            return Verdict("daemon", str(error)) if is_held(self._state_dir) else None
        except GuardianError as error:
            return Verdict("daemon", str(error))
        return Verdict.of_data(dict(reply.data)) if reply.data else Verdict("daemon", reply.message)

    # --- without ----------------------------------------------------------------------------------------------------

    def _own(self, need: Amount, look: Look) -> Verdict:
        standing, assessment = self.standing, look.assessment
        holds = (
            ("standby", standing.standby),
            ("pressure", assessment.level is not Level.OK),
            ("operator", bool(standing.hold)),
            ("disk", assessment.disk_level is Level.HARD),
        )
        held = [reason for reason, holding in holds if holding]
        verdict = may_start(
            need.memory_bytes, need.cores, held, assessment, look.platform, self._senses.state, self._config, look.at_s
        )
        unknown = verdict.reason == "no_room" and any(one.room is None for one in verdict.rooms)
        if unknown and look.at_s - self._began_s < CPU_KNOWN_S:
            return Verdict("measuring", "the host is read for ten seconds first", verdict.rooms)
        return verdict

    def _read_ledger(self) -> Standing:
        if not (self._state_dir / LEDGER_NAME).exists():
            return Standing()
        with self._ledger() as ledger:
            entries, controls = ledger.open_entries, ledger.controls
        until = controls.standby_until_wall_s
        owed = [one for one in entries if one.state is not EntryState.CLOSED and one.means is not Means.THROTTLE]
        return Standing(
            owed=frozenset(one.service for one in owed),
            pins=controls.pins,
            expected={one.service: Expected(one.expected_bytes, one.expected_cores, True) for one in owed},
            hold=controls.hold,
            standby=until is not None and self._clock.wall() < until,
        )

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """For a moment. AlreadyRunning where a daemon has just begun."""
        lock = StateLock(self._state_dir, self._clock.wall())
        try:
            store = Store(self._state_dir / LEDGER_NAME, self._clock, NullTelemetry())
            try:
                yield Ledger(store, self._clock)
            finally:
                store.close(CLOSE_S)
                hand_over(self._state_dir)
        finally:
            lock.release()


def _of_status(status: Mapping[str, Any]) -> Standing:
    shed = [one for one in status["shed"] if one["means"] != Means.THROTTLE]
    return Standing(
        by_daemon=True,
        owed=frozenset(_key(one["service"]) for one in shed),
        returning=frozenset(_key(one["service"]) for one in shed if one["state"] == EntryState.RESTORING),
        pins=frozenset(_key(one) for one in status["pins"]),
        expected={_key(one["service"]): Expected(one["expected_bytes"], one["expected_cores"], True) for one in shed},
        hold=status["hold_by"] or "",
        standby=bool(status["standby"]["active"]),
    )


def _key(text: str) -> ServiceKey:
    project, slash, name = text.partition("/")
    return ServiceKey(project, name) if slash else ServiceKey("", text)
