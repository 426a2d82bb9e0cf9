"""Limits of services: what is proposed, changed, refused, written and shown. The engine's side is in tests/engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.snapshots import config, entry, inventory, key, services, snapshot

from guardian.compose.files import read_files
from guardian.config.schema import Config, Resources, ServiceConfig
from guardian.engine.limits import InForce, update_of
from guardian.expose.gauges import render
from guardian.ledger.entries import Means
from guardian.limits.drift import drifted
from guardian.limits.override import Override, override_text
from guardian.limits.plan import Change, Proposed, Row, changes, each, outcome, proposal_of
from guardian.model import Container, ContainerState, ServiceKey
from guardian.proposal.model import Use
from guardian.units import Bytes, Cores

MIB = 1 << 20
DB = ServiceKey("demo", "db")


def wants(memory_mib: int | None = None, cores: float | None = None) -> Resources:
    return Resources(
        memory=None if memory_mib is None else Bytes(memory_mib * MIB), cpus=None if cores is None else Cores(cores)
    )


def container(name: str = "db-1", state: ContainerState = ContainerState.RUNNING) -> Container:
    return Container(name, name, DB, state=state)


def row(now: InForce, wanted: Resources, reserved: Resources | None = None, one: Container | None = None) -> Row:
    return Row(DB, wanted, reserved or Resources(), ((one or container(), now),))


# --- proposals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "proposed"),
    [
        (None, Proposed(None, None)),
        (Use(60, 100 * MIB, 0.31), Proposed(160 * MIB, 0.65)),
        (Use(60, 100 * MIB, None, footprint_bytes=200 * MIB), Proposed(256 * MIB, None)),
        (Use(60, 1, 0.0), Proposed(32 * MIB, 0.1)),
        (Use(0, None, None), Proposed(None, None)),
    ],
)
def test_a_proposal_leaves_room_over_use(use: Use | None, proposed: Proposed) -> None:
    """A proposal is half again the memory used, never below what is held now and a quarter, and twice the CPU; unknown stays so."""
    assert proposal_of(use) == proposed


def test_use_of_replicas_is_split() -> None:
    """A service's use is that of its replicas together, and is split among them."""
    assert each(Use(9, 301, 0.9, 30), 3) == Use(9, 101, pytest.approx(0.3), 10)
    assert each(Use(9, None, None), 3) == Use(9)
    assert each(None, 3) is None


# --- changes --------------------------------------------------------------------------------------------------------


def test_only_what_differs_is_changed() -> None:
    """A container is changed only in what the file sets and what is not so; a stopped one not at all."""
    now = InForce(memory_bytes=64 * MIB, nano_cpus=500_000_000)
    assert changes([row(now, wants(64, 0.5)), row(now, wants())], {}, force=False) == []
    assert changes([row(now, wants(96, 0.5), Resources(memory=Bytes(32 * MIB)))], {}, force=False) == [
        Change(container(), 96 * MIB, 32 * MIB, None)
    ]
    stopped = container(state=ContainerState.EXITED)
    assert changes([row(now, wants(96), one=stopped)], {}, force=False) == []


@pytest.mark.parametrize(
    ("now", "held_mib", "refusal"),
    [
        (InForce(), 50, "the limit of 48.0 MiB is below the 50.0 MiB that it holds now"),
        (InForce(memory_bytes=64 * MIB), None, "what it holds now is not known"),
        (InForce(memory_bytes=64 * MIB), 47, ""),
        (InForce(memory_bytes=32 * MIB), None, ""),  # more room than before hurts nobody
    ],
)
def test_a_limit_that_might_end_a_container_is_refused(now: InForce, held_mib: int | None, refusal: str) -> None:
    """A memory limit that comes closer is refused below what is held, and where that is not known; --force asks all the same."""
    held = {"db-1": None if held_mib is None else held_mib * MIB}
    (change,) = changes([row(now, wants(48))], held, force=False)
    assert change.refused.startswith(refusal)
    assert bool(change.refused) == bool(refusal)
    (forced,) = changes([row(now, wants(48))], held, force=True)
    assert (forced.memory_bytes, forced.refused) == (48 * MIB, "")


