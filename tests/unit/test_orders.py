"""What each order of an operator comes to: its reply, and what the next decision is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from support.ledgers import T0, a_container, ended, intended, restoring, sent, shed

from guardian.expose.orders import Order, OrderKind
from guardian.ledger.entries import Controls
from guardian.model import Mode, ServiceKey, Signal
from guardian.orders import Answer, Situation, answer
from guardian.policy.platform import Platform, Service
from guardian.policy.room import Admitted, Room, Verdict


def key(name: str) -> ServiceKey:
    return ServiceKey("demo", name)


def a_service(name: str, phase: int, **fields: Any) -> Service:
    return Service(key(name), phase, phase, containers=(a_container(name, key(name)),), **fields)


DB, API, WEB, LOGS, AUTH, DOWN = (key(name) for name in ("db", "api", "web", "logs", "auth", "down"))
PLATFORM = Platform(
    {
        service.key: service
        for service in (
            a_service("db", 1, protected=True),
            a_service("api", 2, protect=True, requires=frozenset({AUTH})),
            a_service("auth", 2),
            a_service("web", 3),
            a_service("logs", 3),
            replace(a_service("down", 3), containers=(ended(a_container("down", DOWN), T0),)),
        )
    }
)
WEB_SHED = shed(a_container("web", WEB))


def now(**fields: Any) -> Situation:
    """Enforce mode, an engine that answers, nothing shed and no control set."""
    plain: dict[str, Any] = {
        "platform": PLATFORM,
        "entries": (),
        "controls": Controls(),
        "mode": Mode.ENFORCE,
        "standby": False,
        "engine_ready": True,
        "now_wall_s": T0,
    }
    return Situation(**{**plain, **fields})


def order(kind: OrderKind, *services: ServiceKey, **fields: Any) -> Order:
    return Order(kind, services, **{"by": "ada", **fields})


def changes_nothing(answered: Answer) -> bool:
    return (answered.controls, answered.sheds, answered.restores, answered.forgotten) == (None, (), (), ())


# --- shed -----------------------------------------------------------------------------------------------------------


def test_a_shed_is_accepted_and_says_how_to_undo_it() -> None:
    """An order to shed is handed to the next decision; its line says how the service is started again."""
    answered = answer(order(OrderKind.SHED, WEB, LOGS), now())
    assert answered.sheds == (WEB, LOGS)
    assert (answered.reply.ok, answered.reply.message) == (True, "2 of 2 being shed")
    assert answered.reply.lines[0] == "demo/web: is being stopped; `guardian restore web` starts it again"


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (key("nobody"), "is not managed: put it into a phase of the file"),
        (DOWN, "does not run, so there is nothing to stop"),
        (DB, "is protected: stop it with docker, or change the file"),
        (API, "is protected: stop it with docker, or change the file"),
        (LOGS, "is pinned: `guardian unpin` it first"),
        (AUTH, "is required by demo/api, which is protected or pinned: stop that first, or change `requires` in the file"),
    ],
)
def test_a_shed_that_the_rules_forbid_is_refused_with_its_reason(service: ServiceKey, why: str) -> None:
    """What is unknown, down, protected, pinned or required is not shed by an order either; the others of the order are."""
    answered = answer(order(OrderKind.SHED, service, WEB), now(controls=Controls(pins=frozenset({LOGS}))))
    assert answered.sheds == (WEB,)
    assert (answered.reply.ok, answered.reply.message) == (False, "1 of 2 being shed")
    assert answered.reply.lines[0] == f"{service}: {why}"


@pytest.mark.parametrize("kind", [OrderKind.SHED, OrderKind.RESTORE])
@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"standby": True}, "standby is on"),
        ({"engine_ready": False}, "the engine does not answer"),
        ({"standby": True, "engine_ready": False, "mode": Mode.OBSERVE}, "standby is on"),
    ],
)
def test_standby_and_an_engine_that_is_down_refuse_what_acts(kind: OrderKind, fields: dict[str, Any], start: str) -> None:
    """In standby, or without an engine, nothing is shed or restored; the reply says why and what to do."""
    answered = answer(order(kind, WEB), now(entries=(WEB_SHED,) if kind is OrderKind.RESTORE else (), **fields))
    assert changes_nothing(answered)
    assert not answered.reply.ok
    assert answered.reply.message.startswith(start)
    assert "`guardian " in answered.reply.message


def test_observe_mode_refuses_a_shed_but_not_a_restore() -> None:
    """Observe mode stops nothing, not even by order; what was shed before may still be brought back."""
    refused = answer(order(OrderKind.SHED, WEB), now(mode=Mode.OBSERVE))
    assert changes_nothing(refused)
    assert refused.reply.message.startswith("the mode is observe")
    accepted = answer(order(OrderKind.RESTORE, WEB), now(mode=Mode.OBSERVE, entries=(WEB_SHED,)))
    assert (accepted.reply.ok, accepted.restores) == (True, (WEB,))


# --- restore and forget ---------------------------------------------------------------------------------------------


def test_only_what_guardian_shed_is_restored() -> None:
    """A restore takes what guardian stopped, and refuses what it did not."""
    answered = answer(order(OrderKind.RESTORE, WEB, DOWN), now(entries=(WEB_SHED,)))
    assert answered.restores == (WEB,)
    assert (answered.reply.ok, answered.reply.message) == (False, "1 of 2 to be restored, one at a time")
    assert answered.reply.lines == ("demo/web: will be started", "demo/down: was not shed by guardian: start it with docker")


def test_restore_all_takes_whatever_is_shed() -> None:
    """`--all` means every service that is shed, and leaves out what is being stopped, being started, or back already."""
    entries = (
        shed(a_container("logs", LOGS)),
        WEB_SHED,
        sent(a_container("api", API)),
        restoring(a_container("auth", AUTH)),
        replace(shed(a_container("db", DB)), returned_wall_s=T0),
    )
    answered = answer(order(OrderKind.RESTORE, all=True), now(entries=entries))
    assert answered.restores == (LOGS, WEB)
    assert answered.reply.ok


def test_restore_all_with_nothing_shed_is_no_failure() -> None:
    """`--all` with nothing shed says so, and is fine."""
    answered = answer(order(OrderKind.RESTORE, all=True), now())
    assert changes_nothing(answered)
    assert (answered.reply.ok, answered.reply.message) == (True, "nothing is shed")


@pytest.mark.parametrize(
    "fields",
    [{}, {"mode": Mode.OBSERVE}, {"standby": True}, {"engine_ready": False}],
    ids=["enforce", "observe", "standby", "down"],
)
def test_a_shed_service_is_forgotten_whatever_the_situation(fields: dict[str, Any]) -> None:
    """To forget needs no engine: it is accepted in every mode, for what is or may be stopped by guardian, and for no other."""
    entries = (WEB_SHED, sent(a_container("logs", LOGS)), intended(a_container("auth", AUTH)))
    answered = answer(order(OrderKind.FORGET, WEB, LOGS, AUTH, DOWN), now(entries=entries, **fields))
    assert answered.forgotten == (WEB, LOGS)
    assert not answered.reply.ok
    assert answered.reply.lines == (
        "demo/web: forgotten; it stays as it is",
        "demo/logs: forgotten; it stays as it is",
        "demo/auth: was not shed by guardian: there is nothing to forget",
        "demo/down: was not shed by guardian: there is nothing to forget",
    )
    assert answer(order(OrderKind.FORGET, WEB), now(entries=entries, **fields)).reply.ok


# --- controls -------------------------------------------------------------------------------------------------------

STANDING = Controls(hold="bob", standby_until_wall_s=T0 + 60, standby_by="bob", pins=frozenset({LOGS}))


@pytest.mark.parametrize(
    "fields",
    [{}, {"mode": Mode.OBSERVE}, {"standby": True}, {"engine_ready": False}],
    ids=["enforce", "observe", "standby", "down"],
)
@pytest.mark.parametrize(
    ("given", "before", "after", "message"),
    [
        (order(OrderKind.PIN, WEB, LOGS), STANDING, {"pins": frozenset({WEB, LOGS})}, "2 pinned"),
        (order(OrderKind.UNPIN, WEB, LOGS), STANDING, {"pins": frozenset()}, "2 unpinned"),
        (order(OrderKind.HOLD), STANDING, {"hold": "ada"}, "nothing will be started until `guardian release`"),
        (order(OrderKind.HOLD, by=""), STANDING, {"hold": "operator"}, "nothing will be started until `guardian release`"),
        (order(OrderKind.RELEASE), STANDING, {"hold": ""}, "released"),
        (order(OrderKind.RELEASE), Controls(), {}, "there was no hold"),
        (
            order(OrderKind.STANDBY, for_s=90.0),
            STANDING,
            {"standby_until_wall_s": T0 + 90, "standby_by": "ada"},
            "nothing will be stopped or started for 1m30s",
        ),
        (
            order(OrderKind.STANDBY),
            STANDING,
            {"standby_until_wall_s": math.inf, "standby_by": "ada"},
            "nothing will be stopped or started until `guardian standby --off`",
        ),
    ],
)
def test_a_standing_order_changes_its_own_control_in_every_situation(
    given: Order, before: Controls, after: dict[str, Any], message: str, fields: dict[str, Any]
) -> None:
    """Pins, hold and standby are accepted whatever the mode and the engine; each changes its own control and no other."""
    answered = answer(given, now(controls=before, **fields))
    assert answered.controls == replace(before, **after)
    assert (answered.reply.ok, answered.reply.message) == (True, message)
    assert (answered.sheds, answered.restores, answered.forgotten) == ((), (), ())


@pytest.mark.parametrize(("on", "message"), [(True, "standby is over"), (False, "there was no standby")])
def test_standby_for_no_time_ends_it(on: bool, message: str) -> None:
    """A standby of no seconds ends the one that is on, and keeps hold and pins."""
    answered = answer(order(OrderKind.STANDBY, for_s=0.0), now(standby=on, controls=STANDING))
    assert answered.controls == replace(STANDING, standby_until_wall_s=None, standby_by="")
    assert (answered.reply.ok, answered.reply.message) == (True, message)


def test_unpin_says_which_were_not_pinned() -> None:
    """An unpin of what was not pinned is said, and does no harm."""
    answered = answer(order(OrderKind.UNPIN, WEB, LOGS), now(controls=STANDING))
    assert answered.reply.lines == ("demo/web: was not pinned", "demo/logs: unpinned")


def test_a_reload_is_not_for_the_loop() -> None:
    """An order that others carry out is refused here, and changes nothing."""
    answered = answer(order(OrderKind.RELOAD), now())
    assert changes_nothing(answered)
    assert not answered.reply.ok


# --- emergency ------------------------------------------------------------------------------------------------------


def test_an_emergency_ends_all_but_what_is_kept() -> None:
    """An emergency ends all that runs and is not kept: those of the order, else those of the file, and what is absolute."""
    answered = answer(order(OrderKind.EMERGENCY, WEB), now(keep=("db",)))
    assert set(answered.ends) == {DB, LOGS}
    assert {one["service"]: one["why"] for one in answered.reply.data["kept"]} == {
        "demo/api": "protect",
        "demo/auth": "required by demo/api",
        "demo/web": "kept",
    }
    assert set(answer(order(OrderKind.EMERGENCY), now(keep=("db",))).ends) == {WEB, LOGS}
    assert set(answer(order(OrderKind.EMERGENCY, keep_phase=1), now()).ends) == {WEB, LOGS}


def test_the_plan_of_an_emergency_does_nothing() -> None:
    """The plan of an emergency says the same and does nothing."""
    done, planned = (answer(order(OrderKind.EMERGENCY, WEB, plan_only=only), now()) for only in (False, True))
    assert planned.reply.data == done.reply.data
    assert (planned.ends, changes_nothing(planned)) == ((), True)


def test_with_a_restart_of_the_engine_what_is_kept_ends_with_it() -> None:
    """Where the engine will be restarted, what is kept and runs is known to end with it."""
    assert answer(order(OrderKind.EMERGENCY, WEB), now()).with_engine == ()
    assert set(answer(order(OrderKind.EMERGENCY, WEB, restart_engine=True), now()).with_engine) == {WEB, API, AUTH}


def test_what_is_shed_already_is_not_ended_again() -> None:
    """What guardian has stopped already is not ended again, whatever a list of before shows."""
    entries = (shed(a_container("logs", LOGS)),)
    assert set(answer(order(OrderKind.EMERGENCY, WEB), now(entries=entries)).ends) == {DB}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"standby": True}, "standby is on"),
        ({"mode": Mode.OBSERVE}, "the mode is observe"),
        ({"engine_ready": False}, "the engine does not answer"),
        ({"engine_ready": False, "engine_down": True, "no_signals": "no CAP_KILL"}, "by signal neither: no CAP_KILL"),
    ],
)
def test_an_emergency_is_refused_where_nothing_may_be_stopped(fields: dict[str, Any], words: str) -> None:
    """An emergency is refused in standby, in observe mode, and where neither the engine nor a signal can stop anything."""
    answered = answer(order(OrderKind.EMERGENCY, WEB), now(**fields))
    assert (answered.reply.ok, answered.ends) == (False, ())
    assert words in answered.reply.message


def test_an_emergency_does_without_the_engine() -> None:
    """Where the engine does not answer an emergency is carried out by signal, and says so."""
    answered = answer(order(OrderKind.EMERGENCY, WEB), now(engine_ready=False, engine_down=True))
    assert answered.reply.data["by_signal"]
    assert set(answered.ends) == {DB, LOGS}


# --- a roll-out -----------------------------------------------------------------------------------------------------


def test_a_roll_out_is_told_whether_it_may_start_something_and_what_it_was_granted_is_remembered() -> None:
    """With room, the start is granted and handed to the next decision with what it is expected to use; a plan is only answered."""
    asked: list[tuple[int | None, float | None]] = []

    def may_start(need_bytes: int | None, need_cores: float | None) -> Verdict:
        asked.append((need_bytes, need_cores))
        return Verdict()

    wanted = order(OrderKind.ADMIT, DOWN, memory_bytes=7, cores=0.5)
    answered = answer(wanted, now(may_start=may_start))
    assert (answered.reply.ok, answered.admitted) == (True, (Admitted(DOWN, 7, 0.5),))
    assert asked == [(7, 0.5)]
    planned = answer(replace(wanted, plan_only=True), now(may_start=may_start))
    assert (planned.reply.ok, planned.admitted) == (True, ())


def test_a_start_that_is_held_back_says_why_and_how_much_is_missing() -> None:
    """A verdict against a start is the reply, with the room of every signal for programs."""
    short = Verdict("no_room", "memory: needs 9 MiB, has 4 MiB: 5 MiB missing", (Room(Signal.MEMORY, 9.0, 4.0),))
    answered = answer(order(OrderKind.ADMIT, DOWN), now(may_start=lambda _bytes, _cores: short))
    assert (answered.reply.ok, answered.reply.message, answered.admitted) == (False, short.detail, ())
    assert Verdict.of_data(dict(answered.reply.data)) == short


def test_in_standby_a_roll_out_neither_starts_nor_stops() -> None:
    """Standby means that nothing is stopped or started, by a roll-out neither."""
    for kind in (OrderKind.ADMIT, OrderKind.TAKE_DOWN):
        answered = answer(order(kind, WEB), now(standby=True, may_start=lambda _bytes, _cores: Verdict()))
        assert not answered.reply.ok
        assert "standby is on" in answered.reply.message
        assert (answered.admitted, answered.taken_down) == ((), ())


def test_what_a_roll_out_stops_is_owed_no_start() -> None:
    """A shed service that a roll-out takes down is forgotten; in observe mode too, as it is the operator who stops it."""
    answered = answer(order(OrderKind.TAKE_DOWN, WEB, LOGS), now(entries=(WEB_SHED,), mode=Mode.OBSERVE))
    assert (answered.reply.ok, answered.forgotten, answered.taken_down) == (True, (WEB,), (WEB, LOGS))
    busy = answer(order(OrderKind.TAKE_DOWN, WEB), now(busy=frozenset({WEB})))
    assert (busy.reply.ok, busy.taken_down) == (False, ())


def test_nothing_above_the_target_phase_is_started_by_an_order() -> None:
    """A restore and a roll-out of what is above target_phase are refused: it would be stopped again."""
    fields: dict[str, Any] = {"target_phase": 2, "entries": (WEB_SHED,), "may_start": lambda _bytes, _cores: Verdict()}
    restored = answer(order(OrderKind.RESTORE, WEB), now(**fields))
    assert (restored.restores, restored.reply.lines) == (
        (),
        ("demo/web: is above target_phase 2: raise that first, and reload",),
    )
    started = answer(order(OrderKind.ADMIT, WEB), now(**fields))
    assert (started.reply.ok, started.admitted) == (False, ())
