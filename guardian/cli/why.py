"""`guardian why`."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardian.cli import completing
from guardian.cli.options import config_option, directory_option, json_option, state_dir
from guardian.cli.replies import printable, show_json
from guardian.units import format_ratio, format_seconds

if TYPE_CHECKING:
    from guardian.model import ServiceKey
    from guardian.record.rows import Note

NEAR_S = 60.0  # while something goes on, a decision is recorded at least this often
SECOND_S = 0.999  # what was decided within the second that is asked for counts
FORMS = ("%H:%M", "%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


class Moment(click.ParamType[float]):
    """A time of day, or a date with one, in the local time zone; seconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = value if isinstance(value, float) else parsed(value)
        if found is None:
            self.fail(f"{value!r} is no time; write 14:30, 14:30:05 or '2026-11-25 14:30'", param, ctx)
        return found


def parsed(text: str) -> float | None:
    """None: it is no time. A time of day without a date is the last such time."""
    for form in FORMS:
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - it is local, as people say it
        except ValueError:
            continue
        if "%Y" in form:
            return found.timestamp()
        now = datetime.now().astimezone()
        today = now.replace(hour=found.hour, minute=found.minute, second=found.second, microsecond=0)
        return (today if today <= now else today - timedelta(days=1)).timestamp()
    return None


@click.command()
@click.argument("service", required=False, shell_complete=completing.managed)
@click.option(
    "--at", "at_wall_s", type=Moment(), metavar="TIME", help="What was decided then, such as 14:30 or '2026-11-25 14:30'."
)
@directory_option("Where the recording lies.  [default: as in the configuration file]")
@config_option
@json_option
def why(service: str | None, at_wall_s: float | None, directory: Path | None, config: Path | None, as_json: bool) -> None:
    """Explain a decision in plain words: what was last done to SERVICE, or what was decided at a time, and why.

    The signal with its marks and for how long, what had to be given back, who was considered in which order, who was passed over and
    why, the relief that was expected and measured, and what must become true before a restore. It is read from the recording, so it
    works with the daemon up or down.

    \b
    Examples:
      guardian why kibana
      guardian why --at 14:30
      guardian why openpolicy/kibana --at '2026-11-25 14:30' --json
    """
    from guardian.expose.orders import find_or_parse
    from guardian.record.notes import known_services
    from guardian.record.rows import RECORD_NAME

    if service is None and at_wall_s is None:
        raise click.UsageError("Name a service, or a time by --at.")
    path = (directory or state_dir(config)) / RECORD_NAME
    key = None if service is None else find_or_parse(service, known_services(path))
    if key is not None:
        _of_service(path, key, at_wall_s, as_json)
    elif at_wall_s is not None:
        _at(path, at_wall_s, as_json)


def _of_service(path: Path, key: ServiceKey, at_wall_s: float | None, as_json: bool) -> None:
    from guardian import explain
    from guardian.record.notes import last_considered, last_story
    from guardian.record.reader import settings_of

    until_wall_s = float("inf") if at_wall_s is None else at_wall_s + SECOND_S
    found = last_story(path, key, until_wall_s)
    if found:
        config = settings_of(path).get(found.note.settings)
        lines = explain.story(found, config, _when)
        _show(lines, found.note, as_json, service=str(key))
        return
    note = last_considered(path, key, until_wall_s)
    lines = [f"In what is recorded{'' if at_wall_s is None else ' until then'} nothing was done to {key}."]
    if note is None:
        lines.append("It was never considered either: memory and CPU asked for nothing.")
    else:
        candidate = next((one for one in note.decision.candidates if one.service == key), None)
        lines.append(explain.not_shed(note, candidate, note.decision.excluded.get(key, ""), _when))
    _show(lines, note, as_json, service=str(key))


