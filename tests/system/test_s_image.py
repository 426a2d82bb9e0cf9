"""The container image: built from the project's Dockerfile on a Debian root, and run beside those it guards."""

from __future__ import annotations

import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import small
from support.debian_root import debian_root
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.socket_proxy import SocketProxy
from support.source import ROOT, wheels
from support.waiting import eventually

CONTEXT = ("Dockerfile", "requirements.txt", "requirements-build.txt", "pyproject.toml", "README.md", "LICENSE", "guardian")


@pytest.fixture(scope="module")
def image(standin_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built from the Dockerfile, without a registry and without a network."""
    context = tmp_path_factory.mktemp("context")
    for name in CONTEXT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, context / name)
    (context / "config").mkdir()
    shutil.copy(ROOT / "config/guardian.yaml", context / "config")
    shutil.copytree(wheels(), context / "wheels")
    with closing(standin_engine.client(300)) as client:
        client.import_image_from_data(
            debian_root(("python3", "python3-venv", "coreutils", "dash", "passwd")), "debian-python", "1"
        )
        arguments = {"BASE": "debian-python:1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/src"}
        said = list(client.build(str(context), tag="guardian:test", buildargs=arguments, decode=True, network_mode="none"))
        assert "errorDetail" not in said[-1], "".join(str(line.get("stream") or line) for line in said[-15:])
    return "guardian:test"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def contained(
    image: str, port: int, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine, tmp_path: Path
) -> Iterator[str]:
    """Guardian in a container of the project that it guards, of a service in the least important phase; its id."""
    settings = small.small_settings("unix:///var/run/docker.sock")
    settings["web"] = {"listen": f"127.0.0.1:{port}"}
    settings["phases"][2]["services"].append("guardian")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "guardian.yaml").write_text(small.as_yaml(settings))
    proxy.path.chmod(0o660)
    with closing(standin_engine.client()) as client:
        host: dict[str, Any] = {
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "always"},
            "Binds": [f"{proxy.path}:/var/run/docker.sock", f"{folder}:/etc/guardian:ro"],
        }
        labels = {f"com.docker.compose.{key}": value for key, value in (("project", platform.project), ("service", "guardian"))}
        config = {"Image": image, "User": f"1000:{os.getegid()}", "Labels": labels, "HostConfig": host}
        made: str = client.create_container_from_config(config, "openpolicy-guardian-1")["Id"]
        try:
            client.start(made)
            yield made
        finally:
            client.remove_container(made, force=True, v=True)


def metric(port: int, name: str, **labels: str) -> float:
    """As `GuardianProcess.metric`; nothing is there while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def test_in_a_container_it_sheds_and_restores_and_is_never_its_own_victim(
    contained: str, port: int, platform: ReferencePlatform, proxy: SocketProxy, standin_engine: PrivateEngine
) -> None:
    """In a container of the project, of the least important phase, it sheds all else of it, restores it, and is itself no service at all."""
    eventually(lambda: metric(port, "guardian_service_up") == len(small.SERVICES), "it sees the platform", 40)
    with closing(standin_engine.client()) as client:

        def inside(*words: str) -> tuple[int, str]:
            made = client.exec_create(contained, ["guardian", *words])["Id"]
            said = client.exec_start(made).decode()
            eventually(lambda: not client.exec_inspect(made)["Running"], "it ends")
            return client.exec_inspect(made)["ExitCode"], said

        assert metric(port, "guardian_service_info", service="guardian") == 0
        assert inside("shed", "guardian")[0] != 0
        platform.hold("postgres", small.CAPACITY_BYTES * 3 // 4)
        eventually(lambda: not {"grafana", "kibana"} & platform.running(), "its phase is shed", 60)
        eventually(lambda: metric(port, "guardian_service_shed") >= 2, "that is booked")
        assert client.inspect_container(contained)["State"]["Running"]
        small.relax(platform)
        eventually(lambda: platform.running() >= small.SERVICES, "the restore", 60)
        assert inside("status")[0] == 0
        shown = client.inspect_container(contained)
        assert (shown["State"]["Running"], shown["RestartCount"]) == (True, 0)
    assert contained not in {request.route.split("/")[2] for request in proxy.requests if small.is_stop(request)}
