"""1,000 containers that are cgroups with a process each, and an engine that only answers: more than this machine could run.

What one container of a real engine looks like in its answers is recorded, and told of all of them.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.figures import GUARDIAN, Figure
from bench.own import CALM, measure_own
from bench.programs import program
from bench.sampling import listed, measure_sampling
from bench.stage import Stage, settings
from bench.stats import summarise
from bench.told import ToldEngine, record
from guardian.sense.cgroup_paths import Hierarchy, find_hierarchy

SIZE = 1000
ROUNDS = 15
PAUSE_MS = 1100  # stir.c wakes once a second
_ROOT = "/sys/fs/cgroup"
_PARENT = "guardian-bench"


def measure_thousand() -> list[Figure]:
    hierarchy = find_hierarchy(_ROOT)
    assert hierarchy is not None, "no cgroup hierarchy that can be read"
    names = {f"bare-{number:04}": hashlib.sha256(f"bare {number}".encode()).hexdigest() for number in range(SIZE)}
    with Stage() as stage:
        stage.grow_to(1)
        recorded = record(stage.engine.socket)
        with _cgroups(hierarchy, list(names.values())), ToldEngine(recorded, names, hierarchy, _PARENT) as engine:
            figures = measure_sampling(listed(engine.url), SIZE, ROUNDS, PAUSE_MS)
            own, rates = measure_own(settings(engine.url, tuple(names), CALM), SIZE)
    return [*figures, *own, Figure("cpu", GUARDIAN, SIZE, summarise([one.own for one in rates]))]


@contextmanager
def _cgroups(hierarchy: Hierarchy, ids: list[str]) -> Iterator[None]:
    tops = [Path(top) / _PARENT for top in dict.fromkeys((hierarchy.memory, hierarchy.cpu, hierarchy.pids)) if top]
    folders = [[top / id_ for top in tops] for id_ in ids]
    _remove(tops)  # what a killed run left
    stirring = None
    try:
        for top in tops:
            top.mkdir()
            if hierarchy.version == 2:
                for folder in (top.parent, top):
                    (folder / "cgroup.subtree_control").write_text("+memory +cpu +pids")
        for each in folders:
            for folder in each:
                folder.mkdir()
        stirring = subprocess.Popen([program("stir")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert stirring.stdin is not None
        assert stirring.stdout is not None
        stirring.stdin.write("".join(" ".join(str(folder / "cgroup.procs") for folder in each) + "\n" for each in folders))
        stirring.stdin.close()
        assert int(stirring.stdout.readline()) == len(ids)
        time.sleep(2.0)
        yield
    finally:
        if stirring is not None:
            stirring.kill()
            stirring.wait()
        _remove(tops)


def _remove(tops: list[Path]) -> None:
    """The processes below have been killed; the kernel may take a moment to let go of their cgroups."""
    ends_s = time.monotonic() + 20
    for top in tops:
        while top.exists() and time.monotonic() < ends_s:
            for folder in (*(one for one in top.iterdir() if one.is_dir()), top):
                with suppress(OSError):
                    folder.rmdir()
