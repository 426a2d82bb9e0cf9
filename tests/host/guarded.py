"""The emulated host with the reference platform and guardian on it, installed as the README says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host.machine import Machine, MachineError
from host.payload import ROOT, make_payload
from support.standin import standin_program
from support.waiting import eventually

CONFIG = "/etc/guardian/guardian.yaml"
PLATFORM = "platform"  # the snapshot with 32 services up, and no guardian
GUARDIAN = "guardian"  # … and guardian installed, enabled and ready, in observe mode
_COMPOSE = "docker-compose --progress quiet --file config/compose.reference.yml --file compose.host.yml"
_PIP_CONF = "[global]\nno-index = true\nfind-links = /srv/in/wheels\n"


class Host(Machine):
    """A machine, and what the tests ask of guardian and the engine on it."""

    def status(self) -> dict[str, Any]:
        """What `guardian status --json` shows."""
        shown: dict[str, Any] = json.loads(self.must("guardian", "status", "--json"))
        return shown

    def history(self) -> list[dict[str, Any]]:
        """The rows of `guardian history --json`, oldest first."""
        return list(reversed(json.loads(self.must("guardian", "history", "--json", "--limit", "1000"))["history"]))

    def metrics(self) -> dict[str, float]:
        """Series, as written with its labels -> value, from the page that Prometheus scrapes."""
        script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9877/metrics').read().decode())"
        lines = [line for line in self.must("python3", "-c", script).splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def unit(self, *properties: str) -> dict[str, str]:
        """Properties of guardian.service, as systemd shows them."""
        asked = [f"--property={name}" for name in properties]
        return dict(line.split("=", 1) for line in self.must("systemctl", "show", "guardian", *asked).splitlines())

    def running(self) -> set[str]:
        """The services whose container runs, as the engine lists them."""
        return set(self.must("docker", "ps", "--format", '{{.Label "com.docker.compose.service"}}').split())

    def configure(self, **values: object) -> None:
        """Change top-level keys of guardian's configuration, and reload it as docs/operations.md says."""
        script = f"""
            import yaml, sys
            path = {CONFIG!r}
            values = yaml.safe_load(open(path))
            values.update({dict(values)!r})
            yaml.safe_dump(values, open(path, "w"))
        """
        lines = "\n".join(line.strip() for line in script.strip().splitlines())
        self.must("/opt/guardian/bin/python", "-c", lines)
        self.must("systemctl", "reload", "guardian")

    def await_(self, look: Callable[[], Any], what: str, timeout_s: float) -> Any:
        """As `eventually`, without keeping the guest busy with the looking."""
        return eventually(look, what, timeout_s, every_s=2.0)


def make_platform(folder: Path, image: Path) -> Path:
    """A disk with the snapshot PLATFORM; kept beside the image, as it takes minutes to make."""
    made_of = hashlib.sha256(standin_program().read_bytes())
    for part in ("config/compose.reference.yml", "tests/host/guest/compose.host.yml", "tests/host/guest/agent.py"):
        made_of.update((ROOT / part).read_bytes())
    disk = image / f"platform-{made_of.hexdigest()[:16]}.qcow2"
    if disk.exists():
        return disk
    for old in image.glob("platform-*.qcow2"):
        old.unlink()
    host = Host(folder, image, make_payload(folder))
    try:
        bring_up(host)
        host.save(PLATFORM)
    finally:
        host.close()
    shutil.move(host.disk, disk)
    return disk


def bring_up(host: Host) -> None:
    """Boot, and start the reference platform; returns once all of it is healthy."""
    host.start()
    host.sh(f"""
        cd /srv/in
        tar -c standin | docker import --change 'ENTRYPOINT ["/standin"]' - guardian-standin:1
        {_COMPOSE} create
    """)
    # In turn: all at once, a start takes longer than the engine has patience for.
    host.sh("for id in $(docker ps --all --quiet); do docker start $id >/dev/null; done", timeout_s=900)
    host.await_(lambda: _healthy(host) == 32, "all services are healthy", 600)


def install_and_await(host: Host) -> None:
    """Install guardian, and wait until it answers."""
    install(host)
    host.await_(lambda: host.run("guardian", "status").ok, "guardian answers", 120)


def install(host: Host) -> list[str]:
    """Do what the README's section on installation says, from the payload; returns its commands."""
    host.must("tee", "/etc/pip.conf", stdin=_PIP_CONF)
    commands = readme_commands((ROOT / "README.md").read_text())
    for command in commands:
        host.sh(f"cd /srv/in; {command}", timeout_s=900)
    return commands


def readme_commands(readme: str) -> list[str]:
    """The commands of the section on installation, with the built wheel in place of the source."""
    section = readme.partition("## Install it as a service")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, "the README has a section on installation, with its commands"
    return [line.replace("--no-deps .", "--no-deps wheels/guardian_docker-*.whl") for line in block[1].splitlines()]


def refresh_payload(host: Host) -> None:
    """Let the guest see the payload of now: a snapshot remembers the one it was made with."""
    host.sh("""
        blockdev --flushbufs /dev/disk/by-id/virtio-in
        rm -rf /srv/in
        mkdir /srv/in
        tar -xf /dev/disk/by-id/virtio-in -C /srv/in
    """)


def image() -> Path:
    """The folder of the image, made if need be."""
    made = subprocess.run([ROOT / "scripts" / "host-image.sh"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise MachineError(f"scripts/host-image.sh made no image of the emulated host: {made.stderr}")
    return Path(made.stdout.strip())


def _healthy(host: Host) -> int:
    return host.must("docker", "ps").count("(healthy)")
