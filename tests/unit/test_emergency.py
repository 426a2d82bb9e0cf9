"""The plan of an operator's emergency: who is kept and why, who is ended, and what that brings."""

from __future__ import annotations

from support.policy import MIB, Phase, World, a_config, key

from guardian import emergency
from guardian.config.schema import ServiceConfig
from guardian.model import ContainerState, Mode
from guardian.policy.platform import Platform

PHASES = (Phase(("db", "cache"), protected=True), Phase(("api",)), Phase(("logs", "trace")))
NOBODY: frozenset[object] = frozenset()


def a_platform(services: dict[str, ServiceConfig] | None = None, phases: tuple[Phase, ...] = PHASES) -> tuple[Platform, float]:
    """`db` 500 MiB and `cache` 100 in phase 1, `api` 200 in 2, `logs` 300 and `trace` (unknown) in 3; and a lone `stray`."""
    world = World(a_config(*phases, services=services))
    world.add("db", 500).add("cache", 100).add("api", 200).add("logs", 300).add("trace", None).add("stray", 50)
    return world.platform, world.now_s


def made(keep: set[str], keep_phase: int | None = None, pins: set[str] | None = None, **arguments: object) -> emergency.Plan:
    platform, now_s = a_platform(**arguments)  # type: ignore[arg-type]
    return emergency.plan(platform, frozenset(map(key, pins or set())), frozenset(map(key, keep)), keep_phase, now_s)


def kept(plan: emergency.Plan) -> dict[str, str]:
    return {service.key.name: why for service, why in plan.kept}


def ended(plan: emergency.Plan) -> list[str]:
    return [service.key.name for service, _ in plan.ended]


def test_all_but_what_is_named_is_ended_highest_phase_first() -> None:
    """All that runs and is not named is ended, protected phases too, highest phase first; what is not managed is left alone."""
    plan = made({"db"})
    assert kept(plan) == {"db": "kept"}
    assert ended(plan) == ["trace", "logs", "api", "cache"]
    assert plan.untouched == ("openpolicy-stray-1",)


def test_phases_can_be_kept_whole() -> None:
    """Phases up to the one given are kept whole, whatever is in them."""
    plan = made(set(), keep_phase=2)
    assert kept(plan) == {"db": "phase 1", "cache": "phase 1", "api": "phase 2"}
    assert ended(plan) == ["trace", "logs"]


def test_what_is_absolute_is_kept_and_said_to_be() -> None:
    """What is under protect, pinned or in a phase that is only observed is kept, and the plan says why."""
    phases = (*PHASES[:2], Phase(("logs",)), Phase(("trace",), mode=Mode.OBSERVE))
    plan = made({"db"}, pins={"cache"}, services={"api": ServiceConfig(protect=True)}, phases=phases)
    assert kept(plan) == {"db": "kept", "cache": "pinned", "api": "protect", "trace": "its phase is only observed"}
    assert ended(plan) == ["logs"]


def test_what_a_kept_service_requires_is_kept() -> None:
    """What a kept service requires, directly or through others, is kept too."""
    services = {"db": ServiceConfig(requires=("cache",)), "cache": ServiceConfig(requires=("api",))}
    plan = made({"db"}, services=services)
    assert kept(plan) == {"db": "kept", "cache": "required by openpolicy/db", "api": "required by openpolicy/db"}


def test_what_it_brings_is_summed_up_as_far_as_it_is_known() -> None:
    """The relief is the sum of what is known, and the plan says whether that is all."""
    plan = made({"db", "cache"})
    assert plan.relief_bytes == 500 * MIB
    assert plan.unknown
    assert plan.as_data()["relief_is_whole"] is False
    assert not made(set(), keep_phase=2, phases=(*PHASES[:2], Phase(("logs",)))).unknown


def test_what_is_down_is_not_ended() -> None:
    """What does not run is not ended; one that is kept is shown as down."""
    world = World(a_config(*PHASES)).add("db").add("api").add("logs")
    world.set_state("api", ContainerState.EXITED)
    world.set_state("db", ContainerState.EXITED)
    plan = emergency.plan(world.platform, frozenset(), frozenset({key("db")}), None, world.now_s)
    assert ended(plan) == ["logs"]
    assert [(one["service"], one["running"]) for one in plan.as_data()["kept"]] == [("openpolicy/db", False)]


def test_the_file_names_services_of_every_project() -> None:
    """`emergency.keep` names services, in whichever project they are."""
    platform, _ = a_platform()
    assert emergency.from_file(("db", "nobody"), platform) == {key("db")}
