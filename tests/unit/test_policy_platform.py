"""Who is managed, in which phase, what shields it, and what its share is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.policy import MIB, Phase, a_config, a_container, key

from guardian.config.schema import Budget, Config, PhaseConfig, Resources, ServiceConfig
from guardian.model import Container, ContainerState, Health, Inventory, Labels, Mode, ServiceKey, Usage
from guardian.policy.platform import Platform, Service, resolve
from guardian.units import Share

CONFIG = a_config(Phase(("core",), protected=True), ("middle",), ("extra",))


DONE = a_container("extra", completed=True, state=ContainerState.EXITED)


def resolved(*containers: Container, config: Config = CONFIG, **options: Any) -> Platform:
    return resolve(config, Inventory(0.0, containers), **options)


def of(platform: Platform, name: str) -> Service:
    return platform.services[key(name)]


def present(platform: Platform) -> set[str]:
    """Names of the managed services that have a container."""
    return {service.key.name for service in platform.services.values() if service.containers}


# --- membership -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "managed"),
    [
        (a_container("extra"), True),
        (a_container("extra", state=ContainerState.EXITED), True),
        (a_container("stranger"), False),
        (a_container("stranger", labels=Labels(phase=3)), True),
        (a_container("stranger", labels=Labels(phase=9)), False),  # the file has no such phase
        (a_container("extra", oneoff=True), False),  # `compose run`
        (a_container("extra", swarm=True), False),
        (a_container("extra", completed=True, state=ContainerState.EXITED), False),
    ],
)
def test_only_what_the_file_or_a_label_puts_into_a_phase_is_managed(container: Container, managed: bool) -> None:
    """Only what the file or a label puts into a phase is managed; one-offs, completed one-shots and Swarm tasks never are."""
    assert bool(present(resolved(container))) is managed


@pytest.mark.parametrize("service", [ServiceKey("former", "extra"), ServiceKey("", "extra")])
def test_what_the_files_project_and_containers_leave_out_is_not_managed(service: ServiceKey) -> None:
    """A container outside the file's project and containers is not managed, whatever its name, and not told of; it is known still."""
    foreign = a_container("extra", service=service, labels=Labels(phase=9, problems=("no number",)))
    platform = resolved(foreign, a_container("middle"))
    assert present(platform) == {"middle"}
    assert (platform.unmanaged, platform.problems, platform.containers[foreign.id]) == ((), (), foreign)


def test_guardian_and_its_proxy_are_never_managed() -> None:
    """Guardian's own container and the proxy that it talks through are never managed, be they listed."""
    assert present(resolved(a_container("extra"), a_container("middle"), excluded=frozenset({"extra-1"}))) == {"middle"}


@pytest.mark.parametrize(
    ("containers", "completed"),
    [
        ((DONE,), True),
        ((DONE, replace(DONE, id="extra-2", number=2)), True),
        ((DONE, a_container("extra", 2)), False),  # the other replica is at work
        ((replace(DONE, completed=False),), False),
        ((replace(DONE, completed=False, exit_code=0, health=Health.UNHEALTHY), a_container("other", awaits=("extra",))), True),
        ((replace(DONE, completed=False, exit_code=1), a_container("other", awaits=("extra",))), False),
        ((a_container("other", awaits=("extra",)),), False),
    ],
)
def test_a_service_all_of_whose_containers_ended_well_has_completed(containers: tuple[Container, ...], completed: bool) -> None:
    """A service has completed where all its containers ended well and nothing starts them again, or where others await just that."""
    assert resolved(*containers).services[key("extra")].completed is completed


def test_what_guardian_stopped_is_no_completed_one_shot() -> None:
    """What guardian stopped may look like a completed one-shot, and is none."""
    platform = resolved(DONE, owed=frozenset({"extra-1"}))
    assert present(platform) == {"extra"}
    assert not platform.services[key("extra")].completed


def test_a_swarm_task_and_a_label_that_cannot_be_used_are_said() -> None:
    """A Swarm task, a label of a phase that is not there and one that cannot be read are said, each once."""
    problems = resolved(
        a_container("extra", swarm=True),
        a_container("lost", labels=Labels(phase=9)),
        a_container("odd", labels=Labels(phase=3, problems=("guardian.priority: not a number",))),
    ).problems
    assert len(problems) == 3
    assert [word in " ".join(problems) for word in ("Swarm", "guardian.phase=9", "guardian.priority")] == [True] * 3


