"""Faults of containers and of what an engine says of them, on the real engine: `support.promises` says what is promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.daemon import GuardianProcess, in_view_of
from support.disks import frozen, small_disk
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.processes import Processes
from support.promises import GONE_WRONG, answer, did_nothing, is_as_promised, is_of, restores, sheds
from support.socket_proxy import Recorded, SocketProxy
from support.waiting import PATIENCE_S, eventually

Make = Callable[..., GuardianProcess]
LIMIT_BYTES = 128 * MIB  # of the victim: it holds 80 MiB


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disk")) as disk:
        yield disk


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine, disk: Path) -> Iterator[ReferencePlatform]:
    """The victim ignores SIGTERM, has its cache on a disk that can be made to hang, and a memory limit of its own."""
    platform = ReferencePlatform(
        standin_engine.url,
        only=small.SERVICES,
        restart_policy="always",
        environment={small.VICTIM: {"STANDIN_STOP": "ignore", "STANDIN_CACHE_FILE": "/disk/cache"}},
        options={small.VICTIM: {"HostConfig": {"Binds": [f"{disk}:/disk"], "Memory": LIMIT_BYTES, "MemorySwap": LIMIT_BYTES}}},
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def settings(proxy: SocketProxy) -> dict[str, Any]:
    """Stops have a second, and calls three: what a busy engine takes for a start."""
    settings = small.small_settings(proxy.url)
    settings["engine"]["timeout"] = "3s"
    settings["services"][small.VICTIM] = {"stop_timeout": "1s"}
    return settings


@pytest.fixture
def guardian(make_guardian: Make, platform: ReferencePlatform, settings: dict[str, Any]) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    small.after_ticks(guardian, 2)
    return guardian


@pytest.fixture
def patient(make_guardian: Make, platform: ReferencePlatform, settings: dict[str, Any]) -> GuardianProcess:
    """A guardian that waits for a stop for as long as a busy engine may take for what a test does meanwhile."""
    settings["engine"]["timeout"] = "60s"
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    small.after_ticks(guardian, 2)
    return guardian


@pytest.fixture
def rebuilt(platform: ReferencePlatform) -> Iterator[ReferencePlatform]:
    """The platform, whose victim is there again afterwards."""
    yield platform
    if small.VICTIM not in platform.states():
        platform.create(small.VICTIM)


def sheds_ended(guardian: GuardianProcess, *results: str) -> float:
    return sum(guardian.metric("guardian_actions_total", action="shed", result=one) for one in results)


def test_a_container_that_ignores_its_stop_and_restarts_always_is_shed_and_restored(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A container that ignores SIGTERM, and that the engine would always restart, is killed after its grace, stays down and is restored."""
    is_as_promised(guardian, platform, proxy)
    assert guardian.metric("guardian_event_stream_reconnects_total") == 0


def test_a_container_that_cannot_be_killed_is_not_counted_as_shed(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, disk: Path, processes: Processes
) -> None:
    """A container that not even SIGKILL ends counts as failed and is neither shed nor relief; others are shed instead, and all comes back."""
    with frozen(disk):
        platform.order(small.VICTIM, "cache", "1MiB")
        eventually(lambda: processes.hangs(small.VICTIM), "it waits for the disk")
        small.press(platform)
        eventually(lambda: sheds_ended(guardian, *GONE_WRONG), "the failure is counted")
        assert guardian.metric("guardian_service_shed", service=small.VICTIM) == 0
        assert guardian.metric("guardian_service_up", service=small.VICTIM) == 1
        eventually(lambda: "grafana" not in platform.running(), "the next one is shed")
        eventually(lambda: guardian.metric("guardian_service_shed", service="grafana") == 1, "that is booked")
        assert guardian.metric("guardian_service_shed", service=small.VICTIM) == 0
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "all of it runs")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "nothing is owed")
    assert "postgres" not in small.stopped_by(platform, proxy)


