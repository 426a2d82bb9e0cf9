"""Puts a roll-out together on the engine that a configuration means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from guardian.act import ThreadedActor
from guardian.clock import SystemClock
from guardian.compose.command import ComposeCalls, find_compose
from guardian.compose.model import ComposeProject
from guardian.compose.project import read_project
from guardian.config.schema import Config
from guardian.engine.connect import open_engine, resolve
from guardian.errors import GuardianError, UsageError
from guardian.model import ServiceKey
from guardian.policy.assess import cpu_capacity
from guardian.record.reader import RecordError, service_use
from guardian.record.rows import RECORD_NAME
from guardian.rollout.admission import Admission, DaemonClient
from guardian.rollout.plan import Expected, Plan, make_plan
from guardian.rollout.progress import Progress
from guardian.rollout.run import Record, RollOut
from guardian.rollout.senses import Look, Senses
from guardian.rollout.steps import Event
from guardian.sense.cgroups import CgroupReader
from guardian.sense.host import HostSensor
from guardian.telemetry import NullTelemetry

RECORDED_S = 7 * 86400.0  # how far back a recording is looked through for what services use
ENOUGH_MINUTES = 30  # fewer say little: then the limit or the share is expected
CLOSE_S = 30.0  # what was begun, a stop with its timeout say, is let end


@dataclass(frozen=True, slots=True)
class Ready:
    """What is there before anything is done: the plan, and what is seen."""

    plan: Plan
    look: Look


class Opened:
    """Holds the connections until `close`. EngineError where the engine does not answer, UsageError for what cannot be asked for."""

    def __init__(self, config: Config, client: DaemonClient, compose_files: Sequence[str], environ: Mapping[str, str]) -> None:
        if config.engine.url == "simulated":
            raise GuardianError(
                "engine.url: the simulated engine lives in its daemon alone, so nothing can be rolled out on it; set another `engine.url`"
            )
        self._config, self._clock = config, SystemClock()
        url = resolve(config.engine.url, environ)
        self._engine = open_engine(config, self._clock, NullTelemetry())
        remote = url.startswith("tcp://")
        reader = None if remote or config.sampling.source == "engine" else CgroupReader(self._clock)
        info = self._engine.info()
        host = HostSensor(self._clock, info.root_dir)
        self._senses = Senses(config, self._engine, host, reader, self._clock, url)
        self.admission = Admission(client, config, self._senses, self._clock)
        self._actor = ThreadedActor(self._engine, self._clock, NullTelemetry(), before_send=lambda _action: None)
        self._project, self._composer = _compose(config, compose_files, environ, url)

    def ready(self) -> Ready:
        look = self._senses.look()
        standing = self.admission.refresh()
        measured = {**_recorded(Path(self._config.state_dir), self._clock.wall()), **standing.expected}
        cpus = cpu_capacity(self._config, look.host)
        return Ready(make_plan(look.platform, self._config, cpus, measured, self._project), look)

    def roll_out(
        self, plan: Plan, record: Record, tell: Callable[[Event], None], wait: Callable[[Progress, Sequence[str]], None]
    ) -> RollOut:
        return RollOut(
            self._config,
            plan,
            self._engine,
            self._actor,
            self._senses,
            self.admission,
            record,
            self._clock,
            sleep,
            tell,
            wait,
            self._composer,
        )

    def close(self) -> None:
        self._actor.close(CLOSE_S)
        self._senses.close()
        self._engine.close()


def _recorded(state_dir: Path, now_wall_s: float) -> Mapping[ServiceKey, Expected]:
    """What services that the daemon has watched for long enough used: the 95th percentile of a minute's most."""
    try:
        found = service_use(state_dir / RECORD_NAME, now_wall_s - RECORDED_S)
    except RecordError:  # there is none
        return {}
    return {
        key: Expected(one.footprint_p95_bytes, one.cores_p95, True)
        for key, one in found.items()
        if one.samples >= ENOUGH_MINUTES and one.footprint_p95_bytes is not None
    }


def _compose(
    config: Config, files: Sequence[str], environ: Mapping[str, str], url: str
) -> tuple[ComposeProject | None, ComposeCalls | None]:
    """The project in the files, and who makes its containers; nobody where there is no Compose, or where no file was named."""
    if not files:
        return None, None
    if not config.projects:
        raise UsageError("--compose: the configuration names no `project` that its services could belong to; set it")
    paths = tuple(Path(file).absolute() for file in files)
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise UsageError(f"--compose: {missing}: there is no such file; name one that is there")
    composes = find_compose(environ, url)
    project = read_project(paths, config.projects[0], environ=environ, composes=composes)
    if not composes:
        return project, None
    return project, ComposeCalls(composes[0], paths, project.directory, config.projects[0])
