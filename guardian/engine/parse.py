"""What the Docker Engine answers, turned into values. Pure: each function takes decoded JSON and reads nothing else.

A function raises one of `MALFORMED` for an answer that is not of the API's form; the caller turns that into `EngineProtocolError`.
What anybody may write, labels, never does that: it would hide all containers because of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from guardian.engine.protocol import RawStats, Scope
from guardian.model import Container, ContainerState, EngineEvent, EngineInfo, Health, Labels, ServiceKey, Strain
from guardian.units import parse_seconds

Json: TypeAlias = Mapping[str, Any]

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"
ONEOFF_LABEL = "com.docker.compose.oneoff"
DEPENDS_ON_LABEL = "com.docker.compose.depends_on"
_COMPLETED = "service_completed_successfully"
SWARM_LABEL = "com.docker.swarm.task.id"

_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 30 * 86400, "year": 365 * 86400}
_AGE = re.compile(r"(\d+|About an?|Less than a|an?) (second|minute|hour|day|week|month|year)s?", re.IGNORECASE)
_HEALTH_IN_STATUS = {"healthy": Health.HEALTHY, "unhealthy": Health.UNHEALTHY, "health: starting": Health.STARTING}
_NEVER = "0001-01-01"  # Go's zero time
_LARGEST = 2**64 - 1  # that the engine's JSON has
LONGEST_STOP_S = 3600.0
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the container list: enough to tell whether what an inspect said before still holds."""

    id: str
    name: str
    service: ServiceKey
    state: ContainerState
    health: Health  # NONE where the list does not show one: only a running container's is shown
    max_age_s: float | None  # the present state began at most this long ago; None: not shown
    labels: Mapping[str, str]
    network_mode: str


def parse_listed(row: Json, scope: Scope) -> Listed | None:
    """One row of `GET /containers/json`; None for a container outside `scope`."""
    # A linked container is also listed under "/other/alias"; its own name has one slash.
    name = next((name[1:] for name in row["Names"] or () if name.count("/") == 1), "")
    service = service_of(row.get("Labels") or {}, name, scope)
    if service is None:
        return None
    status = str(row.get("Status", ""))
    labels: Mapping[Any, Any] = row.get("Labels") or {}
    shown = re.search(r"\((healthy|unhealthy|health: starting)\)", status)
    return Listed(
        id=_text(row["Id"]),
        name=name,
        service=service,
        state=ContainerState(row["State"]),
        health=_HEALTH_IN_STATUS[shown[1]] if shown else Health.NONE,
        max_age_s=_max_age_s(status),
        labels={_text(label): _text(value) for label, value in labels.items()},
        network_mode=_text((row.get("HostConfig") or {}).get("NetworkMode") or ""),
    )


def service_of(labels: Mapping[str, str], name: str, scope: Scope) -> ServiceKey | None:
    """The service that a container belongs to, or None where it is outside `scope`."""
    project = labels.get(PROJECT_LABEL, "")
    if project and project in scope.projects:
        return ServiceKey(project, _text(labels.get(SERVICE_LABEL) or name))
    return ServiceKey("", name) if name in scope.containers else None


def _max_age_s(status: str) -> float | None:
    """An upper bound of the age in "Up 3 minutes", "Exited (0) About an hour ago".

    The engine counts whole units, rounding hours: one unit more is never too little.
    """
    match = _AGE.search(status)
    if match is None:
        return None
    count = int(match[1]) if match[1].isdigit() else 1
    return float((count + 1) * _UNIT_S[match[2].lower()])


def parse_time(text: str) -> float | None:
    """RFC 3339 with up to nine decimals, as seconds since the epoch; None for Go's zero time and an empty string."""
    return None if not text or text.startswith(_NEVER) else datetime.fromisoformat(text).timestamp()


