"""Reports and baselines: what they say of figures that are known, in words, as data and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.fake_daemon import FakeDaemon
from support.ledgers import a_store
from support.looks import AIMS, BEGIN_WALL_S, Story, a_status, a_use
from support.virtual_host import MIB, a_config, key

from guardian.cli import options
from guardian.cli import report as command
from guardian.cli.main import main
from guardian.expose.status import history_row
from guardian.ledger.entries import HistoryRow
from guardian.model import ActionKind, ServiceKey, ServiceState
from guardian.model import Result as Outcome
from guardian.objectives.accumulate import Probed, Traffic
from guardian.objectives.episodes import Row, restarts, sheds
from guardian.objectives.page import page
from guardian.objectives.report import report
from guardian.objectives.rows import OBJECTIVES_NAME
from guardian.objectives.sheets import Sheet, heading, sheets
from guardian.objectives.store import HoursFile

HOSTILE = "<script>alert('&')</script>"
RUNNING, STOPPED, SHED = ServiceState.RUNNING, ServiceState.STOPPED, ServiceState.SHED


def a_row(at: float, action: ActionKind | str, name: str, result: Outcome | str, **fields: Any) -> Row:
    row = HistoryRow(BEGIN_WALL_S + at, action, key(name), 3, fields.pop("reason", "memory"), result, **fields)
    return history_row(row)


def an_hour(name: str = "logs") -> Story:
    """`api` answers in 100 ms, and is down for a minute; the other is shed for ten. Their phase's memory is at 70%."""
    story = Story(a_config(("api",), (name,), objectives=AIMS))
    uses = (a_use(1, 350 * MIB, 500 * MIB, 0.25), a_use(2, 600 * MIB, 1000 * MIB, 0.5))
    for minute in range(61):
        api = STOPPED if minute == 10 else RUNNING
        logs = SHED if 20 <= minute < 30 else RUNNING
        fields = {"working_set_bytes": 300 * MIB, "cpu_cores": 0.2}
        services = (
            a_status("api", api, **fields),
            replace(a_status(name, logs, healthy=None, working_set_bytes=50 * MIB, cpu_cores=0.1), phase=2),
        )
        story.tick(minute * 60.0, services=services, phases=uses)
        story.accumulator.beside(Probed(key("api"), BEGIN_WALL_S + minute * 60.0, None if minute == 10 else 0.1, http=True))
    story.accumulator.beside(Traffic(key("api"), BEGIN_WALL_S + 60, 60.0, 60_000, 6_000))
    story.accumulator.beside(Traffic(key(name), BEGIN_WALL_S + 60, unknown="host network"))
    return story


HISTORY = (
    a_row(1800, ActionKind.RESTORE, "logs", Outcome.DONE),
    a_row(1200, ActionKind.SHED, "logs", Outcome.DONE, measured_bytes=100 * MIB),
    a_row(700, ActionKind.RESTART, "api", Outcome.DONE, reason="unhealthy"),
)


def made(history: tuple[Row, ...] | None = HISTORY, name: str = "logs") -> dict[str, Any]:
    window = an_hour(name).window()
    shed = None if history is None else sheds(history, BEGIN_WALL_S)
    restarted = None if history is None else restarts(history, BEGIN_WALL_S)
    return report(window, shed, restarted, BEGIN_WALL_S + 3600)


# --- history --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "result", "ended"),
    [
        (ActionKind.RESTORE, Outcome.DONE, "restored"),
        ("override", "started", "started by somebody"),
        ("forget", "done", "forgotten by order"),
        ("reconcile", "restored", "restored"),
        ("reconcile", "returned", "brought back by the engine"),
        ("reconcile", "removed", "removed"),
    ],
)
def test_a_shed_lasts_until_it_ends(action: ActionKind | str, result: Outcome | str, ended: str) -> None:
    """A shed lasts from the stop until the service is back, or guardian has given it up; and it says which."""
    rows = [a_row(500, action, "logs", result), a_row(100, ActionKind.SHED, "logs", Outcome.DONE, by="ada", reason="operator")]
    (one,) = sheds(rows, BEGIN_WALL_S)
    assert (one.seconds(BEGIN_WALL_S + 900), one.ended, one.reason, one.by) == (400, ended, "operator", "ada")


