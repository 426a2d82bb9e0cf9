"""What containers use, read from their cgroup files: the fast path. It asks the engine for nothing.

Each container's files stay open and are read anew at offset 0.
"""

from __future__ import annotations

import errno
import math
import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from guardian import logs
from guardian.clock import Clock
from guardian.model import Container, Usage
from guardian.sense.cgroup_files import DESCRIPTORS, CgroupFiles, CgroupGone
from guardian.sense.cgroup_paths import CgroupFinder, Hierarchy, find_hierarchy, own_path
from guardian.sense.containers import MEASURED

CHECK_RATIO = 0.05
CHECK_BYTES = 4 * 1024 * 1024
_LOOKS = 2  # figures of a busy container may differ once: the two are not read at the same moment
_SHARE_OF_DESCRIPTORS = 2  # one half of the limit; the rest is for sockets and the ledger
STRAIN_EVERY_S = 10.0
_ID = re.compile(r"[0-9a-f]{64}")

_log = logs.get("cgroups")


@dataclass(frozen=True, slots=True)
class Readings:
    """One reading of all covered containers, by id."""

    at_s: float  # when it began: each figure is at least as new
    usage: Mapping[str, Usage]
    gone: frozenset[str] = frozenset()  # ended since the last read: not zero, no longer there. Each is told once


