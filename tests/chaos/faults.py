"""How each fault of the plan begins and ends. An end makes good what its beginning did, also where that came to nothing."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from support import small
from support.promises import answer, cut, is_events, is_read
from support.socket_proxy import Recorded
from support.waiting import eventually

from chaos.judge import Broken
from chaos.plan import Fault
from chaos.stage import Stage, send

GARBAGE = (b"<html>it works</html>", b'{"a": [null]}', b"[" * 5000, b'[{"Id": 5, "Names": [7]}]', b"\xff\xfe\0\0", b"null")
SLOW_S = 1.5
LATELY_S = 30.0
Step = Callable[[Stage, Fault], None]


@dataclass(frozen=True, slots=True)
class Way:
    begin: Step
    end: Step = lambda _stage, _fault: None


# --- the engine and what it answers ---------------------------------------------------------------------------------


def garbage(request: Recorded) -> None:
    answer("200 OK", GARBAGE[len(request.path) % len(GARBAGE)])(request)


def slow(_request: Recorded) -> None:
    time.sleep(SLOW_S)


ERROR = answer("500 Internal Server Error", b'{"message": "no"}')


def by_proxy(stage_at: str, match: Callable[[Recorded], bool], hook: Callable[[Recorded], None]) -> Way:
    """While it lasts, `hook` meets every request that matches, at that stage."""

    def begin(stage: Stage, fault: Fault) -> None:
        until_s = time.monotonic() + fault.for_s

        def lasts(request: Recorded) -> bool:
            return time.monotonic() < until_s and match(request)

        stage.proxy.on(stage_at, lasts, hook)  # type: ignore[arg-type]
        if match is is_events:
            stage.proxy.cut_all()

    return Way(begin)


def hung(match: Callable[[Recorded], bool]) -> Way:
    """While it lasts, every request that matches waits; then all go on."""

    def begin(stage: Stage, fault: Fault) -> None:
        until_s = time.monotonic() + fault.for_s

        def wait(_request: Recorded) -> None:
            time.sleep(max(0.0, until_s - time.monotonic()))

        stage.proxy.on("arrived", lambda request: time.monotonic() < until_s and match(request), wait)

    return Way(begin)


def cut_connections(stage: Stage, _fault: Fault) -> None:
    stage.proxy.cut_all()


def kill_engine(stage: Stage, _fault: Fault) -> None:
    stage.take_engine_down(stage.engine.kill)


def restart_engine(stage: Stage, _fault: Fault) -> None:
    stage.take_engine_down(stage.engine.stop)
    stage.start_engine()


# --- containers -----------------------------------------------------------------------------------------------------


def person_stops(stage: Stage, fault: Fault) -> None:
    """Where guardian is well and does nothing to it, it is nobody else's stop: guardian must leave it down."""
    status = stage.status()
    shed = {one["service"].partition("/")[2] for one in status.get("shed", ())}
    lately = time.monotonic() - LATELY_S
    touched = any(
        small.is_stop(one) and one.arrived_s > lately and stage.ids.get(one.route.split("/")[2]) == fault.service
        for one in stage.proxy.requests
    )
    ran = stage.engine_answers and fault.service in stage.running()
    stage.left_down.add(fault.service)
    stopped = stage.as_person(fault.service, lambda client, name: client.stop(name, timeout=1))
    if status and ran and stopped and not touched and fault.service not in shed and not status["in_flight"]:
        again = stage.status()
        if again and fault.service not in {one["service"].partition("/")[2] for one in again["shed"]}:
            stage.down_by_person[fault.service] = time.monotonic()


def person_starts(stage: Stage, fault: Fault) -> None:
    stage.down_by_person.pop(fault.service, None)
    if stage.as_person(fault.service, lambda client, name: client.start(name)):
        stage.left_down.discard(fault.service)


def recreate(stage: Stage, fault: Fault) -> None:
    """As `compose up --force-recreate` does; also where there is none."""
    stage.down_by_person.pop(fault.service, None)
    discard(stage, fault)
    stage.as_person(fault.service, lambda _client, _name: stage.platform.create(fault.service))
    person_starts(stage, fault)


