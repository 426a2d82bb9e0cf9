"""Compose files, read by guardian itself."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from guardian.compose.files import find_files, project_name, read_files, variables_of
from guardian.compose.interpolate import Interpolation, parse_env_file
from guardian.compose.model import ComposeProject, ComposeService, Condition, Dependency, Port
from guardian.errors import ConfigError

MIB = 1 << 20


class Folder:
    """A project's folder; reads what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def read(self, *texts: str, **environ: str) -> ComposeProject:
        """Of these files, later ones over earlier ones."""
        files = [self.write(f"compose{index}.yml", text) for index, text in enumerate(texts)]
        return read_files(files, self.path, variables_of(self.path, environ))

    def service(self, *texts: str, **environ: str) -> ComposeService:
        """The service `a` of these."""
        return self.read(*texts, **environ).services["a"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def said(project: ComposeProject) -> list[str]:
    """Problems as `line: path: message`, without the file."""
    return [f"{problem.line}: {problem.path}: {problem.message}" for problem in project.problems]


# --- one service ----------------------------------------------------------------------------------------------------


def test_short_and_long_forms_say_the_same(folder: Folder) -> None:
    """Short and long forms of ports, dependencies and labels say the same."""
    short = folder.service("""
        services:
          a:
            image: one:2
            depends_on: [b]
            ports: ["127.0.0.1:8080:80/udp", "443"]
            labels: ["guardian.phase=2", flag]
          b: {image: b}
        """)
    long = folder.service("""
        services:
          a:
            image: one:2
            depends_on: {b: {condition: service_started}}
            ports: [{target: 80, published: 8080, host_ip: 127.0.0.1, protocol: udp}, {target: 443}]
            labels: {guardian.phase: 2, flag: ""}
          b: {image: b}
        """)
    assert short == long
    assert short.depends_on == (Dependency("b", Condition.STARTED),)
    assert short.ports == (Port("80", "8080", "udp"), Port("443"))
    assert short.labels == {"guardian.phase": "2", "flag": ""}


def test_limits_are_read_from_either_place_and_in_docker_s_units(folder: Folder) -> None:
    """Limits are read from `deploy` or from the older keys, with 1m as 1 MiB; 0 and -1 are none."""
    older = folder.service("services: {a: {image: x, mem_limit: 512m, mem_reservation: 0.25gb, cpus: 0.5}}")
    deployed = folder.service("""
        services:
          a:
            image: x
            deploy:
              replicas: 3
              resources: {limits: {memory: 512M, cpus: '0.5'}, reservations: {memory: 256MiB, cpus: "0.1"}}
        """)
    assert (older.memory_limit_bytes, older.memory_reservation_bytes, older.cpu_limit_cores) == (512 * MIB, 256 * MIB, 0.5)
    assert (deployed.memory_limit_bytes, deployed.memory_reservation_bytes, deployed.cpu_limit_cores) == (
        512 * MIB,
        256 * MIB,
        0.5,
    )
    assert (deployed.cpu_reservation_cores, deployed.replicas, older.replicas) == (0.1, 3, 1)
    assert folder.service("services: {a: {cpu_quota: 50000, scale: 0}}").cpu_limit_cores == 0.5
    assert folder.service("services: {a: {mem_limit: 0, cpus: 0}}").memory_limit_bytes is None
    assert folder.service("services: {a: {memswap_limit: -1, mem_limit: -1}}").memory_limit_bytes is None


def test_a_health_check_that_is_disabled_is_none(folder: Folder) -> None:
    """A health check counts unless it is disabled, in either way."""
    assert folder.service("services: {a: {healthcheck: {test: [CMD, x]}}}").health_check
    assert not folder.service("services: {a: {healthcheck: {test: [NONE]}}}").health_check
    assert not folder.service("services: {a: {healthcheck: {disable: true}}}").health_check
    assert not folder.service("services: {a: {image: x}}").health_check


def test_what_is_waited_for_or_never_repeated_is_a_one_shot(folder: Folder) -> None:
    """A one-shot is what is waited for to be completed, runs as a job, or is not started again and serves nobody."""
    project = folder.read("""
        services:
          app: {image: x, restart: always, depends_on: {migrate: {condition: service_completed_successfully}}}
          migrate: {image: x}
          seed: {image: x, restart: no}
          retry: {image: x, restart: "on-failure:3"}
          job: {image: x, deploy: {mode: replicated-job}}
          served: {image: x, restart: "no", ports: [80]}
          swarm: {image: x, deploy: {restart_policy: {condition: none}}}
          plain: {image: x}
        """)
    assert project.one_shots() == {"migrate", "seed", "retry", "job", "swarm"}


def test_links_and_shared_namespaces_are_needs(folder: Folder) -> None:
    """What a service links to, mounts from or shares a namespace with goes before it."""
    project = folder.read("""
        services:
          a: {image: x, links: ["b:db"], volumes_from: [c, "container:other"], network_mode: "service:d", pid: host}
          b: {image: x}
          c: {image: x}
          d: {image: x}
        """)
    assert project.services["a"].needs == ("b", "c", "d")
    assert project.services["a"].shares == ("d",)


# --- several files --------------------------------------------------------------------------------------------------


def test_a_later_file_adds_to_an_earlier_one(folder: Folder) -> None:
    """A later file replaces single values, continues ports, and adds to dependencies and labels."""
    project = folder.read(
        """
        services:
          a: {image: one, ports: ["80:80"], depends_on: [b], labels: [x=1], command: [a, b], mem_limit: 1g}
          b: {image: x}
        """,
        """
        services:
          a: {image: two, ports: ["81:81"], depends_on: {c: {condition: service_healthy}}, labels: {y: 2}, command: [c]}
          c: {image: x}
        """,
    )
    a = project.services["a"]
    assert a.image == "two"
    assert [port.published for port in a.ports] == ["80", "81"]
    assert a.depends_on == (Dependency("b"), Dependency("c", Condition.HEALTHY))
    assert (a.labels, a.memory_limit_bytes) == ({"x": "1", "y": "2"}, 1024 * MIB)
    assert list(project.services) == ["a", "b", "c"]


def test_a_later_file_may_reset_and_override(folder: Folder) -> None:
    """`!reset` takes away what an earlier file says, and `!override` replaces what would be added to."""
    project = folder.read(
        'services: {a: {image: x, mem_limit: 1g, ports: ["80:80"], depends_on: [b]}, b: {image: x}}',
        'services: {a: {mem_limit: !reset null, ports: !override ["81:81"]}}',
    )
    a = project.services["a"]
    assert a.memory_limit_bytes is None
    assert [port.published for port in a.ports] == ["81"]
    assert a.depends_on == (Dependency("b"),)
    assert project.problems == ()


def test_anchors_and_merges_are_followed(folder: Folder) -> None:
    """Anchors, aliases and merges are followed, and what stands beside a merge goes before it."""
    project = folder.read("""
        x-base: &base {image: common, restart: always}
        x-limits: &limits {mem_limit: 64m}
        services:
          a: {<<: [*base, *limits]}
          b:
            <<: *base
            image: own
        """)
    assert (project.services["a"].image, project.services["a"].memory_limit_bytes) == ("common", 64 * MIB)
    assert (project.services["b"].image, project.services["b"].restart) == ("own", "always")


def test_extends_takes_from_the_same_file_and_from_others(folder: Folder) -> None:
    """`extends` takes from a service of the same file or of another one, which may extend a third."""
    folder.write("base/common.yml", "services: {web: {extends: {service: root}, ports: [80]}, root: {mem_limit: 32m}}")
    project = folder.read("""
        services:
          a: {extends: {file: base/common.yml, service: web}, image: a, ports: [81]}
          b: {extends: a, image: b}
        """)
    for name in ("a", "b"):
        service = project.services[name]
        assert (service.image, service.memory_limit_bytes) == (name, 32 * MIB)
        assert [port.target for port in service.ports] == ["80", "81"]
    assert list(project.services) == ["a", "b"]


def test_extends_that_leads_nowhere_loses_no_service(folder: Folder) -> None:
    """A service that extends itself, or what is not there, is read without it, and each mistake has its line."""
    project = folder.read("""
        services:
          a: {extends: b, image: a}
          b: {extends: a, image: b}
          c: {extends: {file: missing.yml, service: x}, image: c}
          d: {extends: nobody, image: d}
        """)
    assert {name: service.image for name, service in project.services.items()} == {"a": "a", "b": "b", "c": "c", "d": "d"}
    lines = said(project)
    assert any(line.startswith("3: services.a.extends: extends itself") for line in lines)
    assert any(line.startswith("5: services.c.extends: nothing is taken from") for line in lines)
    assert any(line.startswith("6: services.d.extends: there is no service 'nobody'") for line in lines)


def test_included_files_bring_their_services(folder: Folder) -> None:
    """`include` brings the services of other files, in short and long form, each with the variables of its own folder."""
    folder.write("db/.env", "TAG=7\n")
    folder.write("db/compose.yml", "services: {db: {image: 'db:${TAG}'}}")
    folder.write("more.yml", "services: {cache: {image: cache}}\ninclude: [more.yml]")
    project = folder.read("""
        include:
          - db/compose.yml
          - {path: [more.yml]}
        services:
          a: {image: a, depends_on: [db, cache]}
        """)
    assert {name: service.image for name, service in project.services.items()} == {"db": "db:7", "cache": "cache", "a": "a"}
    assert any("includes itself" in line for line in said(project))


def test_the_first_format_of_all_is_read(folder: Folder) -> None:
    """A file without `services`, whose services stand at its top, is read."""
    project = folder.read('a: {image: x, links: [b], net: "host"}\nb: {build: .}\n')
    assert list(project.services) == ["a", "b"]
    assert project.services["a"].needs == ("b",)


# --- variables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$SET and ${SET}!", "v and v!"),
        ("${UNSET:-d} ${EMPTY:-d} ${EMPTY-d} ${SET:-d}", "d d  v"),
        ("${UNSET:-${OTHER:-deep}}", "deep"),
        ("${SET:+yes}${UNSET:+no}${EMPTY:+no}${EMPTY+yes}", "yesyes"),
        ("${SET:?needed}", "v"),
        ("$$SET $${SET}", "$SET ${SET}"),
    ],
)
def test_variables_are_put_in(text: str, result: str) -> None:
    """Variables are put in with defaults, alternatives, requirements and doubled signs, as Compose does it."""
    interpolation = Interpolation({"SET": "v", "EMPTY": ""})
    assert interpolation.text(text) == result
    assert interpolation.complaints == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${NEEDED:?say it}", "the variable NEEDED is required (say it) and not set"),
        ("$NEEDED", "the variable NEEDED is not set, so this is empty"),
        ("${a/name}", "cannot be understood"),
        ("${1}", "cannot be understood"),
        ("${OPEN", "begins no variable"),
        ("5$", "begins no variable"),
    ],
)
def test_what_cannot_be_put_in_is_told(text: str, complaint: str) -> None:
    """A variable that is missing or cannot be understood is told, and hinders nothing."""
    interpolation = Interpolation({})
    interpolation.text(text)
    assert complaint in interpolation.complaints[0]


