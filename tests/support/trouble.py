"""What is done so that guardian says an error: files that are no good, engines and daemons that misbehave, ports that are taken."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shlex
import socket
import socketserver
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import urllib3
import yaml
from click.testing import CliRunner
from support.certificates import FIRST_CERT, SECOND_KEY
from support.cgroup_trees import CgroupTree
from support.fake_daemon import FakeDaemon
from support.snapshots import config as a_config
from support.snapshots import snapshot

from guardian import act_signals, logs, rescue
from guardian.act import ThreadedActor
from guardian.act_signals import Signaller
from guardian.cli import client as clients
from guardian.cli import demo, limits, options, storage
from guardian.cli import replay as replays
from guardian.cli import report as reports
from guardian.cli import top as tops
from guardian.cli.client import Client
from guardian.cli.main import main
from guardian.clock import SystemClock, VirtualClock
from guardian.compose.command import Compose
from guardian.config.load import loads
from guardian.config.schema import AuthConfig, Config, TlsConfig
from guardian.daemon import Daemon
from guardian.engine import restart
from guardian.engine.connect import open_engine
from guardian.engine.docker import DockerEngine
from guardian.engine.endpoints import INFO
from guardian.engine.link import Link
from guardian.errors import EngineUnreachable, UnreachableError
from guardian.expose import web as webs
from guardian.expose.access import access
from guardian.expose.metrics import Metrics
from guardian.expose.orders import OrderReply
from guardian.expose.trace import Trace
from guardian.expose.web import WebServer
from guardian.ledger import history
from guardian.ledger.lock import EngineLock, StateLock
from guardian.ledger.schema import put_aside
from guardian.ledger.store import Store
from guardian.model import Container, ContainerState, ServiceKey
from guardian.objectives import baseline
from guardian.objectives import page as pages
from guardian.objectives import sheets as sheets_of
from guardian.objectives import store as figures
from guardian.objectives.reader import window
from guardian.objectives.store import HoursFile
from guardian.proposal.sampling import sample
from guardian.record import reader as records
from guardian.record.store import RecordFile
from guardian.replay import plot
from guardian.rollout.admission import Admission
from guardian.rollout.progress import Progress, ProgressFile
from guardian.telemetry import NullTelemetry

Provoke = Callable[["Place"], object]

SETTINGS: dict[str, Any] = {
    "version": 1,
    "project": "demo",
    "mode": "enforce",
    "phases": [{"phase": 1, "services": ["db"]}, {"phase": 2, "services": ["logs"]}],
    "target_phase": 1,
}


@dataclass
class Place:
    """A folder to make trouble in, and what is to be undone afterwards."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def path(self, name: str, content: str | bytes | None = None) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def settings(self, name: str = "good.yaml", **fields: Any) -> Path:
        given = {"engine": {"url": f"unix://{self.folder}/none.sock"}, "web": {"control": str(self.path("none"))}}
        return self.path(name, yaml.safe_dump({**SETTINGS, **given, "state_dir": str(self.folder / "state"), **fields}))

    def guardian(self, words: str, code: int, **environ: str) -> str:
        """What a command says on standard error."""
        arguments = shlex.split(words.format(tmp=self.folder))
        result = CliRunner(env={"GUARDIAN_WEB_CONTROL": None, "COLUMNS": "200", **environ}).invoke(main, arguments)
        assert result.exit_code == code, result.output
        return result.stderr

    def daemon(self, shown: Any = None) -> FakeDaemon:
        daemon = FakeDaemon(self.path(f"control-{next(self.numbers)}.sock"), shown)
        self.stack.callback(daemon.close)
        return daemon

    def engine(self, **answers: Any) -> str:
        """The address of an engine that answers 200 to `_ping`, and to all else as `answers` say, by the last word of the path."""
        return self.stack.enter_context(an_engine(self.path(f"engine-{next(self.numbers)}.sock"), answers))

    def docker(self, **answers: Any) -> DockerEngine:
        engine = DockerEngine(self.engine(**answers), 5.0, SystemClock(), NullTelemetry())
        self.stack.callback(engine.close)
        return engine

    def link(self, **answers: Any) -> Link:
        link = Link(self.engine(**answers), 5.0, SystemClock(), NullTelemetry())
        self.stack.callback(link.close)
        return link

    def database(self, name: str, version: int) -> Path:
        path = self.path(name)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        return path


