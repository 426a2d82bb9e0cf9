"""What people are told: which changes make a message, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.snapshots import AT_S, AT_WALL_S, GIB, MIB, QUARANTINED, SHED, entry, key, signal, snapshot
from support.virtual_host import MIB as VIRTUAL_MIB
from support.virtual_host import Phase, VirtualHost, a_config

from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import Host, HostStep, Scenario, Service, Stop
from guardian.expose.snapshot import Snapshot
from guardian.ledger.entries import Means
from guardian.model import Action, ActionKind, Level, Mode, Outcome, Result, ServiceKey, Settled, Signal
from guardian.notify import render
from guardian.notify.message import Message, Severity
from guardian.notify.watch import ENGINE_DOWN_S, GATHER_S, RECENT_S, Watch, step
from guardian.storage.growth import storage_of
from guardian.storage.values import Command, KnownStorage, Reading, ServiceDisk


def calm(**changes: Any) -> Snapshot:
    """The reference platform with nothing to tell of."""
    busy = snapshot()
    assessment = replace(
        busy.assessment, level=Level.OK, signals=(signal(Signal.MEMORY, 0.61), signal(Signal.CPU, 0.2)), full_in_s=None
    )
    quiet = replace(busy, assessment=assessment, decision=replace(busy.decision, holds=()), entries=(), quarantined=())
    return replace(quiet, **changes)


def at(shown: Snapshot, level: Level, **marks: float) -> Snapshot:
    """The same with memory, or the signals given, at `level`."""
    signals = tuple(signal(Signal(name), value, level) for name, value in (marks or {"memory": 0.93}).items())
    return replace(shown, assessment=replace(shown.assessment, level=level, signals=signals))


def decided(shown: Snapshot, **changes: Any) -> Snapshot:
    return replace(shown, decision=replace(shown.decision, **changes))


def later(shown: Snapshot, seconds: float) -> Snapshot:
    return replace(shown, at_s=AT_S + seconds, at_wall_s=AT_WALL_S + seconds)


def outcome(name: str, result: Result = Result.DONE, kind: ActionKind = ActionKind.SHED, **changes: Any) -> Outcome:
    relief = {"relief_bytes": 100 * MIB} if kind is ActionKind.SHED else {}
    action = Action(f"{kind}-{name}", kind, key(name), 5, ("c",), **{"reason": "memory", **relief, **changes})
    return Outcome(action, result, AT_S, AT_WALL_S, 0.4, "the engine said so" if result is Result.REFUSED else "")


class Told:
    """A watch that is shown snapshots, and the messages that came of them."""

    def __init__(self, first: Snapshot | None = None) -> None:
        self.watch, self.messages = Watch("host1"), list[Message]()
        self.show(calm() if first is None else first)

    def show(self, shown: Snapshot, config_failed: bool = False) -> Message | None:
        self.watch, message = step(self.watch, shown, config_failed)
        if message is not None:
            self.messages.append(message)
        return message

    def lasting(self, shown: Snapshot, config_failed: bool = False, from_s: float = 1.0) -> Message:
        """What is told of something that lasts."""
        self.show(later(shown, from_s), config_failed)
        message = self.show(later(replace(shown, outcomes=()), from_s + GATHER_S), config_failed)
        assert message is not None
        return message


def names(message: Message) -> list[str]:
    return [alert.name for alert in message.began]


# --- a whole overload -----------------------------------------------------------------------------------------------


def an_overload(mode: Mode = Mode.ENFORCE) -> list[Message]:
    """Memory is soft from 20 s on, which costs `logs` its place, and falls back after a minute: what is told of it all."""
    scenario = Scenario(
        host=Host(steps=(HostStep(at=20, memory=steady(970 * VIRTUAL_MIB)), HostStep(at=60, memory=ramp_to(0, 400 * VIRTUAL_MIB)))),
        services={
            "db": Service(memory=700 * VIRTUAL_MIB),
            "web": Service(memory=500 * VIRTUAL_MIB),
            "logs": Service(memory=900 * VIRTUAL_MIB, stop=Stop(takes=0.3)),
        },
    )  # fmt: skip
    host = VirtualHost(scenario, a_config(Phase(("db",), protected=True), ("web",), ("logs",), mode=mode))
    watch, messages = Watch("host1"), []
    for _ in range(400):
        watch, message = step(watch, host.tick())
        messages += [] if message is None else [message]
    return messages


def test_an_overload_is_told_from_its_begin_to_its_end() -> None:
    """An overload makes a message when the level rises, one for the shed, one when all is ok and one for the restore; no more."""
    messages = an_overload()
    assert [(str(one.level), names(one), [alert.name for alert in one.ended]) for one in messages] == [
        ("soft", ["GuardianPressure", "GuardianShed"], []),
        ("ok", [], ["GuardianPressure"]),
        ("ok", [], ["GuardianShed"]),
    ]
    first, calm_again, _ = messages
    assert "memory 8" in first.title
    assert "(soft at 80.0%)" in first.title
    assert first.done == ("stopped openpolicy/logs (phase 3) for memory: 900 MiB expected back",)
    assert first.relief.expected_bytes == 900 * VIRTUAL_MIB
    assert [one.service.name for one in first.top] == ["db", "web"]
    assert calm_again.relief.measured_bytes is not None
    assert calm_again.relief.measured_bytes > 800 * VIRTUAL_MIB


def test_observe_mode_says_what_it_would_have_done() -> None:
    """In observe mode the message says what would have been stopped, and that nothing is."""
    first = an_overload(Mode.OBSERVE)[0]
    assert names(first) == ["GuardianPressure"]
    assert first.done[0].startswith("would stop openpolicy/logs (phase 3) for memory")
    assert first.text.endswith("observe mode: nothing is stopped")
    assert first.relief.expected_bytes is None


# --- when -----------------------------------------------------------------------------------------------------------


def test_a_tick_in_which_nothing_changed_is_compared_and_no_more() -> None:
    """Nothing changed: the watch stays the very same value, whatever runs on the host."""
    told = Told(at(calm(), Level.SOFT))
    told.lasting(at(calm(), Level.SOFT))
    before = told.watch
    assert told.show(later(at(calm(), Level.SOFT), 60)) is None
    assert told.watch is before


def test_what_follows_at_once_is_told_at_once() -> None:
    """Fourteen stops within three seconds are one message."""
    told = Told()
    services = [f"s{number:02}" for number in range(14)]
    hard = at(calm(), Level.HARD)
    told.show(later(hard, 1))
    for count in range(1, 15):
        entries = tuple(entry(key(name), AT_WALL_S) for name in services[:count])
        shown = replace(hard, entries=entries, outcomes=(outcome(services[count - 1]),))
        assert told.show(later(shown, 1 + count * 0.2)) is None
    message = told.show(later(replace(hard, entries=entries), 1 + GATHER_S))
    assert message is not None
    assert names(message) == ["GuardianPressure", "GuardianHardPressure"] + 14 * ["GuardianShed"]
    assert len(message.done) == 14
    assert message.relief.expected_bytes == 1400 * MIB


def test_what_is_over_before_it_is_told_is_not_told() -> None:
    """A level that is left again within three seconds is told to nobody."""
    told = Told()
    assert told.show(later(at(calm(), Level.SOFT), 1)) is None
    assert told.show(later(calm(), 2)) is None
    assert told.show(later(calm(), 60)) is None


def test_a_short_restart_of_the_engine_is_not_told() -> None:
    """An engine that is away for less than ten seconds is no news; one that is away for longer is, and so is its return."""
    told = Told()
    away = calm(engine_up=False)
    told.show(later(away, 1))
    told.show(later(away, 1 + ENGINE_DOWN_S - 0.1))
    assert told.show(later(calm(), 11 + GATHER_S)) is None
    assert told.messages == []

    told.show(later(away, 20))
    told.show(later(away, 20 + ENGINE_DOWN_S))
    message = told.show(later(away, 20 + ENGINE_DOWN_S + GATHER_S))
    assert message is not None
    assert names(message) == ["GuardianEngineDown"]
    assert [alert.name for alert in told.lasting(calm(), from_s=60).ended] == ["GuardianEngineDown"]


def test_what_was_shed_before_the_start_is_no_news() -> None:
    """What a guardian before this one shed is not told again, but belongs to what holds."""
    told = Told(calm(entries=(entry(SHED, AT_WALL_S - 90),)))
    (message,) = told.messages
    assert not message.news
    assert [(alert.name, alert.since_wall_s) for alert in message.active] == [("GuardianShed", AT_WALL_S - 90)]


def test_an_alert_keeps_its_begin() -> None:
    """What lasts keeps the time at which it began, however often the rest changes."""
    told = Told()
    told.lasting(at(calm(), Level.SOFT))
    message = told.lasting(at(calm(), Level.HARD), from_s=30)
    assert {alert.name: alert.since_wall_s for alert in message.active} == {
        "GuardianPressure": AT_WALL_S + 1,
        "GuardianHardPressure": AT_WALL_S + 30,
    }
    assert names(message) == ["GuardianHardPressure"]


def test_a_failed_action_is_told_until_it_works() -> None:
    """A stop that failed is told with the engine's words; it is over once one of the service worked, or after ten minutes."""
    told = Told()
    message = told.lasting(calm(outcomes=(outcome("kibana", Result.REFUSED),)))
    assert names(message) == ["GuardianActionFailed"]
    assert message.began[0].summary == "could not stop openpolicy/kibana (phase 5): the engine said so"
    over = told.lasting(calm(outcomes=(outcome("kibana"),)), from_s=20)
    assert [alert.name for alert in over.ended] == ["GuardianActionFailed"]

    told.lasting(calm(outcomes=(outcome("kibana", Result.TIMED_OUT),)), from_s=40)
    assert told.show(later(calm(), 40 + RECENT_S - 1)) is None
    told.show(later(calm(), 40 + RECENT_S))
    old = told.show(later(calm(), 40 + RECENT_S + GATHER_S))
    assert old is not None
    assert [alert.name for alert in old.ended] == ["GuardianActionFailed"]


