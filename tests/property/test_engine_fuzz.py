"""Whatever the engine answers, guardian has a sound value or one of its own errors, soon, and keeps nothing of it."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.any_engine import AnyEngine, framed
from support.mangling import ODD, damaged, is_sound, junk, mangled

from guardian.clock import SystemClock
from guardian.engine import parse
from guardian.engine.docker import DockerEngine
from guardian.engine.protocol import Scope
from guardian.errors import EngineError
from guardian.model import ServiceKey
from guardian.telemetry import NullTelemetry

SCOPE = Scope(("demo",), ("lone",))
ID = "ab" * 32
LABELS = {
    parse.PROJECT_LABEL: "demo",
    parse.SERVICE_LABEL: "web",
    parse.NUMBER_LABEL: "1",
    parse.DEPENDS_ON_LABEL: "db:service_healthy:false,cache:service_started:true",
    "guardian.phase": "3",
    "guardian.priority": "-2",
    "guardian.protect": "false",
    "guardian.stop-timeout": "20s",
}
LIST = [{"Id": ID, "Names": ["/demo-web-1"], "State": "running", "Status": "Up 3 minutes (healthy)", "Labels": LABELS}]
INSPECT = {
    "Id": ID, "Name": "/demo-web-1", "RestartCount": 2,
    "State": {
        "Status": "running", "ExitCode": 0, "Health": {"Status": "healthy"},
        "StartedAt": "2026-11-23T19:26:51.480464193Z", "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Config": {"Labels": LABELS, "StopTimeout": 20},
    "HostConfig": {
        "NetworkMode": "container:abc", "PidMode": "", "IpcMode": "private", "RestartPolicy": {"Name": "always"},
        "Memory": 1 << 28, "MemoryReservation": 1 << 27, "NanoCpus": 0, "CpuQuota": 50_000, "CpuPeriod": 100_000,
    },
}  # fmt: skip
STATS = {
    "read": "2026-11-23T19:30:00Z",
    "memory_stats": {"usage": 1 << 27, "stats": {"total_rss": 1 << 26, "total_inactive_file": 4096, "total_shmem": 0}},
    "cpu_stats": {"cpu_usage": {"total_usage": 10**9}, "throttling_data": {"periods": 10, "throttled_periods": 1}},
    "pids_stats": {"current": 3},
}
STATS_V2 = {
    **STATS,
    "memory_stats": {
        "usage": 1 << 27,
        "stats": {
            "anon": 1 << 26,
            "inactive_file": 4096,
            "shmem": 0,
            "slab_unreclaimable": 5,
            "kernel_stack": 1,
            "pagetables": 2,
        },
    },
}
EVENT = {
    "Type": "container", "Action": "die", "time": 1_790_000_000, "timeNano": 1_790_000_000_000_000_000,
    "Actor": {"ID": ID, "Attributes": {**LABELS, "name": "demo-web-1", "exitCode": "0"}},
}  # fmt: skip
INFO = {
    "ID": "abc", "Name": "host", "ServerVersion": "26.1.5", "CgroupVersion": "2", "NCPU": 4, "MemTotal": 1 << 32,
    "DockerRootDir": "/var/lib/docker",
}  # fmt: skip
NOT_OF_ITS_FORM = (KeyError, TypeError, ValueError, AttributeError)  # what the functions of `parse` may raise


class Mad:
    """An engine on a socket, and guardian's side of it, which are the same for all examples."""

    def __init__(self, folder: Path) -> None:
        self.server = AnyEngine(folder / "mad.sock")
        self.engine = DockerEngine(self.server.url, 0.5, SystemClock(), NullTelemetry())

    def answers(self, raw: bytes) -> None:
        self.server.answering = lambda _method, _route: raw

    def asked(self) -> None:
        """Every call there is: each ends with a sound value or an EngineError."""
        calls: tuple[Callable[[], Any], ...] = (
            self.engine.info,
            self.engine.ping,
            lambda: list(self.engine.containers(SCOPE)),
            lambda: dict(self.engine.inspect(SCOPE, [ID])),
            lambda: dict(self.engine.stats([ID])),
            lambda: self.engine.stop(ID, 0.1, 0.5),
            lambda: self.engine.kill(ID, 0.5),
            lambda: self.engine.start(ID, 0.5),
            lambda: self.engine.set_cpu_quota(ID, 0.5, 0.5),
        )
        for call in calls:
            try:
                found = call()
            except EngineError:
                continue
            for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
                assert is_sound(value)
        self._watched()

    def _watched(self) -> None:
        events = None
        try:
            events = self.engine.events(SCOPE, None)
            for event in events:
                assert is_sound(event)
        except EngineError:
            pass
        finally:
            if events is not None:
                events.close()  # type: ignore[attr-defined]

    def close(self) -> None:
        self.engine.close()
        self.server.close()


