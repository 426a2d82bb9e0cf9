"""What an operator's order comes to: checked against the platform and the ledger, answered, and handed to the next decision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from guardian import emergency
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.ledger.entries import Controls, Entry, EntryState
from guardian.model import Mode, ServiceKey
from guardian.policy.decide import refusal, without_owed
from guardian.policy.platform import Platform
from guardian.policy.room import Admitted, Verdict
from guardian.units import format_seconds


@dataclass(frozen=True, slots=True)
class Situation:
    """What an order is judged by."""

    platform: Platform
    entries: tuple[Entry, ...]  # open ones
    controls: Controls
    mode: Mode
    standby: bool
    engine_ready: bool
    now_wall_s: float
    busy: frozenset[ServiceKey] = frozenset()  # something is being done to them right now
    now_s: float = 0.0
    keep: tuple[str, ...] = ()  # emergency.keep of the file
    engine_down: bool = False
    no_signals: str = ""  # why nothing can be ended by signal, in words
    may_start: Callable[[int | None, float | None], Verdict] = lambda _bytes, _cores: Verdict("engine")  # bytes, cores
    target_phase: int | None = None

    def above_target(self, key: ServiceKey) -> bool:
        """Whether the file says that this service is not to run."""
        service = self.platform.services.get(key)
        return self.target_phase is not None and service is not None and service.phase > self.target_phase


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply, and what is to be done about it."""

    reply: OrderReply
    controls: Controls | None = None  # new ones
    sheds: tuple[ServiceKey, ...] = ()
    restores: tuple[ServiceKey, ...] = ()
    forgotten: tuple[ServiceKey, ...] = ()
    ends: tuple[ServiceKey, ...] = ()  # at once, because of an emergency
    with_engine: tuple[ServiceKey, ...] = ()  # will end when the engine is restarted, and are to come back
    admitted: tuple[Admitted, ...] = ()  # are being started by a roll-out
    taken_down: tuple[ServiceKey, ...] = ()  # are being stopped by a roll-out


def answer(order: Order, now: Situation) -> Answer:
    """Judge one order; every service of it gets a line."""
    rule = _RULES.get(order.kind)
    return Answer(OrderReply(False, f"{order.kind.value} is not an order for the loop")) if rule is None else rule(order, now)


def _shed(order: Order, now: Situation) -> Answer:
    if blocked := _blocked(now, "stops"):
        return _refuse(blocked)
    taken, lines = [], []
    for key in order.services:
        why = refusal(now.platform.services.get(key), now.platform, now.controls.pins)
        if not why and key in now.busy:
            why = "is being stopped or started right now: try again in a moment"
        lines.append(f"{key}: {why}" if why else f"{key}: is being stopped; `guardian restore {key.name}` starts it again")
        if not why:
            taken.append(key)
    return Answer(_replied(len(taken), len(order.services), "being shed", lines), sheds=tuple(taken))


def _restore(order: Order, now: Situation) -> Answer:
    if blocked := _blocked(now, "starts", even_observing=True):
        return _refuse(blocked)
    shed = {entry.service for entry in now.entries if entry.state is EntryState.SHED and entry.returned_wall_s is None}
    wanted = tuple(sorted(shed)) if order.all else order.services
    if order.all and not wanted:
        return Answer(OrderReply(True, "nothing is shed"))
    taken = tuple(key for key in wanted if key in shed and not now.above_target(key))

    def what(key: ServiceKey) -> str:
        if key not in shed:
            return "was not shed by guardian: start it with docker"
        above = f"is above target_phase {now.target_phase}: raise that first, and reload"
        return above if now.above_target(key) else "will be started"

    lines = [f"{key}: {what(key)}" for key in wanted]
    return Answer(_replied(len(taken), len(wanted), "to be restored, one at a time", lines), restores=taken)


def _forget(order: Order, now: Situation) -> Answer:
    owed = {entry.service for entry in now.entries if entry.state in (EntryState.SHED, EntryState.SENT)}
    taken = tuple(key for key in order.services if key in owed)
    lines = [
        f"{key}: {'forgotten; it stays as it is' if key in owed else 'was not shed by guardian: there is nothing to forget'}"
        for key in order.services
    ]
    return Answer(_replied(len(taken), len(order.services), "forgotten", lines), forgotten=taken)


def _emergency(order: Order, now: Situation) -> Answer:
    by_signal = not now.engine_ready and now.engine_down and not now.no_signals
    if blocked := _blocked(replace(now, engine_ready=now.engine_ready or by_signal), "stops"):
        return _refuse(f"{blocked}; by signal neither: {now.no_signals}" if now.engine_down and now.no_signals else blocked)
    named = frozenset(order.services)
    keep = named if named or order.keep_phase is not None else emergency.from_file(now.keep, now.platform)
    planned = emergency.plan(without_owed(now.platform, now.entries), now.controls.pins, keep, order.keep_phase, now.now_s)
    reply = OrderReply(
        True, f"{len(planned.ended)} to be ended, {len(planned.kept)} kept", data={**planned.as_data(), "by_signal": by_signal}
    )
    if order.plan_only:
        return Answer(reply)
    return Answer(
        replace(reply, message=f"{len(planned.ended)} are being ended"),
        ends=tuple(service.key for service, _ in planned.ended),
        with_engine=tuple(service.key for service, _ in planned.kept if service.up) if order.restart_engine else (),
    )


