"""How ticks, probes and traffic become sums, and sums figures."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.looks import AIMS, BEGIN_WALL_S, CONFIG, Story, a_status, a_use
from support.virtual_host import a_config, key

from guardian.config.schema import SamplingConfig
from guardian.model import ServiceState
from guardian.objectives.accumulate import GAP_S, Probed, Traffic
from guardian.objectives.evaluate import Aim, Finding, Window, verdicts
from guardian.objectives.figures import ERROR, answer_s, bound_s, bucket, merge_service, percent, percentile, slower
from guardian.objectives.rows import HOUR_S, Hour, ServiceHour, Targets, decode, encode
from guardian.units import Seconds

RUNNING, STOPPED, SHED = ServiceState.RUNNING, ServiceState.STOPPED, ServiceState.SHED
AIMED = a_config(("a",), ("b",), objectives=AIMS)


def of(window: Window, name: str = "a") -> ServiceHour:
    return window.services[key(name)]


# --- ticks ----------------------------------------------------------------------------------------------------------


def test_what_a_tick_shows_holds_until_the_next() -> None:
    """What a tick shows holds until the next tick, and not before it."""
    story = Story()
    story.tick(0, {"a": RUNNING})
    story.tick(10, {"a": STOPPED})
    story.tick(25, {"a": RUNNING})
    story.tick(30)
    one = of(story.window())
    assert (one.up_s, one.down_s) == (10 + 5, 15)


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (ServiceState.RUNNING, "up_s"),
        (ServiceState.UNHEALTHY, "unhealthy_s"),
        (ServiceState.STOPPED, "down_s"),
        (ServiceState.SHED, "shed_s"),
        (ServiceState.QUARANTINED, "shed_s"),
        (ServiceState.MISSING, "absent_s"),
        (ServiceState.COMPLETED, "completed_s"),
    ],
)
def test_each_state_has_one_sum(state: ServiceState, name: str) -> None:
    """Each second is in one sum, by the state of the service."""
    story = Story()
    story.tick(0, {"a": state})
    story.tick(30)
    one = of(story.window())
    sums = {sum_: getattr(one, sum_) for sum_ in ("up_s", "unhealthy_s", "down_s", "shed_s", "absent_s", "completed_s")}
    assert sums == {**dict.fromkeys(sums, 0.0), name: 30.0}


def test_hours_are_split_to_the_second() -> None:
    """Time over the end of an hour is in each hour with its own part, also where one look goes over several."""
    story = Story(a_config(("a",), sampling=SamplingConfig(host=Seconds(3600))))
    story.tick(3590, {"a": RUNNING})
    story.tick(3590 + 2 * 3600)
    hours = {hour.number: hour for hour in story.accumulator.flush()}
    first = int(BEGIN_WALL_S // HOUR_S)
    assert [hours[first + place].services[0].up_s for place in range(3)] == [10, 3600, 3590]
    assert [hours[first + place].watched_s for place in range(3)] == [10, 3600, 3590]


def test_time_that_nobody_watched_is_unknown() -> None:
    """Where no tick came for more than a minute, the time between is unknown, and so it is while the engine does not answer."""
    story = Story()
    story.tick(0, {"a": RUNNING})
    story.tick(GAP_S)
    story.tick(GAP_S + 500)
    story.tick(GAP_S + 510, known=False)
    story.tick(GAP_S + 530, known=True)
    story.tick(GAP_S + 540)
    window = story.window()
    assert of(window).up_s == GAP_S + 10 + 10
    assert window.unknown_s == window.unknown_of(of(window)) == 500 + 20


def test_a_host_that_slept_or_whose_clock_was_set_is_unknown_in_between() -> None:
    """Time that a host slept is unknown, and where its clock was set nothing is counted twice or made up."""
    story = Story()
    story.tick(0, {"a": RUNNING})
    story.tick(10)
    story.tick(20, wall=1020)  # asleep for 1000 s
    story.tick(30, wall=1030)
    story.tick(40, wall=800)  # set back
    story.tick(50, wall=810)
    window = story.window(until=1030)
    assert of(window).up_s == 10 + 10 + 10
    assert window.unknown_s == 1030 - 30


def test_a_service_counts_from_when_it_is_first_seen_until_it_leaves() -> None:
    """A service that is added later, or leaves, has no unknown time for when it was not in the file."""
    story = Story()
    story.tick(0, {"a": RUNNING, "b": RUNNING})
    story.tick(30, {"a": RUNNING})
    story.tick(60, {"a": RUNNING, "c": RUNNING})
    story.tick(100)
    window = story.window(until=130)
    assert window.unknown_s == 30
    assert [window.unknown_of(of(window, name)) for name in "abc"] == [30, 0, 30]


def test_use_is_a_mean_over_the_time_that_it_is_known() -> None:
    """Use is summed over the time that it is known for; the most is kept beside."""
    story = Story()
    story.tick(0, services=(a_status("a", working_set_bytes=100, cpu_cores=0.5),))
    story.tick(10, services=(a_status("a", working_set_bytes=400, cpu_cores=None),))
    story.tick(20, services=(a_status("a", working_set_bytes=200, cpu_cores=1.0),))
    story.tick(50)
    one = of(story.window())
    assert (one.use_s, one.byte_s / one.use_s, one.core_s / one.use_s) == (40, 175, 0.875)
    assert (one.most_bytes, one.most_cores) == (200, 1.0)


def test_phases_are_kept_by_percent_of_their_budget() -> None:
    """Use of a phase is kept by whole percent of its budget, rounded up; without a budget, or unknown, it is not there."""
    story = Story()
    story.tick(0, {}, phases=(a_use(1, 799, 1000, 0.25), a_use(2, None, 1000), a_use(3, 5, None)))
    story.tick(20, phases=(a_use(1, 801, 1000, 0.25),))
    story.tick(25)
    phases = story.window().phases
    assert phases[1].memory_s == {80: 20.0, 81: 5.0}
    assert phases[1].cpu_s == {25: 25.0}
    assert (phases[2].memory_s, phases[3].memory_s) == ({}, {})


def test_probes_and_traffic_go_to_the_hour_that_they_were_in() -> None:
    """Probes and traffic go to their service in their hour; what came before the first tick of an hour waits for it."""
    story = Story()
    story.tick(0, {"a": RUNNING})
    story.accumulator.beside(Probed(key("a"), BEGIN_WALL_S, 0.1, http=True))
    list(story.accumulator.flush())
    story.tick(10)
    story.accumulator.beside(Probed(key("a"), BEGIN_WALL_S + 5, None, http=True))
    story.accumulator.beside(Probed(key("gone"), BEGIN_WALL_S - 3600, None, http=True))
    story.accumulator.beside(Traffic(key("a"), BEGIN_WALL_S + 9, 60.0, 600, 1200))
    one = of(story.window())
    assert (one.probes, one.failures, one.http) == (2, 1, True)
    assert (one.network_s, one.rx_bytes, one.tx_bytes, one.network) == (60.0, 600, 1200, "")
    story.accumulator.beside(Traffic(key("a"), BEGIN_WALL_S + 10, unknown="host network"))
    assert of(story.window()).network == "host network"


def test_an_hour_is_what_was_written() -> None:
    """An hour that is encoded and decoded is the same, and one that goes on with what was there has both."""
    story = Story(AIMED)
    story.tick(0, {"a": RUNNING, "b": SHED}, phases=(a_use(1, 500, 1000, 0.5),))
    story.tick(10)
    story.accumulator.beside(Probed(key("a"), BEGIN_WALL_S + 5, 0.1, http=True))
    (hour,) = story.accumulator.flush()
    read = decode(encode(hour))
    assert read == hour
    assert read.targets == Targets(0.2, 0.995, 0.8, 1.0)
    again = Story(AIMED)
    again.tick(20, {"a": RUNNING, "b": RUNNING})
    again.tick(30, {"a": RUNNING, "b": RUNNING})
    again.accumulator.resume(read)
    window = again.window()
    assert (of(window).up_s, of(window).probes, of(window, "b").shed_s, of(window, "b").up_s) == (20, 1, 10, 10)
    assert window.watched_s == 20


# --- figures --------------------------------------------------------------------------------------------------------


@given(st.floats(1e-4, 1e4))
def test_a_bucket_holds_no_longer_answers_than_its_bound(seconds: float) -> None:
    """An answer's bucket has a bound that is not below it, and at most so much above as is stated."""
    bound = bound_s(bucket(seconds))
    assert seconds <= bound * (1 + 1e-9)
    assert bound <= seconds * (1 + ERROR) * (1 + 1e-9)


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=200))
def test_the_p95_is_the_true_one_rounded_up(took: list[float]) -> None:
    """The 95th percentile of answers is the true one (nearest rank), rounded up by at most the stated error."""
    answers: dict[int, int] = {}
    for seconds in took:
        answers[bucket(seconds)] = answers.get(bucket(seconds), 0) + 1
    true = sorted(took)[-(-len(took) * 95 // 100) - 1]
    found = answer_s(answers, 0.95)
    assert found is not None
    assert true <= found * (1 + 1e-9)
    assert found <= true * (1 + ERROR) * (1 + 1e-9)
    assert slower(answers, found) <= len(took) * 0.05 + 1e-9


def test_what_was_never_measured_has_no_figure() -> None:
    """Without an answer there is no percentile."""
    assert answer_s({}, 0.95) is None
    assert percentile({}, 0.5) is None


def test_percent_is_rounded_up() -> None:
    """A part is in whole percent, rounded up, and 80% is 80."""
    assert [percent(ratio) for ratio in (0.0, 0.001, 0.8, 0.8001, 1.2)] == [0, 1, 80, 81, 120]


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6))
def test_hours_add_up_in_any_grouping(ups: list[int]) -> None:
    """Hours add up to the same, however they are grouped, and adding changes none of them."""
    hours = [ServiceHour("p", "a", 1, float(place), float(place + 1), up_s=up, answers={1: up}) for place, up in enumerate(ups)]
    whole = left = None
    for one in hours:
        whole = merge_service(whole, one)
    for one, other in pairwise([*hours, None]):
        if other is not None:
            left = merge_service(left, one)
    assert left is not None
    assert merge_service(left, hours[-1]) == whole
    assert [one.up_s for one in hours] == ups
    assert whole is not None
    assert (whole.up_s, whole.answers) == (sum(ups), {1: sum(ups)})


