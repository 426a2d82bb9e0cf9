"""Threads that go on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import pytest

from guardian.clock import SystemClock
from guardian.lasting import lasting
from guardian.schedule import Scheduler

PATIENCE_S = 20.0  # only a test that fails waits so long


def test_a_thread_whose_run_breaks_off_runs_it_again_until_it_returns() -> None:
    """A thread whose run breaks off, for want of memory or by a mistake, runs it again, and ends when it returns."""
    failures: list[Exception] = [MemoryError(), RuntimeError("can't allocate lock"), ValueError("a mistake")]
    runs: list[int] = []

    def run() -> None:
        runs.append(len(failures))
        if failures:
            raise failures.pop()

    thread = lasting(run, "test")
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert runs == [3, 2, 1, 0]


def test_jobs_go_on_where_the_planner_had_no_memory_for_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs go on at their pace where the thread that plans them had no memory for a wait."""
    runs: queue.SimpleQueue[None] = queue.SimpleQueue()
    scheduler = Scheduler(SystemClock())
    scheduler.every("tick", 0.05, lambda: runs.put(None))
    refused = threading.Event()
    wait: Callable[..., bool] = threading.Event.wait

    def no_memory(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "APScheduler" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't allocate lock")
        return wait(event, timeout)

    try:
        scheduler.start()
        runs.get(timeout=PATIENCE_S)
        monkeypatch.setattr(threading.Event, "wait", no_memory)
        assert wait(refused, PATIENCE_S)
        for _ in range(20):
            runs.get(timeout=PATIENCE_S)
    finally:
        monkeypatch.undo()
        assert scheduler.shutdown(PATIENCE_S)