@pytest.fixture(scope="module")
def mad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mad]:
    mad = Mad(tmp_path_factory.mktemp("mad"))
    yield mad
    mad.close()


@given(st.sampled_from([LIST, INSPECT, STATS, INFO, EVENT]).flatmap(lambda true: damaged(framed(json.dumps(true).encode()))))
def test_any_bytes_from_the_engine_are_answered(mad: Mad, raw: bytes) -> None:
    """Whatever bytes come in place of an answer, each call ends with a sound value or an error of guardian's own."""
    mad.answers(raw)
    mad.asked()


@given(st.sampled_from([LIST, INSPECT, STATS, INFO, EVENT]).flatmap(lambda true: st.one_of(mangled(true), junk)))
def test_any_json_from_the_engine_is_answered(mad: Mad, answer: Any) -> None:
    """Whatever JSON comes in place of an answer, each call ends with a sound value or an error of guardian's own."""
    mad.answers(framed(json.dumps(answer).encode()))
    mad.asked()


@given(st.sampled_from([STATS, STATS_V2]).flatmap(mangled))
def test_any_stats_are_known_or_unknown(answer: Any) -> None:
    """Of any stats each figure is one that can be, or unknown: never a negative one, nor what is no number."""
    try:
        stats = parse.parse_stats(answer, 5.0)
    except NOT_OF_ITS_FORM:
        return
    if stats is not None:
        assert is_sound(stats)
        figures = (stats.working_set_bytes, stats.footprint_bytes, stats.cpu_total_s, stats.strain.pids)
        assert all(figure is None or figure >= 0 for figure in figures)


@given(st.sampled_from(["list", "inspect", "event", "info"]), st.data())
def test_any_answer_becomes_a_sound_value(what: str, data: st.DataObject) -> None:
    """Of any list, inspect, event or info comes a value whose every part is of its type, or none."""
    read: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "list": (LIST[0], lambda row: parse.parse_listed(row, SCOPE)),
        "inspect": (INSPECT, lambda answer: parse.parse_container(answer, ServiceKey("demo", "web"), 5.0)),
        "event": (EVENT, lambda raw: parse.parse_event(raw, SCOPE)),
        "info": (INFO, lambda answer: parse.parse_info(answer, "1.41")),
    }
    true, parsed = read[what]
    try:
        value = parsed(data.draw(mangled(true)))
    except NOT_OF_ITS_FORM:
        return
    assert value is None or is_sound(value)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(LABELS)), st.text(max_size=8)), st.one_of(st.sampled_from(ODD), st.text(max_size=20))
    )
)
@example({parse.NUMBER_LABEL: "²"})
@example({parse.NUMBER_LABEL: "9" * 5000})
def test_no_label_hides_a_container(labels: dict[str, str]) -> None:
    """A container of the scope is listed and understood whatever its labels say: one that anybody may set blinds nobody."""
    labels = {name: text.encode(errors="replace").decode() for name, text in labels.items()} | {parse.PROJECT_LABEL: "demo"}
    listed = parse.parse_listed({**LIST[0], "Labels": labels}, SCOPE)
    assert listed is not None
    answer = {**INSPECT, "Config": {"Labels": labels}}
    container = parse.parse_container(answer, listed.service, 5.0)
    assert is_sound(container)
    assert all("\n" not in problem for problem in container.labels.problems)


def test_answers_that_are_junk_leave_nothing_behind(tmp_path: Path) -> None:
    """Hundreds of answers that are junk leave neither values nor threads behind."""
    mad = Mad(tmp_path)
    answers = [framed(json.dumps(one).encode()) for one in (LIST, INSPECT, STATS, EVENT, [], {"a": [None]}, "x" * 10_000)]
    answers += [
        b"",
        b"220 mail ready\r\n\r\n",
        answers[0][:200],
        framed(b"{", "500 Internal Server Error"),
        framed(b"[" * 9999),
    ]

    def rounds(count: int) -> tuple[int, int]:
        for _ in range(count):
            for raw in answers:
                mad.answers(raw)
                mad.asked()
        gc.collect()
        return len(gc.get_objects()), threading.active_count()

    try:
        rounds(4)
        objects, threads = rounds(4)
        later, threads_later = rounds(8)
        assert later - objects < 500
        assert threads_later <= threads + 2  # one of the server's own may still be on its way out
    finally:
        mad.close()
