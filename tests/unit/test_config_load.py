"""What a good configuration is read as."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.config.load import load, loads, warnings
from guardian.config.schema import CPU, MEMORY, Config, HealthConfig, ObjectivesConfig, ServiceConfig, Thresholds
from guardian.errors import ConfigError
from guardian.model import Mode, Signal
from guardian.units import Ratio, Seconds, Share

REFERENCE = Path(__file__).parents[2] / "config" / "guardian.yaml"
LEAST = "version: 1\nproject: demo\nphases: [{phase: 1, services: [db, web]}]\n"


def given(extra: str = "", **environ: str) -> Config:
    return loads(LEAST + extra, "guardian.yaml", environ)


def test_the_reference_file_loads_as_it_is() -> None:
    """The reference file loads as it is: 32 services in five phases, in base units, and nothing to warn of."""
    config = load(REFERENCE)
    assert [len(phase.services) for phase in config.phases] == [5, 5, 8, 8, 6]
    assert config.mode is Mode.OBSERVE
    assert config.projects == ("openpolicy",)
    assert config.phases[0].protected
    assert config.phases[0].budget.memory == 512 * 1024**2
    assert config.phases[0].budget.cpu == Share(ratio=0.25)
    assert config.phases[4].budget.storage == 15 * 10**9
    assert config.thresholds.memory == MEMORY
    assert config.thresholds.cpu == CPU
    assert config.restoring.backoff.max == 3600
    assert config.services["elasticsearch"].limits.memory == 1024**3
    assert warnings(config, file="guardian.yaml") == ()


# Each commented key of the reference file, with what it is uncommented to: below `services` and `web` it belongs two columns in.
UNCOMMENTED = [
    ("# containers: [backup-agent]", "containers: [backup-agent]"),
    ("# host: ", "host: "),
    ("#   memory: 4GiB", "  memory: 4GiB"),
    ("#   cpu: 1.5 cores", "  cpu: 1.5 cores"),
    ("# source: auto", "  source: auto"),
    ("# dependencies: order", "  dependencies: order"),
    ("    # mode: observe", "    mode: observe"),
    ("  # kill: never", "    kill: never"),
    ("  # protect: true", "    protect: true"),
    ("  # requires: [postgres]", "    requires: [postgres]"),
    ("  # on_pressure: throttle", "    on_pressure: throttle"),
    ("  # health: {http:", "    health: {http:"),
    ("# target_phase: 3", "target_phase: 3"),
    ("# objectives: {", "objectives: {"),
    ("# notify: [", "notify: ["),
    ("# tls: {", "  tls: {"),
    ("# auth: {", "  auth: {"),
]


@pytest.mark.parametrize(("commented", "uncommented"), UNCOMMENTED, ids=lambda text: text.strip(" #[{:"))
def test_each_commented_key_of_the_reference_file_loads(commented: str, uncommented: str) -> None:
    """Each commented key of the reference file loads once it is uncommented in its section."""
    text = REFERENCE.read_text()
    assert text.count(f"\n{commented}") == 1
    if commented.startswith("#   "):
        text = text.replace("\n# host: ", "\nhost: ")
    assert isinstance(loads(text.replace(f"\n{commented}", f"\n{uncommented}"), "guardian.yaml"), Config)


def test_all_commented_keys_load_together() -> None:
    """With all its commented keys uncommented at once, the reference file loads, and each means what it says."""
    text = REFERENCE.read_text()
    for commented, uncommented in UNCOMMENTED:
        text = text.replace(f"\n{commented}", f"\n{uncommented}")
    config = loads(text, "guardian.yaml")
    elastic = config.services["elasticsearch"]
    assert config.containers == ("backup-agent",)
    assert config.host.memory == 4 * 1024**3
    assert config.host.cpu == 1.5
    assert config.phases[4].mode is Mode.OBSERVE
    assert (elastic.kill, elastic.protect, elastic.requires, elastic.on_pressure) == ("never", True, ("postgres",), "throttle")
    assert elastic.health == HealthConfig(http="http://127.0.0.1:9200/_cluster/health", timeout=Seconds(2))
    assert config.target_phase == 3
    assert config.objectives == ObjectivesConfig(
        response_time=Seconds(0.2), availability=Ratio(0.995), utilisation=Ratio(0.8), healthy=Ratio(1)
    )
    assert len(config.notify) == 2
    assert config.web.tls is not None


@pytest.mark.parametrize(
    "line", ["source: cgroups\n", "sampling: {source: cgroups}\n", "source: cgroups\nsampling: {source: cgroups}\n"]
)
def test_the_source_may_stand_in_either_place(line: str) -> None:
    """`source` at the top is sampling.source, and is found there."""
    config = given(line)
    assert (config.sampling.source, config.source) == ("cgroups", None)


@pytest.mark.parametrize("line", ["dependencies: inherit\n", "shedding: {dependencies: inherit}\n"])
def test_dependencies_may_stand_in_either_place(line: str) -> None:
    """`dependencies` below shedding is the one at the top, and is found there."""
    config = given(line)
    assert (config.dependencies, config.shedding.dependencies) == ("inherit", None)


def test_what_is_not_given_has_its_default() -> None:
    """With only what is needed given, all else has the default of the reference file."""
    reference = load(REFERENCE)
    config = given()
    assert config.thresholds == reference.thresholds
    assert config.shedding == reference.shedding
    assert config.restoring == reference.restoring
    assert config.web == reference.web


def test_a_part_of_a_section_keeps_the_rest() -> None:
    """A section that is partly given keeps the default of the rest, its own default and not the schema's."""
    config = given("thresholds: {memory: {soft: 75%}, cpu: {soft_for: 30s}}\nrestoring: {backoff: {max: 2h}}\n")
    assert config.thresholds.memory == Thresholds(
        soft=Ratio(0.75),
        hard=Ratio(0.9),
        recover=Ratio(0.7),
        soft_for=Seconds(10),
        hard_for=Seconds(0),
        recover_for=Seconds(60),
    )
    assert isinstance(config.thresholds.cpu, Thresholds)
    assert (config.thresholds.cpu.soft_for, config.thresholds.cpu.hard_for) == (30, 20)
    assert (config.restoring.backoff.min, config.restoring.backoff.max) == (60, 7200)


