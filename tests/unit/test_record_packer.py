"""Which ticks are recorded, and how much of each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from support.moments import PRESSED_S, an_overload, plain

from guardian.config.schema import AuthConfig, WebConfig
from guardian.model import ActionKind, Level
from guardian.record.moment import Moment
from guardian.record.packer import LOUD_S, Packer
from guardian.record.rows import Key, Kind, Minute, Note, Row, Tick, decode, encode, host_of, policy_part


def packed(moments: Iterable[Moment]) -> list[Row]:
    packer = Packer()
    return [row for moment in moments for row in packer.take(moment)] + packer.flush()


def of(kind: Kind, rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.kind is kind]


def ticks(rows: Iterable[Row]) -> list[Tick]:
    return [tick for row in of(Kind.TICKS, rows) for tick in decode(row.body, list[Tick])]


def test_while_all_is_well_a_minute_is_a_row() -> None:
    """Of ten calm minutes there are ten rows of a minute, the policy's state at the start, and no tick."""
    rows = packed(plain(600))
    assert [row.kind for row in rows] == [Kind.KEY, *[Kind.MINUTE] * 10]


def test_a_minute_keeps_the_peaks() -> None:
    """A minute has six host readings, of each ten seconds that with the most memory in use, and the most that a container used."""
    moments = list(plain(60))
    (row,) = of(Kind.MINUTE, packed(moments))
    minute = decode(row.body, Minute)
    hosts = [moment.sample.host for moment in moments]
    least = [min(host.memory_available_bytes or 0 for host in hosts[start : start + 10] if host) for start in range(0, 60, 10)]
    assert [host_of(host).memory_available_bytes for host in minute.hosts] == least
    first = [moment.sample.inventory.usage["service-0"] for moment in moments if moment.sample.inventory]
    assert minute.use[0] is not None
    assert minute.use[0][:2] == (
        max(use.working_set_bytes or 0 for use in first),
        max(use.footprint_bytes or 0 for use in first),
    )


def test_once_the_level_leaves_ok_the_minute_before_is_written_whole() -> None:
    """At the first soft tick all ticks of the sixty seconds before are written, after the state that the policy had."""
    host, moments = an_overload()
    host.run_until(lambda snapshot: snapshot.assessment.level is Level.SOFT, within_s=PRESSED_S + 60)
    packer = Packer()
    last = [packer.take(moment) for moment in moments][-1]
    left_s = moments[-1].now_s
    found = ticks(last)
    assert found[0].now_s <= left_s - 60
    assert [tick.now_s for tick in found] == [moment.now_s for moment in moments if moment.now_s >= found[0].now_s]
    key = decode(of(Kind.KEY, last)[0].body, Key)
    before = next(moment.before for moment in moments if moment.now_s == found[0].now_s)
    assert key.state == before


def test_a_tick_is_kept_as_the_policy_saw_it() -> None:
    """The host reading and what was handed to the decision are, once decoded, what they were."""
    host, moments = an_overload()
    host.run(PRESSED_S + 200)
    told = {moment.now_s: moment for moment in moments}
    inputs = None
    for tick in ticks(packed(moments)):
        inputs = tick.inputs or inputs
        moment = told[tick.now_s]
        assert tick.host is not None
        assert host_of(tick.host) == moment.sample.host
        assert inputs == moment.inputs
        assert tick.actions == moment.decision.actions


def test_every_tick_is_written_until_ten_minutes_of_ok() -> None:
    """Ticks are written for ten minutes after the last that was not ok, and then no more."""
    pressed = list(plain(30, level=Level.SOFT))
    calm = list(plain(900, first=31, now_s=pressed[-1].now_s))
    found = ticks(packed([*pressed, *calm]))
    assert found[-1].now_s == pressed[-1].now_s + LOUD_S - 1
    assert len(found) == 30 + LOUD_S - 1


def test_after_a_missing_tick_the_next_stands_alone() -> None:
    """Where a tick was not handed over, the next has the state, the whole list and all inputs."""
    moments = list(plain(40, level=Level.SOFT))
    del moments[20]
    rows = packed(moments)
    keys = [decode(row.body, Key) for row in of(Kind.KEY, rows)]
    assert [key.began for key in keys] == [True, True]
    again = next(tick for tick in ticks(rows) if tick.now_s == moments[20].now_s)
    assert again.readings is not None
    assert again.readings.containers is not None
    assert again.inputs is not None


def test_a_decision_is_kept_whole() -> None:
    """The shed's row names the service, and has the decision with its candidates and signals."""
    host, moments = an_overload()
    host.run(PRESSED_S + 60)
    shed = next(moment for moment in moments if moment.decision.actions)
    notes = [(row.about, decode(row.body, Note)) for row in of(Kind.DECISION, packed(moments))]
    about, note = next((about, note) for about, note in notes if note.decision.actions)
    assert about == " openpolicy/logs "
    assert note.decision == shed.decision
    assert note.decision.actions[0].kind is ActionKind.SHED
    assert note.signals == shed.assessment.signals


def test_a_decision_that_stays_the_same_is_not_kept_each_tick() -> None:
    """While pressure lasts and nothing changes, a decision is kept every ten seconds."""
    notes = of(Kind.DECISION, packed(plain(100, level=Level.SOFT)))
    assert len(notes) == 10


def test_the_recording_has_no_secret_of_the_file() -> None:
    """Of the configuration only what decides is kept: neither where the web side listens nor who may read it."""
    config = next(iter(plain(1))).config
    told = msgspec.structs.replace(
        config, web=WebConfig(auth=AuthConfig(username="ada", password_file="/etc/secret")), state_dir="/somewhere"
    )
    kept = encode(policy_part(told))
    assert b"secret" not in kept
    assert b"somewhere" not in kept
    assert policy_part(told) == policy_part(config)
