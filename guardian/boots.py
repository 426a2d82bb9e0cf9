"""What ran when the host went down: with `target_phase`, it comes back after the reboot as there is room."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from guardian import logs
from guardian.config.schema import Config
from guardian.files import write_whole
from guardian.model import Action, ActionKind, Container, ServiceKey
from guardian.policy.platform import Platform
from guardian.policy.target import is_above

FILE_NAME = "running.json"
REBOOT = "reboot"  # the reason of what is down because the host went down
GONE_S = (
    60.0  # a container counts as running for so long after it was last seen to: a host that goes down stops them one by one
)

_log = logs.get("boots")


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """Containers that ran in one boot of the host, at `at_wall_s` and, as far as anybody knows, until its end."""

    boot_id: str
    at_wall_s: float
    containers: tuple[str, ...]  # ids


def boot_id() -> str:
    """Another one after each boot; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class BootRecord:
    """Keeps `running.json` in the state directory. It waits for the disk, so not for the thread of the ticks.

    `before` is what ran when an earlier boot ended; None: this is still the same one, or nothing is known.
    """

    def __init__(self, state_dir: Path, boot: str) -> None:
        self._path = state_dir / FILE_NAME
        self._boot = boot
        self._seen_s: dict[str, float] = {}
        newest = self._read()
        self._written = frozenset(newest.containers) if newest is not None and newest.boot_id == boot else None
        self.before = newest if newest is not None and boot and newest.boot_id not in ("", boot) else None

    def note(self, running: Iterable[Container], now_s: float, now_wall_s: float) -> None:
        """These run now. Written down where it is other than before; a disk that refuses is tried again the next time."""
        self._seen_s.update(dict.fromkeys((one.id for one in running), now_s))
        self._seen_s = {id_: seen_s for id_, seen_s in self._seen_s.items() if now_s - seen_s < GONE_S}
        if self._seen_s.keys() == self._written or not self._boot:
            return
        ran = Ran(boot_id=self._boot, at_wall_s=now_wall_s, containers=tuple(sorted(self._seen_s)))
        try:
            write_whole(self._path, msgspec.json.encode(ran))
        except OSError as error:
            _log.warning("what runs cannot be written down", path=str(self._path), error=error.strerror)
            return
        self._written = frozenset(self._seen_s)

    def _read(self) -> Ran | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Ran)
        except (OSError, msgspec.DecodeError):
            return None


def ended_with_host(ran: Ran, platform: Platform, config: Config, run_id: str, now_wall_s: float) -> list[Action]:
    """What ran before the reboot, is managed, not above the target, and down now: as stops that the host's end has made.

    Entered in the ledger as sent when it was last seen to run, so that whatever has ended since is owed a start. What the engine
    has started meanwhile is not.
    """
    found: dict[ServiceKey, list[str]] = {}
    for id_ in ran.containers:
        container = platform.containers.get(id_)
        if container is None or container.state.up or container.oneoff or container.swarm:
            continue
        if container.service in platform.awaited and id_ in platform.completed:
            continue  # its work was done just before
        found.setdefault(container.service, []).append(id_)
    return [
        Action(
            id=f"{run_id}-boot-{number}",
            kind=ActionKind.SHED,
            service=key,
            phase=platform.services[key].phase,
            containers=tuple(ids),
            reason=REBOOT,
            deadline_s=max(0.0, now_wall_s - ran.at_wall_s),
        )
        for number, (key, ids) in enumerate(sorted(found.items()))
        if key in platform.services and not is_above(platform.services[key].phase, config)
    ]