def test_values_come_from_the_environment_then_from_the_env_file(folder: Folder) -> None:
    """A variable is the environment's, else that of .env; its value is read as if it stood in the file."""
    folder.write(".env", "MEMORY=64m\nCOUNT=2\n")
    text = "services: {a: {image: x, mem_limit: $MEMORY, scale: '${COUNT}', ports: ['${PORT:-80}']}}"
    assert folder.service(text).memory_limit_bytes == 64 * MIB
    service = folder.service(text, MEMORY="32m")
    assert (service.memory_limit_bytes, service.replicas, service.ports) == (32 * MIB, 2, (Port("80"),))


def test_an_env_file_has_quotes_comments_and_exports() -> None:
    """An .env file may quote, comment, export and use what stands above or outside."""
    text = """
    # a comment
    PLAIN = some words # and a comment
    export SINGLE='as $PLAIN is'
    DOUBLE="a\\nb # no comment"
    USES=${PLAIN}/${OUTSIDE}
    no assignment
    HASH=a#b
    """
    assert parse_env_file(text, {"OUTSIDE": "o"}) == {
        "PLAIN": "some words",
        "SINGLE": "as $PLAIN is",
        "DOUBLE": "a\nb # no comment",
        "USES": "some words/o",
        "HASH": "a#b",
    }