# --- verdicts -------------------------------------------------------------------------------------------------------


def a_window(unknown_s: float = 0.0, **sums: float) -> Window:
    """Of a thousand seconds and what is unknown, with one service."""
    window = Window(0.0, 1000.0 + unknown_s)
    hour = Hour(0, 1000.0, 0.0, 1000.0, Targets(0.2, 0.9, 0.8, 1.0))
    hour.services.append(ServiceHour("p", "a", 1, 0.0, 1000.0, **sums))  # type: ignore[arg-type]
    window.add(hour)
    return window


def finding(window: Window, aim: Aim) -> Finding:
    (one,) = next(one for one in verdicts(window) if one.aim is aim).findings
    return one


@pytest.mark.parametrize(
    ("up", "unknown", "met", "left_s"),
    [
        (900, 0, True, 0),
        (899, 0, False, -1),
        (950, 50, True, 55),  # (1050 · 0.1) − 50; all of the unknown may have been down
        (950, 56, None, 55.6),
        (880, 1000, None, 80),  # up / known is 88%, and with the unknown it may be 94%
        (700, 1000, False, -100),
    ],
)
def test_unknown_time_decides_nothing(up: float, unknown: float, met: bool | None, left_s: float) -> None:
    """Availability is met, or missed, only where that is so whatever was in the unknown time."""
    one = finding(a_window(unknown, up_s=up, down_s=1000 - up), Aim.AVAILABILITY)
    assert one.met is met
    assert one.value == up / 1000
    assert one.budget_s == pytest.approx(left_s)
    assert one.budget_ratio == pytest.approx(left_s / ((1000 + unknown) * 0.1))


