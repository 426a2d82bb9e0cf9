"""Addresses that hold a secret: those of webhooks. No more of one than its host is ever shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HIDDEN_FORM = "an address such as https://host/path"


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """An address of HTTP or HTTPS that may hold a secret, as those of webhooks do: as a text it is only its host."""

    url: str = field(default="", repr=False)

    def __str__(self) -> str:
        return hide_secrets(self.url)


def parse_secret_url(value: object) -> SecretUrl:
    """Raise ValueError, without the value, for anything but the address of an HTTP server."""
    if isinstance(value, str):
        try:
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", value):
                return SecretUrl(value)
        except ValueError:  # a port that is none, half an IPv6 address
            pass
    raise ValueError(f"expected {HIDDEN_FORM}; it is not shown here, for it may hold a secret")


def hide_secrets(text: str) -> str:
    """`https://user:word@host/secret` -> `https://host/…`: no more of an address than its host."""
    return _SECRETS.sub(r"\1\2/…", text)


_SECRETS = re.compile(r"(https?://)(?:[^/\s@]*@)?([^/\s'\"?#]*)[^\s'\"]*")
