"""The overloads of the emulated host: who grows, how far and how fast, and what a run of one came to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml
from host.guarded import Host
from host.payload import ROOT
from support.platform import reference_services

MIB = 1024 * 1024
MB = 1_000_000
PHASES = {
    service: phase["phase"]
    for phase in yaml.safe_load((ROOT / "config" / "guardian.yaml").read_text())["phases"]
    for service in phase["services"]
}
CORE = tuple(service for service, phase in PHASES.items() if phase == 1)
HELD_BYTES = {service.name: service.memory_bytes for service in reference_services()}
LIMITED = {service.name for service in reference_services() if service.memory_limit_bytes is not None}
OUTSIDE = "outside"  # a stand-in that is no container
PATIENCE_S = 2.0  # of guest/overload.py
ENDLESS_BYTES = 64 * 1024 * MIB


Probe = tuple[float, str, float | None]  # when it was sent, to whom, and the latency; None: no answer within PATIENCE_S


@dataclass(frozen=True, slots=True)
class Growth:
    """`by_bytes` more than it holds, or in all where it holds nothing before."""

    service: str
    by_bytes: int
    bytes_per_s: int

    def order(self) -> dict[str, object]:
        return {
            "service": self.service,
            "to_bytes": HELD_BYTES.get(self.service, 0) + self.by_bytes,
            "bytes_per_s": self.bytes_per_s,
        }


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    growths: tuple[Growth, ...]
    watch_s: float
    idle_s: float = 30.0


def _up_to(service: str, bytes_: int, bytes_per_s: int) -> Growth:
    return Growth(service, bytes_ - HELD_BYTES.get(service, 0), bytes_per_s)


OVERLOAD = Scenario(
    "overload",
    (
        Growth("postgres", 500 * MB, 8 * MB),
        Growth("etl-service", 400 * MB, 12 * MB),
        Growth("analytics-service", 400 * MB, 12 * MB),
        Growth("scraper-service", 200 * MB, 6 * MB),
    ),
    watch_s=130.0,
)
HOGS = (
    Scenario("hog in phase 3", (_up_to("search-service", 900 * MB, 200 * MB),), watch_s=60.0),
    Scenario("hog in phase 1", (_up_to("api", 900 * MB, 200 * MB),), watch_s=60.0),
    Scenario("hog outside Docker", (_up_to(OUTSIDE, 900 * MB, 200 * MB),), watch_s=60.0),
)
ENDLESS = Scenario("hog without end", (_up_to("api", ENDLESS_BYTES, 50 * MB),), watch_s=120.0)


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured; times in seconds since the growths began."""

    scenario: Scenario
    probes: list[Probe]
    memory: list[tuple[float, int, float]]
    kernel: list[tuple[float, str, str]]
    events: list[tuple[float, str, str, str | None]]
    stalls: list[tuple[float, float]]
    late_s: float
    total_bytes: int

    def latency_s(self, quantile: float, idle: bool = False) -> float:
        """Of the answers of the core services, before the growths (`idle`) or from their begin."""
        return quantile_s([probe for probe in self.probes if (probe[0] < 0) == idle], quantile)

    @property
    def asked(self) -> list[Probe]:
        """The probes from the begin of the growths."""
        return [probe for probe in self.probes if probe[0] >= 0]

    def undisturbed(self) -> list[Probe]:
        """Those of `asked` during which the emulator, slow as it is, stood still at no time."""
        return [probe for probe in self.asked if not self._stood_still(probe[0], probe[2])]

    def _stood_still(self, sent_s: float, latency_s: float | None) -> bool:
        until_s = sent_s + (PATIENCE_S if latency_s is None else latency_s)
        return any(at_s < until_s and sent_s < at_s + lasted_s for at_s, lasted_s in self.stalls)

    @property
    def unanswered(self) -> list[tuple[float, str]]:
        return [(at_s, service) for at_s, service, latency in self.probes if latency is None]

    @property
    def deaths(self) -> list[tuple[float, str]]:
        """When containers ended, in order."""
        return [(at_s, service) for at_s, service, what, _ in self.events if what == "die" and at_s >= 0]

    @property
    def highest_ratio(self) -> float:
        return 1 - min(available for at_s, available, _ in self.memory if at_s >= 0) / self.total_bytes

    @property
    def fastest_fall_bytes_per_s(self) -> float:
        """Of available memory, from one sample to the fourth after it: what an emulated CPU made of the rates that were asked for."""
        falls = [(one[1] - other[1]) / (other[0] - one[0]) for one, other in zip(self.memory, self.memory[4:], strict=False)]
        return max(falls)

    def least_available_bytes_since_the_end_of(self, service: str) -> int:
        """Until the first container is started again."""
        ended_s = max(at_s for at_s, one in self.deaths if one == service)
        started_s = min((at_s for at_s, _, what, _ in self.events if what == "start" and at_s > ended_s), default=float("inf"))
        return min(available for at_s, available, _ in self.memory if ended_s < at_s < started_s)

    def figures(self) -> dict[str, Any]:
        """What the report shows of it."""
        return {
            "scenario": self.scenario.name,
            "ended": [f"{service} {at_s:.0f}s" for at_s, service in self.deaths],
            "core_ended": [service for _, service in self.deaths if PHASES.get(service) == 1],
            "kernel_oom_kills": [f"{service} {at_s:.0f}s{_where(constraint)}" for at_s, constraint, service in self.kernel],
            "probes": len(self.probes),
            "unanswered": len(self.unanswered),
            "p50_idle_s": self.latency_s(0.50, idle=True),
            "p99_idle_s": self.latency_s(0.99, idle=True),
            "p50_s": self.latency_s(0.50),
            "p99_s": self.latency_s(0.99),
            "worst_s": self.latency_s(1.0),
            "memory_before_ratio": round(1 - self.memory[0][1] / self.total_bytes, 3),
            "memory_highest_ratio": round(self.highest_ratio, 3),
            "fastest_fall_bytes_per_s": round(self.fastest_fall_bytes_per_s),
            "prober_late_s": self.late_s,
            "stalled_s": round(sum(lasted_s for at_s, lasted_s in self.stalls if at_s >= 0), 1),
            "undisturbed": len(self.undisturbed()),
        }


