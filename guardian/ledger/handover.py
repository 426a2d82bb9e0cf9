"""The state directory after a command of root: what it has written there belongs to the daemon, which is another user."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from guardian.ledger.lock import LOCK_NAME
from guardian.ledger.schema import LEDGER_NAME


def hand_over(state_dir: Path) -> None:
    """What root has written there belongs to whose directory it is: the daemon is another user. Links are left alone."""
    owner = state_dir.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for name in (LOCK_NAME, *(f"{LEDGER_NAME}{suffix}" for suffix in ("", "-wal", "-shm"))):
        with suppress(FileNotFoundError):
            found = (state_dir / name).lstat()
            if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_nlink == 1:
                os.chown(state_dir / name, owner.st_uid, owner.st_gid, follow_symlinks=False)
