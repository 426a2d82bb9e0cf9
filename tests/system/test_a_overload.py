"""Promises A and H: memory grows past soft, guardian sheds from the top, restores in order, and Prometheus saw all of it.

One overload of the 32 reference services is run through; each test looks at its record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import yaml
from support.daemon import GuardianProcess
from support.engine_events import Change, EngineEvents
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.prometheus import SCRAPE_S, Prometheus, Series, lint
from support.replays import Recording, recorded
from support.settings import REFERENCE_FILE, SHORT, reference_config
from support.small import is_start, is_stop
from support.socket_proxy import SocketProxy
from support.standin import Stamp
from support.waiting import eventually

from guardian.model import Signal

pytestmark = pytest.mark.alone

CAPACITY_BYTES = 4096 * MIB
RECOVER_BYTES = 0.70 * CAPACITY_BYTES
USEFUL_BYTES = 16 * MIB
# Past soft by 340 MiB and short of hard by 60, were nothing shed. One is core, one is data.
GROWTH = {"api": (650 * MIB, 24 * MIB), "search-service": (790 * MIB, 32 * MIB)}
# Stops that take their time: a second victim would be easy to take meanwhile.
SLOW = {"logstash": {"STANDIN_STOP": "slow:3s"}, "elasticsearch": {"STANDIN_STOP": "slow:2s"}}
LAG_S = 4 * SCRAPE_S  # "a few scrapes": one to be scraped, one to be listed, and two cores that 35 processes share
PHASES: Mapping[str, int] = {
    service: phase["phase"] for phase in yaml.safe_load(REFERENCE_FILE.read_text())["phases"] for service in phase["services"]
}


@dataclass(frozen=True, slots=True)
class Call:
    """A stop or start of one service as it passed the engine's socket. Times are monotonic."""

    service: str
    sent_s: float
    answered_s: float
    status: int

    @property
    def phase(self) -> int:
        return PHASES[self.service]


@dataclass(frozen=True, slots=True)
class Overload:
    """What was seen of one overload, from guardian's start to the last restore."""

    held_bytes: Mapping[str, int]  # by each service before the growth
    overhead_bytes: float  # what guardian measured then beyond what they hold: their stacks and tables
    depends_on: Mapping[str, tuple[str, ...]]
    growth: Mapping[str, list[Stamp]]
    stops: list[Call]
    starts: list[Call]
    changes: tuple[Change, ...]
    wall_ahead_s: float  # of the monotonic clock
    decisions: list[dict[str, Any]]
    level_lines: list[dict[str, Any]]
    history: list[dict[str, Any]]
    listed_at_peak: tuple[float, set[str]]  # when the level had returned to ok, all grown, and what `docker ps` then showed
    listed_at_end: tuple[float, set[str]]
    exposition: bytes  # of /metrics, while services were shed
    up: list[Series]
    shed: list[Series]
    level: Series
    scrapes: Series
    series: list[dict[str, str]]
    recording: Recording

    def used_bytes(self, at_s: float, without: set[str]) -> float:
        """What all but those `without` held, by the stand-ins' own stamps."""
        total = self.overhead_bytes
        for service, held in self.held_bytes.items():
            if service not in without:
                total += _grown(self.growth[service], at_s) if service in self.growth else held
        return total

    def running(self, service: str, from_wall_s: float, to_wall_s: float) -> bool | None:
        """By the engine's events; None where that changed in between."""
        changes = [change for change in self.changes if change.service == service]
        if any(from_wall_s <= change.at_wall_s <= to_wall_s for change in changes):
            return None
        before = [change for change in changes if change.at_wall_s < from_wall_s]
        return before[-1].running if before else True


def _grown(stamps: list[Stamp], at_s: float) -> float:
    """What a stand-in held at that time, from the stamps of its blocks."""
    begun = [stamp for stamp in stamps if stamp.begin_s <= at_s]
    last = begun[-1]
    part = min(1.0, (at_s - last.begin_s) / (last.end_s - last.begin_s))
    return last.from_bytes + part * (last.to_bytes - last.from_bytes)


@pytest.fixture(scope="module")
def overload(standin_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Overload]:
    """Grow until sheds are needed, let it come to rest, fall, and wait until all is back."""
    folder = tmp_path_factory.mktemp("overload")
    platform = ReferencePlatform(standin_engine.url, environment=SLOW)
    try:
        platform.up()
        with SocketProxy(standin_engine.socket, folder / "proxy.sock") as proxy, EngineEvents(standin_engine.url) as events:
            guardian = GuardianProcess(folder / "guardian", reference_config(proxy.url))
            try:
                guardian.start()
                with Prometheus(folder / "prometheus", guardian.url.removeprefix("http://")) as prometheus:
                    yield _run(platform, proxy, events, guardian, prometheus)
            finally:
                guardian.close()
    finally:
        platform.remove()