class CgroupReader:
    """Reads the cgroups below `root` of the containers it follows. For one thread, save `read_strain`.

    A container whose cgroup is not found, or not to be believed, is not covered: the engine must be asked for it.
    """

    def __init__(self, clock: Clock, root: str = "/sys/fs/cgroup", proc_root: str = "/proc") -> None:
        self._clock = clock
        self._root = root
        self._proc_root = proc_root
        self._hierarchy: Hierarchy | None = None
        self._finder: CgroupFinder | None = None
        self._open: dict[str, _Followed] = {}
        self._distrusted: dict[str, float | None] = {}  # by id: when the run began whose figures were refuted
        self._short = False  # of descriptors
        self._strain_read_s = -math.inf

    @property
    def covered(self) -> frozenset[str]:
        """Ids of the containers that `read` reads."""
        return frozenset(self._open)

    @property
    def unchecked(self) -> frozenset[str]:
        """Those of them whose figures were not yet compared with the engine's in this run: see `check`."""
        return frozenset(id_ for id_, cgroup in self._open.items() if not cgroup.checked)

    def follow(self, containers: Sequence[Container]) -> None:
        """Cover the running ones of `containers`, and no other. Call it with each list that differs, and after each `gone`.

        Costs a stat and a few opens for each new container; one whose cgroup is in an unknown place, a bounded walk.
        """
        wanted = {each.id: each for each in containers if each.state in MEASURED and _ID.fullmatch(each.id)}
        for id_ in [id_ for id_, cgroup in self._open.items() if not _same_run(wanted.get(id_), cgroup.started_wall_s)]:
            self._open.pop(id_).files.close()
        self._distrusted = {id_: run for id_, run in self._distrusted.items() if _same_run(wanted.get(id_), run)}
        new = [id_ for id_ in wanted if id_ not in self._open and id_ not in self._distrusted]
        if not new or (hierarchy := self._ready()) is None or self._finder is None:
            return
        self._short = self._open_all(hierarchy, wanted, self._finder.locate(new))

    def read(self) -> Readings:
        """What every covered container uses now. Never raises; a figure that is not there or not understood is None."""
        at_s = self._clock.monotonic()
        usage: dict[str, Usage] = {}
        gone: list[str] = []
        for id_, cgroup in self._open.items():
            try:
                usage[id_] = cgroup.files.read(at_s)
            except CgroupGone:
                gone.append(id_)
        for id_ in gone:
            self._drop(id_)
        return Readings(at_s, usage, frozenset(gone))

    def read_strain(self) -> None:
        """Read anew what the next readings say of strain, if that is ten seconds old. For any one thread: it takes its time."""
        now_s = self._clock.monotonic()
        if now_s - self._strain_read_s < STRAIN_EVERY_S:
            return
        self._strain_read_s = now_s
        for cgroup in list(self._open.values()):
            cgroup.files.read_strain()

    def check(self, container_id: str, said: Usage) -> None:
        """Compare with what the engine says now; once per run of a container is enough (see `unchecked`).

        A working set or footprint that is off by more than 5% and 4 MiB, twice, is not to be believed: the container is
        no longer covered until its next run. Figures unknown on either side decide nothing.
        """
        cgroup = self._open.get(container_id)
        if cgroup is None:
            return
        before = cgroup.files.newest
        try:
            now = cgroup.files.read(self._clock.monotonic())
        except CgroupGone:
            return  # the next read tells
        pairs = [
            (said.working_set_bytes, (before.working_set_bytes if before else None, now.working_set_bytes)),
            (said.footprint_bytes, (before.footprint_bytes if before else None, now.footprint_bytes)),
        ]
        answers = [agrees(theirs, ours) for theirs, ours in pairs]
        if False in answers:
            cgroup.doubts += 1
            if cgroup.doubts >= _LOOKS:
                self._distrust(container_id, cgroup, said, now)
        elif True in answers:
            cgroup.checked = True

    def close(self) -> None:
        """Close every file. May be called twice; `follow` would begin anew."""
        for cgroup in self._open.values():
            cgroup.files.close()
        self._open.clear()

    def _ready(self) -> Hierarchy | None:
        """The hierarchy, looked for until it is there."""
        if self._hierarchy is None:
            self._hierarchy = find_hierarchy(self._root)
            if self._hierarchy is not None:
                own = own_path(self._hierarchy, self._proc_root)
                self._finder = CgroupFinder(self._clock, self._hierarchy.memory, own)
        return self._hierarchy

    def _open_all(self, hierarchy: Hierarchy, wanted: Mapping[str, Container], paths: Mapping[str, str]) -> bool:
        """Cover those at `paths`, by id; whether descriptors ran short."""
        room = _descriptor_room() // DESCRIPTORS
        for id_, path in paths.items():
            if len(self._open) >= room:
                return self._say_short()
            try:
                files = CgroupFiles(hierarchy, path)
            except OSError as error:  # it ended just now, or may not be read: the engine can say more
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    return self._say_short()
                continue
            self._open[id_] = _Followed(wanted[id_].name, wanted[id_].started_wall_s, files)
        return False

    def _drop(self, container_id: str) -> None:
        self._open.pop(container_id).files.close()
        if self._finder is not None:
            self._finder.put_off(container_id)

    def _distrust(self, container_id: str, cgroup: _Followed, said: Usage, read: Usage) -> None:
        self._distrusted[container_id] = cgroup.started_wall_s
        self._open.pop(container_id).files.close()
        _log.warning(
            "cgroup files and engine disagree: using the engine's figures",
            container=cgroup.name,
            cgroup_working_set_bytes=read.working_set_bytes,
            engine_working_set_bytes=said.working_set_bytes,
            cgroup_footprint_bytes=read.footprint_bytes,
            engine_footprint_bytes=said.footprint_bytes,
        )

    def _say_short(self) -> Literal[True]:
        if not self._short:
            _log.warning(
                "too few file descriptors for every container's cgroup: using the engine's figures for the rest; raise LimitNOFILE",
                covered=len(self._open),
            )
        return True


def _same_run(container: Container | None, started_wall_s: float | None) -> bool:
    return container is not None and container.started_wall_s == started_wall_s


def _descriptor_room() -> int:
    """How many descriptors may be kept open here."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (1_000_000 if limit == resource.RLIM_INFINITY else limit) // _SHARE_OF_DESCRIPTORS


def agrees(said: int | None, read: Sequence[int | None]) -> bool | None:
    """Whether `said` is within the range of the readings around it, give or take 5% or 4 MiB; None where either is unknown."""
    known = [value for value in read if value is not None]
    if said is None or not known:
        return None
    slack = max(CHECK_BYTES, CHECK_RATIO * said)
    return min(known) - slack <= said <= max(known) + slack


@dataclass(slots=True, eq=False)
class _Followed:
    """One run of one container."""

    name: str
    started_wall_s: float | None
    files: CgroupFiles
    checked: bool = False
    doubts: int = 0
