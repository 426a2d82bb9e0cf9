"""The project around the daemon says one thing in all its places: configuration, Compose file, unit, locks, docs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.platform import reference_services
from support.standin import Stamp, crossed_s, read_stamps, read_status

import guardian
from guardian.errors import ConfigError
from guardian.units import parse_bytes

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "guardian.service"
MIB = 1024 * 1024
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("README", "concepts", "init", "operations", "security")),
]


def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "config" / "guardian.yaml").read_text())
    return loaded


def unit_settings() -> dict[str, str]:
    """Of the unit, by key; a key that stands twice keeps its last value."""
    return dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))


def locked(file: str) -> dict[str, str]:
    """Name -> the whole entry, hashes included."""
    entries = re.findall(r"^([\w.-]+)==([^#]*)", (ROOT / file).read_text(), re.MULTILINE)
    return {name.lower(): entry for name, entry in entries}


def wanted(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=]", requirement)[0].lower() for requirement in requirements}


# --- the reference platform -----------------------------------------------------------------------------------------


def test_the_compose_file_has_the_services_of_the_phases_in_their_order() -> None:
    """The Compose file has the services of the phases in their order."""
    listed = [service for phase in configuration()["phases"] for service in phase["services"]]
    assert [service.name for service in reference_services()] == listed
    assert len(listed) == 32


def test_the_stand_ins_of_phases_up_to_any_fit_its_budget() -> None:
    """The stand-ins of phases up to any fit its budget."""
    memory_bytes = {service.name: service.memory_bytes for service in reference_services()}
    used_bytes = 0
    for phase in configuration()["phases"]:
        used_bytes += sum(memory_bytes[name] for name in phase["services"])
        assert used_bytes <= parse_bytes(phase["budget"]["memory"]), phase["name"]
    assert 2.2 <= used_bytes / MIB / 1024 <= 2.4


def test_a_limit_stands_the_same_in_the_compose_file_and_in_the_configuration() -> None:
    """A limit stands the same in the Compose file and in the configuration."""
    limits = {service.name: service for service in reference_services()}
    for name, settings in configuration()["services"].items():
        assert limits[name].memory_limit_bytes == parse_bytes(settings["limits"]["memory"]), name
        assert limits[name].cpu_limit_cores == settings["limits"]["cpus"], name
        reserved = settings.get("reservations", {}).get("memory")
        assert limits[name].memory_reservation_bytes == (parse_bytes(reserved) if reserved else None), name


def test_a_stand_in_depends_only_on_services_that_stand_before_it_or_exist_and_never_on_itself_in_a_circle() -> None:
    """A stand-in depends only on services that stand before it or exist, and never on itself in a circle."""
    waiting = {service.name: set(service.depends_on) for service in reference_services()}
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        assert all(need in {service.name for service in reference_services()} for name in ready for need in waiting[name])
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert not waiting
    by_name = {service.name: set(service.depends_on) for service in reference_services()}
    assert by_name["gateway"] >= {"api", "web"}
    assert by_name["api"] >= {"postgres", "redis"}


def test_every_stand_in_checks_its_own_health_and_opens_nothing_on_the_host() -> None:
    """Every stand-in checks its own health and opens nothing on the host."""
    services = yaml.safe_load((ROOT / "config" / "compose.reference.yml").read_text())["services"]
    for name, service in services.items():
        assert service["healthcheck"]["test"] == ["CMD", "/standin", "health"], name
        assert service["network_mode"] == "none", name
        assert "ports" not in service, name


def test_compose_calls_the_project_as_the_configuration_does() -> None:
    """Compose calls the project as the configuration does."""
    assert f"COMPOSE_PROJECT_NAME={configuration()['project']}\n" in (ROOT / "config" / ".env").read_text()


# --- the stand-in's words -------------------------------------------------------------------------------------------


def test_stamps_are_read_from_a_log_with_other_lines_in_it() -> None:
    """Stamps are read from a log with other lines in it."""
    log = "hello\ntouched from=0 to=1024 begin_ns=1500000000 end_ns=2500000000\ntouched"
    assert read_stamps(log.removesuffix("\ntouched")) == [Stamp(0, 1024, 1.5, 2.5)]


def test_a_crossing_lies_between_the_stamps_around_it() -> None:
    """A crossing lies between the stamps around it."""
    stamps = [Stamp(0, 100, 1.0, 2.0), Stamp(100, 200, 2.0, 4.0)]
    assert crossed_s(stamps, 150) == pytest.approx(3.0)
    with pytest.raises(AssertionError):
        crossed_s(stamps, 201)


def test_a_status_answer_is_read_field_by_field() -> None:
    """A status answer is read field by field."""
    status = read_status("sick held=4096 target=8192 cpu=0.250 cached=1 cache_target=2\n")
    assert (status.well, status.held_bytes, status.target_bytes, status.cores) == (False, 4096, 8192, 0.25)
    assert (status.cached_bytes, status.cache_target_bytes) == (1, 2)


# --- the unit -------------------------------------------------------------------------------------------------------


def test_the_daemon_is_started_again_unless_its_configuration_cannot_be_used() -> None:
    """The daemon is started again unless its configuration cannot be used."""
    settings = unit_settings()
    assert settings["Restart"] == "always"
    assert settings["RestartPreventExitStatus"] == str(ConfigError.exit_code)
    assert settings["StartLimitIntervalSec"] == "0"


def test_the_unit_notifies_and_is_watched_and_never_requires_docker() -> None:
    """The unit notifies and is watched, and never requires Docker."""
    settings = unit_settings()
    assert (settings["Type"], settings["NotifyAccess"], settings["WatchdogSec"]) == ("notify", "main", "60")
    assert "docker.service" in settings["After"]
    assert "docker.service" in settings["Wants"]
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & settings.keys()


def test_the_unit_makes_the_directories_that_the_configuration_names() -> None:
    """The unit makes the directories that the configuration names."""
    settings = unit_settings()
    assert configuration()["state_dir"] == f"/var/lib/{settings['StateDirectory']}"
    assert configuration()["web"]["control"] == f"/run/{settings['RuntimeDirectory']}/control.sock"


def test_the_minimum_of_memory_is_granted_by_the_slice_too() -> None:
    """The minimum of memory is granted by the slice too."""
    settings = unit_settings()
    assert f"MemoryMin={settings['MemoryMin']}\n" in (ROOT / "systemd" / settings["Slice"]).read_text()
    assert settings["OOMScoreAdjust"] == "-900"


def test_the_unit_lets_the_daemon_lock_its_memory() -> None:
    """The unit lets the daemon lock its memory: with any limit it would not."""
    assert unit_settings()["LimitMEMLOCK"] == "infinity"


@pytest.mark.parametrize("name", ["guardian.service", "guardian.slice"])
def test_every_group_of_lines_of_a_unit_is_explained(name: str) -> None:
    """Every group of lines of a unit is explained."""
    plain = {"[Unit]", "[Service]", "[Slice]", "[Install]"}
    explained = False
    for line in (ROOT / "systemd" / name).read_text().splitlines():
        if line.startswith("#"):
            explained = True
        elif not line or line in plain:
            explained = False
        else:
            assert explained or line.startswith(("Description=", "ExecStart=", "WantedBy=")), line


# --- locks, docs, commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_every_entry_of_a_lock_has_an_exact_version_and_a_hash(lock: str) -> None:
    """Every entry of a lock has an exact version and a hash."""
    entries = locked(lock)
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries.values())


def test_the_locks_hold_what_the_project_file_asks_for() -> None:
    """The locks hold what the project file asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runs = wanted(project["project"]["dependencies"])
    assert runs <= locked("requirements.txt").keys()
    assert runs | wanted(project["dependency-groups"]["dev"]) <= locked("requirements-dev.txt").keys()
    assert (
        wanted(project["dependency-groups"]["build"] + project["build-system"]["requires"])
        <= locked("requirements-build.txt").keys()
    )


def test_tests_run_with_the_versions_that_the_daemon_runs_with() -> None:
    """Tests run with the versions that the daemon runs with."""
    tested = locked("requirements-dev.txt")
    for name, entry in locked("requirements.txt").items():
        assert tested[name].split()[0] == entry.split()[0], name


@pytest.mark.parametrize("page", PAGES)
def test_every_link_in_a_page_leads_somewhere(page: str) -> None:
    """Every link in a page leads somewhere."""
    source = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", source.read_text()):
        assert target.startswith("https://") or (source.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_in_a_page_exists(page: str) -> None:
    """Every make target in a page exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)) <= targets


def test_the_readme_names_how_to_run_and_how_to_test() -> None:
    """The README names how to run and how to test."""
    text = (ROOT / "README.md").read_text()
    assert "make run" in text
    assert "make test" in text


def test_the_changelog_speaks_of_the_present_version() -> None:
    """The changelog speaks of the present version."""
    assert guardian.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_the_one_that_the_project_file_names() -> None:
    """The licence is the one that the project file names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0" in text
