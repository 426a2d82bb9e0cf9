"""`guardian replay`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardian.cli.options import PATH, Duration, directory_option
from guardian.cli.replies import show_json
from guardian.units import format_bytes, format_cores, format_ratio, format_seconds, format_time

if TYPE_CHECKING:
    from guardian.replay.summary import Summary

Named = Sequence[tuple[str, "Summary"]]


@click.command()
@click.option(
    "--config",
    "file",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The configuration to try.",
)
@click.option("--against", type=PATH, metavar="FILE", help="Another one, to be shown beside it.")
@click.option(
    "--since", "since_s", type=Duration(), default="24h", show_default=True, metavar="DURATION", help="How far to go back."
)
@directory_option("Where the recording lies.  [default: state_dir of FILE]")
@click.option(
    "--plot",
    "picture",
    type=PATH,
    metavar="FILE",
    help="Draw it, too, as .svg or .png: memory, CPU, who was away.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    file: Path, against: Path | None, since_s: float, directory: Path | None, picture: Path | None, as_json: bool
) -> None:
    """Try a configuration on what was recorded: what it would have shed and restored, when, why and for how long.

    The daemon's own rules decide, whatever the mode, as if it were enforced; what a stop would have freed is taken from what the
    service used. Nothing is stopped or started. It works with the daemon up or down.

    \b
    Examples:
      guardian replay --config new.yaml
      guardian replay --config new.yaml --against /etc/guardian/guardian.yaml --since 7d
      guardian replay --config new.yaml --plot yesterday.svg --json
    """
    check_picture(picture)
    from guardian.config.load import load
    from guardian.record.reader import RecordError
    from guardian.record.rows import RECORD_NAME
    from guardian.record.timeline import timeline
    from guardian.replay.run import Run
    from guardian.replay.summary import as_data, summed

    configs = [(str(one), load(one, os.environ)) for one in (file, against) if one is not None]
    path = (directory or Path(configs[0][1].state_dir)) / RECORD_NAME
    since_wall_s = time.time() - since_s
    found = [(name, summed(Run(config).over(timeline(path, since_wall_s)))) for name, config in configs]
    if found[0][1].since_wall_s is None:
        raise RecordError(f"{path}: nothing was recorded in the last {format_seconds(since_s)}; go further back by --since")
    draw_picture(picture, found)
    if as_json:
        show_json({"replays": [{"config": name, **as_data(one)} for name, one in found]})
    else:
        draw(found)


def check_picture(file: Path | None) -> None:
    """Before the work, not after it."""
    if file is None:
        return
    if file.suffix == ".png":
        from guardian.errors import GuardianError

        try:
            from guardian.replay.png import font

            font()
        except (ImportError, TypeError) as error:
            raise GuardianError(
                f"{file}: a PNG needs the library Pillow, 10.1 or newer ({error}); install it by `pip install "
                "'guardian-docker[plot]'`, with pipx by `pipx inject guardian-docker pillow`, beside the Debian package by "
                "`apt install python3-pil`, or name a file that ends in .svg"
            ) from None
    elif file.suffix != ".svg":
        raise click.BadParameter(f"{file}: pictures are SVG or PNG: give a name that ends in .svg or .png", param_hint="--plot")


def draw_picture(file: Path | None, found: Named, simulated: bool = False) -> None:
    """Where one is asked for. Times of a simulated host are since it began."""
    if file is None:
        return
    from guardian.errors import GuardianError
    from guardian.replay.plot import drawn

    since_wall_s = found[0][1].since_wall_s or 0.0
    picture = drawn(found, (lambda wall_s: format_seconds(round(wall_s - since_wall_s))) if simulated else _axis)
    try:
        if file.suffix == ".png":
            from guardian.replay.png import png

            file.write_bytes(png(picture))
        else:
            from guardian.replay.svg import svg

            file.write_text(svg(picture))
    except OSError as error:
        raise GuardianError(f"{file}: {error.strerror or error}; name another file by --plot") from None


def _axis(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).astimezone().strftime("%d %b %H:%M:%S")


def draw(found: Named, simulated: str = "") -> None:
    """Figures of all side by side, then each one's sheds. `simulated`: the scenario, where nothing was recorded."""
    from guardian.cli.tables import console, table

    out = console()
    first = found[0][1]
    length = format_seconds(round(first.recorded_s))
    if simulated:
        out.print(f"Simulated: {simulated}, {length}. Times are since it began.\n")
    else:
        out.print(f"Recorded from {format_time(first.since_wall_s)} to {format_time(first.until_wall_s)}, {length} of it.\n")
    out.print(table("", ("", *(name for name, _ in found)), _figures(found), right=[name for name, _ in found]))
    for name, one in found:
        if not one.absences:
            out.print(f"{name}: nothing would have been shed.", soft_wrap=True)
            continue
        out.print(f"{name}, decided as it was then:" if one.as_recorded else f"{name}:", soft_wrap=True)
        out.print(
            table(
                "",
                ("when", "action", "phase", "service", "why", "relief", "for"),
                (
                    (
                        format_seconds(absence.at_wall_s - (one.since_wall_s or 0.0))
                        if simulated
                        else format_time(absence.at_wall_s),
                        absence.kind.value,
                        str(absence.phase),
                        f"{absence.service}{' (flap)' if absence.flap else ''}",
                        absence.reason
                        if absence.value is None or absence.threshold is None
                        else f"{absence.reason} {format_ratio(absence.value)}, mark {format_ratio(absence.threshold)}",
                        _relief(absence.reason, absence.relief_bytes, absence.relief_cores),
                        "not restored"
                        if absence.until_wall_s is None
                        else format_seconds(round(absence.until_wall_s - absence.at_wall_s)),
                    )
                    for absence in one.absences
                ),
                right=("relief", "for"),
            )
        )