def _at(path: Path, at_wall_s: float, as_json: bool) -> None:
    from guardian import explain
    from guardian.record.notes import newest
    from guardian.record.reader import settings_of

    note = next(newest(path, at_wall_s + SECOND_S), None)
    if note is not None and at_wall_s - note.now_wall_s <= NEAR_S:
        _show(explain.told(note, settings_of(path).get(note.settings), _when), note, as_json)
        return
    lines = _calm(path, at_wall_s)
    if note is not None:
        lines.append(
            f"The last decision before was at {_when(note.now_wall_s)}: `guardian why --at '{_when(note.now_wall_s)}'`."
        )
    _show(lines, None, as_json)


def _calm(path: Path, at_wall_s: float) -> list[str]:
    """What a minute without a decision was like."""
    from guardian.record.reader import RecordError, minutes
    from guardian.record.rows import host_of

    one = next((one for one in minutes(path, at_wall_s) if one.minute.began_wall_s <= at_wall_s + NEAR_S), None)
    if one is None:
        raise RecordError(f"{path}: nothing is recorded of {_when(at_wall_s)}; the recording goes back 14 days at most")
    hosts = [host_of(row) for row in one.minute.hosts]
    lines = [f"{_when(at_wall_s)}: there was nothing to decide."]
    used = [
        1 - host.memory_available_bytes / host.memory_total_bytes
        for host in hosts
        if host.memory_total_bytes and host.memory_available_bytes is not None
    ]
    cpu = [host.cpu_ratio for host in hosts if host.cpu_ratio is not None]
    length = format_seconds(round(one.minute.until_wall_s - one.minute.began_wall_s))
    lines.append(
        f"  within {length}: memory at most {format_ratio(max(used, default=None))}, CPU at most {format_ratio(max(cpu, default=None))}"
    )
    return lines


def _show(lines: list[str], note: Note | None, as_json: bool, service: str | None = None) -> None:
    if as_json:
        show_json(
            {
                "service": service,
                "at_wall_s": None if note is None else note.now_wall_s,
                "text": [line for line in lines if line],
                "decision": None if note is None else _data(note),
            }
        )
        return
    for line in lines:
        click.echo(printable(line))


def _data(note: Note) -> dict[str, Any]:
    """The recorded decision. Reliefs are bytes and cores, ratios 0 to 1."""
    decision = note.decision
    return {
        "mode": note.mode.value,
        "level": str(note.level),
        "signals": [
            {
                "signal": one.signal.value,
                "level": str(one.level),
                "value_ratio": one.value,
                "soft_ratio": one.soft,
                "hard_ratio": one.hard,
                "recover_ratio": one.recover,
                "for_s": round(note.now_s - one.since_s, 3),
            }
            for one in note.signals
        ],
        "deficits": [
            {"signal": one.signal.value, "total": one.total, "pending": one.pending, "threshold_ratio": one.threshold}
            for one in decision.deficits
        ],
        "actions": [
            {
                "action": one.kind.value,
                "service": str(one.service),
                "phase": one.phase,
                "reason": one.reason,
                "relief_bytes": one.relief_bytes,
                "relief_cores": one.relief_cores,
                "grace_s": one.grace_s,
                "by": one.by,
            }
            for one in decision.actions
        ],
        "candidates": [
            {
                "rank": one.rank,
                "service": str(one.service),
                "phase": one.phase,
                "relief_bytes": one.relief_bytes,
                "relief_cores": one.relief_cores,
                "over_share": one.over_share,
                "priority": one.priority,
                "on_probation": one.on_probation,
                "passed_over": one.passed_over,
            }
            for one in decision.candidates
        ],
        "excluded": {str(service): reason for service, reason in decision.excluded.items()},
        "held": [
            {
                "action": one.action.value,
                "reason": one.reason,
                "service": None if one.service is None else str(one.service),
                "detail": one.detail,
            }
            for one in decision.held
        ],
        "holds": list(decision.holds),
        "exhausted": decision.exhausted,
    }


def _when(wall_s: float) -> str:
    """In the time zone of whoever reads it; today's without the date."""
    local = datetime.fromtimestamp(wall_s).astimezone()
    today = local.date() == datetime.fromtimestamp(time.time()).astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
