"""Promise C: CPU past its thresholds for their durations sheds CPU users from the top; spikes and starts shed nothing.

The platform may use half a core, less than the machine has, so that it is the platform's use that presses. Use is a mean
of ten seconds; memory and the host's own CPU are off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from support.daemon import GuardianProcess
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.replays import recorded
from support.settings import reference_config
from support.small import after_ticks, is_stop, stopped_by
from support.socket_proxy import SocketProxy
from support.waiting import eventually

pytestmark = pytest.mark.alone

MEMORY_BYTES = 256 * MIB  # of all 32: this is not about memory
AT_REST_CORES = 0.03  # likewise
# Two of phase 5, and one each of 4, 3 and 1: 0.6 cores in all. Recover is at 0.25, so the three of phases 5 and 4 have to
# go: with only two of them gone 0.33 are left, with all three 0.2.
BURNERS = {"logstash": 0.15, "kibana": 0.12, "api-gateway": 0.13, "etl-service": 0.12, "postgres": 0.05}
IN_ORDER = ["logstash", "kibana", "api-gateway"]
SOFT_RATIO = 0.9
MakeGuardian = Callable[..., GuardianProcess]


def _config(url: str, soft_for_s: float, *changes: Mapping[str, Any]) -> str:
    times = {"soft_for": f"{soft_for_s:g}s", "hard_for": "5s", "recover_for": "2s"}
    cpu = {
        "host": {"cpu": "0.5 cores"},
        "thresholds": {
            "memory": "off",
            "memory_pressure": "off",
            "platform_cpu": {"soft": SOFT_RATIO, "hard": 1.0, "recover": 0.5, **times},
        },
        "restoring": {"enabled": False},
    }
    return reference_config(url, cpu, *changes)


@pytest.fixture(scope="module")
def reference(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """All 32, at rest; use `platform`, which brings it back to that."""
    platform = ReferencePlatform(standin_engine.url, memory_bytes=MEMORY_BYTES, cores=AT_REST_CORES)
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def platform(reference: ReferencePlatform) -> Iterator[ReferencePlatform]:
    """All 32 at rest, also after the test."""
    yield reference
    running = reference.running()
    _burn(reference, dict.fromkeys(BURNERS.keys() & running, 0.0))
    for service in BURNERS.keys() - running:
        reference.start(service)


def _burn(platform: ReferencePlatform, cores: Mapping[str, float]) -> None:
    for service, each in cores.items():
        platform.cpu(service, each)


def _ratio(guardian: GuardianProcess) -> float:
    """Of platform_cpu, as the metrics have it; 0 while it is unknown."""
    return guardian.metric("guardian_signal_ratio", signal="platform_cpu")


def _ticks_at_ok(guardian: GuardianProcess, count: int) -> None:
    """`count` more ticks pass; nothing was decided by then."""
    assert after_ticks(guardian, count)["level"] == "ok"
    assert guardian.log_lines("decision") == []


def test_a_spike_shorter_than_the_duration_changes_nothing(
    platform: ReferencePlatform, proxy: SocketProxy, make_guardian: MakeGuardian
) -> None:
    """CPU past its soft mark for less than `soft_for` changes nothing."""
    guardian = make_guardian(_config(proxy.url, 20, {"shedding": {"startup_grace": "1s"}}))
    guardian.start()
    eventually(lambda: _ratio(guardian) > 0, "the use of CPU is known")

    _burn(platform, BURNERS)
    eventually(lambda: _ratio(guardian) >= SOFT_RATIO, "CPU is past its soft mark", 30)
    _burn(platform, dict.fromkeys(BURNERS, 0.0))
    eventually(lambda: _ratio(guardian) < SOFT_RATIO, "the spike is over", 15)

    _ticks_at_ok(guardian, 20)
    assert [line["to"] for line in guardian.log_lines("level changed")] == ["ok"]
    assert list(filter(is_stop, proxy.requests)) == []


def test_cpu_users_of_the_highest_phase_go_first(
    platform: ReferencePlatform, proxy: SocketProxy, make_guardian: MakeGuardian
) -> None:
    """Once CPU has been past its soft mark for `soft_for`, its users go, highest phase first, one at a time, as needed.

    Replay of the recording decides the same again, fewer with a higher recover mark, and nothing where CPU has to press for longer.
    """
    soft_for_s = 6.0
    guardian = make_guardian(_config(proxy.url, soft_for_s, {"shedding": {"startup_grace": "1s"}}))
    guardian.start()
    eventually(lambda: _ratio(guardian) > 0, "the use of CPU is known")

    _burn(platform, BURNERS)
    eventually(lambda: _ratio(guardian) >= SOFT_RATIO, "CPU is past its soft mark", 30)
    seen_s = time.monotonic()  # a tick and a little later than guardian, at most
    eventually(lambda: len(guardian.log_lines("action ended")) >= len(IN_ORDER), "the sheds", 40)
    eventually(lambda: guardian.status()["level"] == "ok", "the level is ok again", 30)
    after_ticks(guardian)

    stops = [one for one in proxy.requests if is_stop(one)]
    assert stopped_by(platform, proxy) == IN_ORDER
    assert (stops[0].forwarded_s or 0.0) - seen_s >= soft_for_s - 1.5
    assert all((after.forwarded_s or 0.0) > (before.answered_s or 0.0) for before, after in pairwise(stops))
    for line in guardian.log_lines("decision"):
        assert (line["signal"], len(line["chosen"])) == ("platform_cpu", 1)
        assert line["chosen"][0]["expected_relief_cores"] >= 0.1
        assert line["pending"] < line["deficit"]

    recording = recorded(guardian)
    recording.decided_again()
    grace = {"shedding": {"startup_grace": "1s"}}
    fewer = {"thresholds": {"platform_cpu": {"recover": 0.8}}}  # 0.4 cores: two of the three reach it
    assert recording.decided_by(_config(proxy.url, soft_for_s, grace, fewer))[0] == [("shed", one) for one in IN_ORDER[:2]]
    later = {"thresholds": {"platform_cpu": {"hard_for": "10m"}}}
    assert recording.decided_by(_config(proxy.url, 600, grace, later))[0] == []


def test_the_start_of_32_containers_changes_nothing(
    make_platform: Callable[..., ReferencePlatform], proxy: SocketProxy, make_guardian: MakeGuardian
) -> None:
    """32 containers that start and use more than all that they may change nothing, for as long as they are young."""
    config = {"project": "starting"}
    guardian = make_guardian(_config(proxy.url, 3, config))
    guardian.start()

    platform = make_platform(
        project="starting",
        memory_bytes=MEMORY_BYTES,
        cores=AT_REST_CORES,
        environment={service: {"STANDIN_CPU": "0.15"} for service in BURNERS},
    )
    eventually(lambda: _ratio(guardian) >= SOFT_RATIO, "CPU is past its soft mark", 30)
    _ticks_at_ok(guardian, 10)
    assert _ratio(guardian) >= SOFT_RATIO
    assert list(filter(is_stop, proxy.requests)) == []

    guardian.write_config(_config(proxy.url, 3, config, {"shedding": {"startup_grace": "1s"}}))
    eventually(lambda: len(platform.running()) < 32, "only their youth has kept one of them from being shed", 30)
