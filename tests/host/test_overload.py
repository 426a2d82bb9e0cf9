"""The overload, on a host of 4 GiB with Docker, systemd and cgroup v2, while guardian enforces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from host.guarded import GUARDIAN, Host
from host.scenarios import CORE, ENDLESS, HOGS, MIB, OVERLOAD, PHASES, Run, Scenario, quantile_s, run

RECOVER, SOFT = 0.70, 0.80  # of the reference configuration
USEFUL_BYTES = 16 * MIB
LEAST_JUDGED = 0.25  # of the probes


@dataclass(frozen=True, slots=True)
class Guarded:
    """A run that guardian saw, and what it says of it itself."""

    run: Run
    history: list[dict[str, Any]]
    status: dict[str, Any]
    footprint_bytes: dict[str, int]  # before
    log: list[str]

    @property
    def sheds(self) -> list[str]:
        """What it says that it stopped, in order; of a stop without an answer, once it has found out."""
        asked = [_service(row) for row in self.history if row["action"] == "shed"]
        known = {_service(row) for row in self.history if row["result"] == ("done" if row["action"] == "shed" else "ours")}
        return [service for service in dict.fromkeys(asked) if service in known]

    @property
    def decisions(self) -> list[set[str]]:
        """The services that each of its decisions chose to stop, in order, by its log."""
        lines = [json.loads(line) for line in self.log if line.startswith("{")]
        chosen = [line["chosen"] for line in lines if line["event"] == "decision"]
        sheds = [{_service(one) for one in actions if one["action"] == "shed"} for actions in chosen]
        return [services for services in sheds if services]


def _service(row: dict[str, Any]) -> str:
    return str(row["service"]).partition("/")[2]


def _guarded(host: Host, scenario: Scenario, record: Callable[[str, object], None]) -> Guarded:
    # The emulated CPU is slow enough to be short by itself: this is about memory.
    host.configure(mode="enforce", thresholds={"cpu": "off"})
    host.await_(lambda: _enforces(host), "guardian enforces and knows every footprint", 180)
    before = {one["service"].partition("/")[2]: one["footprint_bytes"] for one in host.status()["services"]}
    cpu_s = _cpu_s(host)
    measured = run(host, scenario)
    cpu_s = _cpu_s(host) - cpu_s
    log = host.must("journalctl", "--unit", "guardian", "--output", "cat", "--no-pager", "--lines", "1000").splitlines()
    guarded = Guarded(measured, host.history(), host.status(), before, log)
    name = scenario.name.replace(" ", "-")
    own = {"guarded_by": "guardian", "shed": guarded.sheds, "guardian_cpu_s": round(cpu_s, 1)}
    record(f"overload-{name}-guardian", {**measured.figures(), **own})
    record(f"seen-{name}-guardian", {"history": guarded.history, "memory": measured.memory, "log": log})
    return guarded


def _cpu_s(host: Host) -> float:
    """CPU that guardian has used, on an emulated CPU."""
    return int(host.unit("CPUUsageNSec")["CPUUsageNSec"]) / 1e9


def _enforces(host: Host) -> bool:
    status = host.status()
    return status["mode"] == "enforce" and all(one["footprint_bytes"] for one in status["services"])


@pytest.fixture(
    scope="module",
    params=[pytest.param(OVERLOAD, marks=pytest.mark.one_boot), *HOGS],
    ids=lambda scenario: scenario.name,
)
def guarded(request: pytest.FixtureRequest, resume: Callable[[str], Host], record: Callable[[str, object], None]) -> Guarded:
    return _guarded(resume(GUARDIAN), request.param, record)


@pytest.fixture(scope="module")
def endless(resume: Callable[[str], Host], record: Callable[[str, object], None]) -> Guarded:
    return _guarded(resume(GUARDIAN), ENDLESS, record)


def test_the_kernel_kills_nothing(guarded: Guarded) -> None:
    """The kernel's OOM killer ends no process."""
    assert guarded.run.kernel == []
    assert [event for event in guarded.run.events if event[2] == "oom"] == []


def test_no_core_container_ends(guarded: Guarded) -> None:
    """No container of phase 1 ends."""
    assert [death for death in guarded.run.deaths if death[1] in CORE] == []


def test_the_core_answers_every_probe(guarded: Guarded) -> None:
    """Every core service answers each of two probes a second, 99 of 100 within 200 ms: as long as the emulator runs at all."""
    probes = guarded.run.undisturbed()
    assert len(probes) >= LEAST_JUDGED * len(guarded.run.asked), "the machine is too busy: the emulator stood still too often"
    assert [probe for probe in probes if probe[2] is None] == []
    assert quantile_s(probes, 0.99) < 0.2


def test_what_ends_is_what_guardian_shed(guarded: Guarded) -> None:
    """Every container that ends was shed by guardian, and it says so; what it says that it shed has ended."""
    assert {service for _, service in guarded.run.deaths} == set(guarded.sheds)


def test_it_sheds_by_phase(guarded: Guarded) -> None:
    """Nothing useful of a higher phase is left running where one of a lower phase was shed."""
    lowest = min(PHASES[service] for service in guarded.sheds)
    useful = {service for service, held in guarded.footprint_bytes.items() if PHASES[service] > lowest and held >= USEFUL_BYTES}
    assert useful <= set(guarded.sheds)


def test_only_what_was_needed_is_shed(guarded: Guarded) -> None:
    """Without the last one that was shed in the lowest phase, the host would have come back above its recover mark."""
    last = next(
        service for service in reversed(guarded.sheds) if PHASES[service] == min(map(PHASES.__getitem__, guarded.sheds))
    )
    freed = next(
        row["measured_relief_bytes"] or row["expected_relief_bytes"]
        for row in guarded.history
        if row["action"] == "shed" and _service(row) == last
    )
    total = guarded.run.total_bytes
    assert total - guarded.run.least_available_bytes_since_the_end_of(last) + freed >= (RECOVER - 0.01) * total


def test_the_host_ends_below_its_soft_mark(guarded: Guarded) -> None:
    """At the end, with all that grew still held or shed, memory is below the soft mark, and nothing is exhausted."""
    host = guarded.status["host"]
    assert 1 - host["memory_available_bytes"] / host["memory_total_bytes"] < SOFT
    assert not guarded.status["exhausted"]


# --- one that never ends --------------------------------------------------------------------------------------------


def test_everything_below_the_core_is_shed_in_order(endless: Guarded) -> None:
    """A core service that grows for ever costs all that is useful of the phases above it, 5 before 4 before 3 before 2, and nothing else is stopped."""
    useful = {service for service, held in endless.footprint_bytes.items() if PHASES[service] > 1 and held >= USEFUL_BYTES}
    assert useful <= set(endless.sheds)
    assert not set(endless.sheds) & set(CORE)
    chosen: set[str] = set()
    for decision in endless.decisions:
        chosen |= decision
        lowest = min(PHASES[service] for service in decision)
        assert {service for service in useful if PHASES[service] > lowest} <= chosen


def test_it_says_that_it_is_exhausted(endless: Guarded) -> None:
    """When nothing is left to shed, it says so as an error."""
    assert [line for line in endless.log if '"exhausted: ' in line] != []


def test_the_kernels_victim_is_recorded(endless: Guarded) -> None:
    """What the kernel then ends stands in the figures: the one that grew, and no other core service."""
    assert {service for _, _, service in endless.run.kernel} == {"api"}
