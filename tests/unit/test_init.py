"""`guardian init`, as a user calls it, without an engine or Compose."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.compose_projects import FOLDER, SIZES
from support.policy import a_container

from guardian.cli.main import main
from guardian.compose.files import find_files, read_files, variables_of
from guardian.config.load import load
from guardian.config.schema import Config
from guardian.model import ContainerState
from guardian.proposal.candidates import of_running
from guardian.proposal.phases import propose

Init = Callable[..., Result]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Init:
    """Run `guardian init …` where neither an engine nor a Compose is installed; what it writes goes to `guardian.yaml`."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"PATH": "/nowhere", "DOCKER_HOST": f"unix://{tmp_path}/none.sock", "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(main, ["init", *map(str, arguments)])


def compose(folder: Path, text: str) -> Path:
    file = folder / "compose.yml"
    file.write_text(text)
    return file


def placed(config: Config) -> dict[str, int]:
    return {name: phase.phase for phase in config.phases for name in phase.services}


def reason(text: str, service: str) -> str:
    """What stands beside a service, or after it where it is in no phase."""
    found = re.search(rf"^ *(?:- |#   ){re.escape(service)}(?: *# |: )(.*)$", text, re.MULTILINE)
    assert found is not None, service
    return found[1]


@pytest.mark.parametrize("name", SIZES)
def test_every_service_of_a_project_is_placed_or_listed_with_a_reason(name: str, init: Init, tmp_path: Path) -> None:
    """Every service of every project is in a phase or in the list of those that are not, with a reason, and `check` accepts it."""
    files = find_files(FOLDER / name, {})
    result = init(*[word for file in files for word in ("--file", file)])
    assert result.exit_code == 0, result.output
    output = tmp_path / "guardian.yaml"
    text, config = output.read_text(), load(output)
    services = set(read_files(files, FOLDER / name, variables_of(FOLDER / name, {})).services)
    assert len(services) == SIZES[name]
    for service in services:
        assert reason(text, service)
    unplaced = set(re.findall(r"^#   (\S+): ", text.partition("# In no phase")[2].partition("# To look at")[0], re.MULTILINE))
    assert placed(config).keys() | unplaced == services
    assert not placed(config).keys() & unplaced
    assert CliRunner().invoke(main, ["check", str(output)]).exit_code == 0


def test_databases_come_first_and_observability_last(init: Init, tmp_path: Path) -> None:
    """Stores and the front door are core, applications follow, tools and profiles then, observability last."""
    assert init("-f", FOLDER / "city" / "compose.yml").exit_code == 0
    config = load(tmp_path / "guardian.yaml")
    phase = placed(config)
    assert [one.name for one in config.phases] == ["core", "business", "background", "optional", "observability"]
    assert [phase[name] for name in ("permits-db", "kafka", "sessions", "gateway")] == [1, 1, 1, 1]
    assert [phase[name] for name in ("permits-api", "documents-search", "maps")] == [2, 2, 2]
    assert [phase[name] for name in ("permits-worker", "reports", "backup")] == [3, 3, 3]
    assert [phase[name] for name in ("mailpit", "kafka-ui")] == [4, 4]
    assert [phase[name] for name in ("grafana", "otel-collector", "postgres-exporter")] == [5, 5, 5]
    assert config.phases[0].protected
    assert config.project == "city"


def test_services_stand_below_what_needs_them(init: Init, tmp_path: Path) -> None:
    """What a service needs is in its phase or a lower one, save for gateways to everything, observability and labels."""
    for name in SIZES:
        files = find_files(FOLDER / name, {})
        project = read_files(files, FOLDER / name, variables_of(FOLDER / name, {}))
        output = tmp_path / f"{name}.yaml"
        assert init(*[word for file in files for word in ("-f", file)], "-o", output).exit_code == 0
        phase, text = placed(load(output)), output.read_text()
        for service in project.services.values():
            for needed in service.needs:
                if {service.name, needed} <= phase.keys() and "leads to everything" not in reason(text, service.name):
                    exempt = re.match("observability|its label", reason(text, needed))
                    assert exempt or phase[needed] <= phase[service.name], (service.name, needed)


def test_reasons_say_what_decided(init: Init, tmp_path: Path) -> None:
    """Beside each service stands what decided: its image, its ports, what needs it, its profiles, its label."""
    assert init("-f", FOLDER / "studio" / "compose.yml").exit_code == 0
    text = (tmp_path / "guardian.yaml").read_text()
    assert reason(text, "projects") == "database (image mongo), 1 service needs it"
    assert reason(text, "caddy") == "front door (publishes port 80)"
    assert reason(text, "render-api") == "the front door caddy leads to it"
    assert reason(text, "assets") == "its label guardian.phase says 2"
    assert reason(text, "render-node") == "needs render-api, and nothing needs it"
    output = tmp_path / "lab.yaml"
    assert init("-f", FOLDER / "lab" / "docker-compose.yml", "-o", output).exit_code == 0
    assert reason(output.read_text(), "gpu-worker") == "only in profiles"
    assert reason(output.read_text(), "load-test").startswith("a one-shot")