def _run(
    platform: ReferencePlatform,
    proxy: SocketProxy,
    events: EngineEvents,
    guardian: GuardianProcess,
    prometheus: Prometheus,
) -> Overload:
    held = {service.name: platform.memory_bytes(service.name) for service in platform.services}
    at_rest = eventually(guardian.memory_ratio, "every footprint is known", 30)

    for service, (to_bytes, rate) in GROWTH.items():
        platform.grow(service, to_bytes, rate)
    for service, (to_bytes, _) in GROWTH.items():
        eventually(lambda name=service, full=to_bytes: platform.status(name).held_bytes >= full, "the growth ends", 60, 0.5)
    growth = {service: platform.stamps(service) for service in GROWTH}
    eventually(lambda: _calm(guardian), "the level is ok again", 60, 0.2)
    listed_at_peak = (time.time(), platform.running())
    exposition = guardian.get("/metrics")

    for service in GROWTH:
        platform.hold(service, held[service])
    eventually(lambda: not guardian.status()["shed"], "everything is restored", 90, 0.2)
    listed_at_end = (time.time(), platform.running())
    eventually(lambda: _scraped_since(prometheus, listed_at_end[0] + LAG_S), "Prometheus has seen the end of it", 30, 0.5)

    names = platform.ids()
    calls = [
        (one, Call(names[one.route.split("/")[2]], one.forwarded_s or 0.0, one.answered_s or 0.0, one.status or 0))
        for one in proxy.requests
        if is_stop(one) or is_start(one)
    ]
    return Overload(
        held_bytes=held,
        overhead_bytes=at_rest * CAPACITY_BYTES - sum(held.values()),
        depends_on={service.name: service.depends_on for service in platform.services},
        growth=growth,
        stops=[call for one, call in calls if is_stop(one)],
        starts=[call for one, call in calls if is_start(one)],
        changes=events.changes,
        wall_ahead_s=time.time() - time.monotonic(),
        decisions=guardian.log_lines("decision"),
        level_lines=guardian.log_lines("level changed"),
        history=guardian.history(),
        listed_at_peak=listed_at_peak,
        listed_at_end=listed_at_end,
        exposition=exposition,
        up=prometheus.samples("guardian_service_up"),
        shed=prometheus.samples("guardian_service_shed"),
        level=prometheus.samples("guardian_level")[0],
        scrapes=prometheus.samples("up")[0],
        series=prometheus.series('{job="guardian"}'),
        recording=recorded(guardian),
    )


def _calm(guardian: GuardianProcess) -> bool:
    status = guardian.status()
    return status["level"] == "ok" and bool(status["shed"])


def _scraped_since(prometheus: Prometheus, wall_s: float) -> bool:
    return prometheus.samples("guardian_level")[0].samples[-1][0] >= wall_s


def _chosen(overload: Overload, action: str) -> list[tuple[dict[str, Any], list[str]]]:
    """Decisions with that action, and the services that each chose."""
    decided = [
        (line, [one["service"].partition("/")[2] for one in line["chosen"] if one["action"] == action])
        for line in overload.decisions
    ]
    return [(line, services) for line, services in decided if services]


# --- A: sheds -------------------------------------------------------------------------------------------------------


def test_sheds_go_from_phase_5_downwards(overload: Overload) -> None:
    """Sheds go from phase 5 downwards: none of phase 4 while a useful one of phase 5 still runs, and none of phase 3."""
    phases = [call.phase for call in overload.stops]
    assert phases[0] == 5
    assert phases == sorted(phases, reverse=True)
    assert set(phases) == {5, 4}, "this overload needs some of phase 4 and not all of it"
    useful = {service for service, held in overload.held_bytes.items() if PHASES[service] == 5 and held >= USEFUL_BYTES}
    assert {call.service for call in overload.stops if call.phase == 5} == useful


def test_services_are_shed_one_at_a_time(overload: Overload) -> None:
    """Services are shed one at a time: each stop is sent once the one before is answered and its container is gone."""
    assert len(overload.stops) >= 7
    assert all(call.status == 204 for call in overload.stops)
    assert [services for _, services in _chosen(overload, "shed")] == [[call.service] for call in overload.stops]
    for before, after in pairwise(overload.stops):
        assert after.sent_s > before.answered_s
        gone = [change for change in overload.changes if change.service == before.service and not change.running]
        assert after.sent_s + overload.wall_ahead_s > gone[0].at_wall_s


