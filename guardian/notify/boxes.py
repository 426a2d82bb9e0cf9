"""What waits to be sent to one receiver: bounded, and in a state that a failed attempt leaves as it was. No threads, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from guardian.notify import render
from guardian.notify.message import Alert, Message

MOST_WAITING = 100
GIVE_UP_S = 3600.0
"""A message that could not be delivered for so long is about a past that nobody has to act on."""
RESEND_S = 60.0
EXPIRES_S = 300.0
"""An alert that is not sent again ends by itself at the Alertmanager: a few attempts may fail before that."""


class Box(Protocol):
    """One receiver's. Times are those of one clock for `now_s`, and of the wall where they are named so."""

    def put(self, message: Message, now_s: float) -> int:
        """Take a message in. How many older ones were given up for it."""
        ...

    def expire(self, now_s: float) -> int:
        """Give up what waited too long; how many that were."""
        ...

    def due_s(self) -> float | None:
        """When something should be sent; None: nothing waits."""
        ...

    def body(self, now_wall_s: float) -> bytes:
        """What to send now. May be asked again after a failure."""
        ...

    def sent(self, now_s: float) -> None:
        """The newest body was taken, or will never be."""
        ...


class MessageBox:
    """One POST a message, oldest first."""

    def __init__(self, write: Callable[[Message], bytes]) -> None:
        self._write = write
        self._waiting: deque[tuple[float, Message]] = deque()
        self._under_way: Message | None = None

    def put(self, message: Message, now_s: float) -> int:
        if not message.news:
            return 0
        self._waiting.append((now_s, message))
        if len(self._waiting) <= MOST_WAITING:
            return 0
        self._waiting.popleft()
        return 1

    def expire(self, now_s: float) -> int:
        given_up = 0
        while self._waiting and now_s - self._waiting[0][0] >= GIVE_UP_S:
            self._waiting.popleft()
            given_up += 1
        return given_up

    def due_s(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def body(self, now_wall_s: float) -> bytes:  # noqa: ARG002 - the message has its own time
        self._under_way = self._waiting[0][1]
        return self._write(self._under_way)

    def sent(self, now_s: float) -> None:  # noqa: ARG002
        if self._waiting and self._waiting[0][1] is self._under_way:  # else it was given up meanwhile
            self._waiting.popleft()


class AlertBox:
    """All alerts that hold, in one POST: when one begins or ends, and again before they would expire. What is over is sent
    until it has been taken.
    """

    def __init__(self) -> None:
        self._host = ""
        self._firing: dict[Alert, str] = {}
        self._resolved: dict[Alert, tuple[str, float]] = {}
        self._offered: tuple[Alert, ...] = ()  # the resolved of the newest body
        self._due_s: float | None = None
        self._changed = False

    def put(self, message: Message, now_s: float) -> int:
        self._host = message.host
        known = {alert.key: (alert, text) for alert, text in self._firing.items()}
        self._firing = {}
        for alert in message.active:
            text = message.text if alert in message.began or alert.key not in known else known[alert.key][1]
            self._firing[alert] = text
            self._resolved = {over: one for over, one in self._resolved.items() if over.key != alert.key}
        holds = {alert.key for alert in message.active}
        for key, (alert, text) in known.items():
            if key not in holds:
                self._resolved[alert] = (text, message.at_wall_s)
        self._due_s, self._changed = now_s, True
        return 0

    def expire(self, now_s: float) -> int:  # noqa: ARG002 - what holds is never given up
        return 0

    def due_s(self) -> float | None:
        return self._due_s if self._firing or self._resolved else None

    def body(self, now_wall_s: float) -> bytes:
        self._offered, self._changed = tuple(self._resolved), False
        return render.alertmanager(self._host, self._firing, self._resolved, now_wall_s + EXPIRES_S)

    def sent(self, now_s: float) -> None:
        for alert in self._offered:
            self._resolved.pop(alert, None)
        if not self._changed:
            self._due_s = now_s + RESEND_S
