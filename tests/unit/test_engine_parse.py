"""What the Docker Engine answers, turned into values."""

from __future__ import annotations

from typing import Any

import pytest

from guardian.engine import parse
from guardian.engine.protocol import RawStats, Scope
from guardian.model import ContainerState, Health, Labels, ServiceKey, Strain

MIB = 1024 * 1024
SCOPE = Scope(("demo",), ("lone",))
WEB = {"com.docker.compose.project": "demo", "com.docker.compose.service": "web"}


def row(status: str = "Up 3 minutes", **changes: Any) -> dict[str, Any]:
    return {"Id": "a1", "Names": ["/demo-web-1"], "State": "running", "Status": status, "Labels": WEB} | changes


def inspected(**changes: Any) -> dict[str, Any]:
    """An inspect as Engine 20.10 and later write it; `changes` go into State, Config, HostConfig or the top by their name."""
    answer: dict[str, Any] = {
        "Id": "a1",
        "Name": "/demo-web-1",
        "RestartCount": 2,
        "State": {
            "Status": "running", "ExitCode": 0,
            "StartedAt": "2026-11-23T19:26:51.480464193Z", "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Config": {"Labels": dict(WEB)},
        "HostConfig": {"NetworkMode": "default", "RestartPolicy": {"Name": ""}, "Memory": 0, "NanoCpus": 0, "CpuQuota": 0},
    }  # fmt: skip
    for part in ("State", "Config", "HostConfig"):
        answer[part] |= changes.pop(part, {})
    return answer | changes


def container(**changes: Any) -> Any:
    return parse.parse_container(inspected(**changes), ServiceKey("demo", "web"), started_s=5.0)


@pytest.mark.parametrize(
    ("status", "max_age_s"),
    [
        ("Up Less than a second", 2),
        ("Up 1 second", 2),
        ("Up 12 seconds (healthy)", 13),
        ("Up About a minute (Paused)", 120),
        ("Up 3 minutes", 240),
        ("Up About an hour", 7200),
        ("Exited (137) 5 hours ago", 6 * 3600),
        ("Restarting (1) 4 seconds ago", 5),
        ("Up 3 weeks", 4 * 604800),
        ("Created", None),
    ],
)
def test_a_status_bounds_the_age_of_the_present_state(status: str, max_age_s: float | None) -> None:
    """A status bounds the age of the present state, and never from below."""
    listed = parse.parse_listed(row(status), SCOPE)
    assert listed is not None
    assert listed.max_age_s == max_age_s


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 3 minutes", Health.NONE),
        ("Up 3 minutes (healthy)", Health.HEALTHY),
        ("Up 3 minutes (unhealthy)", Health.UNHEALTHY),
        ("Up 2 seconds (health: starting)", Health.STARTING),
    ],
)
def test_the_list_shows_the_health_of_what_runs(status: str, health: Health) -> None:
    """The list shows the health of what runs."""
    listed = parse.parse_listed(row(status), SCOPE)
    assert listed is not None
    assert listed.health is health


def test_a_container_is_in_scope_by_its_project_or_by_its_own_exact_name() -> None:
    """A container is in scope by its project, or by its own exact name."""
    foreign = {"com.docker.compose.project": "other", "com.docker.compose.service": "web"}
    assert parse.service_of(WEB, "demo-web-1", SCOPE) == ServiceKey("demo", "web")
    assert parse.service_of({}, "lone", SCOPE) == ServiceKey("", "lone")
    assert parse.service_of({}, "lone2", SCOPE) is None
    assert parse.service_of(foreign, "other-web-1", SCOPE) is None
    assert parse.service_of({}, "", Scope()) is None


def test_an_alias_by_which_others_link_to_a_container_is_not_its_name() -> None:
    """An alias by which others link to a container is not its name."""
    listed = parse.parse_listed(row(Names=["/other/db", "/lone"], Labels=None), SCOPE)
    assert listed is not None
    assert listed.name == "lone"


def test_a_running_container_has_a_start_and_no_end() -> None:
    """A running container has a start and no end."""
    seen = container()
    assert seen.state is ContainerState.RUNNING
    assert (seen.started_s, seen.finished_wall_s, seen.exit_code) == (5.0, None, None)
    assert seen.started_wall_s == pytest.approx(1795462011.480464)
    assert seen.restarts == 2
    assert seen.restart_policy == "no"


@pytest.mark.parametrize(
    ("mode", "network"), [("host", "host"), ("container:abc", "container"), ("bridge", ""), ("demo_default", ""), ("", "")]
)
def test_a_container_tells_whose_network_it_is_in_and_its_process(mode: str, network: str) -> None:
    """A container tells whether its network is its own, and the number of its first process while it has one."""
    seen = container(HostConfig={"NetworkMode": mode}, State={"Pid": 4711})
    assert (seen.network, seen.pid) == (network, 4711)
    assert container(State={"Pid": 0}).pid is None


