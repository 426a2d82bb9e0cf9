"""`guardian status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from guardian.cli.client import Client
from guardian.cli.options import daemon_command
from guardian.cli.replies import printable, show_json
from guardian.cli.tables import console, table, word
from guardian.units import format_bytes, format_cores, format_ratio, format_seconds, format_time, format_use

SOON_S = 600.0  # memory that would be full later than this is no news: small rates come and go

Values = Mapping[str, Any]


@click.command()
@daemon_command
def status(client: Client, as_json: bool) -> None:
    """Show levels, phases against budgets, services, and what is shed.

    Also what is held back and why, and what guardian would do next. A `?` stands for what is not known.

    \b
    Examples:
      guardian status
      guardian status --json | jq '.services[] | select(.state == "shed")'
    """
    shown = client.status()
    if as_json:
        show_json(shown)
        return
    screen = console()
    screen.print(headline(shown))
    for line in notes(shown):
        screen.print(printable(line))
    screen.print()
    for one in _tables(shown):
        screen.print(one)


def headline(shown: Values) -> Text:
    """Version, mode, level, engine and time of a status, in one line."""
    engine = shown["engine"]
    line = Text.assemble(f"guardian {shown['version']}, {shown['mode']} mode, level ", word(shown["level"]), ", engine ")
    line.append_text(word("up" if engine["up"] else "down"))
    if "version" in engine:
        line.append(printable(f" ({engine['name']}, {engine['version']}, cgroup v{engine['cgroup_version']})"))
    return line.append(f", {format_time(shown['at_wall_s'])}")


def notes(shown: Values) -> Iterator[str]:
    """One line for each thing that is out of the ordinary, and for what comes next."""
    standby = shown["standby"]
    if standby["active"]:
        until = "`guardian standby --off`" if standby["until_wall_s"] is None else format_time(standby["until_wall_s"])
        yield f"standby: nothing is stopped or started until {until} (ordered by {standby['by'] or '?'})"
    if shown["holds"]:
        by = f" (ordered by {shown['hold_by']})" if shown["hold_by"] else ""
        yield f"hold: nothing is started: {', '.join(shown['holds'])}{by}"
    if shown["emergency"]:
        yield "emergency: memory is hard, so phases that are protected as phases are shed too"
    if shown["exhausted"]:
        yield "exhausted: memory is hard, and all that is left to shed would not be enough"
    if shown["ineffective"]:
        yield f"ineffective: soft shedding pauses for {', '.join(shown['ineffective'])}, because it brought next to nothing"
    if shown["disk_level"] != "ok":
        starts = "nothing is started, and " if shown["disk_level"] == "hard" else ""
        yield f"disk: {shown['disk_level']}; {starts}stopping services frees no disk: see `guardian storage`"
        if shown["storage"]["fastest"]:
            yield f"disk: {', '.join(shown['storage']['fastest'])} grow fastest"
    if shown["memory_full_in_s"] is not None and shown["memory_full_in_s"] <= SOON_S:
        rate = format_bytes(shown["memory_fill_bytes_per_s"])
        yield f"memory fills at {rate} a second: full in {format_seconds(shown['memory_full_in_s'])}"
    for one in shown["deficits"]:
        unit, show = ("bytes", format_bytes) if "open_bytes" in one else ("cores", format_cores)
        yield f"deficit of {one['signal']}: {show(one[f'open_{unit}'])}, and {show(one[f'pending_{unit}'])} on its way back"
    for line in shown["in_flight"]:
        yield f"in flight: {line}"
    if (victim := shown["next"]["shed"]) is not None:
        with_it = [name for name in victim["group"] if name != victim["service"]]
        more = f", with {', '.join(with_it)}" if with_it else ""
        yield f"next to shed: {victim['service']}{more}, for {format_bytes(victim['relief_bytes'])}"
    if shown["next"]["restore"] is not None:
        yield f"next to restore: {shown['next']['restore']}"
    if shown["unmanaged"]:
        yield f"in no phase, so never stopped: {', '.join(shown['unmanaged'])}"
    for line in shown["config_pending"]:
        yield f"waits for `guardian reload`: {line}"


def _tables(shown: Values) -> Iterator[Table]:
    yield table(
        "Signals",
        ("signal", "value", "level", "for", "soft", "hard", "recover"),
        (
            (
                one["signal"],
                format_ratio(one["value_ratio"]),
                word(one["level"]),
                format_seconds(one["level_for_s"]),
                format_ratio(one["soft_ratio"]),
                "-" if one["hard_ratio"] is None else format_ratio(one["hard_ratio"]),
                format_ratio(one["recover_ratio"]),
            )
            for one in shown["signals"]
        ),
        right=("value", "for", "soft", "hard", "recover"),
    )
    yield table(
        "Phases (each with all below it, against its budget)",
        ("phase", "memory", "cpu", "storage", "over budget", "services of its own"),
        (_phase(one) for one in shown["phases"]),
    )
    if shown["services"]:
        yield table(
            "Services",
            ("phase", "service", "state", "working set", "footprint", "limit", "cpu", ""),
            (_service(one) for one in shown["services"]),
            right=("working set", "footprint", "limit", "cpu"),
        )
    if shown["shed"]:
        yield table(
            "Stopped by guardian",
            ("service", "since", "why", "by", "state", "brought", "needs"),
            (_entry(one, shown["quarantined"]) for one in shown["shed"]),
            right=("brought", "needs"),
        )
    if shown["held"]:
        yield table(
            "Held back",
            ("action", "service", "reason", ""),
            ((one["action"], one["service"] or "-", one["reason"], one["detail"]) for one in shown["held"]),
        )


def _phase(one: Values) -> Sequence[str | Text]:
    services = ", ".join(f"{count} {state}" for state, count in one["services"].items() if count)
    return (
        f"{one['phase']} {one['name']}".rstrip(),
        format_use(one["memory_bytes"], one["memory_budget_bytes"], format_bytes),
        format_use(one["cpu_cores"], one["cpu_budget_cores"], format_cores),
        format_use(one["storage_bytes"], one["storage_budget_bytes"], format_bytes),
        Text(f"over: {', '.join(one['over'])}", "yellow") if one["over"] else "-",
        services or "none",
    )


def _service(one: Values) -> Sequence[str | Text]:
    marks = [name for name in ("protected", "pinned") if one[name]]
    marks += [] if one["enforced"] else ["observed only"]
    marks += [f"{one['oom_kills']} OOM kills"] if one["oom_kills"] else []
    limit = one["memory_limit_bytes"]
    return (
        str(one["phase"]),
        one["service"],
        word(one["state"]),
        *((format_bytes(one["working_set_bytes"]), format_bytes(one["footprint_bytes"])) if one["running"] else ("-", "-")),
        "-" if limit is None else format_bytes(limit),
        format_cores(one["cpu_cores"]) if one["running"] else "-",
        ", ".join(marks),
    )


def _entry(one: Values, quarantined: Iterable[str]) -> Sequence[str | Text]:
    return (
        one["service"],
        format_time(one["since_wall_s"]),
        one["reason"],
        one["by"] or "guardian",
        word("quarantined" if one["service"] in quarantined else one["state"]),
        format_bytes(one["measured_relief_bytes"]),
        format_bytes(one["expected_bytes"]),
    )
