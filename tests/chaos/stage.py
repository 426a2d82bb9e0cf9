"""What the faults happen to: an engine, a platform on it, a proxy before it, a small disk, and guardian as a process."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
import psutil
from requests.exceptions import RequestException
from support.daemon import GuardianProcess
from support.disks import small_disk
from support.engine_events import Change, EngineEvents
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.small import as_yaml
from support.socket_proxy import SocketProxy
from support.standin import standin_program
from support.waiting import eventually

from chaos.plan import MANAGED

PROTECTED = ("postgres", "redis")
UNLISTED = "dashboard-service"  # of the project, and in no phase
FOREIGN = "web"  # of another project
SIZES_MIB = {
    "postgres": 80, "redis": 20, "auth-service": 40, "etl-service": 30, "notification-service": 30, "grafana": 50, "kibana": 50,
    "fluentd": 20, UNLISTED: 10,
}  # fmt: skip
STOPS = {"grafana": "ignore", "kibana": "slow:500ms"}
CAPACITY_BYTES = 512 * MIB
HOLDS = {"calm": 80 * MIB, "soft": 200 * MIB, "hard": 280 * MIB}  # of postgres
PATIENCE_S = 3.0  # with guardian's own sockets: a plan goes on
BLIND_BEFORE_S, BLIND_AFTER_S = 3.0, 8.0  # around an engine that goes down: what it had to tell is lost with it

Refused = (docker.errors.DockerException, RequestException, OSError)


@dataclass(frozen=True, slots=True)
class Life:
    """A process by its pid and the moment at which it began."""

    pid: int
    began_s: float

    @property
    def goes_on(self) -> bool:
        try:
            return psutil.Process(self.pid).create_time() == self.began_s
        except psutil.NoSuchProcess:
            return False


class Stage:
    """A context manager. `home` is where everything of guardian's lies; the engine is the caller's, and has the stand-in's image."""

    def __init__(self, engine: PrivateEngine, home: Path) -> None:
        self.engine = engine
        self.home = home
        self.engine_answers = True
        self.guardian_runs = False
        self.paused: set[str] = set()
        self.blind: list[tuple[float, float]] = []  # wall times between which events of the engine may be lost
        self.ids: dict[str, str] = {}  # every container there ever was -> service
        self.untouchable: dict[str, Life] = {}  # by service: what must never end while its engine lives
        self.down_by_person: dict[str, float] = {}  # by service: since when (monotonic), where it was certainly not guardian's
        self.left_down: set[str] = set()  # by a person's doing, or perhaps: whoever ends the plan starts them
        self._ran: set[str] = set()  # when the engine last went down
        self._changes: list[Change] = []
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.platform = ReferencePlatform(
                self.engine.url,
                only={*SIZES_MIB},
                environment={
                    name: {
                        "STANDIN_MEMORY": str(size * MIB),
                        "STANDIN_CPU": "0",
                        **({"STANDIN_STOP": STOPS[name]} if name in STOPS else {}),
                    }
                    for name, size in SIZES_MIB.items()
                },
            )
            stack.callback(self.platform.remove)
            self.other = ReferencePlatform(
                self.engine.url, project="another", only={FOREIGN}, environment={FOREIGN: {"STANDIN_MEMORY": str(10 * MIB)}}
            )
            stack.callback(self.other.remove)
            self.platform.up()
            self.other.up()
            self._events = EngineEvents(self.engine.url)
            stack.callback(self._close_events)
            self.proxy = stack.enter_context(SocketProxy(self.engine.socket, self.home / "proxy.sock"))
            self.disk = self.home / "guardian/state"
            stack.enter_context(small_disk(self.home, self.disk))
            self.config = settings(self.proxy.url)
            self.guardian = GuardianProcess(self.home / "guardian", as_yaml(self.config))
            stack.callback(self.guardian.close)
            stack.callback(self.calm_engine)
            self.see_containers()
            self.start_guardian()
            eventually(self.guardian.look_up, "guardian to listen", 60)
            eventually(lambda: self.status().get("engine", {}).get("up"), "guardian to see the engine", 60)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._stack.__exit__(kind, error, traceback)
        except Exception:
            if error is None:
                raise  # else what went wrong first is what is to be told

    # --- what is so -------------------------------------------------------------------------------------------------

    @property
    def changes(self) -> tuple[Change, ...]:
        """Starts and ends of the platform's containers, as the engine told them."""
        return (*self._changes, *self._events.changes)

    def see_containers(self) -> None:
        """Whose ids these are, and which processes must live on. The engine answers."""
        self.ids.update(self.platform.ids())
        self.ids.update({id_: f"another/{name}" for id_, name in self.other.ids().items()})
        for name in (*PROTECTED, UNLISTED):
            self.untouchable[name] = self._life(self.platform.container(name))
        self.untouchable[f"another/{FOREIGN}"] = self._life(self.other.container(FOREIGN))

    def status(self) -> dict[str, Any]:
        """Guardian's own, or nothing where it does not answer."""
        if not self.guardian_runs or not self.guardian.url:
            return {}
        try:
            with urllib.request.urlopen(f"{self.guardian.url}/api/v1/status", timeout=PATIENCE_S) as answer:
                status: dict[str, Any] = json.loads(answer.read())
                return status
        except (OSError, ValueError, http.client.HTTPException):
            return {}

    def running(self) -> set[str]:
        return self.platform.running()

    def _life(self, container: str) -> Life:
        client = self.engine.client()
        try:
            with suppress(AssertionError):
                return eventually(lambda: self._lives(client, container), "the engine brings it back", 20)
            client.start(container)  # an engine that is killed while it starts may leave one down: then a person starts it
            return eventually(lambda: self._lives(client, container), f"{container} runs", 60)
        finally:
            client.close()

    @staticmethod
    def _lives(client: docker.APIClient, container: str) -> Life | None:
        with suppress(psutil.NoSuchProcess, docker.errors.NotFound):
            state = client.inspect_container(container)["State"]
            return Life(state["Pid"], psutil.Process(state["Pid"]).create_time()) if state["Running"] else None
        return None

    def _close_events(self) -> None:
        self._events.close()  # of the present engine

    # --- what may be done to it -------------------------------------------------------------------------------------

    def hold(self, how: str) -> None:
        """Postgres comes to hold that much, past the engine; it may be down for a moment with its engine."""
        if (postgres := self.untouchable.get("postgres")) is None:
            return
        order = [str(standin_program()), "ctl", "jump", str(HOLDS[how])]
        address = f"/proc/{postgres.pid}/root/standin.sock"
        with suppress(subprocess.SubprocessError):
            subprocess.run(order, env={"STANDIN_SOCKET": address}, check=True, capture_output=True, timeout=10)

    def suspend_engine(self) -> None:
        self.engine_answers = False
        self.engine.suspend()

    def resume_engine(self) -> None:
        self.engine.resume()
        self.engine_answers = True

    def take_engine_down(self, end: Callable[[], None]) -> None:
        """By `end`. What it had to tell from shortly before on is lost."""
        self._ran = self.running()
        self.engine_answers = False
        self.untouchable.clear()
        self.blind.append((time.time() - BLIND_BEFORE_S, float("inf")))
        end()

    def start_engine(self) -> None:
        """And follow it anew, once it has brought back what it brings back."""
        self.engine.start()
        self._changes.extend(self._events.changes)
        self._events.close()
        self._events = EngineEvents(self.engine.url)
        self.see_containers()
        self.left_down |= (
            self._ran - self.running()
        )  # an engine that was killed does not bring back all that ran: see its own log
        self.blind[-1] = (self.blind[-1][0], time.time() + BLIND_AFTER_S)
        self.engine_answers = True

    def calm_engine(self) -> None:
        """Whatever was done to it, it answers."""
        if self.blind and self.blind[-1][1] == float("inf"):
            self.start_engine()
        elif not self.engine_answers:
            self.resume_engine()

    def start_guardian(self) -> None:
        self.guardian.start(wait=False)
        self.guardian_runs = True

    def as_person(self, service: str, act: Callable[[docker.APIClient, str], object]) -> bool:
        """What somebody does to a container, if the engine lets them; whether it did."""
        if not self.engine_answers:
            return False
        client = None
        try:
            client = self.engine.client(timeout_s=15)
            act(client, self.platform.container(service))
        except Refused:
            return False
        finally:
            if client is not None:
                client.close()
        self.ids.update(self.platform.ids())
        return True

    def order(self, **body: Any) -> bool:
        """Give an order by the control socket; whether it was carried out."""
        if not self.guardian_runs:
            return False
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(PATIENCE_S)
            connection.sock.connect(str(self.guardian.socket))
            connection.request("POST", "/api/v1/orders", json.dumps(body))
            answer = connection.getresponse()
            return bool(json.loads(answer.read()).get("ok"))
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def history(self) -> list[Mapping[str, Any]]:
        """All rows, oldest first."""
        return list(reversed(self.guardian.history(10_000)))


