"""What a running daemon records, replayed."""

from __future__ import annotations

from collections.abc import Callable

from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.replays import recorded
from support.socket_proxy import SocketProxy
from support.waiting import eventually


def test_replay_decides_what_the_daemon_decided(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """An overload on a real engine, shed and restored by the daemon, is decided again from its recording: every action, at its tick.

    With a soft mark above what memory came to it would have shed nothing. Other shapes: test_a_overload, test_b_jump, test_c_cpu.
    """
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    small.start(guardian)
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed", 30)
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore", 30)
    small.after_ticks(guardian, 8)
    recording = recorded(guardian)
    recording.decided_again()
    assert sorted(recording.done) == [("restore", small.VICTIM), ("shed", small.VICTIM)]

    settings = small.small_settings(proxy.url)
    settings["thresholds"]["platform_memory"] |= {"soft": "90%", "hard": "97%"}
    assert recording.decided_by(small.as_yaml(settings))[0] == []
