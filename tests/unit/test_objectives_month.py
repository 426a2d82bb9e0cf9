"""Thirty days with outages that are known to the minute, through the file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.looks import AIMS, BEGIN_WALL_S, a_status, a_use
from support.virtual_host import a_config, key

from guardian.config.schema import SamplingConfig
from guardian.model import ServiceState, ServiceStatus
from guardian.objectives.accumulate import Accumulator, Look, Probed
from guardian.objectives.evaluate import Aim, Window, verdicts
from guardian.objectives.figures import ERROR, answer_s
from guardian.objectives.rows import HOUR_S
from guardian.objectives.store import KEEP_HOURS, HoursFile, hours_of, oldest, opened
from guardian.units import Seconds

MINUTE_S, DAY_S = 60.0, 86400.0
STEP = 5  # minutes from one tick to the next, and between two probes
DAYS = 30
CONFIG = a_config(("api",), ("db", "logs"), objectives=AIMS, sampling=SamplingConfig(host=Seconds(STEP * MINUTE_S)))
# By service: from, to (in minutes since the beginning), and what it was meanwhile.
OUTAGES = {
    "api": ((5 * 1440, 5 * 1440 + 90, ServiceState.UNHEALTHY), (20 * 1440 + 1400, 21 * 1440 + 20, ServiceState.STOPPED)),
    "db": (),
    "logs": ((0, 600, ServiceState.MISSING), (9 * 1440, 12 * 1440, ServiceState.SHED)),
}
AWAY = (15 * 1440 + 30, 15 * 1440 + 150)  # guardian did not run


def status_at(name: str, minute: int) -> ServiceStatus:
    state = next((state for since, until, state in OUTAGES[name] if since <= minute < until), ServiceState.RUNNING)
    return a_status(name, state, healthy=None if name == "db" or state is not ServiceState.RUNNING else True)


def take_probe(accumulator: Accumulator, minute: int) -> None:
    """The api answers in 100 ms, and each twelfth time in 300 ms."""
    failed = status_at("api", minute).state is not ServiceState.RUNNING
    took_s = None if failed else 0.3 if minute % (12 * STEP) == 0 else 0.1
    accumulator.beside(Probed(key("api"), BEGIN_WALL_S + minute * MINUTE_S, took_s, http=True))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written twice a day, as if guardian had run all the month but once."""
    path = tmp_path_factory.mktemp("month") / "objectives.db"
    file, accumulator, last = HoursFile(path, BEGIN_WALL_S), Accumulator(), None
    for minute in range(0, DAYS * 1440 + 1, STEP):
        if AWAY[0] < minute < AWAY[1]:
            accumulator = Accumulator()
            continue
        if minute == AWAY[1]:
            for hour in file.hours(int((BEGIN_WALL_S + minute * MINUTE_S) // HOUR_S)):
                accumulator.resume(hour)
        shown = tuple(status_at(name, minute) for name in OUTAGES)
        last = shown if last is None or [one.state for one in shown] != [one.state for one in last] else last
        now_s = minute * MINUTE_S
        accumulator.note(Look(now_s, BEGIN_WALL_S + now_s, True, last, (a_use(1, 700, 1000),), CONFIG))
        take_probe(accumulator, minute)
        if minute % 720 == 0 or minute == AWAY[0]:
            file.write(accumulator.flush())
            accumulator.written()
    file.close()
    return path


@pytest.fixture(scope="module")
def window(path: Path) -> Window:
    window = Window(BEGIN_WALL_S, BEGIN_WALL_S + DAYS * DAY_S)
    with opened(path) as connection:
        for hour in hours_of(connection, int(BEGIN_WALL_S // HOUR_S)):
            window.add(hour)
    return window


def test_every_minute_of_the_month_is_where_it_belongs(window: Window) -> None:
    """Ninety minutes unhealthy, sixty down, three days shed, ten hours not deployed, two without guardian: to the second."""
    away_s = (AWAY[1] - AWAY[0]) * MINUTE_S
    api, db, logs = (window.services[key(name)] for name in ("api", "db", "logs"))
    assert window.unknown_s == away_s
    assert [window.unknown_of(one) for one in (api, db, logs)] == [away_s] * 3
    assert (api.unhealthy_s, api.down_s, api.up_s) == (90 * 60, 60 * 60, DAYS * DAY_S - away_s - 150 * 60)
    assert (db.up_s, db.healthy_s) == (DAYS * DAY_S - away_s, 0)
    assert (logs.absent_s, logs.shed_s, logs.down_s) == (600 * 60, 3 * DAY_S, 0)


def test_every_probe_of_the_month_is_counted(window: Window) -> None:
    """Each probe is counted once, failures apart, and the p95 is that of the answers within the stated error."""
    api = window.services[key("api")]
    assert api.probes == (DAYS * 1440 - (AWAY[1] - AWAY[0])) / STEP + 1  # one more, at the moment before it went away
    assert api.failures == (90 + 60) / STEP
    p95 = answer_s(api.answers, 0.95)
    assert p95 is not None
    assert 0.3 <= p95 <= 0.3 * (1 + ERROR)


def test_the_verdicts_of_the_month(window: Window) -> None:
    """99.5% of thirty days are 216 minutes: the api has used 150 of them, and logs, shed for three days, more than all."""
    found = {one.aim: one for one in verdicts(window)}
    available = {one.subject.partition("/")[2]: one for one in found[Aim.AVAILABILITY].findings}
    assert available["api"].budget_s == pytest.approx((216 - 150) * 60)
    assert available["api"].met is None  # the two hours without guardian may have been more than the 66 minutes left
    assert available["db"].met is True
    assert available["logs"].met is False
    assert found[Aim.RESPONSE_TIME].met is False
    assert found[Aim.UTILISATION].met is True
    assert found[Aim.HEALTHY].met is False


def test_no_more_is_kept_than_35_days(path: Path) -> None:
    """What is older than 35 days goes, and the file is small: some hundred bytes an hour for three services."""
    assert path.stat().st_size < 1_000_000
    file = HoursFile(path, BEGIN_WALL_S)
    newest = int(BEGIN_WALL_S // HOUR_S) + DAYS * 24 + 10 * 24
    (last,) = list(file.hours(int(BEGIN_WALL_S // HOUR_S) + 100))[:1]
    last.number = newest
    file.write([last])
    file.close()
    with opened(path) as connection:
        first = oldest(connection)
    assert first is not None
    assert first.number == newest - KEEP_HOURS + 1