def discard(stage: Stage, fault: Fault) -> None:
    stage.left_down.add(fault.service)
    stage.as_person(fault.service, lambda client, name: client.remove_container(name, force=True))


def pause(stage: Stage, fault: Fault) -> None:
    if stage.as_person(fault.service, lambda client, name: client.pause(name)):
        stage.paused.add(fault.service)


def unpause(stage: Stage, fault: Fault) -> None:
    """An engine that does not answer leaves it paused: then it is made good once the plan has ended."""
    if fault.service in stage.paused and stage.as_person(fault.service, lambda client, name: client.unpause(name)):
        stage.paused.discard(fault.service)


def crash(stage: Stage, fault: Fault) -> None:
    """Its process ends by itself, and Docker restarts it."""
    stage.as_person(
        fault.service, lambda client, name: send(client.inspect_container(name)["State"]["Pid"] or 0x7FFFFFF, signal.SIGKILL)
    )


# --- guardian, its disk and its file --------------------------------------------------------------------------------


def kill_guardian(stage: Stage, _fault: Fault) -> None:
    stage.guardian_runs = False
    stage.guardian.kill()


def end_guardian(stage: Stage, _fault: Fault) -> None:
    stage.guardian_runs = False
    try:
        stage.guardian.stop(30)
    except subprocess.TimeoutExpired:
        raise Broken("guardian did not end within 30 s of a SIGTERM") from None


def start_guardian(stage: Stage, _fault: Fault) -> None:
    """Until it has its ledger: with a disk that takes nothing it does not start, and that is promised too."""
    stage.start_guardian()
    eventually(stage.guardian.look_up, "guardian to start", 60)


def freeze_guardian(stage: Stage, _fault: Fault) -> None:
    stage.guardian_runs = False
    send(stage.guardian.pid, signal.SIGSTOP)


def thaw_guardian(stage: Stage, _fault: Fault) -> None:
    send(stage.guardian.pid, signal.SIGCONT)
    stage.guardian_runs = True


