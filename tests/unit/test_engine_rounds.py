"""A round of stats: so many at once, never longer than its deadline, and fair where that is too short for all."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.small_engine import SmallEngine

from guardian.clock import SystemClock
from guardian.engine.docker import DockerEngine
from guardian.errors import EngineTimeout
from guardian.telemetry import NullTelemetry
from guardian.workers import Workers

PATIENCE_S = 20.0  # only a test that fails waits so long
IDS = [f"c{number}" for number in range(40)]

Make = Callable[..., tuple[SmallEngine, DockerEngine]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Starts a small engine of an API version, and gives it with guardian's side of it."""
    with ExitStack() as made:
        folder = Path(made.enter_context(tempfile.TemporaryDirectory()))  # a socket's path must be short

        def start(api_version: str = "1.45", timeout_s: float = PATIENCE_S) -> tuple[SmallEngine, DockerEngine]:
            small = SmallEngine(folder / "engine.sock", api_version)
            made.callback(small.close)
            engine = DockerEngine(small.url, timeout_s, SystemClock(), NullTelemetry())
            made.callback(engine.close)
            return small, engine

        yield start


@pytest.mark.parametrize(("api_version", "at_once"), [("1.45", 16), ("1.42", 16), ("1.41", 32)])
def test_a_round_asks_for_so_many_at_once_and_no_more(make: Make, api_version: str, at_once: int) -> None:
    """A round asks for so many at once, and no more: more of an engine that takes a second for each."""
    small, engine = make(api_version)
    all_there = threading.Barrier(at_once)
    first = set(IDS[:at_once])
    small.answering = lambda id_: all_there.wait(PATIENCE_S) if id_ in first else None
    assert engine.stats(IDS).keys() == set(IDS)
    assert small.most_at_once == at_once
    assert sorted(small.asked) == sorted(IDS)


def test_a_round_that_is_late_asks_for_nothing_more_and_the_next_begins_with_what_it_left(make: Make) -> None:
    """A round that is late asks for nothing more, and the next one begins with what it left: none is always the last."""
    small, engine = make(timeout_s=0.5)
    over = threading.Event()
    small.answering = lambda id_: None if id_ == "c3" else over.wait(PATIENCE_S)
    assert engine.stats(IDS).keys() == {"c3"}
    first = set(small.asked)
    assert len(first) == 16 + 1  # those that were asked from the start, and one more when `c3` had answered
    over.set()
    small.answering = lambda _id: None
    small.asked.clear()
    assert engine.stats(IDS).keys() == set(IDS)
    left = len(IDS) - len(first)
    assert not first & set(small.asked[: left - 16])  # 16 at once come in any order


def test_a_round_without_any_answer_fails_with_the_reason(make: Make) -> None:
    """A round without any answer in time fails as late, and what is asked afterwards is answered."""
    small, engine = make(timeout_s=0.3)
    over = threading.Event()
    small.answering = lambda _id: over.wait(PATIENCE_S)
    with pytest.raises(EngineTimeout):
        engine.stats(IDS)
    over.set()
    small.answering = lambda _id: None
    assert engine.stats(IDS[:3]).keys() == set(IDS[:3])


def test_a_host_without_threads_has_its_round_all_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that gives no thread has its round all the same, one container after the other."""
    small, engine = make()

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Workers, "_start", no_thread)
    assert engine.stats(IDS).keys() == set(IDS)
    assert small.most_at_once == 1
    assert small.asked == IDS


def test_closing_ends_a_round_under_way(make: Make) -> None:
    """Closing ends a round under way, and leaves no thread of it waiting."""
    small, engine = make()
    over = threading.Event()
    small.answering = lambda _id: over.wait(PATIENCE_S)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            engine.stats(IDS)
        except Exception as error:
            failures.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    small.wait_asked(16)
    engine.close()
    asking.join(PATIENCE_S)
    over.set()
    assert [type(error).__name__ for error in failures] == ["EngineUnreachable"]
