"""Pressure triggers: the kernel says at once when tasks begin to wait for memory, I/O or CPU (PSI, Documentation/accounting/psi.rst).

A trigger is an open file of `/proc/pressure` to which a threshold was written; `poll` then reports POLLPRI when, within
a window, tasks have waited for longer than that. It costs nothing while nobody waits.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from guardian import logs

PARTS: Mapping[str, float] = {"memory": 0.1, "io": 0.5, "cpu": 0.5}
"""The share of a window for which somebody waits. Of memory, as systemd has it (200 ms of 2 s, systemd.resource-control(5)): it
is short then already. CPU and I/O are often waited for on a host that is merely in use."""
WINDOWS_S = (0.5, 2.0)  # the first needs CAP_SYS_RESOURCE; a multiple of 2 s is for everybody, from Linux 6.4 on
REST_S = 0.5  # the kernel reports once a window; where it does not keep to that, we do
END_S = 1.0

Register = Callable[[str, float, float], int]

_log = logs.get("pressure")


def register(resource: str, part: float, window_s: float, root: str = "/proc/pressure") -> int:
    """Set a trigger on `some`. The descriptor to poll; OSError where the kernel does not grant it, or knows no PSI."""
    descriptor = os.open(f"{root}/{resource}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"some {round(part * window_s * 1e6)} {round(window_s * 1e6)}\0".encode())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class PressureTriggers:
    """Calls `on_pressure(resource)` on a thread of its own, for each resource at most every REST_S."""

    def __init__(self, on_pressure: Callable[[str], None], register: Register = register) -> None:
        self._on_pressure = on_pressure
        self._register = register
        self._resources: dict[int, str] = {}  # by descriptor
        self._end: int | None = None  # an eventfd: written to, the thread ends
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Set what triggers the kernel grants, and wait for them. Where it grants none, that is said once, and all."""
        windows: dict[str, float] = {}
        refused = ""
        for resource, part in PARTS.items():
            for window_s in WINDOWS_S:
                try:
                    descriptor = self._register(resource, part, window_s)
                except OSError as error:
                    refused = error.strerror or str(error)
                    continue
                self._resources[descriptor] = resource
                windows[resource] = window_s
                break
        if not windows:
            _log.warning("no pressure triggers: the host is read at its pace only", error=refused)
            return
        _log.info("pressure triggers are set", **{f"{resource}_window_s": window_s for resource, window_s in windows.items()})
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, args=(self._end,), name="pressure", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no room for a thread: the host is read at its pace
            self._thread = None
            self._close()
            _log.warning("no pressure triggers: the host is read at its pace only", error=str(error))

    def stop(self) -> None:
        """End the thread and close every descriptor. May be called twice, and before `start`."""
        if self._thread is None or self._end is None:
            return
        os.eventfd_write(self._end, 1)
        self._thread.join(END_S)
        if not self._thread.is_alive():
            self._thread = None
            self._close()

    def _watch(self, end: int) -> None:
        poller = select.poll()
        poller.register(end, select.POLLIN)
        for descriptor in self._resources:
            poller.register(descriptor, select.POLLPRI)
        resting: dict[int, float] = {}  # until when
        while True:
            left_s = min(resting.values()) - time.monotonic() if resting else None
            for descriptor, events in poller.poll(None if left_s is None else max(0.0, left_s * 1000)):
                if descriptor == end:
                    return
                poller.unregister(descriptor)
                if events & select.POLLPRI:
                    resting[descriptor] = time.monotonic() + REST_S
                    with suppress(Exception):  # a wake that fails must not end the others
                        self._on_pressure(self._resources[descriptor])
                # else: the kernel has withdrawn the trigger (POLLERR)
            now_s = time.monotonic()
            for descriptor in [one for one, until_s in resting.items() if until_s <= now_s]:
                del resting[descriptor]
                poller.register(descriptor, select.POLLPRI)

    def _close(self) -> None:
        for descriptor in self._resources:
            os.close(descriptor)
        self._resources.clear()
        if self._end is not None:
            os.close(self._end)
            self._end = None