def test_a_shed_that_has_not_ended_lasts_until_now() -> None:
    """A shed that has not ended lasts until now, also where a restore of it has failed."""
    rows = [a_row(500, ActionKind.RESTORE, "logs", Outcome.FAILED), a_row(100, ActionKind.SHED, "logs", Outcome.DONE)]
    (one,) = sheds(rows, BEGIN_WALL_S)
    assert (one.seconds(BEGIN_WALL_S + 900), one.until_wall_s, one.ended) == (800, None, "")


def test_what_was_not_done_is_no_shed_and_no_restart() -> None:
    """What failed, or was only observed, is no shed, and what was observed no restart; a failed restart is told as one."""
    rows = [
        a_row(1, ActionKind.SHED, "logs", Outcome.FAILED),
        a_row(2, ActionKind.SHED, "logs", Outcome.OBSERVED),
        a_row(3, ActionKind.RESTART, "api", Outcome.OBSERVED),
        a_row(4, ActionKind.RESTART, "api", Outcome.FAILED, detail="no network"),
    ]
    assert sheds(rows, BEGIN_WALL_S) == ()
    assert [(one.result, one.detail) for one in restarts(rows, BEGIN_WALL_S)] == [("failed", "no network")]


def test_only_what_reaches_into_the_time_is_told() -> None:
    """A shed that began before the time and reached into it is told; one that ended before is not."""
    rows = [
        a_row(-500, ActionKind.SHED, "logs", Outcome.DONE),
        a_row(-400, ActionKind.RESTORE, "logs", Outcome.DONE),
        a_row(-300, ActionKind.SHED, "logs", Outcome.DONE),
        a_row(100, ActionKind.RESTORE, "logs", Outcome.DONE),
        a_row(-100, ActionKind.RESTART, "api", Outcome.DONE),
    ]
    assert [one.seconds(0) for one in sheds(rows, BEGIN_WALL_S)] == [400]
    assert restarts(rows, BEGIN_WALL_S) == ()


# --- data -----------------------------------------------------------------------------------------------------------


def test_a_report_says_where_the_time_went() -> None:
    """A report has each service's time, its answers, errors, use and traffic, exactly."""
    services = {one["service"].partition("/")[2]: one for one in made()["services"]}
    api, logs = services["api"], services["logs"]
    assert (api["up_s"], api["down_s"], api["shed_s"], api["unknown_s"]) == (3540, 60, 0, 0)
    assert (logs["up_s"], logs["shed_s"], logs["availability_ratio"]) == (3000, 600, 3000 / 3600)
    assert (api["probes"], api["failures"], api["error_ratio"]) == (60, 1, 1 / 60)
    assert 0.1 <= api["response_p95_s"] <= 0.1 * 1.0906
    assert (api["memory_mean_bytes"], api["cpu_mean_cores"]) == (pytest.approx(300 * MIB), pytest.approx(0.2))
    assert (api["rx_bytes_per_s"], api["tx_bytes_per_s"]) == (1000, 100)
    assert (logs["rx_bytes_per_s"], logs["network_unknown"], logs["response_p95_s"]) == (None, "host network", None)


def test_a_report_has_budgets_sheds_restarts_and_who_uses_most() -> None:
    """A report has use against budgets by phase, what was shed for how long, restarts, and who uses most."""
    found = made()
    first, second = found["phases"]
    assert (first["memory_p95_ratio"], first["memory_budget_bytes"]) == (0.7, 500 * MIB)
    assert (second["memory_mean_bytes"], second["cpu_most_ratio"]) == (pytest.approx(600 * MIB), 0.5)
    assert (first["traffic_bytes_per_s"], second["traffic_bytes_per_s"]) == (1100, None)
    (shed,), (restarted,) = found["sheds"], found["restarts"]
    assert (shed["service"], shed["seconds"], shed["relief_bytes"]) == ("openpolicy/logs", 600, 100 * MIB)
    assert restarted["service"] == "openpolicy/api"
    assert found["top"]["memory_mean_bytes"] == ["openpolicy/api", "openpolicy/logs"]
    verdicts = {one["objective"]: one["met"] for one in found["objectives"]}
    assert verdicts == {"response_time": True, "availability": False, "utilisation": True, "healthy": True}


# --- words and page -------------------------------------------------------------------------------------------------


def words(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{sheet.title}\n" + "\n".join(" | ".join(row) for row in sheet.rows) + f"\n{sheet.note}" for sheet in sheets(report)
    )


