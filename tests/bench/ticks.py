"""Ticks and decisions on a made-up host, and the memory that many of them leave behind. Needs no engine."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from support.sized_host import ROUND_S, SizedHost

from bench.figures import GUARDIAN, Figure
from bench.procs import memory
from bench.stats import summarise
from guardian import resident
from guardian.clock import SystemClock
from guardian.sense.host import HostSensor

QUIET_TICKS = 200
HARD_DECISIONS = 7
HOUR_TICKS = 3_600
MORE_TICKS = 100_000
LARGEST_FOR_GROWTH = 300  # at 1,000 they would take a quarter of an hour
SCRAPE_EVERY = 60
_SENSOR_READS = 200


def measure_ticks(size: int) -> list[Figure]:
    """CPU of a tick with nothing to do, of one that has new use of every container, and of one that decides."""
    host = SizedHost(size)
    host.settle()
    sensor_ms = statistics.median(_sensor_reads())
    quiet, after_reading = [], []
    for number in range(QUIET_TICKS):
        new = number % ROUND_S == 0
        host.step(containers=new)
        (after_reading if new else quiet).append(_cpu_ms(host.tick))
    hard = []
    for _ in range(HARD_DECISIONS):
        pressed = SizedHost(size)
        pressed.settle()
        pressed.press()
        gc.collect()
        hard.append(_cpu_ms(pressed.tick))
        assert pressed.actor.in_flight, "memory was hard, and nothing was shed"
    return [
        Figure("tick", GUARDIAN, size, summarise(quiet).plus(sensor_ms)),
        Figure("tick_read", GUARDIAN, size, summarise(after_reading).plus(sensor_ms)),
        Figure("decision_hard", GUARDIAN, size, summarise(hard)),
    ]


def _cpu_ms(work: Callable[[], object]) -> float:
    began_ns = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began_ns) / 1e6


def _sensor_reads() -> list[float]:
    """Milliseconds of CPU for each real reading of the host."""
    sensor = HostSensor(SystemClock(), None)
    sensor.read()
    return [_cpu_ms(sensor.read) for _ in range(_SENSOR_READS)]


# --- memory over time -----------------------------------------------------------------------------------------------


def measure_growth(sizes: Sequence[int]) -> list[Figure]:
    """Each size in a process of its own, all at once: what this one has read and made by now is no part of it."""
    running = {
        size: subprocess.Popen([sys.executable, "-m", "bench.ticks", str(size)], stdout=subprocess.PIPE, text=True)
        for size in sizes
    }
    figures = []
    for size, process in running.items():
        said, _ = process.communicate()
        assert process.returncode == 0, f"the ticks at {size} ended with {process.returncode}"
        hour_mib, *later_mib = json.loads(said)
        figures.append(Figure("rss_hour", GUARDIAN, size, summarise([hour_mib])))
        figures += [Figure("rss_growth", GUARDIAN, size, summarise([mib - hour_mib])) for mib in later_mib]
    return figures


def _tick_on(host: SizedHost, count: int) -> float:
    """RSS in MiB after `count` more ticks, with use read anew every 5 s and a scrape every 60 s."""
    for number in range(count):
        host.step(containers=number % ROUND_S == 0)
        host.tick()
        if number % SCRAPE_EVERY == 0:
            host.metrics.exposition()
    return memory(os.getpid()).rss_mib


def main() -> None:
    import guardian.daemon  # noqa: F401 - with everything that it imports

    size = int(sys.argv[1])
    resident.limit_arenas()  # as the daemon does, before and after it is made
    host = SizedHost(size)
    host.settle()
    resident.settle()
    held = [_tick_on(host, HOUR_TICKS)]
    if size <= LARGEST_FOR_GROWTH:
        held.append(_tick_on(host, MORE_TICKS))
    json.dump(held, sys.stdout)


if __name__ == "__main__":
    main()
