"""Threads for work that waits for others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest
from support.waiting import eventually

from guardian.workers import Workers

PATIENCE_S = 20.0  # only a test that fails waits so long
NAME = "worker-of-a-test"


class Held:
    """Work that goes on until it is let go. Tells which thread began it."""

    def __init__(self) -> None:
        self.began: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._let_go = threading.Event()

    def __call__(self) -> None:
        self.began.put(threading.current_thread().name)
        assert self._let_go.wait(PATIENCE_S)

    def has_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.began.get(timeout=PATIENCE_S) == NAME

    def let_go(self) -> None:
        self._let_go.set()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.let_go()


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == NAME}


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_ready_threads_are_there_before_any_work(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready threads are there before any work, and do it on a host that gives no more."""
    workers = Workers(NAME, most=8, ready=2)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    for _ in range(2):
        workers.submit(held)
    held.has_begun(2)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        workers.submit(held)
    held.let_go()
    workers.close()


def test_no_more_threads_are_made_than_work_asks_for() -> None:
    """A thread that has ended its work takes the next: no more are made than are busy at once."""
    workers = Workers(NAME, most=8)
    others = threads()  # of the tests before, about to end
    for _ in range(5):
        once = Held()
        once.let_go()
        workers.submit(once)
        once.has_begun()
        eventually(lambda: workers._free == 1, "the thread is free again")
    assert len(threads() - others) == 1
    workers.close()


def test_work_beyond_the_most_threads_waits_for_one(held: Held) -> None:
    """Work beyond the most threads waits for one, and is done then."""
    workers = Workers(NAME, most=2)
    last = Held()
    last.let_go()
    for _ in range(2):
        workers.submit(held)
    held.has_begun(2)
    workers.submit(last)
    assert last.began.empty()
    held.let_go()
    last.has_begun()
    workers.close()


def test_after_the_end_nothing_is_begun(held: Held) -> None:
    """After the end nothing is begun: neither what waited, nor what is new; what is under way goes on."""
    workers = Workers(NAME, most=1)
    late = Held()
    workers.submit(held)
    held.has_begun()
    workers.submit(late)
    workers.close()
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(late)
    thread = next(each for each in threading.enumerate() if each.name == NAME)
    held.let_go()
    thread.join(PATIENCE_S)
    assert late.began.empty()


def test_work_that_fails_costs_no_thread() -> None:
    """Work that fails costs no thread: the next is done by the same one."""
    workers = Workers(NAME, most=1)
    done = Held()
    done.let_go()

    def fails() -> None:
        raise ValueError("a mistake")

    workers.submit(fails)
    workers.submit(done)
    done.has_begun()
    workers.close()
