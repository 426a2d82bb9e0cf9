"""The reference configuration as tests use it: config/guardian.yaml itself, with short times, and what a test sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REFERENCE_FILE = Path(__file__).parents[2] / "config" / "guardian.yaml"
SHORT: Mapping[str, Any] = {
    "mode": "enforce",
    "host": {"memory": "4GiB"},
    "thresholds": {
        "memory": {"soft_for": "1s", "recover_for": "3s"},
        "cpu": "off",
        "swap": "off",  # these two are the machine's that the tests run on, and nothing of theirs
        "disk": "off",
    },
    "restoring": {"stable_for": "1s", "probation": "5s"},
}


def reference_config(url: str, *changes: Mapping[str, Any]) -> str:
    """YAML: the reference file, then `SHORT`, the engine's `url` and each of `changes`, merged key by key."""
    settings = yaml.safe_load(REFERENCE_FILE.read_text())
    for change in (SHORT, {"engine": {"url": url}}, *changes):
        settings = _merged(settings, change)
    return yaml.safe_dump(settings, sort_keys=False)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged
