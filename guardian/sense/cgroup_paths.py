"""Where a container's cgroup lies, found by its id alone: no inspect, no process id.

Docker names the directory `<id>` (cgroupfs driver) or `docker-<id>.scope` (systemd driver). What stands before it differs
with the driver, `--cgroup-parent`, rootless and nested engines, but is the same for most containers of one engine.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from guardian.clock import Clock

SEARCH_AGAIN_S = 30.0
LONGEST_WAIT_S = 3600.0  # what was searched for in vain again and again is most likely on another host
_DEEPEST = 8  # levels below the hierarchy's root; rootless engines need five, and eight in a Linux within Windows
_MOST_DIRECTORIES = 1000  # with children; those without cost one stat each
_MOST_ENTRIES = 20_000
_MOST_PATTERNS = 16


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The directories below which one container has the same path in each of these controllers."""

    version: int  # 1 or 2, of the memory controller
    memory: str
    cpu: str
    pids: str | None  # None: no such controller
    limits: str | None  # on CPU time: the controller `cpu`


def find_hierarchy(root: str) -> Hierarchy | None:
    """The hierarchies mounted below `root`; None where memory and CPU time cannot be read.

    A hybrid host has its controllers on v1 and an empty v2 in `unified`, or some of them there (cgroup_no_v1=memory).
    """
    if _has_memory(root):
        return Hierarchy(2, root, root, root, root)
    memory, cpu = _mount(root, "memory"), _mount(root, "cpuacct")
    if memory and cpu and os.path.exists(f"{memory}/memory.stat"):
        return Hierarchy(1, memory, cpu, _mount(root, "pids"), _mount(root, "cpu"))
    unified = f"{root}/unified"
    if not _has_memory(unified):
        return None
    return Hierarchy(2, unified, unified, _mount(root, "pids") or unified, _mount(root, "cpu") or unified)


def _has_memory(directory: str) -> bool:
    """Whether it is the root of a v2 hierarchy that has the memory controller."""
    try:
        with open(f"{directory}/cgroup.controllers", "rb") as file:
            return b"memory" in file.read(4096).split()
    except OSError:
        return False


def _mount(root: str, controller: str) -> str | None:
    """Of a v1 controller: it may share its mount with others, as in `cpu,cpuacct`."""
    with suppress(OSError):
        for name in sorted(os.listdir(root)):
            if controller in name.split(",") and os.path.isdir(f"{root}/{name}"):
                return f"{root}/{name}"
    return None


def own_path(hierarchy: Hierarchy, proc_root: str) -> str:
    """The cgroup of this very process in the memory hierarchy, without slashes around it; empty for its root and where unreadable."""
    with suppress(OSError), open(f"{proc_root}/self/cgroup", encoding="utf-8", errors="replace") as file:
        for line in file.read(65536).splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if (number == "0") if hierarchy.version == 2 else ("memory" in controllers.split(",")):
                return "" if path.startswith("/..") else path.strip("/")  # outside of our namespace: not to be reached
    return ""


class CgroupFinder:
    """Finds cgroups below `top`: first where others were found, then by one bounded search for all that are missing.

    `own` is this process's own path: an engine in the same outer container has its containers below it.
    """

    def __init__(self, clock: Clock, top: str, own: str = "") -> None:
        self._clock = clock
        self._top = top
        # What stands before the id, and what after it; the newest that was right comes first.
        self._patterns = [("docker/", ""), ("system.slice/docker-", ".scope")]
        if own:
            self._patterns.append((f"{own}/docker/", ""))
        self._put_off: dict[str, tuple[float, float]] = {}  # by id: until when, and for how long

    def locate(self, container_ids: Iterable[str]) -> dict[str, str]:
        """The paths, relative to `top`, of those whose cgroup is there.

        A container that a search did not find is searched for again after 30 s at the earliest, and after twice as long
        each time, up to an hour.
        """
        now_s = self._clock.monotonic()
        asked = set(container_ids)
        self._put_off = {
            id_: (until_s, wait_s) for id_, (until_s, wait_s) in self._put_off.items() if id_ in asked or until_s > now_s
        }
        found: dict[str, str] = {}
        missing: set[str] = set()
        for id_ in asked:
            path = self._guess(id_)
            if path is None:
                missing.add(id_)
            else:
                found[id_] = path
        if any(self._put_off.get(id_, (now_s, 0.0))[0] <= now_s for id_ in missing):
            found.update(self._search(missing))
            for id_ in missing - found.keys():
                _, waited_s = self._put_off.get(id_, (now_s, 0.0))
                self._wait(id_, min(LONGEST_WAIT_S, max(SEARCH_AGAIN_S, 2 * waited_s)))
        for id_ in found:
            self._put_off.pop(id_, None)
        return found

    def put_off(self, container_id: str) -> None:
        """No search for this one for 30 s: it was seen to vanish."""
        self._wait(container_id, SEARCH_AGAIN_S)

    def _wait(self, container_id: str, seconds: float) -> None:
        self._put_off[container_id] = (self._clock.monotonic() + seconds, seconds)

    def _guess(self, container_id: str) -> str | None:
        for pattern in self._patterns:
            path = f"{pattern[0]}{container_id}{pattern[1]}"
            if os.path.isdir(f"{self._top}/{path}"):
                self._remember(pattern)
                return path
        return None

    def _remember(self, pattern: tuple[str, str]) -> None:
        if self._patterns[0] != pattern:
            if pattern in self._patterns:
                self._patterns.remove(pattern)
            self._patterns.insert(0, pattern)
            del self._patterns[_MOST_PATTERNS:]

    def _search(self, container_ids: set[str]) -> dict[str, str]:
        """One walk for all of them, level by level, as far as the bounds allow."""
        found: dict[str, str] = {}
        waiting = deque([("", 0)])
        directories = entries = 0
        while waiting and len(found) < len(container_ids) and directories < _MOST_DIRECTORIES and entries < _MOST_ENTRIES:
            below, depth = waiting.popleft()
            directories += 1
            for name, has_children in _children(f"{self._top}/{below}"):
                entries += 1
                id_ = container_id_in(name)
                if id_ in container_ids and id_ not in found:
                    found[id_] = below + name
                    self._remember(
                        (below + name[: -len(id_)], "") if name.endswith(id_) else (below + name.partition(id_)[0], ".scope")
                    )
                elif has_children and depth + 1 < _DEEPEST:
                    waiting.append((f"{below}{name}/", depth + 1))
        return found


def container_id_in(name: str) -> str:
    """The container's id in the name of its directory: `<id>`, `docker-<id>.scope`, `libpod-<id>.scope` …

    A mount unit of systemd has the id in its name too (`…-containers-<id>-mounts-shm.mount`) and is no container.
    """
    return name.removesuffix(".scope").rpartition("-")[2] if name.endswith(".scope") else name


def _children(directory: str) -> list[tuple[str, bool]]:
    """Name of each directory in `directory`, and whether it has directories itself."""
    with suppress(OSError), os.scandir(directory) as entries:
        directories = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
        # Two links are its own and its dot: no directory below it, which saves reading it.
        return [(entry.name, entry.stat(follow_symlinks=False).st_nlink != 2) for entry in directories]
    return []
