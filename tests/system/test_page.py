"""The status page in a real browser, on a guardian that sheds and restores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import small
from support.browser import Browser
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.snapshots import AT_S, service, snapshot
from support.waiting import eventually

from guardian.clock import VirtualClock
from guardian.expose.metrics import Metrics
from guardian.expose.trace import EVERY_S, Trace
from guardian.expose.web import WebServer
from guardian.model import ActionKind, Held

MANY = 300


@pytest.fixture
def guardian(
    make_guardian: Callable[..., GuardianProcess], platform: ReferencePlatform, standin_engine: PrivateEngine
) -> GuardianProcess:
    """Started on the small platform, and past its first look."""
    guardian = make_guardian(small.as_yaml(small.small_settings(standin_engine.url)))
    small.start(guardian)
    return guardian


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "browser") as browser:
        yield browser


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "phone", width=390, height=800) as browser:
        yield browser


@pytest.fixture
def crowd() -> Iterator[str]:
    """The address of a web side that shows 300 services, for each a restore held back, and a trace with a gap."""
    shown = snapshot()
    services = tuple(service(f"service-{number:03}", 1 + number % 5) for number in range(MANY))
    metrics, trace = Metrics(VirtualClock(AT_S)), Trace()
    held = tuple(Held(ActionKind.RESTORE, "pressure", one.key) for one in services)
    shown = replace(shown, assessment=replace(shown.assessment, services=services), decision=replace(shown.decision, held=held))
    metrics.update(shown)
    for number in range(20):
        sample = replace(shown.sample, host=None) if number == 10 else shown.sample
        at = number * EVERY_S
        trace.note(replace(shown, sample=sample, at_s=shown.at_s + at, at_wall_s=shown.at_wall_s + at))
    web = WebServer("127.0.0.1:0", metrics, trace, lambda *_: (), VirtualClock(AT_S))
    web.start()
    yield "http://{}:{}/".format(*web.address)
    web.close()


def _row(browser: Browser, name: str) -> str:
    """What the page says of a service."""
    script = (
        f"[...document.querySelectorAll('#phases tbody tr')].find(row => row.cells[0].innerText === '{name}')?.innerText ?? ''"
    )
    return str(browser.evaluate(script))


def _has_drawn(browser: Browser) -> bool:
    """Whether the charts are there, and not blank."""
    script = (
        "[...document.querySelectorAll('.chart canvas')].filter(canvas => canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)).length"
    )
    return bool(browser.evaluate(script) == 2)


def test_the_page_shows_a_shed_and_its_restore_as_they_happen(
    guardian: GuardianProcess, platform: ReferencePlatform, browser: Browser
) -> None:
    """The page shows what the API says, and without a reload that a service is shed, why, and that it is back."""
    browser.open(guardian.url)
    eventually(lambda: "running" in _row(browser, small.VICTIM), "the page shows the services")
    status = guardian.status()
    assert browser.text("#mode") == "enforce"
    assert status["level"] in browser.text("#level")
    assert browser.evaluate("document.querySelectorAll('#phases tbody tr').length") == len(status["services"])
    assert browser.evaluate("document.querySelectorAll('#signals .signal').length") == len(status["signals"])

    small.press(platform)
    eventually(lambda: "for platform memory" in _row(browser, small.VICTIM), "the page shows the shed")
    assert "shed" in _row(browser, small.VICTIM)
    eventually(lambda: f"▼ shed\t{small.VICTIM}" in browser.text("#history"), "its history has it")
    eventually(lambda: "shed" in str(browser.evaluate("document.title")), "its title says so")
    small.relax(platform)
    eventually(lambda: "running" in _row(browser, small.VICTIM), "the page shows the restore")
    eventually(lambda: f"▲ restore\t{small.VICTIM}" in browser.text("#history"), "its history has that too")
    eventually(lambda: _has_drawn(browser), "the charts are drawn")

    assert browser.problems == []
    assert all(address.startswith(guardian.url) for address in browser.requests), browser.requests


def test_hold_standby_and_silence_cannot_be_missed(guardian: GuardianProcess, browser: Browser) -> None:
    """A hold, a standby and a guardian that no longer answers are each told on top of the page."""
    browser.open(guardian.url)
    eventually(lambda: browser.text("#mode") == "enforce", "the page shows the mode")
    guardian.cli("hold")
    eventually(lambda: "Hold: nothing is started (operator)" in browser.text("#notices"), "the hold is told")
    guardian.cli("standby", "--for", "1h")
    eventually(lambda: "Standby: nothing is stopped or started until" in browser.text("#notices"), "the standby is told")
    guardian.stop()
    eventually(lambda: "Guardian has not answered since" in browser.text("#notices"), "its silence is told", timeout_s=30)
    assert browser.text("#level") == "? no answer"


def test_three_hundred_services_can_be_found_by_keyboard(crowd: str, browser: Browser) -> None:
    """With 300 services the page shows them all, by keyboard alone one can be found, and no sentence names them all."""
    browser.open(crowd)
    rows = "[...document.querySelectorAll('#phases tbody tr')]"
    eventually(lambda: browser.evaluate(f"{rows}.length") == MANY, "all services are shown")
    assert "and 288 more" in browser.text("#next")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    while browser.evaluate("document.activeElement.id") != "find":
        browser.press("Tab")
    for key in "271":
        browser.press(key)
    assert browser.evaluate(f"{rows}.filter(row => !row.hidden).map(row => row.cells[0].innerText)") == ["service-271"]
    assert browser.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_in_light_and_dark(crowd: str, phone: Browser, scheme: str) -> None:
    """On a phone nothing is wider than the screen, and text stands out from its ground, in light and in dark."""
    phone.prefer(scheme)
    phone.open(crowd)
    eventually(lambda: _has_drawn(phone), "the charts are drawn")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    ground, ink = (phone.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert _contrast(ground, ink) >= 7  # WCAG 2.2, 1.4.6
    assert phone.problems == []


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of two `rgb(…)` colours; https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
