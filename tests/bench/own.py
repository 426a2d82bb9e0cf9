"""The daemon itself, as a user runs it, while nothing happens: start, CPU, memory, ticks, scrapes."""

from __future__ import annotations

import socket
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.daemon import GuardianProcess
from support.waiting import eventually

from bench.calls import calls_made, costs_ms, share
from bench.figures import GUARDIAN, Figure
from bench.procs import Rates, measure, memory
from bench.stats import summarise

WINDOWS = 6
WINDOW_S = 10.0
WARM_UP_S = 12.0  # the CPU mean of 10 s is known, and two rounds with the engine are over
STARTS = 5
SCRAPES = 20
# The bench and the peers use this machine's CPU and disk: that is no level that guardian should answer to here.
CALM: Mapping[str, Any] = {"thresholds": {"cpu": "off", "disk": "off"}}


def measure_own(config: str, size: int, url: str = "", engine: Sequence[int] = ()) -> tuple[list[Figure], list[Rates]]:
    """All but what its CPU comes to with the engine's: for that, its own in each window, and what its calls cost the engine.

    `engine` are the processes of the engine at `url`; without, that is no part of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        starts = [_start(config, Path(folder)) for _ in range(STARTS)]
        guardian = GuardianProcess(Path(folder) / "guardian", config)
        try:
            guardian.start(timeout_s=60)
            time.sleep(WARM_UP_S)
            eventually(lambda: _at_rest(guardian), "every container was compared with the engine once", 180, every_s=0.0)
            before = guardian.metrics()
            began_s = time.monotonic()
            own = [measure([guardian.pid], (), WINDOW_S).own for _ in range(WINDOWS)]
            after, took_s = guardian.metrics(), time.monotonic() - began_s
            made = calls_made(before, after)
            because = share(made, costs_ms(url, engine, made), took_s) if engine else 0.0
            rates = [Rates(one, because) for one in own]
            status = guardian.status()
            assert status["level"] == "ok", f"the level was {status['level']}: {status['signals']}"
            assert sum(one["footprint_bytes"] is not None for one in status["services"]) == size, "not all use is known"
            figures = [
                Figure("ready", GUARDIAN, size, summarise(starts)),
                Figure("tick_wall", GUARDIAN, size, summarise([_tick_ms(before, after)])),
                *memory_figures(GUARDIAN, guardian.pid, size),
                scrapes(GUARDIAN, f"{guardian.url}/metrics", size),
                Figure("scrape_bytes", GUARDIAN, size, summarise([len(guardian.get("/metrics")) / 1024])),
            ]
        finally:
            guardian.stop()
    return figures, rates


def _at_rest(guardian: GuardianProcess) -> bool:
    """Whether it asks for nothing but what it always asks for. On Engine 20.10 the comparison of 300 takes some rounds."""
    before = guardian.metrics()
    time.sleep(WARM_UP_S)
    return "stats" not in calls_made(before, guardian.metrics())


def _start(config: str, folder: Path) -> float:
    """Milliseconds from the start of the process to READY=1."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = folder / "notify.sock"
    path.unlink(missing_ok=True)
    notify.bind(str(path))
    notify.settimeout(60)
    guardian = GuardianProcess(folder / "starts", config)
    try:
        began_s = time.monotonic()
        guardian.start(wait=False, NOTIFY_SOCKET=str(path))
        while b"READY=1" not in notify.recv(4096):
            pass
        return (time.monotonic() - began_s) * 1000
    finally:
        guardian.stop()
        notify.close()


def _tick_ms(before: Mapping[Any, float], after: Mapping[Any, float]) -> float:
    name = "guardian_tick_duration_seconds"
    spent_s, count = (after[name + end, frozenset()] - before[name + end, frozenset()] for end in ("_sum", "_count"))
    return spent_s / count * 1000


def memory_figures(name: str, pid: int, size: int) -> list[Figure]:
    held = memory(pid)
    return [
        Figure(kind, name, size, summarise([value]))
        for kind, value in (("rss", held.rss_mib), ("pss", held.pss_mib), ("uss", held.uss_mib))
    ]


def scrapes(name: str, url: str, size: int, count: int = SCRAPES) -> Figure:
    times = []
    for _ in range(count):
        time.sleep(0.1)
        began_s = time.perf_counter()
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
        times.append((time.perf_counter() - began_s) * 1000)
    return Figure("scrape", name, size, summarise(times))
