"""An engine that only answers: what a real one said of one container is told of many, each with a cgroup of its own.

It runs as a process of its own (`python -m bench.told`), so that its CPU is not guardian's.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import urlsplit

from support.waiting import eventually

from guardian.sense.cgroup_paths import Hierarchy

Json = dict[str, Any]
_SERVICE = "com.docker.compose.service"
_AGE = "(age)"  # stands for it until the list is asked for


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def record(path: Path) -> Json:
    """What the engine at this socket says of itself and of its first container, by kind of answer."""
    connection = _Connection(path)

    def get(route: str) -> Any:
        connection.request("GET", route)
        return json.loads(connection.getresponse().read())

    row = get("/containers/json")[0]
    id_ = row["Id"]
    answers = {
        "version": get("/version"),
        "info": get("/info"),
        "row": row,
        "inspect": get(f"/containers/{id_}/json"),
        "stats": get(f"/containers/{id_}/stats?stream=false"),
    }
    connection.close()
    return answers


class ToldEngine:
    """Tells of containers by name, each with its id, and serves at `url`. A context manager."""

    def __init__(self, recorded: Json, ids: Mapping[str, str], hierarchy: Hierarchy, parent: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._socket = Path(self._folder.name) / "told.sock"
        self.url = f"unix://{self._socket}"
        self._told = {"recorded": recorded, "ids": dict(ids), "hierarchy": asdict(hierarchy), "parent": parent}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ToldEngine:
        told = Path(self._folder.name) / "told.json"
        told.write_text(json.dumps(self._told))
        self._process = subprocess.Popen([sys.executable, "-m", "bench.told", str(told), str(self._socket)])
        eventually(self._socket.exists, "the engine that only answers is there")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def _handler(told: Json) -> type[BaseHTTPRequestHandler]:
    recorded, hierarchy, ids = told["recorded"], Hierarchy(**told["hierarchy"]), told["ids"]
    names = {id_: name for name, id_ in ids.items()}
    inspected = {id_: json.dumps(_inspect(recorded["inspect"], name, id_)).encode() for id_, name in names.items()}
    rows = json.dumps([_row(recorded["row"], name, id_) for name, id_ in ids.items()]).encode()
    began_s = datetime.fromisoformat(recorded["inspect"]["State"]["StartedAt"]).timestamp()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            parts = [part for part in urlsplit(self.path).path.split("/") if part]
            if parts and parts[0][:1] == "v" and parts[0][1:2].isdigit():
                parts = parts[1:]
            match parts:
                case ["_ping"]:
                    self._answer(b"OK")
                case ["version" | "info" as kind]:
                    self._answer(json.dumps(recorded[kind]).encode())
                case ["containers", "json"]:
                    self._answer(rows.replace(_AGE.encode(), _age(time.time() - began_s).encode()))
                case ["containers", id_, "json"] if id_ in names:
                    self._answer(inspected[id_])
                case ["containers", id_, "stats"] if id_ in names:
                    self._answer(json.dumps(_stats(recorded["stats"], hierarchy, f"{told['parent']}/{id_}")).encode())
                case ["events"]:
                    self._nothing_happens()
                case _:
                    self._answer(b'{"message": "not told"}', 404)

        def _answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _nothing_happens(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            threading.Event().wait()

        def address_string(self) -> str:
            return "guardian"

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
            """Nothing is logged."""

    return Handler


def _row(row: Json, name: str, id_: str) -> Json:
    return {**row, "Status": f"Up {_AGE}", "Id": id_, "Names": [f"/{name}"], "Labels": {**row["Labels"], _SERVICE: name}}


def _age(seconds: float) -> str:
    """As the engine writes it, where nothing runs for an hour."""
    return f"{seconds:.0f} seconds" if seconds < 60 else f"{seconds / 60:.0f} minutes"


def _inspect(inspected: Json, name: str, id_: str) -> Json:
    config = {**inspected["Config"], "Labels": {**inspected["Config"]["Labels"], _SERVICE: name}}
    return {**inspected, "Id": id_, "Name": f"/{name}", "Config": config}


def _stats(stats: Json, hierarchy: Hierarchy, path: str) -> Json:
    """The cgroup's own figures, as the engine would read them."""

    def text(folder: str, file: str) -> str:
        return Path(f"{folder}/{path}/{file}").read_text()

    figures = {key: int(value) for key, value in (line.split() for line in text(hierarchy.memory, "memory.stat").splitlines())}
    v1 = hierarchy.version == 1
    usage = int(text(hierarchy.memory, "memory.usage_in_bytes" if v1 else "memory.current"))
    used = text(hierarchy.cpu, "cpuacct.usage" if v1 else "cpu.stat").split()
    total_ns = int(used[0]) if v1 else int(used[1]) * 1000  # v2: usage_usec
    cpu = {**stats["cpu_stats"], "cpu_usage": {**stats["cpu_stats"]["cpu_usage"], "total_usage": total_ns}}
    return {**stats, "cpu_stats": cpu, "memory_stats": {**stats["memory_stats"], "usage": usage, "stats": figures}}


def main() -> None:
    told, path = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    server = _Server(f"{path}.new", _handler(told))
    os.rename(f"{path}.new", path)  # once it listens
    server.serve_forever()


if __name__ == "__main__":
    main()
