"""`guardian why`: the recorded decision, in words and with its numbers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.moments import CALM_S, PRESSED_S, an_overload
from support.recordings import written
from support.virtual_host import VirtualHost, key

from guardian import explain
from guardian.cli.main import main
from guardian.cli.why import parsed
from guardian.expose.orders import OrderKind
from guardian.model import ActionKind, Level, Mode
from guardian.policy.restore import OWN_REASONS
from guardian.record.moment import Moment

Why = Callable[..., Result]


def recorded(directory: Path, seconds: float, orders: Callable[[VirtualHost], None] = lambda _: None) -> list[Moment]:
    host, moments = an_overload()
    host.run(seconds)
    orders(host)
    written(directory / "record.db", moments)
    return moments


@pytest.fixture
def why(tmp_path: Path) -> Why:
    runner = CliRunner(env={"NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(main, ["why", *arguments, "--state-dir", str(tmp_path)], prog_name="guardian")


def text(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def clock(wall_s: float) -> str:
    """As people of this time zone write it."""
    return datetime.fromtimestamp(wall_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# --- of a service ---------------------------------------------------------------------------------------------------


def test_a_shed_is_explained_with_its_numbers(why: Why, tmp_path: Path) -> None:
    """Signal, mark and for how long, deficit, candidates in order, who could be none, and the relief expected and measured."""
    moments = recorded(tmp_path, PRESSED_S + 40)
    shed = next(moment for moment in moments if moment.decision.actions)
    assert shed.decision.deficit is not None
    said = text(why("logs"))
    assert "openpolicy/logs was shed at" in said
    assert "because of memory" in said
    assert "memory: soft for 0s, at 81.8%; soft from 80.0% for 10s, ok below 70.0%" in said
    assert f"{shed.decision.deficit.total / 2**20:.0f} MiB had to be given back" in said
    assert "1. openpolicy/logs (phase 3; gives back 600 MiB): taken" in said
    assert "not needed, as the others give back enough: openpolicy/web" in said
    assert "its phase is protected: openpolicy/db" in said
    assert "It ended as done" in said
    assert "Expected relief: 600 MiB; measured: 600 MiB." in said


def test_what_a_restore_waits_for_is_told(why: Why, tmp_path: Path) -> None:
    """While it is shed: what it will need, and what has to become true first."""
    recorded(tmp_path, PRESSED_S + 40)
    said = text(why("logs"))
    assert "A restore will need 600 MiB" in said
    assert "it waited: the host must be ok again" in said
    assert "it must be below 70.0% for 1m" in said


def test_a_wait_for_room_has_its_figures(why: Why, tmp_path: Path) -> None:
    """Where the host is ok and there is no room, the figures of the refusal are told."""
    host, moments = an_overload(calm_s=1e6)
    host.run(PRESSED_S + 160)
    written(tmp_path / "record.db", moments)
    held = next(one for moment in reversed(moments) for one in moment.decision.held if one.service == key("logs"))
    assert held.reason == "no_room"
    said = text(why("logs"))
    assert "there must be room for what it needs" in said
    assert "needs 600 MiB, has" in said


def test_a_restore_is_explained_too(why: Why, tmp_path: Path) -> None:
    """Once it is back, the last thing that was done is the restore, when it was up, and why then."""
    recorded(tmp_path, CALM_S + 150)
    said = text(why("openpolicy/logs"))
    assert "openpolicy/logs was restored at" in said
    assert "because there was room again" in said
    assert "It was up again at" in said


def test_an_order_has_who_gave_it(why: Why, tmp_path: Path) -> None:
    """What an operator ordered is told with the name."""
    recorded(tmp_path, 60, lambda host: (host.order(OrderKind.SHED, "web", by="grace"), host.run(10))[0])  # type: ignore[func-returns-value]
    assert "openpolicy/web was shed at" in text(why("web"))
    assert "by order of grace" in text(why("web"))


def test_who_was_left_alone_is_told_why(why: Why, tmp_path: Path) -> None:
    """A service that was passed over, or could be no victim, has the reason and when."""
    recorded(tmp_path, PRESSED_S + 40)
    assert "number 2 in the order, and left alone: not needed" in text(why("web"))
    assert "it could be no victim: its phase is protected" in text(why("db"))


def test_what_was_only_observed_is_told_as_such(why: Why, tmp_path: Path) -> None:
    """In observe mode it says what would have been done, and that nothing was."""
    host, moments = an_overload()
    host.loop.mode = Mode.OBSERVE
    host.run(PRESSED_S + 30)
    written(tmp_path / "record.db", moments)
    said = text(why("logs"))
    assert "openpolicy/logs would have been shed" in said
    assert "Nothing was done: guardian only observed." in said


def test_every_reason_to_hold_back_has_words(tmp_path: Path) -> None:
    """Each reason that the policy gives for a shed or a restore that waits, or for a service that stays, is told in words."""
    policy = Path(explain.__file__).parent / "policy"
    given = {
        name: set(re.findall(pattern, (policy / f"{name}.py").read_text()))
        for name, pattern in (
            ("shed", r'return "([a-z_]+)"'),
            ("rank", r'return "([a-z_]+)"'),
            ("restore", r'why = "([a-z_]+)"'),
        )
    }
    assert given["shed"] <= explain.NO_SHED.keys() | explain.PASSED_OVER.keys()
    assert given["rank"] == explain.NO_VICTIM.keys()
    assert given["restore"] <= explain.UNTIL.keys()
    assert explain.UNTIL.keys() >= OWN_REASONS


# --- at a time ------------------------------------------------------------------------------------------------------


def test_the_decision_of_a_time_is_told(why: Why, tmp_path: Path) -> None:
    """`--at` tells what was decided at that time, or last before it while something went on."""
    moments = recorded(tmp_path, CALM_S + 150)
    shed = next(moment for moment in moments if moment.decision.actions)
    assert "Decided: shed openpolicy/logs (phase 3), expected to give back 600 MiB" in text(why("--at", clock(shed.now_wall_s)))
    soft = [moment for moment in moments if moment.assessment.level is Level.SOFT]
    said = text(why("--at", clock(soft[-1].now_wall_s)))
    assert "the host was soft" in said
    assert "Waiting to be restored: openpolicy/logs: the host must be ok again" in said


def test_a_calm_time_is_told_as_such(why: Why, tmp_path: Path) -> None:
    """Where nothing was decided, the minute's most of memory and CPU is told."""
    moments = recorded(tmp_path, CALM_S + 150)
    said = text(why("--at", clock(moments[30].now_wall_s)))
    assert "there was nothing to decide" in said
    assert "memory at most 64.7%" in said


