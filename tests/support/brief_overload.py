"""Simulated overloads that take half a minute in real time: one that a shed ends, and one that nothing could end."""

from __future__ import annotations

from pathlib import Path

VICTIM = "logs"
RELIEVED = """\
project: demo
duration: 5m
host:
  memory: 4GiB
  base: 350MiB
  steps:
    - {at: 8s, memory: 970MiB}
    - {at: 16s, memory: 0MiB}
services:
  db: {memory: 700MiB}
  web: {memory: 500MiB}
  logs: {memory: 900MiB}
"""
"""Memory is soft, `logs` is shed, memory falls."""
EXHAUSTING = """\
project: demo
duration: 5m
host:
  memory: 4GiB
  base: 350MiB
  steps:
    - {at: 6s, memory: 1400MiB}
    - {at: 30s, memory: 0MiB}
services:
  db: {memory: 1500MiB, storage: 200MiB, limits: {memory: 3GiB}}
  web: {memory: 500MiB, limits: {memory: 1GiB}}
  logs: {memory: 100MiB}
"""
"""Memory is hard, `logs` is shed, which is not enough, and all else is protected; then memory falls."""
_CONFIG = """\
version: 1
mode: enforce
project: demo
engine: {{url: simulated}}
phases:
- {{phase: 1, name: core, protected: true, services: [db], budget: {{memory: 2GiB, cpu: 50%, storage: 1GB}}}}
- {{phase: 2, name: business, protected: {web_protected}, services: [web], budget: {{memory: 3GiB, cpu: 70%, storage: 2GB}}}}
- {{phase: 3, name: observability, services: [logs], budget: {{memory: 4GiB, cpu: 100%, storage: 3GB}}}}
thresholds: {{memory: {{soft_for: 1s, recover_for: 8s}}}}
restoring: {{stable_for: 1s}}
"""


def write_scenario(path: Path, scenario: str = RELIEVED) -> str:
    """Write it there. The path as an argument of `guardian run`."""
    path.write_text(scenario)
    return str(path)


def config(extra: str = "", *, web_protected: bool = False) -> str:
    return _CONFIG.format(web_protected=str(web_protected).lower()) + extra
