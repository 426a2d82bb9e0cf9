"""Behind a filter that lets only the documented calls pass, as a socket proxy does, guardian does all of its work."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.socket_proxy import Instead, Recorded, SocketProxy
from support.waiting import eventually

from guardian.engine.endpoints import ENDPOINTS

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_it_works_behind_a_filter_of_its_mode(
    mode: str, make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, proxy: SocketProxy
) -> None:
    """Behind a filter that refuses every call which its mode does not list, guardian sheds and restores, and none is refused."""
    refused: list[str] = []
    allowed = [one for one in ENDPOINTS if mode == "enforce" or not one.acts]

    def refuse(request: Recorded) -> None:
        path = urlsplit(request.path).path
        if not any(request.method == one.method and re.match(one.pattern, path) for one in allowed):
            refused.append(f"{request.method} {path}")
            raise Instead(REFUSAL)

    proxy.on("arrived", lambda _: True, refuse)
    guardian = make_guardian(small.as_yaml({**small.small_settings(proxy.url), "mode": mode}))
    small.start(guardian)
    result = "done" if mode == "enforce" else "observed"
    small.press(platform)
    eventually(lambda: guardian.metric("guardian_actions_total", action="shed", result=result) == 1, "the shed", 30)
    small.relax(platform)
    eventually(lambda: guardian.metric("guardian_actions_total", action="restore", result=result) == 1, "the restore", 30)
    eventually(lambda: platform.running() == small.SERVICES, "all of it runs")
    assert refused == []