def _relief(reason: str, relief_bytes: int | None, relief_cores: float | None) -> str:
    if reason.endswith("cpu"):
        return "?" if relief_cores is None else format_cores(relief_cores)
    return "?" if relief_bytes is None else format_bytes(relief_bytes)


def _figures(found: Named) -> list[tuple[str, ...]]:
    """One row a figure, one column a configuration."""
    from guardian.model import Level

    summaries = [one for _, one in found]

    def seconds(values: Sequence[float]) -> tuple[str, ...]:
        return tuple(format_seconds(round(value)) for value in values)

    rows = [
        ("sheds", *(str(len(one.absences)) for one in summaries)),
        ("not restored", *(str(sum(absence.until_wall_s is None for absence in one.absences)) for one in summaries)),
        ("flaps", *(str(one.flaps) for one in summaries)),
        ("quarantined", *(", ".join(map(str, one.quarantined)) or "none" for one in summaries)),
        ("host soft for", *seconds([one.level_s.get(Level.SOFT, 0.0) for one in summaries])),
        ("host hard for", *seconds([one.level_s.get(Level.HARD, 0.0) for one in summaries])),
        ("exhausted for", *seconds([one.exhausted_s for one in summaries])),
    ]
    for signal in summaries[0].peaks:
        here = [one for one in summaries if signal in one.peaks]
        if len(here) < len(summaries):
            continue
        rows.append((f"{signal.value}: peak", *(format_ratio(one.peaks[signal].ratio) for one in here)))
        soft = [
            f"{format_seconds(round(one.above_soft_s.get(signal, 0.0)))} ≥ {format_ratio(one.marks[signal][0])}" for one in here
        ]
        rows.append((f"{signal.value}: at or above soft", *soft))
        if all(one.marks[signal][1] is not None for one in here):
            hard = [
                f"{format_seconds(round(one.above_hard_s.get(signal, 0.0)))} ≥ {format_ratio(one.marks[signal][1])}"
                for one in here
            ]
            rows.append((f"{signal.value}: at or above hard", *hard))
    return rows
