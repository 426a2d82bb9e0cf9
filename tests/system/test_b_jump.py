"""Promise B: memory jumps past hard, one batch covers it, and the stops are sent in time.

One jump is run through; each test looks at its record. Three services of phase 5 hold the same and take two seconds to
stop: any two of them are too little for a deficit that begins at 20% of the capacity, and all three are enough for
the whole jump, wherever in it guardian reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.daemon import GuardianProcess
from support.engine_events import Change, EngineEvents
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.replays import Recording, recorded
from support.settings import reference_config
from support.small import after_ticks, is_stop, services_of
from support.socket_proxy import SocketProxy
from support.standin import crossed_s
from support.waiting import eventually

pytestmark = pytest.mark.alone

CAPACITY_BYTES = 4096 * MIB
HARD_BYTES = 0.90 * CAPACITY_BYTES
TOP_BYTES = 0.955 * CAPACITY_BYTES  # where the jump ends
NOISE_BYTES = 16 * MIB  # the kernel counts in batches, and page tables grow along
HOST_INTERVAL_S = 1.0  # sampling.host of the reference file
HOG = "api"
BATCH = ("kibana", "logstash", "prometheus")
EACH_BYTES = 380 * MIB
SLOW = {service: {"STANDIN_STOP": "slow:2s"} for service in BATCH}
CHANGES: Mapping[str, Any] = {"thresholds": {"memory": {"soft_for": "60s"}}}  # what is done, hard memory has done


@dataclass(frozen=True, slots=True)
class Jump:
    """What was seen of it. Times are monotonic seconds."""

    earliest_s: float  # the hog's block in which it may first have crossed the hard mark
    crossed_s: float  # … and when it did, between its stamps
    sent_s: Mapping[str, float]  # service -> when its first stop was forwarded to the engine
    stops: list[str]  # every stop or kill that was sent, in order
    changes: tuple[Change, ...]
    decisions: list[dict[str, Any]]
    held: list[dict[str, Any]]
    reactions: float
    reactions_sum_s: float
    quick_s: float  # the pace while the batch was stopping
    calm_s: float  # … and the pace once all was well again
    history: list[dict[str, Any]]
    at_end: Mapping[str, Any]  # status, some ticks after the level is ok again
    recording: Recording


@pytest.fixture(scope="module")
def jump(standin_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jump]:
    """Bring the platform to just below soft, jump far past hard, and wait until all is calm."""
    folder = tmp_path_factory.mktemp("jump")
    platform = ReferencePlatform(standin_engine.url, environment=SLOW)
    try:
        platform.up()
        for service in BATCH:
            platform.hold(service, EACH_BYTES)
        with SocketProxy(standin_engine.socket, folder / "proxy.sock") as proxy, EngineEvents(standin_engine.url) as events:
            guardian = GuardianProcess(folder / "guardian", reference_config(proxy.url, CHANGES))
            try:
                guardian.start()
                yield _run(platform, proxy, events, guardian)
            finally:
                guardian.close()
    finally:
        platform.remove()


def _run(platform: ReferencePlatform, proxy: SocketProxy, events: EngineEvents, guardian: GuardianProcess) -> Jump:
    at_rest = eventually(guardian.memory_ratio, "every footprint is known", 30) * CAPACITY_BYTES
    assert at_rest < 0.80 * CAPACITY_BYTES
    others = at_rest - platform.memory_bytes(HOG)

    platform.jump(HOG, int(TOP_BYTES - others))
    quick_s = eventually(lambda: _pace(guardian, 0.0, 0.3), "ticks come quickly")
    eventually(lambda: len(guardian.log_lines("action ended")) >= len(BATCH), "the batch is given back", 30)
    eventually(lambda: guardian.status()["level"] == "ok", "the level is ok again", 30)
    at_end = after_ticks(guardian)
    calm_s = eventually(lambda: _pace(guardian, HOST_INTERVAL_S, HOST_INTERVAL_S), "ticks come slowly again")

    stops = [one for one in proxy.requests if is_stop(one) and one.forwarded_s is not None]
    names = services_of(platform, stops)
    stamps, held = platform.stamps(HOG), HARD_BYTES - others
    return Jump(
        earliest_s=next(stamp.begin_s for stamp in stamps if stamp.to_bytes >= held - NOISE_BYTES),
        crossed_s=crossed_s(stamps, held),
        sent_s={name: one.forwarded_s or 0.0 for name, one in reversed(list(zip(names, stops, strict=True)))},
        stops=names,
        changes=events.changes,
        decisions=guardian.log_lines("decision"),
        held=guardian.log_lines("held back"),
        reactions=guardian.metric("guardian_reaction_seconds_count"),
        reactions_sum_s=guardian.metric("guardian_reaction_seconds_sum"),
        quick_s=quick_s,
        calm_s=calm_s,
        history=guardian.history(),
        at_end=at_end,
        recording=recorded(guardian),
    )


def _pace(guardian: GuardianProcess, from_s: float, to_s: float) -> float | None:
    """The present pace, if it is within these bounds."""
    interval_s = guardian.metric("guardian_tick_interval_seconds")
    return interval_s if from_s <= interval_s <= to_s else None


def test_one_batch_covers_the_deficit(jump: Jump) -> None:
    """One decision, on a reading that is hard, stops all that the deficit needs and nothing that it does not."""
    first = jump.decisions[0]
    assert (first["signal"], first["host_level"], first["threshold"]) == ("platform_memory", "hard", 0.9)
    assert first["value"] >= 0.9
    reliefs = [one["expected_relief_bytes"] for one in first["chosen"]]
    assert sorted(one["service"] for one in first["chosen"]) == [f"openpolicy/{service}" for service in BATCH]
    assert sum(reliefs) >= first["deficit"] > sum(reliefs) - min(reliefs)


def test_no_second_batch_while_the_first_is_given_back(jump: Jump) -> None:
    """While the first batch is being given back, and after it, nothing more is chosen and nothing else stops."""
    assert len(jump.decisions) == 1
    assert "relief_pending" in {line["reason"] for line in jump.held if line["action"] == "shed"}
    assert sorted(jump.stops) == sorted(BATCH)
    assert sorted(change.service for change in jump.changes) == sorted(BATCH)


def test_one_batch_was_enough(jump: Jump) -> None:
    """After the batch memory is below its recover mark, all that jumped still held, and history has three sheds, done."""
    ratio = next(one["value_ratio"] for one in jump.at_end["signals"] if one["signal"] == "platform_memory")
    assert 0.60 < ratio < 0.70
    assert [(row["action"], row["result"]) for row in jump.history] == [("shed", "done")] * len(BATCH)


def test_a_batch_has_short_grace(jump: Jump) -> None:
    """Under hard memory nobody gets more than `hard_grace`, three seconds, to stop."""
    assert all(one["grace_s"] <= 3.0 for one in jump.decisions[0]["chosen"])


def test_stops_are_sent_within_two_host_intervals_of_the_crossing(jump: Jump) -> None:
    """Every stop passes the engine's socket within two host intervals of when the hog crossed the hard mark."""
    assert set(jump.sent_s) == set(BATCH)
    for service, sent_s in jump.sent_s.items():
        assert jump.earliest_s <= sent_s <= jump.crossed_s + 2 * HOST_INTERVAL_S, service


