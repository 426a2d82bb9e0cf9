"""Who is who: containers, file and labels become managed services with their effective phase, protection and dependencies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from guardian.config.schema import Config, ServiceConfig
from guardian.model import Container, ContainerState, Health, Inventory, Mode, ServiceKey, Usage

ENGINE_STOP_TIMEOUT_S = 10.0  # Docker's own default


@dataclass(frozen=True, slots=True)
class Service:
    """One managed service. `phase` is effective: the lowest of its own and of those that require it."""

    key: ServiceKey
    phase: int
    listed_phase: int
    enforced: bool = True
    protected: bool = False  # its phase is
    protect: bool = False  # absolute
    priority: int = 0
    kill_never: bool = False
    throttle: bool = False
    restarts_per_hour: int = 0  # while it is unhealthy; 0: it is not restarted for that
    stop_timeout_s: float = ENGINE_STOP_TIMEOUT_S
    containers: tuple[Container, ...] = ()
    completed: bool = False  # it has none of them left to manage: all have ended well, and nothing starts them again
    requires: frozenset[ServiceKey] = frozenset()  # what it cannot do without
    depends_on: frozenset[ServiceKey] = frozenset()  # order only
    shielded_by: ServiceKey | None = None  # a protected service that requires it
    memory_limit_bytes: int | None = None  # of all replicas together
    cpu_limit_cores: float | None = None
    memory_share_bytes: float | None = None  # reservation, else limit, else its part of the phase's budget
    cpu_share_cores: float | None = None
    cpu_reservation_cores: float | None = None  # of one replica

    up: tuple[Container, ...] = field(init=False)
    holding: tuple[Container, ...] = field(init=False)  # with processes: one that waits for its restart holds nothing
    names: tuple[str, ...] = field(init=False)  # of the containers
    restarts: int = field(init=False)  # of all replicas
    healthy: bool | None = field(init=False)  # of what is up; None: no health check, or starting

    def __post_init__(self) -> None:
        """Look through the containers once: every tick asks for these, of every service."""
        up = tuple(container for container in self.containers if container.state.up)
        healths = {container.health for container in up}
        healthy = True if healths == {Health.HEALTHY} else None
        for name, value in (
            ("up", up),
            ("holding", tuple(container for container in up if container.state is not ContainerState.RESTARTING)),
            ("names", tuple(container.name for container in self.containers)),
            ("restarts", sum(container.restarts for container in self.containers)),
            ("healthy", False if Health.UNHEALTHY in healths else healthy),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Platform:
    """Every managed service, by key, and what is known of their use. Built anew when the inventory or the file changes."""

    services: Mapping[ServiceKey, Service]
    containers: Mapping[str, Container] = field(default_factory=dict)  # all in scope, managed or not, by id
    unmanaged: tuple[str, ...] = ()  # running containers in scope that no phase lists
    problems: tuple[str, ...] = ()  # in words: labels that could not be used, Swarm tasks …
    completed: frozenset[str] = frozenset()  # ids of what looks like a completed one-shot, and is managed only where it is owed
    awaited: frozenset[ServiceKey] = frozenset()  # one-shots for sure: others depend on their being completed, as labels tell
    usage: Mapping[str, Usage] = field(default_factory=dict)
    read_s: float | None = None
    round_s: float = 5.0

    @cached_property
    def requirers(self) -> Mapping[ServiceKey, frozenset[ServiceKey]]:
        """Of each service, all that require it, directly or through others."""
        direct: dict[ServiceKey, set[ServiceKey]] = {}
        for service in self.services.values():
            for needed in service.requires:
                direct.setdefault(needed, set()).add(service.key)
        return {key: _closure(key, direct) for key in direct}

    @cached_property
    def stop_order(self) -> Mapping[ServiceKey, int]:
        """Dependents before what they depend on: a position for each service. Members of a cycle keep name order."""
        edges = {key: requires | depends_on for key, (requires, depends_on) in self._edges.items()}
        return {key: position for position, key in enumerate(reversed(_topological(edges)))}

    @cached_property
    def _edges(self) -> Mapping[ServiceKey, tuple[frozenset[ServiceKey], frozenset[ServiceKey]]]:
        return {key: (service.requires, service.depends_on) for key, service in self.services.items()}

    @cached_property
    def sick(self) -> tuple[Service, ...]:
        """Those that are unhealthy and are to be restarted for it."""
        return tuple(one for one in self.services.values() if one.restarts_per_hour and one.healthy is False)

    @cached_property
    def newest_start_s(self) -> float:
        """When the container that was started last was; infinite where one is not known, -infinite where none runs."""
        starts = (container.started_s for service in self.services.values() for container in service.holding)
        return max((math.inf if start_s is None else start_s for start_s in starts), default=-math.inf)

    @cached_property
    def highest_up(self) -> int:
        """The highest phase of which anything runs; 0 where nothing does."""
        return max((service.phase for service in self.services.values() if service.up), default=0)

    def read_again(self, inventory: Inventory) -> Platform:
        """The same services with newer use."""
        newer = replace(self, usage=inventory.usage, read_s=inventory.at_s, round_s=inventory.round_s)
        return self._hand_on(newer, "requirers", "stop_order", "newest_start_s", "sick", "highest_up")

    def after(self, before: Platform) -> Platform:
        """This, with what follows from dependencies: of the platform before where they are the same, else worked out now.

        Left for later it would be worked out when memory runs short.
        """
        if self._edges == before._edges:
            before._hand_on(self, "requirers", "stop_order")
        _ = self.requirers, self.stop_order
        return self

    def with_containers(self, changed: Mapping[ServiceKey, tuple[Container, ...]]) -> Platform:
        """The same services, some with other containers."""
        services = {key: replace(self.services[key], containers=containers) for key, containers in changed.items()}
        return self._hand_on(replace(self, services={**self.services, **services}), "requirers", "stop_order")

    def in_emergency(self, keep: frozenset[str]) -> Platform:
        """The same services where no phase protects: safe are those under `protect` or named in `keep`, and what they require."""
        safe = {key for key, service in self.services.items() if service.protect or key.name in keep}
        services = {
            key: replace(
                service,
                protected=False,
                protect=key in safe,
                shielded_by=min(self.requirers.get(key, frozenset()) & safe, default=None),
            )
            for key, service in self.services.items()
        }
        return self._hand_on(replace(self, services=services), "requirers", "stop_order", "newest_start_s")

    def _hand_on(self, newer: Platform, *derived: str) -> Platform:
        """What was derived from what has not changed is kept."""
        newer.__dict__.update({name: self.__dict__[name] for name in derived if name in self.__dict__})
        return newer

    def fresh_for_s(self, rounds: float) -> float:
        """How old a reading of `rounds` rounds ago may be: half a round and a second of slack."""
        return (rounds + 0.5) * self.round_s + 1.0

    def fresh(self, container: Container, now_s: float, rounds: float = 1.0) -> Usage | None:
        """The container's use if it was read at most `rounds` rounds ago, else None."""
        usage = self.usage.get(container.id)
        return None if usage is None or now_s - usage.at_s > self.fresh_for_s(rounds) else usage

    def footprint(self, service: Service, now_s: float, rounds: float = 1.0) -> int | None:
        """Of its replicas that run, in bytes; None where one of them is unknown."""
        total = 0
        for container in service.holding:
            usage = self.fresh(container, now_s, rounds)
            if usage is None or usage.footprint_bytes is None:
                return None
            total += usage.footprint_bytes
        return total

    def cores(self, service: Service, now_s: float, rounds: float = 1.0) -> float | None:
        """CPU of its replicas that run; None where one of them is unknown."""
        total = 0.0
        for container in service.holding:
            usage = self.fresh(container, now_s, rounds)
            if usage is None or usage.cpu_cores is None:
                return None
            total += usage.cpu_cores
        return total


