"""After a reboot, with a target phase: what ran comes back by admission, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
from support.virtual_host import MIB, Phase, VirtualHost, a_config, key

from guardian.boots import BootRecord, Ran, ended_with_host
from guardian.config.schema import RestoringConfig, ThresholdsConfig
from guardian.engine.simulated.scenario import Host, Scenario, Service
from guardian.model import Container, ContainerState, Health, Inventory, Mode
from guardian.policy.platform import resolve

QUICK = RestoringConfig(stable_for=2.0, probation=5.0)  # type: ignore[arg-type]


def a_host(target: int | None, mode: Mode = Mode.ENFORCE) -> VirtualHost:
    """Three phases of 100 MiB services without a restart policy; `logs` is a thing of phase 3."""
    services = {name: Service(memory=100 * MIB, restart="no") for name in ("db", "api", "web", "logs")}
    phases = (Phase(("db",)), Phase(("api", "web")), Phase(("logs",)))
    config = a_config(*phases, target_phase=target, mode=mode, thresholds=ThresholdsConfig(cpu="off"), restoring=QUICK)
    return VirtualHost(Scenario(host=Host(memory=4096 * MIB, base=300 * MIB), services=services), config)


def reboot(host: VirtualHost, *, stopped_before: str = "") -> None:
    """All that runs ends; a new guardian starts, and knows what ran."""
    if stopped_before:
        host.engine.begin_stop(host.engine.ids(stopped_before)[0], 1.0)
        host.run(5)
    world = host.engine._world
    ran = Ran(
        boot_id="before",
        at_wall_s=host.clock.wall(),
        containers=tuple(cell.id for cell in world.cells.values() if cell.state.up),
    )
    for id_ in ran.containers:
        host.engine.begin_stop(id_, 1.0)
    host.clock.advance(5)
    host.engine.poll()
    host._begin()
    host.loop.ran_before = ran


def test_what_ran_comes_back_lowest_phase_first_up_to_the_target() -> None:
    """Everything that ran when the host went down is started by the rules, one at a time; what is above the target stays down."""
    host = a_host(2)
    host.run(60)  # logs is stopped: it is above
    reboot(host)
    host.run(200)
    assert host.starts() == ["db", "api", "web"]
    assert host.down == {"logs"}
    assert {row.reason for row in host.store.rows if row.action == "restore"} == {"room"}


def test_what_somebody_had_stopped_before_stays_down() -> None:
    """A service that did not run when the host went down is not started."""
    host = a_host(3)
    host.run(20)
    reboot(host, stopped_before="web")
    host.run(200)
    assert host.down == {"web"}


def test_without_a_target_and_in_observe_mode_nothing_is_started() -> None:
    """The reboot is made up for only where the file sets a target phase, and guardian enforces."""
    for host in (a_host(None), a_host(3, Mode.OBSERVE)):
        host.run(20)
        reboot(host)
        host.run(120)
        assert host.starts() == []


def test_a_one_shot_that_was_done_when_the_host_went_down_is_not_run_again() -> None:
    """What others await to be completed, and had ended well by then, is owed no start; what had not, is."""
    shots = {
        name: Container(id=name, name=name, service=key(name), state=ContainerState.EXITED) for name in ("seed", "migrate")
    }
    done = replace(shots["seed"], exit_code=0, health=Health.HEALTHY)
    cut_off = replace(shots["migrate"], exit_code=137)
    api = Container(id="api", name="api", service=key("api"), awaits=("seed", "migrate"), state=ContainerState.EXITED)
    config = a_config(Phase(("seed", "migrate", "api")), target_phase=1)
    platform = resolve(config, Inventory(0.0, (done, cut_off, api)))
    ran = Ran(boot_id="before", at_wall_s=0.0, containers=("seed", "migrate", "api"))
    assert [one.service.name for one in ended_with_host(ran, platform, config, "run", 60.0)] == ["api", "migrate"]


def a_container(name: str) -> Container:
    return Container(id=name, name=name, service=key(name))


def test_what_runs_is_written_down_and_known_in_the_next_boot(tmp_path: Path) -> None:
    """After a reboot it is known what ran; after a mere restart of guardian there is nothing to make up for."""
    first = BootRecord(tmp_path, "boot-1")
    assert first.before is None
    first.note([a_container("a"), a_container("b")], 10.0, 1000.0)
    assert BootRecord(tmp_path, "boot-1").before is None
    ran = BootRecord(tmp_path, "boot-2").before
    assert ran == Ran(boot_id="boot-1", at_wall_s=1000.0, containers=("a", "b"))


def test_a_host_that_goes_down_slowly_forgets_nothing(tmp_path: Path) -> None:
    """What has just ended still counts: a host that goes down ends one after the other. After a minute it counts no more."""
    one = BootRecord(tmp_path, "boot-1")
    one.note([a_container("a"), a_container("b")], 10.0, 1000.0)
    one.note([a_container("a")], 30.0, 1020.0)
    assert BootRecord(tmp_path, "boot-2").before == Ran(boot_id="boot-1", at_wall_s=1000.0, containers=("a", "b"))
    one.note([a_container("a")], 80.0, 1070.0)
    assert BootRecord(tmp_path, "boot-2").before == Ran(boot_id="boot-1", at_wall_s=1070.0, containers=("a",))


def test_a_file_that_cannot_be_read_is_no_record(tmp_path: Path) -> None:
    """A file that is broken or half written says nothing: nothing is started for it."""
    (tmp_path / "running.json").write_bytes(msgspec.json.encode({"boot_id": 3}))
    assert BootRecord(tmp_path, "boot-2").before is None