def fill_disk(stage: Stage, _fault: Fault) -> None:
    filler = os.open(stage.disk / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(filler, b"x" * 4096)
    os.close(filler)


def free_disk(stage: Stage, _fault: Fault) -> None:
    (stage.disk / "filler").unlink(missing_ok=True)


def freeze_disk(stage: Stage, _fault: Fault) -> None:
    subprocess.run(["fsfreeze", "--freeze", str(stage.disk)], check=True, capture_output=True)


def thaw_disk(stage: Stage, _fault: Fault) -> None:
    subprocess.run(["fsfreeze", "--unfreeze", str(stage.disk)], check=False, capture_output=True)


def edit_file(stage: Stage, fault: Fault) -> None:
    """Other marks, which apply at once, and another priority, which waits for an order."""
    edited: dict[str, Any] = copy.deepcopy(stage.config)
    edited["thresholds"]["platform_memory"]["soft"] = "82%"
    edited["services"] = {"kibana": {"priority": round(fault.at_s)}}
    stage.guardian.write_config(small.as_yaml(edited))


def break_file(stage: Stage, _fault: Fault) -> None:
    stage.guardian.write_config(small.as_yaml({**stage.config, "mode": "sometimes", "thresholds": {"memory": {"soft": "x"}}}))


def write_half(stage: Stage, _fault: Fault) -> None:
    """In place, and not to its end: what is there may be a whole configuration, of fewer phases."""
    text = small.as_yaml(stage.config)
    stage.guardian.config_path.write_text(text[: text.rindex("- phase: 4")])


def take_file_away(stage: Stage, _fault: Fault) -> None:
    stage.guardian.config_path.unlink(missing_ok=True)


def put_file_back(stage: Stage, _fault: Fault) -> None:
    stage.guardian.write_config(small.as_yaml(stage.config))


# --- people and readers ---------------------------------------------------------------------------------------------


def ordered(**body: Any) -> Step:
    def give(stage: Stage, fault: Fault) -> None:
        stage.order(**body, **({"services": [fault.service]} if fault.service else {}))

    return give


READERS = 40
_readers: list[socket.socket] = []


def never_read(stage: Stage, _fault: Fault) -> None:
    host = urlsplit(stage.guardian.url)
    for _ in range(READERS):
        with suppress(OSError):
            reader = socket.create_connection((host.hostname, host.port), timeout=2)
            _readers.append(reader)
            reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")


def leave(_stage: Stage, _fault: Fault) -> None:
    while _readers:
        _readers.pop().close()


WAYS: Mapping[str, Way] = {
    "memory soft": Way(lambda stage, _: stage.hold("soft"), lambda stage, _: stage.hold("calm")),
    "memory hard": Way(lambda stage, _: stage.hold("hard"), lambda stage, _: stage.hold("calm")),
    "engine hangs": Way(lambda stage, _: stage.suspend_engine(), lambda stage, _: stage.resume_engine()),
    "engine killed": Way(kill_engine, lambda stage, _: stage.start_engine()),
    "engine restarted": Way(restart_engine),
    "answers cut": by_proxy("arrived", is_read, cut),
    "answers cut amid their body": by_proxy("arrived", is_read, answer("200 OK", b'[{"Id": "', 5000)),
    "answers are errors": by_proxy("arrived", is_read, ERROR),
    "answers are garbage": by_proxy("arrived", is_read, garbage),
    "answers hang": hung(is_read),
    "answers are slow": by_proxy("arrived", is_read, slow),
    "stops cut": by_proxy("arrived", small.is_stop, cut),
    "stops done and their answers cut": by_proxy("answered", small.is_stop, cut),
    "stops hang": hung(small.is_stop),
    "starts are errors": by_proxy("arrived", small.is_start, ERROR),
    "starts done and their answers cut": by_proxy("answered", small.is_start, cut),
    "events cut": by_proxy("answered", is_events, cut),
    "connections cut": Way(cut_connections),
    "person stops": Way(person_stops, person_starts),
    "person starts": Way(person_starts),
    "recreated": Way(recreate),
    "removed": Way(discard, recreate),
    "paused": Way(pause, unpause),
    "crashes": Way(crash),
    "guardian killed": Way(kill_guardian, start_guardian),
    "guardian frozen": Way(freeze_guardian, thaw_guardian),
    "guardian ended": Way(end_guardian, start_guardian),
    "disk full": Way(fill_disk, free_disk),
    "disk stalls": Way(freeze_disk, thaw_disk),
    "file edited": Way(edit_file, put_file_back),
    "file broken": Way(break_file, put_file_back),
    "file half written": Way(write_half, put_file_back),
    "file gone": Way(take_file_away, put_file_back),
    "ordered shed": Way(ordered(order="shed"), ordered(order="restore")),
    "ordered pin": Way(ordered(order="pin"), ordered(order="unpin")),
    "ordered hold": Way(ordered(order="hold"), ordered(order="release")),
    "ordered standby": Way(ordered(order="standby", for_s=60), ordered(order="standby", for_s=0)),
    "ordered reload": Way(ordered(order="reload")),
    "readers that never read": Way(never_read, leave),
}


def make_good(stage: Stage) -> None:
    """Whatever is still wrong, is not any more: everything of the plan has ended."""
    stage.proxy.clear()
    thaw_disk(stage, Fault(0, "", 0))
    free_disk(stage, Fault(0, "", 0))
    put_file_back(stage, Fault(0, "", 0))
    leave(stage, Fault(0, "", 0))
    stage.calm_engine()
    for service in sorted(stage.paused):
        unpause(stage, Fault(0, "", 0, service))
    bring_back(stage)


def bring_back(stage: Stage) -> None:
    """A person starts all that a person, or an engine that was killed, has left down: nothing can be shed that does not run."""
    if stage.engine_answers:
        for service in sorted(stage.left_down - stage.running()):
            recreate(stage, Fault(0, "", 0, service))