def test_the_words_name_what_is_missed_and_what_is_left() -> None:
    """The tables name each objective with its verdict, by whom it is missed, and what is left of the error budget."""
    text = words(made())
    assert "availability | 99.5% | missed | openpolicy/logs | 83.333% | -3233% (-9m42s)" in text
    assert "utilisation | 80% | met | phase 1 memory | 70% | 100%" in text
    assert "| 10m | memory | 100 MiB | restored" in text
    assert re.search(r"openpolicy/api \| [^|]+ \| done", text)
    assert "openpolicy/api | 105ms | 105ms | 60 | 1.7% | 1000 B/s | 100 B/s" in text
    assert "host network" in text


def test_what_is_not_known_is_said_so() -> None:
    """Where the history cannot be read, or nothing happened, the tables say so; unknown time is in the heading."""
    assert "The history could not be read." in words(made(None))
    text = words(made(()))
    assert "Nothing was shed." in text
    assert "Nothing was restarted" in text
    story = an_hour()
    found = report(story.window(until=7200), (), (), BEGIN_WALL_S + 7200)
    assert "unknown for 1h of it" in heading(found)
    assert all(len(row) == len(sheet.columns) for sheet in sheets(found) for row in sheet.rows)


def test_time_of_a_one_shot_that_has_completed_is_a_column_of_its_own() -> None:
    """A one-shot's time after its work is shown where there is any, and is no part of its availability."""
    story = an_hour()
    before = next(
        sheet for sheet in sheets(report(story.window(), (), (), BEGIN_WALL_S + 3600)) if sheet.title == "Availability"
    )
    assert "completed" not in before.columns
    for minute in range(60, 71):
        story.tick(minute * 60.0, {"logs": ServiceState.COMPLETED})
    found = report(story.window(until=4200), (), (), BEGIN_WALL_S + 4200)
    logs = next(one for one in found["services"] if one["service"] == "openpolicy/logs")
    assert (logs["completed_s"], logs["availability_ratio"]) == (600, 3000 / 3600)
    after = next(sheet for sheet in sheets(found) if sheet.title == "Availability")
    row = next(row for row in after.rows if row[1] == "openpolicy/logs")
    assert row[after.columns.index("completed")] == "10m"


class Tags(HTMLParser):
    """What is in a page: tags with attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_without_scripts_and_escapes_everything() -> None:
    """The page has no script, loads nothing and links nowhere, and shows names of any kind as they are."""
    history = (
        a_row(5, ActionKind.SHED, HOSTILE, Outcome.DONE, by=HOSTILE),
        a_row(6, ActionKind.RESTART, HOSTILE, Outcome.FAILED, detail=HOSTILE),
    )
    found = made(history, HOSTILE)
    text = page("Guardian report", heading(found), sheets(found))
    tags = Tags(text)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {tag for tag, _ in tags.tags} <= allowed
    assert not {
        name for _, attributes in tags.tags for name in attributes if name in ("src", "href", "onclick", "onload", "style")
    }
    assert HOSTILE in tags.text
    assert "<script" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")


def test_a_sheet_without_rows_is_its_note() -> None:
    """A table without rows is its note alone."""
    assert "<table>" not in page("t", "h", [Sheet("Shed", ("a",), note="Nothing was shed.")])


# --- commands -------------------------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with the hour's figures and its history; it is half past now, and no daemon runs."""
    directory = tmp_path / "state"
    directory.mkdir()
    file = HoursFile(directory / OBJECTIVES_NAME, BEGIN_WALL_S)
    file.write(an_hour().accumulator.flush())
    file.close()
    store = a_store(directory)
    rows = [
        HistoryRow(BEGIN_WALL_S + 1200, ActionKind.SHED, ServiceKey("openpolicy", "logs"), 2, "memory", Outcome.DONE),
        HistoryRow(BEGIN_WALL_S + 1800, ActionKind.RESTORE, ServiceKey("openpolicy", "logs"), 2, "room", Outcome.DONE),
    ]
    store.submit(history=rows).wait(10.0)
    assert store.close(10.0)
    monkeypatch.setattr(command.time, "time", lambda: BEGIN_WALL_S + 3660)
    monkeypatch.setattr(options, "DEFAULT_CONFIG", tmp_path / "no-such.yaml")
    monkeypatch.setattr(options, "DEFAULT_STATE_DIR", directory)
    return directory


