"""The address of `web.listen`."""

from __future__ import annotations

import ipaddress
import re

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")

LISTEN_FORM = "host:port such as 127.0.0.1:9877, [::1]:9877, or :9877 for every address"


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port; the host is empty for every address. Raise ValueError, saying what is allowed, for anything else."""
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"expected {LISTEN_FORM}, got {text!r}")
    if match["v6"] is not None:
        try:
            ipaddress.IPv6Address(match["v6"])
        except ValueError:
            raise ValueError(f"expected {LISTEN_FORM}, got {text!r}") from None
    return match["v6"] or match["host"], int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost may mean any address: no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