def parse_container(answer: Json, service: ServiceKey, started_s: float | None) -> Container:
    """`GET /containers/ID/json`. `started_s`: the monotonic time that stands for `State.StartedAt`."""
    state = ContainerState(answer["State"]["Status"])
    config, host = answer["Config"], answer["HostConfig"]
    labels: Mapping[str, str] = config.get("Labels") or {}
    health = Health((answer["State"].get("Health") or {}).get("Status") or "none")
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    has_run = answer["State"]["StartedAt"] != "" and not answer["State"]["StartedAt"].startswith(_NEVER)
    ended = has_run and state not in (ContainerState.RUNNING, ContainerState.PAUSED)
    exit_code = _whole(answer["State"]["ExitCode"]) if ended else None
    number = labels.get(NUMBER_LABEL, "")
    return Container(
        id=_text(answer["Id"]),
        name=_text(answer["Name"]).lstrip("/"),
        service=service,
        number=int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 1,
        state=state,
        health=health,
        started_s=started_s if state.up else None,
        started_wall_s=parse_time(answer["State"]["StartedAt"]),
        finished_wall_s=parse_time(answer["State"]["FinishedAt"]) if ended else None,
        exit_code=exit_code,
        restarts=_whole(answer.get("RestartCount") or 0),
        restart_policy=_text(policy),
        stop_timeout_s=_stop_timeout_s(config.get("StopTimeout")),
        memory_limit_bytes=_positive(host.get("Memory")),
        memory_reservation_bytes=_positive(host.get("MemoryReservation")),
        cpu_limit_cores=_cpu_limit_cores(host),
        labels=parse_labels(labels),
        depends_on=_depends_on(labels.get(DEPENDS_ON_LABEL, "")),
        awaits=_awaits(labels.get(DEPENDS_ON_LABEL, "")),
        shares=_shares(host),
        network=_network(host),
        pid=_positive(answer["State"].get("Pid")),
        oneoff=labels.get(ONEOFF_LABEL, "").lower() == "true",
        swarm=SWARM_LABEL in labels,
        auto_remove=host.get("AutoRemove") is True,
        # Nobody can tell from an inspect who ended it: what guardian itself stopped is in the ledger, which comes
        # first. A container with a health check is a service, not a job.
        completed=state is ContainerState.EXITED
        and exit_code == 0
        and policy in ("no", "on-failure")
        and health is Health.NONE,
    )


def unknown_container(row: Listed) -> Container:
    """One of which only the list tells."""
    answer = {
        "Id": row.id,
        "Name": row.name,
        "State": {"Status": row.state, "Health": {"Status": row.health}, "StartedAt": "", "FinishedAt": ""},
        "Config": {"Labels": row.labels},
        "HostConfig": {"NetworkMode": row.network_mode},
    }
    return replace(parse_container(answer, row.service, started_s=None), unread=True, unknown=True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r:.60}")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not -_LARGEST <= value <= _LARGEST:
        raise TypeError(f"a whole number was expected, not {value!r:.60}")
    return value


def _count(value: Any) -> int | None:
    """What can be counted, or is unknown: never less than nothing."""
    if value is None:
        return None
    if _whole(value) < 0:
        raise ValueError(f"a count was expected, not {value}")
    return int(value)


def _positive(value: Any) -> int | None:
    """The engine writes 0 for "no limit", and -1 for some."""
    return value if value is not None and _whole(value) > 0 else None


def _stop_timeout_s(value: Any) -> float | None:
    """An hour at the most, and where the engine would never kill (-1): what waits longer is given up all the same."""
    if value is None:
        return None
    return min(float(_whole(value)), LONGEST_STOP_S) if value >= 0 else LONGEST_STOP_S


def _cpu_limit_cores(host: Json) -> float | None:
    if nano := _positive(host.get("NanoCpus")):
        return nano / 1e9
    quota = _positive(host.get("CpuQuota"))
    return None if quota is None else quota / (_positive(host.get("CpuPeriod")) or 100_000)


def _depends_on(label: str) -> tuple[str, ...]:
    """`db:service_healthy:false,cache:service_started:true` -> `("db", "cache")`."""
    return tuple(name for item in label.split(",") if (name := item.partition(":")[0].strip()))


def _awaits(label: str) -> tuple[str, ...]:
    """`db:service_healthy:false,seed:service_completed_successfully:false` -> `("seed",)`. Compose v1 has no such label."""
    parts = (item.split(":") for item in label.split(","))
    return tuple(part[0].strip() for part in parts if part[1:2] == [_COMPLETED] and part[0].strip())


def _network(host: Json) -> str:
    kind = str(host.get("NetworkMode") or "").partition(":")[0]
    return kind if kind in ("host", "container") else ""


def _shares(host: Json) -> tuple[str, ...]:
    modes = (str(host.get(key) or "") for key in ("NetworkMode", "PidMode", "IpcMode"))
    owners = (mode.removeprefix("container:") for mode in modes if mode.startswith("container:"))
    return tuple(dict.fromkeys(owners))


def parse_labels(labels: Mapping[str, str]) -> Labels:
    """The `guardian.*` labels. One that cannot be understood counts as not set, and is told in `problems`."""
    phase = priority = stop_timeout_s = protect = None
    problems: list[str] = []
    for label, text in sorted(labels.items()):
        if not label.startswith("guardian."):
            continue
        try:
            if label == "guardian.phase":
                phase = _whole_in(text, minimum=1)
            elif label == "guardian.priority":
                priority = _whole_in(text)
            elif label == "guardian.protect":
                protect = _truth(text)
            elif label == "guardian.stop-timeout":
                stop_timeout_s = float(parse_seconds(text))
            else:
                known = "guardian.phase, guardian.priority, guardian.protect and guardian.stop-timeout"
                raise ValueError(f"there is no such label; there are {known}")
        except ValueError as error:
            problems.append(f"label {label if label.isprintable() else repr(label)}: {error}")
    return Labels(phase, protect, priority, stop_timeout_s, tuple(problems))


