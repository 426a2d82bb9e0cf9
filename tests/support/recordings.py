"""Recordings of virtual hosts, as the daemon would have written them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from guardian.config.schema import Config, Thresholds
from guardian.model import Action
from guardian.record.moment import Moment
from guardian.record.packer import Packer
from guardian.record.store import RecordFile
from guardian.record.timeline import Step, timeline
from guardian.replay.run import Look, Run
from guardian.units import Ratio, Seconds

Acts = list[tuple[float, Action]]


def written(path: Path, moments: Iterable[Moment], *later: Iterable[Moment]) -> Path:
    """One process after the other."""
    file = RecordFile(path)
    for process in (moments, *later):
        packer = Packer()
        rows = [row for moment in process for row in packer.take(moment)] + packer.flush()
        file.write(rows, max(row.until_wall_s for row in rows))
    file.close()
    return path


def steps(path: Path) -> list[Step]:
    return list(timeline(path, 0.0))


def replayed(config: Config | None, steps: Iterable[Step]) -> list[Look]:
    return list(Run(config).over(steps))


def decided(moments: Iterable[Moment]) -> Acts:
    """What the loop decided, and when."""
    return [(moment.now_wall_s, action) for moment in moments for action in moment.decision.actions]


def would(looks: Iterable[Look]) -> Acts:
    """What the replay decides, and when."""
    return [(look.now_wall_s, action) for look in looks if look.decision for action in look.decision.actions]


def named(acts: Acts) -> list[tuple[str, str]]:
    return [(action.kind.value, action.service.name) for _, action in acts]


def with_memory(config: Config, soft: float, recover: float, hard: float = 0.97, soft_for: float = 10.0) -> Config:
    """The same with other marks of memory."""
    memory = Thresholds(soft=Ratio(soft), hard=Ratio(hard), recover=Ratio(recover), soft_for=Seconds(soft_for))
    return msgspec.structs.replace(config, thresholds=msgspec.structs.replace(config.thresholds, memory=memory))
