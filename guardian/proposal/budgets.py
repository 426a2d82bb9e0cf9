"""Budgets for proposed phases: what was measured with room, else limits. Where neither is known of a service, there is no figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from guardian.proposal.model import Budget, Candidate, ProposedPhase, Use

ROOM = 1.25  # over the 95th percentile
MEMORY_STEP_BYTES = 16 << 20
CPU_STEP_CORES = 0.05


def with_budgets(phases: Sequence[ProposedPhase], uses: Mapping[str, Use]) -> tuple[ProposedPhase, ...]:
    """The same phases, each with its cumulative budget. `uses` are by service."""
    memory_bytes: float | None = 0.0
    cpu_cores: float | None = 0.0
    measured = limited = 0
    unknown: list[str] = []
    made = []
    for phase in phases:
        for placed in phase.services:
            one, use = placed.candidate, uses.get(placed.candidate.name)
            memory = needed_bytes(one, use)
            cores = needed_cores(one, use)
            memory_bytes = None if memory is None or memory_bytes is None else memory_bytes + memory
            cpu_cores = None if cores is None or cpu_cores is None else cpu_cores + cores
            if memory is None:
                unknown.append(one.name)
            elif use is not None and use.memory_bytes is not None:
                measured += 1
            else:
                limited += 1
        budget = Budget(_up(memory_bytes), _up_cores(cpu_cores), measured, limited, tuple(unknown))
        made.append(replace(phase, budget=budget))
    return tuple(made)


def needed_bytes(one: Candidate, use: Use | None) -> float | None:
    """What the service may need: its 95th percentile and a quarter, else its limit."""
    if use is not None and use.memory_bytes is not None:
        return use.memory_bytes * ROOM
    return one.memory_limit_bytes


def needed_cores(one: Candidate, use: Use | None) -> float | None:
    if use is not None and use.cpu_cores is not None:
        return use.cpu_cores * ROOM
    return one.cpu_limit_cores


def _up(size_bytes: float | None) -> int | None:
    return None if size_bytes is None else max(1, math.ceil(size_bytes / MEMORY_STEP_BYTES)) * MEMORY_STEP_BYTES


def _up_cores(cores: float | None) -> float | None:
    return None if cores is None else round(max(1, math.ceil(round(cores / CPU_STEP_CORES, 6))) * CPU_STEP_CORES, 2)