def test_of_a_service_as_it_was_at_a_time(why: Why, tmp_path: Path) -> None:
    """With both, it is what had last been done by then."""
    moments = recorded(tmp_path, CALM_S + 150)
    restore = next(moment for moment in moments if any(action.kind is ActionKind.RESTORE for action in moment.decision.actions))
    assert "was shed at" in text(why("logs", "--at", clock(restore.now_wall_s - 10)))


# --- its edges ------------------------------------------------------------------------------------------------------


def test_it_is_there_as_json(why: Why, tmp_path: Path) -> None:
    """With --json the recorded decision comes as data, beside the words."""
    recorded(tmp_path, PRESSED_S + 40)
    data = json.loads(why("logs", "--json").output)
    assert data["service"] == "openpolicy/logs"
    assert data["decision"]["actions"][0]["relief_bytes"] == 600 * 1024 * 1024
    assert data["decision"]["excluded"] == {"openpolicy/db": "protected"}
    assert data["text"][0].startswith("openpolicy/logs was shed")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "Name a service, or a time by --at."),
        (("nobody",), 2, "nobody is not a managed service"),
        (("--at", "half past two"), 2, "write 14:30"),
        (("--at", "2020-01-01 12:00"), 1, "nothing is recorded of 2020-01-01 12:00:00"),
    ],
)
def test_a_question_without_an_answer_says_what_to_ask(
    why: Why, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """Nothing asked for, an unknown service and no time are told with what to write instead."""
    recorded(tmp_path, 70)
    result = why(*arguments)
    assert result.exit_code == code
    assert says in result.output


def test_without_a_recording_it_says_so(why: Why) -> None:
    """A directory without a recording is an error in words."""
    result = why("logs")
    assert result.exit_code == 1
    assert "there is no recording here" in result.output


def test_a_time_of_day_is_the_last_such_time() -> None:
    """14:30 is today's, or yesterday's where that is still to come."""
    now = time.time()
    for text_ in ("00:00", "23:59:59", "12:00"):
        found = parsed(text_)
        assert found is not None
        assert now - 86400 - 3600 <= found <= now
