"""What Guardian asks of an engine. `docker` and `simulated` both keep to it; the contract tests run against each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guardian.model import UNKNOWN_STRAIN, Container, EngineEvent, EngineInfo, Result, Strain
from guardian.storage.values import EngineDisk


@dataclass(frozen=True, slots=True)
class Scope:
    """Which containers Guardian may see as its own: those of Compose projects, and lone ones by name."""

    projects: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawStats:
    """Counters of one container at one moment: the engine's stats, or cgroup files, before rates are taken."""

    at_s: float  # monotonic, when the answer came
    working_set_bytes: int | None = None
    footprint_bytes: int | None = None
    cpu_total_s: float | None = None  # CPU seconds used since the container's start
    strain: Strain = UNKNOWN_STRAIN


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a container said last: lines of its output, and of its newest health check."""

    log: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


class Engine(Protocol):
    """Every call has a deadline of the engine's `timeout` unless said otherwise, and may raise `EngineError`.

    Calls may be made from any thread. Stops, samples and events use separate connections, so a stuck one blocks no other.
    """

    def info(self) -> EngineInfo:
        """Version, cgroup version, size of the host."""
        ...

    def ping(self) -> None:
        """The cheapest call there is: raises where the engine does not answer."""
        ...

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        """Every container in scope, running or not, one-offs and Swarm tasks included and marked.

        A container that vanishes between list and inspect is left out. One that cannot be inspected is `unread`; raises
        where that is so of all.
        """
        ...

    def inspect(self, scope: Scope, container_ids: Sequence[str]) -> Mapping[str, Container]:
        """These containers as they are now, by id, all asked for at once. What does not exist, or is not in scope, is absent;
        one that cannot be inspected is `unread`.
        """
        ...

    def invalidate(self, container_ids: Iterable[str]) -> None:
        """Forget what is remembered of these containers: something said that they changed."""
        ...

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        """One reading each, all asked for at once. A container without a usable answer is absent."""
        ...

    def last_words(self, container_id: str, lines: int) -> LastWords:
        """At most `lines` of each; nothing of a container that does not exist, or whose log the engine cannot read back."""
        ...

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        """Stop one container and return once it is gone: DONE, GONE (it was not running) or TIMED_OUT.

        `grace_s` 0 kills at once; with `kill=False` the engine never kills it, however long the stop takes. Blocks up to
        `deadline_s`. Raises, as all that follow do, `EngineRefused` with the engine's words where it says no,
        `EngineTimeout` with those where it may do it all the same, and `EngineUnreachable` where no answer came.
        """
        ...

    def kill(self, container_id: str, deadline_s: float) -> Result:
        """SIGKILL, and return once it is gone."""
        ...

    def start(self, container_id: str, deadline_s: float) -> Result:
        """Start one container: DONE, GONE (it no longer exists) or TIMED_OUT. Running already is DONE."""
        ...

    def restart(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        """Stop one container as `stop` does, and start it again: DONE, GONE (it was not running, so it was left alone),
        FAILED (it was stopped, and did not start) or TIMED_OUT. Where it is refused it runs on.
        """
        ...

    def set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float) -> Result:
        """Set or lift (None) the CPU quota of a running container."""
        ...

    def events(self, scope: Scope, since_wall_s: float | None) -> Iterator[EngineEvent]:
        """Events of containers in scope, as they come, from `since_wall_s` on. Blocks between events.

        Ends normally only after `close`; an engine that goes away raises `EngineUnreachable`.
        """
        ...

    def disk(self, scope: Scope, deadline_s: float) -> EngineDisk:
        """What all containers, images, volumes and build caches hold on its disk. The engine may take minutes to find out."""
        ...

    def close(self) -> None:
        """Abandon every connection, the event stream included. May be called from any thread, and twice."""
        ...
