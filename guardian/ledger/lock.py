"""One guardian for one state directory, and one for one engine: the second is told who has it.

Both locks end with the process, however it ends, and leave nothing to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from guardian.errors import AlreadyRunning, LedgerError

LOCK_NAME = "guardian.lock"


class StateLock:
    """A lock on the file `guardian.lock` in the state directory; it tells who holds it: pid, since when, which engine."""

    def __init__(self, state_dir: Path, now_wall_s: float) -> None:
        """AlreadyRunning if another process has it; LedgerError if the directory cannot be used."""
        self._path = state_dir / LOCK_NAME
        self._since_wall_s = now_wall_s
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(
                f"{self._path}: cannot lock the state directory: {error.strerror}; create it, let guardian's user write to it, "
                "or set another `state_dir`"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(self._path)
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"{state_dir}: another guardian has this state directory ({holder}); stop it, or set another `state_dir`"
            ) from None
        self.root_dir = _noted(self._path, "root_dir")
        """Where the engine kept its data when it was last asked; empty: never."""
        self.note_engine("", self.root_dir)

    def note_engine(self, engine_id: str, root_dir: str) -> None:
        """Write down which engine this guardian looks after, and where that keeps its data, once that is known.

        A full disk keeps what was noted before: the lock itself needs no room.
        """
        note = {"pid": os.getpid(), "since_wall_s": self._since_wall_s, "engine": engine_id, "root_dir": root_dir}
        text = json.dumps(note).encode()
        with suppress(OSError):
            os.ftruncate(self._descriptor, os.pwrite(self._descriptor, text, 0))

    def release(self) -> None:
        """Let go. The file stays: to delete it could delete the next holder's."""
        os.close(self._descriptor)


class EngineLock:
    """A lock by the engine's id, on an abstract Unix socket: seen by all of this network namespace, whatever their state directory."""

    def __init__(self, engine_id: str) -> None:
        """AlreadyRunning if another process has it."""
        address = f"\0guardian-engine-{engine_id}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(address)
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise AlreadyRunning(
                f"engine {engine_id}: another guardian looks after it ({_peer(address)}); stop it first"
            ) from None

    def release(self) -> None:
        """Let go."""
        self._socket.close()


def is_held(state_dir: Path) -> bool:
    """Whether a guardian has this state directory now."""
    return is_locked(state_dir / LOCK_NAME)


def is_locked(path: Path) -> bool:
    """Whether another process holds that file locked for itself. Shares the lock for no longer than it looks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _noted(path: Path, name: str) -> str:
    """What the holder before has written down; empty where there was none."""
    try:
        return str(json.loads(path.read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    try:
        held = json.loads(path.read_text())
        since = datetime.fromtimestamp(held["since_wall_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        engine = f", engine {held['engine']}" if held["engine"] else ""
        return f"pid {held['pid']}, since {since}{engine}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said who it is yet"


def _peer(address: str) -> str:
    """Who listens at `address`, in words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(address)
        except OSError:
            return "it has just ended; start again"
        pid, uid, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return f"pid {pid}, uid {uid}"