def test_cpu_alone_needs_no_footprint() -> None:
    """A CPU limit is changed though nothing is known of memory."""
    (change,) = changes([row(InForce(memory_bytes=MIB), wants(None, 0.2))], {}, force=False)
    assert change == Change(container(), cores=0.2)


@pytest.mark.parametrize(
    ("now", "body"),
    [
        (InForce(), {"Memory": 96, "MemorySwap": 192, "NanoCpus": 500_000_000}),
        (InForce(64, 128, nano_cpus=1), {"Memory": 96, "MemorySwap": 192, "NanoCpus": 500_000_000}),
        (InForce(64, 80), {"Memory": 96, "MemorySwap": 112, "NanoCpus": 500_000_000}),
        (InForce(64, 64), {"Memory": 96, "MemorySwap": 96, "NanoCpus": 500_000_000}),
        (InForce(64, -1), {"Memory": 96, "MemorySwap": -1, "NanoCpus": 500_000_000}),
        (InForce(quota_us=10, period_us=50_000), {"Memory": 96, "MemorySwap": 192, "CpuQuota": 25_000}),
        (InForce(quota_us=10), {"Memory": 96, "MemorySwap": 192, "CpuQuota": 50_000}),
    ],
)
def test_an_update_keeps_swap_and_the_way_of_the_quota(now: InForce, body: dict[str, int]) -> None:
    """An update keeps the swap that a container may use, and sets CPU by the way that it was set by."""
    assert update_of(now, memory_bytes=96, cores=0.5) == body


def test_an_update_sets_only_what_is_asked_for() -> None:
    """An update names only what is to change."""
    assert update_of(InForce(64, 128), reservation_bytes=8) == {"MemoryReservation": 8}
    assert update_of(InForce(64, 128)) == {}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (InForce(memory_bytes=96, reservation_bytes=8, nano_cpus=500_000_000), ""),
        (InForce(memory_bytes=96, reservation_bytes=8, quota_us=50_001), ""),
        (InForce(memory_bytes=64, reservation_bytes=8, nano_cpus=500_000_000), "its memory limit is 64 B, not 96 B"),
        (InForce(memory_bytes=96, nano_cpus=500_000_000), "its memory reservation is none, not 8 B"),
        (InForce(memory_bytes=96, reservation_bytes=8), "its CPU limit is none, not 0.5"),
        (None, "it is gone"),
    ],
)
def test_a_change_counts_once_it_is_read_back(after: InForce | None, said: str) -> None:
    """A change has worked only where the engine says so afterwards."""
    assert outcome(Change(container(), 96, 8, 0.5), after) == said


# --- the Compose file -----------------------------------------------------------------------------------------------


def override(tmp_path: Path, text: str, *overrides: Override) -> str:
    file = tmp_path / "compose.yml"
    file.write_text(text)
    return override_text(read_files([file], tmp_path, {}), overrides)


def test_limits_stand_in_both_keys_and_keep_what_is_not_changed(tmp_path: Path) -> None:
    """Limits stand under `deploy` and in the older keys alike, with those that stay, as Compose v2 compares the two."""
    text = override(
        tmp_path,
        'version: "3.7"\nservices: {db: {image: postgres, cpus: 0.5, mem_reservation: 8m}}',
        Override("db", memory_bytes=96 * MIB + 1, why="memory proposed from its use"),
    )
    assert 'version: "3.7"' in text
    assert "  db:  # memory proposed from its use" in text
    for line in (
        "    mem_limit: 100663297b",
        "    mem_reservation: 8m",
        "    cpus: 0.5",
        "        limits: {memory: 100663297b, cpus: '0.5'}",
        "        reservations: {memory: 8m}",
    ):
        assert line in text.splitlines()


