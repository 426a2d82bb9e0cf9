"""A Docker Engine of the tests' own: its own socket, data, bridge and address range, so that nothing else is touched.

Needs root, `dockerd`, `containerd`, `runc` and `ip`. GUARDIAN_TEST_DOCKERD_DIR may name a folder into which another
engine's packages were unpacked (`dpkg -x`): its programs are then used first.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import docker
import psutil

_PREFIX = "guardian-engine-"
# Not the temporary directory: where that is a tmpfs, a file in a container would be memory and no page cache.
_PARENT = Path("/var/tmp")
_READY_S = 60.0
_STOP_S = 20.0


class EngineSetupError(Exception):
    """The tests cannot have their engine; says what to install or change."""


class PrivateEngine:
    """Started by `start`, ended for good by `remove`, also after a `kill`. Not safe to share between processes."""

    def __init__(self) -> None:
        self._env = os.environ | {"PATH": _search_path()}
        self._dockerd = _program("dockerd", self._env["PATH"], "apt-get install docker.io")
        self._ip = _program("ip", self._env["PATH"], "apt-get install iproute2")
        if os.geteuid() != 0:
            raise EngineSetupError("a private Docker Engine needs root: run these tests as root, or only tests/unit")
        _sweep(self._ip)
        self.home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
        (self.home / "owner").write_text(str(os.getpid()))
        self.socket = self.home / "docker.sock"
        self.root = self.home / "root"
        self._configure()
        self.url = f"unix://{self.socket}"
        self._number = _new_bridge(self._ip)
        self._bridge = f"gtest{self._number}"
        (self.home / "bridges").write_text(self._bridge)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of dockerd."""
        assert self._process is not None, "the engine was not started"
        return self._process.pid

    def client(self, timeout_s: int = 60) -> docker.APIClient:
        """For a test's own doings; the caller closes it."""
        return docker.APIClient(self.url, version="auto", timeout=timeout_s)

    def start(self) -> None:
        """Start dockerd and return once it answers."""
        command = [
            self._dockerd, "--host", self.url, "--data-root", str(self.root), "--exec-root", str(self.home / "run"),
            "--pidfile", str(self.home / "docker.pid"), "--config-file", str(self.home / "daemon.json"),
            "--bridge", self._bridge, "--default-address-pool", f"base=10.214.{self._number}.0/24,size=28",
            "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
            "--exec-opt", "native.cgroupdriver=cgroupfs", "--label", "guardian.test=1",
        ]  # fmt: skip
        (self.home / "docker.pid").unlink(missing_ok=True)  # left by a killed one, whose number may be another's by now
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, start_new_session=True
            )
        ends_s = time.monotonic() + _READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_s:
                log_end = "\n".join((self.home / "log").read_text(errors="replace").splitlines()[-15:])
                raise EngineSetupError(f"dockerd did not come up; the end of its log:\n{log_end}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End dockerd as an operator does; running containers are stopped by it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End dockerd as a crash does; containers go on until the next start."""
        self._end(signal.SIGKILL)
        # The kernel ends its containerd with it. Where nobody reaps that, the next dockerd would take it for alive.
        (self.home / "run/containerd/containerd.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Let dockerd hang: connections are accepted by the kernel, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End everything and leave nothing: containers, networks, mounts, files. May be called twice."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            with contextlib.suppress(Exception):
                self._note_networks()
            self.stop()
        _clean(self.home, self._ip)

    def _configure(self) -> None:
        """The host's own daemon.json is not for us, and its key neither: engines that share it would share an id."""
        version = subprocess.run([self._dockerd, "--version"], capture_output=True, text=True, check=True).stdout
        by_key = int(re.findall(r"\d+", version)[0]) < 23  # from 23 on the id is in a file below the data root
        (self.home / "daemon.json").write_text(
            json.dumps({"deprecated-key-path": str(self.home / "key.json")} if by_key else {})
        )
        self.root.mkdir(mode=0o710)
        (self.root / "engine-id").write_text(str(uuid.uuid4()))

    def _answers(self) -> bool:
        try:
            client = self.client(timeout_s=2)
        except docker.errors.DockerException:
            return False
        client.close()
        return True

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _note_networks(self) -> None:
        """The bridges of Compose networks outlive dockerd. Containers are ended here too: a stop would wait for each."""
        client = self.client()
        try:
            for container in client.containers(all=True):
                client.remove_container(container["Id"], force=True)
            bridges = [f"br-{network['Id'][:12]}" for network in client.networks() if network["Driver"] == "bridge"]
        finally:
            client.close()
        with (self.home / "bridges").open("a") as noted:
            noted.writelines(f"\n{bridge}" for bridge in bridges)


def _search_path() -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    folder = os.environ.get("GUARDIAN_TEST_DOCKERD_DIR")
    if not folder:
        return path
    if not Path(folder).is_dir():
        raise EngineSetupError(f"GUARDIAN_TEST_DOCKERD_DIR: there is no folder {folder}")
    return ":".join([*(f"{folder}/{part}" for part in ("usr/sbin", "usr/bin", "sbin", "bin", ".")), path])


def _program(name: str, path: str, install: str) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise EngineSetupError(f"the tests on a real Docker Engine need {name}: {install}; tests/unit needs none of this")
    return found


def _new_bridge(ip: str) -> int:
    """Of the first free number: the kernel lets only one process make a link of a name."""
    for number in range(1, 250):
        made = subprocess.run([ip, "link", "add", f"gtest{number}", "type", "bridge"], capture_output=True, check=False)
        if made.returncode == 0:
            subprocess.run([ip, "address", "add", f"10.213.{number}.1/24", "dev", f"gtest{number}"], check=True)
            subprocess.run([ip, "link", "set", f"gtest{number}", "up"], check=True)
            return number
        if b"exists" not in made.stderr:
            raise EngineSetupError(f"no network bridge can be made here: {made.stderr.decode(errors='replace').strip()}")
    raise EngineSetupError("all bridges gtest1 to gtest249 are taken: delete old ones with `ip link delete`")


def _sweep(ip: str) -> None:
    """Remove what test runs left that were killed."""
    for home in _PARENT.glob(_PREFIX + "*"):
        owner = home / "owner"
        try:
            alive = psutil.pid_exists(int(owner.read_text()))
        except (OSError, ValueError):
            continue  # being made, or being removed
        if not alive:
            _clean(home, ip)


def _clean(home: Path, ip: str) -> None:
    for _ in range(3):  # what dies may leave an orphan that was not seen
        ended = _kill_all_of(home)
        if not ended:
            break
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{home}/")]):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    with contextlib.suppress(FileNotFoundError):
        for bridge in (home / "bridges").read_text().split():
            subprocess.run([ip, "link", "delete", bridge], capture_output=True, check=False)
    shutil.rmtree(home, ignore_errors=True)


def _kill_all_of(home: Path) -> bool:
    """SIGKILL to dockerd, containerd and the shims of `home`, known by their command lines, and to all below them."""
    doomed: set[psutil.Process] = set()
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command and Path(command[0]).name.startswith(("dockerd", "containerd")) and str(home) in " ".join(command):
            doomed.add(process)
            with contextlib.suppress(psutil.Error):
                doomed.update(process.children(recursive=True))
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(doomed), timeout=10)
    return bool(doomed)
