"""Promise I: page cache is neither use nor relief nor need."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psutil
import pytest
from support.daemon import GuardianProcess
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.settings import reference_config
from support.small import after_ticks
from support.waiting import eventually

pytestmark = pytest.mark.alone

CACHE_BYTES = 1024 * MIB
OWN_BYTES = 50 * MIB
OVERHEAD_BYTES = 4 * MIB  # of one stand-in: its program, stack and page tables
CACHING, OTHER, CORE = "fluentd", "logstash", "postgres"  # of phases 5, 5 and 1; the other two hold 130 and 120 MiB
MakeGuardian = Callable[..., GuardianProcess]


@pytest.fixture
def platform(standin_engine: PrivateEngine, make_platform: Callable[..., ReferencePlatform]) -> ReferencePlatform:
    """Three services; one of phase 5 holds 50 MiB of its own and has filled 1 GiB of page cache."""
    platform = make_platform(only={CACHING, OTHER, CORE})
    platform.hold(CACHING, OWN_BYTES)
    _fill_cache(standin_engine, platform, CACHING)
    return platform


def _fill_cache(engine: PrivateEngine, platform: ReferencePlatform, service: str) -> None:
    """… and see by the engine's own figures that the kernel has kept it: else these tests would prove nothing."""
    platform.cache(service, CACHE_BYTES)
    with closing(engine.client()) as client:
        figures = client.stats(platform.container(service), stream=False)["memory_stats"]["stats"]
    assert figures.get("total_cache", figures.get("file")) >= 0.95 * CACHE_BYTES


def _known(guardian: GuardianProcess) -> dict[str, Any] | None:
    """The status once every signal, and so every footprint, is known."""
    status = guardian.status()
    return status if all(one["value_ratio"] is not None for one in status["signals"]) else None


def _signal(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in status["signals"] if one["signal"] == name)


def _chosen(guardian: GuardianProcess, action: str) -> list[dict[str, Any]]:
    lines = guardian.log_lines("decision")
    return [one for line in lines for one in line["chosen"] if one["action"] == action]


def test_a_gibibyte_of_page_cache_is_not_use(
    standin_engine: PrivateEngine, platform: ReferencePlatform, make_guardian: MakeGuardian
) -> None:
    """A service with 1 GiB of page cache and 50 MiB of its own uses 50 MiB of what the platform may use, and all is ok."""
    guardian = make_guardian(reference_config(standin_engine.url, {"host": {"memory": "600MiB"}}))
    guardian.start()
    status = eventually(lambda: _known(guardian), "every footprint is known")

    footprint = next(one["footprint_bytes"] for one in status["services"] if one["service"] == f"openpolicy/{CACHING}")
    assert OWN_BYTES <= footprint <= OWN_BYTES + OVERHEAD_BYTES
    held = OWN_BYTES + platform.memory_bytes(OTHER) + platform.memory_bytes(CORE)
    assert held <= _signal(status, "platform_memory")["value_ratio"] * 600 * MIB <= held + 3 * OVERHEAD_BYTES
    assert after_ticks(guardian)["level"] == "ok"
    assert guardian.log_lines("decision") == []


def test_a_host_with_a_full_page_cache_is_ok(
    standin_engine: PrivateEngine, platform: ReferencePlatform, make_guardian: MakeGuardian
) -> None:
    """A host whose page cache fills is ok: what guardian calls use leaves the cache out."""
    guardian = make_guardian(reference_config(standin_engine.url))
    guardian.start()

    _fill_cache(standin_engine, platform, CORE)

    signal = _signal(after_ticks(guardian), "memory")
    memory = psutil.virtual_memory()
    with_cache = (memory.total - memory.free) / memory.total
    assert with_cache - signal["value_ratio"] > 0.7 * CACHE_BYTES / memory.total
    assert signal["level"] == "ok"
    assert [line["to"] for line in guardian.log_lines("level changed")] == ["ok"]


def test_page_cache_is_neither_relief_nor_need(
    standin_engine: PrivateEngine, platform: ReferencePlatform, make_guardian: MakeGuardian
) -> None:
    """Under pressure the service with the cache is worth 50 MiB: a bigger one goes first, and 50 MiB bring it back."""
    # Of 500 MiB: soft at 400, recover at 375, and a restore must end below 375 too.
    marks = {"soft": "80%", "recover": "75%", "soft_for": "1s", "recover_for": "1s"}
    changes = {"host": {"memory": "500MiB"}, "thresholds": {"platform_memory": {"hard": "95%", **marks}}}
    guardian = make_guardian(reference_config(standin_engine.url, changes))
    guardian.start()
    eventually(lambda: _known(guardian), "every footprint is known")

    # 420: with its cache, the other would be enough by far and far over its share; without, 130 MiB are worth more than 50.
    platform.hold(CORE, 240 * MIB)
    eventually(lambda: platform.running() == {CORE, CACHING}, "the bigger one is shed")
    eventually(lambda: guardian.status()["level"] == "ok", "the level is ok again")
    platform.hold(CORE, 360 * MIB)  # 410
    eventually(lambda: platform.running() == {CORE}, "the one with the cache is shed")
    eventually(lambda: guardian.status()["level"] == "ok", "the level is ok again")
    after_ticks(guardian)
    assert platform.running() == {CORE}, "there is room for 15 MiB"
    platform.hold(CORE, 310 * MIB)
    eventually(lambda: platform.running() == {CORE, CACHING}, "there is room for 65 MiB, and it is restored")

    sheds = _chosen(guardian, "shed")
    assert [one["service"] for one in sheds] == [f"openpolicy/{OTHER}", f"openpolicy/{CACHING}"]
    assert OWN_BYTES <= sheds[1]["expected_relief_bytes"] <= OWN_BYTES + OVERHEAD_BYTES
    measured = {row["service"]: row["measured_relief_bytes"] for row in guardian.history() if row["action"] == "shed"}
    assert OWN_BYTES <= measured[f"openpolicy/{CACHING}"] <= OWN_BYTES + OVERHEAD_BYTES
    assert [one["service"] for one in _chosen(guardian, "restore")] == [f"openpolicy/{CACHING}"]
