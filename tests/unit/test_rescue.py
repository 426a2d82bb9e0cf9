"""An operator's emergency without a daemon, on a simulated engine in real time: what is ended, started, and left in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.virtual_host import PROJECT, Phase, a_config, key
from support.waiting import eventually

from guardian import rescue as rescues
from guardian.clock import SystemClock
from guardian.config.schema import Config, EmergencyConfig, EngineConfig
from guardian.emergency import Step
from guardian.engine.protocol import Scope
from guardian.engine.simulated import Scenario, SimulatedEngine
from guardian.engine.simulated.scenario import MIB, Service, Stop
from guardian.errors import AlreadyRunning, EngineError, SignalError, UsageError
from guardian.ledger.entries import EntryState, Means
from guardian.ledger.lock import StateLock
from guardian.ledger.store import Store
from guardian.model import ContainerState, Mode, Result
from guardian.rescue import Rescue
from guardian.telemetry import NullTelemetry

SCOPE = Scope((PROJECT,))


class Kernel:
    """Ends the simulated engine's containers by signal, whether or not that answers."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self.ended: list[str] = []
        self.why_not = ""

    def problem(self) -> str:
        return self.why_not

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        if self.why_not:
            raise SignalError(self.why_not)
        call = self._engine.begin_signal(container_id, grace_s, kill)
        ends_s = SystemClock().monotonic() + deadline_s
        with self._engine._changed:
            while call.result is None and self._engine._pause(ends_s):
                self._engine.poll()
        self.ended.append(container_id)
        return call.result or Result.TIMED_OUT


class Host:
    """`db` (kept), `web` and `logs` on an engine of their own, and a state directory."""

    def __init__(self, folder: Path, restart: str = "no") -> None:
        services = {
            name: Service(memory=100 * MIB, stop=Stop(takes=0.01), restart=restart if name != "db" else "no")
            for name in ("db", "web", "logs")
        }
        self.engine = SimulatedEngine(Scenario(services=services), SystemClock())
        self.kernel = Kernel(self.engine)
        self.state_dir = folder / "state"
        self.state_dir.mkdir()
        self.config = a_config(
            Phase(("db",), protected=True),
            ("web",),
            ("logs",),
            emergency=EmergencyConfig(keep=("db",)),
            engine=EngineConfig(timeout=1.0),  # type: ignore[arg-type]
            state_dir=str(self.state_dir),
        )
        self._rescues: list[Rescue] = []

    def rescue(self, config: Config | None = None) -> Rescue:
        self.engine.reopen()  # the one before has closed it
        made = Rescue(config or self.config, "ada", self.engine, "unix:///simulated", self.kernel)
        self._rescues.append(made)
        return made

    def up(self) -> set[str]:
        """In truth."""
        self.engine.poll()
        return {cell.service.name for cell in self.engine._world.cells.values() if cell.state is ContainerState.RUNNING}

    def owed(self) -> dict[str, tuple[EntryState, Means, str]]:
        """What the next start of guardian finds in the ledger."""
        store = Store(self.state_dir / "ledger.db", SystemClock(), NullTelemetry())
        loaded = store.load()
        store.close(5.0)
        return {entry.service.name: (entry.state, entry.means, entry.reason) for entry in loaded.entries}

    def write_data_root(self) -> None:
        """As the engine keeps its containers on disk, and as a daemon before has noted where."""
        root = self.state_dir.parent / "docker"
        for cell in self.engine._world.cells.values():
            home = root / "containers" / cell.id
            home.mkdir(parents=True)
            state = {"Running": cell.state.up, "ExitCode": 0, "StartedAt": "2026-11-25T09:00:00Z", "FinishedAt": ""}
            written = {"ID": cell.id, "Name": f"/{cell.name}", "State": state, "Config": {"Labels": cell.labels}}
            (home / "config.v2.json").write_text(json.dumps(written))
            (home / "hostconfig.json").write_text(json.dumps({"RestartPolicy": {"Name": cell.spec.restart}}))
        lock = StateLock(self.state_dir, 0.0)
        lock.note_engine("engine", str(root))
        lock.release()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.engine.close()


def told(steps: Iterator[Step]) -> dict[str, tuple[str, bool]]:
    return {step.service.partition("/")[2] or step.name: (step.name, step.ok) for step in steps}


def test_all_but_what_is_kept_is_ended_and_is_in_the_ledger(host: Host) -> None:
    """All but what is kept is ended by the engine, and left in the ledger for the next start of guardian, which needs no order."""
    rescue = host.rescue()
    plan = rescue.plan((), None)
    assert [service.key for service, _ in plan.kept] == [key("db")]
    assert told(rescue.end()) == {"web": ("end", True), "logs": ("end", True)}
    assert told(rescue.start_kept()) == {"db": ("start", True)}
    assert rescue.rest().ok
    rescue.close()
    assert host.up() == {"db"}
    assert host.kernel.ended == []
    assert host.owed() == dict.fromkeys(("web", "logs"), (EntryState.SHED, Means.API, "emergency"))


