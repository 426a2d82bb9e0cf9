"""The Docker Engine, 20.10 or newer, on cgroup v1 or v2. `guardian.engine.protocol` says what each call promises."""

from __future__ import annotations

import json
import math
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet

from guardian.clock import Clock
from guardian.engine import endpoints, parse
from guardian.engine.disk import parse_disk
from guardian.engine.endpoints import Endpoint, version_numbers
from guardian.engine.link import Answer, Link, Stream, decode
from guardian.engine.parse import Listed
from guardian.engine.pools import TLSConfig
from guardian.engine.protocol import LastWords, RawStats, Scope
from guardian.errors import EngineError, EngineProtocolError, EngineRefused, EngineTimeout, EngineUnreachable
from guardian.model import Container, ContainerState, EngineEvent, EngineInfo, Result
from guardian.storage.values import EngineDisk
from guardian.telemetry import Telemetry
from guardian.workers import Workers

# Calls at once of one round of inspects or stats. Measured: 32 containers of Engine 26 take about as long by 8 as by 64 (its own
# 15 ms of CPU are most of it); 32 of Engine 20.10, which answers once a second, take 4.1 s by 8, 2.0 s by 16 and 1.1 s by 32 and 64.
_IN_FLIGHT = 16
_IN_FLIGHT_SLOW = 32
_AGE_SLACK_S = 2.0  # between the engine's clock at the list and ours after it
_VERIFY_S = 1.0  # kept back from a deadline to look how a call that did not answer has ended
_WAIT_FOREVER = -1  # as `t` of a stop: the engine never kills
_ONE_SHOT_SINCE = (1, 41)
_FAST_ONE_SHOT_SINCE = (1, 42)
_NO_ANSWER = (502, 504)  # of a proxy in between, which has none of the engine's
# Those that change what a list or an inspect shows; a health check's exec events would drown them.
_EVENTS = (
    "create", "start", "die", "stop", "kill", "oom", "pause", "unpause", "restart", "destroy", "rename", "update", "health_status",
)  # fmt: skip

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


class _NoTimeLeft(EngineTimeout):
    """A round was over before this was asked."""


