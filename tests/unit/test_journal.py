"""What the log and the history say of a decision: enough to follow it without any other source."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.ledgers import KIBANA, T0, an_action, an_outcome

from guardian import journal, logs
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.ledger.reconcile import Finding, FindingKind
from guardian.model import (
    ActionKind,
    Assessment,
    Candidate,
    Decision,
    Deficit,
    Held,
    Level,
    Mode,
    Result,
    ServiceKey,
    Settled,
    Signal,
    SignalStatus,
)
from guardian.telemetry import NullTelemetry

MIB = 1024 * 1024
GRAFANA, WEB = ServiceKey("demo", "grafana"), ServiceKey("demo", "web")


class Log:
    """The far end of the log: each line as the JSON that it is."""

    def __init__(self) -> None:
        fd, self.to = os.pipe()
        self._file = os.fdopen(fd, encoding="utf-8")

    def line(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def end(self) -> list[str]:
        """Nothing is written any more; what was not read yet."""
        logs.close()
        os.close(self.to)
        left = self._file.readlines()
        self._file.close()
        return left


@pytest.fixture
def log() -> Iterator[Log]:
    """The lines that the test writes; all of them must have been read by it."""
    log = Log()
    logs.configure(fd=log.to, telemetry=NullTelemetry())
    yield log
    assert log.end() == []


def status(signal: Signal = Signal.MEMORY, value: float | None = 0.84321, level: Level = Level.SOFT) -> SignalStatus:
    return SignalStatus(signal, value, level, since_s=1.0, soft=0.8, hard=0.9, recover=0.7, capacity=4096.0 * MIB)


MEMORY_SOFT = Assessment(1000.0, Level.SOFT, (status(), status(Signal.CPU, 0.31, Level.OK)), (), (), 5.0 * MIB, 140.04)
DEFICIT = Deficit(Signal.MEMORY, Level.SOFT, total=600.0 * MIB, pending=200.0 * MIB, value=0.84321, threshold=0.7)
SHED_KIBANA = an_action("a1", relief_bytes=300 * MIB, relief_cores=0.12345, grace_s=10.0)


def candidate(service: ServiceKey, rank: int, **fields: Any) -> Candidate:
    plain: dict[str, Any] = {"relief_bytes": 300 * MIB, "relief_cores": 0.12345, "over_share": False, "priority": 0}
    return Candidate(service, 5, rank, (service,), **{**plain, "on_probation": False, **fields})


DECISION = Decision(
    1000.0,
    actions=(SHED_KIBANA,),
    candidates=(
        candidate(KIBANA, 1, over_share=True),
        candidate(GRAFANA, 2, relief_bytes=None, relief_cores=None, passed_over="use unknown"),
    ),
    deficits=(DEFICIT,),
    signal=MEMORY_SOFT.signals[0],
    deficit=DEFICIT,
)

# --- log lines ------------------------------------------------------------------------------------------------------


def test_a_decision_is_one_line_with_all_its_numbers(log: Log) -> None:
    """The line has signal, value, threshold, deficit, every candidate with its rank, the chosen and the relief expected of them."""
    journal.decided(DECISION, MEMORY_SOFT, Mode.ENFORCE)
    line = log.line()
    del line["ts"]
    assert line == {
        "level": "warning",
        "event": "decision",
        "logger": "guardian",
        "mode": "enforce",
        "host_level": "soft",
        "signal": "memory",
        "value": 0.8432,
        "threshold": 0.7,
        "deficit": 600.0 * MIB,
        "pending": 200.0 * MIB,
        "full_in_s": 140.0,
        "candidates": [
            {
                "rank": 1,
                "service": "demo/kibana",
                "phase": 5,
                "relief_bytes": 300 * MIB,
                "relief_cores": 0.123,
                "over_share": True,
                "passed_over": "",
            },
            {
                "rank": 2,
                "service": "demo/grafana",
                "phase": 5,
                "relief_bytes": None,
                "relief_cores": None,
                "over_share": False,
                "passed_over": "use unknown",
            },
        ],
        "chosen": [
            {
                "action": "shed",
                "service": "demo/kibana",
                "phase": 5,
                "reason": "memory",
                "by_signal": False,
                "grace_s": 10.0,
                "expected_relief_bytes": 300 * MIB,
                "expected_relief_cores": 0.123,
                "by": "",
            }
        ],
    }


def test_a_decision_in_observe_mode_says_that_nothing_is_done(log: Log) -> None:
    """In observe mode the line is the same, and says that it was only observed."""
    journal.decided(DECISION, MEMORY_SOFT, Mode.OBSERVE)
    line = log.line()
    assert (line["event"], line["mode"]) == ("decision (observed, nothing is done)", "observe")
    assert [one["service"] for one in line["chosen"]] == ["demo/kibana"]


def test_a_decision_by_order_has_no_signal_and_says_who(log: Log) -> None:
    """What an operator ordered answers no signal: its figures are unknown, not zero, and the line names who ordered it."""
    ordered = Decision(1000.0, actions=(an_action(reason="operator", by="ada"),))
    journal.decided(ordered, replace(MEMORY_SOFT, level=Level.OK, full_in_s=None), Mode.ENFORCE)
    line = log.line()
    unknown = ("signal", "value", "threshold", "deficit", "pending", "full_in_s")
    assert [line[name] for name in unknown] == [None] * 6
    assert (line["chosen"][0]["reason"], line["chosen"][0]["by"]) == ("operator", "ada")


def test_a_line_names_no_more_candidates_than_can_be_read(log: Log) -> None:
    """A platform of hundreds of services does not make a line without end: the first in rank are named."""
    many = tuple(candidate(ServiceKey("demo", f"s{rank}"), rank) for rank in range(1, 301))
    journal.decided(replace(DECISION, candidates=many), MEMORY_SOFT, Mode.ENFORCE)
    assert [one["rank"] for one in log.line()["candidates"]] == list(range(1, journal.MOST_CANDIDATES + 1))


@pytest.mark.parametrize(
    ("result", "level"),
    [
        (Result.DONE, "info"),
        (Result.GONE, "info"),
        (Result.OBSERVED, "info"),
        (Result.REFUSED, "error"),
        (Result.TIMED_OUT, "error"),
        (Result.FAILED, "error"),
    ],
)
def test_the_end_of_an_action_is_an_error_only_when_it_went_wrong(log: Log, result: Result, level: str) -> None:
    """Each end has a line with its result, time and detail; it is an error where guardian did not get what it wanted."""
    journal.ended(an_outcome(SHED_KIBANA, result, detail="in words"))
    line = log.line()
    assert (line["level"], line["event"], line["result"]) == (level, "action ended", result.value)
    assert (line["action"], line["service"], line["reason"]) == ("shed", "demo/kibana", "memory")
    assert (line["took_s"], line["detail"]) == (1.0, "in words")


def test_what_a_shed_brought_stands_beside_what_was_expected(log: Log) -> None:
    """The relief's line has both figures; one that was not seen in time is unknown, not zero."""
    journal.settled(Settled(SHED_KIBANA, Signal.MEMORY, expected=300.0 * MIB, measured=None))
    line = log.line()
    assert (line["event"], line["signal"], line["expected"], line["measured"]) == ("relief", "memory", 300.0 * MIB, None)


