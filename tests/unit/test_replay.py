"""A recording decided anew: the same configuration decides the same, and another one as it would have."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.moments import CALM_S, an_overload
from support.recordings import decided, named, replayed, steps, with_memory, would, written
from support.virtual_host import MIB, Phase, VirtualHost, a_config

from guardian.config.load import load
from guardian.engine.simulated import find_scenario
from guardian.expose.orders import OrderKind
from guardian.model import ActionKind, Level, Mode, Signal
from guardian.record.moment import Moment
from guardian.replay.summary import as_data, summed, thinned

REFERENCE = load(Path(__file__).parents[2] / "config" / "guardian.yaml")
ENFORCED = msgspec.structs.replace(REFERENCE, mode=Mode.ENFORCE)
SHED_AND_BACK = [("shed", "logs"), ("restore", "logs")]


def recorded(path: Path, seconds: float = CALM_S + 150, **options: float) -> tuple[VirtualHost, list[Moment]]:
    host, moments = an_overload(**options)
    host.run(seconds)
    written(path / "record.db", moments)
    return host, moments


# --- the same configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["overload", "cpu", "hog"])
def test_the_same_configuration_decides_exactly_what_was_decided(tmp_path: Path, scenario: str) -> None:
    """Of a recorded overload of 32 services every action is decided again, at its tick and equal in every field."""
    moments: list[Moment] = []
    host = VirtualHost(find_scenario(scenario), ENFORCED, paced=True, with_cgroups=True, record=moments.append)
    host.run(260)
    looks = replayed(ENFORCED, steps(written(tmp_path / "record.db", moments)))
    assert decided(moments)
    assert would(looks) == decided(moments)
    assert all(look.as_recorded for look in looks)


def test_every_decision_of_a_whole_tick_is_the_recorded_one(tmp_path: Path) -> None:
    """Not only its actions: deficits, candidates, what was held back and why are equal too."""
    _, moments = recorded(tmp_path)
    told = {moment.now_s: moment.decision for moment in moments}
    looks = [look for look in replayed(moments[0].config, steps(tmp_path / "record.db")) if look.decision is not None]
    assert len(looks) > 200
    for look in looks:
        assert look.decision == told[look.assessment.at_s]


def test_what_was_in_force_is_replayed_without_a_file(tmp_path: Path) -> None:
    """Without a configuration, the recorded one decides."""
    _, moments = recorded(tmp_path)
    assert would(replayed(None, steps(tmp_path / "record.db"))) == decided(moments)


def test_orders_and_a_restart_are_part_of_the_record(tmp_path: Path) -> None:
    """What an operator ordered, and what guardian remembered after a restart, lead to the same decisions."""
    host, moments = an_overload(pressed_s=1e6)
    host.run(30)
    host.order(OrderKind.SHED, "logs")
    host.run(30)
    first = list(moments)
    moments.clear()
    host.crash()
    host.run(30)
    host.order(OrderKind.RESTORE, "logs")
    host.run(60)
    path = written(tmp_path / "record.db", first, moments)
    looks = replayed(host.config, steps(path))
    assert named(would(looks)) == SHED_AND_BACK
    assert would(looks) == decided([*first, *moments])


def test_after_a_change_of_the_file_it_joins_the_record(tmp_path: Path) -> None:
    """Where another configuration was in force before and nothing came of the difference, it decides as was decided from then on."""
    host, moments = an_overload()
    now = host.config
    host.loop.config = with_memory(now, soft=0.9, recover=0.8)
    host.run(20)
    host.loop.config = now
    host.run(CALM_S + 130)
    looks = replayed(now, steps(written(tmp_path / "record.db", moments[:20], moments[20:])))
    assert not looks[0].as_recorded
    assert looks[-1].as_recorded
    assert would(looks) == decided(moments)


# --- another one ----------------------------------------------------------------------------------------------------


def test_a_mark_above_the_peak_sheds_nothing(tmp_path: Path) -> None:
    """With a soft mark that memory never comes to, nothing is shed, and memory goes as high as it would have."""
    host, _ = recorded(tmp_path)
    looks = replayed(with_memory(host.config, soft=0.95, recover=0.9), steps(tmp_path / "record.db"))
    assert named(would(looks)) == []
    truth, _ = an_overload(with_memory(host.config, soft=0.95, recover=0.9))
    truth.run(CALM_S + 150)
    peak = max(snapshot.assessment.signal(Signal.MEMORY).value or 0 for snapshot in truth.snapshots)  # type: ignore[union-attr]
    assert summed(looks).peaks[Signal.MEMORY].ratio == pytest.approx(peak, abs=0.005)


def test_a_lower_mark_sheds_more_and_earlier(tmp_path: Path) -> None:
    """With lower marks it sheds what that configuration sheds on the same host, at about the same times."""
    host, _ = recorded(tmp_path)
    lower = with_memory(host.config, soft=0.6, recover=0.45, soft_for=5)
    looks = replayed(lower, steps(tmp_path / "record.db"))
    truth, moments = an_overload(lower)
    truth.run(CALM_S + 150)
    would_be, was = would(looks), decided(moments)
    assert named(would_be)[:2] == named(was)[:2] == [("shed", "logs"), ("shed", "web")]
    for (would_s, _), (was_s, _) in zip(would_be[:2], was[:2], strict=True):
        assert would_s == pytest.approx(was_s, abs=12)


def test_a_thinned_record_is_replayed_too(tmp_path: Path) -> None:
    """Where nothing was shed and all was ok, lower marks shed from the minutes alone, and bring memory down."""
    host, _ = recorded(tmp_path, pressed_s=1e6, calm_s=2e6)
    before = steps(tmp_path / "record.db")
    assert not any(step.whole for step in before)
    looks = replayed(with_memory(host.config, soft=0.6, recover=0.52), before)
    assert named(would(looks)) == [("shed", "logs")]
    last = looks[-1].assessment.signal(Signal.MEMORY)
    first = looks[0].assessment.signal(Signal.MEMORY)
    assert first is not None
    assert last is not None
    assert last.value == pytest.approx((first.value or 0) - 600 / 4096, abs=0.005)
    assert looks[-1].assessment.level is Level.OK


def test_what_was_only_observed_is_replayed_as_if_it_were_enforced(tmp_path: Path) -> None:
    """Of a record in observe mode it is told what would have been stopped, and that memory would have fallen."""
    config = a_config(Phase(("db",), protected=True), ("web",), ("logs",), mode=Mode.OBSERVE)
    host, moments = an_overload(config)
    host.run(CALM_S + 150)
    looks = replayed(config, steps(written(tmp_path / "record.db", moments)))
    assert named(would(looks)) == SHED_AND_BACK
    soft_s = sum(moment.assessment.level is not Level.OK for moment in moments)
    assert soft_s - 30 > summed(looks).level_s[Level.SOFT] > 0


def test_a_service_that_was_kept_goes_on_with_what_it_used(tmp_path: Path) -> None:
    """What the record's guardian stopped and the replay does not still runs, with its memory in the host's."""
    _, moments = recorded(tmp_path)
    kept = a_config(Phase(("db",), protected=True), ("logs",), ("web",))
    looks = replayed(kept, steps(tmp_path / "record.db"))
    assert named(would(looks))[0] == ("shed", "web")
    shed_s = next(at_s for at_s, _ in decided(moments))
    after = next(look for look in looks if look.now_wall_s > shed_s + 20)
    logs = next(one for one in after.assessment.services if one.key.name == "logs")
    assert (logs.running, logs.footprint_bytes) == (1, 600 * MIB)


# --- what it comes to -----------------------------------------------------------------------------------------------


def test_a_summary_says_when_why_and_for_how_long(tmp_path: Path) -> None:
    """Each shed has its signal, its mark and how long the service was away; signals have peaks and seconds above their marks."""
    host, moments = recorded(tmp_path)
    data = as_data(summed(replayed(host.config, steps(tmp_path / "record.db"))))
    (shed,) = data["sheds"]
    times = {action.kind: at_s for at_s, action in decided(moments)}
    assert (shed["service"], shed["reason"], shed["threshold_ratio"]) == ("openpolicy/logs", "memory", 0.8)
    assert shed["for_s"] == pytest.approx(times[ActionKind.RESTORE] - times[ActionKind.SHED], abs=0.01)
    values = [one.value or 0.0 for moment in moments for one in moment.assessment.signals if one.signal is Signal.MEMORY]
    assert data["above_soft_s"]["memory"] == pytest.approx(sum(value >= 0.8 for value in values), abs=10)
    assert data["peaks"]["memory"]["ratio"] == pytest.approx(max(values), abs=1e-4)
    assert data["recorded_s"] == pytest.approx(CALM_S + 150, abs=15)


def test_a_long_curve_keeps_its_peak() -> None:
    """A curve of many readings is thinned to what a picture can show, and its highest reading stays."""
    curve = [(float(at), 0.9 if at == 71_234 else 0.5) for at in range(86_400)]
    shown = thinned(curve)
    assert len(shown) <= 1500
    assert (71_234.0, 0.9) in shown
