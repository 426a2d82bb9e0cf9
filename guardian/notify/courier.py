"""Brings messages to their receivers: a thread for each, so that none holds up the loop or another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from guardian import logs
from guardian.clock import Clock
from guardian.config.schema import NotifyConfig
from guardian.expose.snapshot import Snapshot
from guardian.lasting import lasting
from guardian.notify import render
from guardian.notify.boxes import AlertBox, Box, MessageBox
from guardian.notify.message import Message
from guardian.notify.post import HttpPoster, Posted, Poster
from guardian.notify.watch import Watch, step
from guardian.telemetry import Telemetry

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_ASKED_PAUSE_S = 600.0

_log = logs.get("notify")


class Sender:
    """Sends what is in a box, as soon as it is due; after a failure again, later each time. `label` is all that is shown of it."""

    def __init__(self, label: str, box: Box, poster: Poster, clock: Clock, telemetry: Telemetry) -> None:
        self.label = label
        self._box = box
        self._poster = poster
        self._clock = clock
        self._telemetry = telemetry
        self._changed = threading.Condition()
        self._closed = False
        self._not_before_s = 0.0
        self._pause_s = 0.0
        self._problem = ""
        self._thread = lasting(self._run, f"notify-{label}")

    def start(self) -> None:
        self._thread.start()

    def put(self, offer: Callable[[Box], int]) -> None:
        """Hand over to the box. Waits for no receiver."""
        with self._changed:
            dropped = offer(self._box)
            self._changed.notify()
        for _ in range(dropped):
            self._telemetry.notified(self.label, "dropped")

    def close(self) -> None:
        """Send nothing more. What is under way ends by itself, within its deadlines."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while (body := self._next()) is not None:
            self._settle(self._poster.post(body))

    def _next(self) -> bytes | None:
        """Wait until something is due; None: closed."""
        with self._changed:
            while not self._closed:
                now_s = self._clock.monotonic()
                for _ in range(self._box.expire(now_s)):
                    self._telemetry.notified(self.label, "dropped")
                due_s = self._box.due_s()
                if due_s is None:
                    self._changed.wait()
                elif (wait_s := max(due_s, self._not_before_s) - now_s) > 0:
                    self._changed.wait(wait_s)
                else:
                    return self._box.body(self._clock.wall())
            return None

    def _settle(self, posted: Posted) -> None:
        now_s = self._clock.monotonic()
        with self._changed:
            if posted.again:
                self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2.0 * self._pause_s))
                self._not_before_s = now_s + max(self._pause_s, min(LONGEST_ASKED_PAUSE_S, posted.wait_s))
            else:
                self._pause_s = self._not_before_s = 0.0
                self._box.sent(now_s)
        self._telemetry.notified(self.label, "sent" if not posted.problem else "failed" if posted.again else "refused")
        if posted.problem != self._problem:
            self._problem = posted.problem
            if posted.problem:
                _log.warning("a notification was not delivered", channel=self.label, problem=posted.problem, again=posted.again)
            else:
                _log.info("notifications are delivered again", channel=self.label)


@dataclass(frozen=True, slots=True)
class _Channel:
    config: NotifyConfig
    sender: Sender


class Courier:
    """What the daemon tells of each tick, to the receivers of the file."""

    def __init__(self, host: str, clock: Clock, telemetry: Telemetry) -> None:
        self._watch = Watch(host)
        self._clock = clock
        self._telemetry = telemetry
        self._channels: tuple[_Channel, ...] = ()
        self._last: Message | None = None

    def follow(self, receivers: Sequence[NotifyConfig]) -> None:
        """From now on these. One that was there before keeps what waits for it."""
        known = list(self._channels)
        counts: Counter[str] = Counter()
        channels = []
        for config in receivers:
            kind = "alertmanager" if config.webhook is None else "webhook"
            counts[kind] += 1
            label = kind if counts[kind] == 1 else f"{kind}_{counts[kind]}"
            same = next((one for one in known if one.config == config and one.sender.label == label), None)
            if same is not None:
                known.remove(same)
            channels.append(same or _Channel(config, self._sender(label, config)))
            if same is None and self._last is not None:  # what holds already
                self._hand(channels[-1], replace(self._last, began=(), ended=()))
        for channel in known:
            channel.sender.close()
        self._channels = tuple(channels)

    def look(self, snapshot: Snapshot, config_failed: bool) -> None:
        """After each tick, on its thread. Waits for nobody."""
        self._watch, message = step(self._watch, snapshot, config_failed)
        if message is not None:
            self._last = message
            for channel in self._channels:
                self._hand(channel, message)

    def close(self) -> None:
        for channel in self._channels:
            channel.sender.close()

    def _hand(self, channel: _Channel, message: Message) -> None:
        channel.sender.put(lambda box: box.put(message, self._clock.monotonic()))

    def _sender(self, label: str, config: NotifyConfig) -> Sender:
        if config.webhook is not None:
            box: Box = MessageBox(render.slack if config.format == "slack" else render.webhook_json)
            url = config.webhook.url
        else:
            box = AlertBox()
            url = f"{config.alertmanager.url.rstrip('/')}/api/v2/alerts" if config.alertmanager is not None else ""
        sender = Sender(label, box, HttpPoster(url), self._clock, self._telemetry)
        sender.start()
        return sender
