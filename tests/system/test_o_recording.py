"""What a running daemon records, replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.socket_proxy import SocketProxy
from support.waiting import eventually

from guardian.config.load import load
from guardian.record.rows import RECORD_NAME
from guardian.record.timeline import timeline
from guardian.replay.run import Run


def test_replay_decides_what_the_daemon_decided(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, proxy: SocketProxy, tmp_path: Path
) -> None:
    """An overload on a real engine, shed and restored by the daemon, is decided again from its recording: every action, at its tick."""
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian)
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed", 30)
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore", 30)
    small.after_ticks(guardian, 8)
    done = [(row["action"], row["service"].rpartition("/")[2]) for row in reversed(guardian.history()) if row["service"]]
    assert guardian.stop() == 0

    steps = list(timeline(guardian.state_dir / RECORD_NAME, 0.0))
    looks = list(Run(load(guardian.config_path)).over(steps))
    assert all(look.as_recorded for look in looks)
    again = [(look.now_wall_s, action) for look in looks if look.decision for action in look.decision.actions]
    assert again == [(step.now_wall_s, action) for step in steps for action in step.actions]
    assert [(action.kind.value, action.service.name) for _, action in again] == done
    assert ("shed", small.VICTIM) in done
    assert ("restore", small.VICTIM) in done
