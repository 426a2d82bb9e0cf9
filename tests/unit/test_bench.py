"""The pure parts of `make bench`: what it makes of numbers, and how it judges them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import yaml
from bench.calls import calls_made, share
from bench.figures import CADVISOR, DOCKER_STATS, GLANCES, GUARDIAN, KINDS, Figure
from bench.reaction import FAN_OUT, independent_services
from bench.report import page, table
from bench.results import Run, from_json, merged, to_json
from bench.stage import extra_names, settings
from bench.stats import Summary, percentile, summarise
from bench.targets import (
    RATIO_TARGETS,
    TARGETS,
    Measured,
    Verdict,
    judge_growth,
    judge_ratios,
    judge_targets,
    number,
    per_container,
)
from support.platform import reference_services

from guardian.config.load import loads


def figure(kind: str, value: float, size: int = 32, subject: str = GUARDIAN) -> Figure:
    return Figure(kind, subject, size, summarise([value]))


def run(part: str, *figures: Figure, size: int = 32, at: str = "2026-01-01 00:00 UTC", commit: str = "abc") -> Run:
    return Run(part, size, at, "make bench", commit, {"cores": "2"}, 90.0, figures)


def verdict_on(kind: str, value: float, size: int = 32) -> Verdict:
    """Of the one target for this kind and size."""
    title = f"{KINDS[kind].title}, {size:,}"
    return next(one for one in judge_targets(Measured([figure(kind, value, size)])) if one.what == title)


def ratios(*figures: Figure) -> Mapping[str, bool | None]:
    return {one.what: one.met for one in judge_ratios(Measured(figures))}


# --- numbers --------------------------------------------------------------------------------------------------------


def test_a_summary_has_least_median_and_most() -> None:
    """A summary has the least, the median and the greatest of the runs, in whatever order they came."""
    assert summarise([3.0, 1.0, 2.0, 10.0]) == Summary(count=4, least=1.0, median=2.5, p99=10.0, most=10.0)


def test_no_run_is_no_figure() -> None:
    """Without a run there is no figure, not even zero."""
    with pytest.raises(ValueError, match="no run"):
        summarise([])


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (50, 50), (100, 99), (200, 198)])
def test_a_percentile_is_a_run_that_was_seen(count: int, expected: int) -> None:
    """The 99th percentile is the smallest run that 99% of all do not exceed: of 50 runs the slowest."""
    assert percentile(list(range(count, 0, -1)), 0.99) == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0004, "4.0e-04"),
        (0.0123, "0.0123"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (-3.21, "-3.21"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    """A number is shown with three digits that count."""
    assert number(value) == shown


# --- targets --------------------------------------------------------------------------------------------------------


def test_every_target_is_of_a_known_kind() -> None:
    """Every target and ratio is about a kind of figure that there is."""
    assert {target.kind for target in TARGETS} | {target.kind for target in RATIO_TARGETS} <= KINDS.keys()


def test_a_target_is_met_at_its_limit() -> None:
    """A figure at its limit meets the target, and one above does not."""
    assert verdict_on("sampling", 0.6).met is True
    assert verdict_on("sampling", 0.61).met is False


def test_a_target_below_is_not_met_at_its_limit() -> None:
    """Where the target says less than, a figure at the limit does not meet it."""
    assert verdict_on("rss_growth", 0.99).met is True
    assert verdict_on("rss_growth", 1.0).met is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    """A target whose figure was not measured is said to be so, at each size by itself."""
    measured = Measured([figure("sampling", 0.1, 32)])
    verdicts = {one.what: one for one in judge_targets(measured)}
    assert (verdicts["one sampling of all containers, 300"].met, verdicts["one sampling of all containers, 300"].measured) == (
        None,
        "not measured",
    )
    assert len(verdicts) == len(TARGETS)


def test_the_reaction_is_judged_by_its_slowest() -> None:
    """The reaction's target is about the 99th percentile, not the median."""
    slow = Figure("reaction", GUARDIAN, 32, Summary(50, 20.0, 60.0, 151.0, 151.0))
    verdict = next(one for one in judge_targets(Measured([slow])) if one.what.endswith("p99, 32"))
    assert (verdict.met, verdict.measured) == (False, "151 ms")