def test_a_one_shot_that_others_wait_for_comes_into_their_phase(init: Init, tmp_path: Path) -> None:
    """A one-shot that others wait for is in the lowest of their phases and protected while it works; another is in none."""
    assert init("-f", FOLDER / "warehouse" / "docker-compose.yml").exit_code == 0
    text, config = (tmp_path / "guardian.yaml").read_text(), load(tmp_path / "guardian.yaml")
    phase = placed(config)
    assert (phase["migrate"], phase["topics"]) == (phase["web"], phase["picker"])
    assert reason(text, "migrate") == "one-shot that web waits for"
    assert config.services["migrate"].protect
    assert not {"seed", "nightly-export"} & phase.keys()
    assert reason(text, "seed").startswith("a one-shot: it ends by itself")


def test_an_application_with_its_own_migration_and_collector_is_no_dependent_of_others(init: Init, tmp_path: Path) -> None:
    """What people reach, and what needs besides stores only a migration and a collector, is business and not background."""
    file = compose(
        tmp_path,
        """
services:
  db: {image: postgres}
  otel: {image: otel/opentelemetry-collector}
  migrate: {image: app, command: migrate, depends_on: [db]}
  app:
    image: app
    ports: ["8080:80"]
    depends_on: {db: {condition: service_healthy}, otel: {}, migrate: {condition: service_completed_successfully}}
  web: {image: web, ports: ["3000:3000"], depends_on: [app]}
""",
    )
    assert init("-f", file).exit_code == 0
    phase, text = placed(load(tmp_path / "guardian.yaml")), (tmp_path / "guardian.yaml").read_text()
    assert reason(text, "web") == "publishes port 3000, needs app, and nothing needs it"
    assert phase["db"] < phase["app"] == phase["migrate"] < phase["web"] < phase["otel"]
    alone = compose(tmp_path, file.read_text().rpartition("  web:")[0])
    assert init("-f", alone, "-o", "alone.yaml").exit_code == 0
    assert reason((tmp_path / "alone.yaml").read_text(), "app") == "publishes port 8080, and needs no other application"


def test_budgets_come_from_limits_where_nothing_was_measured(init: Init, tmp_path: Path) -> None:
    """A phase has a cumulative budget from limits times replicas, and none where a service has no limit."""
    file = compose(
        tmp_path,
        """
services:
  db: {image: postgres, mem_limit: 256m, cpus: 0.5}
  api: {image: api, ports: [8000], depends_on: [db], deploy: {replicas: 2, resources: {limits: {memory: 100M, cpus: '0.25'}}}}
  worker: {image: worker, depends_on: [db], cpus: 0.1}
""",
    )
    assert init("-f", file).exit_code == 0
    core, business, background = load(tmp_path / "guardian.yaml").phases
    assert (core.budget.memory, business.budget.memory) == (256 << 20, 464 << 20)  # 456 MiB, in steps of 16
    assert core.budget.cpu is not None
    assert business.budget.cpu is not None
    assert (core.budget.cpu.cores, business.budget.cpu.cores) == (0.5, 1.0)
    assert background.budget.memory is None
    assert background.budget.cpu is not None
    assert "neither use nor limit is known of worker" in (tmp_path / "guardian.yaml").read_text()


def test_limits_of_the_compose_file_are_carried_over(init: Init, tmp_path: Path) -> None:
    """The limits of one container stand in the file, for `guardian limits` to compare with."""
    assert init("-f", FOLDER / "warehouse" / "docker-compose.yml").exit_code == 0
    services = load(tmp_path / "guardian.yaml").services
    assert (services["picker"].limits.memory, services["picker"].limits.cpus) == (96 << 20, 0.2)


def test_a_file_that_exists_is_never_overwritten(init: Init, tmp_path: Path) -> None:
    """A file that exists is left as it is, and the message says what to do."""
    output = tmp_path / "guardian.yaml"
    output.write_text("mine\n")
    result = init("-f", FOLDER / "circle" / "docker-compose.yml")
    assert result.exit_code == 1
    assert "is not overwritten; see what would change by --diff" in result.stderr
    assert output.read_text() == "mine\n"