def test_a_level_is_said_with_every_signal(log: Log) -> None:
    """A change of the host's level has a line with the level and value of each signal; back to ok is no warning."""
    journal.level(MEMORY_SOFT, Level.OK)
    journal.level(replace(MEMORY_SOFT, level=Level.OK), Level.SOFT)
    worse, better = log.line(), log.line()
    assert (worse["level"], worse["before"], worse["to"]) == ("warning", "ok", "soft")
    assert worse["signals"] == {"memory": ["soft", 0.8432], "cpu": ["ok", 0.31]}
    assert (better["level"], better["before"], better["to"]) == ("info", "soft", "ok")


def test_a_decision_not_to_act_is_said_with_its_reason(log: Log) -> None:
    """What is held back has a line that says what would have been done, to whom, and why not."""
    journal.held(Held(ActionKind.RESTORE, "no_room", KIBANA, "needs 300 MiB, 120 MiB are free"))
    line = log.line()
    assert (line["event"], line["action"], line["reason"]) == ("held back", "restore", "no_room")
    assert (line["service"], line["detail"]) == ("demo/kibana", "needs 300 MiB, 120 MiB are free")


def test_an_order_and_a_finding_are_said(log: Log) -> None:
    """An order has a line with who gave it and what was answered; so has what a comparison with the engine found."""
    journal.ordered(Order(OrderKind.SHED, (KIBANA, WEB), by="ada"), OrderReply(False, "1 of 2 being shed"))
    journal.found(Finding(FindingKind.OVERRIDE_STARTED, "a1", KIBANA, 5, ("demo-kibana-1",)))
    order, finding = log.line(), log.line()
    assert (order["order"], order["by"], order["services"]) == ("shed", "ada", ["demo/kibana", "demo/web"])
    assert (order["ok"], order["reply"]) == (False, "1 of 2 being shed")
    assert (finding["finding"], finding["service"]) == (FindingKind.OVERRIDE_STARTED.value, "demo/kibana")
    assert finding["containers"] == ["demo-kibana-1"]


