"""What `/api/v1/status` and `/api/v1/history` say."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from support.fake_daemon import HISTORY
from support.snapshots import AT_WALL_S, MIB, snapshot

from guardian.expose.status import history_row, status
from guardian.ledger.entries import Controls
from guardian.model import Sample


def test_the_status_survives_json() -> None:
    """The status survives JSON: it is plain values."""
    shown = status(snapshot())
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown


def test_the_names_of_the_status_are_stable() -> None:
    """The names of the status are stable: programs read them."""
    assert list(status(snapshot())) == [
        *("version", "mode", "at_wall_s", "ticks", "level", "disk_level", "engine", "host"),
        *("memory_fill_bytes_per_s", "memory_full_in_s", "signals", "deficits", "phases", "services", "shed", "quarantined"),
        *("held", "holds", "hold_by", "standby", "pins", "next", "candidates", "exhausted", "emergency", "ineffective"),
        *("in_flight", "unmanaged", "config_pending", "storage", "target_phase", "rollout"),
    ]


def test_a_signal_says_value_level_since_and_thresholds() -> None:
    """A signal says its value, its level, since when, and its thresholds."""
    assert status(snapshot())["signals"][0] == {
        "signal": "memory",
        "value_ratio": 0.83,
        "level": "soft",
        "since_wall_s": AT_WALL_S - 30,
        "level_for_s": 30.0,
        "soft_ratio": 0.8,
        "hard_ratio": 0.9,
        "recover_ratio": 0.7,
    }


def test_what_is_shed_says_since_when_why_and_by_whom() -> None:
    """What is shed says since when, why, and by whom."""
    kibana, logstash = status(snapshot())["shed"]
    assert kibana["service"] == "openpolicy/kibana"
    assert (kibana["since_wall_s"], kibana["reason"], kibana["by"]) == (AT_WALL_S - 90, "memory", None)
    assert (logstash["reason"], logstash["by"]) == ("operator", "anna")


def test_what_is_held_says_why_and_what_would_come_next() -> None:
    """What is held says why, and the next action is named."""
    shown = status(snapshot())
    assert shown["held"] == [
        {"action": "restore", "reason": "pressure", "service": "openpolicy/kibana", "detail": "the host is soft"}
    ]
    assert shown["next"]["shed"]["service"] == "openpolicy/fluentd"
    assert shown["next"]["restore"] == "openpolicy/kibana"


def test_deficits_name_their_unit() -> None:
    """Deficits name their unit."""
    assert status(snapshot())["deficits"] == [
        {"signal": "memory", "level": "soft", "total_bytes": 530 * MIB, "pending_bytes": 200 * MIB, "open_bytes": 330 * MIB}
    ]


def test_an_unknown_use_is_null() -> None:
    """An unknown use is null, never zero."""
    services = {one["service"]: one for one in status(snapshot())["services"]}
    assert services["openpolicy/kibana"]["footprint_bytes"] is None


def test_an_unreadable_host_and_an_unseen_engine_are_null_and_down() -> None:
    """An unreadable host is null, and an engine never seen is only down."""
    shown = status(replace(snapshot(), sample=Sample(None, None), engine=None, engine_up=False))
    assert shown["host"] is None
    assert shown["engine"] == {"up": False}


def test_a_standby_without_an_end_has_no_time() -> None:
    """A standby without an end is active, and has no time in JSON, which knows no infinity."""
    shown = snapshot()
    endless = replace(
        shown,
        controls=Controls(standby_until_wall_s=float("inf"), standby_by="anna"),
        decision=replace(shown.decision, standby=True),
    )
    standby = msgspec.json.decode(msgspec.json.encode(status(endless)))["standby"]
    assert standby == {"active": True, "until_wall_s": None, "by": "anna"}


def test_a_row_of_history_says_what_why_and_what_it_brought() -> None:
    """A row of history says what, why, and what it brought against what was expected."""
    row = history_row(HISTORY[0])
    assert (row["action"], row["service"], row["reason"], row["result"]) == ("shed", "openpolicy/kibana", "memory", "done")
    assert (row["expected_relief_bytes"], row["measured_relief_bytes"]) == (200 * MIB, 190 * MIB)


def test_a_row_about_the_host_has_no_service() -> None:
    """A row about the host has no service."""
    assert history_row(HISTORY[2])["service"] is None