class DockerEngine:
    """The engine at `url` (unix:///… or tcp://…). Makes no call before the first one asked of it."""

    def __init__(self, url: str, timeout_s: float, clock: Clock, telemetry: Telemetry, tls: TLSConfig | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._clock = clock
        self._telemetry = telemetry
        self._sampling = Link(url, timeout_s, clock, telemetry, tls)
        self._acting = Link(url, timeout_s, clock, telemetry, tls)
        self._watching = Link(url, timeout_s, clock, telemetry, tls)
        self._measuring = Link(url, timeout_s, clock, telemetry, tls)
        self._workers = Workers("engine", _IN_FLIGHT_SLOW - 1)  # the thread that asks for a round is one of them
        self._lock = threading.Lock()
        self._known: dict[str, Container] = {}
        self._seen: dict[str, Container] = {}  # as they were inspected last, whether or not that still holds
        self._invalid: set[str] = set()
        self._started: dict[str, tuple[float, float]] = {}  # by id: StartedAt and the monotonic time that stands for it
        self._unasked: frozenset[str] = frozenset()  # those that the last round of stats had no time for
        self._streams: WeakSet[_EventStream] = WeakSet()

    # --- sensing ----------------------------------------------------------------------------------------------------

    def info(self) -> EngineInfo:
        answer = self._sampling.get(endpoints.INFO, self._timeout_s)
        with self._understood(endpoints.INFO):
            return parse.parse_info(answer, self._sampling.api_version())

    def ping(self) -> None:
        answer = self._sampling.call(endpoints.PING, self._timeout_s)
        if answer.status >= 400:
            raise self._sampling.refusal(endpoints.PING, answer)

    def containers(self, scope: Scope) -> tuple[Container, ...]:
        ends_s = self._clock.monotonic() + self._timeout_s
        rows = self._list(scope, ends_s)
        with self._lock:
            for remembered in (self._known, self._seen, self._started):
                for gone in remembered.keys() - rows.keys():
                    del remembered[gone]
            found = {row.id: self._known[row.id] for row in rows.values() if self._holds(row)}
            self._invalid.clear()
        asked = [id_ for id_ in rows if id_ not in found]
        asked.sort(key=lambda id_: not rows[id_].state.up)  # there may be no time for all
        read, failed = self._inspect_all(scope, asked, ends_s)
        found.update(read)
        if failed and not found:
            raise next(iter(failed.values()))
        found.update((id_, self._unread(rows[id_])) for id_ in failed)
        return tuple(found[id_] for id_ in rows if id_ in found)

    def inspect(self, scope: Scope, container_ids: Sequence[str]) -> Mapping[str, Container]:
        with self._lock:
            self._invalid.difference_update(container_ids)
        ends_s = self._clock.monotonic() + self._timeout_s
        found, failed = self._inspect_all(scope, container_ids, ends_s - min(_VERIFY_S, self._timeout_s / 4))
        if failed:
            rows = self._list(scope, ends_s)
            found.update((id_, self._unread(rows[id_])) for id_ in failed if id_ in rows)
        return found

    def invalidate(self, container_ids: Iterable[str]) -> None:
        with self._lock:
            for id_ in container_ids:
                self._known.pop(id_, None)
                self._invalid.add(id_)  # an inspect under way may have been answered before the change

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        if not container_ids:
            return {}
        ends_s = self._clock.monotonic() + self._timeout_s
        version = version_numbers(self._sampling.api_version())
        params = {"stream": "false"}
        if version >= _ONE_SHOT_SINCE:
            params["one-shot"] = "true"
        at_once = _IN_FLIGHT if version >= _FAST_ONE_SHOT_SINCE else _IN_FLIGHT_SLOW
        asked = sorted(container_ids, key=lambda id_: id_ not in self._unasked)
        answers = self._all_at_once(lambda id_: self._one_stats(id_, params, ends_s), asked, ends_s, at_once)
        self._unasked = frozenset(id_ for id_, answer in zip(asked, answers, strict=True) if isinstance(answer, _NoTimeLeft))
        failures = [answer for answer in answers if isinstance(answer, EngineError)]
        if len(failures) == len(answers):
            raise failures[0]
        return {id_: answer for id_, answer in zip(asked, answers, strict=True) if isinstance(answer, RawStats)}

    def disk(self, scope: Scope, deadline_s: float) -> EngineDisk:
        answer = self._measuring.get(endpoints.DISK, deadline_s, {"verbose": "true"})  # without, API 1.52 tells sums alone
        with self._understood(endpoints.DISK):
            return parse_disk(answer, scope)

    def _list(self, scope: Scope, ends_s: float) -> dict[str, Listed]:
        """By id, each container of the scope once; in the order of the list."""
        wanted = [{"label": [f"{parse.PROJECT_LABEL}={project}"]} for project in scope.projects]
        if scope.containers:
            wanted.append({"name": [f"^/?{re.escape(name)}$" for name in scope.containers]})
        rows: dict[str, Listed] = {}
        for filters in wanted:
            params = {"all": "1", "filters": json.dumps(filters)}
            answer = self._sampling.get(endpoints.LIST, self._left_s(ends_s), params)
            with self._understood(endpoints.LIST):
                listed = (parse.parse_listed(row, scope) for row in answer)
                rows.update((row.id, row) for row in listed if row is not None)
        return rows

    def _holds(self, row: Listed) -> bool:
        """Whether what is remembered of a container still agrees with its row in the list."""
        known = self._known.get(row.id)
        if known is None or (known.name, known.service) != (row.name, row.service):
            return False
        if row.state is ContainerState.RUNNING and known.health is not row.health:
            return False
        return self._is_same_run(row, known)

    def _is_same_run(self, row: Listed, known: Container) -> bool:
        """Whether it is in the state that is known since the time that is known, as far as the list tells."""
        if known.state is not row.state:
            return False
        running = row.state in (ContainerState.RUNNING, ContainerState.PAUSED)
        since_wall_s = known.started_wall_s if running else known.finished_wall_s
        if row.max_age_s is None or since_wall_s is None:
            return True
        # Younger than remembered: it has been started, or has ended, again.
        return self._clock.wall() - since_wall_s <= row.max_age_s + _AGE_SLACK_S

    def _unread(self, row: Listed) -> Container:
        """One that could not be inspected: what the list shows of it, and what was known before of all its runs."""
        with self._lock:
            known = self._seen.get(row.id)
        if known is None:
            return parse.unknown_container(row)
        health = row.health if row.state is ContainerState.RUNNING else known.health
        shown = replace(known, name=row.name, service=row.service, state=row.state, health=health, unread=True)
        if self._is_same_run(row, known):
            return shown
        return replace(
            shown, started_s=None, started_wall_s=None, finished_wall_s=None, exit_code=None, pid=None, completed=False
        )

    def _inspect_all(
        self, scope: Scope, container_ids: Sequence[str], ends_s: float
    ) -> tuple[dict[str, Container], dict[str, EngineError]]:
        """Those that exist and are in scope, by id; remembered, unless they were said to change meanwhile. And those that
        could not be inspected: one that cannot, as where it is half removed or waits for a dead disk, hides no other.
        """
        found: dict[str, Container] = {}
        failed: dict[str, EngineError] = {}
        answers = self._all_at_once(lambda id_: self._inspect(scope, id_, ends_s), container_ids, ends_s)
        for id_, answer in zip(container_ids, answers, strict=True):
            if isinstance(answer, EngineError):
                failed[id_] = answer
            elif answer is not None:
                found[id_] = answer
        with self._lock:
            self._seen.update(found)
            for id_ in container_ids:
                if id_ in found and id_ not in self._invalid:
                    self._known[id_] = found[id_]
                else:
                    self._known.pop(id_, None)
        for error in failed.values():
            if isinstance(error, EngineUnreachable):  # that is no container's fault
                raise error
        return found, failed

    def _inspect(self, scope: Scope, container_id: str, ends_s: float) -> Container | None:
        answer = self._sampling.call(endpoints.INSPECT, self._left_s(ends_s), container_id)
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise self._sampling.refusal(endpoints.INSPECT, answer)
        with self._understood(endpoints.INSPECT):
            body = answer.body
            service = parse.service_of(body["Config"].get("Labels") or {}, body["Name"].lstrip("/"), scope)
            if service is None:
                return None
            started_wall_s = parse.parse_time(body["State"]["StartedAt"])
            started_s = None if started_wall_s is None else self._started_s(container_id, started_wall_s)
            return parse.parse_container(body, service, started_s)

    def _started_s(self, container_id: str, started_wall_s: float) -> float:
        """Fixed once for a run, so that a wall clock that is set later does not change an age."""
        with self._lock:
            known = self._started.get(container_id)
            if known is None or known[0] != started_wall_s:
                age_s = max(0.0, self._clock.wall() - started_wall_s)
                known = self._started[container_id] = (started_wall_s, self._clock.monotonic() - age_s)
            return known[1]

    def _one_stats(self, container_id: str, params: Mapping[str, str], ends_s: float) -> RawStats | None:
        answer = self._sampling.call(endpoints.STATS, self._left_s(ends_s), container_id, params)
        if answer.status >= 400:
            return None
        with self._understood(endpoints.STATS):
            return parse.parse_stats(answer.body, self._clock.monotonic())

    def _all_at_once(
        self, work: Callable[[_Item], _Value], items: Sequence[_Item], ends_s: float, at_once: int = _IN_FLIGHT
    ) -> list[_Value | EngineError]:
        """`work` on every item, `at_once` at a time; an item's EngineError stands in its place.

        After `ends_s` nothing more is asked, so no round reaches into the next one: what is left gets _NoTimeLeft.
        """
        waiting = deque(enumerate(items))
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def attempt(item: _Item) -> _Value | EngineError:
            if self._clock.monotonic() >= ends_s:
                return _NoTimeLeft(f"the engine at {self._url} is too slow to be asked for all")
            try:
                return work(item)
            except EngineError as error:
                return error

        def take_turns() -> None:
            with suppress(IndexError):
                while True:
                    index, item = waiting.popleft()
                    try:
                        ended.put((index, attempt(item)))
                    except Exception as error:
                        ended.put((index, error))

        with suppress(RuntimeError):  # closed, or the host has no thread to give: this one does it all
            for _ in range(min(at_once, len(items)) - 1):
                self._workers.submit(take_turns)
        take_turns()
        answers = dict(ended.get() for _ in items)
        for answer in answers.values():
            if isinstance(answer, Exception) and not isinstance(answer, EngineError):
                raise answer
        return [answers[index] for index in range(len(items))]

    def last_words(self, container_id: str, lines: int) -> LastWords:
        params = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        said = self._acting.call(endpoints.LOGS, self._timeout_s, container_id, params)
        seen = self._acting.call(endpoints.INSPECT, self._timeout_s, container_id)
        with self._understood(endpoints.INSPECT):
            health = parse.parse_health_output(seen.body) if seen.status < 400 else ()
        return LastWords(parse.parse_log(said.raw)[-lines:] if said.status < 400 else (), health[-lines:])

    # --- acting -----------------------------------------------------------------------------------------------------

    def stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        if kill and grace_s <= 0:
            return self.kill(container_id, deadline_s)
        with self._changing(container_id):
            return self._stop(container_id, grace_s, deadline_s, kill)

    def kill(self, container_id: str, deadline_s: float) -> Result:
        with self._changing(container_id):
            return self._kill(container_id, deadline_s)

    def start(self, container_id: str, deadline_s: float) -> Result:
        with self._changing(container_id):
            return self._start(container_id, deadline_s)

    def restart(self, container_id: str, grace_s: float, deadline_s: float, kill: bool = True) -> Result:
        with self._changing(container_id):
            return self._restart(container_id, grace_s, deadline_s, kill)

    def set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float) -> Result:
        with self._changing(container_id):
            return self._set_cpu_quota(container_id, cores, deadline_s)

    @contextmanager
    def _changing(self, container_id: str) -> Iterator[None]:
        """What was remembered of it holds no more, however the call ends."""
        try:
            yield
        finally:
            self.invalidate([container_id])

    def _stop(self, container_id: str, grace_s: float, deadline_s: float, kill: bool) -> Result:
        ends_s = self._clock.monotonic() + deadline_s
        # Half of what the deadline leaves beyond the grace is for our own kill, should the engine not get there.
        patience_s = min(grace_s, deadline_s) + max(0.0, deadline_s - grace_s) / 2 if kill else deadline_s
        patience_s = min(patience_s, deadline_s - min(_VERIFY_S, deadline_s / 4))
        params = {"t": str(math.ceil(grace_s) if kill else _WAIT_FOREVER)}
        try:
            answer = self._acting.call(endpoints.STOP, patience_s, container_id, params)
        except EngineTimeout:
            if not self._up(container_id, min(_VERIFY_S, self._left_s(ends_s))):
                return Result.DONE
            try:
                killed = self._kill(container_id, self._left_s(ends_s)) if kill else Result.TIMED_OUT
            except EngineRefused as refusal:  # the kill; the stop goes on within the engine
                raise EngineTimeout(str(refusal)) from refusal
            return Result.DONE if killed is Result.GONE else killed  # what is not there to be killed was ended by the stop
        return self._ended(endpoints.STOP, container_id, answer, ends_s)

    def _kill(self, container_id: str, deadline_s: float) -> Result:
        ends_s = self._clock.monotonic() + deadline_s
        patience_s = deadline_s - min(_VERIFY_S, deadline_s / 4)
        try:
            answer = self._acting.call(endpoints.KILL, patience_s, container_id)
        except EngineTimeout:
            up = self._up(container_id, self._left_s(ends_s))
            return Result.TIMED_OUT if up else Result.DONE
        return self._ended(endpoints.KILL, container_id, answer, ends_s)

    def _start(self, container_id: str, deadline_s: float) -> Result:
        ends_s = self._clock.monotonic() + deadline_s
        patience_s = deadline_s - min(_VERIFY_S, deadline_s / 4)
        try:
            answer = self._acting.call(endpoints.START, patience_s, container_id)
        except EngineTimeout:
            state = self._state(container_id, self._left_s(ends_s))
            return Result.DONE if state is ContainerState.RUNNING else Result.TIMED_OUT
        if answer.status < 400:
            return Result.DONE
        # A missing network or image is a 404 too: only an inspect tells whether it is the container that is missing.
        if answer.status in (404, 409) and self._vanished(container_id, ends_s):
            return Result.GONE
        raise self._refusal(endpoints.START, answer)

    def _restart(self, container_id: str, grace_s: float, deadline_s: float, kill: bool) -> Result:
        """The engine starts what it finds stopped, so it is asked only for what is seen to run: another may have stopped it."""
        ends_s = self._clock.monotonic() + deadline_s
        params = {"t": str(math.ceil(grace_s) if kill else _WAIT_FOREVER)}
        try:
            if self._look(container_id, self._left_s(ends_s)) is not ContainerState.RUNNING:
                return Result.GONE
            answer = self._acting.call(endpoints.RESTART, self._left_s(ends_s), container_id, params)
        except EngineTimeout:
            return Result.TIMED_OUT
        if answer.status < 300:
            return Result.DONE
        if answer.status == 404 and self._vanished(container_id, ends_s):
            return Result.GONE
        if self._up(container_id, self._left_s(ends_s)):
            raise self._refusal(endpoints.RESTART, answer)
        return Result.FAILED

    def _set_cpu_quota(self, container_id: str, cores: float | None, deadline_s: float) -> Result:
        """A quota made by NanoCpus (`cpus` in Compose) can only be changed by NanoCpus, which cannot be lifted: then None
        means all cores of the host. Others are set by CpuQuota, without a period: one would refuse NanoCpus for ever.
        """
        ends_s = self._clock.monotonic() + deadline_s
        try:
            seen = self._acting.call(endpoints.INSPECT, self._left_s(ends_s), container_id)
            if seen.status == 404:
                return Result.GONE
            with self._understood(endpoints.INSPECT):
                host = seen.body["HostConfig"]
                if host.get("NanoCpus"):
                    body = {"NanoCpus": round((self._cpus(ends_s) if cores is None else cores) * 1e9)}
                elif cores is None:
                    body = {"CpuQuota": -1}
                else:
                    body = {"CpuQuota": max(1000, round(cores * (host.get("CpuPeriod") or 100_000)))}
            answer = self._acting.call(endpoints.UPDATE, self._left_s(ends_s), container_id, body=body)
        except EngineTimeout:
            return Result.TIMED_OUT
        if answer.status < 400:
            return Result.DONE
        if answer.status == 404:
            return Result.GONE
        raise self._refusal(endpoints.UPDATE, answer)

    def _ended(self, endpoint: Endpoint, container_id: str, answer: Answer, ends_s: float) -> Result:
        """What the answer to a stop or a kill says."""
        if answer.status < 300:
            return Result.DONE
        if answer.status in (304, 404):
            return Result.GONE
        # Not running, or being removed: both conflict. A paused one that cannot be killed does too.
        failed = answer.status >= 500  # amid the work: what has ended now was ended by it
        state = self._state(container_id, self._left_s(ends_s)) if failed or answer.status == 409 else None
        if state is not None and not state.up:
            return Result.DONE if failed else Result.GONE
        raise self._refusal(endpoint, answer, in_doubt=failed and state is None)

    def _refusal(self, endpoint: Endpoint, answer: Answer, in_doubt: bool = False) -> EngineError:
        """Where it comes from a proxy that had no answer it is in doubt too, and not refused: the engine may do it all the same."""
        refusal = self._acting.refusal(endpoint, answer)
        return EngineTimeout(str(refusal)) if in_doubt or answer.status in _NO_ANSWER else refusal

    def _state(self, container_id: str, timeout_s: float) -> ContainerState | None:
        """None where it cannot be told. A container that no longer exists counts as REMOVING."""
        try:
            return self._look(container_id, timeout_s)
        except EngineError:
            return None

    def _look(self, container_id: str, timeout_s: float) -> ContainerState:
        answer = self._acting.call(endpoints.INSPECT, timeout_s, container_id)
        if answer.status == 404:
            return ContainerState.REMOVING
        with self._understood(endpoints.INSPECT):
            return ContainerState(answer.body["State"]["Status"])

    def _up(self, container_id: str, timeout_s: float) -> bool:
        """Unknown counts as up: what cannot be seen to have ended has not."""
        state = self._state(container_id, timeout_s)
        return state is None or state.up

    def _vanished(self, container_id: str, ends_s: float) -> bool:
        state = self._state(container_id, self._left_s(ends_s))
        return state in (ContainerState.REMOVING, ContainerState.DEAD)

    def _cpus(self, ends_s: float) -> int:
        return int(self._acting.get(endpoints.INFO, self._left_s(ends_s))["NCPU"])

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, scope: Scope, since_wall_s: float | None) -> Iterator[EngineEvent]:
        """Subscribed when this returns. The iterator's `close` ends a read that another thread waits in."""
        params = {"filters": json.dumps({"type": ["container"], "event": _EVENTS})}
        if since_wall_s is not None:
            params["since"] = f"{since_wall_s:.6f}"
        stream = _EventStream(self._watching.stream(endpoints.EVENTS, self._timeout_s, params), scope)
        with self._lock:
            self._streams.add(stream)
        return stream

    def close(self) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        for link in (self._watching, self._sampling, self._acting, self._measuring):
            link.close()
        self._workers.close()

    def _left_s(self, ends_s: float) -> float:
        """The time until a deadline, as a time-out: never 0, which would mean not to wait at all."""
        return max(0.05, ends_s - self._clock.monotonic())

    @contextmanager
    def _understood(self, endpoint: Endpoint) -> Iterator[None]:
        try:
            yield
        except parse.MALFORMED as error:
            self._telemetry.engine_not_understood(endpoint.operation)
            raise EngineProtocolError(
                f"the engine at {self._url} gave an answer to {endpoint.path} of an unknown form: {error!r}"
            ) from error


class _EventStream(Iterator[EngineEvent]):
    """One subscription. Ends after `close`; anything else that ends it raises EngineUnreachable."""

    def __init__(self, lines: Stream, scope: Scope) -> None:
        self._lines = lines
        self._scope = scope

    def __next__(self) -> EngineEvent:
        for line in self._lines:
            try:
                event = parse.parse_event(decode(line), self._scope)
            except parse.MALFORMED as error:
                self.close()
                raise EngineProtocolError(f"the engine sent an event of an unknown form: {error!r}") from error
            if event is not None:
                return event
        raise StopIteration

    def close(self) -> None:
        """May be called from any thread, and twice."""
        self._lines.close()