def test_platform_thresholds_rest_on_those_of_the_host() -> None:
    """A part of platform_memory keeps what memory has in force; not given, it is memory altogether."""
    config = given("thresholds: {platform_memory: {hard: 95%}, memory: {soft: 75%, recover: 50%}}\n")
    platform = config.thresholds.platform_memory
    assert isinstance(platform, Thresholds)
    assert (platform.soft, platform.hard, platform.recover) == (0.75, 0.95, 0.5)
    assert config.thresholds.of(Signal.PLATFORM_CPU) == CPU


def test_platform_thresholds_rest_on_the_defaults_where_the_host_has_none() -> None:
    """A part of platform_memory keeps the defaults of memory where memory is off."""
    platform = given("thresholds: {memory: off, platform_memory: {soft: 60%, recover: 50%}}\n").thresholds.platform_memory
    assert isinstance(platform, Thresholds)
    assert (platform.soft, platform.hard) == (0.6, 0.9)


@pytest.mark.parametrize("written", ["off", "'off'", "&x off"])
def test_off_is_a_word(written: str) -> None:
    """`off` turns a signal off, quoted or not: it is a word and not a boolean."""
    config = given(f"thresholds: {{cpu: {written}}}\n")
    assert config.thresholds.cpu == "off"
    assert config.thresholds.of(Signal.CPU) is None


@pytest.mark.parametrize("word", ["true", "True", "yes", "on"])
def test_a_yes_is_true(word: str) -> None:
    """Where true or false is asked for, the words of YAML 1.1 count too."""
    assert given(f"emergency: {{enabled: {word}, keep: [db]}}\n").emergency.enabled


def test_a_service_may_be_called_on() -> None:
    """Words that YAML 1.1 takes for booleans are names where a name is asked for."""
    assert loads("version: 1\nproject: p\nphases: [{phase: 1, services: [on, no, y]}]", "f").phases[0].services == (
        "on",
        "no",
        "y",
    )


def test_anchors_aliases_and_merges_work() -> None:
    """Anchors, aliases and merges mean what YAML says: own keys win, then the first section merged."""
    config = given(
        "services:\n"
        "  db: &a {stop_timeout: 20s, priority: 1}\n"
        "  web: &b\n    <<: *a\n    priority: 2\n"
        "  api: {<<: [*b, *a]}\n"
        "  worker: *a\n"
    )
    assert config.services["web"] == ServiceConfig(stop_timeout=Seconds(20), priority=2)
    assert config.services["api"].priority == 2
    assert config.services["worker"] == config.services["db"]


def test_a_section_with_every_line_commented_out_is_none() -> None:
    """A section or list with nothing below it is as good as not there."""
    config = given("host:\nengine:\ncontainers:\nservices:\n  db:\nweb:\n  tls:\n")
    assert config.host.memory is None
    assert config.engine.url == "auto"
    assert config.services == {"db": ServiceConfig()}


