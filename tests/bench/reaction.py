"""How fast guardian answers: from memory crossing its hard mark to the stop at the engine's socket, and 14 stops at once."""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.daemon import GuardianProcess
from support.engine_events import EngineEvents
from support.platform import MIB, reference_services
from support.small import is_stop
from support.socket_proxy import SocketProxy
from support.standin import crossed_s, standin_program
from support.waiting import eventually

from bench.figures import EARLYOOM, GUARDIAN, Figure
from bench.peers import Peers
from bench.stage import PROJECT, Stage
from bench.stats import summarise

RATE = 200_000_000  # bytes a second
HOG = "api"
VICTIMS = tuple(f"victim-{number}" for number in (1, 2, 3))
VICTIM_BYTES = 180 * MIB
REFERENCE_BYTES = 600 * MIB
AT_REST, RECOVER, HARD = 0.68, 0.70, 0.90  # of the capacity, which is set to what the platform needs for that
PAST_HARD = 0.10
EARLYOOM_TIMES = 4  # the hog goes on past the mark, as memory that others give back meanwhile moves the host
EARLYOOM_RUNS = 20
EARLYOOM_WAY_BYTES = 450 * MIB
FAN_OUT = 14
FAN_OUT_RUNS = 5
ONE_BY_ONE = "docker stop, in turn"
AT_ONCE = "docker stop, one command"
_SEED = 1


def add_victims(stage: Stage) -> None:
    stage.add(VICTIMS, VICTIM_BYTES, 0.0)


def measure_reaction(stage: Stage, runs: int) -> list[Figure]:
    """A hog crosses the hard mark, again and again. All other services rest."""
    with tempfile.TemporaryDirectory() as folder, _proxied(stage, Path(folder)) as (proxy, guardian, capacity):
        pause = random.Random(_SEED)
        first, last = [], []
        for _ in range(runs):
            rest = eventually(lambda: _at_rest(guardian), "all is calm again", 60)
            time.sleep(pause.random())  # at any moment between two ticks
            one = _cross(stage, proxy, rest * capacity, capacity)
            first.append(one[0])
            last.append(one[-1])
            _put_back(stage, guardian)
    return [
        Figure("reaction", GUARDIAN, stage.size, summarise(first)),
        Figure("reaction_all", GUARDIAN, stage.size, summarise(last)),
    ]


def _cross(stage: Stage, proxy: SocketProxy, rest_bytes: float, capacity: float) -> list[float]:
    """Milliseconds from the crossing to each stop of the batch."""
    platform = stage.hold(HOG)
    others = rest_bytes - platform.memory_bytes(HOG)
    seen, began_s = len(proxy.requests), time.monotonic()
    platform.grow(HOG, int((HARD + PAST_HARD) * capacity - others), RATE)
    eventually(lambda: _sent(proxy, seen), "guardian stops something", 30, every_s=0.02)
    count = 0
    while count != (count := len(_sent(proxy, seen))):  # until no more come
        time.sleep(0.3)
    stamps = [stamp for stamp in platform.stamps(HOG) if stamp.begin_s >= began_s]
    crossing_s = crossed_s(stamps, HARD * capacity - others)
    return sorted((sent_s - crossing_s) * 1000 for sent_s in _sent(proxy, seen))


def _sent(proxy: SocketProxy, seen: int) -> list[float]:
    """When each stop since then was passed on to the engine."""
    return [one.forwarded_s for one in proxy.requests[seen:] if is_stop(one) and one.forwarded_s is not None]


def _put_back(stage: Stage, guardian: GuardianProcess) -> None:
    """The hog holds again what it held at first, and all that was stopped runs: somebody starts it, which guardian lets be."""
    eventually(lambda: not guardian.status()["in_flight"], "the batch has ended", 30)
    platform = stage.hold(HOG)
    platform.hold(HOG, platform.memory_bytes(HOG))
    for row in stage.client.containers(all=True, filters={"status": "exited"}):
        stage.client.start(row["Id"])


