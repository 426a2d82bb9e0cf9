"""Which engine a configuration means, and whether one answers. Follows DOCKER_HOST and its TLS variables, never CLI contexts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from guardian.clock import Clock, SystemClock
from guardian.config.schema import Config
from guardian.engine.docker import DockerEngine
from guardian.engine.link import Link
from guardian.engine.pools import TLSConfig, read_tls
from guardian.engine.protocol import Engine
from guardian.errors import EngineError
from guardian.telemetry import NullTelemetry, Telemetry

LOCAL_SOCKET = "unix:///var/run/docker.sock"
_FORMS = "unix:///path/to/docker.sock or tcp://host:port"


def open_engine(config: Config, clock: Clock, telemetry: Telemetry) -> Engine:
    """The Docker Engine that `engine.url` means. Makes no connection yet: that comes with the first call.

    Raises EngineError for a URL that is none, and for `simulated`, which needs a scenario.
    """
    if config.engine.url == "simulated":
        raise EngineError("engine.url: the simulated engine needs a scenario; use `guardian run --engine simulated`")
    return _docker(config.engine.url, float(config.engine.timeout), clock, telemetry, os.environ)


def open_link(config: Config, clock: Clock) -> Link:
    """Connections to the same engine, for an operator's calls that the daemon has no use for. Raises EngineError likewise."""
    url = resolve(config.engine.url, os.environ)
    return Link(url, float(config.engine.timeout), clock, NullTelemetry(), _tls(url, os.environ))


def resolve(url: str, environment: Mapping[str, str]) -> str:
    """`auto` as DOCKER_HOST, else the local socket; anything else as it is. Raises EngineError for another scheme."""
    resolved = (environment.get("DOCKER_HOST") or LOCAL_SOCKET) if url == "auto" else url
    source = "DOCKER_HOST" if url == "auto" else "engine.url"
    if not resolved.startswith(("unix:///", "tcp://")):
        raise EngineError(f"{source}: {resolved!r} is no engine that guardian can talk to; write {_FORMS}")
    return resolved


def reachable(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a Docker Engine answers at `url` (`auto` too) within `timeout_s`."""
    try:
        engine = _docker(url, timeout_s, SystemClock(), NullTelemetry(), os.environ)
    except EngineError:
        return False
    try:
        engine.info()
    except EngineError:
        return False
    finally:
        engine.close()
    return True


def _docker(url: str, timeout_s: float, clock: Clock, telemetry: Telemetry, environment: Mapping[str, str]) -> DockerEngine:
    resolved = resolve(url, environment)
    return DockerEngine(resolved, timeout_s, clock, telemetry, _tls(resolved, environment))


def _tls(url: str, environment: Mapping[str, str]) -> TLSConfig | None:
    return read_tls(environment) if url.startswith("tcp://") else None