def test_a_missing_required_variable_has_its_line_and_loses_nothing(folder: Folder) -> None:
    """A required variable that is missing is told with line and reason, and the services are read."""
    project = folder.read("services:\n  a:\n    image: x\n    environment: {P: '${SECRET:?make one}'}\n")
    assert said(project) == [
        "4: services.a.environment.P: the variable SECRET is required (make one) and not set; set it in the environment or in .env"
    ]
    assert list(project.services) == ["a"]


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_a_wrong_value_is_told_and_counts_as_not_said(folder: Folder) -> None:
    """Values that cannot be understood are told with their lines, and the service is read without them."""
    project = folder.read("""
        services:
          a:
            image: x
            mem_limit: lots
            cpus: some
            scale: many
            ports: [http]
            depends_on: {b: {condition: service_happy}, gone: {condition: service_started}}
            stop_grace_period: soon
          b:
          c: text
        """)
    assert list(project.services) == ["a", "b", "c"]
    assert project.services["a"].depends_on == (Dependency("b"),)
    paths = [(problem.line, problem.path) for problem in project.problems]
    for expected in [
        (5, "services.a.mem_limit"), (6, "services.a.cpus"), (7, "services.a.scale"), (8, "services.a.ports"),
        (9, "services.a.depends_on.b.condition"), (9, "services.a.depends_on"), (10, "services.a.stop_grace_period"),
        (11, "services.b"), (12, "services.c"),
    ]:  # fmt: skip
        assert expected in paths


