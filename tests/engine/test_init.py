"""`guardian init` for what runs on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from click.testing import CliRunner
from support.compose_projects import FOLDER, SIZES
from support.images import BUSYBOX
from support.private_engine import PrivateEngine

from guardian.cli.main import main
from guardian.compose.files import find_files
from guardian.config.load import load

MIB = 1 << 20


def labels(project: str, service: str, **more: str) -> dict[str, str]:
    return {"com.docker.compose.project": project, "com.docker.compose.service": service, **more}


@pytest.fixture
def running(engine_host: PrivateEngine) -> Iterator[docker.APIClient]:
    """Two projects and a lone container; a one-off of `compose run` beside them."""
    client = engine_host.client()
    client.tag(BUSYBOX, "postgres", "16")
    made = []

    def add(name: str, image: str, labelled: dict[str, str], command: str = "sleep 1000", **host: object) -> None:
        config = client.create_host_config(network_mode="none", **host)
        made.append(client.create_container(image, command, name=name, labels=labelled, host_config=config)["Id"])
        client.start(made[-1])

    try:
        add("init-db", "postgres:16", labels("one", "db"), mem_limit=64 * MIB)
        add("init-api", BUSYBOX, labels("one", "api", **{"com.docker.compose.depends_on": "db:service_started:false"}))
        add("init-run", BUSYBOX, labels("one", "shell", **{"com.docker.compose.oneoff": "True"}))
        add("init-grafana", BUSYBOX, labels("two", "grafana"))
        add("sidecar", BUSYBOX, {})
        yield client
    finally:
        for id_ in made:
            client.remove_container(id_, force=True)
        client.remove_image("postgres:16", noprune=True)
        client.close()


def test_what_runs_is_placed_with_budgets_as_measured(
    running: docker.APIClient, engine_host: PrivateEngine, tmp_path: Path
) -> None:
    """Services and lone containers that run are placed by image, name and labels, with budgets that were measured."""
    output = tmp_path / "guardian.yaml"
    arguments = ["init", "--running", "--sample", "2s", "--engine", engine_host.url, "--state-dir", tmp_path, "-o", output]
    result = CliRunner().invoke(main, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    config = load(output)
    assert config.projects == ("one", "two")
    assert config.containers == ("sidecar",)
    assert {name: phase.name for phase in config.phases for name in phase.services} == {
        "db": "core", "api": "background", "sidecar": "background", "grafana": "observability",
    }  # fmt: skip
    budgets = [phase.budget.memory for phase in config.phases]
    assert budgets == [16 * MIB] * 3
    assert config.services["db"].limits.memory == 64 * MIB
    assert CliRunner().invoke(main, ["check", str(output)]).exit_code == 0


def test_a_project_that_is_not_there_is_refused(running: docker.APIClient, engine_host: PrivateEngine, tmp_path: Path) -> None:
    """A project that has no container is refused, with the names of those that have."""
    arguments = ["init", "--running", "-p", "three", "--engine", engine_host.url, "-o", str(tmp_path / "guardian.yaml")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "no container of project three; name one that runs by --project: one, two" in result.stderr


@pytest.mark.parametrize("name", SIZES)
def test_a_roll_out_can_be_planned_from_what_is_proposed(name: str, engine_host: PrivateEngine, tmp_path: Path) -> None:
    """For each project a roll-out over the proposed phases can be planned: every placed service is in it, with its conditions."""
    output = tmp_path / "guardian.yaml"
    files = find_files(FOLDER / name, {})
    words = ["-o", str(output), "--engine", engine_host.url, "--state-dir", str(tmp_path)]
    runner = CliRunner(env={"PATH": "/nowhere"})  # without Compose: what it makes of the files is looked at elsewhere
    result = runner.invoke(main, ["init", *[word for file in files for word in ("-f", str(file))], *words])
    assert result.exit_code == 0, result.output
    output.write_text(output.read_text() + f"\nengine: {{url: '{engine_host.url}'}}\nstate_dir: {tmp_path}\n")
    config = load(output)
    asked = ["rollout", "--to", str(len(config.phases)), "--plan", "--json", "--config", str(output)]
    asked += ["--control", str(tmp_path / "none.sock"), *[word for file in files for word in ("--compose", str(file))]]
    result = runner.invoke(main, asked)
    assert result.exit_code == 0, result.output
    for phase in config.phases:
        for service in phase.services:
            assert f'"{config.project}/{service}"' in result.stdout
    if name == "warehouse":
        assert "service_completed_successfully" in result.stdout
