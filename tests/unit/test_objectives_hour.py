"""An hour of a whole guardian with outages that are known to the second: every figure is exactly what they come to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.virtual_host import key
from support.watched_host import ANSWER_S, BEGIN_WALL_S, OBJECTIVES, PROBE_S, TICK_S, WatchedHost

from guardian.expose.orders import OrderKind
from guardian.expose.status import history_row
from guardian.objectives.episodes import restarts, sheds
from guardian.objectives.evaluate import Aim, Window, availability, healthy, verdicts
from guardian.objectives.figures import ERROR, answer_s
from guardian.objectives.report import report
from guardian.objectives.rows import HOUR_S
from guardian.objectives.store import hours_of, opened

STOP_S = 0.3  # how long a simulated service takes to stop
HOUR = int(BEGIN_WALL_S // HOUR_S)


def window_of(path: Path, until_wall_s: float) -> Window:
    window = Window(BEGIN_WALL_S, until_wall_s)
    with opened(path) as connection:
        for hour in hours_of(connection, HOUR):
            window.add(hour)
    return window


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> tuple[WatchedHost, Window]:
    """See the test for what happens in it."""
    path = tmp_path_factory.mktemp("hour") / "objectives.db"
    watched = WatchedHost(path)
    host = watched.host
    watched.at(600, lambda: host.engine.external_stop("db"))
    watched.at(900, lambda: host.engine.external_start("db"))
    watched.at(1210, lambda: setattr(watched.cell("web"), "healthy", False))
    watched.at(1510, lambda: setattr(watched.cell("web"), "healthy", True))
    watched.at(1795, lambda: host.order(OrderKind.SHED, "logs"))
    note(watched)
    watched.at(2395, lambda: host.order(OrderKind.RESTORE, "logs"))
    note(watched)
    watched.until(2700)
    watched.away(300)
    watched.at(3300, host.engine_down)
    watched.at(3360, lambda: host.engine_down(False))
    watched.until(3600)
    watched.keeper.work(flush=True)
    return watched, window_of(path, BEGIN_WALL_S + 3600)


def note(watched: WatchedHost) -> None:
    """The tick that an order makes."""
    watched.keeper.note(watched.host.snapshots[-1])
    watched.made[0].run_due(lambda work: work())


def test_every_second_of_the_hour_is_where_it_belongs(hour: tuple[WatchedHost, Window]) -> None:
    """Five minutes down, five of failing probes, ten shed, five without guardian and one without the engine: to the second."""
    _, window = hour
    db, web, logs = (window.services[key(name)] for name in ("db", "web", "logs"))
    unknown_s = 300 + 60
    assert window.unknown_s == unknown_s
    assert [window.unknown_of(one) for one in (db, web, logs)] == [unknown_s] * 3
    assert (db.up_s, db.down_s, db.shed_s, db.unhealthy_s, db.absent_s) == (3600 - unknown_s - 300, 300, 0, 0, 0)
    # It fails from the probe at 1230 s on; the second failure in a row, at 1260 s, makes it unhealthy, and the tick after
    # sees that. The success at 1530 s ends it.
    assert (web.up_s, web.unhealthy_s, web.down_s) == (3600 - unknown_s - 270, 270, 0)
    assert (logs.up_s, logs.shed_s, logs.down_s) == (3600 - unknown_s - 600, 600, 0)


def test_every_probe_is_counted_once(hour: tuple[WatchedHost, Window]) -> None:
    """Every probe of the hour is counted once, and the ten that fell into the outage have failed."""
    watched, window = hour
    web = window.services[key("web")]
    assert web.failures == 300 / PROBE_S
    within = [probe for probe in watched.probes if probe.at_s < watched.host.clock.monotonic()]
    assert web.probes == len(within) == 1 + (2700 + 600) / PROBE_S
    assert sum(web.answers.values()) == web.probes - web.failures
    assert web.http
    assert window.services[key("db")].probes == 0
    p95 = answer_s(web.answers, 0.95)
    assert p95 is not None
    assert ANSWER_S <= p95 <= ANSWER_S * (1 + ERROR)


def test_the_verdicts_follow(hour: tuple[WatchedHost, Window]) -> None:
    """The objectives are met, missed or unknown as the figures say, and the error budgets are what is left of them."""
    _, window = hour
    found = {one.aim: one for one in verdicts(window)}
    assert found[Aim.RESPONSE_TIME].met
    available = {one.subject.partition("/")[2]: one for one in found[Aim.AVAILABILITY].findings}
    assert found[Aim.AVAILABILITY].met is False
    assert available["db"].value == pytest.approx(2940 / 3240)
    assert available["db"].budget_s == pytest.approx(0.005 * 3600 - 300)
    assert available["logs"].value == pytest.approx(2640 / 3240)
    assert availability(window.services[key("web")]) == pytest.approx(2970 / 3240)
    well = found[Aim.HEALTHY]
    assert well.met is False
    assert [one.subject for one in well.findings] == ["openpolicy/web"]
    web = window.services[key("web")]
    # Each guardian has its first answer just after its first tick, so of that one tick nothing is known yet.
    assert web.healthy_s == 3600 - 360 - 270 - 2 * TICK_S
    assert healthy(web) == pytest.approx(2960 / 3230)
    used = found[Aim.UTILISATION]
    assert used.met
    assert [(one.subject, one.value) for one in used.findings] == [(f"phase {number} memory", 0.5) for number in (1, 2, 3)]
    assert found[Aim.AVAILABILITY].target == OBJECTIVES.availability


def test_the_report_says_the_same(hour: tuple[WatchedHost, Window]) -> None:
    """The report of the hour has these seconds and no others, the one shed with how long it lasted, and what each phase used."""
    watched, window = hour
    rows = [history_row(row) for row in watched.host.store.rows]
    made = report(window, sheds(rows, BEGIN_WALL_S), restarts(rows, BEGIN_WALL_S), BEGIN_WALL_S + 3600)
    parts = ("up_s", "unhealthy_s", "down_s", "shed_s", "absent_s", "completed_s", "unknown_s", "probes", "failures")
    assert {one["service"].partition("/")[2]: tuple(one[part] for part in parts) for one in made["services"]} == {
        "db": (2940, 0, 300, 0, 0, 0, 360, 0, 0),
        "web": (2970, 270, 0, 0, 0, 0, 360, 111, 10),
        "logs": (2640, 0, 0, 600, 0, 0, 360, 0, 0),
    }
    assert (made["watched_s"], made["unknown_s"], made["restarts"]) == (3240, 360, [])
    (shed,) = made["sheds"]
    assert (shed["service"], shed["reason"], shed["by"], shed["ended"]) == ("openpolicy/logs", "operator", "ada", "restored")
    assert shed["seconds"] == pytest.approx(600 - STOP_S)  # it was down once it had stopped
    assert [one["memory_p95_ratio"] for one in made["phases"]] == [0.5] * 3
    assert [one["memory_most_ratio"] for one in made["phases"]] == [0.5] * 3
    assert next(one for one in made["services"] if one["phase"] == 2)["error_ratio"] == 10 / 111


def test_the_metrics_say_the_same(hour: tuple[WatchedHost, Window]) -> None:
    """The metrics tell each objective as the report does."""
    watched, _ = hour
    told = watched.telemetry.told
    assert told["availability"].met is False
    assert told["availability"].value == pytest.approx(2640 / 3240)
    assert told["response_time"].met
    assert told["utilisation"] == ("utilisation", 0.8, 0.5, True, 1.0)


def test_what_the_services_used_is_averaged_over_the_time_that_they_ran(hour: tuple[WatchedHost, Window]) -> None:
    """What a service used is averaged over the time that it ran and was measured."""
    _, window = hour
    logs = window.services[key("logs")]
    assert 0 < logs.use_s <= logs.up_s
    assert logs.byte_s / logs.use_s == pytest.approx(100 * 1024 * 1024)
    assert logs.most_bytes == 100 * 1024 * 1024


def test_a_restart_of_guardian_goes_on_with_the_hour(hour: tuple[WatchedHost, Window]) -> None:
    """The hour is one row, also where guardian was started again within it."""
    watched, _ = hour
    with opened(watched._path) as connection:
        assert [one.number for one in hours_of(connection, 0)] == [HOUR]