def _at_rest(guardian: GuardianProcess) -> float | None:
    """The platform's memory as a ratio of its capacity, once all is ok and every victim holds its memory again."""
    status = guardian.status()
    value = next((one["value_ratio"] for one in status["signals"] if one["signal"] == "platform_memory"), None)
    calm = status["level"] == "ok" and not status["in_flight"] and not status["shed"]
    return value if calm and value is not None and value >= AT_REST - 0.02 else None


@contextmanager
def _proxied(stage: Stage, folder: Path) -> Iterator[tuple[SocketProxy, GuardianProcess, float]]:
    """A guardian that enforces, behind a proxy; and the capacity of which the platform now holds `AT_REST`."""
    with SocketProxy(stage.engine.socket, folder / "proxy.sock") as proxy:
        guardian = GuardianProcess(folder / "guardian", _config(stage, proxy.url, 64 * 1024 * MIB))
        try:
            guardian.start()
            held = eventually(lambda: _value(guardian), "every footprint is known", 60) * 64 * 1024 * MIB
            guardian.stop()
            capacity = int(held / AT_REST)
            guardian.write_config(_config(stage, proxy.url, capacity))
            guardian.start()
            eventually(lambda: _value(guardian), "every footprint is known", 60)
            yield proxy, guardian, capacity
        finally:
            guardian.close()


def _value(guardian: GuardianProcess) -> float | None:
    return next((one["value_ratio"] for one in guardian.status()["signals"] if one["signal"] == "platform_memory"), None)


def _config(stage: Stage, url: str, capacity: int) -> str:
    """The reference file, enforced, with a capacity of its own; the victims make a last phase; no other signal than that one."""
    off = dict.fromkeys(("memory", "cpu", "swap", "memory_pressure", "disk"), "off")
    marks = {"soft": 0.8, "hard": HARD, "recover": RECOVER, "soft_for": "60s", "recover_for": "500ms"}
    written: dict[str, Any] = yaml.safe_load(
        stage.config(
            mode="enforce",
            host={"memory": capacity},
            thresholds={**off, "platform_memory": marks},
            restoring={"enabled": False},
        )
    )
    for phase in written["phases"]:
        phase["services"] = [name for name in phase["services"] if name not in VICTIMS]
    written["phases"].append({"phase": len(written["phases"]) + 1, "name": "victims", "services": list(VICTIMS)})
    return yaml.safe_dump({**written, "engine": {"url": url}}, sort_keys=False)


# --- stop fan-out ---------------------------------------------------------------------------------------------------


def measure_fan_out(stage: Stage) -> list[Figure]:
    """14 services that do not depend on one another are stopped by one order; then as people do it with `docker stop`."""
    services = independent_services(FAN_OUT)
    sent, gone = [], []
    with tempfile.TemporaryDirectory() as folder, _proxied(stage, Path(folder)) as (proxy, guardian, _):
        for _ in range(FAN_OUT_RUNS):
            eventually(lambda: not guardian.status()["shed"] and guardian.status()["level"] == "ok", "all is calm", 60)
            seen = len(proxy.requests)
            with EngineEvents(stage.engine.url, PROJECT) as events:
                answer = guardian.cli("shed", *services)
                assert answer.returncode == 0, answer.stderr
                ended_s = _last_end(events, services)
            times = _sent(proxy, seen)
            assert len(times) == FAN_OUT, f"{len(times)} stops were sent"
            sent.append((max(times) - min(times)) * 1000)
            gone.append((ended_s - min(times)) * 1000)
            _put_back(stage, guardian)
    size = stage.size
    return [
        Figure("fanout_sent", GUARDIAN, size, summarise(sent)),
        Figure("fanout_gone", GUARDIAN, size, summarise(gone)),
        Figure("fanout_gone", ONE_BY_ONE, size, summarise([_by_hand(stage, services, False) for _ in range(FAN_OUT_RUNS)])),
        Figure("fanout_gone", AT_ONCE, size, summarise([_by_hand(stage, services, True) for _ in range(FAN_OUT_RUNS)])),
    ]