def test_what_the_engine_removes_when_it_ends_is_managed_and_never_stopped() -> None:
    """A service with a container of `docker run --rm` is measured and never stopped, whatever the file says, and that is said."""
    platform = resolved(a_container("extra"), a_container("extra", 2, auto_remove=True), a_container("middle"))
    assert present(platform) == {"extra", "middle"}
    assert (of(platform, "extra").protect, of(platform, "middle").protect) == (True, False)
    assert [problem for problem in platform.problems if "openpolicy-extra-2: " in problem and "--rm" in problem]


def test_what_was_never_inspected_is_managed_and_never_stopped() -> None:
    """A service with a container that was never inspected is measured and never stopped, whatever the file says, and that is said."""
    config = a_config(("core",), ("extra", "middle"), services={"extra": ServiceConfig(protect=False)})
    platform = resolved(a_container("extra", unread=True, unknown=True), a_container("middle", unread=True), config=config)
    assert (of(platform, "extra").protect, of(platform, "middle").protect) == (True, False)
    assert [problem for problem in platform.problems if "openpolicy-extra-1: it cannot be inspected" in problem]


def test_what_runs_and_no_phase_lists_is_unmanaged() -> None:
    """What runs and no phase lists is named as unmanaged; what does not run is not."""
    platform = resolved(a_container("b"), a_container("a"), a_container("c", state=ContainerState.EXITED))
    assert platform.unmanaged == ("openpolicy-a-1", "openpolicy-b-1")


def test_a_listed_service_without_a_container_is_there_and_empty() -> None:
    """A service of the file without a container is there, empty, under the first project."""
    assert [(one, of(resolved(), one).containers) for one in ("core", "middle", "extra")] == [
        ("core", ()),
        ("middle", ()),
        ("extra", ()),
    ]


def test_a_lone_container_is_a_service_by_its_name() -> None:
    """A lone container is a service by its name, without a project."""
    lone = ServiceKey("", "backup-agent")
    config = a_config(("core",), ("backup-agent",), containers=("backup-agent",))
    there = resolved(replace(a_container("backup-agent"), service=lone, name="backup-agent"), config=config)
    assert (there.services[lone].phase, len(there.services[lone].containers)) == (2, 1)
    assert resolved(config=config).services[lone].containers == ()


def test_replicas_are_one_service_in_the_order_of_their_numbers() -> None:
    """Replicas are one service, in the order of their numbers, whatever the order of the list."""
    platform = resolved(*(a_container("extra", number) for number in (3, 1, 2)))
    assert [one.number for one in of(platform, "extra").containers] == [1, 2, 3]


def test_services_of_the_same_name_in_two_projects_are_two() -> None:
    """Services of the same name in two projects are two."""
    config = a_config(("extra",), project=("openpolicy", "other"))
    other = a_container("extra", id="x", service=ServiceKey("other", "extra"))
    assert set(resolved(a_container("extra"), other, config=config).services) == {key("extra"), ServiceKey("other", "extra")}


# --- the file first, labels second ----------------------------------------------------------------------------------

LABELS = Labels(phase=1, protect=True, priority=7, stop_timeout_s=33)


def test_labels_count_where_the_file_says_nothing() -> None:
    """Labels count where the file says nothing: phase, protection, priority, stop timeout."""
    service = of(resolved(a_container("new", labels=LABELS)), "new")
    assert (service.phase, service.protect, service.priority, service.stop_timeout_s) == (1, True, 7, 33)


def test_the_file_comes_before_labels() -> None:
    """The file comes before labels."""
    written = ServiceConfig(protect=False, priority=0, stop_timeout=5.0)  # type: ignore[arg-type]
    config = a_config(("core",), ("extra",), services={"extra": written})
    service = of(resolved(a_container("extra", labels=LABELS), config=config), "extra")
    assert (service.phase, service.protect, service.priority, service.stop_timeout_s) == (2, False, 0, 5)


def test_where_replicas_differ_the_more_careful_label_counts() -> None:
    """Where the labels of replicas differ the more careful one counts."""
    service = of(
        resolved(
            a_container("new", 1, labels=Labels(phase=3, priority=1, stop_timeout_s=5)),
            a_container("new", 2, labels=Labels(phase=2, priority=4, protect=True), stop_timeout_s=20),
        ),
        "new",
    )
    assert (service.phase, service.protect, service.priority, service.stop_timeout_s) == (2, True, 4, 20)


@pytest.mark.parametrize(("own", "seconds"), [(None, 10.0), (30.0, 30.0), (0.0, 0.0)])
def test_the_stop_timeout_is_the_containers_else_the_engines(own: float | None, seconds: float) -> None:
    """The stop timeout is the container's own, else the engine's ten seconds."""
    assert of(resolved(a_container("extra", stop_timeout_s=own)), "extra").stop_timeout_s == seconds