def settings(url: str) -> dict[str, Any]:
    """Everything happens fast, and only `platform_memory` decides: the machine that the tests run on has no say."""
    soon = {"soft_for": "500ms", "hard_for": "0s", "recover_for": "1s"}
    return {
        "version": 1,
        "mode": "enforce",
        "project": "openpolicy",
        "engine": {"url": url, "timeout": "2s"},
        "host": {"memory": "512MiB"},
        "sampling": {"host": "250ms", "containers": "1s"},
        "thresholds": {
            **dict.fromkeys(("memory", "cpu", "swap", "memory_pressure", "disk"), "off"),
            "platform_memory": {"soft": "80%", "hard": "95%", "recover": "72%", **soon},
        },
        "shedding": {"settle": "2s", "hard_grace": "1s", "max_per_hour": 100_000},
        "restoring": {
            "stable_for": "500ms", "probation": "2s", "backoff": {"min": "1s", "max": "3s"}, "max_flaps": 100_000,
        },
        "phases": [
            {"phase": 1, "name": "core", "protected": True, "services": list(PROTECTED)},
            {"phase": 2, "name": "business", "services": [MANAGED[0]]},
            {"phase": 3, "name": "data", "services": list(MANAGED[1:3])},
            {"phase": 4, "name": "observability", "services": list(MANAGED[3:])},
        ],
    }  # fmt: skip


@contextmanager
def a_home() -> Iterator[Path]:
    """A folder of the run's own, short enough for the paths of sockets."""
    home = Path(tempfile.mkdtemp(prefix="guardian-chaos-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def send(pid: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, which)
