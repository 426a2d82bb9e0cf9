"""A configuration against what runs."""

from __future__ import annotations

from typing import Any

from guardian.config.compare import FindingKind, compare
from guardian.config.load import loads
from guardian.config.schema import Config
from guardian.model import Container, ContainerState, Health, Labels, ServiceKey


def config(extra: str = "") -> Config:
    return loads(
        "version: 1\nproject: demo\n"
        "phases: [{phase: 1, protected: true, services: [db, api]}, {phase: 2, services: [cache, web]}]\n" + extra,
        "f",
    )


def container(name: str, **fields: Any) -> Container:
    given: dict[str, Any] = {"health": Health.HEALTHY, "memory_limit_bytes": 1 << 28} | fields
    return Container(id=f"id-{name}", name=f"demo-{name}-1", service=ServiceKey("demo", name), **given)


def everything(**changes: Container) -> tuple[Container, ...]:
    return tuple(({name: container(name) for name in ("db", "api", "cache", "web")} | changes).values())


def found(config: Config, containers: tuple[Container, ...]) -> list[tuple[FindingKind, str]]:
    return [(finding.kind, finding.subject) for finding in compare(config, containers)]


def test_a_platform_as_the_file_has_it_has_no_findings() -> None:
    """A platform that is as the file has it has no findings."""
    assert compare(config(), everything()) == ()


def test_a_service_without_a_container_is_missing() -> None:
    """A service of the file without any container is missing; one that is only stopped is not."""
    containers = everything(web=container("web", state=ContainerState.EXITED))[1:]
    assert found(config(), containers) == [(FindingKind.MISSING, "demo/db")]


def test_a_one_shot_that_has_completed_is_not_missing() -> None:
    """A service whose container has done its work is in order: it is not called missing."""
    assert found(config(), everything(db=container("db", state=ContainerState.EXITED, completed=True))) == []


def test_a_running_container_in_no_phase_is_named() -> None:
    """A running container in scope that no phase lists is named; one that stands still is not."""
    extra = (container("tool"), container("old", state=ContainerState.EXITED))
    assert found(config(), (*everything(), *extra)) == [(FindingKind.UNMANAGED, "demo-tool-1")]


def test_a_label_gives_a_phase() -> None:
    """A container with a label that names a phase is in that phase; a label that names none is a problem."""
    assert found(config(), (*everything(), container("tool", labels=Labels(phase=2)))) == []
    findings = compare(config(), (*everything(), container("tool", labels=Labels(phase=7, problems=("guardian.priority: x",)))))
    assert [finding.kind for finding in findings] == [FindingKind.UNMANAGED, FindingKind.PROBLEM, FindingKind.PROBLEM]
    assert any("guardian.phase=7" in finding.message for finding in findings)
    assert any("guardian.priority: x" in finding.message for finding in findings)


def test_restart_policies_that_race_a_target_phase_are_named() -> None:
    """With target_phase, what the engine would start at boot by itself is named: below it any policy, above it `always`."""
    policies = {"db": "always", "cache": "unless-stopped", "web": "no"}
    containers = everything(**{name: container(name, restart_policy=policy) for name, policy in policies.items()})
    assert found(config(), containers) == []
    assert found(config("target_phase: 2\n"), containers) == [(FindingKind.RESTART_RACE, "demo/cache")]
    above = everything(cache=container("cache", restart_policy="unless-stopped"), web=container("web", restart_policy="always"))
    assert found(config("target_phase: 1\n"), above) == [(FindingKind.RESTART_RACE, "demo/web")]


def test_no_memory_limit_and_no_health_check_are_named() -> None:
    """A managed service without a memory limit or without a health check is named."""
    bare = container("web", memory_limit_bytes=None, health=Health.NONE)
    assert found(config(), everything(web=bare)) == [
        (FindingKind.NO_MEMORY_LIMIT, "demo/web"),
        (FindingKind.NO_HEALTH_CHECK, "demo/web"),
    ]


def test_of_what_cannot_be_inspected_just_that_is_said() -> None:
    """Of a container that was never inspected it is said just that, and not that it has no memory limit."""
    findings = compare(config(), everything(web=container("web", memory_limit_bytes=None, unread=True, unknown=True)))
    assert [(finding.kind, "cannot be inspected" in finding.message) for finding in findings] == [(FindingKind.PROBLEM, True)]


def test_a_probe_of_guardian_s_own_is_a_health_check() -> None:
    """A service that Guardian probes itself does not lack a health check."""
    bare = container("web", health=Health.NONE)
    assert found(config('services: {web: {health: {tcp: "127.0.0.1:80"}}}\n'), everything(web=bare)) == []


def test_what_a_protected_service_requires_cannot_be_shed() -> None:
    """What a protected service requires, directly or through others, cannot be shed, and it is said for whom."""
    findings = compare(config("services: {api: {requires: [cache]}, cache: {requires: [web]}}\n"), everything())
    assert [(finding.kind, finding.subject) for finding in findings] == [
        (FindingKind.UNSHEDDABLE, "demo/cache"),
        (FindingKind.UNSHEDDABLE, "demo/web"),
    ]
    assert "demo/api requires it" in findings[0].message


def test_shared_namespaces_count_as_required() -> None:
    """The owner of a namespace that a protected service lives in cannot be shed."""
    assert found(config(), everything(api=container("api", shares=("id-cache",)))) == [(FindingKind.UNSHEDDABLE, "demo/cache")]


def test_depends_on_counts_only_where_dependencies_inherit() -> None:
    """depends_on gives order and keeps nothing from being shed, unless dependencies inherit."""
    containers = everything(api=container("api", depends_on=("cache",)))
    assert found(config(), containers) == []
    assert found(config("dependencies: inherit\n"), containers) == [(FindingKind.UNSHEDDABLE, "demo/cache")]


def test_what_is_never_managed_is_not_compared() -> None:
    """One-off containers are left out; a Swarm task is a problem in words."""
    extra = (container("run", oneoff=True), container("task", swarm=True))
    findings = compare(config(), (*everything(), *extra))
    assert [finding.kind for finding in findings] == [FindingKind.PROBLEM]
    assert "Swarm" in findings[0].message