def test_a_ratio_needs_both_sides() -> None:
    """A peer is compared at each size at which both were measured; where guardian was not, nothing is said."""
    found = ratios(figure("cpu", 2.0), figure("cpu", 20.0, subject=GLANCES), figure("cpu", 50.0, 300, GLANCES))
    assert found["Glances: CPU, with the engine's share, 32"] is True
    assert "Glances: CPU, with the engine's share, 300" not in found
    assert found["cAdvisor: CPU, with the engine's share"] is None


def test_a_ratio_below_its_factor_is_not_met() -> None:
    """A peer that takes less than so many times guardian's does not meet the ratio."""
    assert (
        ratios(figure("cpu", 2.0), figure("cpu", 5.9, subject=CADVISOR))["cAdvisor: CPU, with the engine's share, 32"] is False
    )
    sampled = ratios(figure("sampling_cpu", 0.5), figure("sampling_cpu", 50.0, subject=DOCKER_STATS))
    assert sampled["docker stats: CPU of one sampling, with the engine's share, 32"] is True


def test_as_much_memory_is_not_less() -> None:
    """A peer that takes just what guardian takes is not more."""
    assert ratios(figure("rss", 50.0), figure("rss", 50.0, subject=GLANCES))["Glances: memory: RSS, 32"] is False


def test_a_ratio_may_begin_at_a_size() -> None:
    """The memory of cAdvisor is compared from 300 containers on."""
    figures = [figure("rss", 50.0, size, subject) for size in (32, 300) for subject in (GUARDIAN, CADVISOR)]
    assert [what for what in ratios(*figures) if what.startswith("cAdvisor: memory")] == ["cAdvisor: memory: RSS, 300"]


def test_growth_is_compared_from_size_to_size() -> None:
    """A cost may grow as the containers do, from each size to the next, with a quarter of slack for scatter."""
    measured = Measured([figure("sampling", value, size) for value, size in ((1.0, 10), (4.0, 32), (13.0, 100))])
    assert [(one.what, one.met) for one in judge_growth(measured)] == [
        ("one sampling of all containers, 10 → 32", True),
        ("one sampling of all containers, 32 → 100", True),
    ]
    squared = Measured([figure("sampling", size**2 / 1000, size) for size in (10, 32)])
    assert [one.met for one in judge_growth(squared)] == [False]


def test_the_cost_of_a_further_container_is_a_slope() -> None:
    """What each further container costs is the slope through all sizes; with one size there is none."""
    sizes = (10, 32, 100, 300)
    assert per_container(Measured([figure("rss", 40 + 0.05 * size, size) for size in sizes]), "rss") == pytest.approx(0.05)
    assert per_container(Measured([figure("rss", 40.0)]), "rss") is None


# --- results and page -----------------------------------------------------------------------------------------------


def test_results_survive_their_file() -> None:
    """What is written as JSON is read back the same."""
    runs = merged(
        {}, [run("calm", figure("cpu", 1.5), figure("rss", 50.0, subject=GLANCES)), run("ticks", figure("tick", 0.1))]
    )
    assert from_json(to_json(runs)) == runs


def test_a_later_run_replaces_the_same_part_alone() -> None:
    """A part that is measured again replaces what it said before at that size, and nothing else."""
    before = merged({}, [run("calm", figure("cpu", 1.0)), run("calm", figure("cpu", 9.0, 300), size=300)])
    after = merged(before, [run("calm", figure("cpu", 2.0), commit="def")])
    assert [(name, one.figures[0].summary.median) for name, one in sorted(after.items())] == [
        ("calm/300", 9.0),
        ("calm/32", 2.0),
    ]