def test_a_container_that_ended_has_an_end_and_an_exit_code() -> None:
    """A container that ended has an end and an exit code."""
    seen = container(State={"Status": "exited", "ExitCode": 137, "FinishedAt": "2026-11-23T19:30:00.5Z"})
    assert (seen.started_s, seen.exit_code) == (None, 137)
    assert seen.finished_wall_s == pytest.approx(1795462200.5)


def test_a_container_that_never_ran_has_neither_start_nor_end() -> None:
    """A container that never ran has neither start nor end."""
    seen = container(State={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"})
    assert (seen.started_s, seen.started_wall_s, seen.finished_wall_s, seen.exit_code) == (None, None, None, None)


@pytest.mark.parametrize(
    ("label", "awaits"),
    [
        ("", ()),
        ("db:service_healthy:false", ()),
        ("db:service_healthy:false,seed:service_completed_successfully:true", ("seed",)),
        ("seed", ()),  # as old Compose wrote it
        (":service_completed_successfully", ()),
    ],
)
def test_a_container_tells_which_one_shots_it_waits_for(label: str, awaits: tuple[str, ...]) -> None:
    """Of the services that a container depends on, those are known that have to be completed first."""
    assert container(Config={"Labels": {"com.docker.compose.depends_on": label}}).awaits == awaits


@pytest.mark.parametrize(
    ("exit_code", "policy", "health", "completed"),
    [
        (0, "no", None, True),
        (0, "", None, True),
        (0, "on-failure", None, True),
        (0, "always", None, False),
        (0, "unless-stopped", None, False),
        (1, "no", None, False),
        (0, "no", {"Status": "unhealthy"}, False),
    ],
)
def test_a_job_that_ended_well_and_is_not_repeated_is_completed(
    exit_code: int, policy: str, health: dict[str, str] | None, completed: bool
) -> None:
    """A job that ended well and is not repeated is completed; what has a health check is no job."""
    state = {"Status": "exited", "ExitCode": exit_code, "FinishedAt": "2026-11-23T19:30:00Z", "Health": health}
    assert container(State=state, HostConfig={"RestartPolicy": {"Name": policy}}).completed is completed


@pytest.mark.parametrize(
    ("host", "cores"),
    [
        ({"NanoCpus": 1_500_000_000}, 1.5),
        ({"CpuQuota": 50_000}, 0.5),
        ({"CpuQuota": 50_000, "CpuPeriod": 50_000}, 1.0),
        ({"CpuQuota": -1}, None),
        ({}, None),
    ],
)
def test_a_cpu_limit_is_read_in_cores_however_it_was_made(host: dict[str, int], cores: float | None) -> None:
    """A CPU limit is read in cores, however it was made."""
    assert container(HostConfig=host).cpu_limit_cores == cores


def test_limits_that_are_zero_are_none() -> None:
    """Limits that are zero are none."""
    seen = container(HostConfig={"Memory": 0, "MemoryReservation": 0})
    assert (seen.memory_limit_bytes, seen.memory_reservation_bytes) == (None, None)


@pytest.mark.parametrize(("host", "auto_remove"), [({"AutoRemove": True}, True), ({"AutoRemove": False}, False), ({}, False)])
def test_what_the_engine_removes_when_it_ends_is_known(host: dict[str, bool], auto_remove: bool) -> None:
    """Whether the engine removes a container when it ends is known."""
    assert container(HostConfig=host).auto_remove is auto_remove


def test_a_shared_namespace_names_its_owner_once() -> None:
    """A shared namespace names its owner once."""
    seen = container(HostConfig={"NetworkMode": "container:b2", "PidMode": "container:b2", "IpcMode": "container:c3"})
    assert seen.shares == ("b2", "c3")
    assert container(HostConfig={"NetworkMode": "host", "PidMode": "host"}).shares == ()


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("db:service_healthy:false,cache:service_started:true", ("db", "cache")),
        ("db", ("db",)),
        ("", ()),
    ],
)
def test_dependencies_are_read_from_composes_label(label: str, names: tuple[str, ...]) -> None:
    """Dependencies are read from Compose's label."""
    assert container(Config={"Labels": WEB | {"com.docker.compose.depends_on": label}}).depends_on == names


def test_guardians_labels_are_read() -> None:
    """Guardian's labels are read."""
    labels = {"guardian.phase": "3", "guardian.protect": "False", "guardian.priority": "-1", "guardian.stop-timeout": "1m"}
    assert parse.parse_labels(labels | WEB) == Labels(phase=3, protect=False, priority=-1, stop_timeout_s=60.0)


