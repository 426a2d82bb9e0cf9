"""Ends containers without the engine: by signals to the processes of their cgroups, where the engine hangs or is dead.

A process is signalled by pidfd, and only after its cgroup was seen to name the container while the pidfd was open: a number
that was given to another process in between never hits that one (pidfd_open(2), pidfd_send_signal(2)).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from guardian.clock import Clock
from guardian.errors import SignalError
from guardian.model import Result
from guardian.sense.cgroup_paths import CgroupFinder, Hierarchy, container_id_in, find_hierarchy, own_path

LOOK_EVERY_S = 0.02  # how long to the next look at what is left; a killed process takes about as long
_CAP_KILL = 5  # capabilities(7)
_LONGEST = 1 << 20  # bytes of one cgroup.procs
_NOT_HERE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)  # removed meanwhile; threads alone, whose processes stand above


class Signaller:
    """Stops containers of this host by their ids. Safe to use from any thread; needs CAP_KILL, and to see the host's processes."""

    def __init__(self, clock: Clock, root: str = "/sys/fs/cgroup", proc_root: str = "/proc") -> None:
        self._clock = clock
        self._root = root
        self._proc_root = proc_root
        self._lock = threading.Lock()
        self._hierarchy: Hierarchy | None = None
        self._finder: CgroupFinder | None = None

    def problem(self) -> str:
        """Why nothing could be ended by signal here, in words; empty where it could. Signals nobody."""
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as error:
            return f"this kernel has no pidfd ({error.strerror}): Linux 5.3 or newer is needed"
        if self._ready() is None:
            return f"no cgroups of containers are seen below {self._root}"
        if not _has_capability(self._content("self/status"), _CAP_KILL):
            return "guardian may not signal the processes of others: run it as root, or give it CAP_KILL"
        return ""

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        """End all processes of one container, and return once none is left: DONE, GONE (there was none) or TIMED_OUT.

        SIGTERM first, to those that the engine started, as its own stop does; after `grace_s` SIGKILL to all. `grace_s` 0
        kills at once; with `kill=False` there is no SIGKILL, however long it takes. Blocks up to `deadline_s`. Raises
        SignalError where it cannot be told which processes these are, or they may not be signalled.
        """
        ends_s = self._clock.monotonic() + deadline_s
        folder = self._folder(container_id)
        if not self._left(folder):
            return Result.GONE
        if not kill or grace_s > 0:
            pids = self._pids(folder)
            self._send(container_id, self._started(pids), signal.SIGTERM)
            patience_s = min(ends_s, self._clock.monotonic() + grace_s) if kill else ends_s
            if self._empties(folder, patience_s):
                return Result.DONE
            if not kill:
                return Result.TIMED_OUT
        while True:  # what was just being forked is found by the next look
            self._kill(container_id, folder)
            now_s = self._clock.monotonic()
            if self._empties(folder, min(ends_s, now_s + LOOK_EVERY_S)):
                return Result.DONE
            if now_s >= ends_s:
                return Result.TIMED_OUT

    # --- which processes --------------------------------------------------------------------------------------------

    def _ready(self) -> Hierarchy | None:
        """The hierarchy, looked for until it is there."""
        with self._lock:
            if self._hierarchy is None:
                self._hierarchy = find_hierarchy(self._root)
                if self._hierarchy is not None:
                    self._finder = CgroupFinder(self._clock, self._hierarchy.memory, own_path(self._hierarchy, self._proc_root))
            return self._hierarchy

    def _folder(self, container_id: str) -> str:
        hierarchy = self._ready()
        with self._lock:
            found = {} if self._finder is None else self._finder.locate([container_id])
        if hierarchy is None or container_id not in found:
            raise SignalError(f"no cgroup of container {container_id[:12]} is found below {self._root}: it may have ended")
        return f"{hierarchy.memory}/{found[container_id]}"

    def _pids(self, folder: str) -> list[int]:
        """Of the cgroup and of those below it. A cgroup that is gone has none."""
        pids: list[int] = []
        for below, _, _ in os.walk(folder):
            try:
                with open(f"{below}/cgroup.procs", "rb") as file:
                    pids.extend(int(line) for line in file.read(_LONGEST).split())
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise SignalError(f"{below}/cgroup.procs: {error.strerror}") from error
        if 0 in pids:  # so the kernel writes those that it does not let us see
            raise SignalError(f"{folder}: its processes are not seen from here; run guardian with the host's pid namespace")
        return pids

    def _left(self, folder: str) -> bool:
        """Whether a process of it lives. One that has ended and is not yet reaped holds no memory."""
        for pid in self._pids(folder):
            with _pidfd(pid) as descriptor:
                if descriptor is not None and not _has_ended(descriptor):
                    return True
        return False

    def _empties(self, folder: str, until_s: float) -> bool:
        """Wait until nothing is left in it, at most until then."""
        while self._left(folder):
            left_s = until_s - self._clock.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(LOOK_EVERY_S, left_s))
        return True

    def _started(self, pids: Iterable[int]) -> list[int]:
        """Those that the engine started, its init above all: their parents are outside. The rest is theirs to end."""
        all_of_it = set(pids)
        return [pid for pid in all_of_it if _parent(self._content(f"{pid}/status")) not in all_of_it]

    def _is_of(self, pid: int, container_id: str) -> bool:
        """Whether the kernel says that the process is in the container's cgroup now, or below it."""
        text = self._content(f"{pid}/cgroup")
        version = 0 if self._hierarchy is None else self._hierarchy.version
        for line in text.splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if (number == "0") if version == 2 else ("memory" in controllers.split(",")):
                return any(container_id_in(part) == container_id for part in path.split("/"))
        return False

    # --- signals ----------------------------------------------------------------------------------------------------

    def _kill(self, container_id: str, folder: str) -> None:
        """All at once where the kernel can (cgroup v2, Linux 5.14) and lets us; else one by one."""
        with suppress(OSError), open(f"{folder}/cgroup.kill", "r+b", buffering=0) as file:
            file.write(b"1")
            return
        self._send(container_id, self._pids(folder), signal.SIGKILL)

    def _send(self, container_id: str, pids: Iterable[int], which: signal.Signals) -> None:
        for pid in pids:
            with _pidfd(pid) as descriptor:
                if descriptor is None or _has_ended(descriptor):
                    continue
                if not self._is_of(pid, container_id):
                    continue  # it has moved, or the number is another's by now; what cannot be told is never signalled
                try:
                    signal.pidfd_send_signal(descriptor, which)
                except ProcessLookupError:
                    continue
                except PermissionError:
                    raise SignalError(
                        f"process {pid} of container {container_id[:12]} may not be signalled: run guardian as root, or with CAP_KILL"
                    ) from None

    def _content(self, name: str) -> str:
        """Of a file in /proc; empty where it cannot be read."""
        with suppress(OSError), open(f"{self._proc_root}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read(65536)
        return ""


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """None where there is no such process any more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    except OSError as error:
        raise SignalError(f"process {pid} cannot be opened: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _has_ended(descriptor: int) -> bool:
    """A pidfd can be read once its process, with all its threads, has ended."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _parent(status: str) -> int:
    return int(_field(status, "PPid") or 0)


def _has_capability(status: str, number: int) -> bool:
    return bool(int(_field(status, "CapEff") or "0", 16) >> number & 1)


def _field(status: str, name: str) -> str:
    """Of a /proc/PID/status."""
    return next((line.partition(":")[2].strip() for line in status.splitlines() if line.startswith(f"{name}:")), "")
