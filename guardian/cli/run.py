"""`guardian run`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from guardian.cli import completing


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, readable=False),
    default=Path("/etc/guardian/guardian.yaml"),
    show_default=True,
    metavar="FILE",
    help="The configuration.",
)
@click.option("--mode", type=click.Choice(["observe", "enforce"]), help="Override `mode`.")
@click.option("--engine", "engine_url", metavar="URL", help="Override `engine.url`: auto, unix:///…, tcp://… or simulated.")
@click.option(
    "--scenario",
    default="",
    metavar="SCENARIO",
    shell_complete=completing.scenarios,
    help="With --engine simulated: a scenario file, or the name of one that comes with guardian.",
)
@click.option("--state-dir", type=click.Path(readable=False), metavar="DIR", help="Override `state_dir`.")
@click.option("--listen", metavar="HOST:PORT", help="Override `web.listen`.")
@click.option(
    "--control", type=click.Path(readable=False), metavar="PATH", help="Override `web.control`: the socket for orders."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Override `log.level`.")
@click.option("--log-format", type=click.Choice(["json", "console"]), help="Override `log.format`.")
def run(
    config_path: Path,
    mode: str | None,
    engine_url: str | None,
    scenario: str,
    state_dir: str | None,
    listen: str | None,
    control: str | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C. SIGHUP reloads the file.

    \b
    Examples:
      guardian run --config /etc/guardian/guardian.yaml
      guardian run --config config/guardian.yaml --engine simulated --scenario overload --mode enforce --state-dir .run
    """
    from guardian import resident
    from guardian.config.load import loads, read_bytes
    from guardian.daemon import Daemon, Options

    given = {
        "mode": mode,
        "engine.url": engine_url,
        "state_dir": state_dir,
        "web.listen": listen,
        "web.control": control,
        "log.level": log_level,
        "log.format": log_format,
    }
    flags: dict[str, object] = {path: value for path, value in given.items() if value is not None}
    if scenario and engine_url != "simulated":
        raise click.UsageError("--scenario goes with --engine simulated")
    import os

    content = read_bytes(config_path)
    config = loads(content, str(config_path), os.environ, flags)
    resident.limit_arenas()
    raise SystemExit(Daemon(Options(config_path, content, flags, scenario), config).run())
