"""An emulated host: QEMU without KVM, a Debian 13 disk that is thrown away, and commands in it over a virtio port."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.waiting import eventually

MEMORY_MIB = 4096
CPUS = 2
BOOT_TIMEOUT_S = 900  # with 32 containers to start again


class MachineError(Exception):
    """The emulated host does not do what it should; the message says what, and where its console is."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command in the guest came to."""

    out: str
    err: str
    code: int | None

    @property
    def ok(self) -> bool:
        return self.code == 0


class Machine:
    """One emulated host with the image in `image` (scripts/host-image.sh) and the files of the tar `payload` in /srv/in.

    Its overlay disk, console log and sockets are in `folder`.
    """

    def __init__(self, folder: Path, image: Path, payload: Path) -> None:
        self._folder = folder
        self._image = image
        self._payload = payload
        self._process: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._received = b""
        self._asked = 0
        self.boot_id = ""

    @property
    def disk(self) -> Path:
        """What differs from the image's disk, and the snapshots."""
        return self._folder / "disk.qcow2"

    @property
    def console(self) -> Path:
        """What the kernel and systemd said on the serial console."""
        return self._folder / "console.log"

    def start(self, snapshot: str | None = None) -> None:
        """Boot, or go on from a `snapshot`; returns once the guest answers."""
        if not self.disk.exists():
            base = self._image / "disk.raw"
            _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(self.disk))
        port, monitor = self._folder / "port.sock", self._folder / "monitor.sock"
        for left in (port, monitor):
            left.unlink(missing_ok=True)
        arguments = [
            *("-machine", "q35", "-accel", "tcg,thread=multi", "-m", str(MEMORY_MIB), "-smp", str(CPUS)),
            # With cx16 the QEMU of Debian 12 corrupts a guest with more than one thread; Nehalem is new enough for x86-64-v2.
            *("-cpu", "Nehalem,-cx16"),
            *("-kernel", str(self._image / "vmlinuz"), "-initrd", str(self._image / "initrd.img")),
            *("-append", "root=/dev/vda rw console=ttyS0 systemd.show_status=no panic=-1"),
            *("-drive", f"file={self.disk},format=qcow2,if=none,id=disk,cache=unsafe,discard=unmap"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-drive", f"file={self._payload},format=raw,if=none,id=in,readonly=on"),
            *("-device", "virtio-blk-pci,drive=in,serial=in"),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=test,path={port},server=on,wait=off"),
            *("-device", "virtserialport,chardev=test,name=guardian.test"),
            *("-qmp", f"unix:{monitor},server=on,wait=off"),
            # The RTC goes with the guest, so that one that goes on from a snapshot sees no time missing.
            *("-rtc", "base=utc,clock=vm"),
            *("-nic", "none", "-display", "none", "-vga", "none", "-nodefaults"),
            *("-serial", f"file:{self.console}"),
        ]
        if snapshot is not None:
            arguments += ["-loadvm", snapshot]
        log = (self._folder / "qemu.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["qemu-system-x86_64", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._port = eventually(lambda: self._connect(port), "the emulator's port can be reached", timeout_s=60)
        if snapshot is None:
            self.wait_for_boot()
        else:
            self.boot_id = self.must("cat", "/proc/sys/kernel/random/boot_id").strip()

    def wait_for_boot(self) -> None:
        """Until the guest says that it has (re)booted."""
        self.boot_id = str(self._receive(lambda answer: "boot" in answer, BOOT_TIMEOUT_S)["boot"])

    def reboot(self) -> None:
        """As an operator does; returns once the guest answers again."""
        before = self.boot_id
        self.run("systemctl", "reboot", "--no-block")
        while self.boot_id == before:
            self.wait_for_boot()

    def run(self, *argv: str, timeout_s: float = 60, stdin: str = "") -> Done:
        """Run a command in the guest as root; `timeout_s` is in the guest's time."""
        self._asked += 1
        request = {"id": self._asked, "argv": argv, "input": stdin, "timeout_s": timeout_s}
        assert self._port is not None
        self._port.sendall(json.dumps(request).encode() + b"\n")
        answer = self._receive(lambda answer: answer.get("id") == self._asked, timeout_s + 60)
        return Done(answer["out"], answer["err"], answer["code"])

    def must(self, *argv: str, timeout_s: float = 60, stdin: str = "") -> str:
        """As `run`; what it printed, or an error if it failed."""
        done = self.run(*argv, timeout_s=timeout_s, stdin=stdin)
        if not done.ok:
            raise MachineError(f"in the guest, {' '.join(argv)} ended with {done.code}: {done.err or done.out}")
        return done.out

    def sh(self, script: str, timeout_s: float = 60) -> str:
        """What a shell script printed; fails with the first command of it that fails."""
        return self.must("bash", "-euo", "pipefail", "-c", script, timeout_s=timeout_s)

    def save(self, snapshot: str) -> None:
        """Keep memory and disk as they are under this name, for `start`."""
        answer = self._monitor("human-monitor-command", **{"command-line": f"savevm {snapshot}"})
        if answer:
            raise MachineError(f"the emulator cannot keep a snapshot: {answer}")

    def close(self) -> None:
        """End it as a power cut would; what the emulator has not yet written of the disk's file, it writes."""
        if self._process is not None:
            with suppress(OSError, MachineError, ValueError):
                self._monitor("quit")
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._port is not None:
            self._port.close()
        self._process = self._port = None
        self._received = b""

    # --- the channels -----------------------------------------------------------------------------------------------

    def _connect(self, path: Path) -> socket.socket | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise MachineError(f"the emulator ended: {(self._folder / 'qemu.log').read_text()}")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            return None
        return connection

    def _receive(self, wanted: Any, timeout_s: float) -> dict[str, Any]:
        """The next answer that is wanted; what else arrives belongs to a request that was given up."""
        assert self._port is not None
        ends_s = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._received:
                line, _, self._received = self._received.partition(b"\n")
                answer: dict[str, Any] = json.loads(line)
                if wanted(answer):
                    return answer
            self._port.settimeout(max(0.01, ends_s - time.monotonic()))
            try:
                chunk = self._port.recv(65536)
            except TimeoutError:
                raise MachineError(f"the guest has not answered for {timeout_s:.0f} s; its console: {self.console}") from None
            if not chunk:
                raise MachineError(f"the emulator ended; its console: {self.console}")
            self._received += chunk

    def _monitor(self, command: str, **arguments: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(300)
            connection.connect(str(self._folder / "monitor.sock"))
            answers = connection.makefile("rb")
            answers.readline()  # its greeting
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                connection.sendall(json.dumps(request).encode() + b"\n")
                while "event" in (answer := json.loads(answers.readline())):
                    pass
            if "error" in answer:
                raise MachineError(f"the emulator: {answer['error']['desc']}")
            return str(answer["return"])


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(f"{' '.join(argv)}: {done.stderr}")