def test_what_is_kept_and_was_shed_before_is_started(host: Host) -> None:
    """A kept service that guardian had stopped before is started; one that somebody else has stopped is left as it is."""
    first = host.rescue()
    first.plan(("web", "logs"), None)
    list(first.end())
    first.close()
    host.engine.external_stop("logs")
    eventually(lambda: "logs" not in host.up(), "somebody else has stopped it")
    second = host.rescue()
    second.plan(("db", "logs"), None)
    assert told(second.end()) == {"web": ("end", True)}
    steps = list(second.start_kept())
    second.close()
    assert [(step.service, step.ok, "left as it is" in step.detail) for step in steps] == [
        ("openpolicy/db", True, False),
        ("openpolicy/logs", True, True),
    ]
    assert host.up() == {"db"}


def test_a_hanging_engine_is_done_without(host: Host) -> None:
    """While the engine hangs the containers are found in its files and ended by signal; nothing can be started without it."""
    host.write_data_root()
    host.engine.engine_down()
    rescue = host.rescue()
    rescue.plan((), None)
    assert rescue.hung
    steps = list(rescue.end())
    assert all(step.ok and "by signal" in step.detail for step in steps)
    (step,) = rescue.start_kept()
    assert not step.ok
    assert "--restart-engine" in step.detail
    rescue.close()
    assert host.up() == {"db"}
    assert host.owed() == dict.fromkeys(("web", "logs"), (EntryState.SHED, Means.SIGNAL, "emergency"))


def test_an_engine_that_hangs_amid_it_is_done_without(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops that the engine does not get done are done by signal."""

    def hangs(*_: object, **__: object) -> Result:
        return Result.TIMED_OUT

    rescue = host.rescue()
    rescue.plan((), None)
    monkeypatch.setattr(host.engine, "stop", hangs)
    assert told(rescue.end()) == {"web": ("end", True), "logs": ("end", True)}
    rescue.close()
    assert host.up() == {"db"}
    assert {means for _, means, _ in host.owed().values()} == {Means.SIGNAL}


@pytest.mark.parametrize("restart", ["no", "always"])
def test_after_a_restart_of_the_engine_only_what_is_kept_runs(tmp_path: Path, restart: str) -> None:
    """After the engine's restart what is kept is started, and what a restart policy has brought back is stopped again."""
    host = Host(tmp_path, restart)
    rescue = host.rescue()
    rescue.plan((), None)
    rescue.expect_restart()
    list(rescue.end())
    host.engine.restart_engine(0.2)
    assert rescue.wait_for_engine().ok
    if restart == "always":  # it comes back with the engine
        eventually(lambda: host.up() == {"web", "logs"}, "they are back")
    assert told(rescue.start_kept())["db"] == ("start", True)
    rescue.close()
    assert host.up() == {"db"}
    assert {name: state for name, (state, _, _) in host.owed().items()} == dict.fromkeys(("web", "logs"), EntryState.SHED)
    host.engine.close()


def test_one_that_is_refused_is_a_step_that_failed(host: Host) -> None:
    """A stop that the engine refuses is a step that failed, and owes nothing."""
    host.engine.refuse_stops("web")
    rescue = host.rescue()
    rescue.plan((), None)
    assert told(rescue.end()) == {"web": ("end", False), "logs": ("end", True)}
    rescue.close()
    assert host.up() == {"db", "web"}
    assert set(host.owed()) == {"logs"}


def test_who_is_at_work_already_keeps_the_place(host: Host) -> None:
    """Where another guardian has the state directory, nothing is done, and its lock is left alone."""
    lock = StateLock(host.state_dir, 0.0)
    with pytest.raises(AlreadyRunning):
        host.rescue()
    lock.release()


def test_where_nothing_tells_what_runs_it_says_so(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where neither the engine nor its files tell what runs, or no signal can be sent, that is the error (69)."""
    monkeypatch.setattr(rescues, "DEFAULT_ROOT", str(tmp_path / "nowhere"))
    host.engine.engine_down()
    rescue = host.rescue()
    with pytest.raises(EngineError, match="nowhere/containers") as raised:
        rescue.plan((), None)
    assert raised.value.exit_code == 69
    rescue.close()
    host.kernel.why_not = "no CAP_KILL"
    rescue = host.rescue()
    with pytest.raises(EngineError, match="by signal nothing can be ended either: no CAP_KILL"):
        rescue.plan((), None)
    rescue.close()


@pytest.mark.parametrize(("names", "says"), [(("dbb",), "did you mean db"), ((), "it is not said what to keep")])
def test_what_to_keep_must_be_said_and_known(host: Host, names: tuple[str, ...], says: str) -> None:
    """Unknown names, and nothing to keep at all, are wrong usage (2)."""
    config = a_config(("db",), ("web",), ("logs",), state_dir=str(host.state_dir))
    rescue = host.rescue(config)
    with pytest.raises(UsageError, match=says):
        rescue.plan(names, None)
    rescue.close()
    assert Mode.ENFORCE is config.mode
