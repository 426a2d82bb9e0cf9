"""What the doctor found out of a host: plain values. None is unknown; a `problem` is empty where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from guardian.config.compare import Finding
from guardian.config.schema import Config
from guardian.model import EngineInfo


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # guardian works, and less well than it could, or not for ever
    FAIL = "fail"  # guardian cannot do its work
    SKIP = "skip"  # does not apply, or cannot be told from here


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at. `do` says what to do, and is empty where there is nothing to do."""

    check: str  # engine, api, cgroups …: a word for scripts
    verdict: Verdict
    says: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """A directory: whether its file system has room, and whether whoever asks may write it."""

    path: str
    exists: bool
    writable: bool
    free_bytes: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """As systemd has it: `loaded` or `not-found`, `active` or `inactive`, `enabled` or `disabled`."""

    load: str
    active: str
    enabled: str


@dataclass(frozen=True, slots=True)
class Process:
    """A program that runs, by its name, with its arguments."""

    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it, at one moment."""

    user: str
    config_path: str
    config: Config | None = None
    missing: bool = False  # there is no such file
    mistakes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    engine_url: str = ""
    engine: EngineInfo | None = None
    engine_problem: str = ""
    images: tuple[tuple[str, str], ...] = ()  # of running containers, in scope or not: name, image
    compared: tuple[Finding, ...] = ()  # the file against what runs
    cgroup_version: int | None = None  # of this host, with memory and CPU time; None: not seen
    pressure_problem: str = ""  # of PSI
    trigger_problem: str = ""  # of its triggers within half a second
    signal_problem: str = ""  # of ending processes without the engine
    state_dir: Room | None = None
    engine_root: Room | None = None  # None: not on this host
    systemd: bool = False
    unit: Unit | None = None
    status: Mapping[str, object] | None = None  # of the daemon
    daemon_problem: str = ""
    oom_score_adj: int | None = None  # of the daemon
    clock_synchronised: bool | None = None
    processes: tuple[Process, ...] = ()
    in_container: bool = False  # this looks from within one

    @property
    def local(self) -> bool:
        """Whether the engine's containers are this host's."""
        return self.engine_url.startswith("unix://")
