"""An operator's emergency: what is kept, what is ended, and what that brings. Pure: the plan of `guardian emergency`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardian.model import Action, ActionKind, ServiceKey
from guardian.policy.platform import Platform, Service

ENGINE_RESTART = "engine_restart"  # the reason of what is down because an operator had the engine restarted
RESTART_WITHIN_S = 300.0  # from the order on, everything ends with the engine within this
BACK_WITHIN_S = 60.0  # from its restart on, the engine answers
ROUNDS = 2.0  # how old a use may be, in rounds: it is only shown


@dataclass(frozen=True, slots=True)
class Plan:
    """What an emergency comes to. Services are in the order in which they are shown."""

    kept: tuple[tuple[Service, str], ...]  # and why
    ended: tuple[tuple[Service, int | None], ...]  # that run, highest phase first; and the footprint of each
    untouched: tuple[str, ...]  # running containers of the projects that no phase lists

    @property
    def relief_bytes(self) -> int:
        """What is known of it."""
        return sum(footprint or 0 for _, footprint in self.ended)

    @property
    def unknown(self) -> bool:
        """Whether the use of one that ends is not known."""
        return any(footprint is None for _, footprint in self.ended)

    def as_data(self) -> dict[str, Any]:
        """For programs, and for `guardian.cli.emergency` to draw."""
        return {
            "kept": [{**_named(service), "why": why, "running": bool(service.up)} for service, why in self.kept],
            "ended": [{**_named(service), "footprint_bytes": footprint} for service, footprint in self.ended],
            "untouched": list(self.untouched),
            "relief_bytes": self.relief_bytes,
            "relief_is_whole": not self.unknown,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, or was not, and to which service."""

    name: str
    ok: bool
    detail: str = ""
    service: str = ""


def from_file(keep: Sequence[str], platform: Platform) -> frozenset[ServiceKey]:
    """The services that `emergency.keep` names."""
    return frozenset(key for key in platform.services if key.name in keep)


def with_engine(services: Iterable[Service], run_id: str, by: str) -> list[Action]:
    """What to enter into the ledger of services that will end with the engine, when that is restarted."""
    return [
        Action(
            id=f"{run_id}-with-engine-{number}",
            kind=ActionKind.SHED,
            service=service.key,
            phase=service.phase,
            containers=tuple(container.id for container in service.up),
            reason=ENGINE_RESTART,
            deadline_s=RESTART_WITHIN_S,
            by=by,
        )
        for number, service in enumerate(services)
        if service.up
    ]


def plan(
    platform: Platform, pins: frozenset[ServiceKey], keep: frozenset[ServiceKey], keep_phase: int | None, now_s: float
) -> Plan:
    """Whoever is not kept is ended. Besides those of `keep`, and of phases up to `keep_phase`, nothing under protect or pinned is touched."""
    why = {key: _why_kept(service, pins, keep, keep_phase) for key, service in platform.services.items()}
    for key in platform.services:
        if not why[key]:
            needing = [other for other in sorted(platform.requirers.get(key, frozenset())) if why[other]]
            why[key] = f"required by {needing[0]}" if needing else ""
    order = sorted(platform.services.values(), key=lambda one: (-one.phase, platform.stop_order.get(one.key, 0), one.key))
    return Plan(
        kept=tuple((one, why[one.key]) for one in reversed(order) if why[one.key]),
        ended=tuple((one, platform.footprint(one, now_s, ROUNDS)) for one in order if one.up and not why[one.key]),
        untouched=platform.unmanaged,
    )


def _why_kept(service: Service, pins: frozenset[ServiceKey], keep: frozenset[ServiceKey], keep_phase: int | None) -> str:
    if service.protect:
        return "protect"
    if service.key in pins:
        return "pinned"
    if not service.enforced:
        return "its phase is only observed"
    if service.key in keep:
        return "kept"
    return f"phase {service.phase}" if keep_phase is not None and service.phase <= keep_phase else ""


def _named(service: Service) -> Mapping[str, Any]:
    return {"service": str(service.key), "phase": service.phase}