def test_shed_unhealthy_and_down_count_against_availability_and_absence_does_not() -> None:
    """Time shed, unhealthy or down counts against availability; time without a container is no part of it."""
    one = finding(a_window(up_s=400, unhealthy_s=30, down_s=50, shed_s=20, absent_s=500), Aim.AVAILABILITY)
    assert one.value == 400 / 500
    assert next(one for one in verdicts(a_window(absent_s=1000)) if one.aim is Aim.AVAILABILITY).findings == ()


def test_a_one_shot_that_has_done_its_work_is_not_judged_by_availability() -> None:
    """What was completed for longer than it ran misses no availability; a service that was, for a while, is judged by the rest."""
    assert (
        next(one for one in verdicts(a_window(up_s=5, down_s=20, completed_s=975)) if one.aim is Aim.AVAILABILITY).findings
        == ()
    )
    one = finding(a_window(up_s=600, down_s=150, completed_s=250), Aim.AVAILABILITY)
    assert one.value == 600 / 750


def test_healthy_is_of_the_time_that_a_check_said_something() -> None:
    """Healthy is of the time in which a check said something; a service without one is not judged."""
    assert finding(a_window(up_s=1000, healthy_s=300, unhealthy_s=100), Aim.HEALTHY).value == 0.75
    assert next(one for one in verdicts(a_window(up_s=1000)) if one.aim is Aim.HEALTHY).met is None


def test_the_response_time_is_of_http_probes_alone() -> None:
    """The response time is judged of services with an HTTP probe; their error budget is the twentieth that may be slower."""
    window = a_window(up_s=1000)
    (service,) = window.services.values()
    service.answers = {bucket(0.1): 97, bucket(0.5): 3}
    assert next(one for one in verdicts(window) if one.aim is Aim.RESPONSE_TIME).findings == ()
    service.http = True
    one = finding(window, Aim.RESPONSE_TIME)
    assert (one.met, one.budget_ratio) == (True, pytest.approx(1 - 3 / 5))
    service.answers[bucket(0.5)] = 30
    assert finding(window, Aim.RESPONSE_TIME).met is False


def test_utilisation_is_what_is_not_exceeded_for_95_percent_of_the_time() -> None:
    """Utilisation of a phase is what it does not exceed for 95% of the time."""
    story = Story(AIMED)
    story.tick(0, {}, phases=(a_use(1, 700, 1000, 0.5),))
    story.tick(57, phases=(a_use(1, 990, 1000, 0.5),))
    story.tick(60)
    verdict = next(one for one in verdicts(story.window()) if one.aim is Aim.UTILISATION)
    assert [(one.subject, one.value, one.met) for one in verdict.findings] == [
        ("phase 1 memory", 0.7, True),
        ("phase 1 cpu", 0.5, True),
    ]
    assert verdict.met
    assert verdict.findings[0].budget_ratio == pytest.approx(0.0)


def test_only_what_the_file_sets_is_judged() -> None:
    """Only the objectives that the file sets are judged."""
    story = Story(CONFIG)
    story.tick(0, {"a": RUNNING})
    story.tick(10)
    assert verdicts(story.window()) == ()
    assert [one.aim for one in verdicts(story.window(), Targets(availability_ratio=0.5))] == [Aim.AVAILABILITY]