def _where(constraint: str) -> str:
    """What was short of memory, as the kernel has it; nothing to say where that was the host."""
    return "" if constraint == "CONSTRAINT_NONE" else f" ({constraint})"


def quantile_s(probes: list[Probe], quantile: float) -> float:
    """Of their latencies; an answer that was not given in time took for ever."""
    taken = sorted(float("inf") if latency is None else latency for _, _, latency in probes)
    return taken[min(len(taken) - 1, int(quantile * len(taken)))]


def start_outside(host: Host, memory: str) -> None:
    """A stand-in that is no container, holding `memory`: the unit `outside`, below system.slice as any service of the host."""
    settings = (f"--setenv=STANDIN_MEMORY={memory}", "--setenv=STANDIN_SOCKET=/run/outside.sock")
    host.must("systemd-run", "--unit=outside", *settings, "/srv/in/standin")


def run(host: Host, scenario: Scenario) -> Run:
    """Make the overload and measure it."""
    # A container at its own limit is ended for that, whoever guards the host: here it is the host that runs short.
    for growth in scenario.growths:
        if growth.service in LIMITED:
            host.must("docker", "update", "--memory", "2g", "--memory-swap", "2g", f"openpolicy-{growth.service}-1")
    if any(growth.service == OUTSIDE for growth in scenario.growths):
        start_outside(host, "0")
    request = {
        "idle_s": scenario.idle_s,
        "watch_s": scenario.watch_s,
        "probe": CORE,
        "growths": [growth.order() for growth in scenario.growths],
    }
    timeout_s = scenario.idle_s + scenario.watch_s + 120
    out = host.must("python3", "-I", "/srv/in/overload.py", stdin=json.dumps(request), timeout_s=timeout_s)
    measured = json.loads(out)
    total_kib = int(host.sh("grep -oP 'MemTotal: +\\K[0-9]+' /proc/meminfo"))
    parts = {name: [tuple(row) for row in measured[name]] for name in ("probes", "memory", "kernel", "events", "stalls")}
    return Run(scenario, **parts, late_s=measured["late_s"], total_bytes=total_kib * 1024)
