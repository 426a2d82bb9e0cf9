"""Ports for servers of a test's own."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One of 127.0.0.1 at which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
