"""A real Chromium without a window, driven by its DevTools protocol over a pipe. Records what a page asks for and complains of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from select import select
from typing import Any

_ANSWER_S = 30.0
_KEY_CODES = {"Tab": 9}


class BrowserError(Exception):
    """There is no Chromium, or it does not answer."""


class Browser:
    """One page. Use it as a context; everything it keeps is below `home`."""

    def __init__(self, home: Path, width: int = 1280, height: int = 900) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise BrowserError("there is no chromium here: apt-get install chromium")
        self.requests: list[str] = []  # addresses that the page asked for
        self.problems: list[str] = []  # errors and warnings of the console, exceptions, requests that failed
        self._received = b""
        self._asked = 0
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        flags = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
        )
        flags += (
            "--remote-debugging-pipe",
            f"--user-data-dir={home}",
            f"--window-size={width},{height}",
            "--disable-dev-shm-usage",
        )
        # Chromium reads from descriptor 3 and writes to 4.
        script = f"exec 3<&{to_browser} 4>&{from_browser}; exec {program} {' '.join(flags)} about:blank"
        self._process = subprocess.Popen(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(home.parent / "chromium.log").open("wb"),
            pass_fds=(to_browser, from_browser),
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What one element shows; empty where there is none."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def prefer(self, scheme: str) -> None:
        """`dark` or `light`, as the user's system would say."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str) -> None:
        """A key as it is named by the DOM, or a character."""
        written = {"text": key} if len(key) == 1 else {"windowsVirtualKeyCode": _KEY_CODES[key]}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **written)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        message: dict[str, Any] = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        ends_s = time.monotonic() + _ANSWER_S
        while True:
            answer = self._receive(ends_s)
            if answer.get("id") == self._asked:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)

    def _receive(self, ends_s: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select([self._read], [], [], max(0.0, ends_s - time.monotonic()))[0]:
                raise BrowserError(f"chromium has not answered for {_ANSWER_S:.0f} s")
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                raise BrowserError("chromium ended")
            self._received += chunk
        raw, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(raw))

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Network.loadingFailed" if not told.get("canceled"):
                self.problems.append(f"a request failed: {told['errorText']}")
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.problems.append(f"console: {told['args']}")
            case "Runtime.exceptionThrown":
                self.problems.append(f"exception: {told['exceptionDetails']}")
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.problems.append(f"log: {told['entry']['text']} {told['entry'].get('url', '')}")