def test_each_shed_is_needed(overload: Overload) -> None:
    """Each shed is needed: at no moment was the sum of the reliefs under way enough, as decided and as the stand-ins say."""
    decided = _chosen(overload, "shed")
    assert len(decided) == len(overload.stops)
    told: set[str] = set()
    for (line, _), call in zip(decided, overload.stops, strict=True):
        assert line["signal"] == "platform_memory"
        assert line["pending"] < line["deficit"]
        assert overload.used_bytes(call.sent_s, without=told) > RECOVER_BYTES
        told.add(call.service)


def test_each_decision_names_what_it_chose_among(overload: Overload) -> None:
    """Each decision names what it chose among: the first candidate that was not passed over, with its relief."""
    for line, services in _chosen(overload, "shed"):
        taken = [one for one in line["candidates"] if not one["passed_over"]]
        assert [taken[0]["service"]] == [f"openpolicy/{service}" for service in services]
        expected = line["chosen"][0]["expected_relief_bytes"]
        held = overload.held_bytes[services[0]]
        assert held <= expected <= held + 4 * MIB
        assert line["threshold"] == 0.8
        assert line["host_level"] == "soft"


def test_no_core_container_ever_stops(overload: Overload) -> None:
    """No container of phase 1 ever stops, though one of them grows, nor one of phases 2 and 3."""
    assert {PHASES[change.service] for change in overload.changes} == {4, 5}
    core = {service for service, phase in PHASES.items() if phase == 1}
    assert not core & {change.service for change in overload.changes}


def test_the_level_returns_to_ok(overload: Overload) -> None:
    """The level goes from ok to soft and returns to ok while all that grew is still held."""
    assert [line["to"] for line in overload.level_lines] == ["ok", "soft", "ok"]
    level, ratio = overload.level_lines[-1]["signals"]["platform_memory"]
    assert level == "ok"
    assert ratio < 0.70
    assert {value for _, value in overload.level.samples} == {0.0, 1.0}


# --- A: restores ----------------------------------------------------------------------------------------------------


def test_everything_is_restored_once_the_growth_has_ended(overload: Overload) -> None:
    """Once the growth has ended everything that was shed is started, once each, and nothing else is."""
    assert sorted(call.service for call in overload.starts) == sorted(call.service for call in overload.stops)
    assert overload.listed_at_end[1] == set(PHASES)
    assert overload.starts[0].sent_s > max(stamps[-1].end_s for stamps in overload.growth.values())


def test_the_lowest_phase_is_restored_first(overload: Overload) -> None:
    """The lowest phase is restored first."""
    phases = [call.phase for call in overload.starts]
    assert phases == sorted(phases)


def test_dependencies_are_restored_before_what_depends_on_them(overload: Overload) -> None:
    """Dependencies are restored before what depends on them."""
    order = [call.service for call in overload.starts]
    pairs = [(needed, service) for service in order for needed in overload.depends_on[service] if needed in order]
    assert ("elasticsearch", "kibana") in pairs
    assert all(order.index(needed) < order.index(service) for needed, service in pairs)


def test_services_are_restored_one_at_a_time(overload: Overload) -> None:
    """Services are restored one at a time: the next is started once the one before has run for `stable_for`."""
    stable_s = float(SHORT["restoring"]["stable_for"].removesuffix("s"))
    for before, after in pairwise(overload.starts):
        assert after.sent_s >= before.answered_s + stable_s


def test_the_history_tells_the_same(overload: Overload) -> None:
    """The history tells the same sheds and restores in the same order, each done, with relief expected and measured."""
    rows = [row for row in reversed(overload.history) if row["action"] in ("shed", "restore")]
    told = [(row["action"], row["service"].partition("/")[2], row["result"]) for row in rows]
    assert told[: len(overload.stops)] == [("shed", call.service, "done") for call in overload.stops]
    assert told[len(overload.stops) :] == [("restore", call.service, "done") for call in overload.starts]
    for row in rows[: len(overload.stops)]:
        assert row["measured_relief_bytes"] >= 0.5 * row["expected_relief_bytes"] > 0


# --- its recording ---------------------------------------------------------------------------------------------------


def test_replay_decides_all_of_it_again(overload: Overload) -> None:
    """Replay of the recording decides every shed and restore of it again, at its tick, with the same numbers."""
    overload.recording.decided_again()


