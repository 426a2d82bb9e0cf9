"""What guardian shows, whom it never touches, and whose orders it carries out; on the real engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import small
from support.daemon import GuardianProcess, in_view_of
from support.images import BUSYBOX
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import SocketProxy
from support.waiting import eventually

Make = Callable[..., GuardianProcess]
SECRET = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """Its victim has a secret in its environment and its labels."""
    platform = ReferencePlatform(
        standin_engine.url,
        only=small.SERVICES,
        environment={small.VICTIM: {"TOKEN": SECRET}},
        options={
            small.VICTIM: {
                "Labels": {"com.example.token": SECRET, "com.docker.compose.project.working_dir": f"/{SECRET}"},
            }
        },
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def teller(platform: ReferencePlatform, standin_engine: PrivateEngine) -> Iterator[str]:
    """A container of the project that has a secret in its command and in that of its health check."""
    client = standin_engine.client()
    labels = {f"com.docker.compose.{name}": value for name, value in (("project", platform.project), ("service", "redis"))}
    made = client.create_container(
        BUSYBOX,
        ["sh", "-c", f"sleep 600; : {SECRET}"],
        name="openpolicy-redis-1",
        labels=labels,
        healthcheck={"test": ["CMD-SHELL", f"echo {SECRET}"]},
    )["Id"]
    client.start(made)
    yield made
    client.remove_container(made, force=True)
    client.close()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="guardian-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(guardian: GuardianProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of another user."""
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", sys.executable, "-m", "guardian", *arguments]
    return subprocess.run([*command, "--socket", guardian.socket], capture_output=True, text=True, check=False, cwd="/")


def test_nothing_of_environments_labels_and_commands_is_shown_or_kept(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy, teller: str, tmp_path: Path
) -> None:
    """No page, metric, answer, log line or file of guardian has anything of a container's environment, labels or commands."""
    settings = small.small_settings(proxy.url)
    settings["phases"][1]["services"].append("redis")
    guardian = make_guardian(small.as_yaml({**settings, "log": {"level": "debug"}}))
    small.start(guardian)
    eventually(lambda: guardian.metric("guardian_service_up", service="redis") == 1, "it sees what has a secret")
    assert guardian.cli("shed", small.VICTIM).returncode == 0
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
    shown = [guardian.get(path) for path in ("/", "/metrics", "/api/v1/status", "/api/v1/history", "/api/v1/trace")]
    shown += [guardian.cli(*words).stdout.encode() for words in (("status",), ("status", "--json"), ("history", "--json"))]
    guardian.stop()
    shown += [path.read_bytes() for path in (tmp_path / "guardian").rglob("*") if path.is_file()]
    assert len(shown) > 8
    assert not any(SECRET.encode() in one for one in shown)


def test_who_gave_an_order_is_in_the_ledger_as_the_kernel_vouches(
    make_guardian: Make, platform: ReferencePlatform, proxy: SocketProxy, public: Path
) -> None:
    """An order is kept with the user whose process gave it, as the kernel says; who may not use the socket gives none."""
    guardian = make_guardian(small.as_yaml(small.small_settings(proxy.url)))
    guardian.socket = public / "control.sock"
    small.start(guardian)
    refused = as_nobody(guardian, "hold")
    assert refused.returncode == 69
    assert "it is for user root and group root" in refused.stderr

    shutil.chown(guardian.socket, group="nogroup")
    ordered = as_nobody(guardian, "shed", small.VICTIM)
    assert ordered.returncode == 0, ordered.stderr
    eventually(lambda: guardian.metric("guardian_service_shed", service=small.VICTIM) == 1, "the shed")
    assert guardian.cli("restore", small.VICTIM).returncode == 0
    eventually(lambda: platform.running() == small.SERVICES, "the restore")
    eventually(lambda: len(given_by(guardian)) >= 2, "both are written")
    assert {("shed", "nobody"), ("restore", "root")} <= given_by(guardian)


def given_by(guardian: GuardianProcess) -> set[tuple[str, str]]:
    return {(row["action"], row["by"]) for row in guardian.history() if row["by"]}


def test_the_proxy_that_it_talks_through_is_never_shed(
    make_guardian: Make, platform: ReferencePlatform, standin_engine: PrivateEngine, tmp_path: Path
) -> None:
    """The container through which guardian talks to the engine is no victim, although it is of the least important phase and all else of it goes."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {small.VICTIM}\n")
    with SocketProxy(standin_engine.socket) as through:
        url = f"tcp://{small.VICTIM}:{through.port}"
        guardian = make_guardian(small.as_yaml(small.small_settings(url)))
        small.start(guardian, under=in_view_of(f"mount --bind {hosts} /etc/hosts"))
        assert_never_shed(guardian, platform, through)


def assert_never_shed(guardian: GuardianProcess, platform: ReferencePlatform, proxy: SocketProxy) -> None:
    """Pressed by as much more as the one that is no victim does not count."""
    platform.hold("postgres", small.PRESSED_BYTES + platform.memory_bytes(small.VICTIM))
    eventually(lambda: "grafana" not in platform.running(), "the other one of its phase goes", 40)
    small.after_ticks(guardian, 6)
    assert small.VICTIM in platform.running()
    assert small.VICTIM not in small.stopped_by(platform, proxy)
    refused = guardian.cli("shed", small.VICTIM)
    assert refused.returncode != 0, refused.stdout