def test_a_dependency_that_is_not_required_may_be_missing(folder: Folder) -> None:
    """A dependency with `required: false` on what is not there is left out without a word."""
    project = folder.read("services: {a: {image: x, depends_on: {gone: {condition: service_started, required: false}}}}")
    assert (project.services["a"].depends_on, project.problems) == ((), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: [", "not valid YAML"),
        ("just words", "not a Compose file"),
        ("services:\n", "has no services"),
        ("services: [a]", "has no services"),
        ("networks: {n: }", "has no services"),
        ("", "has no services"),
    ],
)
def test_what_is_no_compose_file_is_refused(folder: Folder, text: str, message: str) -> None:
    """A file that is no YAML, or has no services, is refused with its name and a reason."""
    with pytest.raises(ConfigError, match=message) as refused:
        folder.read(text)
    assert "compose0.yml" in str(refused.value)


def test_a_file_that_is_missing_is_refused(folder: Folder) -> None:
    """A file that is not there is refused, with its name."""
    with pytest.raises(ConfigError, match=r"none\.yml: cannot be read: No such file"):
        read_files([folder.path / "none.yml"], folder.path, {})


# --- finding and naming ---------------------------------------------------------------------------------------------


def test_the_usual_files_are_found_with_their_override(folder: Folder) -> None:
    """The usual file is found in the folder or above it, with its override; COMPOSE_FILE goes before."""
    below = folder.path / "some" / "folder"
    below.mkdir(parents=True)
    with pytest.raises(ConfigError, match="no Compose file here or above"):
        find_files(below, {})
    base = folder.write("docker-compose.yml", "services: {}")
    assert find_files(below, {}) == (base,)
    override = folder.write("docker-compose.override.yml", "services: {}")
    assert find_files(below, {}) == (base, override)
    newer = folder.write("some/compose.yaml", "services: {}")
    assert find_files(below, {}) == (newer,)
    assert find_files(below, {"COMPOSE_FILE": "x.yml:y.yml", "COMPOSE_PATH_SEPARATOR": ""}) == (
        below / "x.yml",
        below / "y.yml",
    )
    assert find_files(below, {"COMPOSE_FILE": ":"}) == (newer,)


def test_a_project_is_named_as_compose_names_it() -> None:
    """The name asked for goes first, then COMPOSE_PROJECT_NAME, then the file's, then the folder's, all in lower case."""
    folder = Path("/srv/My App.v2")
    assert project_name("Mine", {"COMPOSE_PROJECT_NAME": "env"}, "file", folder) == "mine"
    assert project_name(None, {"COMPOSE_PROJECT_NAME": "env"}, "file", folder) == "env"
    assert project_name(None, {}, "file", folder) == "file"
    assert project_name(None, {}, "", folder) == "myappv2"