EMPTY = Platform(services={})


def resolve(
    config: Config,
    inventory: Inventory,
    excluded: frozenset[str] = frozenset(),
    cpus: float | None = None,
    owed: frozenset[str] = frozenset(),
) -> Platform:
    """Sort the containers of `inventory` into managed services.

    The file comes first, labels second. `excluded` are container ids that are never managed: guardian's own and the
    proxy it talks through. What is outside the file's `project` and `containers`, and in the inventory because something of
    it is owed, is not managed either, nor warned of. `cpus` is the capacity that CPU budgets are shares of. Containers of `compose run`, completed
    one-shots and Swarm tasks are never managed; of a service that has no other container it is known that it has completed.
    `owed` are ids of containers that the ledger holds: one that guardian stopped may look like a completed one-shot, and is none.
    """
    grouped: dict[ServiceKey, list[Container]] = {}
    unmanaged: list[str] = []
    problems: list[str] = []
    completed: set[str] = set()
    ended: set[ServiceKey] = set()
    awaited = frozenset(ServiceKey(one.service.project, name) for one in inventory.containers for name in one.awaits)
    phases = {phase.phase: phase for phase in config.phases}
    listed = {name: phase.phase for phase in config.phases for name in phase.services}
    by_label: dict[ServiceKey, int] = {}

    for container in inventory.containers:
        if container.id in excluded or container.oneoff:
            continue
        done = container.completed or (container.service in awaited and _ended_well(container))
        if done:
            completed.add(container.id)
        if not _named_by(config, container.service):
            continue
        problems.extend(f"{container.name}: {problem}" for problem in container.labels.problems)
        if container.swarm:
            problems.append(f"{container.name}: a Swarm task; Swarm would start it again, so it is not managed")
            continue
        label = container.labels.phase
        if container.service.name not in listed and (label is None or label not in phases):
            if label is not None and not done:
                problems.append(f"{container.name}: label guardian.phase={label}: the file has no such phase")
            if container.state.up:
                unmanaged.append(container.name)
            continue
        if container.auto_remove:
            problems.append(f"{container.name}: the engine removes it when it ends (--rm), so it is never stopped")
        if container.unknown:
            problems.append(f"{container.name}: it cannot be inspected, so it is never stopped; `docker inspect` may say why")
        members = grouped.setdefault(container.service, [])
        if done and container.id not in owed:
            ended.add(container.service)
        else:
            members.append(container)
        if container.service.name not in listed and label is not None:
            by_label[container.service] = min(label, by_label.get(container.service, label))

    there = {key.name for key in grouped}
    for name in listed:  # in the file, without a container
        if name not in there:
            project = "" if name in config.containers or not config.projects else config.projects[0]
            grouped[ServiceKey(project, name)] = []

    services = {}
    for key, containers in grouped.items():
        phase = listed.get(key.name) or by_label[key]
        replicas = tuple(sorted(containers, key=lambda c: (c.number, c.name)))
        service = _service(config, key, phase, replicas)
        services[key] = replace(service, completed=True) if key in ended and not replicas else service
    services = _with_dependencies(config, services)
    services = _with_shares(config, services, cpus)
    return Platform(
        services=dict(sorted(services.items())),
        containers={container.id: container for container in inventory.containers},
        unmanaged=tuple(sorted(unmanaged)),
        problems=tuple(sorted(set(problems))),
        completed=frozenset(completed),
        awaited=awaited,
        usage=inventory.usage,
        read_s=inventory.at_s,
        round_s=inventory.round_s,
    )


