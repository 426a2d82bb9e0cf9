"""Limits of one container as the engine has them, and their change while it runs. Raw calls: docker-py cannot send NanoCpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardian.engine import endpoints
from guardian.engine.link import Link
from guardian.engine.parse import MALFORMED
from guardian.errors import EngineProtocolError

_PERIOD_US = 100_000  # the kernel's own, where a quota is set without one


@dataclass(frozen=True, slots=True)
class InForce:
    """None: no limit. `swap_bytes` is of memory and swap together, as the engine has it: -1 is without limit."""

    memory_bytes: int | None = None
    swap_bytes: int | None = None
    reservation_bytes: int | None = None
    nano_cpus: int | None = None
    quota_us: int | None = None  # where it is not by NanoCpus
    period_us: int | None = None

    @property
    def cores(self) -> float | None:
        if self.nano_cpus is not None:
            return self.nano_cpus / 1e9
        return None if self.quota_us is None else self.quota_us / (self.period_us or _PERIOD_US)


def update_of(
    now: InForce, memory_bytes: int | None = None, reservation_bytes: int | None = None, cores: float | None = None
) -> dict[str, int]:
    """The body of an update that sets these and leaves what is None.

    The swap that a container may use beside its memory stays what it is: as much again where the engine chose it, and for a
    first limit, as the engine would for a new container. A quota that was not made by NanoCpus can only be changed as one.
    """
    body: dict[str, int] = {}
    if memory_bytes is not None:
        body["Memory"] = memory_bytes
        if now.swap_bytes == -1:
            body["MemorySwap"] = -1
        elif now.memory_bytes is None or now.swap_bytes is None or now.swap_bytes == 2 * now.memory_bytes:
            body["MemorySwap"] = 2 * memory_bytes
        else:
            body["MemorySwap"] = memory_bytes + max(0, now.swap_bytes - now.memory_bytes)
    if reservation_bytes is not None:
        body["MemoryReservation"] = reservation_bytes
    if cores is not None:
        if now.quota_us is not None and now.nano_cpus is None:
            body["CpuQuota"] = max(1000, round(cores * (now.period_us or _PERIOD_US)))
        else:
            body["NanoCpus"] = round(cores * 1e9)
    return body


def read_limits(link: Link, container_id: str, timeout_s: float) -> InForce | None:
    """None where the container does not exist. Raises EngineError."""
    answer = link.call(endpoints.INSPECT, timeout_s, container_id)
    if answer.status == 404:
        return None
    try:
        return _in_force(answer.body["HostConfig"])
    except MALFORMED as error:
        raise EngineProtocolError(f"the engine gave an answer to an inspect of an unknown form: {error!r}") from error


def update_limits(link: Link, container_id: str, body: Mapping[str, int], timeout_s: float) -> str:
    """Empty where the engine took it, else its words. Raises EngineError where it did not answer."""
    answer = link.call(endpoints.UPDATE, timeout_s, container_id, body=body)
    return answer.message if answer.status >= 400 else ""


def _in_force(host: Mapping[str, Any]) -> InForce:
    swap = int(host.get("MemorySwap") or 0)
    return InForce(
        memory_bytes=_positive(host.get("Memory")),
        swap_bytes=swap if swap == -1 else _positive(swap),
        reservation_bytes=_positive(host.get("MemoryReservation")),
        nano_cpus=_positive(host.get("NanoCpus")),
        quota_us=_positive(host.get("CpuQuota")),
        period_us=_positive(host.get("CpuPeriod")),
    )


def _positive(value: int | None) -> int | None:
    return int(value) if value is not None and value > 0 else None
