"""Phases against their budgets. Budgets and uses are cumulative: phases 1..n together."""

from __future__ import annotations

from collections.abc import Mapping

from guardian.config.schema import Config
from guardian.model import PhaseUse, ServiceKey, ServiceState, ServiceStatus


def phase_uses(
    config: Config,
    services: tuple[ServiceStatus, ...],
    cpus: float | None,
    storage: Mapping[ServiceKey, int | None] | None = None,
    known: bool = True,
) -> tuple[PhaseUse, ...]:
    """One row a phase, lowest first. A use is None when that of any running service in it is unknown.

    `cpus` is what a CPU share of 100% means; None where the host is unknown. `storage` is bytes by service, stopped ones too; None: it was never
    measured, and a service with containers that is not in it was not. `known` False: the engine was never listed, so no use is known.
    """
    rows = []
    memory: int | None = 0 if known else None
    cores: float | None = 0.0 if known else None
    stored: int | None = None if storage is None else 0
    by_phase: dict[int, list[ServiceStatus]] = {}
    for status in services:
        by_phase.setdefault(status.phase, []).append(status)
    for phase in sorted(config.phases, key=lambda phase: phase.phase):
        members = by_phase.get(phase.phase, [])
        for status in members:
            if status.running:
                memory = None if memory is None or status.working_set_bytes is None else memory + status.working_set_bytes
                cores = None if cores is None or status.cpu_cores is None else cores + status.cpu_cores
            if stored is not None and storage is not None and status.containers:
                own = storage.get(status.key)
                stored = None if own is None else stored + own
        share = phase.budget.cpu
        cpu_budget = None if share is None or (cpus is None and share.cores is None) else share.of(cpus or 0.0)
        counts = dict.fromkeys(ServiceState, 0)
        for status in members:
            counts[status.state] += 1
        over = tuple(
            name
            for name, used, budget in (
                ("memory", memory, phase.budget.memory),
                ("cpu", cores, cpu_budget),
                ("storage", stored, phase.budget.storage),
            )
            if used is not None and budget is not None and used > budget
        )
        rows.append(
            PhaseUse(
                phase=phase.phase,
                name=phase.name,
                memory_bytes=memory,
                memory_budget_bytes=None if phase.budget.memory is None else int(phase.budget.memory),
                cpu_cores=cores,
                cpu_budget_cores=cpu_budget,
                storage_bytes=stored,
                storage_budget_bytes=None if phase.budget.storage is None else int(phase.budget.storage),
                over=over,
                services=counts,
            )
        )
    return tuple(rows)
