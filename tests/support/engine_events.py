"""What the engine itself says of starts and ends of containers: the truth that guardian's words are held against."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import docker
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError


@dataclass(frozen=True, slots=True)
class Change:
    """A container of `service` began or ceased to run. Time of the wall clock, by the engine."""

    at_wall_s: float
    service: str
    running: bool


class EngineEvents:
    """Collects every start and end of a Compose project's containers for as long as it is open. A context manager."""

    def __init__(self, url: str, project: str = "openpolicy") -> None:
        self._client = docker.APIClient(url, version="auto", timeout=60)
        filters = {"type": "container", "event": ["start", "die"], "label": f"com.docker.compose.project={project}"}
        self._stream = self._client.events(decode=True, filters=filters)
        self._changes: list[Change] = []
        self._thread = threading.Thread(target=self._follow, name="engine-events", daemon=True)
        self._thread.start()

    def __enter__(self) -> EngineEvents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def changes(self) -> tuple[Change, ...]:
        """All there were, oldest first."""
        return tuple(self._changes)

    def close(self) -> None:
        self._stream.close()
        self._thread.join(10)
        self._client.close()

    def _follow(self) -> None:
        with suppress(RequestException, HTTPError, OSError, ValueError):  # what reading a closed stream may raise
            for event in self._stream:
                service = event["Actor"]["Attributes"]["com.docker.compose.service"]
                self._changes.append(Change(event["timeNano"] / 1e9, service, event["Action"] == "start"))
