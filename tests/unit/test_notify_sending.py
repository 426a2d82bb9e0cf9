"""How messages get to their receivers, and what receivers that fail cannot do."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import threading
import time as time_module
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import certificates
from support.receiver import Receiver
from support.snapshots import AT_WALL_S, entry, key
from support.waiting import eventually
from unit.test_notify_messages import at, calm, later

from guardian import logs
from guardian.clock import SystemClock
from guardian.config.schema import NotifyConfig
from guardian.config.secret import SecretUrl
from guardian.expose.metrics import Metrics
from guardian.model import Level, Mode
from guardian.notify import boxes
from guardian.notify.boxes import AlertBox, MessageBox
from guardian.notify.courier import Courier
from guardian.notify.message import Alert, Message, Severity
from guardian.notify.render import webhook_json

PRESSURE = Alert("GuardianPressure", Severity.WARNING, "soft: memory 84.0%", AT_WALL_S)
SHED = Alert("GuardianShed", Severity.WARNING, "demo/kibana is stopped", AT_WALL_S, (("service", "demo/kibana"),))


def message(*began: Alert, **changes: Any) -> Message:
    told = Message("host1", AT_WALL_S, Mode.ENFORCE, Level.SOFT, "memory 84%", "memory 84%", began=began, active=began)
    return replace(told, **changes)


couriers: list[Courier] = []  # of the test that runs; closed at its end


class Daemon:
    """As much of the daemon as tells: a courier, and overloads that come and go, one message each."""

    def __init__(self, *receivers: NotifyConfig) -> None:
        self.metrics = Metrics()
        self.courier = Courier("host1", SystemClock(), self.metrics)
        couriers.append(self.courier)
        self.courier.follow(receivers)
        self._now_s = 0.0
        self._pressed = False
        self.tick()

    def tick(self) -> None:
        self._now_s += 5.0
        self.courier.look(later(at(calm(), Level.SOFT) if self._pressed else calm(), self._now_s), config_failed=False)

    def tell(self, count: int = 1) -> None:
        for _ in range(count):
            self._pressed = not self._pressed
            self.tick()
            self.tick()

    def counted(self, channel: str, result: str) -> float:
        labels = {"channel": channel, "result": result}
        return sum(
            sample.value
            for metric in self.metrics.collect()
            for sample in metric.samples
            if sample.name == "guardian_notifications_total" and sample.labels == labels
        )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """No thread of a test goes on sending while others run: it would have descriptors that they count."""
    yield
    while couriers:
        couriers.pop().close()
    eventually(lambda: not any(one.name.startswith("notify-") for one in threading.enumerate()), "all senders have ended", 60)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second attempt comes at once."""
    monkeypatch.setattr("guardian.notify.courier.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("guardian.notify.courier.LONGEST_PAUSE_S", 0.02)


def webhook(url: str, **changes: Any) -> NotifyConfig:
    return NotifyConfig(webhook=SecretUrl(url), **changes)


def test_each_message_is_one_post(receiver: Receiver) -> None:
    """Each message is one POST of JSON to the webhook's path, and is counted."""
    daemon = Daemon(webhook(f"{receiver.url}/hooks/1?x=y"))
    daemon.tell()
    daemon.tell()
    up, down = receiver.wait_for(2)
    assert [path for path, _ in receiver.got] == 2 * ["/hooks/1?x=y"]
    assert receiver.asked[0]["Content-Type"] == "application/json"
    assert (up["began"][0]["name"], down["ended"][0]["name"]) == 2 * ("GuardianPressure",)
    eventually(lambda: daemon.counted("webhook", "sent") == 2, "both are counted")


def test_a_receiver_that_fails_gets_it_again(receiver: Receiver) -> None:
    """After 500, 503 and 429 the same message comes again, and those behind it after it, in their order."""
    receiver.answers.extend([500, 503, 429])
    daemon = Daemon(webhook(receiver.url))
    daemon.tell(2)
    bodies = receiver.wait_for(5)
    assert [bool(body["began"]) for body in bodies] == [True, True, True, True, False]
    eventually(lambda: daemon.counted("webhook", "sent") == 2, "both are counted")
    assert daemon.counted("webhook", "failed") == 3


def test_a_receiver_that_says_no_is_not_asked_again(receiver: Receiver) -> None:
    """A message that is refused (404) is given up, and the next one is sent."""
    receiver.answers.append(404)
    daemon = Daemon(webhook(receiver.url))
    daemon.tell(2)
    assert [bool(body["began"]) for body in receiver.wait_for(2)] == [True, False]
    eventually(lambda: daemon.counted("webhook", "refused") == 1, "the refusal is counted")


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """A redirect is a refusal: what is told goes to nobody else than the file says."""
    receiver.answers.append(307)
    with Receiver() as other:
        receiver.headers["Location"] = other.url
        daemon = Daemon(webhook(receiver.url))
        daemon.tell()
        eventually(lambda: daemon.counted("webhook", "refused") == 1, "the refusal is counted")
        assert other.got == []


def test_a_receiver_that_is_away_gets_it_once_it_is_there() -> None:
    """Where nobody listens it is tried again, until somebody does."""
    with Receiver() as gone:
        port = gone.port
    daemon = Daemon(webhook(f"http://127.0.0.1:{port}"))
    daemon.tell()
    eventually(lambda: daemon.counted("webhook", "failed") >= 2, "two attempts have failed")
    with Receiver(port) as back:
        assert back.wait_for(1)[0]["began"][0]["name"] == "GuardianPressure"


def test_a_receiver_that_hangs_holds_up_nobody(receiver: Receiver) -> None:
    """While a receiver takes a message and never answers, ticks go on and the other receiver is told of all."""
    receiver.hang()
    with Receiver() as other:
        daemon = Daemon(webhook(receiver.url), webhook(other.url))
        daemon.tell()
        receiver.wait_for(1)
        daemon.tell(20)
        other.wait_for(21)
        assert len(receiver.got) == 1
        eventually(lambda: daemon.counted("webhook_2", "sent") == 21, "the second receiver's are counted")


def test_a_receiver_that_answers_a_little_at_a_time_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that goes on sending headers, and is so never silent, is cut after a time; then it is tried again."""
    monkeypatch.setattr("guardian.notify.post.WHOLE_S", 0.3)
    asked = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):  # cut, or the test is over
                while True:
                    connection, _ = server.accept()
                    asked.release()
                    with contextlib.suppress(OSError):
                        connection.sendall(b"HTTP/1.1 200 OK\r\n")
                        while True:
                            connection.sendall(b"X-More: 1\r\n")
                            time_module.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        daemon = Daemon(webhook(f"http://127.0.0.1:{server.getsockname()[1]}"))
        daemon.tell()
        assert asked.acquire(timeout=20)
        assert asked.acquire(timeout=20), "no second attempt"
        assert daemon.counted("webhook", "failed") >= 1
        assert daemon.counted("webhook", "sent") == 0
        daemon.courier.close()
        server.shutdown(socket.SHUT_RDWR)  # which ends the wait for another connection


def test_what_waits_is_bounded(receiver: Receiver) -> None:
    """Of more than a hundred messages that wait for a receiver the oldest are given up, and counted."""
    receiver.hang()
    daemon = Daemon(webhook(receiver.url))
    daemon.tell()
    receiver.wait_for(1)
    daemon.tell(boxes.MOST_WAITING + 4)
    assert daemon.counted("webhook", "dropped") == 5


def test_a_message_of_an_hour_ago_is_given_up() -> None:
    """What could not be delivered for an hour is no news any more."""
    box = MessageBox(webhook_json)
    box.put(message(PRESSURE), now_s=0)
    box.put(message(SHED), now_s=100)
    assert box.expire(boxes.GIVE_UP_S - 1) == 0
    assert box.expire(boxes.GIVE_UP_S) == 1
    assert json.loads(box.body(0))["began"][0]["name"] == "GuardianShed"


def test_a_message_dropped_while_it_was_under_way_takes_no_other_with_it() -> None:
    """A message that is given up while it is being sent does not have the next one counted as sent."""
    box = MessageBox(webhook_json)
    for number in range(boxes.MOST_WAITING):
        box.put(message(PRESSURE, at_wall_s=float(number)), now_s=0)
    assert json.loads(box.body(0))["at_wall_s"] == 0
    assert box.put(message(SHED), now_s=1) == 1
    box.sent(2)
    assert json.loads(box.body(0))["at_wall_s"] == 1


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_secret_of_an_address_is_ever_shown(
    receiver: Receiver, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of it, neither log nor metrics hold a path, a password or a token of an address."""
    caplog.set_level(logging.DEBUG)
    logs.configure("debug", "json")
    receiver.answers.extend([500, 403])
    receiver.headers["X-One"] = "1\r\nno header at all"  # of which urllib3 warns
    secret = f"http://bob:S3CRET@127.0.0.1:{receiver.port}/T0KEN/S3CRET?key=S3CRET"
    daemon = Daemon(webhook(secret), webhook("http://127.0.0.1:1/S3CRET"), webhook("https://nowhere.invalid/S3CRET"))
    daemon.tell(2)
    receiver.wait_for(3)
    for channel in ("webhook_2", "webhook_3"):
        eventually(lambda channel=channel: daemon.counted(channel, "failed") >= 1, f"{channel} has failed")  # type: ignore[misc]
    logs.close()
    shown = capfd.readouterr()
    everything = shown.out + shown.err + caplog.text + daemon.metrics.exposition()[1].decode()
    assert "webhook_3" in everything
    assert "a notification was not delivered" in everything
    assert "S3CRET" not in everything
    assert receiver.asked[0]["Authorization"].startswith("Basic ")


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[Receiver]:
    (tmp_path / "cert.pem").write_text(certificates.FIRST_CERT)
    (tmp_path / "key.pem").write_text(certificates.FIRST_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Receiver(context=context) as receiver:
        yield receiver


def test_tls_trusts_what_the_system_trusts(over_tls: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the system trusts is taken."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))  # where OpenSSL finds what the system trusts
    Daemon(webhook(over_tls.url)).tell()
    over_tls.wait_for(1)


def test_tls_trusts_nothing_else(over_tls: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A certificate that the system does not trust gets nothing."""
    (tmp_path / "other.pem").write_text(certificates.SECOND_CERT)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    daemon = Daemon(webhook(over_tls.url))
    daemon.tell()
    eventually(lambda: daemon.counted("webhook", "failed") >= 1, "an attempt has failed")
    assert over_tls.got == []


# --- Alertmanager ---------------------------------------------------------------------------------------------------


def alerts(box: AlertBox, now_wall_s: float = AT_WALL_S) -> dict[str, tuple[str, str]]:
    """By name: when it began, and when it ends."""
    return {one["labels"]["alertname"]: (one["startsAt"], one["endsAt"]) for one in json.loads(box.body(now_wall_s))}


def time(wall_s: float) -> str:
    return boxes.render._time(wall_s)


def test_alerts_are_sent_again_before_they_would_end() -> None:
    """What holds is sent at once and every minute, each time with an end five minutes ahead."""
    box = AlertBox()
    assert box.due_s() is None
    box.put(message(PRESSURE, SHED), now_s=10)
    assert box.due_s() == 10
    assert alerts(box) == dict.fromkeys(("GuardianPressure", "GuardianShed"), (time(AT_WALL_S), time(AT_WALL_S + 300)))
    box.sent(11)
    assert box.due_s() == 71
    assert alerts(box, AT_WALL_S + 60)["GuardianShed"] == (time(AT_WALL_S), time(AT_WALL_S + 360))


def test_an_alert_is_resolved_when_it_is_over_until_that_was_taken() -> None:
    """What is over is sent with its end until the Alertmanager has taken it, and then no more."""
    box = AlertBox()
    box.put(message(PRESSURE, SHED), now_s=10)
    box.body(AT_WALL_S)
    box.sent(11)
    box.put(message(active=(SHED,), ended=(PRESSURE,), at_wall_s=AT_WALL_S + 90), now_s=100)
    for _ in range(2):  # the first was not taken
        assert alerts(box)["GuardianPressure"] == (time(AT_WALL_S), time(AT_WALL_S + 90))
    box.sent(102)
    assert list(alerts(box)) == ["GuardianShed"]


def test_an_alert_that_ends_while_others_are_being_sent_is_not_lost() -> None:
    """What ends between a body and its answer is sent next, at once."""
    box = AlertBox()
    box.put(message(PRESSURE), now_s=10)
    box.body(AT_WALL_S)
    box.put(message(ended=(PRESSURE,), active=(), at_wall_s=AT_WALL_S + 5), now_s=15)
    box.sent(16)
    assert box.due_s() == 15
    assert alerts(box)["GuardianPressure"][1] == time(AT_WALL_S + 5)
    box.sent(17)
    assert box.due_s() is None


def test_an_alert_that_begins_again_is_not_resolved() -> None:
    """What begins again before its end was taken holds."""
    box = AlertBox()
    box.put(message(PRESSURE), now_s=10)
    box.put(message(ended=(PRESSURE,), active=()), now_s=20)
    box.put(message(replace(PRESSURE, since_wall_s=AT_WALL_S + 30)), now_s=30)
    assert alerts(box) == {"GuardianPressure": (time(AT_WALL_S + 30), time(AT_WALL_S + 300))}


def test_a_receiver_that_is_new_in_the_file_hears_of_what_holds(receiver: Receiver) -> None:
    """A receiver that a reload brings gets what holds already; one that stays is not told twice; one that goes gets no more."""
    with Receiver() as first, Receiver() as second:
        daemon = Daemon(webhook(first.url), webhook(second.url))
        daemon.tell()
        first.wait_for(1)
        second.wait_for(1)
        daemon.courier.follow((webhook(first.url), NotifyConfig(alertmanager=SecretUrl(receiver.url))))
        (held,) = receiver.wait_for(1)
        daemon.tell()
        first.wait_for(2)
        receiver.wait_for(2)
        assert len(second.got) == 1
    assert receiver.got[0][0] == "/api/v2/alerts"
    assert [one["labels"] for one in held] == [{"alertname": "GuardianPressure", "instance": "host1", "severity": "warning"}]


def test_what_was_shed_before_the_start_goes_to_an_alertmanager_alone(receiver: Receiver) -> None:
    """After a restart of guardian an Alertmanager is sent what holds again, and a webhook hears nothing of it."""
    with Receiver() as people:
        metrics = Metrics()
        courier = Courier("host1", SystemClock(), metrics)
        couriers.append(courier)
        courier.follow((webhook(people.url), NotifyConfig(alertmanager=SecretUrl(f"{receiver.url}/"))))
        courier.look(calm(entries=(entry(key("kibana"), AT_WALL_S - 90),)), config_failed=False)
        (held,) = receiver.wait_for(1)
        assert held[0]["labels"]["service"] == "openpolicy/kibana"
        assert held[0]["startsAt"] == time(AT_WALL_S - 90)
        assert people.got == []
