"""Limits and health checks as a Compose file that is laid over others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardian.compose.model import ComposeProject, ComposeService
from guardian.proposal.kinds import Kind, kind_of
from guardian.proposal.write import quoted

_MIB = 1 << 20
_PROBED = frozenset({Kind.APPLICATION, Kind.PROXY})


@dataclass(frozen=True, slots=True)
class Override:
    """What one service is to have. None: as it is. `why` stands beside it as a comment."""

    service: str
    memory_bytes: int | None = None
    reservation_bytes: int | None = None
    cores: float | None = None
    why: str = ""


def override_text(project: ComposeProject, overrides: Sequence[Override]) -> str:
    """The whole file. Services that the project does not have are left out: a Compose file cannot add half a service."""
    known = [(project.services[one.service], one) for one in overrides if one.service in project.services]
    return "".join(f"{line}\n" for line in _lines(project, known))


def _lines(project: ComposeProject, known: Sequence[tuple[ComposeService, Override]]) -> Iterator[str]:
    files = " ".join(f"-f {file}" for file in project.files)
    yield "# Limits and health checks, written by `guardian limits --write`. To have them at the next recreation:"
    yield f"#   docker compose {files} -f THIS-FILE up -d"
    yield "# The limits stand twice, as Compose v1 heeds only the older keys, and v2 wants both to be the same."
    if project.version is not None:
        yield f'version: "{project.version}"'
    yield "services:"
    some = False
    for service, override in known:
        body = [*_limits(service, override), *_health_check(service)]
        if body:
            some = True
            yield f"  {quoted(service.name)}:" + (f"  # {override.why}" if override.why else "")
            yield from body
    if not some:
        yield "  {}"


def _limits(service: ComposeService, override: Override) -> Iterator[str]:
    """What is not changed stands here too: v2 compares the whole of `deploy.resources` with the older keys."""
    memory = override.memory_bytes or service.memory_limit_bytes
    reservation = override.reservation_bytes or service.memory_reservation_bytes
    cores = override.cores or service.cpu_limit_cores
    limits = [*([f"memory: {_size(memory)}"] if memory else []), *([f"cpus: '{cores:g}'"] if cores else [])]
    if not limits and not reservation:
        return
    if memory:
        yield f"    mem_limit: {_size(memory)}"
    if reservation:
        yield f"    mem_reservation: {_size(reservation)}"
    if cores:
        yield f"    cpus: {cores:g}"
    if service.pids_limit:  # v2 would want it under `deploy` too, where v1 knows no such key
        return
    yield "    deploy:"
    yield "      resources:"
    if limits:
        yield f"        limits: {{{', '.join(limits)}}}"
    if reservation:
        yield f"        reservations: {{memory: {_size(reservation)}}}"


def _health_check(service: ComposeService) -> Iterator[str]:
    """The standard one, for applications without one whose port is known. It needs curl in the image."""
    port = next((port.target for port in service.ports if port.protocol == "tcp" and re.fullmatch("[0-9]+", port.target)), None)
    port = port or next(iter(service.expose), None)
    if service.health_check or port is None or kind_of(service.name, service.image).kind not in _PROBED:
        return
    yield "    healthcheck:  # needs curl in the image, and this path: change it, or take it out, where they are not there"
    yield f'      test: ["CMD", "curl", "-f", "http://localhost:{port}/health"]'
    yield "      interval: 30s"
    yield "      timeout: 10s"
    yield "      retries: 3"
    yield "      start_period: 40s"


def _size(size_bytes: int) -> str:
    """As every Compose reads it: `m` counts 1024s."""
    return f"{size_bytes // _MIB}m" if size_bytes % _MIB == 0 else f"{size_bytes}b"
