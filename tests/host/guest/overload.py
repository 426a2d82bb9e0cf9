"""Runs in the emulated host: makes an overload, and measures what clients of the core services and the kernel see of it.

Standard input has the scenario, `{"idle_s": 20, "watch_s": 100, "probe": ["postgres", …], "growths": [{"service": "postgres",
"to_bytes": …, "bytes_per_s": …}, …]}`. The service `outside` is a stand-in that is no container. Standard output has, in
seconds since the growths began (negative before):

- `probes`: `[at_s, service, latency_s]`, with a null latency where no answer came within two seconds
- `memory`: `[at_s, available_bytes, PSI full avg10 in percent]`
- `events`: `[at_s, service, what, exit code]` as the engine reports them: kill, die, start, oom
- `kernel`: `[at_s, constraint, service or cgroup]`, every process that the kernel's OOM killer chose
- `stalls`: `[at_s, lasted_s]`, when a CPU of this machine did not run at all: it is emulated, perhaps on a busy one
- `late_s`: how much later than planned a probe was sent at most; `held`: what each grown one holds at the end
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

PROBE_EVERY_S = 0.5
PATIENCE_S = 2.0
SAMPLE_EVERY_S = 0.5
BEAT_S = 0.02
STALL_S = 0.05
OUTSIDE_SOCKET = "/run/outside.sock"
_LOCK_ALL_ONCE_TOUCHED = 1 | 2 | 4  # MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT


class Target:
    """A stand-in, and how to reach its socket: through the root of its process, without the engine."""

    def __init__(self, service: str, container: str) -> None:
        self.service = service
        self._procs = Path(f"/sys/fs/cgroup/system.slice/docker-{container}.scope/cgroup.procs")
        self._pid = ""

    def ask(self, order: str) -> str:
        """Its answer; empty where there is none in time."""
        try:
            if not self._pid:
                self._pid = self._procs.read_text().split()[0]
            return ask(f"/proc/{self._pid}/root/standin.sock", order)
        except (OSError, IndexError):
            self._pid = ""  # it may have been started again since
            return ""


class Outside:
    service = "outside"

    def ask(self, order: str) -> str:
        """Likewise."""
        try:
            return ask(OUTSIDE_SOCKET, order)
        except OSError:
            return ""


def ask(path: str, order: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(path)
        connection.sendall(order.encode() + b"\n")
        answer = b""
        while chunk := connection.recv(512):
            answer += chunk
        return answer.decode()


class Watch:
    """What is measured, by threads that end with `stop`."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self.probes: list[tuple[float, str, float | None]] = []
        self.memory: list[tuple[float, int, float]] = []
        self.kernel: list[tuple[float, str, str]] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, targets: list[Target]) -> None:
        for number, target in enumerate(targets):
            self._run(self._probe, target, number * PROBE_EVERY_S / len(targets))
        self._run(self._sample)
        self._run(self._read_kernel)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _probe(self, target: Target, offset_s: float) -> None:
        due_s = time.monotonic() + offset_s
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            sent_s = time.monotonic()
            self.late_s = max(self.late_s, sent_s - due_s)
            answered = target.ask("status").startswith("well ")
            latency_s = round(time.monotonic() - sent_s, 4)
            self.probes.append((sent_s, target.service, latency_s if answered else None))
            due_s = max(due_s + PROBE_EVERY_S, time.monotonic())

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            available = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
            full = re.search(r"full avg10=([\d.]+)", Path("/proc/pressure/memory").read_text())
            assert available
            assert full
            self.memory.append((time.monotonic(), int(available[1]) * 1024, float(full[1])))

    def _read_kernel(self) -> None:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(log, 0, os.SEEK_END)
        while not self._stop.wait(SAMPLE_EVERY_S):
            while True:
                try:
                    record = os.read(log, 8192).decode(errors="replace")
                except BlockingIOError:
                    break
                except BrokenPipeError:  # some were overwritten: the next read goes on with the oldest there is
                    continue
                if chosen := re.search(r"oom-kill:constraint=(\w+),.*task_memcg=([^,]+)", record):
                    self.kernel.append((time.monotonic(), chosen[1], chosen[2]))