# --- rows of history ------------------------------------------------------------------------------------------------


def test_a_row_of_history_says_why() -> None:
    """The row of a shed has the signal, its value, the mark and the deficit as they were when it was decided."""
    rows = journal.Rows()
    rows.note(DECISION, MEMORY_SOFT)
    row = rows.of(an_outcome(SHED_KIBANA))
    assert (row.signal, row.value, row.threshold, row.deficit) == ("memory", 0.84321, 0.7, 600.0 * MIB)
    assert (row.action, row.service, row.phase, row.reason) == (ActionKind.SHED, KIBANA, 5, "memory")
    assert (row.result, row.expected_bytes, row.at_wall_s, row.action_id) == (Result.DONE, 300 * MIB, T0 + 3, "a1")


def test_a_row_of_what_answers_no_signal_leaves_the_figures_unknown() -> None:
    """An order that is carried out in the same tick as a shed does not borrow the shed's figures."""
    rows = journal.Rows()
    ordered = an_action("a2", service=WEB, reason="operator", by="ada")
    rows.note(replace(DECISION, actions=(SHED_KIBANA, ordered)), MEMORY_SOFT)
    row = rows.of(an_outcome(ordered))
    assert (row.signal, row.value, row.threshold, row.deficit) == ("", None, None, None)
    assert (row.reason, row.by) == ("operator", "ada")


def test_what_an_action_answers_is_kept_until_it_ends_and_no_longer() -> None:
    """Each action keeps its own reason however many decisions come between, and nothing piles up."""
    rows = journal.Rows()
    rows.note(DECISION, MEMORY_SOFT)
    later = replace(DECISION, actions=(an_action("a2", service=GRAFANA),), deficit=replace(DEFICIT, total=90.0 * MIB))
    rows.note(later, MEMORY_SOFT)
    assert rows.of(an_outcome(SHED_KIBANA)).deficit == 600.0 * MIB
    assert rows.of(an_outcome(later.actions[0])).deficit == 90.0 * MIB
    assert rows.of(an_outcome(SHED_KIBANA)).deficit is None


def test_an_order_has_a_row_with_who_gave_it() -> None:
    """A standing order is kept in history with its services and who gave it."""
    row = journal.row_of_order(Order(OrderKind.PIN, (KIBANA, WEB), by="ada"), T0)
    assert (row.at_wall_s, row.action, row.reason, row.result, row.by) == (T0, "order", "pin", "done", "ada")
    assert row.detail == "demo/kibana, demo/web"
