"""What a roll-out remembers durably, so that another process can go on with it."""

from __future__ import annotations

import fcntl
import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from guardian.errors import AlreadyRunning, GuardianError
from guardian.files import write_whole
from guardian.ledger.lock import is_locked
from guardian.model import ServiceKey

FILE_NAME = "rollout.json"
LOCK_NAME = "rollout.lock"


class Stage(StrEnum):
    """Where a roll-out is. The phase that it is at stands beside it."""

    CLEAR = "clear"  # stops what is not to run
    ROOM = "room"  # waits for room for the whole phase
    START = "start"  # starts its services, and waits until each is up
    SOAK = "soak"  # all are up: they have to stay so for a while
    BUDGET = "budget"  # compares what they use with the budget
    UNDO = "undo"  # takes the phase that failed down again
    DONE = "done"
    FAILED = "failed"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one roll-out is done. Times in seconds."""

    wait_s: float = 300.0  # how long a start may be held back, by a level, an order or missing room
    healthy_within_s: float = 180.0  # from a service's start on
    soak_s: float = 10.0
    rollback: bool = False
    compose_files: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a roll-out ended early. `log` and `health` are the last that the service said."""

    why: str
    service: str = ""
    log: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One roll-out so far."""

    goal: int  # phases 1..goal run when it is done, and none above
    down: bool  # it goes down to `goal`: nothing is started
    from_zero: bool
    by: str
    began_wall_s: float
    settings: Settings = Settings()
    stage: Stage = Stage.CLEAR
    phase: int = 0  # that it is at; 0: none yet
    reached: int = 0  # phases 1..reached have passed every gate
    started: tuple[str, ...] = ()  # services of the present phase that it has started itself
    failure: Failure | None = None
    ended_wall_s: float | None = None

    @property
    def open(self) -> bool:
        """Whether something is left to be done, by `--resume`."""
        return self.stage is not Stage.DONE

    def has_started(self, key: ServiceKey) -> bool:
        return str(key) in self.started


class ProgressFile:
    """`rollout.json` in the state directory, for one process at a time.

    Raises AlreadyRunning where another roll-out is under way, and GuardianError where the directory cannot be written.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        try:
            state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GuardianError(
                f"{state_dir}: {error.strerror}; run this as a user who may write there, such as root"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise AlreadyRunning(f"{state_dir}: another roll-out is under way; wait for its end, or end it by Ctrl-C") from None

    def load(self) -> Progress | None:
        """The newest roll-out; None where there was none. GuardianError for a file that is none of ours."""
        return read_progress(self._path)

    def save(self, progress: Progress) -> None:
        """On disk when this returns: whole, or the one before."""
        try:
            write_whole(self._path, msgspec.json.encode(progress))
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise GuardianError(
                f"{self._path}: cannot be written: {error.strerror}; nothing more was started; mend that, and go on by --resume"
            ) from None

    def release(self) -> None:
        os.close(self._lock)


class RollOutState(StrEnum):
    """What has become of a roll-out."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BROKEN_OFF = "broken_off"  # by Ctrl-C, or its process died: `--resume` goes on


class KnownRollOut(NamedTuple):
    """The newest roll-out, as others see it."""

    progress: Progress
    state: RollOutState
    due_wall_s: float | None = None  # while it runs: by when it has taken its next step, or has failed, by its own waits


class RollOutWatch:
    """Tells of the newest roll-out in a state directory. A look costs a stat, unless it is under way or has changed."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._seen: tuple[int, int] | None = None  # inode and time of change
        self._progress: Progress | None = None

    def look(self) -> KnownRollOut | None:
        """None where there was none, or where its file cannot be read: nothing is decided by it."""
        path = self._state_dir / FILE_NAME
        try:
            found = path.stat()
            if self._seen != (found.st_ino, found.st_mtime_ns):
                self._seen = (found.st_ino, found.st_mtime_ns)
                self._progress = read_progress(path)
        except (OSError, GuardianError):
            self._progress = None
        if self._progress is None:
            return None
        state = self._state(self._progress)
        return KnownRollOut(self._progress, state, self._due_wall_s(self._progress) if state is RollOutState.RUNNING else None)

    def _due_wall_s(self, progress: Progress) -> float | None:
        """It writes down each step; between two it waits for a start, for health and for the soak at most."""
        waits = progress.settings
        return None if self._seen is None else self._seen[1] / 1e9 + waits.wait_s + waits.healthy_within_s + waits.soak_s

    def _state(self, progress: Progress) -> RollOutState:
        if progress.stage is Stage.DONE:
            return RollOutState.DONE
        if progress.stage is Stage.FAILED:
            return RollOutState.FAILED
        return RollOutState.RUNNING if is_locked(self._state_dir / LOCK_NAME) else RollOutState.BROKEN_OFF


def read_progress(path: Path) -> Progress | None:
    """What `ProgressFile.save` wrote; None where there is no such file. GuardianError where it cannot be understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise GuardianError(f"{path}: cannot be read: {error}; move it away to forget that roll-out") from None
