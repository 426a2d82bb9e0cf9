"""A simulated overload that takes half a minute in real time: memory is soft, `logs` is shed, memory falls, `logs` is back."""

from __future__ import annotations

from pathlib import Path

VICTIM = "logs"
_SCENARIO = """\
project: demo
duration: 5m
host:
  memory: 4GiB
  base: 350MiB
  steps:
    - {at: 4s, memory: 970MiB}
    - {at: 12s, memory: 0MiB}
services:
  db: {memory: 700MiB}
  web: {memory: 500MiB}
  logs: {memory: 900MiB}
"""
_CONFIG = """\
version: 1
mode: enforce
project: demo
engine: {url: simulated}
phases:
- {phase: 1, name: core, protected: true, services: [db]}
- {phase: 2, name: business, services: [web]}
- {phase: 3, name: observability, services: [logs]}
thresholds: {memory: {soft_for: 1s, recover_for: 8s}}
restoring: {stable_for: 1s}
"""


def write_scenario(path: Path) -> str:
    """Write it there. Arguments of `guardian run` for it."""
    path.write_text(_SCENARIO)
    return str(path)


def config(extra: str = "") -> str:
    return _CONFIG + extra
