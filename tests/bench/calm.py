"""What guardian and its peers cost while nothing happens: CPU, the engine's because of them, memory, sampling, scrapes."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.waiting import eventually

from bench.figures import CADVISOR, DOCKER_STATS, EARLYOOM, GLANCES, GUARDIAN, NODE_EXPORTER, Figure
from bench.own import CALM, measure_own, memory_figures, scrapes
from bench.peers import Peers
from bench.procs import Rates, cpu_each, measure, spent_s
from bench.sampling import listed, measure_sampling
from bench.stage import PROJECT, Stage
from bench.stats import summarise

PERIOD_S = 5.0  # sampling.containers of config/guardian.yaml
PEER_WINDOW_S = 5.0
PEER_WINDOWS = 3
PEER_WARM_UP_S = 8.0
DOCKER_STATS_RUNS = 4
CADVISOR_SCRAPES = 5
_PORT = 18_777
_METRICS = f"http://127.0.0.1:{_PORT}/metrics"


def measure_calm(stage: Stage, peers: Peers) -> list[Figure]:
    """Everything at the stage's present size. The engine's idle CPU is measured before, between and after."""
    size, engine = stage.size, stage.engine_pids()
    idle: list[float] = []
    runs: dict[str, list[Rates]] = {}
    figures = measure_sampling(listed(stage.engine.url), size)
    with _hosts_only(peers) as others:
        time.sleep(2.0)
        for _ in range(PEER_WINDOWS):  # at the same time: they never touch the engine, whose idle CPU is seen meanwhile
            before = cpu_each(others.values())
            idle.append(_idle(engine))
            for name, pid in others.items():
                used_s = spent_s({pid: before[pid]}, cpu_each([pid]))
                runs.setdefault(name, []).append(Rates(used_s / PEER_WINDOW_S * 1000, 0.0))
        for name, pid in others.items():
            figures.extend(memory_figures(name, pid, size))
        if NODE_EXPORTER in others:
            figures.append(scrapes(NODE_EXPORTER, _METRICS, size))
    own, rates = measure_own(stage.config(**CALM), size, stage.engine.url, engine)
    figures.extend((*own, *_cpu(GUARDIAN, size, [one.own for one in rates], [one.engine for one in rates])))
    idle.append(_idle(engine))
    figures.extend(_docker_stats(stage, engine, statistics.median(idle)))
    idle.append(_idle(engine))
    if GLANCES in peers.programs:
        with _running(_glances(peers), stage.docker_environ) as pid:
            time.sleep(PEER_WARM_UP_S)
            runs[GLANCES] = [measure([pid], engine, PEER_WINDOW_S) for _ in range(PEER_WINDOWS)]
            figures.extend(memory_figures(GLANCES, pid, size))
        idle.append(_idle(engine))
    if CADVISOR in peers.programs:
        with _running(_cadvisor(peers, stage), stage.docker_environ) as pid:
            eventually(lambda: _seen_by_cadvisor() >= size, "cAdvisor sees every container", 60, every_s=1.0)
            time.sleep(PEER_WARM_UP_S)
            runs[CADVISOR] = [measure([pid], engine, PEER_WINDOW_S) for _ in range(PEER_WINDOWS)]
            figures.extend(memory_figures(CADVISOR, pid, size))
            figures.append(scrapes(CADVISOR, _METRICS, size, CADVISOR_SCRAPES))
        idle.append(_idle(engine))
    base = statistics.median(idle)
    for name, measured in runs.items():
        figures.extend(_cpu(name, size, [one.own for one in measured], [max(0.0, one.engine - base) for one in measured]))
    return figures


def _idle(engine: Sequence[int]) -> float:
    return measure([], engine, PEER_WINDOW_S).engine


def _cpu(name: str, size: int, own: Sequence[float], because: Sequence[float]) -> list[Figure]:
    return [
        Figure("cpu", name, size, summarise([mine + its for mine, its in zip(own, because, strict=True)])),
        Figure("cpu_own", name, size, summarise(own)),
        *([] if name in (NODE_EXPORTER, EARLYOOM) else [Figure("cpu_engine", name, size, summarise(because))]),
    ]


# --- the peers ------------------------------------------------------------------------------------------------------


@contextmanager
def _running(command: Sequence[str], environ: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    try:
        yield process.pid
        assert process.poll() is None, f"{command[0]} ended by itself"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _hosts_only(peers: Peers) -> Iterator[dict[str, int]]:
    """Those that read the host alone, by name."""
    commands = {
        NODE_EXPORTER: ["--web.listen-address", f"127.0.0.1:{_PORT}"],
        EARLYOOM: ["--dryrun", "-r", "0"],
    }
    started = {
        name: subprocess.Popen([peers.programs[name], *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name, flags in commands.items()
        if name in peers.programs
    }
    try:
        yield {name: process.pid for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def _docker_stats(stage: Stage, engine: Sequence[int], idle: float) -> list[Figure]:
    """What `watch -n 5 docker stats --no-stream` does; also what one of them costs."""
    walls, cpus, own, because, held = [], [], [], [], []
    for _ in range(DOCKER_STATS_RUNS):
        before, began_s = cpu_each(engine), time.monotonic()
        process = subprocess.Popen(
            [stage.docker_program, "stats", "--no-stream"], env=stage.docker_environ, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        walls.append((time.monotonic() - began_s) * 1000)
        assert len(lines) == stage.size + 1, f"docker stats showed {len(lines) - 1} of {stage.size} containers"
        time.sleep(max(0.0, began_s + PERIOD_S - time.monotonic()))
        took_s = time.monotonic() - began_s
        own_ms = (used.ru_utime + used.ru_stime) * 1000
        engine_ms = max(0.0, spent_s(before, cpu_each(engine)) * 1000 - idle * took_s)
        cpus.append(own_ms + engine_ms)
        own.append(own_ms / took_s)
        because.append(engine_ms / took_s)
        held.append(used.ru_maxrss / 1024)
    size = stage.size
    return [
        Figure("sampling", DOCKER_STATS, size, summarise(walls)),
        Figure("sampling_cpu", DOCKER_STATS, size, summarise(cpus)),
        Figure("rss", DOCKER_STATS, size, summarise(held)),
        *_cpu(DOCKER_STATS, size, own, because),
    ]


def _glances(peers: Peers) -> list[str]:
    """Only the plugins that read what guardian reads; all of them cost many times that."""
    plugins = ["--disable-plugin", "all", "--enable-plugin", "cpu,mem,memswap,load,containers"]
    return [str(peers.programs[GLANCES]), *plugins, "--quiet", "--disable-check-update", "-t", f"{PERIOD_S:g}"]


def _cadvisor(peers: Peers, stage: Stage) -> list[str]:
    """Containers and the root cgroup alone, each second; one in which nothing moves is read more rarely, as is its default."""
    flags = ["--docker_only", "--housekeeping_interval=1s"]
    return [str(peers.programs[CADVISOR]), "--docker", stage.engine.url, "--listen_ip=127.0.0.1", f"--port={_PORT}", *flags]


def _seen_by_cadvisor() -> int:
    try:
        with urllib.request.urlopen(_METRICS, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return sum(1 for line in lines if line.startswith("container_last_seen") and f'name="{PROJECT}-' in line)