class Beats:
    """A process for each CPU that nothing here is more urgent than: where it does not come to run, the CPU did not."""

    def __init__(self, told: IO[str]) -> None:
        """What they tell is appended to the file `told`."""
        self._told = told
        self._pids = [pid for cpu in sorted(os.sched_getaffinity(0)) if (pid := self._fork(cpu))]

    def _fork(self, cpu: int) -> int:
        if pid := os.fork():
            return pid
        try:
            lock_memory()
            os.sched_setaffinity(0, {cpu})
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO)))
            while True:
                due_s = time.monotonic() + BEAT_S
                time.sleep(BEAT_S)
                late_s = time.monotonic() - due_s
                if late_s >= STALL_S:
                    os.write(self._told.fileno(), f"{due_s} {late_s}\n".encode())
        finally:
            os._exit(1)

    def stop(self) -> list[tuple[float, float]]:
        """When a CPU stood still, and for how long."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._told.seek(0)
        return sorted((float(at_s), float(lasted_s)) for at_s, lasted_s in map(str.split, self._told))


def lock_memory() -> None:
    ctypes.CDLL(None).mlockall(_LOCK_ALL_ONCE_TOUCHED)


def containers() -> dict[str, str]:
    """Service -> id of its container."""
    listed = _docker("ps", "--all", "--no-trunc", "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}')
    return {service: container for container, service in (line.split() for line in listed.splitlines())}


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def _service_of(cgroup: str, ids: dict[str, str]) -> str:
    return next((service for service, container in ids.items() if container in cgroup), cgroup)


def main() -> None:
    scenario = json.load(sys.stdin)
    threading.stack_size(256 * 1024)
    lock_memory()
    ids = containers()
    targets = {service: Target(service, container) for service, container in ids.items()}
    growing: dict[str, Target | Outside] = {**targets, "outside": Outside()}

    with (
        tempfile.TemporaryFile("a+") as beaten,
        tempfile.TemporaryFile("w+") as told,
        subprocess.Popen(["docker", "events", "--filter", "type=container", "--format", "{{json .}}"], stdout=told) as events,
    ):
        beats = Beats(beaten)
        watch = Watch()
        watch.start([targets[service] for service in scenario["probe"]])
        time.sleep(scenario["idle_s"])
        zero_s, zero_wall_s = time.monotonic(), time.time()
        for growth in scenario["growths"]:
            answer = growing[growth["service"]].ask(f"grow {growth['to_bytes']} {growth['bytes_per_s']}B/s")
            assert answer.startswith("ok"), f"{growth['service']}: {answer}"
        time.sleep(scenario["watch_s"])
        watch.stop()
        stalls = beats.stop()
        held = {growth["service"]: growing[growth["service"]].ask("status").strip() for growth in scenario["growths"]}
        events.terminate()
        events.wait()
        told.seek(0)
        happened = [json.loads(line) for line in told]

    def since(at_s: float) -> float:
        return round(at_s - zero_s, 3)

    changes = [
        (
            round(event["timeNano"] / 1e9 - zero_wall_s, 3),
            event["Actor"]["Attributes"].get("com.docker.compose.service", ""),
            event["Action"],
            event["Actor"]["Attributes"].get("exitCode") or event["Actor"]["Attributes"].get("signal"),
        )
        for event in happened
        if event["Action"] in ("kill", "die", "start", "oom")
    ]
    result = {
        "probes": [(since(at_s), service, latency_s) for at_s, service, latency_s in watch.probes],
        "memory": [(since(at_s), available, full) for at_s, available, full in watch.memory],
        "kernel": [(since(at_s), constraint, _service_of(cgroup, ids)) for at_s, constraint, cgroup in watch.kernel],
        "events": changes,
        "stalls": [(since(at_s), round(lasted_s, 3)) for at_s, lasted_s in stalls],
        "late_s": round(watch.late_s, 3),
        "held": held,
        "begun_wall_s": zero_wall_s,
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