def test_modes_and_keys_of_the_file_reach_the_service() -> None:
    """A phase's mode and protection, and a service's `kill` and `on_pressure`, reach the service."""
    config = a_config(
        Phase(("core",), protected=True),
        Phase(("extra",), mode=Mode.OBSERVE),
        services={"extra": ServiceConfig(kill="never", on_pressure="throttle")},
    )
    core, extra = (of(resolved(config=config), name) for name in ("core", "extra"))
    assert (core.protected, core.enforced, core.kill_never, core.throttle) == (True, True, False, False)
    assert (extra.protected, extra.enforced, extra.kill_never, extra.throttle) == (False, False, True, True)


# --- dependencies ---------------------------------------------------------------------------------------------------


def requiring(**requires: tuple[str, ...]) -> Config:
    """Core (protected), middle and extra in three phases."""
    return a_config(
        Phase(("core",), protected=True),
        ("middle",),
        ("extra", "tail"),
        services={name: ServiceConfig(requires=names) for name, names in requires.items()},
    )


@pytest.mark.parametrize(
    ("requires", "phases", "shielded"),
    [
        ({}, (1, 2, 3, 3), set()),
        ({"middle": ("extra",)}, (1, 2, 2, 3), set()),
        ({"extra": ("middle",)}, (1, 2, 3, 3), set()),  # a dependency is never pulled up
        ({"core": ("extra",)}, (1, 2, 1, 3), {"extra"}),
        ({"core": ("extra",), "extra": ("tail",)}, (1, 2, 1, 1), {"extra", "tail"}),  # through others
        ({"middle": ("extra",), "extra": ("tail",)}, (1, 2, 2, 2), set()),
    ],
)
def test_a_phase_is_inherited_along_requires_only_downwards(
    requires: dict[str, tuple[str, ...]], phases: tuple[int, ...], shielded: set[str]
) -> None:
    """A service takes the lowest phase of all that require it, and a protected one of them shields it."""
    platform = resolved(config=requiring(**requires))
    assert tuple(of(platform, name).phase for name in ("core", "middle", "extra", "tail")) == phases
    assert {one.key.name for one in platform.services.values() if one.shielded_by is not None} == shielded


def test_depends_on_gives_order_and_not_rank() -> None:
    """`depends_on` gives order, not rank: nothing is inherited, and the dependent stops first."""
    platform = resolved(a_container("core", depends_on=("extra",)), a_container("extra"))
    assert (of(platform, "extra").phase, of(platform, "extra").shielded_by) == (3, None)
    assert platform.stop_order[key("core")] < platform.stop_order[key("extra")]


def test_with_dependencies_inherit_depends_on_counts_as_requires() -> None:
    """With `dependencies: inherit` `depends_on` counts as requires."""
    config = a_config(Phase(("core",), protected=True), ("middle",), ("extra",), dependencies="inherit")
    platform = resolved(a_container("core", depends_on=("extra",)), a_container("extra"), config=config)
    assert (of(platform, "extra").phase, of(platform, "extra").shielded_by) == (1, key("core"))


@pytest.mark.parametrize("owner", ["extra-1", "openpolicy-extra-1"])
def test_a_shared_namespace_counts_as_requires(owner: str) -> None:
    """A shared namespace counts as requires, be its owner given by id or by name."""
    platform = resolved(a_container("core", shares=(owner,)), a_container("extra"))
    assert (of(platform, "extra").phase, of(platform, "extra").shielded_by) == (1, key("core"))


def test_an_absolute_protection_shields_what_it_requires() -> None:
    """A service with `protect` shields what it requires, too."""
    config = a_config(("core",), ("extra",), services={"core": ServiceConfig(requires=("extra",), protect=True)})
    assert of(resolved(config=config), "extra").shielded_by == key("core")


def test_a_dependency_is_sought_in_the_same_project_first() -> None:
    """A dependency is sought in the same project first, then among lone containers; what is not there is left out."""
    lone = ServiceKey("", "extra")
    config = a_config(("core",), ("extra",), containers=("extra",))
    agent = replace(a_container("extra"), id="lone", name="extra", service=lone)
    core = a_container("core", depends_on=("extra", "nowhere"))
    assert of(resolved(core, agent, config=config), "core").depends_on == {lone}
    assert of(resolved(core, agent, a_container("extra"), config=config), "core").depends_on == {key("extra")}


