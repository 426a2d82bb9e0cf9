"""Every call that guardian makes to a Docker Engine. There is no other way to make one, so that a filter before it can be exact."""

from __future__ import annotations

from dataclasses import dataclass

ID = "{id}"


def version_numbers(api_version: str) -> tuple[int, ...]:
    """An API version such as `1.41`, to compare."""
    return tuple(int(part) for part in api_version.split(".") if part.isdigit())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call. `operation` is its name in metrics; `{id}` in `path` stands for a container's 64 hexadecimal digits."""

    operation: str
    method: str
    path: str
    purpose: str
    acts: bool = False  # changes something: used in enforce mode, and for an operator's order

    def at(self, container_id: str = "") -> str:
        """The path for that container."""
        return self.path.replace(ID, container_id)

    @property
    def pattern(self) -> str:
        """A regular expression for the whole path as it is sent, without the query."""
        version = "" if self is VERSION else r"/v1\.[0-9]+"
        return "^" + version + self.path.replace(ID, "[0-9a-f]{64}") + "$"


VERSION = Endpoint("version", "GET", "/version", "which API it speaks, at each new connection")
PING = Endpoint("ping", "GET", "/_ping", "whether it answers")
INFO = Endpoint("info", "GET", "/info", "its id, its version, and the size of the host")
LIST = Endpoint("list", "GET", "/containers/json", "which containers there are")
INSPECT = Endpoint("inspect", "GET", "/containers/{id}/json", "what one of them is, when something was heard of it")
STATS = Endpoint("stats", "GET", "/containers/{id}/stats", "what it uses, where no cgroup file tells, and once to compare")
EVENTS = Endpoint("events", "GET", "/events", "what happens to them")
DISK = Endpoint(
    "disk",
    "GET",
    "/system/df",
    "what lies on its disk, every six hours, never under pressure, and by `guardian storage --refresh`",
)
LOGS = Endpoint("logs", "GET", "/containers/{id}/logs", "the last lines of what failed, for `guardian rollout` alone")
STOP = Endpoint("stop", "POST", "/containers/{id}/stop", "to shed", acts=True)
KILL = Endpoint("kill", "POST", "/containers/{id}/kill", "to shed what gets no time, or takes none", acts=True)
START = Endpoint("start", "POST", "/containers/{id}/start", "to restore", acts=True)
RESTART = Endpoint(
    "restart", "POST", "/containers/{id}/restart", "to restart what is unhealthy, with `health.restart`", acts=True
)
UPDATE = Endpoint(
    "update",
    "POST",
    "/containers/{id}/update",
    "CPU quota, with `on_pressure: throttle`; for `guardian limits --apply`",
    acts=True,
)

ENDPOINTS = (VERSION, PING, INFO, LIST, INSPECT, STATS, EVENTS, DISK, LOGS, STOP, KILL, START, RESTART, UPDATE)