def test_an_override_over_its_base_reads_as_meant(tmp_path: Path) -> None:
    """Laid over its base, the override gives each service the limits that were meant, and the others nothing."""
    base = tmp_path / "compose.yml"
    base.write_text(
        "services: {api: {image: api, expose: ['8000/tcp'], pids_limit: 100}, db: {image: postgres, ports: [5432]}, x: {image: x}}"
    )
    project = read_files([base], tmp_path, {})
    output = tmp_path / "limits.yml"
    output.write_text(override_text(project, [Override("api", 64 * MIB, 32 * MIB, 0.5), Override("db"), Override("gone", MIB)]))
    whole = read_files([base, output], tmp_path, {}).services
    assert list(whole) == ["api", "db", "x"]
    api = whole["api"]
    assert (api.memory_limit_bytes, api.memory_reservation_bytes, api.cpu_limit_cores) == (64 * MIB, 32 * MIB, 0.5)
    assert [name for name, service in whole.items() if service.health_check] == ["api"]
    assert '["CMD", "curl", "-f", "http://localhost:8000/health"]' in output.read_text()
    assert "deploy" not in output.read_text()  # Compose v2 would want the limit of pids there too


def test_an_override_of_nothing_is_a_compose_file(tmp_path: Path) -> None:
    """Where nothing is to be written, the file is one that Compose takes all the same."""
    assert override(tmp_path, "services: {db: {image: postgres}}").endswith("services:\n  {}\n")


# --- drift ----------------------------------------------------------------------------------------------------------


def drift(limits: dict[str, Resources], found: dict[str, tuple[int | None, float | None]], **changes_: Any) -> dict[str, float]:
    """The metric's samples as `service/resource`, for a platform whose containers have these limits."""
    settings: Config = config()
    settings = Config(
        version=1,
        project=settings.project,
        phases=settings.phases,
        services={name: ServiceConfig(limits=one) for name, one in limits.items()},
    )
    seen = inventory(services())
    containers = tuple(
        replace(one, memory_limit_bytes=found[one.service.name][0], cpu_limit_cores=found[one.service.name][1])
        if one.service.name in found
        else one
        for one in seen.containers
    )
    whole = snapshot(config=settings, **changes_)
    whole = replace(whole, sample=replace(whole.sample, inventory=replace(seen, containers=containers)))
    return {
        f"{sample.labels['service']}/{sample.labels['resource']}": sample.value
        for metric in render(whole)
        for sample in metric.samples
        if sample.name == "guardian_service_limit_drift"
    }


def test_a_container_without_its_limits_shows_as_drift() -> None:
    """A running container with another limit than the file's, or none, shows as 1, one that has it as 0, others not at all."""
    assert drift(
        {"postgres": wants(512, 0.5), "redis": wants(64), "api": wants(None, 1.0)},
        {"postgres": (512 * MIB, None), "redis": (32 * MIB, 0.1), "api": (None, 1.0004)},
    ) == {"postgres/memory": 0, "postgres/cpu": 1, "redis/memory": 1, "api/cpu": 0}
    assert drift({}, {}) == {}


def test_limits_that_are_not_known_are_no_drift() -> None:
    """A container that was never inspected, so that its limits are not known, drifts from none."""
    wanted = ServiceConfig(limits=wants(512, 0.5))
    assert drifted(wanted, Container("a" * 64, "web", key("web"), unread=True, unknown=True)) == {}
    assert drifted(wanted, Container("a" * 64, "web", key("web"))) == {"memory": True, "cpu": True}


def test_a_quota_that_guardian_lowered_is_no_drift() -> None:
    """While guardian throttles a service, its CPU quota is no drift; its memory is."""
    throttled = entry(key("postgres"), 0.0, means=Means.THROTTLE)
    limits, found = {"postgres": wants(512, 0.5)}, {"postgres": (None, 0.1)}
    assert drift(limits, found, entries=(throttled,)) == {"postgres/memory": 1}
    assert drift(limits, found) == {"postgres/memory": 1, "postgres/cpu": 1}
