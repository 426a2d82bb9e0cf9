"""`guardian doctor` on a real engine, with a daemon that runs and a peer that would fight it."""

from __future__ import annotations

import json
from collections.abc import Callable

from support import small
from support.daemon import GuardianProcess
from support.images import BUSYBOX
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine


def test_it_finds_the_engine_the_daemon_and_a_peer(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, engine_host: PrivateEngine
) -> None:
    """Nothing is in the way of a daemon that runs, and a container of the image autoheal is warned of; without a file the engine is looked at too."""
    guardian = make_guardian(small.as_yaml(small.small_settings(engine_host.url)), DOCKER_HOST=engine_host.url)
    small.start(guardian)
    client = engine_host.client()
    client.tag(BUSYBOX, "willfarrell/autoheal", "1.2.0")
    peer = client.create_container("willfarrell/autoheal:1.2.0", ["sleep", "1000"], name="healer")["Id"]
    try:
        client.start(peer)
        answer = guardian.doctor()
        found = {(one["check"], one["verdict"]): one["says"] for one in json.loads(answer.stdout)["findings"]}
        assert answer.returncode == 0, answer.stdout
        assert ("engine", "ok") in found
        assert ("api", "ok") in found
        assert "enforce mode" in found["daemon", "ok"]
        assert "healer (willfarrell/autoheal:1.2.0)" in found["peers", "warn"]
        guardian.config_path.unlink()
        without = {(one["check"], one["verdict"]) for one in json.loads(guardian.doctor().stdout)["findings"]}
        assert {("configuration", "fail"), ("engine", "ok"), ("api", "ok"), ("peers", "warn")} <= without
    finally:
        client.remove_container(peer, force=True)
        client.remove_image("willfarrell/autoheal:1.2.0")
        client.close()