def test_phases_come_in_their_order() -> None:
    """Phases are in the order of their numbers, in whatever order the file has them."""
    config = loads("version: 1\nproject: p\nphases: [{phase: 2, services: [b]}, {phase: 1, services: [a]}]", "f")
    assert [phase.phase for phase in config.phases] == [1, 2]


def test_a_byte_order_mark_is_no_mistake() -> None:
    """A byte order mark before UTF-8 is no mistake."""
    assert loads(b"\xef\xbb\xbf" + LEAST.encode(), "f").projects == ("demo",)


def test_cores_and_shares_in_budgets_are_not_compared_without_a_capacity() -> None:
    """Whether 1 core is less than half of the host is not known, and no mistake; with host.cpu it is known."""
    text = (
        "version: 1\nproject: p\n{}\nphases: [{{phase: 1, services: [a], budget: {{cpu: 50%}}}},"
        " {{phase: 2, services: [b], budget: {{cpu: 1}}}}]"
    )
    assert loads(text.format(""), "f").phases[1].budget.cpu == Share(cores=1.0)
    with pytest.raises(ConfigError, match=r"1 cores is less than the 50% of phase 1"):
        loads(text.format("host: {cpu: 4}"), "f")


@pytest.mark.parametrize("listen", ["127.0.0.1:9877", "localhost:0", "[::1]:9877", "127.9.9.9:1"])
def test_loopback_needs_no_protection(listen: str) -> None:
    """An address that only this machine can reach needs neither TLS nor a password."""
    assert given(f"web: {{listen: '{listen}'}}\n").web.listen == listen


@pytest.mark.parametrize("extra", ["insecure: true", "tls: {cert: c, key: k}, auth: {username: u, password_file: p}"])
def test_another_address_may_be_protected_or_insecure_knowingly(extra: str) -> None:
    """Another address is allowed with TLS and a password, or where the file says insecure."""
    assert given(f"web: {{listen: ':9877', {extra}}}\n").web.listen == ":9877"


# --- environment and flags ---------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file() -> None:
    """A variable wins over the file, whichever key it is named after."""
    config = given(
        "mode: observe\n",
        GUARDIAN_MODE="enforce",
        GUARDIAN_PROJECT="other",
        GUARDIAN_ENGINE_URL="tcp://10.0.0.1:2375",
        GUARDIAN_STATE_DIR="state",
        GUARDIAN_WEB_LISTEN="127.0.0.1:1234",
        GUARDIAN_LOG_LEVEL="debug",
        GUARDIAN_THRESHOLDS_MEMORY_SOFT="75%",
        GUARDIAN_HOST_MEMORY="4GiB",
        GUARDIAN_TARGET_PHASE="1",
        GUARDIAN_EMERGENCY_ENABLED="yes",
        PATH="/bin",
    )
    assert config.mode is Mode.ENFORCE
    assert config.projects == ("other",)
    assert config.engine.url == "tcp://10.0.0.1:2375"
    assert config.state_dir == "state"
    assert config.web.listen == "127.0.0.1:1234"
    assert config.log.level == "debug"
    assert isinstance(config.thresholds.memory, Thresholds)
    assert (config.thresholds.memory.soft, config.thresholds.memory.hard) == (0.75, 0.9)
    assert config.host.memory == 4 * 1024**3
    assert config.target_phase == 1
    assert config.emergency.enabled


def test_a_flag_wins_over_the_environment() -> None:
    """A flag wins over a variable; one that is None was not given."""
    config = loads(
        LEAST, "f", {"GUARDIAN_MODE": "enforce", "GUARDIAN_STATE_DIR": "a"}, {"mode": None, "state_dir": "b", "project": ["p"]}
    )
    assert (config.mode, config.state_dir, config.projects) == (Mode.ENFORCE, "b", ("p",))


def test_a_variable_turns_a_signal_off_and_another_on_again() -> None:
    """A variable replaces a whole section by off, and one of its keys brings the section back."""
    assert given(GUARDIAN_THRESHOLDS_CPU="off").thresholds.cpu == "off"
    cpu = given("thresholds: {cpu: off}\n", GUARDIAN_THRESHOLDS_CPU_SOFT="90%").thresholds.cpu
    assert isinstance(cpu, Thresholds)
    assert cpu.soft == 0.9


def test_a_name_in_a_variable_needs_no_quotes() -> None:
    """A variable has no quotes: what looks like a number is a name where a name is asked for."""
    assert given(GUARDIAN_PROJECT="2024").projects == ("2024",)


def test_a_variable_does_not_change_what_an_alias_shares() -> None:
    """A variable sets its own key only, even where the file shares one section between two keys by an alias."""
    config = given("thresholds: {memory: &m {soft: 70%, recover: 50%}, cpu: *m}\n", GUARDIAN_THRESHOLDS_MEMORY_SOFT="60%")
    assert isinstance(config.thresholds.memory, Thresholds)
    assert isinstance(config.thresholds.cpu, Thresholds)
    assert (config.thresholds.memory.soft, config.thresholds.cpu.soft) == (0.6, 0.7)


def test_a_mistake_in_a_variable_or_a_flag_names_it() -> None:
    """A mistake in a variable or a flag names it, and no line; one in the value that it replaces is still found."""
    with pytest.raises(ConfigError) as caught:
        loads(LEAST + "mode: maybe\n", "f.yaml", {"GUARDIAN_MODE": "enforced"}, {"engine.timeout": "fast", "web.lsten": "x"})
    assert [str(problem) for problem in caught.value.problems] == [
        "f.yaml:4: mode: expected observe or enforce, got 'maybe'",
        "environment: GUARDIAN_MODE: expected observe or enforce, got 'enforced' (did you mean enforce?)",
        "command line: engine.timeout: expected a duration such as 500ms, 10s, 2m or 1h30m, got 'fast'",
        "command line: web.lsten: unknown key (did you mean web.listen?)",
    ]


def test_a_rule_that_a_variable_breaks_names_the_variable() -> None:
    """A rule between values that a variable breaks names the variable."""
    with pytest.raises(ConfigError, match=r"^environment: GUARDIAN_THRESHOLDS_MEMORY_SOFT: soft \(95%\) must be below hard"):
        given(GUARDIAN_THRESHOLDS_MEMORY_SOFT="95%")


def test_variables_have_names_of_their_own() -> None:
    """No two keys share a variable."""
    from guardian.config.overlay import variables
    from guardian.config.shape import walk

    paths = [".".join(path) for path, key in walk(Config) if key.shape.single and path != ("version",)]
    assert sorted(variables().values()) == sorted(paths)


# --- what is allowed and probably not meant ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "path", "message"),
    [
        ("services: {cache: {priority: 1}}\n", "services.cache", "is in no phase"),
        ("containers: [agent]\n", "containers", "agent is in no phase"),
        (
            "thresholds: {platform_memory: {soft: 60%, recover: 50%}}\n",
            "thresholds.platform_memory",
            "no effect without host.memory",
        ),
        ("thresholds: {memory: off, cpu: off}\n", "thresholds", "nothing will ever be shed"),
        ("emergency: {enabled: true}\n", "emergency.keep", "is empty"),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(extra: str, path: str, message: str) -> None:
    """What is allowed and probably not meant is warned of, and no mistake."""
    found = [warning for warning in warnings(given(extra)) if warning.path == path]
    assert len(found) == 1
    assert message in found[0].message


@pytest.mark.parametrize(
    ("phases", "path", "message"),
    [
        ("[{phase: 1, protected: true, services: [a]}]", "phases", "every phase is protected"),
        ("[{phase: 1, services: [a]}, {phase: 2}]", "phases[2]", "lists no services"),
        ("[{phase: 1, mode: observe, services: [a]}]", "mode", "nothing will be done"),
        ("[{phase: 1, services: [a], budget: {memory: 2GiB}}]", "phases[1].budget.memory", "more than host.memory"),
    ],
)
def test_phases_that_are_probably_not_meant_are_warned_of(phases: str, path: str, message: str) -> None:
    """Phases that can do nothing, or may use more than there is, are warned of."""
    config = loads(f"version: 1\nproject: p\nmode: enforce\nhost: {{memory: 1GiB}}\nphases: {phases}\n", "f")
    assert [warning.path for warning in warnings(config) if message in warning.message] == [path]


def test_an_unknown_variable_is_only_warned_of() -> None:
    """An unknown GUARDIAN_ variable is a warning with a suggestion, and no mistake."""
    environ = {"GUARDIAN_MDOE": "enforce", "GUARDIAN_CONFIG": "x", "HOME": "/"}
    config = loads(LEAST, "f", environ)
    assert [str(warning) for warning in warnings(config, environ)] == [
        "environment: GUARDIAN_MDOE: sets no key of the configuration (did you mean GUARDIAN_MODE?)"
    ]