def _named_by(config: Config, key: ServiceKey) -> bool:
    """Whether the file's `project` or `containers` take this service in."""
    return key.project in config.projects if key.project else key.name in config.containers


def _service(config: Config, key: ServiceKey, phase_number: int, containers: tuple[Container, ...]) -> Service:
    phase = next(phase for phase in config.phases if phase.phase == phase_number)
    override = config.services.get(key.name, ServiceConfig())
    labels = [container.labels for container in containers]
    priority = override.priority
    if priority is None:
        priority = max((label.priority for label in labels if label.priority is not None), default=0)
    protect = override.protect
    if protect is None:
        protect = any(label.protect for label in labels)
    # What a stop removes comes back by nobody, and what is not known may be such a one.
    protect = protect or any(container.auto_remove or container.unknown for container in containers)
    timeout: float | None = override.stop_timeout
    if timeout is None:
        timeouts = (
            label.stop_timeout_s if label.stop_timeout_s is not None else container.stop_timeout_s
            for label, container in zip(labels, containers, strict=True)
        )
        timeout = max((ENGINE_STOP_TIMEOUT_S if value is None else value for value in timeouts), default=ENGINE_STOP_TIMEOUT_S)
    return Service(
        key=key,
        phase=phase_number,
        listed_phase=phase_number,
        enforced=phase.mode is Mode.ENFORCE,
        protected=phase.protected,
        protect=protect,
        priority=priority,
        kill_never=override.kill == "never",
        throttle=override.on_pressure == "throttle",
        restarts_per_hour=override.health.restarts_per_hour if override.health is not None and override.health.restart else 0,
        stop_timeout_s=timeout,
        containers=containers,
        memory_limit_bytes=_sum(override.limits.memory or container.memory_limit_bytes for container in containers),
        cpu_limit_cores=_sum(override.limits.cpus or container.cpu_limit_cores for container in containers),
        cpu_reservation_cores=override.reservations.cpus,
        memory_share_bytes=_sum(
            override.reservations.memory
            or container.memory_reservation_bytes
            or override.limits.memory
            or container.memory_limit_bytes
            for container in containers
        ),
        cpu_share_cores=_sum(
            override.reservations.cpus or override.limits.cpus or container.cpu_limit_cores for container in containers
        ),
    )


def _ended_well(container: Container) -> bool:
    return container.state is ContainerState.EXITED and container.exit_code == 0


