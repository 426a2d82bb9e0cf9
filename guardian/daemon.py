"""The daemon: wires the parts together, runs the jobs, takes signals, and ends in order."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from guardian import __version__, logs, resident
from guardian.act import ThreadedActor
from guardian.act_signals import Signaller
from guardian.boots import BootRecord, boot_id
from guardian.clock import SystemClock
from guardian.config.schema import Config
from guardian.engine.connect import open_engine, resolve
from guardian.engine.protocol import Engine
from guardian.errors import GuardianError
from guardian.expose.access import access
from guardian.expose.control import ControlServer
from guardian.expose.metrics import Metrics
from guardian.expose.orders import Order, OrderKind, OrderReply
from guardian.expose.trace import Trace
from guardian.expose.web import WebServer
from guardian.health.overlay import ProbedContainers, start_prober
from guardian.ledger.book import Ledger
from guardian.ledger.lock import EngineLock, StateLock
from guardian.ledger.schema import LEDGER_NAME
from guardian.ledger.store import Store
from guardian.loop import HostSource, Loop
from guardian.model import ActionKind, EngineEvent
from guardian.policy.pace import bearable_s
from guardian.record.recorder import Recorder
from guardian.record.rows import RECORD_NAME
from guardian.reloading import Reloader
from guardian.rollout.progress import RollOutWatch
from guardian.schedule import Scheduler
from guardian.scope import scope_of
from guardian.sense.cgroups import CgroupReader
from guardian.sense.events import EventWatcher
from guardian.sense.feed import Feed
from guardian.sense.host import HostSensor
from guardian.sense.triggers import PressureTriggers
from guardian.storage.keeper import StorageKeeper
from guardian.storage.shelf import NAME as STORAGE_NAME
from guardian.systemd import Notifier

if TYPE_CHECKING:
    from guardian.health.prober import Probe, Prober
    from guardian.notify.courier import Courier
    from guardian.objectives.keeper import Keeper

END_S = 4.0  # SIGTERM to the end; systemd and people are promised 5 s
CONFIG_POLL_S = 1.1  # more than the second for which an edit must stay the same: the look after the first takes it
WAITING_CONTAINERS_S = 0.25  # pace of the containers' job while something waits to be read: a little over `READ_AGAIN_S`
STATUS_EVERY_S = 10.0
WATCHDOG_EVERY_S = 1.0
LATE_S = 5.0  # a tick that begins so much later than planned did not find the process running

_log = logs.get("daemon")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the file. `flags` override it by dotted path, at each reload too."""

    path: Path
    content: bytes = b""  # of the file, as it was read
    flags: Mapping[str, object] = field(default_factory=dict)
    scenario: str = ""  # of the simulated engine: a file, or the name of one that comes with guardian