def test_a_stop_without_an_answer_is_no_stop(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A stop that the engine never answers nor does times out, is never shown as a shed, and is tried again."""
    gate = proxy.hold("arrived", small.is_stop)
    small.press(platform)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    eventually(lambda: sheds_ended(guardian, "timed_out"), "the time-out is counted")
    assert sheds_ended(guardian, "done") == guardian.metric("guardian_service_shed") == 0
    assert guardian.metric("guardian_relief_bytes_total") == 0
    proxy.cut_all()
    proxy.clear()
    eventually(lambda: sheds_ended(guardian, "done"), "one that is done")
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "all of it runs")
    assert "postgres" not in small.stopped_by(platform, proxy)


def test_a_container_that_is_removed_before_its_stop_is_no_shed(
    patient: GuardianProcess, rebuilt: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A container that is removed between the decision and its stop counts as gone, and nothing is owed for it."""
    gate = proxy.hold("arrived", small.is_stop)
    small.press(rebuilt)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    rebuilt.discard(small.VICTIM)
    proxy.clear()
    eventually(lambda: sheds_ended(patient, "gone") == 1, "it is counted as gone")
    small.after_ticks(patient, 4)
    assert sheds_ended(patient, "done") == patient.metric("guardian_ledger_open") == 0
    eventually(lambda: patient.metric("guardian_phase_services", phase="3", state="missing") == 1, "it is seen to be gone")
    assert rebuilt.running() == small.SERVICES - {small.VICTIM}


def test_a_container_that_is_recreated_before_its_stop_is_shed_in_its_turn(
    patient: GuardianProcess, rebuilt: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A container that is created anew and started between the decision and its stop runs on, until its own stop; that one is restored."""
    gate = proxy.hold("arrived", small.is_stop)
    small.press(rebuilt)
    assert gate.reached.wait(PATIENCE_S), "no stop was sent"
    rebuilt.discard(small.VICTIM)
    rebuilt.create(small.VICTIM)
    rebuilt.start(small.VICTIM)
    proxy.clear()
    eventually(lambda: sheds_ended(patient, "gone") == 1, "the first is counted as gone")
    sheds(patient, rebuilt)
    assert sheds_ended(patient, "done") == 1
    restores(patient, rebuilt)
    assert [small.is_start(request) for request in proxy.requests].count(True) == 1


def test_a_shed_container_that_is_recreated_is_restored(
    guardian: GuardianProcess, rebuilt: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A container that is removed and created anew while shed is what the entry is about from then on, and is restored."""
    sheds(guardian, rebuilt)
    rebuilt.discard(small.VICTIM)
    eventually(lambda: guardian.metric("guardian_service_info", service=small.VICTIM) == 0, "it is seen to be gone")
    assert guardian.metric("guardian_ledger_open") == 1
    rebuilt.create(small.VICTIM)
    restores(guardian, rebuilt)
    assert [small.is_start(request) for request in proxy.requests].count(True) == 1
    assert guardian.metric("guardian_overrides_total") == 0


def with_use(guardian: GuardianProcess) -> set[str | None]:
    """Services of which it shows what they use."""
    return {
        dict(labels).get("service") for name, labels in guardian.metrics() if name.endswith("service_memory_footprint_bytes")
    }


def test_where_list_and_stats_disagree_nothing_is_done(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy, settings: dict[str, Any]
) -> None:
    """While a container runs by the list and by its stats does not, or uses nothing, its use is unknown and nothing is done; then all is as promised."""
    settings["sampling"]["source"] = "engine"
    settings["engine"]["timeout"] = "5s"  # Docker 20.10 takes a second for each of them
    kinds = cycle((answer("404 Not Found", b'{"message": "no such container"}'), answer("200 OK", b"{}")))

    def disagree(request: Recorded) -> None:
        next(kinds)(request)

    proxy.on("arrived", is_of(platform, small.VICTIM, "/stats"), disagree)
    guardian = make_guardian(small.as_yaml(settings))
    small.start(guardian)
    others = small.SERVICES - {small.VICTIM}
    eventually(lambda: with_use(guardian) == others, "the use of all others is known")
    small.press(platform)
    did_nothing(guardian, platform, proxy)
    assert guardian.metric("guardian_service_up", service=small.VICTIM) == 1
    assert with_use(guardian) == others
    proxy.clear()
    is_as_promised(guardian, platform, proxy)


def test_what_the_kernel_ends_is_recorded_as_its_own_doing(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """What the kernel's OOM killer ends at a container's own limit is an `oom` of history, and neither a shed nor an override."""
    platform.order(small.VICTIM, "jump", str(2 * LIMIT_BYTES))
    rows = eventually(guardian.history, "something is in the history")
    assert [(row["action"], row["service"], row["by"]) for row in rows] == [("oom", f"openpolicy/{small.VICTIM}", "kernel")]
    eventually(lambda: small.VICTIM in platform.running(), "the engine has started it again")
    small.after_ticks(guardian)
    assert {row["action"] for row in guardian.history()} == {"oom"}
    assert guardian.metric("guardian_overrides_total") == guardian.metric("guardian_service_shed") == 0
    assert not small.stopped_by(platform, proxy)


def test_sheds_that_bring_nothing_pause(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Where the host's memory stays as full after two sheds, the rest is let be for a while, and it shows; later all comes back."""
    meminfo = tmp_path / "meminfo"
    settings["thresholds"]["memory"] = {"soft": "80%", "hard": "95%", "recover": "70%", **small.SOON}
    settings["shedding"] = {"settle": "1s"}
    guardian = make_guardian(small.as_yaml(settings))
    write_meminfo(meminfo, used_part=0.5)
    small.start(guardian, under=in_view_of(f"mount --bind {meminfo} /proc/meminfo"))

    write_meminfo(meminfo, used_part=0.85)
    eventually(lambda: guardian.metric("guardian_shedding_ineffective", signal="memory") == 1, "shedding pauses")
    small.after_ticks(guardian, 4)
    assert platform.running() == {"postgres", "auth-service"}
    assert guardian.metric("guardian_level") == 1
    write_meminfo(meminfo, used_part=0.5)
    restores(guardian, platform)


def write_meminfo(path: Path, used_part: float) -> None:
    """What a host of 4 GiB shows, without swap."""
    total_kib = 4 << 20
    free_kib = int(total_kib * (1 - used_part))
    values = {"MemTotal": total_kib, "MemFree": free_kib, "MemAvailable": free_kib, "SwapTotal": 0, "SwapFree": 0}
    path.write_text("".join(f"{name}: {value} kB\n" for name, value in values.items()))
