"""What a proposal is made of, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Use:
    """What one service used, all replicas together: 95th percentiles over `samples` readings."""

    samples: int
    memory_bytes: int | None = None  # working set
    cpu_cores: float | None = None
    footprint_bytes: int | None = None  # as last seen


@dataclass(frozen=True, slots=True)
class Candidate:
    """One service to be placed. Limits and reservations are of all replicas together."""

    name: str
    image: str | None = None
    needs: tuple[str, ...] = ()  # names of other candidates
    shares: tuple[str, ...] = ()  # those of `needs` that it cannot live without
    ports: tuple[int, ...] = ()  # published, where the number is known
    published: bool = False
    one_shot: bool = False
    awaited: bool = False  # somebody waits for it to be completed
    optional: bool = False  # only in profiles
    replicas: int = 1
    restarts: bool = False  # it is started again whenever it ends
    memory_limit_bytes: int | None = None
    cpu_limit_cores: float | None = None
    memory_limit_each_bytes: int | None = None
    cpu_limit_each_cores: float | None = None
    label_phase: int | None = None
    lone: bool = False  # a container outside of Compose
    unfit: str = ""  # why it cannot be managed at all


@dataclass(frozen=True, slots=True)
class Placed:
    """A service in its phase, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Of phases 1 to this one. `unknown` are services of which nothing is known: then there is no figure."""

    memory_bytes: int | None = None
    cpu_cores: float | None = None
    measured: int = 0  # how many services the memory figure has by measurement
    limited: int = 0  # … by their limits
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedPhase:
    number: int
    name: str
    about: str
    services: tuple[Placed, ...]
    budget: Budget = Budget()


@dataclass(frozen=True, slots=True)
class Proposal:
    """Every candidate is either in a phase or in `unplaced`, by name with the reason."""

    phases: tuple[ProposedPhase, ...]
    unplaced: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what a person should look at