def test_the_reaction_metric_agrees_with_the_socket(jump: Jump) -> None:
    """`guardian_reaction_seconds` has one reaction for each stop, and agrees with socket and stamps within one host interval."""
    assert jump.reactions == len(BATCH)
    seen_s = sum(sent_s - jump.crossed_s for sent_s in jump.sent_s.values()) / len(BATCH)
    assert abs(jump.reactions_sum_s / jump.reactions - seen_s) <= HOST_INTERVAL_S


def test_ticks_come_quickly_while_it_matters_and_slowly_once_all_is_well(jump: Jump) -> None:
    """The pace was quick while the batch was stopping, and is `sampling.host` again soon after."""
    assert jump.quick_s <= 0.3 * HOST_INTERVAL_S
    assert jump.calm_s == HOST_INTERVAL_S


def test_replay_decides_the_batch_again(jump: Jump) -> None:
    """Replay of the recording decides the same batch, at the same tick, and nothing else."""
    jump.recording.decided_again()


def test_with_a_higher_recover_mark_replay_stops_fewer_at_once(jump: Jump) -> None:
    """With a recover mark that two of the three reach, replay stops two of them."""
    acts, _ = jump.recording.decided_by(
        reference_config("unix:///none", CHANGES, {"thresholds": {"memory": {"recover": "79%"}}})
    )
    sheds = [service for action, service in acts if action == "shed"]
    assert len(sheds) == 2
    assert set(sheds) < set(BATCH)
