"""Tells systemd how the daemon is: the protocol of sd_notify(3), which is one datagram per message."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Sends states to the service manager. Does nothing where none asked for them, never raises, and waits 0.1 s at most."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. The stamp tells systemd that this belongs to its own order (Type=notify-reload)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def watchdog(self) -> None:
        """The daemon is alive: to be called after a completed tick, and by nothing else."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(0.1)  # a manager that reads nothing must not hold up a tick
            sender.sendto(message.encode("utf-8", "replace"), self._address)


def _address(path: str) -> str | None:
    """A path, or a name in the abstract namespace, which the environment writes with `@` for the leading NUL."""
    if path.startswith("@"):
        return "\0" + path[1:]
    return path if path.startswith("/") else None
