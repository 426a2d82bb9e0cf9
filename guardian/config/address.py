"""Addresses in the file: where guardian listens, and what it probes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

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


ENDPOINT_FORM = "host:port such as 127.0.0.1:5432 or [::1]:5432"
URL_FORM = "a URL such as http://127.0.0.1:8000/health or https://…"


@dataclass(frozen=True, slots=True)
class Url:
    """Of an HTTP probe. `target` is the path with the query, as it is sent."""

    host: str
    port: int
    target: str
    tls: bool

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_endpoint(text: str) -> tuple[str, int]:
    """Host and port to connect to. Raise ValueError, saying what is allowed, for anything else."""
    try:
        host, port = parse_listen(text)
    except ValueError:
        host, port = "", 0
    if not host or not port:
        raise ValueError(f"expected {ENDPOINT_FORM}, got {text!r}")
    return host, port


def parse_url(text: str) -> Url:
    """Raise ValueError, saying what is allowed, for anything but http and https, and for what cannot be sent as it stands."""
    wrong = ValueError(f"expected {URL_FORM}, got {text!r}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise wrong
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not all("!" <= character <= "~" for character in parts.netloc + target):
        raise wrong
    return Url(parts.hostname, port or (443 if tls else 80), target, tls)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost may mean any address: no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
