"""A configuration against what runs: what guardian would make of these containers, and what it would miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardian.config.schema import Config
from guardian.model import Container, Health, Inventory
from guardian.policy.platform import Platform, Service, resolve


class FindingKind(StrEnum):
    MISSING = "missing"  # in the file, and no container of it
    UNMANAGED = "unmanaged"  # runs, and no phase has it
    UNSHEDDABLE = "unsheddable"  # a protected service requires it
    RESTART_RACE = "restart_race"  # its restart policy does at boot what target_phase leaves to guardian
    NO_MEMORY_LIMIT = "no_memory_limit"
    NO_HEALTH_CHECK = "no_health_check"
    PROBLEM = "problem"  # a label that cannot be used, a Swarm task …


MEANING = {
    FindingKind.MISSING: "in the file, but there is no container of it: start it, or correct the name",
    FindingKind.UNMANAGED: "runs in no phase: counts as use, is never stopped; put it into a phase, or leave it so",
    FindingKind.NO_MEMORY_LIMIT: "no memory limit: it alone can fill the host; `guardian limits` proposes one",
    FindingKind.NO_HEALTH_CHECK: "no health check: counts as up once it has run for restoring.stable_for; give it one, or `health` in the file",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing. `subject` is a service, or a container in no phase; empty for what the message names itself."""

    kind: FindingKind
    subject: str
    message: str


def compare(config: Config, containers: Sequence[Container]) -> tuple[Finding, ...]:
    """Every finding, by kind and then by name. `containers` are all in the scope of `config`, running or not."""
    platform = resolve(config, Inventory(at_s=0.0, containers=tuple(containers)))
    order = list(FindingKind)
    found = set(_services(config, platform)) | set(_others(platform))
    return tuple(sorted(found, key=lambda finding: (order.index(finding.kind), finding.subject, finding.message)))


def _services(config: Config, platform: Platform) -> Iterator[Finding]:
    for key, service in platform.services.items():
        name = str(key)
        if not service.containers and not service.completed:
            yield Finding(FindingKind.MISSING, name, MEANING[FindingKind.MISSING])
        if service.shielded_by is not None and not service.protected and not service.protect:
            yield Finding(
                FindingKind.UNSHEDDABLE,
                name,
                f"phase {service.listed_phase}, but {service.shielded_by} requires it and is protected: it is never stopped; change `requires`, or leave it so",
            )
        if race := _restart_race(service, config):
            yield Finding(FindingKind.RESTART_RACE, name, race)
        if any(container.memory_limit_bytes is None and not container.unknown for container in service.containers):
            yield Finding(FindingKind.NO_MEMORY_LIMIT, name, MEANING[FindingKind.NO_MEMORY_LIMIT])
        override = config.services.get(key.name)
        probed = override is not None and override.health is not None
        if not probed and any(container.health is Health.NONE for container in service.containers):
            yield Finding(FindingKind.NO_HEALTH_CHECK, name, MEANING[FindingKind.NO_HEALTH_CHECK])


def _restart_race(service: Service, config: Config) -> str:
    """What the engine does with it at a boot that target_phase would not; empty: nothing."""
    policies = {container.restart_policy for container in service.containers} - {"no"}
    if config.target_phase is None or not policies or service.protected:
        return ""
    if service.phase <= config.target_phase:
        return f"restart: {min(policies)} starts it at every boot at once; with `no` it comes back as there is room"
    if "always" in policies:
        return "above target_phase, and restart: always starts it at every boot all the same: use unless-stopped"
    return ""


def _others(platform: Platform) -> Iterator[Finding]:
    for name in platform.unmanaged:
        yield Finding(FindingKind.UNMANAGED, name, MEANING[FindingKind.UNMANAGED])
    for problem in platform.problems:
        yield Finding(FindingKind.PROBLEM, "", problem)