@pytest.fixture
def run(state: Path, tmp_path: Path) -> Run:
    assert state.is_dir()
    runner = CliRunner(env={"GUARDIAN_WEB_CONTROL": str(tmp_path / "control.sock"), "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(main, arguments, prog_name="guardian")


def test_report_prints_the_tables(run: Run) -> None:
    """`guardian report` prints the objectives, where the time went, and what was shed for how long."""
    result = run("report")
    assert result.exit_code == 0, result.output
    out = " ".join(result.stdout.split())
    for shown in ("availability 99.5% missed", "83.333%", "Use against budgets", "openpolicy/logs", "10m", "Top consumers"):
        assert shown in out


def test_report_writes_json_and_a_page(run: Run, tmp_path: Path) -> None:
    """With --json it prints data, and with --html it writes a page; both at once are both."""
    target = tmp_path / "report.html"
    result = run("report", "--since", "7d", "--json", "--html", str(target))
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["until_wall_s"] - data["from_wall_s"] == 3600
    assert data["sheds"][0]["seconds"] == 600
    assert Tags(target.read_text()).tags[0][0] == "html"
    refused = run("report", "--html", str(tmp_path / "no" / "such" / "folder"))
    assert refused.exit_code == 1
    assert "name a file that you may write" in refused.stderr


def test_report_asks_the_daemon_for_history_where_it_runs(run: Run, tmp_path: Path) -> None:
    """While the daemon runs it is asked for the history: it alone may open the ledger."""
    daemon = FakeDaemon(tmp_path / "control.sock")
    try:
        result = run("report", "--json")
        assert result.exit_code == 0, result.output
    finally:
        daemon.close()
    assert {one["service"] for one in json.loads(result.stdout)["sheds"]} != {"openpolicy/logs"}


def test_without_a_ledger_the_rest_is_told(run: Run, state: Path) -> None:
    """Where the history cannot be read the report says so, and tells the rest."""
    (state / "ledger.db").unlink()
    result = run("report", "--json")
    assert result.exit_code == 0
    assert "what was shed is not known" in result.stderr
    assert json.loads(result.stdout)["sheds"] is None


def test_without_figures_it_says_what_to_do(run: Run, state: Path) -> None:
    """Without figures `report` fails, and says what to do."""
    (state / OBJECTIVES_NAME).unlink()
    result = run("report")
    assert result.exit_code == 1
    assert "set `objectives` in the file" in result.stderr


def test_a_baseline_is_saved_listed_and_compared(run: Run, state: Path) -> None:
    """A baseline is saved, listed, and compared with by the next report: what has changed by a tenth or more."""
    saved = run("baseline", "save", "after-phase-1")
    assert saved.exit_code == 0, saved.output
    assert "2 services" in saved.stdout
    assert "after-phase-1" in run("baseline", "list").stdout
    assert [one["name"] for one in json.loads(run("baseline", "list", "--json").stdout)["baselines"]] == ["after-phase-1"]
    unchanged = " ".join(run("report").stdout.split())
    assert "Since the baseline" in unchanged
    assert re.search(r"(\d+) of \1 figures have changed by less than 10%", unchanged)
    path = state / "baselines" / "after-phase-1.json"
    kept = json.loads(path.read_text())
    kept["services"][0]["memory_mean_bytes"] /= 2
    path.write_text(json.dumps(kept))
    assert re.search(r"openpolicy/api memory mean 150 MiB 300 MiB \+100%", " ".join(run("report").stdout.split()))
    changes = json.loads(run("report", "--json", "--baseline", "after-phase-1").stdout)["baseline"]["changes"]
    (change,) = [one for one in changes if one["service"] == "openpolicy/api" and one["figure"] == "memory_mean_bytes"]
    assert (change["then"], change["now"], change["change_ratio"]) == (150 * MIB, 300 * MIB, 1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("save", "../x"), "a baseline's name has letters"),
        (("save", ".hidden"), "a baseline's name has letters"),
        (("save", "one"), "there is a baseline of that name already"),
    ],
)
def test_a_baseline_that_cannot_be_made_says_why(run: Run, state: Path, arguments: tuple[str, ...], said: str) -> None:
    """A name that is no name, and one that is taken, are refused; --replace takes it."""
    assert run("baseline", "save", "one").exit_code == 0
    result = run("baseline", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert run("baseline", "save", "one", "--replace").exit_code == 0
    assert [path.name for path in (state / "baselines").iterdir()] == ["one.json"]


def test_a_baseline_that_is_not_there_names_those_that_are(run: Run) -> None:
    """A report against a baseline that is not there names those that are."""
    run("baseline", "save", "one")
    result = run("report", "--baseline", "two")
    assert result.exit_code == 1
    assert "there is: one" in result.stderr
    assert run("baseline", "list").exit_code == 0
