"""`guardian simulate`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from guardian.cli import completing
from guardian.cli.options import DEFAULT_CONFIG, PATH, Duration
from guardian.cli.replies import show_json


@click.command()
@click.argument("scenario", shell_complete=completing.scenarios)
@click.option(
    "--config",
    "file",
    type=PATH,
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The configuration to try.",
)
@click.option("--against", type=PATH, metavar="FILE", help="Another one, to be shown beside it.")
@click.option("--for", "for_s", type=Duration(), metavar="DURATION", help="How much of it.  [default: as long as it says]")
@click.option(
    "--plot",
    "picture",
    type=PATH,
    metavar="FILE",
    help="Draw it, too, as .svg or .png: memory, CPU, who was away.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(scenario: str, file: Path, against: Path | None, for_s: float | None, picture: Path | None, as_json: bool) -> None:
    """Try a configuration on a simulated host: what it sheds and restores there, when, why and for how long.

    SCENARIO is a file, or the name of one that comes with guardian: calm, cpu, demo, hog or overload. The whole of guardian runs on it, as
    if the configuration were enforced, on a clock of its own: minutes take a moment. No engine is needed.

    \b
    Examples:
      guardian simulate overload --config config/guardian.yaml
      guardian simulate hog --config new.yaml --against config/guardian.yaml
      guardian simulate my-scenario.yaml --config new.yaml --for 30m --json
    """
    from guardian.cli.replay import check_picture, draw, draw_picture
    from guardian.config.load import load
    from guardian.engine.simulated import find_scenario
    from guardian.replay.simulate import simulate as run
    from guardian.replay.summary import as_data, summed

    check_picture(picture)
    host = find_scenario(scenario)
    found = [(str(one), summed(run(host, load(one, os.environ), for_s))) for one in (file, against) if one is not None]
    draw_picture(picture, found, simulated=True)
    if as_json:
        show_json({"scenario": scenario, "simulations": [{"config": name, **as_data(one)} for name, one in found]})
    else:
        draw(found, simulated=scenario)
