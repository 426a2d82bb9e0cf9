"""What guardian promises under every fault, on the small platform: asked of the real engine and the whole daemon.

After, and where it can be during, each fault it does what it is for: under pressure it sheds the one service that is
needed, and restores it when there is room. It never touches another, and counts nothing that did not happen.
"""

from __future__ import annotations

from collections.abc import Callable

from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.socket_proxy import Cut, Instead, Recorded, Silence, SocketProxy
from support.waiting import eventually

GONE_WRONG = ("failed", "refused", "timed_out")


def is_read(request: Recorded) -> bool:
    return request.method in ("GET", "HEAD") and request.route != "/events"


def is_of(platform: ReferencePlatform, service: str, ending: str) -> Callable[[Recorded], bool]:
    """Matches calls about the container that the service has now: `/stats`, `/json`, `/stop`."""
    id_ = next(id_ for id_, name in platform.ids().items() if name == service)
    return lambda request: request.route == f"/containers/{id_}{ending}"


def is_events(request: Recorded) -> bool:
    return request.route == "/events"


def sheds(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """Under pressure it stops the victim, and books it."""
    small.press(platform)
    eventually(lambda: platform.running() == small.SERVICES - {small.VICTIM}, "the shed")
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "its booking")


def restores(guardian: GuardianProcess, platform: ReferencePlatform) -> None:
    """With room it starts the victim, and owes nothing more; a stop whose answer was lost is in doubt for half a minute."""
    small.relax(platform)
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    eventually(lambda: guardian.metric("guardian_ledger_open") == 0, "its booking")


def is_as_promised(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """It sheds and restores, touched nobody else at any time, and has counted one of each."""
    sheds(guardian, platform)
    restores(guardian, platform)
    assert set(small.stopped_by(platform, proxy)) == {small.VICTIM}
    assert set(small.started_by(platform, proxy)) == {small.VICTIM}
    for action in ("shed", "restore"):
        assert guardian.metric("guardian_actions_total", action=action, result="done") == 1


def did_nothing(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    small.after_ticks(guardian, 4)
    assert platform.running() == small.SERVICES
    assert small.stopped_by(platform, proxy) == small.started_by(platform, proxy) == []


# --- what an engine may answer instead -----------------------------------------------------------------------------


def cut(_request: Recorded) -> None:
    raise Cut


def answer(status: str, body: bytes, length: int | None = None) -> Callable[[Recorded], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"

    def hook(_request: Recorded) -> None:
        raise Instead(head.encode() + body)

    return hook


def silence(_request: Recorded) -> None:
    raise Silence