def test_a_difference_is_shown_and_nothing_written(init: Init, tmp_path: Path) -> None:
    """`--diff` shows how the proposal differs from the file, says where it does not, and writes nothing."""
    output = tmp_path / "guardian.yaml"
    assert init("-f", FOLDER / "circle" / "docker-compose.yml").exit_code == 0
    result = init("-f", FOLDER / "circle" / "docker-compose.yml", "--diff")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is what would be proposed" in result.stderr
    changed = output.read_text().replace("mode: observe", "mode: enforce")
    output.write_text(changed)
    result = init("-f", FOLDER / "circle" / "docker-compose.yml", "--diff")
    assert "-mode: enforce" in result.stdout
    assert "+mode: observe" in result.stdout
    assert output.read_text() == changed
    assert init("--diff", "-o", tmp_path / "none.yaml").exit_code == 2


def test_it_can_be_written_to_the_standard_output(init: Init, tmp_path: Path) -> None:
    """`--output -` writes the file, and nothing else, to the standard output."""
    result = init("-f", FOLDER / "circle" / "docker-compose.yml", "-o", "-")
    assert result.stdout.startswith("# Proposed by `guardian init`")
    assert not (tmp_path / "guardian.yaml").exists()


def test_the_usual_compose_file_is_found(init: Init, tmp_path: Path) -> None:
    """Without --file, the files that Compose would find are read; without those, the message says what to do."""
    result = init()
    assert result.exit_code == 1
    assert "no Compose file here or above" in result.stderr
    assert "--running" in result.stderr
    compose(tmp_path, "services: {a: {image: x, ports: [80]}}")
    assert init().exit_code == 0
    assert placed(load(tmp_path / "guardian.yaml")) == {"a": 1}


def test_mistakes_of_the_files_are_listed_and_a_broken_file_is_refused(init: Init, tmp_path: Path) -> None:
    """Mistakes of a Compose file are listed with their lines; a file that is no YAML ends with 78 and writes nothing."""
    file = compose(tmp_path, "services:\n  a:\n    image: x:${TAG:?say which}\n    mem_limit: lots\n")
    assert init("-f", file).exit_code == 0
    text = (tmp_path / "guardian.yaml").read_text()
    assert "compose.yml:3: services.a.image: the variable TAG is required (say which)" in text
    assert "compose.yml:4: services.a.mem_limit: 'lots' is no size" in text
    file.write_text("services: [\n")
    result = init("-f", file, "-o", tmp_path / "other.yaml")
    assert result.exit_code == 78
    assert "compose.yml:2: not valid YAML" in result.stderr
    assert not (tmp_path / "other.yaml").exists()


def test_services_that_need_each_other_are_pointed_out(init: Init, tmp_path: Path) -> None:
    """Cycles are placed all the same, and pointed out."""
    assert init("-f", FOLDER / "circle" / "docker-compose.yml").exit_code == 0
    text = (tmp_path / "guardian.yaml").read_text()
    assert "these need each other, so neither goes first: billing, orders, shipping" in text
    assert "these need each other, so neither goes first: files, files-index" in text


def test_names_that_yaml_would_misread_are_quoted(init: Init, tmp_path: Path) -> None:
    """Services called as YAML calls other things keep their names."""
    file = compose(
        tmp_path,
        'services: {"1": {image: x}, "true": {image: x}, "null": {image: x}, "a: b": {image: x}, "ü é": {}, "x\\ty": {}}',
    )
    assert init("-f", file).exit_code == 0
    assert set(placed(load(tmp_path / "guardian.yaml"))) == {"1", "true", "null", "a: b", "ü é", "x\ty"}


def test_wrong_usage_is_refused(init: Init) -> None:
    """--file does not go with --running, and a Compose file is of one project."""
    assert init("-f", "x.yml", "--running").exit_code == 2
    assert init("-f", "x.yml", "-p", "a", "-p", "b").exit_code == 2


def test_an_engine_that_is_not_there_ends_with_69(init: Init) -> None:
    """`--running` without an engine ends with 69 and says so."""
    result = init("--running")
    assert result.exit_code == 69
    assert "no connection to the engine" in result.stderr


def test_a_one_shot_that_running_services_awaited_is_known_by_their_labels() -> None:
    """Of what runs, a one-shot that a service has waited for comes into that one's phase; another that has ended is in none."""
    done = {"state": ContainerState.EXITED, "completed": True}
    containers = [
        a_container("db"),
        a_container("migrate", **done),
        a_container("seed", **done),
        a_container("api", depends_on=("db", "migrate"), awaits=("migrate",)),
    ]
    proposal = propose(of_running(containers, {}))
    phase = {one.candidate.name: each.number for each in proposal.phases for one in each.services}
    assert phase["migrate"] == phase["api"]
    assert proposal.unplaced.keys() == {"seed"}