def _whole_in(text: str, minimum: int | None = None) -> int:
    wanted = "a whole number" if minimum is None else f"a whole number of at least {minimum}"
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip()) or (minimum is not None and int(text) < minimum):
        raise ValueError(f"expected {wanted}, got {text[:60]!r}")
    return int(text)


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text[:60]!r}")
    return word == "true"


def parse_stats(answer: Json, at_s: float) -> RawStats | None:
    """`GET /containers/ID/stats`; None where the container did not run: then the engine answers with empty figures."""
    if str(answer.get("read", _NEVER)).startswith(_NEVER):
        return None
    memory = answer.get("memory_stats") or {}
    figures = memory.get("stats") or {}
    cpu = _count(answer["cpu_stats"]["cpu_usage"].get("total_usage"))
    throttling = answer["cpu_stats"].get("throttling_data") or {}
    return RawStats(
        at_s=at_s,
        working_set_bytes=_working_set_bytes(_count(memory.get("usage")), figures),
        footprint_bytes=_count(footprint_bytes(figures)),
        cpu_total_s=None if not cpu else cpu / 1e9,
        strain=Strain(
            pids=_count((answer.get("pids_stats") or {}).get("current")),
            cpu_periods=_count(throttling.get("periods")),
            cpu_throttled_periods=_count(throttling.get("throttled_periods")),
        ),
    )


def _working_set_bytes(usage: int | None, figures: Mapping[str, int]) -> int | None:
    """As `docker stats` shows it: less the file pages that the kernel drops first."""
    inactive = _count(figures.get("total_inactive_file", figures.get("inactive_file")))
    if usage is None or inactive is None:
        return None
    return max(0, usage - inactive)


def footprint_bytes(figures: Mapping[str, int]) -> int | None:
    """Unreclaimable memory from the figures of a `memory.stat`, as the engine passes them on; None where they are not there.

    cgroup v2 names each part (`file` holds shmem too, so shmem is added to anon). cgroup v1's engine answer has no
    `shmem`; the anon lists hold anon and shmem pages both, and what is locked cannot be dropped either.
    """
    if "total_rss" in figures:
        lists = (figures.get(f"total_{name}", 0) for name in ("active_anon", "inactive_anon", "unevictable"))
        return footprint_v1_bytes(figures["total_rss"], figures.get("total_shmem", 0), sum(lists))
    if "anon" in figures:
        parts = ("anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables")
        return sum(figures.get(name, 0) for name in parts)
    return None


def footprint_v1_bytes(rss: int, shmem: int, lists: int) -> int:
    """Of cgroup v1; `lists` are the anon lists and what is locked."""
    return max(rss + shmem, lists)


def parse_log(raw: bytes) -> tuple[str, ...]:
    """The lines of `GET /containers/ID/logs`. Without a terminal each piece has a header of eight bytes: stream, 0, 0, 0, length."""
    pieces, at = [], 0
    while raw[at + 1 : at + 4] == b"\0\0\0" and raw[at] in (0, 1, 2) and len(raw) >= at + 8:
        length = int.from_bytes(raw[at + 4 : at + 8], "big")
        pieces.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    text = b"".join(pieces) if pieces else raw
    return tuple(text.decode("utf-8", "replace").splitlines())


def parse_health_output(answer: Json) -> tuple[str, ...]:
    """Of `GET /containers/ID/json`: the exit code and the output of its newest health check; nothing where there was none."""
    log = (answer["State"].get("Health") or {}).get("Log") or ()
    if not log:
        return ()
    newest = log[-1]
    return (f"exit code {newest['ExitCode']}", *str(newest.get("Output") or "").strip().splitlines())


def parse_event(raw: Json, scope: Scope) -> EngineEvent | None:
    """One message of `GET /events`; None for what is no container's, or outside `scope`."""
    if raw.get("Type") != "container":
        return None
    attributes: Mapping[str, str] = raw["Actor"].get("Attributes") or {}
    name = attributes.get("name", "")
    left = attributes.get("oldName", "").lstrip("/")  # one that is renamed may have been in scope by its old name
    if service_of(attributes, name, scope) is None and service_of(attributes, left, scope) is None:
        return None
    at_wall_s = _whole(raw["timeNano"]) / 1e9 if "timeNano" in raw else float(_whole(raw["time"]))
    plain = {_text(key): _text(value) for key, value in attributes.items()}
    return EngineEvent(at_wall_s, _text(raw["Action"]), _text(raw["Actor"]["ID"]), name, plain)


def parse_info(answer: Json, api_version: str) -> EngineInfo:
    """`GET /info`."""
    return EngineInfo(
        id=_text(answer["ID"]),
        name=_text(answer["Name"]),
        version=_text(answer["ServerVersion"]),
        api_version=api_version,
        cgroup_version=2 if str(answer.get("CgroupVersion") or "1") == "2" else 1,  # older engines do not say: v1
        cpus=_whole(answer["NCPU"]),
        memory_bytes=_whole(answer["MemTotal"]),
        root_dir=_text(answer["DockerRootDir"]),
    )