def test_the_page_says_what_is_met_and_what_is_not() -> None:
    """The page has a line for each target, with what was measured and whether that meets it."""
    text = page(merged({}, [run("calm", figure("sampling", 0.5), figure("ready", 2000.0))]))
    assert "| one sampling of all containers, 32 | ≤ 0.6 ms | 0.5 ms | met |" in text
    assert "| start to READY, 32 | ≤ 1500 ms | 2,000 ms | **not met** |" in text
    assert "| start to READY, 300 | ≤ 4000 ms | not measured | not measured |" in text


def test_the_page_shows_peers_as_ratios() -> None:
    """A peer's figure stands below guardian's with how many times that it is."""
    text = page(merged({}, [run("calm", figure("cpu", 2.0), figure("cpu", 50.0, subject=GLANCES))]))
    assert "| guardian | 2 |\n| Glances | 50 (25 ×) |" in text


def test_the_page_has_what_a_person_says_of_it() -> None:
    """Notes written by hand stand before the figures."""
    text = page(merged({}, [run("calm", figure("cpu", 2.0))]), "## Notes\n\nMost of it is reading.\n")
    assert text.index("## Growth") < text.index("Most of it is reading.") < text.index("## Figures")


def test_the_page_names_every_machine_and_commit() -> None:
    """Where parts were measured on different commits or days, the page says so."""
    runs = [run("calm", figure("cpu", 2.0)), run("ticks", figure("tick", 0.1), at="2026-01-02 00:00 UTC", commit="def")]
    text = page(merged({}, runs))
    assert "- measured: 2026-01-01 00:00 UTC to 2026-01-02 00:00 UTC\n- commit: abc, def\n" in text


def test_the_page_says_how_long_it_takes() -> None:
    """The page says how many minutes all parts took together."""
    runs = [run("calm", figure("cpu", 2.0)), run("ticks", figure("tick", 0.1)), run("growth", figure("rss_growth", 0.1))]
    assert "takes about 5 minutes" in page(merged({}, runs))


def test_a_table_is_markdown() -> None:
    """A table has a head, a line below it, and its rows."""
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"


# --- the stage ------------------------------------------------------------------------------------------------------


def test_the_configuration_lists_just_what_runs() -> None:
    """The reference file is cut down to the services that run, and what is not in it joins the last phase."""
    names = ("postgres", "grafana", "extra-001")
    config = loads(settings("unix:///x.sock", names, {"mode": "enforce"}), "bench")
    assert [(phase.phase, phase.services) for phase in config.phases if phase.services] == [
        (1, ("postgres",)),
        (5, ("grafana", "extra-001")),
    ]
    assert (config.engine.url, config.mode) == ("unix:///x.sock", "enforce")
    assert yaml.safe_load(settings("auto", names, {}))["services"] == {}


def test_small_services_make_up_the_number() -> None:
    """Beyond the 32 services of the reference platform there are as many small ones as are wanted."""
    assert extra_names(32) == extra_names(10) == ()
    assert extra_names(34) == ("extra-001", "extra-002")


def test_services_that_stop_together_need_not_wait_for_one_another() -> None:
    """The services of the fan-out do not depend on one another."""
    chosen = independent_services(FAN_OUT)
    depends = {service.name: set(service.depends_on) for service in reference_services()}
    assert len(set(chosen)) == FAN_OUT
    assert not any(depends[name] & set(chosen) for name in chosen)


def test_an_engines_share_is_calls_times_cost() -> None:
    """What guardian costs an engine is each call made since the first reading, times what it costs; an open stream is no call."""
    name = "guardian_engine_request_duration_seconds_count"

    def samples(**counts: float) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {(name, frozenset({("operation", operation)})): count for operation, count in counts.items()}

    made = calls_made(samples(ping=3, list=1, events=1), samples(ping=15, list=1, events=2, inspect=4))
    assert made == {"ping": 12, "inspect": 4}
    assert share(made, {"ping": 0.5, "inspect": 3.0}, 60.0) == pytest.approx(0.3)
