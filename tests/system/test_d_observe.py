"""Promise D: in observe mode guardian decides as it would in enforce mode, says so everywhere, and only reads.

The same overload and its end are run through in both modes, on the same platform; each test compares the two records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.daemon import GuardianProcess
from support.engine_events import Change, EngineEvents
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.settings import reference_config
from support.small import after_ticks
from support.socket_proxy import Recorded, SocketProxy
from support.waiting import eventually

pytestmark = pytest.mark.alone

CAPACITY_BYTES = 4096 * MIB
# More than the 630 MiB of phase 5 and less than it has with the biggest of phase 4: seven services.
DEFICIT_BYTES = 670 * MIB
SHEDS = 7
HOG = "api"
NOISE_BYTES = 16 * MIB  # stacks, page tables, and what the kernel holds for a container
# Such a margin that nothing finds room before the load ends: then both modes restore under the same load.
# Frequent lists only make it faster: a restore is up once a newer list shows it.
CHANGES: Mapping[str, Any] = {"restoring": {"margin": "10%"}, "sampling": {"containers": "1s"}}


@dataclass(frozen=True, slots=True)
class Record:
    """What one mode said and did about the load."""

    decisions: list[dict[str, Any]]
    actions: Mapping[tuple[str, str, str, str], float]  # guardian_actions_total above 0, by action, phase, reason, result
    history: list[dict[str, Any]]  # oldest first
    requests: tuple[Recorded, ...]
    changes: tuple[Change, ...]


@pytest.fixture(scope="module")
def records(standin_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Record]]:
    """By mode, observe first: it leaves the platform as it was."""
    platform = ReferencePlatform(standin_engine.url)
    try:
        platform.up()
        yield {mode: _run(platform, standin_engine, tmp_path_factory.mktemp(mode), mode) for mode in ("observe", "enforce")}
    finally:
        platform.remove()


def _run(platform: ReferencePlatform, engine: PrivateEngine, folder: Path, mode: str) -> Record:
    with SocketProxy(engine.socket, folder / "proxy.sock") as proxy, EngineEvents(engine.url) as events:
        guardian = GuardianProcess(folder / "guardian", reference_config(proxy.url, CHANGES, {"mode": mode}))
        try:
            guardian.start()
            eventually(guardian.memory_ratio, "every footprint is known", 30)
            rest = platform.memory_bytes(HOG)
            guardian.cli("standby")  # until exactly the load is there that both modes are to answer
            _load(guardian, platform, rest)
            guardian.cli("standby", "--off")
            eventually(lambda: _ended(guardian, "shed") >= SHEDS, "the sheds", 60)
            after_ticks(guardian)
            platform.hold(HOG, rest)
            eventually(lambda: _ended(guardian, "restore") >= SHEDS, "the restores", 60)
            after_ticks(guardian)
            return Record(
                decisions=guardian.log_lines("decision"),
                actions=_actions(guardian),
                history=[row for row in guardian.history()[::-1] if row["action"] in ("shed", "restore")],
                requests=proxy.requests,
                changes=events.changes,
            )
        finally:
            guardian.close()


def _load(guardian: GuardianProcess, platform: ReferencePlatform, held_bytes: float) -> None:
    """Have the hog, which holds `held_bytes`, hold so much that guardian sees a deficit of DEFICIT_BYTES."""
    for _ in range(5):
        after_ticks(guardian, 4)
        missing_bytes = 0.70 * CAPACITY_BYTES + DEFICIT_BYTES - (guardian.memory_ratio() or 0.0) * CAPACITY_BYTES
        if abs(missing_bytes) < NOISE_BYTES / 4:
            return
        held_bytes += missing_bytes
        platform.hold(HOG, int(held_bytes))
    raise AssertionError(f"the platform's memory does not settle: {missing_bytes:.0f} bytes are missing")


def _ended(guardian: GuardianProcess, action: str) -> int:
    return sum(line["action"] == action for line in guardian.log_lines("action ended"))


def _actions(guardian: GuardianProcess) -> dict[tuple[str, str, str, str], float]:
    return {
        (labels["action"], labels["phase"], labels["reason"], labels["result"]): value
        for (name, with_labels), value in guardian.metrics().items()
        if name == "guardian_actions_total" and value and (labels := dict(with_labels))
    }


def _chosen(record: Record) -> list[dict[str, Any]]:
    """Every choice of every decision, in order, without what is measured."""
    return [
        {
            "signal": line["signal"] if one["action"] == "shed" else None,
            **one,
            "expected_relief_bytes": None,
            "expected_relief_cores": None,
        }
        for line in record.decisions
        for one in line["chosen"]
    ]


def _sheds(record: Record) -> list[dict[str, Any]]:
    return [line for line in record.decisions if line["chosen"][0]["action"] == "shed"]


def test_observe_mode_asks_the_engine_with_get_and_head_only(records: Mapping[str, Record]) -> None:
    """A recording proxy on the engine's socket sees GET and HEAD only; in enforce mode it sees the stops and starts."""
    observed, enforced = (Counter(one.method for one in records[mode].requests) for mode in ("observe", "enforce"))
    assert set(observed) <= {"GET", "HEAD"}
    assert observed["GET"] > 0
    assert enforced["POST"] >= 2 * SHEDS


