"""What the figures have to reach, as data, and whether they do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bench.figures import CADVISOR, DOCKER_STATS, GLANCES, GUARDIAN, KINDS, Figure
from bench.stats import Summary

LINEAR_SLACK = 1.25  # a measured cost scatters: so much above proportional still counts as linear


@dataclass(frozen=True, slots=True)
class Target:
    """guardian's figure at this size is at most `limit`, in the figure's unit."""

    kind: str
    size: int
    limit: float
    statistic: Literal["median", "p99"] = "median"
    strict: bool = False  # below, not at most


@dataclass(frozen=True, slots=True)
class RatioTarget:
    """The peer's figure is at least `factor` times guardian's, at every size from `from_size` on."""

    kind: str
    peer: str
    factor: float
    from_size: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`met` None: not measured."""

    what: str
    limit: str
    measured: str
    met: bool | None


TARGETS = (
    Target("cpu", 32, 3.0),  # 0.3% of a core
    Target("cpu", 300, 10.0),
    Target("cpu", 1000, 30.0),
    Target("sampling", 32, 0.6),
    Target("sampling", 300, 5.0),
    Target("sampling", 1000, 18.0),
    Target("tick", 32, 0.4),
    Target("tick", 300, 1.0),
    Target("tick", 1000, 3.0),
    Target("decision_hard", 32, 2.0),
    Target("decision_hard", 300, 15.0),
    Target("decision_hard", 1000, 60.0),
    Target("rss_hour", 32, 52.0),
    Target("rss_hour", 300, 60.0),
    Target("rss_hour", 1000, 80.0),
    Target("rss", 32, 52.0),
    Target("rss", 300, 60.0),
    Target("rss", 1000, 80.0),
    Target("rss_growth", 32, 1.0, strict=True),
    Target("rss_growth", 300, 1.0, strict=True),
    Target("reaction", 32, 150.0, "p99"),
    Target("reaction", 300, 200.0, "p99"),
    Target("scrape", 32, 10.0),
    Target("scrape", 300, 60.0),
    Target("scrape", 1000, 200.0),
    Target("ready", 32, 1500.0),
    Target("ready", 300, 4000.0),
)

RATIO_TARGETS = (
    RatioTarget("sampling_cpu", DOCKER_STATS, 100.0),
    RatioTarget("cpu", GLANCES, 10.0),
    RatioTarget("cpu", CADVISOR, 3.0),
    RatioTarget("rss", GLANCES, 1.0),
    RatioTarget("rss", CADVISOR, 1.0, from_size=300),
)


class Measured:
    """All figures, to be found by kind, subject and size."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = {(one.kind, one.subject, one.size): one for one in figures}

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def find(self, kind: str, size: int, subject: str = GUARDIAN) -> Summary | None:
        figure = self._figures.get((kind, subject, size))
        return None if figure is None else figure.summary

    def sizes(self, kind: str, subject: str = GUARDIAN) -> list[int]:
        return sorted(size for found, of, size in self._figures if (found, of) == (kind, subject))


def judge_targets(measured: Measured) -> list[Verdict]:
    return [_judge(target, measured) for target in TARGETS]


def _judge(target: Target, measured: Measured) -> Verdict:
    kind = KINDS[target.kind]
    statistic = "" if target.statistic == "median" else f", {target.statistic}"
    what, limit = f"{kind.title}{statistic}, {target.size:,}", f"{'<' if target.strict else '≤'} {target.limit:g} {kind.unit}"
    summary = measured.find(target.kind, target.size)
    if summary is None:
        return Verdict(what, limit, "not measured", None)
    value = getattr(summary, target.statistic)
    met = value < target.limit if target.strict else value <= target.limit
    return Verdict(what, limit, f"{number(value)} {kind.unit}", met)


def judge_ratios(measured: Measured) -> list[Verdict]:
    """One verdict for each ratio and size at which both sides were measured; one without where they never were."""
    verdicts = []
    for target in RATIO_TARGETS:
        kind = KINDS[target.kind]
        wanted = "more than guardian's" if target.factor == 1.0 else f"≥ {target.factor:g} × guardian's"
        found = False
        for size in measured.sizes(target.kind):
            peer = measured.find(target.kind, size, target.peer)
            if size < target.from_size or peer is None:
                continue
            found = True
            ratio = ratio_of(peer, measured.find(target.kind, size))
            met = None if ratio is None else ratio > 1.0 if target.factor == 1.0 else ratio >= target.factor
            shown = "not measured" if ratio is None else f"{number(ratio)} ×"
            verdicts.append(Verdict(f"{target.peer}: {kind.title}, {size:,}", wanted, shown, met))
        if not found:
            verdicts.append(Verdict(f"{target.peer}: {kind.title}", wanted, "not measured", None))
    return verdicts


def ratio_of(peer: Summary, own: Summary | None) -> float | None:
    """How many times guardian's median the peer's is; None where guardian's is nothing, or not known."""
    return None if own is None or own.median <= 0 else peer.median / own.median


def judge_growth(measured: Measured) -> list[Verdict]:
    """Each cost from one size to the next: no faster than the number of containers."""
    verdicts = []
    for name, kind in KINDS.items():
        if not kind.growth:
            continue
        for smaller, larger in pairwise(measured.sizes(name)):
            before, after = measured.find(name, smaller), measured.find(name, larger)
            if before is None or after is None or before.median <= 0:
                continue
            grew, containers = after.median / before.median, larger / smaller
            verdicts.append(
                Verdict(
                    f"{kind.title}, {smaller:,} → {larger:,}",
                    f"≤ {containers:.3g} ×",
                    f"{number(grew)} ×",
                    grew <= containers * LINEAR_SLACK,
                )
            )
    return verdicts


def per_container(measured: Measured, kind: str) -> float | None:
    """What each further container adds: the slope of a straight line through the medians of all sizes (least squares)."""
    points = [(size, summary.median) for size in measured.sizes(kind) if (summary := measured.find(kind, size)) is not None]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 1,234."""
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
