"""Baselines: figures that are kept under a name, to be compared with later ones.

Each is a file of its own in `baselines` of the state directory. Whoever may write there makes it; the daemon needs none of them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from guardian.errors import GuardianError
from guardian.objectives.report import VERSION

FOLDER = "baselines"
NAME_FORM = "letters, digits, dots, dashes and underscores, 64 at most, and no dot first"
FIGURES = (
    "availability_ratio", "healthy_ratio", "error_ratio", "response_p50_s", "response_p95_s", "memory_mean_bytes",
    "memory_most_bytes", "cpu_mean_cores", "cpu_most_cores", "rx_bytes_per_s", "tx_bytes_per_s",
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


class BaselineError(GuardianError):
    """A baseline that cannot be made, or is not there."""


def save(directory: Path, name: str, report: Mapping[str, Any], replace: bool = False) -> Path:
    """Keep the report's services and phases as `name`; whole or not at all. BaselineError where that cannot be."""
    path = _path(directory, name)
    if path.exists() and not replace:
        raise BaselineError(f"{name}: there is a baseline of that name already; give another name, or --replace")
    kept = {key: report[key] for key in ("version", "made_wall_s", "from_wall_s", "until_wall_s", "services", "phases")}
    try:
        path.parent.mkdir(mode=0o750, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{name}.", delete=False) as file:
            try:
                file.write(msgspec.json.encode({"name": name, **kept}))
                os.fchmod(file.fileno(), 0o644)
                Path(file.name).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise BaselineError(
            f"{path}: {error.strerror or error}; save it as root, or as the user that guardian runs as"
        ) from None
    return path


def load(directory: Path, name: str) -> Mapping[str, Any]:
    """BaselineError where there is none of that name."""
    path = _path(directory, name)
    try:
        found: Mapping[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        known = ", ".join(one["name"] for one in every(directory)) or "none"
        raise BaselineError(f"{name}: there is no such baseline; there is: {known}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BaselineError(f"{path}: cannot be read: {error}; save it anew by --replace") from None
    if found.get("version") != VERSION:
        raise BaselineError(f"{path}: is of another version of guardian; save it anew")
    return found


def every(directory: Path) -> list[Mapping[str, Any]]:
    """All of them, oldest first; one that cannot be read is left out. BaselineError where it cannot be seen which there are."""
    folder, found = directory / FOLDER, []
    try:
        names = [path.stem for path in folder.iterdir() if path.suffix == ".json"]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise BaselineError(f"{folder}: {error.strerror or error}; read it as the user that guardian runs as") from None
    for name in names:
        with suppress(BaselineError):
            found.append(load(directory, name))
    return sorted(found, key=lambda one: (one["made_wall_s"], one["name"]))


def compare(baseline: Mapping[str, Any], report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each figure of each service that both have: what it was, what it is, and by what part it has changed (None: from 0)."""
    before = {one["service"]: one for one in baseline["services"]}
    found = []
    for one in report["services"]:
        for figure in FIGURES:
            then, now = before.get(one["service"], {}).get(figure), one[figure]
            if then is not None and now is not None:
                change = (now - then) / then if then else (0.0 if now == then else None)
                found.append({"service": one["service"], "figure": figure, "then": then, "now": now, "change_ratio": change})
    return found


def _path(directory: Path, name: str) -> Path:
    if _NAME.fullmatch(name) is None:
        raise BaselineError(f"{name!r}: a baseline's name has {NAME_FORM}")
    return directory / FOLDER / f"{name}.json"
