"""Guardian finds itself among the containers, so that it never stops itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.model import Container, ServiceKey
from guardian.sense.selves import own_ids

OWN, PROXY, OTHER, LAYER = (letter * 64 for letter in "abcd")
CONTAINERS = (
    Container(OWN, "openpolicy-guardian-1", ServiceKey("openpolicy", "guardian")),
    Container(PROXY, "openpolicy-docker-proxy-1", ServiceKey("openpolicy", "docker-proxy")),
    Container(OTHER, "openpolicy-api-1", ServiceKey("openpolicy", "api")),
)
LOCAL = "unix:///run/docker.sock"


def proc(directory: Path, cgroup: str = "0::/system.slice/guardian.service\n", mountinfo: str = "") -> str:
    """A proc file system that says this of the process itself."""
    (directory / "self").mkdir()
    (directory / "self" / "cgroup").write_text(cgroup)
    (directory / "self" / "mountinfo").write_text(mountinfo)
    return str(directory)


@pytest.mark.parametrize(
    "cgroup",
    [
        f"12:memory:/docker/{OWN}\n11:cpu,cpuacct:/docker/{OWN}\n",
        f"0::/system.slice/docker-{OWN}.scope\n",
    ],
    ids=["v1", "v2"],
)
def test_the_container_is_known_by_its_cgroup(tmp_path: Path, cgroup: str) -> None:
    """In a container the process's own cgroup names it."""
    assert own_ids(CONTAINERS, LOCAL, proc(tmp_path, cgroup)) == {OWN}


@pytest.mark.parametrize("file", ["hostname", "resolv.conf"])
def test_the_container_is_known_by_its_mounts_where_the_cgroup_is_hidden(tmp_path: Path, file: str) -> None:
    """With a cgroup namespace, the files that the engine mounts into every container name it."""
    mountinfo = f"1 2 254:1 /var/lib/docker/containers/{OWN}/{file} /etc/{file} rw,relatime - ext4 /dev/vda1 rw\n"
    assert own_ids(CONTAINERS, LOCAL, proc(tmp_path, "0::/\n", mountinfo)) == {OWN}


def test_mounts_of_other_containers_are_not_taken_for_it(tmp_path: Path) -> None:
    """On a host, what is mounted for other containers makes none of them guardian."""
    mountinfo = (
        f"1 2 0:55 / /var/lib/docker/containers/{OTHER}/mounts/shm rw - tmpfs shm rw\n"
        f"2 2 0:56 / /var/lib/docker/overlay2/{LAYER}/merged rw - overlay overlay rw,lowerdir=/{OTHER}\n"
    )
    assert own_ids(CONTAINERS, LOCAL, proc(tmp_path, mountinfo=mountinfo)) == frozenset()


def test_on_a_host_nothing_is_excluded(tmp_path: Path) -> None:
    """As a service of the host, with a local socket, guardian is none of the containers."""
    assert own_ids(CONTAINERS, LOCAL, proc(tmp_path)) == frozenset()


@pytest.mark.parametrize("host", ["docker-proxy", "openpolicy-docker-proxy-1", "DOCKER-PROXY"])
def test_the_proxy_that_it_talks_through_is_its_own(tmp_path: Path, host: str) -> None:
    """The container that the engine's address names, by service or by name, is never managed: stopping it makes guardian deaf."""
    assert own_ids(CONTAINERS, f"tcp://{host}:2375", proc(tmp_path)) == {PROXY}


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:2375", "tcp://dock.example:2375", "unix:///docker-proxy", "simulated", ""])
def test_other_addresses_name_no_container(tmp_path: Path, url: str) -> None:
    """An address of the host's, or a socket, names no container."""
    assert own_ids(CONTAINERS, url, proc(tmp_path)) == frozenset()


def test_a_container_that_is_not_in_the_list_is_not_made_up(tmp_path: Path) -> None:
    """Only listed containers are excluded, whatever ids the kernel tells."""
    assert own_ids(CONTAINERS[1:], LOCAL, proc(tmp_path, f"0::/docker/{OWN}\n")) == frozenset()


def test_an_unreadable_proc_is_no_error(tmp_path: Path) -> None:
    """Where the kernel says nothing, the address alone decides."""
    assert own_ids(CONTAINERS, "tcp://docker-proxy:2375", str(tmp_path / "missing")) == {PROXY}