def test_a_restart_is_told_for_a_while() -> None:
    """A service that guardian restarted, because it was unhealthy, is told, and is over after ten minutes."""
    told = Told()
    restart = outcome("api", kind=ActionKind.RESTART, reason="unhealthy")
    message = told.lasting(calm(outcomes=(restart,)))
    assert names(message) == ["GuardianRestarted"]
    assert message.began[0].summary == "restarted openpolicy/api (phase 5) because it was unhealthy"
    told.show(later(calm(), RECENT_S + 1))
    assert told.show(later(calm(), RECENT_S + 1 + GATHER_S)) is not None


@pytest.mark.parametrize("kind", ActionKind)
@pytest.mark.parametrize("result", Result)
def test_every_action_can_be_told_however_it_ends(kind: ActionKind, result: Result) -> None:
    """Whatever is done to a service, and however that ends, there are words for it."""
    told = Told()
    message = told.lasting(at(calm(outcomes=(outcome("api", result, kind),)), Level.SOFT))
    assert "openpolicy/api" in message.done[0]


@pytest.mark.parametrize("reason", ["target_phase", "reboot", "engine_restart"])
def test_what_is_down_as_it_should_be_is_no_warning(reason: str) -> None:
    """What is down by the file or a reboot, and will come by itself, is told as information alone."""
    message = Told().lasting(calm(entries=(entry(SHED, AT_WALL_S, reason=reason),)))
    assert message.began[0].severity is Severity.INFO


