"""The recording of a real daemon that has ended, decided anew by its own file and by another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.daemon import GuardianProcess

from guardian.config.load import load
from guardian.record.rows import RECORD_NAME
from guardian.record.timeline import Step, timeline
from guardian.replay.run import Look, Run

Acts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a daemon recorded, the file that was in force, and what its history says was done: (action, service)."""

    steps: list[Step]
    config_path: Path
    done: Acts

    def decided_again(self) -> None:
        """By the same file each action is decided again: at its tick, equal in every field, and the one that history tells of."""
        looks = self._by(self.config_path)
        assert all(look.as_recorded for look in looks)
        again = [(look.now_wall_s, action) for look in looks if look.decision for action in look.decision.actions]
        assert again == [(step.now_wall_s, action) for step in self.steps for action in step.actions]
        assert sorted((action.kind.value, action.service.name) for _, action in again) == sorted(self.done)
        assert again, "nothing was decided"

    def decided_by(self, config: str) -> tuple[Acts, list[Look]]:
        """By another file: what it would have done, and each look of the replay."""
        path = self.config_path.with_name("another.yaml")
        path.write_text(config)
        looks = self._by(path)
        assert not all(look.as_recorded for look in looks)
        return [
            (action.kind.value, action.service.name) for look in looks if look.decision for action in look.decision.actions
        ], looks

    def _by(self, path: Path) -> list[Look]:
        return list(Run(load(path)).over(self.steps))


def recorded(guardian: GuardianProcess) -> Recording:
    """Ends the daemon in order, so that all of it is in the file."""
    done = [(row["action"], row["service"].rpartition("/")[2]) for row in guardian.history() if row["service"]]
    assert guardian.stop() == 0
    return Recording(list(timeline(guardian.state_dir / RECORD_NAME, 0.0)), guardian.config_path, done)
