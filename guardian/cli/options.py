"""Options that several commands share, and where the daemon is found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from guardian.cli.client import Client
from guardian.config.load import read_bytes
from guardian.config.schema import WebConfig
from guardian.config.tree import Scalar, Section, parse
from guardian.errors import ConfigError
from guardian.units import parse_ratio, parse_seconds

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

PATH = click.Path(path_type=Path, readable=False)
"""Whether it can be used is found out by what uses it, which says what to do where not."""

DEFAULT_CONFIG = Path("/etc/guardian/guardian.yaml")
DEFAULT_STATE_DIR = Path("/var/lib/guardian")

control_option = click.option(
    "--control",
    "--socket",
    "control",
    type=PATH,  # whoever may not use it is told whose it is
    envvar="GUARDIAN_WEB_CONTROL",
    metavar="PATH",
    help="The daemon's control socket.  [default: GUARDIAN_WEB_CONTROL, else as in the configuration file]",
)
config_option = click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help=f"The daemon's configuration file, to find it by.  [default: {DEFAULT_CONFIG}]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def directory_option(text: str) -> Callable[[Decorated], Decorated]:
    """--state-dir, as `directory`; `text` says what is read there."""
    return click.option("--state-dir", "directory", type=PATH, metavar="DIR", help=text)


def files_option(text: str) -> Callable[[Decorated], Decorated]:
    """--file, any number of Compose files, as `files`; `text` says of what."""
    more = f"{text}; repeat it for more.  [default: those that Compose would find here]"
    return click.option("--file", "-f", "files", multiple=True, type=PATH, metavar="FILE", help=more)


def daemon_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add --control, --config and --json; the function is given `client` and `as_json`."""
    return client_command(json_option(function))


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add --control and --config; the function is given `client`."""

    @control_option
    @config_option
    @functools.wraps(function)
    def command(*args: Any, control: Path | None, config: Path | None, **options: Any) -> None:
        function(*args, client=Client(control or control_path(config)), **options)

    return command


def control_path(config: Path | None) -> Path:
    """Where the file says that the daemon listens."""
    return Path(_written(config, "web", "control") or WebConfig().control)


def state_dir(config: Path | None) -> Path:
    """Where the file says that the ledger lies."""
    return Path(_written(config, "state_dir") or DEFAULT_STATE_DIR)


def _written(config: Path | None, *keys: str) -> str:
    """A text as the file has it; empty where it has none. Mistakes elsewhere in it must not keep an operator from the daemon.

    Raises ConfigError for a file that was asked for and cannot be read, or is no YAML; the default one may be missing.
    """
    path = config or DEFAULT_CONFIG
    try:
        tree, problems = parse(read_bytes(path), str(path))
    except ConfigError:
        if config is None:
            return ""
        raise
    if tree is None and problems and config is not None:
        raise ConfigError(tuple(problems))
    for key in keys:
        entry = tree.entries.get(key) if isinstance(tree, Section) else None
        tree = None if entry is None else entry.value
    return tree.value if isinstance(tree, Scalar) and isinstance(tree.value, str) else ""


class Duration(click.ParamType[float]):
    """A duration such as 30s or 2h, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return float(parse_seconds(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType[float]):
    """A share such as 95% or 0.95, as a ratio."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return float(parse_ratio(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