def test_observe_mode_changes_no_container(records: Mapping[str, Record]) -> None:
    """In observe mode the engine reports no end and no start of any container; in enforce mode one of each for each shed."""
    assert records["observe"].changes == ()
    assert Counter(change.running for change in records["enforce"].changes) == {False: SHEDS, True: SHEDS}


def test_the_log_tells_the_same_decisions(records: Mapping[str, Record]) -> None:
    """The log tells the same decisions in the same order: whom, from which phase, why, with which grace."""
    observed, enforced = (_chosen(records[mode]) for mode in ("observe", "enforce"))
    assert [one["action"] for one in enforced] == ["shed"] * SHEDS + ["restore"] * SHEDS
    assert observed == enforced
    assert {line["mode"] for line in records["observe"].decisions} == {"observe"}
    assert all("nothing is done" in line["event"] for line in records["observe"].decisions)


def test_the_decisions_have_the_same_numbers(records: Mapping[str, Record]) -> None:
    """Threshold, relief, and what is still to be given back are the same at each shed; only what has come back differs."""
    pairs = list(zip(_sheds(records["observe"]), _sheds(records["enforce"]), strict=True))
    for observed, enforced in pairs:
        assert observed["threshold"] == enforced["threshold"] == 0.8
        still = (line["deficit"] - line["pending"] for line in (observed, enforced))
        assert next(still) == pytest.approx(next(still), abs=NOISE_BYTES)
        reliefs = (line["chosen"][0]["expected_relief_bytes"] for line in (observed, enforced))
        assert next(reliefs) == pytest.approx(next(reliefs), abs=NOISE_BYTES)
        assert [(one["service"], one["rank"]) for one in observed["candidates"] if one["rank"] == 1] == [
            (one["service"], one["rank"]) for one in enforced["candidates"] if one["rank"] == 1
        ]


def test_the_metrics_count_the_same_actions(records: Mapping[str, Record]) -> None:
    """`guardian_actions_total` counts as observed what enforce mode counts as done, and nothing else."""
    observed, enforced = records["observe"].actions, records["enforce"].actions
    assert {(*key[:3], "done"): count for key, count in observed.items()} == enforced
    assert {result for *_, result in observed} == {"observed"}
    assert sum(count for (action, *_), count in observed.items() if action == "shed") == SHEDS


def test_the_history_has_the_same_rows(records: Mapping[str, Record]) -> None:
    """History has the same rows in the same order, with the result observed where enforce mode has done."""
    observed, enforced = (
        [(row["action"], row["service"], row["phase"], row["reason"], row["result"]) for row in records[mode].history]
        for mode in ("observe", "enforce")
    )
    assert [(*row[:4], "done") for row in observed] == enforced
    assert {row[4] for row in observed} == {"observed"}
    assert len(observed) == 2 * SHEDS