def test_a_restored_service_that_fell_is_a_failure() -> None:
    """A service that was started and did not stay up is told as a failed start."""
    told = Told()
    message = told.lasting(decided(calm(), fallen=(SHED,)))
    assert message.began[0].summary == "openpolicy/kibana was started and did not stay up"
    assert dict(message.began[0].labels)["action"] == "start"


# --- of what --------------------------------------------------------------------------------------------------------

DISK = replace(signal(Signal.DISK, 0.96, Level.HARD, hard=0.95), soft=0.85)


def of_disk(level: Level) -> Callable[[Snapshot], Snapshot]:
    def change(shown: Snapshot) -> Snapshot:
        signals = (*shown.assessment.signals, replace(DISK, level=level))
        return replace(shown, assessment=replace(shown.assessment, signals=signals, disk_level=level))

    return change


CASES: dict[str, tuple[Callable[[Snapshot], Snapshot], list[str], str]] = {
    "soft": (lambda one: at(one, Level.SOFT, cpu=0.9), ["GuardianPressure"], "cpu 90.0% (soft at 80.0%)"),
    "hard": (
        lambda one: at(one, Level.HARD, platform_memory=0.95),
        ["GuardianPressure", "GuardianHardPressure"],
        "platform memory 95.0% (hard at 90.0%)",
    ),
    "exhausted": (lambda one: decided(one, exhausted=True), ["GuardianExhausted"], "nothing that is left to shed"),
    "emergency": (lambda one: decided(one, emergency=True), ["GuardianEmergency"], "kept: nothing by name"),
    "ineffective": (lambda one: decided(one, ineffective=(Signal.CPU,)), ["GuardianIneffective"], "shedding for cpu"),
    "disk": (of_disk(Level.SOFT), ["GuardianDisk"], "disk 96.0% (soft at 85.0%)"),
    "full disk": (of_disk(Level.HARD), ["GuardianDisk", "GuardianDiskFull"], "nothing is started: disk 96.0% (hard at 95.0%)"),
    "shed": (lambda one: replace(one, entries=(entry(SHED, AT_WALL_S),)), ["GuardianShed"], "is down to relieve memory"),
    "order": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, by="anna"),)),
        ["GuardianShed"],
        "is down by order of anna",
    ),
    "platform signal": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, reason="platform_memory"),)),
        ["GuardianShed"],
        "is down to relieve platform memory",
    ),
    "emergency's end": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, reason="emergency"),)),
        ["GuardianShed"],
        "is down (emergency)",
    ),
    "target": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, reason="target_phase"),)),
        ["GuardianShed"],
        "is down because it is above target_phase",
    ),
    "reboot": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, reason="reboot"),)),
        ["GuardianShed"],
        "since the host went down, and is started by the rules",
    ),
    "throttle": (
        lambda one: replace(one, entries=(entry(SHED, AT_WALL_S, means=Means.THROTTLE, reason="cpu"),)),
        ["GuardianThrottled"],
        "is throttled to relieve cpu",
    ),
    "quarantine": (
        lambda one: replace(one, quarantined=(QUARANTINED,)),
        ["GuardianQuarantine"],
        "`guardian restore logstash` starts it",
    ),
    "pending": (lambda one: replace(one, config_pending=("mode: a -> b",)), ["GuardianConfigPending"], "1 change of the"),
    "left enforce": (
        lambda one: replace(one, mode=Mode.OBSERVE, entries=(entry(SHED, AT_WALL_S),)),
        ["GuardianShed", "GuardianLeftEnforce"],
        "`guardian restore --all`",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_that_a_person_must_know_is_told_and_taken_back(case: str) -> None:
    """Each is told once, in a few words, and told again when it is over."""
    change, expected, words = CASES[case]
    told = Told()
    message = told.lasting(change(calm()))
    assert names(message) == expected
    assert words in message.text
    over = told.lasting(calm(), from_s=30)
    assert [alert.name for alert in over.ended] == expected
    assert over.active == ()


def test_a_refused_file_is_told_until_it_is_mended() -> None:
    """A file with mistakes is told, and so is its mending."""
    told = Told()
    assert names(told.lasting(calm(), config_failed=True)) == ["GuardianConfigFailed"]
    assert [alert.name for alert in told.lasting(calm(), from_s=20).ended] == ["GuardianConfigFailed"]


def test_the_top_three_are_those_that_use_what_is_short() -> None:
    """The three biggest by memory; by CPU where only that is short. A service whose use is unknown is not among them."""
    shown = calm()
    use: dict[ServiceKey, tuple[int | None, float | None]] = {
        key("redis"): (2 * GIB, 0.1),
        key("api"): (GIB, 1.5),
        key("web"): (None, None),
        key("gateway"): (900 * MIB, 0.2),
    }
    services = tuple(
        replace(one, working_set_bytes=use.get(one.key, (MIB, 0.01))[0], cpu_cores=use.get(one.key, (MIB, 0.01))[1])
        for one in shown.assessment.services
    )
    shown = replace(shown, assessment=replace(shown.assessment, services=services))
    by_memory = Told().lasting(at(shown, Level.SOFT))
    by_cpu = Told().lasting(at(shown, Level.SOFT, cpu=0.9))
    assert [one.service.name for one in by_memory.top] == ["redis", "api", "gateway"]
    assert [one.service.name for one in by_cpu.top] == ["api", "gateway", "redis"]
    assert str(by_memory.top[0]) == "openpolicy/redis (phase 1): 2.0 GiB, 0.10 cores"


def test_relief_is_summed_until_the_host_is_ok() -> None:
    """Relief adds up over the sheds of one overload, in bytes and cores apart, and begins anew after it."""
    told = Told()
    soft = at(calm(), Level.SOFT)
    shed = Settled(outcome("kibana").action, Signal.MEMORY, 100.0 * MIB, 90.0 * MIB)
    by_cpu = outcome("fluentd", reason="cpu", relief_cores=0.5)
    told.show(later(replace(soft, outcomes=(outcome("kibana"), by_cpu)), 1))
    told.show(later(decided(soft, settled=(shed, Settled(by_cpu.action, Signal.CPU, 0.5, 0.4))), 2))
    message = told.show(later(soft, 1 + GATHER_S))
    assert message is not None
    assert str(message.relief) == "90.0 MiB measured of 100 MiB expected, 0.40 cores measured of 0.50 cores expected"
    assert told.lasting(calm(), from_s=100).relief == message.relief
    assert str(told.lasting(soft, from_s=200).relief) == ""


def test_a_disk_that_fills_is_told_with_who_fills_it_and_what_would_free_some() -> None:
    """The message of a full disk names the services that grow fastest, and the commands that would free most."""
    grown = [Reading(AT_WALL_S + hour * 3600, services={key("api"): ServiceDisk(hour * GIB, 0)}) for hour in range(3)]
    stored = storage_of(grown, (Command("docker builder prune", 2 * GIB, "builds take longer once"),))
    message = Told().lasting(of_disk(Level.HARD)(calm(storage=KnownStorage(stored))))
    assert message.disk == (
        "openpolicy/api grows by 24.0 GiB a day, to 2.0 GiB now",
        "`docker builder prune` frees 2.0 GiB: builds take longer once",
    )
    assert "disk: openpolicy/api grows by" in message.text
    assert Told().lasting(at(calm(storage=KnownStorage(stored)), Level.SOFT)).disk == ()


# --- as receivers want it -------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_text_and_every_figure() -> None:
    """The JSON of a webhook has the text, what began and is over, what was done, the relief and the top three."""
    told = Told()
    shown = replace(at(calm(), Level.HARD), entries=(entry(SHED, AT_WALL_S),), outcomes=(outcome("kibana"),))
    body = json.loads(render.webhook_json(told.lasting(shown)))
    assert (body["host"], body["level"], body["mode"]) == ("host1", "hard", "enforce")
    assert body["text"].splitlines()[0] == body["title"] == "host1: hard: memory 93.0% (hard at 90.0%)"
    assert body["done"] == ["stopped openpolicy/kibana (phase 5) for memory: 100 MiB expected back"]
    assert body["relief"]["expected_bytes"] == 100 * MIB
    assert len(body["top"]) == 3
    assert body["began"][2]["labels"] == {"service": "openpolicy/kibana", "phase": "5"}
    assert body["ended"] == []


def test_a_slack_message_is_text_alone_with_nothing_that_slack_would_take_for_a_command() -> None:
    """Slack gets one field, and `<`, `>` and `&` as text."""
    told = Told()
    shown = calm(entries=(entry(SHED, AT_WALL_S, by="<!channel> & co"),))
    body = json.loads(render.slack(told.lasting(shown)))
    assert list(body) == ["text"]
    assert "&lt;!channel&gt; &amp; co" in body["text"]
    assert "<" not in body["text"]


def test_a_long_list_is_cut() -> None:
    """Of a long list the text has the first twenty, and says how many more there are; the JSON has all."""
    told = Told()
    outcomes = tuple(outcome(f"s{number}") for number in range(30))
    message = told.lasting(replace(at(calm(), Level.HARD), outcomes=outcomes))
    assert "done: and 10 more" in message.text
    assert len(json.loads(render.webhook_json(message))["done"]) == 30