def test_a_cycle_of_depends_on_ends() -> None:
    """A cycle of `depends_on` gives some order, always the same, and not an endless search."""
    containers = [a_container("middle", depends_on=("extra",)), a_container("extra", depends_on=("middle",))]
    assert resolved(*containers).stop_order == resolved(*reversed(containers)).stop_order


def test_dependents_stop_before_what_they_depend_on() -> None:
    """Dependents stop before what they depend on, through any number of others."""
    platform = resolved(
        a_container("core"), a_container("middle", depends_on=("core",)), a_container("extra", depends_on=("middle",))
    )
    order = sorted((key(name) for name in ("core", "middle", "extra")), key=lambda one: platform.stop_order[one])
    assert [one.name for one in order] == ["extra", "middle", "core"]


# --- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "written", "mib"),
    [
        ({}, {}, 150),  # (500 - 200) / 2 services
        ({"memory_limit_bytes": 80 * MIB}, {}, 80),
        ({"memory_limit_bytes": 80 * MIB, "memory_reservation_bytes": 40 * MIB}, {}, 40),
        ({"memory_limit_bytes": 80 * MIB}, {"limits": Resources(memory=70 * MIB)}, 70),  # type: ignore[arg-type]
        (
            {"memory_limit_bytes": 80 * MIB, "memory_reservation_bytes": 40 * MIB},
            {"reservations": Resources(memory=30 * MIB)},  # type: ignore[arg-type]
            30,
        ),
    ],
)
def test_a_share_is_the_reservation_else_the_limit_else_a_part_of_the_budget(
    container: dict[str, Any], written: dict[str, Any], mib: float
) -> None:
    """A share is the reservation, else the limit, else the phase's own part of the budget divided by its services."""
    config = a_config(
        Phase(("core",), budget_mib=200), Phase(("extra", "tail"), budget_mib=500), services={"extra": ServiceConfig(**written)}
    )
    assert of(resolved(a_container("extra", **container), config=config), "extra").memory_share_bytes == mib * MIB


def test_shares_and_limits_are_summed_over_replicas() -> None:
    """Shares and limits are those of all replicas together; unlimited where one is."""
    two = [a_container("extra", number, memory_limit_bytes=80 * MIB, cpu_limit_cores=0.5) for number in (1, 2)]
    service = of(resolved(*two), "extra")
    assert (service.memory_limit_bytes, service.memory_share_bytes, service.cpu_limit_cores) == (160 * MIB, 160 * MIB, 1.0)
    assert of(resolved(*two, a_container("extra", 3)), "extra").memory_limit_bytes is None


def test_a_phase_without_a_budget_gives_no_share() -> None:
    """A phase without a budget gives no share; one above it counts from the last budget there is."""
    config = a_config(Phase(("core",), budget_mib=200), ("middle",), Phase(("extra",), budget_mib=500))
    platform = resolved(config=config)
    assert [of(platform, name).memory_share_bytes for name in ("core", "middle", "extra")] == [200 * MIB, None, 300 * MIB]


@pytest.mark.parametrize(("cpus", "cores"), [(4.0, 1.0), (None, None)])
def test_cpu_shares_are_of_the_whole_capacity(cpus: float | None, cores: float | None) -> None:
    """CPU budgets are shares of the whole capacity, and give none where that is unknown."""
    phases = (
        PhaseConfig(phase=1, budget=Budget(cpu=Share(ratio=0.25)), services=("core",)),
        PhaseConfig(phase=2, budget=Budget(cpu=Share(ratio=0.5)), services=("extra",)),
    )
    config = Config(version=1, project="openpolicy", phases=phases)
    assert of(resolved(config=config, cpus=cpus), "extra").cpu_share_cores == cores


# --- use ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age_s", "rounds", "known"), [(2.5, 1, True), (2.6, 1, False), (3.5, 2, True), (3.6, 2, False)])
def test_a_use_is_known_for_as_many_rounds_as_asked_for(age_s: float, rounds: int, known: bool) -> None:
    """A use is known for as many rounds as asked for, with half a round and a second of slack."""
    container = a_container("extra")
    platform = Platform(services={}, usage={container.id: Usage(100.0, footprint_bytes=1)}, round_s=1.0)
    assert (platform.fresh(container, 100.0 + age_s, rounds) is not None) is known


def test_what_does_not_run_uses_nothing() -> None:
    """What does not run uses nothing: zero, which is not unknown."""
    platform = resolved(a_container("extra", state=ContainerState.EXITED))
    assert (platform.footprint(of(platform, "extra"), 0.0), platform.cores(of(platform, "extra"), 0.0)) == (0, 0.0)