class Daemon:
    """Everything that runs. `run` returns when a signal asks for the end."""

    def __init__(self, options: Options, config: Config, environ: Mapping[str, str] = os.environ) -> None:
        """Raises GuardianError where the state directory, the sockets or the engine's URL cannot be used."""
        self._clock = SystemClock()
        self._metrics = Metrics(self._clock)
        logs.configure(config.log.level, config.log.format, telemetry=self._metrics)
        self._ended = threading.Event()
        self._notifier = Notifier(environ)
        self._reload_asked = threading.Event()
        _raise_descriptor_limit()
        state_dir = Path(config.state_dir)
        _make_directory(state_dir)
        self._lock = StateLock(state_dir, self._clock.wall())
        self._engine_lock: EngineLock | None = None
        self._scheduler = Scheduler(self._clock, self._job_failed, self._clock_set)
        self._store = Store(
            state_dir / LEDGER_NAME,
            self._clock,
            self._metrics,
            on_notice=_notice,
            on_commit=_fault(environ.get("GUARDIAN_FAULT", "")),
        )
        self._ledger = Ledger(self._store, self._clock)
        self._engine, host, url = self._open_engine(options, config)
        scope = scope_of(config, self._ledger.open_entries)
        self._watcher = EventWatcher(self._engine, scope, self._clock, self._metrics, self._take_events, self._take_gap)
        source = config.sampling.source
        simulated = config.engine.url == "simulated"
        reader = None if source == "engine" or simulated else CgroupReader(self._clock)
        self._feed = Feed(
            self._engine,
            scope,
            reader,
            self._clock,
            self._metrics,
            self._watcher,
            url,
            files_only=source == "cgroups" and reader is not None,
            want_refresh=lambda: self._scheduler.wake("containers"),
            on_outage=self._take_outage,
        )
        self._probed = ProbedContainers(self._feed, self._make_prober)
        self._probed.configure(config)
        self._host = host or HostSensor(self._clock, self._disk_path)
        # Where the engine's containers are not this host's, no process of them is here either.
        signaller = None if simulated or url.startswith("tcp://") else Signaller(self._clock)
        self._actor = ThreadedActor(
            self._engine,
            self._clock,
            self._metrics,
            before_send=self._ledger.mark,
            wake=lambda: self._scheduler.wake("tick"),
            signals=signaller,
            after_call=lambda container_id: self._feed.touch((container_id,)),
        )
        self._recorder = Recorder(state_dir / RECORD_NAME, self._clock, self._metrics)
        self._loop = Loop(
            config=config,
            mode=config.mode,
            host=self._host,
            containers=self._probed,
            actor=self._actor,
            ledger=self._ledger,
            clock=self._clock,
            telemetry=self._metrics,
            run_id=secrets.token_hex(4),
            record=self._recorder.note,
        )
        self._rollouts = RollOutWatch(state_dir)
        self._boots = BootRecord(state_dir, boot_id())
        self._loop.ran_before = self._boots.before
        self._reloader = Reloader(options.path, options.content, config, options.flags, environ, self._clock, self._metrics)
        self._trace = Trace()
        self._web = WebServer(
            config.web.listen, self._metrics, self._trace, self._ledger.history, self._clock, access(config.web)
        )
        self._control = ControlServer(
            Path(config.web.control),
            lambda: self._loop.snapshot,
            self._order,
            self._ledger.history,
            on_cut=lambda: self._metrics.connection_cut("control"),
        )
        self._courier: Courier | None = None
        self._notify(config)
        self._storage = StorageKeeper(
            self._engine,
            lambda: scope_of(self._loop.config, self._ledger.open_entries),
            state_dir / STORAGE_NAME,
            self._clock,
        )
        self._keeper: Keeper | None = None
        self._keep(config)
        self._triggers = PressureTriggers(self._pressed)
        self._interval_s = float(config.sampling.host)  # what the next tick was planned by
        self._began_s = self._took_s = 0.0  # when the last tick began, and how long it took
        self._least_s = 0.0  # from one tick to the next, on a host as slow as this one
        self._status_s = self._watchdog_s = 0.0
        self._ready = False
        self._fatal = ""

    def run(self) -> int:
        """Until SIGTERM or SIGINT. The exit code: 0, or 1 where something could not be ended in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, self._ask_reload)
        config = self._loop.config
        if self._actor.no_signals:
            _log.warning("should the engine hang, nothing could be ended by signal", problem=self._actor.no_signals)
        _log.info(
            "guardian starts",
            version=__version__,
            mode=config.mode.value,
            engine=config.engine.url,
            state_dir=config.state_dir,
            address="{}:{}".format(*self._web.address),
            control=config.web.control,
        )
        self._scheduler.every("containers", self._containers_within(), self._read_containers)
        self._scheduler.every("tick", self._interval_s, self._tick)
        self._scheduler.every("config", CONFIG_POLL_S, self._poll_config)
        self._recorder.start()
        self._watcher.start()
        self._scheduler.start()
        if config.engine.url != "simulated":  # the pressure of this machine is none of a simulated host's
            self._triggers.start()
        self._web.start()
        self._control.start()
        self._ended.wait()
        return self._shut_down()

    # --- jobs -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        began_s = self._began_s = self._clock.monotonic()
        calm_s = float(self._loop.config.sampling.host)
        self._loop.storage = self._storage.known
        snapshot = self._loop.tick(max(calm_s, self._interval_s))
        self._metrics.update(snapshot)
        self._trace.note(snapshot)
        before_s, self._took_s = self._took_s, self._clock.monotonic() - began_s
        # One tick alone may have waited for the ledger; a host on which the next takes as long is slow.
        self._least_s = bearable_s(min(before_s, self._took_s), calm_s)
        self._interval_s = max(self._loop.pace.next_s, self._least_s)
        lag_s = self._scheduler.lag("tick")
        self._metrics.ticked(self._took_s, lag_s, self._interval_s)
        if lag_s > LATE_S:
            self._metrics.time_jumped("late")
        self._scheduler.repace("tick", self._interval_s)
        self._scheduler.quicken("containers", self._containers_within())
        if not self._ready and (snapshot.sample.inventory is not None or snapshot.ticks > 1):
            self._ready = True
            self._notifier.ready()
            self._settle()
        if began_s - self._watchdog_s >= min(WATCHDOG_EVERY_S, calm_s):
            self._watchdog_s = began_s
            self._notifier.watchdog()
        if began_s - self._status_s >= STATUS_EVERY_S:
            self._status_s = began_s
            engine = "up" if snapshot.engine_up else "down"
            level, shed = snapshot.assessment.level, len(snapshot.entries)
            self._notifier.status(f"{snapshot.mode.value}; level {level}; {shed} shed; engine {engine}")
        self._storage.look(snapshot)
        if self._courier is not None:
            self._courier.look(snapshot, self._reloader.failed)
        if self._keeper is not None:
            self._keeper.note(snapshot)

    def _read_containers(self) -> None:
        round_s = self._loop.pace.containers_s
        news = self._feed.refresh(round_s)
        info = self._feed.engine
        if info is not None and self._engine_lock is None:
            try:
                self._engine_lock = EngineLock(info.id)
            except GuardianError as error:
                _log.error("cannot guard this engine", error=str(error))
                self._fatal = str(error)
                self._ended.set()
                return
            self._lock.note_engine(info.id, info.root_dir)
        # What was read is known for a round as it was paced then: a pace that has slowed down since comes after the next one.
        self._scheduler.repace("containers", min(round_s, self._containers_within()))
        if news:
            self._scheduler.wake("tick")

    def _containers_within(self) -> float:
        """Until the containers' job comes again: at the pace of its rounds, or as soon as what waits may be read again. Only it slows itself down."""
        pace = self._loop.pace.containers_s
        return min(pace, WAITING_CONTAINERS_S) if self._feed.waiting else pace

    def _poll_config(self) -> None:
        self._loop.rollout = self._rollouts.look()
        snapshot = self._loop.snapshot
        if snapshot is not None and snapshot.engine_up and snapshot.config.target_phase is not None:
            self._boots.note(snapshot.running_containers(), self._clock.monotonic(), self._clock.wall())
        ordered = self._reload_asked.is_set()
        self._reload_asked.clear()
        if ordered:
            self._notifier.reloading()
        self._take_config(self._reloader.order() if ordered else self._reloader.poll())
        if ordered:
            self._notifier.ready()

    def _take_config(self, config: Config | None) -> None:
        self._loop.config_pending = self._reloader.pending
        if config is None:
            return
        self._loop.config = config
        self._loop.mode = config.mode
        logs.configure(config.log.level, config.log.format)
        self._feed.rescope(scope_of(config, self._ledger.open_entries))
        self._probed.configure(config)
        self._notify(config)
        self._keep(config)
        self._scheduler.wake("tick")  # which sets the pace anew

    def _notify(self, config: Config) -> None:
        """Tell these receivers from now on. What that needs is imported only where there is one."""
        if self._courier is None and config.notify:
            from guardian.notify.courier import Courier  # noqa: PLC0415

            host = socket.gethostname() if self._feed.engine is None else self._feed.engine.name
            self._courier = Courier(host, self._clock, self._metrics)
        if self._courier is not None:
            self._courier.follow(config.notify)

    def _keep(self, config: Config) -> None:
        """Keep figures from now on, where the file has objectives; likewise."""
        if self._keeper is None and config.objectives is not None:
            from guardian.objectives.keeper import Keeper  # noqa: PLC0415
            from guardian.objectives.rows import OBJECTIVES_NAME  # noqa: PLC0415

            self._keeper = Keeper(Path(config.state_dir) / OBJECTIVES_NAME, self._clock, self._metrics)
            self._keeper.start()

    def _settle(self) -> None:
        """All that stays is there: make it small, then keep it."""
        resident.settle()
        if why_not := resident.lock():
            _log.info("own memory is not locked: the kernel may take pages back while memory is short", reason=why_not)

    # --- what comes from elsewhere ----------------------------------------------------------------------------------

    def _order(self, order: Order) -> OrderReply:
        if order.kind is OrderKind.RELOAD:
            self._take_config(self._reloader.order())
            return self._reloader.reply()
        if order.kind is OrderKind.MEASURE:
            return self._storage.order(self._loop.snapshot)
        self._scheduler.wake("tick")
        return self._loop.submit_order(order)

    def _take_events(self, events: tuple[EngineEvent, ...]) -> None:
        self._loop.take_events(events)
        self._feed.take_events(events)

    def _take_gap(self, from_wall_s: float, to_wall_s: float) -> None:
        self._loop.take_gap(from_wall_s, to_wall_s)
        self._feed.distrust()

    def _take_outage(self, from_wall_s: float, to_wall_s: float) -> None:
        self._loop.take_gap(from_wall_s, to_wall_s)

    def _pressed(self, resource: str) -> None:
        """The kernel says that somebody waits for it: the host is read at once, unless it was a moment ago."""
        self._metrics.pressed(resource)
        if self._clock.monotonic() - self._began_s >= self._least_s:
            self._scheduler.wake("tick")

    def _clock_set(self, seconds: float) -> None:
        self._metrics.time_jumped("clock_set")
        _log.warning("the wall clock was set", seconds=round(seconds, 1))

    def _job_failed(self, name: str, error: BaseException) -> None:
        self._metrics.job_failed(name)
        _log.error("a job failed and goes on", job=name, error=f"{type(error).__name__}: {error}", exc_info=error)

    def _make_prober(self) -> Prober:
        return start_prober(self._clock, self._take_probe, lambda: self._scheduler.wake("tick"))

    def _take_probe(self, probe: Probe) -> None:
        if probe.counts:
            self._metrics.probed(probe.service, probe.took_s, not probe.problem)
            if self._keeper is not None:
                self._keeper.probed(probe)

    def _disk_path(self) -> str | None:
        info = self._feed.engine
        return None if info is None else info.root_dir

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended.set()

    def _ask_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_asked.set()

    def _open_engine(self, options: Options, config: Config) -> tuple[Engine, HostSource | None, str]:
        if config.engine.url != "simulated":
            return open_engine(config, self._clock, self._metrics), None, resolve(config.engine.url, os.environ)
        from guardian.engine.simulated import SimulatedEngine, SimulatedHost, find_scenario  # noqa: PLC0415 - rarely needed

        engine = SimulatedEngine(find_scenario(options.scenario or "overload"), self._clock, float(config.engine.timeout))
        return engine, SimulatedHost(engine), ""

    def _shut_down(self) -> int:
        """Within 5 s, with nothing half done. What is shed stays shed: the next start takes over."""
        self._notifier.stopping()
        ends_s = self._clock.monotonic() + END_S
        self._triggers.stop()
        orderly = self._scheduler.shutdown(1.0)
        self._watcher.stop()
        self._probed.close()
        self._actor.close(max(0.0, min(2.0, ends_s - self._clock.monotonic() - 1.0)))
        for outcome in self._actor.outcomes():
            if outcome.action.kind is not ActionKind.RESTORE or outcome.failed:
                self._ledger.settle(outcome)
        if self._courier is not None:
            self._courier.close()
        if self._keeper is not None:
            self._keeper.close(max(0.0, min(1.0, ends_s - self._clock.monotonic() - 1.0)))
        self._control.close()
        self._web.close()
        self._engine.close()
        self._recorder.close(max(0.0, min(1.0, ends_s - self._clock.monotonic() - 1.0)))
        orderly = self._store.close(max(0.1, ends_s - self._clock.monotonic())) and orderly
        self._lock.release()
        _log.info("guardian ends", shed=len(self._ledger.open_entries))
        logs.close()
        return self._verdict(orderly)

    def _verdict(self, orderly: bool) -> int:
        """The exit code. GuardianError where it is ended because it cannot guard."""
        if self._fatal:
            raise GuardianError(self._fatal)
        return 0 if orderly else 1


def _raise_descriptor_limit() -> None:
    """Five descriptors a container are kept open; the usual soft limit of 1,024 would leave out all but the first hundred."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _make_directory(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError:
        raise GuardianError(f"state_dir: {state_dir}: is a file; move it away, or set another `state_dir`") from None
    except OSError as error:
        raise GuardianError(
            f"state_dir: {state_dir}: {error.strerror or error}; create it, or set another `state_dir`"
        ) from None


def _fault(spec: str) -> Callable[[str], None] | None:
    """For tests: GUARDIAN_FAULT=kill:before:sent ends the process at that moment of that commit (see `Store`)."""
    action, _, moment = spec.partition(":")
    if action != "kill":
        return None

    def die(label: str) -> None:
        if label == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _notice(text: str) -> None:
    _log.error("ledger", notice=text)