def independent_services(count: int) -> tuple[str, ...]:
    """The last of the reference platform that do not depend on one another: nothing makes their stops wait."""
    chosen: list[str] = []
    needed: set[str] = set()  # by the chosen: they come later in the file than what they depend on
    for service in reversed(reference_services()):
        if service.name not in needed:
            chosen.append(service.name)
            needed.update(service.depends_on)
    return tuple(chosen[:count])


def _by_hand(stage: Stage, services: Sequence[str], at_once: bool) -> float:
    """Milliseconds from the first command to the last end."""
    names = [f"{PROJECT}-{service}-1" for service in services]
    commands = [names] if at_once else [[name] for name in names]
    with EngineEvents(stage.engine.url, PROJECT) as events:
        began_s = time.monotonic()
        for command in commands:
            subprocess.run(
                [stage.docker_program, "stop", *command], env=stage.docker_environ, stdout=subprocess.DEVNULL, check=True
            )
        ended_s = _last_end(events, services)
    for name in names:
        stage.client.start(name)
    return (ended_s - began_s) * 1000


def _last_end(events: EngineEvents, services: Sequence[str]) -> float:
    """When the last of them ended, in monotonic time."""

    def ends() -> dict[str, float] | None:
        found = {one.service: one.at_wall_s for one in events.changes if not one.running}
        return found if found.keys() >= set(services) else None

    return max(eventually(ends, "all have ended", 60).values()) - time.time() + time.monotonic()


# --- earlyoom -------------------------------------------------------------------------------------------------------


def measure_earlyoom(peers: Peers, size: int) -> list[Figure]:
    """The same hog outside of any container: earlyoom sees the host alone. It only says whom it would end (`--dryrun`)."""
    if EARLYOOM not in peers.programs:
        return []
    times = [_earlyoom_once(peers.programs[EARLYOOM]) for _ in range(EARLYOOM_RUNS)]
    return [Figure("reaction", EARLYOOM, size, summarise(times))]


def _earlyoom_once(program: Path) -> float:
    mark_bytes = available_bytes() - EARLYOOM_WAY_BYTES
    size = str(mark_bytes // 1024)
    earlyoom = subprocess.Popen(
        [program, "--dryrun", "-r", "0", "-M", f"{size},{size}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said_s: list[float] = []
    reader = threading.Thread(target=_note_first, args=(earlyoom, said_s), daemon=True)
    reader.start()
    with tempfile.TemporaryDirectory() as folder:
        grow = f"at=300ms,to={EARLYOOM_WAY_BYTES * EARLYOOM_TIMES},rate={RATE}B/s"
        environ = {"STANDIN_MEMORY": "1MiB", "STANDIN_GROW": grow, "STANDIN_SOCKET": f"{folder}/s"}
        hog = subprocess.Popen([standin_program()], env=environ, stdout=subprocess.DEVNULL)
        try:
            crossing_s = _wait_below(mark_bytes)
            eventually(lambda: said_s, "earlyoom would end something", 20, every_s=0.005)
        finally:
            for process in (hog, earlyoom):
                process.kill()
                process.wait()
    return (said_s[0] - crossing_s) * 1000


def _note_first(earlyoom: subprocess.Popen[bytes], said_s: list[float]) -> None:
    assert earlyoom.stdout is not None
    for line in earlyoom.stdout:
        if re.match(rb"sending SIG(TERM|KILL) to process", line):
            said_s.append(time.monotonic())
            return


def _wait_below(mark_bytes: int) -> float:
    ends_s = time.monotonic() + 30
    while available_bytes() >= mark_bytes:
        assert time.monotonic() < ends_s, "memory never crossed the mark"
        time.sleep(0.002)
    return time.monotonic()


def available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not say what is available")