def _with_dependencies(config: Config, services: Mapping[ServiceKey, Service]) -> dict[ServiceKey, Service]:
    """Resolve names to services of the same project, inherit phases along `requires`, and find who shields whom."""
    owners = {container.id: key for key, service in services.items() for container in service.containers}
    owners |= {container.name: key for key, service in services.items() for container in service.containers}
    resolved: dict[ServiceKey, Service] = {}
    for key, service in services.items():
        depends = frozenset(_named(services, key, (name for c in service.containers for name in c.depends_on))) - {key}
        shared = frozenset(owners[owner] for c in service.containers for owner in c.shares if owner in owners) - {key}
        requires = frozenset(_named(services, key, config.services.get(key.name, ServiceConfig()).requires)) | shared
        if config.dependencies == "inherit":
            requires |= depends
        requires -= {key}
        resolved[key] = replace(service, requires=requires, depends_on=depends) if requires or depends else service

    requirers = Platform(services=resolved).requirers
    for key, service in resolved.items():
        needed_by = [resolved[other] for other in sorted(requirers.get(key, frozenset()))]
        shield = next((other.key for other in needed_by if other.protected or other.protect), None)
        phase = min([service.phase, *(other.listed_phase for other in needed_by)])
        if phase != service.phase or shield is not None:
            resolved[key] = replace(service, phase=phase, shielded_by=shield)
    return resolved


def _named(services: Mapping[ServiceKey, Service], key: ServiceKey, names: Iterable[str]) -> Iterable[ServiceKey]:
    """Services called so in the same project, else lone containers of that name."""
    for name in names:
        for candidate in (ServiceKey(key.project, name), ServiceKey("", name)):
            if candidate in services:
                yield candidate
                break


def _with_shares(config: Config, services: Mapping[ServiceKey, Service], cpus: float | None) -> dict[ServiceKey, Service]:
    """Where neither reservation nor limit is set: the phase's own part of the budget, divided by its services."""
    counts: dict[int, int] = {}
    for service in services.values():
        counts[service.listed_phase] = counts.get(service.listed_phase, 0) + 1
    memory_before, cpu_before = 0.0, 0.0
    parts: dict[int, tuple[float | None, float | None]] = {}
    for phase in sorted(config.phases, key=lambda phase: phase.phase):
        memory, cpu = phase.budget.memory, phase.budget.cpu
        cores = None if cpu is None or (cpus is None and cpu.cores is None) else cpu.of(cpus or 0.0)
        count = counts.get(phase.phase, 1)
        parts[phase.phase] = (
            None if memory is None else (memory - memory_before) / count,
            None if cores is None else (cores - cpu_before) / count,
        )
        memory_before = memory_before if memory is None else float(memory)
        cpu_before = cpu_before if cores is None else cores
    return {key: _with_share(service, *parts[service.listed_phase]) for key, service in services.items()}


def _with_share(service: Service, memory: float | None, cores: float | None) -> Service:
    memory = memory if service.memory_share_bytes is None else service.memory_share_bytes
    cores = cores if service.cpu_share_cores is None else service.cpu_share_cores
    if memory is service.memory_share_bytes and cores is service.cpu_share_cores:
        return service
    return replace(service, memory_share_bytes=memory, cpu_share_cores=cores)


def _sum(values: Iterable[float | None]) -> Any:
    """The sum, or None where any is not set or there are none."""
    total, some = 0.0, False
    for value in values:
        if value is None:
            return None
        total, some = total + value, True
    return (int(total) if total == int(total) else total) if some else None


def _closure(key: ServiceKey, direct: Mapping[ServiceKey, set[ServiceKey]]) -> frozenset[ServiceKey]:
    seen: set[ServiceKey] = set()
    waiting = list(direct.get(key, ()))
    while waiting:
        other = waiting.pop()
        if other not in seen and other != key:
            seen.add(other)
            waiting.extend(direct.get(other, ()))
    return frozenset(seen)


def _topological(edges: Mapping[ServiceKey, frozenset[ServiceKey]]) -> list[ServiceKey]:
    """Dependencies before their dependents, otherwise by name; iterative, so that no file is too deep for it."""
    done: dict[ServiceKey, None] = {}
    for root in sorted(edges):
        stack: list[tuple[ServiceKey, bool]] = [(root, False)]
        entered: set[ServiceKey] = set()
        while stack:
            key, expanded = stack.pop()
            if key in done or (key in entered and not expanded):
                continue
            if expanded:
                done[key] = None
                continue
            entered.add(key)
            stack.append((key, True))
            stack.extend(
                (other, False) for other in sorted(edges.get(key, ()), reverse=True) if other not in done and other in edges
            )
    return list(done)
