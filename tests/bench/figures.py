"""What is measured: the kinds of figures with their units, and one measured figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.stats import Summary

GUARDIAN = "guardian"
FLOOR = "floor"
DOCKER_STATS = "docker stats"
GLANCES = "Glances"
CADVISOR = "cAdvisor"
NODE_EXPORTER = "node-exporter"
EARLYOOM = "earlyoom"
SUBJECTS = (GUARDIAN, FLOOR, DOCKER_STATS, GLANCES, CADVISOR, NODE_EXPORTER, EARLYOOM)


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of figures. `growth`: it is a cost, and may grow with the containers, but no faster than they do."""

    title: str
    unit: str
    compared: str  # what exactly was measured of whom, in one or two sentences
    growth: bool = False


KINDS: Mapping[str, Kind] = {
    "cpu": Kind(
        "CPU, with the engine's share",
        "ms/s",
        "CPU time of the process and of the engine (dockerd, containerd, shims) because of it, each second: the engine's with it"
        " less the engine's without. guardian as config/guardian.yaml has it (host each 1 s, containers each 5 s), level ok;"
        " `docker stats --no-stream` and Glances each 5 s; cAdvisor each 1 s.",
        growth=True,
    ),
    "cpu_own": Kind("CPU of the process alone", "ms/s", "The first part of the above.", growth=True),
    "cpu_engine": Kind("CPU of the engine because of it", "ms/s", "The second part of the above."),
    "sampling": Kind(
        "one sampling of all containers",
        "ms",
        "Time from asking to having the figures of every container. guardian: one read of all cgroup files on open descriptors."
        " floor: the same `pread`s in C, nothing parsed. docker stats: one `docker stats --no-stream`.",
        growth=True,
    ),
    "sampling_cpu": Kind(
        "CPU of one sampling, with the engine's share",
        "ms",
        "CPU time of the same, of the process that asks and of the engine: for cgroup files the engine does nothing.",
        growth=True,
    ),
    "tick": Kind(
        "one host tick, nothing to do",
        "ms",
        "CPU time of a tick on a calm made-up host with no new use of containers, plus one real reading of the host (memory,"
        " swap, CPU, pressure).",
        growth=True,
    ),
    "tick_wall": Kind(
        "one host tick in the running daemon",
        "ms",
        "Mean of guardian_tick_duration_seconds over the time of the CPU figure: wall time, with readings of containers.",
    ),
    "tick_read": Kind(
        "one tick with new use of every container",
        "ms",
        "Likewise, the first tick after a sampling: all statuses and sums are made anew. The sampling itself is not in it.",
        growth=True,
    ),
    "decision_hard": Kind(
        "one decision under hard pressure",
        "ms",
        "CPU time of the whole tick on the first reading that is hard: it ranks all, picks the batch, enters it in the ledger.",
        growth=True,
    ),
    "rss": Kind("memory: RSS", "MiB", "After warm-up and the time of the CPU figure.", growth=True),
    "pss": Kind("memory: PSS", "MiB", "Likewise; shared pages by their share."),
    "uss": Kind("memory: USS", "MiB", "Likewise; what its end would give back."),
    "rss_hour": Kind(
        "RSS after 3,600 ticks",
        "MiB",
        "All modules of the daemon, its loop, ledger and metrics in one process, on a made-up host and a virtual clock: use of"
        " containers is new every 5 ticks, and every 60th is followed by a scrape.",
        growth=True,
    ),
    "rss_growth": Kind("growth of RSS over the next 100,000 ticks", "MiB", "In the same process."),
    "scrape": Kind("one scrape of /metrics", "ms", "Time of one GET on a new connection from the same machine.", growth=True),
    "scrape_bytes": Kind("size of one scrape", "KiB", "Of the body."),
    "ready": Kind("start to READY", "ms", "From the start of the process to READY=1 at its notify socket."),
    "reaction": Kind(
        "memory crossing to first stop",
        "ms",
        "A hog in a container takes 200 MB/s and stamps its growth; from its crossing of the hard mark to the first stop at the"
        " engine's socket, seen by a proxy there. earlyoom: from the crossing of its mark (MemAvailable, read every 2 ms)"
        " to its line that it would send SIGTERM (`--dryrun`).",
    ),
    "reaction_all": Kind(
        "memory crossing to last stop of the batch", "ms", "Likewise, to the last one that the deficit needs."
    ),
    "fanout_sent": Kind(
        "14 stops: first to last sent", "ms", "At the engine's socket. One after the other: `docker stop` of each."
    ),
    "fanout_gone": Kind(
        "14 stops: first sent to all gone",
        "ms",
        "To the last `die` event. The peers: `docker stop` of one after the other, and of all in one command.",
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `size`: how many containers there were."""

    kind: str
    subject: str
    size: int
    summary: Summary