def test_labels_that_cannot_be_understood_count_as_not_set_and_are_told() -> None:
    """Labels that cannot be understood count as not set, and are told."""
    wrong = {"phase": "0", "protect": "ja", "priority": "high", "stop-timeout": "soon", "protected": "true"}
    seen = parse.parse_labels({f"guardian.{name}": text for name, text in wrong.items()})
    assert seen == Labels(problems=seen.problems)
    assert [problem.split(":")[0] for problem in seen.problems] == [f"label guardian.{name}" for name in sorted(wrong)]
    assert "a whole number of at least 1, got '0'" in seen.problems[0]


def test_on_cgroup_v1_the_footprint_is_what_lies_in_anonymous_lists() -> None:
    """On cgroup v1 the footprint is what lies in the anonymous lists: the engine's answer has no shmem there."""
    figures = {
        "total_rss": 1 * MIB, "total_cache": 80 * MIB, "total_active_anon": 1 * MIB, "total_inactive_anon": 20 * MIB,
        "total_inactive_file": 60 * MIB, "inactive_file": 7, "total_unevictable": 2 * MIB,
    }  # fmt: skip
    reading = parse.parse_stats(_stats({"usage": 83 * MIB, "stats": figures}), at_s=9.0)
    assert reading is not None
    assert reading.footprint_bytes == 23 * MIB
    assert reading.working_set_bytes == 23 * MIB


def test_on_cgroup_v1_the_footprint_is_at_least_the_resident_and_shared_memory() -> None:
    """On cgroup v1 the footprint is at least the resident and the shared memory."""
    assert parse.footprint_bytes({"total_rss": 30, "total_shmem": 5, "total_active_anon": 1, "total_inactive_anon": 1}) == 35


def test_on_cgroup_v2_the_footprint_is_the_sum_of_what_cannot_be_reclaimed() -> None:
    """On cgroup v2 the footprint is the sum of what cannot be reclaimed."""
    figures = {
        "anon": 50 * MIB, "file": 105 * MIB, "shmem": 5 * MIB, "slab_unreclaimable": 2 * MIB, "slab_reclaimable": 9 * MIB,
        "kernel_stack": 1 * MIB, "pagetables": 3 * MIB, "inactive_file": 60 * MIB, "active_file": 40 * MIB,
    }  # fmt: skip
    reading = parse.parse_stats(_stats({"usage": 170 * MIB, "stats": figures}), at_s=9.0)
    assert reading is not None
    assert reading.footprint_bytes == 61 * MIB
    assert reading.working_set_bytes == 110 * MIB
    assert (reading.cpu_total_s, reading.strain, reading.at_s) == (0.5, Strain(pids=4), 9.0)


def test_a_container_that_does_not_run_has_no_stats() -> None:
    """A container that does not run has no stats, though the engine answers."""
    empty = {
        "read": "0001-01-01T00:00:00Z",
        "memory_stats": {},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "pids_stats": {},
    }
    assert parse.parse_stats(empty, at_s=9.0) is None


def test_figures_that_the_engine_does_not_give_are_unknown_and_never_zero() -> None:
    """Figures that the engine does not give are unknown, and never zero."""
    bare = {
        "read": "2026-11-23T19:26:50Z",
        "memory_stats": {},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "pids_stats": {},
    }
    reading = parse.parse_stats(bare, at_s=9.0)
    assert reading is not None
    assert reading == RawStats(9.0)


def test_what_its_cpu_quota_held_back_is_read() -> None:
    """The engine says in how many periods of its quota a container ran, and in how many it was held back."""
    stats = _stats({})
    stats["cpu_stats"]["throttling_data"] = {"periods": 50, "throttled_periods": 7, "throttled_time": 123}
    reading = parse.parse_stats(stats, at_s=9.0)
    assert reading is not None
    assert (reading.strain.cpu_periods, reading.strain.cpu_throttled_periods) == (50, 7)


def test_an_event_in_scope_is_read_with_the_precision_of_its_time() -> None:
    """An event in scope is read with the precision of its time."""
    raw = {
        "Type": "container", "Action": "die", "time": 1795462011, "timeNano": 1795462011480464193,
        "Actor": {"ID": "a1", "Attributes": WEB | {"name": "demo-web-1", "exitCode": "137"}},
    }  # fmt: skip
    event = parse.parse_event(raw, SCOPE)
    assert event is not None
    assert (event.action, event.container_id, event.name, event.attributes["exitCode"]) == ("die", "a1", "demo-web-1", "137")
    assert event.at_wall_s == pytest.approx(1795462011.480464, abs=1e-5)


