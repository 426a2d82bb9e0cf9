"""Containers read from the engine's own files, for an engine that does not answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardian.engine.dataroot import containers_on_disk
from guardian.engine.protocol import Scope
from guardian.errors import EngineError
from guardian.model import ContainerState, ServiceKey

SCOPE = Scope(("demo",), ("lone",))
RUNNING = {"Running": True, "Paused": False, "Restarting": False, "Dead": False, "Pid": 7, "ExitCode": 0}
TIMES = {"StartedAt": "2026-11-25T09:00:00.5Z", "FinishedAt": "0001-01-01T00:00:00Z"}


def write(root: Path, id_: str, name: str, state: dict[str, Any] | None = None, **labels: str) -> Path:
    """As dockerd does for a container of a Compose project, unless `labels` say otherwise."""
    home = root / "containers" / id_
    home.mkdir(parents=True)
    own = labels or {
        "com.docker.compose.project": "demo",
        "com.docker.compose.service": name,
        "com.docker.compose.container-number": "2",
    }
    config = {
        "ID": id_,
        "Name": f"/demo-{name}-2",
        "State": {**RUNNING, **TIMES, **(state or {})},
        "Config": {"Labels": own, "StopTimeout": 30},
        "RestartCount": 3,
    }
    (home / "config.v2.json").write_text(json.dumps(config))
    (home / "hostconfig.json").write_text(
        json.dumps({"RestartPolicy": {"Name": "always"}, "Memory": 1 << 20, "NetworkMode": "none"})
    )
    return home


def test_a_container_is_as_an_inspect_shows_it(tmp_path: Path) -> None:
    """A container is what an inspect would show: service, number, policy, limits and times."""
    write(tmp_path, "a" * 64, "web")
    (one,) = containers_on_disk(str(tmp_path), SCOPE)
    assert (one.id, one.name, one.service, one.number) == ("a" * 64, "demo-web-2", ServiceKey("demo", "web"), 2)
    assert (one.state, one.restart_policy, one.stop_timeout_s, one.memory_limit_bytes) == (
        ContainerState.RUNNING,
        "always",
        30.0,
        1 << 20,
    )
    assert one.started_wall_s == 1_795_597_200.5


@pytest.mark.parametrize(
    ("state", "is_"),
    [
        ({"Paused": True}, ContainerState.PAUSED),
        ({"Restarting": True}, ContainerState.RESTARTING),
        ({"Running": False, "ExitCode": 3}, ContainerState.EXITED),
        ({"Running": False, "Dead": True}, ContainerState.DEAD),
        ({"Running": False, "StartedAt": "0001-01-01T00:00:00Z"}, ContainerState.CREATED),
    ],
)
def test_states_have_the_names_of_an_inspect(tmp_path: Path, state: dict[str, Any], is_: ContainerState) -> None:
    """The flags of a state come to the word that an inspect would have for it."""
    write(tmp_path, "a" * 64, "web", state)
    assert [one.state for one in containers_on_disk(str(tmp_path), SCOPE)] == [is_]


def test_only_what_is_in_scope_is_seen(tmp_path: Path) -> None:
    """Containers of other projects are not seen; a lone one by its name is."""
    write(tmp_path, "a" * 64, "web", other="label")
    home = write(tmp_path, "b" * 64, "lone", some="label")
    written = json.loads((home / "config.v2.json").read_text())
    (home / "config.v2.json").write_text(json.dumps({**written, "Name": "/lone"}))
    assert [one.service for one in containers_on_disk(str(tmp_path), SCOPE)] == [ServiceKey("", "lone")]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"Name": "/x", "Config": {}}', '{"Name": 7, "Config": {"Labels": []}}']
)
def test_a_file_of_another_form_is_passed_over(tmp_path: Path, content: str) -> None:
    """A file that is missing, half written or of another form is passed over, and the others are read."""
    (write(tmp_path, "a" * 64, "web") / "config.v2.json").write_text(content)
    (write(tmp_path, "b" * 64, "db") / "hostconfig.json").unlink()
    write(tmp_path, "c" * 64, "api")
    assert [one.service.name for one in containers_on_disk(str(tmp_path), SCOPE)] == ["api"]


def test_files_that_may_not_be_read_are_an_error_in_words(tmp_path: Path) -> None:
    """A data root that is not there is an error that says where and what to do."""
    with pytest.raises(EngineError, match=r"containers: No such file or directory; run this as root"):
        containers_on_disk(str(tmp_path), SCOPE)