def _admit(order: Order, now: Situation) -> Answer:
    """A roll-out starts what it may itself: guardian says whether, and keeps the room for what is starting."""
    above = [key for key in order.services if now.above_target(key)]
    if above:
        detail = f"{above[0]} is above target_phase {now.target_phase}"
        verdict = Verdict("target_phase", detail)
    elif now.standby:
        verdict = Verdict("standby", _STANDBY)
    else:
        verdict = now.may_start(order.memory_bytes, order.cores)
    if verdict.reason or order.plan_only:
        return Answer(OrderReply(not verdict.reason, verdict.detail or "may be started", data=verdict.as_data()))
    admitted = tuple(Admitted(key, order.memory_bytes, order.cores) for key in order.services)
    return Answer(OrderReply(True, "may be started", data=verdict.as_data()), admitted=admitted)


def _take_down(order: Order, now: Situation) -> Answer:
    """What a roll-out stops is an operator's stop: guardian owes none of it a start."""
    if now.standby:
        return _refuse(_STANDBY)
    owed = {entry.service for entry in now.entries}
    busy = [key for key in order.services if key in now.busy]
    if busy:
        return _refuse(f"{busy[0]} is being stopped or started right now: try again in a moment")
    forgotten = tuple(key for key in order.services if key in owed)
    return Answer(
        OrderReply(True, f"{len(order.services)} are left to the roll-out"), forgotten=forgotten, taken_down=order.services
    )


def _pin(order: Order, now: Situation) -> Answer:
    pins = now.controls.pins | frozenset(order.services)
    lines = [f"{key}: pinned; it will not be shed" for key in order.services]
    return Answer(OrderReply(True, f"{len(order.services)} pinned", tuple(lines)), replace(now.controls, pins=pins))


def _unpin(order: Order, now: Situation) -> Answer:
    pins = now.controls.pins - frozenset(order.services)
    lines = [f"{key}: {'unpinned' if key in now.controls.pins else 'was not pinned'}" for key in order.services]
    return Answer(OrderReply(True, f"{len(order.services)} unpinned", tuple(lines)), replace(now.controls, pins=pins))


def _hold(order: Order, now: Situation) -> Answer:
    return Answer(
        OrderReply(True, "nothing will be started until `guardian release`"), replace(now.controls, hold=order.by or "operator")
    )


def _release(_: Order, now: Situation) -> Answer:
    message = "released" if now.controls.hold else "there was no hold"
    return Answer(OrderReply(True, message), replace(now.controls, hold=""))


def _standby(order: Order, now: Situation) -> Answer:
    if order.for_s is not None and order.for_s <= 0:
        return Answer(
            OrderReply(True, "standby is over" if now.standby else "there was no standby"),
            replace(now.controls, standby_until_wall_s=None, standby_by=""),
        )
    until = math.inf if order.for_s is None else now.now_wall_s + order.for_s
    how_long = "until `guardian standby --off`" if order.for_s is None else f"for {format_seconds(order.for_s)}"
    return Answer(
        OrderReply(True, f"nothing will be stopped or started {how_long}"),
        replace(now.controls, standby_until_wall_s=until, standby_by=order.by or "operator"),
    )


_RULES: dict[OrderKind, Callable[[Order, Situation], Answer]] = {
    OrderKind.SHED: _shed,
    OrderKind.RESTORE: _restore,
    OrderKind.FORGET: _forget,
    OrderKind.PIN: _pin,
    OrderKind.UNPIN: _unpin,
    OrderKind.HOLD: _hold,
    OrderKind.RELEASE: _release,
    OrderKind.STANDBY: _standby,
    OrderKind.EMERGENCY: _emergency,
    OrderKind.ADMIT: _admit,
    OrderKind.TAKE_DOWN: _take_down,
}

_STANDBY = "standby is on: end it by `guardian standby --off`"


def _blocked(now: Situation, what: str, even_observing: bool = False) -> str:
    if now.standby:
        return f"standby is on, so guardian {what} nothing: end it by `guardian standby --off`"
    if not now.engine_ready:
        return f"the engine does not answer, so guardian {what} nothing: try again once `guardian status` shows it up"
    if now.mode is Mode.OBSERVE and not even_observing:
        return f"the mode is observe, so guardian {what} nothing: set `mode: enforce`, or use docker"
    return ""


def _refuse(message: str) -> Answer:
    return Answer(OrderReply(False, message))


def _replied(done: int, asked: int, what: str, lines: list[str]) -> OrderReply:
    return OrderReply(done == asked, f"{done} of {asked} {what}", tuple(lines))
