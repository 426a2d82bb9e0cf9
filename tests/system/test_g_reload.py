"""Promise G: the file is edited while guardian works. What tunes applies by itself, what could harm waits, what is broken changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.socket_proxy import SocketProxy
from support.waiting import eventually

EFFECT_S = 3.0
SOFT = {"signal": "platform_memory", "level": "soft"}


@pytest.fixture
def settings(proxy: SocketProxy) -> dict[str, Any]:
    """Those in force at first; change them and save."""
    return small.small_settings(proxy.url)


@pytest.fixture
def guardian(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, settings: dict[str, Any]
) -> GuardianProcess:
    guardian = make_guardian(small.as_yaml(settings))
    guardian.start()
    return guardian


def _refused(guardian: GuardianProcess) -> bool:
    return guardian.metric("guardian_config_last_reload_successful") == 0


def _still_guards(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """By the thresholds, phases and protection that it started with."""
    assert guardian.metric("guardian_threshold_ratio", **SOFT) == 0.8
    small.press(platform)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed", 30)
    assert small.stopped_by(platform, proxy) == [small.VICTIM]


def test_an_edited_threshold_takes_effect_within_three_seconds(
    guardian: GuardianProcess, platform: ReferencePlatform, settings: dict[str, Any]
) -> None:
    """An edited threshold takes effect within three seconds: what is too much now is shed, and restored when it is not."""
    marks = settings["thresholds"]["platform_memory"]
    small.press(platform)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed", 30)

    marks.update(soft="95%", recover="90%", hard="98%")
    guardian.write_config(small.as_yaml(settings))
    eventually(lambda: guardian.metric("guardian_threshold_ratio", **SOFT) == 0.95, "the threshold is in force", EFFECT_S)
    eventually(lambda: platform.running() == small.SERVICES, "the restore", 30)

    marks.update(soft="80%", recover="70%")
    guardian.write_config(small.as_yaml(settings))
    eventually(lambda: guardian.metric("guardian_threshold_ratio", **SOFT) == 0.8, "the threshold is in force", EFFECT_S)
    eventually(lambda: small.VICTIM not in platform.running(), "the shed", 30)
    assert guardian.metric("guardian_config_pending") == 0


def test_a_lost_protection_waits_for_a_signal(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, settings: dict[str, Any]
) -> None:
    """A lost protection is shown as pending and not in force until SIGHUP."""
    settings["phases"][0]["protected"] = False
    guardian.write_config(small.as_yaml(settings))

    eventually(lambda: guardian.metric("guardian_config_pending") == 1, "the edit is pending", EFFECT_S)
    (pending,) = guardian.status()["config_pending"]
    assert "phases[1].protected" in pending
    refused = guardian.cli("shed", "postgres")
    assert refused.returncode == 1
    assert "postgres: is protected" in refused.stdout
    _still_guards(guardian, platform, proxy)

    guardian.hang_up()
    eventually(lambda: guardian.metric("guardian_config_pending") == 0, "nothing is pending", EFFECT_S)
    assert guardian.cli("shed", "postgres").returncode == 0
    eventually(lambda: "postgres" not in platform.running(), "what is no longer protected is shed by order")


def test_a_file_with_mistakes_changes_nothing_and_all_of_them_are_logged(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, settings: dict[str, Any]
) -> None:
    """A file with mistakes changes nothing, sets the metric, and has every mistake logged, until it is mended."""
    good = small.as_yaml(settings)
    settings["thresholds"]["platform_memory"]["soft"] = "50%"  # below recover
    settings["phases"][1]["services"] = ["auth-service", "postgres"]  # in two phases
    settings["sampling"]["hosts"] = "1s"  # unknown
    guardian.write_config(small.as_yaml(settings))

    eventually(lambda: _refused(guardian), "the metric shows that the file is refused", EFFECT_S)
    problems = " / ".join(str(line["problem"]) for line in guardian.log_lines("configuration refused"))
    for part in ("recover", "postgres", "sampling.hosts"):
        assert part in problems
    told = guardian.cli("reload")
    assert told.returncode == 78
    assert "sampling.hosts" in told.stdout + told.stderr
    _still_guards(guardian, platform, proxy)

    guardian.write_config(good)
    eventually(lambda: not _refused(guardian), "the mended file is good", EFFECT_S)


@pytest.mark.parametrize("broken", ["phases: [", "", "\ufeff\x00"], ids=["cut", "empty", "binary"])
def test_a_file_that_is_no_configuration_changes_nothing(
    broken: str, guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """A file that is no configuration at all changes nothing."""
    guardian.write_config(broken)
    eventually(lambda: _refused(guardian), "the metric shows that the file is refused", EFFECT_S)
    eventually(lambda: guardian.log_lines("configuration refused"), "the log says it, too", EFFECT_S)
    _still_guards(guardian, platform, proxy)


def test_a_file_written_in_two_steps_is_taken_whole(guardian: GuardianProcess, settings: dict[str, Any]) -> None:
    """A file written in two steps, of which the first is valid by itself, is taken whole."""
    settings["thresholds"]["platform_memory"]["soft"] = "85%"
    text = small.as_yaml(settings)
    end = text.index("- phase: 2")
    with guardian.config_path.open("w") as file:
        file.write(text[:end])
        file.flush()
        between = small.after_ticks(guardian, 1)
        file.write(text[end:])

    assert between["config_pending"] == []
    eventually(lambda: guardian.metric("guardian_threshold_ratio", **SOFT) == 0.85, "the threshold is in force", EFFECT_S)
    assert [line["change"] for line in guardian.log_lines("configuration change")] == [
        "thresholds.platform_memory.soft: 80% -> 85%"
    ]
    assert guardian.metric("guardian_config_last_reload_successful") == 1


def test_a_file_that_stays_half_written_takes_nothing_from_what_is_guarded(
    guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy, settings: dict[str, Any]
) -> None:
    """A file that stays half written, and is valid so, takes nothing from what is guarded."""
    text = small.as_yaml(settings)
    guardian.config_path.write_text(text[: text.index("- phase: 2")])

    eventually(lambda: guardian.metric("guardian_config_pending") == 1, "what is missing is pending", EFFECT_S)
    pending = " / ".join(guardian.status()["config_pending"])
    for part in ("phases[2]", "phases[3]", "services.kibana.phase"):
        assert part in pending
    _still_guards(guardian, platform, proxy)
