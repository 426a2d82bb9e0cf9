"""Finds out the facts: every look has a deadline, changes nothing and raises nothing that a host can cause."""

from __future__ import annotations

import ctypes
import getpass
import os
import socket
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from guardian.act_signals import Signaller
from guardian.clock import SystemClock
from guardian.config.compare import compare
from guardian.config.load import load, warnings
from guardian.config.schema import Config
from guardian.doctor.facts import Facts, Process, Room, Unit
from guardian.engine import endpoints
from guardian.engine.connect import open_engine, open_link, resolve
from guardian.engine.protocol import Scope
from guardian.errors import ConfigError, EngineError
from guardian.sense.cgroup_paths import find_hierarchy
from guardian.sense.triggers import PARTS, WINDOWS_S, register
from guardian.telemetry import NullTelemetry

SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
UNIT = "guardian.service"
SYSTEMCTL_S = 5.0
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")  # Docker's, and Podman's
_PEERS = ("earlyoom", "systemd-oomd", "oomd", "nohang", "kubelet")


def look(config_path: Path, control: Path | None, environ: Mapping[str, str] = os.environ) -> Facts:
    """All facts. `control` is the daemon's socket, where it is not the file's."""
    facts = Facts(user=_user(), config_path=str(config_path), missing=not config_path.exists())
    facts = _file(facts, config_path, environ)
    if (config := facts.config) is not None:
        facts = replace(_engine(facts, config, environ), state_dir=_room(Path(config.state_dir)))
    elif facts.missing:  # as on a host where guardian is new: then it is asked what can be
        facts = replace(_engine(facts, Config(version=1, phases=()), environ), compared=())
    hierarchy = find_hierarchy("/sys/fs/cgroup")
    pressure, trigger = _pressure()
    return replace(
        facts,
        cgroup_version=None if hierarchy is None else hierarchy.version,
        pressure_problem=pressure,
        trigger_problem=trigger,
        signal_problem=Signaller(SystemClock()).problem(),
        engine_root=None if facts.engine is None or not facts.local else _seen(Path(facts.engine.root_dir)),
        systemd=SYSTEMD_RUNS.is_dir(),
        unit=_unit() if SYSTEMD_RUNS.is_dir() else None,
        oom_score_adj=_oom_score_adj(control or _control(facts)),
        clock_synchronised=_clock_synchronised(),
        processes=_processes(),
        in_container=any(Path(mark).exists() for mark in _CONTAINER_MARKS),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _control(facts: Facts) -> Path | None:
    return None if facts.config is None else Path(facts.config.web.control)


def _file(facts: Facts, path: Path, environ: Mapping[str, str]) -> Facts:
    try:
        config = load(path, environ)
    except ConfigError as error:
        return replace(facts, mistakes=tuple(str(problem) for problem in error.problems))
    doubts = tuple(f"{problem.path}: {problem.message}" for problem in warnings(config, environ, str(path)))
    return replace(facts, config=config, doubts=doubts)


def _engine(facts: Facts, config: Config, environ: Mapping[str, str]) -> Facts:
    if config.engine.url == "simulated":
        return facts
    clock = SystemClock()
    try:
        facts = replace(facts, engine_url=resolve(config.engine.url, environ))
        engine, link = open_engine(config, clock, NullTelemetry()), open_link(config, clock)
    except EngineError as error:
        return replace(facts, engine_url=facts.engine_url or config.engine.url, engine_problem=str(error))
    try:
        info = engine.info()
        scope = Scope(config.projects, config.containers)
        rows = link.get(endpoints.LIST, float(config.engine.timeout))
        return replace(facts, engine=info, compared=compare(config, engine.containers(scope)), images=_images(rows))
    except EngineError as error:
        return replace(facts, engine_problem=str(error))
    finally:
        engine.close()
        link.close()


def _images(rows: Any) -> tuple[tuple[str, str], ...]:
    """Name and image of each row of the engine's list; a row of another form is left out."""
    found = []
    for row in rows if isinstance(rows, list) else ():
        names = row.get("Names") if isinstance(row, dict) else None
        if names and isinstance(row.get("Image"), str):
            found.append((str(names[0]).lstrip("/"), row["Image"]))
    return tuple(found)


def _room(path: Path) -> Room:
    exists = path.is_dir()
    below = path
    while not below.exists() and below != below.parent:
        below = below.parent
    seen = _seen(below)
    free, size = (None, None) if seen is None else (seen.free_bytes, seen.size_bytes)
    return Room(str(path), exists, exists and os.access(path, os.W_OK | os.X_OK), free, size)


def _seen(path: Path) -> Room | None:
    """None for one that is not here, or may not be looked at."""
    try:
        usage = psutil.disk_usage(str(path))
    except OSError:
        return None
    return Room(str(path), True, os.access(path, os.W_OK), usage.free, usage.used + usage.free)


def _pressure() -> tuple[str, str]:
    """What is wrong with pressure figures, and with a trigger of half a second."""
    try:
        Path("/proc/pressure/memory").read_text(encoding="ascii")
    except OSError as error:
        return f"this kernel tells no pressure (/proc/pressure/memory: {error.strerror or error})", ""
    try:
        os.close(register("memory", PARTS["memory"], WINDOWS_S[0]))
    except OSError as error:
        return "", error.strerror or str(error)
    return "", ""


def _unit() -> Unit | None:
    try:
        said = subprocess.run(  # noqa: S603 - fixed words
            ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", UNIT],  # noqa: S607 - as an operator would call it
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return Unit(values.get("LoadState", ""), values.get("ActiveState", ""), values.get("UnitFileState", "") or "not installed")


def _oom_score_adj(control: Path | None) -> int | None:
    """Of whoever listens on the control socket; None where nobody does, or it cannot be asked."""
    if control is None:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2.0)
            connection.connect(str(control))
            pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _clock_synchronised() -> bool | None:
    """By the kernel (adjtimex(2)), which any time service tells; None where it cannot be asked."""
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None:
        return None
    state = int(adjtimex(ctypes.create_string_buffer(512)))  # all zero: it only reads; struct timex takes 208 bytes
    return None if state < 0 else state != _TIME_ERROR


def _processes() -> tuple[Process, ...]:
    """Those that might fight guardian. A container's processes count too: an OOM daemon acts from there as well."""
    found = []
    for process in psutil.process_iter():
        try:
            if (name := process.name()) in _PEERS:
                found.append(Process(name, tuple(process.cmdline()[1:])))
        except psutil.Error:
            continue
    return tuple(found)