def test_with_a_soft_mark_above_its_peak_replay_sheds_nothing(overload: Overload) -> None:
    """With a soft mark above what memory would have come to, replay sheds nothing, and memory comes to what the stand-ins held."""
    marks = {"thresholds": {"memory": {"soft": "93%", "hard": "97%"}}}
    acts, looks = overload.recording.decided_by(reference_config("unix:///none", marks))
    assert acts == []
    held = sum(overload.held_bytes.values()) + sum(full - overload.held_bytes[name] for name, (full, _) in GROWTH.items())
    peak = max(signal.value or 0.0 for look in looks if (signal := look.assessment.signal(Signal.PLATFORM_MEMORY)))
    assert peak == pytest.approx((overload.overhead_bytes + held) / CAPACITY_BYTES, abs=0.01)


def test_with_a_higher_recover_mark_replay_sheds_fewer(overload: Overload) -> None:
    """With a recover mark just below the soft one, replay sheds the first of those that were shed, and not all."""
    acts, _ = overload.recording.decided_by(reference_config("unix:///none", {"thresholds": {"memory": {"recover": "78%"}}}))
    sheds = [service for action, service in acts if action == "shed"]
    assert 0 < len(sheds) < len(overload.stops)
    assert sheds == [call.service for call in overload.stops][: len(sheds)]


# --- H: Prometheus --------------------------------------------------------------------------------------------------


def test_prometheus_missed_nothing_of_it(overload: Overload) -> None:
    """Prometheus scraped guardian every second of it and was never refused."""
    assert all(value == 1 for _, value in overload.scrapes.samples)
    assert all(after - before < 3 * SCRAPE_S for (before, _), (after, _) in pairwise(overload.scrapes.samples))


def test_prometheus_and_the_engine_agree_at_every_step(overload: Overload) -> None:
    """At every scrape, what Prometheus holds of each service is what the engine had run for a few scrapes."""
    assert {series.labels["service"] for series in overload.up} == set(PHASES)
    compared = 0
    for metric, of_running in ((overload.up, 1.0), (overload.shed, 0.0)):
        for series in metric:
            service = series.labels["service"]
            assert int(series.labels["phase"]) == PHASES[service]
            for at_wall_s, value in series.samples:
                running = overload.running(service, at_wall_s - LAG_S, at_wall_s)
                if running is not None:
                    compared += 1
                    assert value == (of_running if running else 1.0 - of_running), (service, at_wall_s)
    samples = sum(len(series.samples) for series in (*overload.up, *overload.shed))
    assert compared > 0.8 * samples, "most scrapes are of services that have not just changed"


def test_prometheus_saw_each_shed_and_each_restore(overload: Overload) -> None:
    """Each shed and each restore that the engine reports is one step in Prometheus, a few scrapes later at most."""
    for series in overload.shed:
        changes = [change for change in overload.changes if change.service == series.labels["service"]]
        steps = [(at, value) for (_, before), (at, value) in pairwise(series.samples) if value != before]
        assert [value for _, value in steps] == [0.0 if change.running else 1.0 for change in changes]
        for (at_wall_s, _), change in zip(steps, changes, strict=True):
            assert at_wall_s <= change.at_wall_s + LAG_S


def test_docker_ps_and_prometheus_agree(overload: Overload) -> None:
    """What `docker ps` lists at the height of the overload and at its end is what Prometheus holds as up."""
    for listed_wall_s, listed in (overload.listed_at_peak, overload.listed_at_end):
        quiet = {service for service in PHASES if overload.running(service, listed_wall_s - LAG_S, listed_wall_s) is not None}
        up = {
            series.labels["service"]
            for series in overload.up
            if [value for at, value in series.samples if at <= listed_wall_s][-1] == 1
        }
        assert {service for service, phase in PHASES.items() if phase <= 3} <= quiet
        assert up & quiet == listed & quiet


def test_prometheus_never_saw_a_core_service_shed(overload: Overload) -> None:
    """In no scrape was a service of phase 1 shed or down."""
    core = [series for series in overload.shed if series.labels["phase"] == "1"]
    assert len(core) == 5
    assert all(value == 0 for series in core for _, value in series.samples)
    assert all(value == 1 for series in overload.up if series.labels["phase"] == "1" for _, value in series.samples)


def test_it_shows_fewer_than_1200_series(overload: Overload) -> None:
    """All that guardian showed in an overload of the reference platform is fewer than 1,200 series."""
    names = {labels["__name__"] for labels in overload.series}
    assert {"guardian_level", "guardian_service_shed", "guardian_actions_total"} <= names
    assert len(overload.series) < 1200


def test_promtool_accepts_the_metrics(overload: Overload) -> None:
    """`promtool check metrics` has nothing to say of them while services are shed."""
    assert b"guardian_service_shed_timestamp_seconds{" in overload.exposition
    checked = lint(overload.exposition)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