@contextlib.contextmanager
def an_engine(path: Path, answers: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            answer = answers.get(name, {"ApiVersion": "1.45"} if name == "version" else (404, {"message": "no such page"}))
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            if body is None:  # says nothing more
                self.close_connection = True
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - as http.server calls it

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None: ...

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    server = Server(str(path), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"unix://{path}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def a_place(folder: Path) -> Iterator[Place]:
    """A new folder that is the working directory, without a configuration, an engine, a Compose or a systemctl of this machine."""
    folder.mkdir()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(options, "DEFAULT_CONFIG", folder / "no-such.yaml")
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.chdir(folder)
        stack.callback(logs.close)  # a daemon that is begun has configured them
        yield Place(folder, monkeypatch, stack)


def in_observe(place: Place) -> object:
    path = place.settings("observe.yaml", mode="observe")
    return place.guardian(f"emergency --control {{tmp}}/none.sock --config {path}", 1)


def simulated(place: Place) -> Path:
    return place.settings("simulated.yaml", engine={"url": "simulated"})


def asked(method: str, address: str, body: object = None, starting: bool = False) -> Provoke:
    """A request to the control socket, as curl would send it."""

    def ask(place: Place) -> object:
        daemon = place.daemon()
        if starting:
            daemon.snapshot = None
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return Client(place.folder / "control-0.sock")._ask(method, address, data)

    return ask


def ordered(**body: object) -> Provoke:
    return asked("POST", "/api/v1/orders", body)


def submitting(failure: Exception) -> Provoke:
    def submit(place: Place) -> object:
        place.daemon().fails = failure
        return Client(place.folder / "control-0.sock")._ask("POST", "/api/v1/orders", b'{"order": "hold"}')

    return submit


def answered_by(answer: bytes | None, timeout_s: float = 5.0) -> Provoke:
    """The control socket of something that is not guardian. None: it never answers."""

    def ask(place: Place) -> object:
        path = _answering(place, "other.sock", answer or b"", stays=answer is None)
        return Client(path, timeout_s).status()

    return ask


def _answering(place: Place, name: str, answer: bytes, stays: bool) -> Path:
    """A socket that takes one request and answers so; where it `stays`, until whoever asks has left."""
    path = place.folder / name
    listener = place.stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if stays:
                    connection.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return path


def failing_socket(error: OSError) -> Provoke:
    """The kernel refuses to connect to the control socket, which is there."""

    def ask(place: Place) -> object:
        def refuse(_: object) -> None:
            raise error

        place.monkeypatch.setattr(clients._UnixConnection, "connect", refuse)
        return Client(place.path("closed.sock", "")).status()

    return ask


def rescued(place: Place, engine: Any = None, why_not: str = "", **fields: Any) -> object:
    """An emergency without a daemon."""
    place.path("state/x", "")
    config = loads(place.settings(**fields).read_text(), "f.yaml")
    one = rescue.Rescue(config, "anna", engine or open_engine(config, SystemClock(), NullTelemetry()), "unix:///x", None)
    place.stack.callback(one.close)
    if why_not:
        one._actor.no_signals = why_not
    return one.plan((), None)


def host_with(place: Place, processes: str) -> Signaller:
    """A tree of cgroups in which the container `abab…` has these processes."""
    tree = CgroupTree(place.path("cgroups"), 2)
    folder = tree.root / f"docker/{'ab' * 32}"
    tree.add(f"docker/{'ab' * 32}")
    (folder / "cgroup.procs").write_text(processes)
    (tree.proc / "self/status").write_text("CapEff:\t000001ffffffffff\n")
    return Signaller(SystemClock(), str(tree.root), str(tree.proc))


def program(place: Place, name: str, script: str) -> None:
    path = place.path(f"bin/{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    place.monkeypatch.setenv("PATH", f"{path.parent}:/bin:/usr/bin")


def systemctl(script: str, call: Callable[[], object]) -> Provoke:
    def run(place: Place) -> object:
        program(place, "systemctl", script)
        return call()

    return run


def slow_systemctl(place: Place) -> object:
    place.monkeypatch.setattr(restart, "RESTART_WITHIN_S", 0.05)
    program(place, "systemctl", "exec sleep 5")
    return restart.restart_docker()


def composing(script: str, within_s: float = 30.0) -> Provoke:
    def run(place: Place) -> object:
        program(place, "docker-compose", script)
        return Compose(("docker-compose",), {"PATH": os.environ["PATH"]}).run(["config"], within_s)

    return run


def held_lock(place: Place) -> object:
    place.path("state/x", "")
    place.stack.callback(StateLock(place.folder / "state", 0.0).release)
    return StateLock(place.folder / "state", 0.0)


def held_engine(place: Place) -> object:
    place.stack.callback(EngineLock(f"test-{os.getpid()}").release)
    return EngineLock(f"test-{os.getpid()}")


def held_rollout(place: Place) -> object:
    place.stack.callback(ProgressFile(place.folder / "state").release)
    return ProgressFile(place.folder / "state")


def unwritable_rollout(place: Place) -> object:
    one = ProgressFile(place.folder / "state")
    place.stack.callback(one.release)
    place.path("state/rollout.new/x", "")
    return one.save(Progress(goal=1, down=False, from_zero=False, by="x", began_wall_s=0.0))


def silent_daemon(place: Place) -> object:
    place.path("state/x", "")
    place.stack.callback(StateLock(place.folder / "state", 0.0).release)
    silent = SimpleNamespace(status=lambda: (_ for _ in ()).throw(UnreachableError("no guardian answers; start it")))
    config = loads(place.settings().read_text(), "f.yaml")
    return Admission(silent, config, None, VirtualClock()).refresh()


def store(place: Place) -> Store:
    one = Store(place.path("state/ledger.db"), VirtualClock(1e9), NullTelemetry())
    place.stack.callback(one.close, 1.0)
    return one


def unusable_store(place: Place) -> object:
    place.path("state/ledger.db/x", "")
    return store(place)


def refilled_store(place: Place) -> object:
    place.path("state/ledger.db", b"no database" * 100)
    (place.folder / "state/ledger.db.broken-20010909T014640Z").symlink_to("/nonexistent")

    def again(path: Path, now_wall_s: float) -> Path:
        aside = put_aside(path, now_wall_s)
        path.write_bytes(b"nor is this one" * 100)
        return aside

    place.monkeypatch.setattr("guardian.ledger.store.put_aside", again)
    return store(place)


def closed_store(place: Place) -> object:
    one = store(place)
    one.close(1.0)
    return one.submit()


def put_aside_onto(place: Place) -> object:
    broken = place.path("state/ledger.db", b"x")
    place.path("state/ledger.db-wal", b"x")
    place.path("state/ledger.db.broken-20010909T014640Z-wal/x", b"")
    return put_aside(broken, 1e9)


def web(listen: str, *, tls: TlsConfig | None = None, auth: AuthConfig | None = None) -> Provoke:
    def start(place: Place) -> object:
        def filled(one: Any) -> Any:
            return one and type(one)(**{name: getattr(one, name).format(tmp=place.folder) for name in one.__struct_fields__})

        place.path("first.pem", FIRST_CERT)
        place.path("second.key", SECOND_KEY)
        place.path("empty", "")
        config = replace_web(a_config(), tls=filled(tls), auth=filled(auth))
        clock = VirtualClock()
        server = WebServer(listen, Metrics(clock), Trace(), lambda *_: (), clock, access(config.web))
        place.stack.callback(server.close)
        return server

    return start


def replace_web(config: Config, **fields: Any) -> Config:
    return msgspec.structs.replace(config, web=msgspec.structs.replace(config.web, **fields))


def demo_on_a_taken_port(place: Place) -> object:
    taken = place.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return place.guardian(f"demo --listen 127.0.0.1:{taken.getsockname()[1]}", 1)


def low_port(place: Place) -> object:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    place.monkeypatch.setattr(webs.BoundedServer, "server_bind", refuse)
    return web("127.0.0.1:80")(place)


def taken_port(place: Place) -> object:
    taken = place.stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return web(f"127.0.0.1:{taken.getsockname()[1]}")(place)


def daemons(place: Place, **fields: Any) -> object:
    """What `guardian run` says as it starts."""
    path = place.settings(web={"control": str(place.folder / "control.sock"), "listen": "127.0.0.1:0"}, **fields)
    return place.guardian(f"run --config {path}", 1)


def refusing(reply: OrderReply) -> Any:
    """A client whose daemon answers so."""
    return SimpleNamespace(order=lambda *_, **__: reply)


def unmeasured(_: Place) -> object:
    found = {"storage": {"attempts": 1, "problem": "the engine does not answer; try again once it is up"}}
    reply = OrderReply(True, "", data={"attempts": 0})
    return storage._measured(SimpleNamespace(order=lambda _: reply, status=lambda: found))


def unkillable(place: Place) -> object:
    """A real process that this one may not signal."""
    signaller = host_with(place, "1\n")
    place.path("cgroups/proc/1/cgroup", f"0::/docker/{'ab' * 32}\n")
    place.path("cgroups/proc/1/status", "PPid:\t0\n")

    def refuse(*_: object) -> None:
        raise PermissionError

    place.monkeypatch.setattr(act_signals.signal, "pidfd_send_signal", refuse)
    return signaller.stop("ab" * 32, 1.0, 1.0)


def no_signals(place: Place) -> object:
    actor = ThreadedActor(an_empty_engine(), SystemClock(), NullTelemetry(), lambda *_: True)
    place.stack.callback(actor.close, 1.0)
    actor.no_signals = "no cgroups of containers are seen below /x: run it as root"
    return actor._by_signal(SimpleNamespace(), "ab")


def composing_gone(place: Place) -> object:
    return Compose(("docker-compose",), {"PATH": "/nonexistent"}).run(["config"], 1.0)


def rubbish(place: Place) -> object:
    return raw_engine(place, "rubbish.sock", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 5.0)


def slow_engine(place: Place) -> object:
    return raw_engine(place, "slow.sock", b"", 0.05)


def raw_engine(place: Place, name: str, answer: bytes, timeout_s: float) -> object:
    path = _answering(place, name, answer, stays=True)
    return Link(f"unix://{path}", timeout_s, SystemClock(), NullTelemetry()).get(INFO, timeout_s)


def slow_stats(place: Place) -> object:
    engine = place.docker()
    return engine._all_at_once(lambda _: None, ["x"], 0.0)[0]


def closed_link(place: Place) -> object:
    link = Link(f"unix://{place.folder}/none.sock", 1.0, SystemClock(), NullTelemetry())
    link.close()
    return link.get(INFO, 1.0)


def forbidden_engine(place: Place) -> object:
    link = Link("unix:///x", 1.0, SystemClock(), NullTelemetry())
    return link._failure(urllib3.exceptions.ProtocolError("aborted", PermissionError(13, "no")), 1.0)


def no_use(place: Place) -> object:
    running = Container("db-1", "db-1", ServiceKey("demo", "db"), state=ContainerState.RUNNING)
    unwilling = SimpleNamespace(stats=lambda _: (_ for _ in ()).throw(EngineUnreachable("x")))
    return sample(unwilling, [running], 0.0, VirtualClock(), lambda _: None)


def no_plan(place: Place) -> object:
    shown = snapshot()
    place.daemon(replace(shown, sample=replace(shown.sample, host=None)))
    return Client(place.folder / "control-0.sock").plan("memory", None)


def taken_socket(place: Place) -> object:
    place.daemon()
    return FakeDaemon(place.folder / "control-0.sock")


def fatal_daemon(place: Place) -> object:
    daemon = SimpleNamespace(_fatal="engine x: another guardian looks after it; stop it first")
    return Daemon._verdict(daemon, orderly=True)


def unseen(place: Place) -> Path:
    """A directory of which the kernel does not even say whether it is there."""
    return place.folder / ("x" * 300)


def opened_record(path: Path) -> object:
    with records.opened(path):
        return None


def opened_figures(path: Path) -> object:
    with figures.opened(path):
        return None


def written(place: Place) -> Path:
    """A recording without a row."""
    path = place.path("r/record.db")
    RecordFile(path).close()
    return path


def busy_ledger(place: Place) -> object:
    path = place.database("state/ledger.db", 1)
    other = place.stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
    other.execute("BEGIN EXCLUSIVE")
    place.monkeypatch.setattr(history, "READ_TIMEOUT_S", 0.01)
    return place.guardian(f"history --state-dir {path.parent}", 1)


def typed_in_latin_1(place: Place) -> object:
    store(place)
    return place.guardian("history --state-dir {tmp}/state --service a/caf\udce9", 2)


def gone_directory(place: Place) -> object:
    (place.folder / "gone").mkdir()
    place.monkeypatch.chdir(place.folder / "gone")
    (place.folder / "gone").rmdir()
    return place.guardian("init", 1)


def defect(place: Place) -> object:
    def fail(*_: object) -> None:
        raise RuntimeError("x")

    place.monkeypatch.setattr(Client, "status", fail)
    return place.guardian("status", 1)


def no_figures(place: Place) -> object:
    HoursFile(place.path("f/objectives.db"), 0.0).close()
    return window(place.folder / "f/objectives.db", 0.0, 1.0)


REPORT = dict.fromkeys(("version", "made_wall_s", "from_wall_s", "until_wall_s"), 1) | {"services": [], "phases": []}


def a_baseline(place: Place) -> Path:
    baseline.save(place.folder, "x", REPORT)
    return place.folder


def no_picture(place: Place) -> object:
    place.monkeypatch.setattr(plot, "drawn", lambda *_: None)
    place.monkeypatch.setitem(sys.modules, "guardian.replay.svg", SimpleNamespace(svg=lambda _: ""))
    return replays.draw_picture(place.folder / "no/x.svg", [("x", SimpleNamespace(since_wall_s=0.0))])


def no_pillow(place: Place) -> object:
    place.monkeypatch.setitem(sys.modules, "guardian.replay.png", None)
    return replays.check_picture(Path("x.png"))


def no_report(place: Place) -> object:
    place.monkeypatch.setattr(pages, "page", lambda *_: "<html>")
    place.monkeypatch.setattr(sheets_of, "heading", lambda _: "")
    place.monkeypatch.setattr(sheets_of, "sheets", lambda *_: ())
    return reports._write(place.folder / "no/x.html", {}, None)


def written_limits(place: Place, name: str) -> object:
    place.settings()
    compose = place.path("compose.yml", "services: {db: {image: x}}")
    return limits._write([], [compose], a_config(), place.folder / name)


def refused_limits(place: Place) -> object:
    program(place, "docker-compose", "case $* in *new.yml*) echo line 3 >&2; exit 5;; esac; echo 'services: {db: {image: x}}'")
    return written_limits(place, "new.yml")


def no_interval(place: Place) -> object:
    place.monkeypatch.setattr(tops, "console", lambda **_: SimpleNamespace(is_terminal=True))
    place.monkeypatch.setattr(tops.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    return tops.top.callback.__wrapped__(client=None, interval=0.0)


def broken_demo(place: Place, *, ended: bool) -> object:
    place.monkeypatch.setattr(demo, "READY_S", -1.0)
    process = SimpleNamespace(poll=lambda: 1 if ended else None)
    log = place.path("log", "web.listen: taken; set another")
    return demo._answering(Client(place.folder / "none.sock"), process, log)


def an_empty_engine() -> Any:
    info = SimpleNamespace(id=f"empty-{os.getpid()}", root_dir="/nonexistent")
    return SimpleNamespace(info=lambda: info, containers=lambda _: (), close=lambda: None)