def test_events_outside_the_scope_or_of_no_container_are_left_out() -> None:
    """Events outside the scope, or of no container, are left out."""
    actor = {"ID": "n1", "Attributes": {"name": "elsewhere"}}
    assert parse.parse_event({"Type": "container", "Action": "die", "time": 1, "Actor": actor}, SCOPE) is None
    assert parse.parse_event({"Type": "network", "Action": "connect", "time": 1, "Actor": actor}, SCOPE) is None


@pytest.mark.parametrize(("name", "before"), [("lone", "other"), ("other", "lone")], ids=["into scope", "out of scope"])
def test_a_rename_into_or_out_of_the_scope_is_an_event_of_it(name: str, before: str) -> None:
    """A rename into the scope, or out of it, is an event in scope; one from elsewhere to elsewhere is not."""
    raw = {"Type": "container", "Action": "rename", "time": 1, "Actor": {"ID": "a1", "Attributes": {"name": name}}}
    raw["Actor"]["Attributes"]["oldName"] = f"/{before}"  # type: ignore[index]
    scope = Scope(containers=("lone",))
    event = parse.parse_event(raw, scope)
    assert event is not None
    assert (event.container_id, event.name) == ("a1", name)
    assert parse.parse_event(raw, Scope(containers=("third",))) is None


def test_an_engine_that_does_not_name_its_cgroup_version_has_the_first() -> None:
    """An engine that does not name its cgroup version has the first."""
    answer = {
        "ID": "x",
        "Name": "host",
        "ServerVersion": "19.03",
        "NCPU": 2,
        "MemTotal": 1024,
        "DockerRootDir": "/var/lib/docker",
    }
    assert parse.parse_info(answer, "1.40").cgroup_version == 1
    assert parse.parse_info(answer | {"CgroupVersion": "2"}, "1.41").cgroup_version == 2


def test_a_log_is_read_with_and_without_a_terminal() -> None:
    """Pieces of both streams are joined to lines; a log of a terminal has no headers."""
    pieces = b"\x01\0\0\0\0\0\0\x04one\n" + b"\x02\0\0\0\0\0\0\x05t\xffwo\n"
    assert parse.parse_log(pieces) == ("one", "t\ufffdwo")
    assert parse.parse_log(b"plain\r\nlines\r\n") == ("plain", "lines")
    assert parse.parse_log(b"") == ()


def test_the_output_of_the_newest_health_check_is_found() -> None:
    """The newest of the checks that the engine keeps, with its exit code; nothing without a health check."""
    log = [{"ExitCode": 0, "Output": "old"}, {"ExitCode": 7, "Output": "refused\nagain\n"}]
    assert parse.parse_health_output({"State": {"Health": {"Log": log}}}) == ("exit code 7", "refused", "again")
    assert parse.parse_health_output({"State": {}}) == ()


def test_an_answer_without_what_it_must_have_is_an_error() -> None:
    """An answer without what it must have is an error, and no container."""
    with pytest.raises(KeyError):
        parse.parse_container({"Id": "a1"}, ServiceKey("demo", "web"), None)
    with pytest.raises(ValueError, match="hibernating"):
        parse.parse_listed(row(State="hibernating"), SCOPE)


def _stats(memory: dict[str, Any]) -> dict[str, Any]:
    return {
        "read": "2026-11-23T19:26:50.984795345Z",
        "memory_stats": memory,
        "cpu_stats": {"cpu_usage": {"total_usage": 500_000_000}},
        "pids_stats": {"current": 4},
    }


@pytest.mark.parametrize(("written", "number"), [("2", 2), ("", 1), ("²", 1), ("9" * 5000, 1), ("-3", 1)])
def test_a_replica_number_that_is_none_hides_no_container(written: str, number: int) -> None:
    """A label for the replica's number that is no number counts as 1: whoever sets it must not hide all containers."""
    assert container(Config={"Labels": {**WEB, "com.docker.compose.container-number": written}}).number == number


@pytest.mark.parametrize(("written", "seconds"), [(None, None), (0, 0), (20, 20), (-1, 3600), (10**9, 3600)])
def test_a_stop_timeout_without_end_is_an_hour(written: int | None, seconds: float | None) -> None:
    """A container that the engine would never kill, by a stop timeout of -1, gets an hour, and is not killed at once."""
    assert container(Config={"StopTimeout": written}).stop_timeout_s == seconds


@pytest.mark.parametrize("text", ["1000000000", "9" * 5000, "²"])
def test_a_priority_that_is_no_number_of_people_s_counts_as_not_set(text: str) -> None:
    """A priority of ten digits or more counts as not set, and is told."""
    labels = parse.parse_labels({"guardian.priority": text})
    assert labels.priority is None
    assert len(labels.problems) == 1
    assert len(labels.problems[0]) < 200
