"""A report's tables in words, for a terminal and for a page alike. Plain text: whoever draws it escapes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardian.objectives.baseline import compare
from guardian.units import format_bytes, format_cores, format_ratio, format_seconds, format_time, format_use

LEAST_CHANGE = 0.1  # what has changed by less than a tenth since a baseline is counted, and not listed


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table. Columns named in `right` are figures. `note` stands below; alone where there are no rows."""

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: frozenset[str] = frozenset()
    note: str = ""


def heading(report: Mapping[str, Any]) -> str:
    """What time it is about, and how much of that nobody knows."""
    span_s = report["until_wall_s"] - report["from_wall_s"]
    unknown = f"; unknown for {format_seconds(report['unknown_s'])} of it" if report["unknown_s"] >= 1 else ""
    return f"{format_time(report['from_wall_s'])} to {format_time(report['until_wall_s'])}, {format_seconds(span_s)}{unknown}"


def sheets(report: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> list[Sheet]:
    """All tables of a report; with a baseline, what has changed since."""
    found = [
        _objectives(report),
        _services(report),
        _answers(report),
        _phases(report),
        _sheds(report),
        _restarts(report),
        _top(report),
    ]
    if baseline is not None:
        found.append(_changes(report, baseline))
    return found


def _objectives(report: Mapping[str, Any]) -> Sheet:
    rows = []
    for one in report["objectives"]:
        shown: Callable[[float | None], str] = _answer if one["objective"] == "response_time" else _exact
        least = one["objective"] in ("availability", "healthy")
        order = sorted(
            one["of"], key=lambda of: (of["met"] is not False, of["met"] is True, (of["value"] or 0) * (1 if least else -1))
        )
        missed = [of for of in order if of["met"] is not True] or order[:1]
        if not missed:
            rows.append((one["objective"], shown(one["target"]), "unknown", "nothing is measured for it", "?", "?"))
        for place, of in enumerate(missed):
            head = (one["objective"], shown(one["target"]), _met(one["met"])) if place == 0 else ("", "", "")
            rows.append((*head, of["subject"], shown(of["value"]), _budget(of)))
    columns = ("objective", "target", "verdict", "of", "value", "error budget left")
    note = "" if rows else "The file sets no objectives."
    return Sheet("Objectives", columns, tuple(rows), frozenset(("target", "value", "error budget left")), note)


def _services(report: Mapping[str, Any]) -> Sheet:
    """Few platforms have a one-shot in a phase, and the table is wide: its column is there where one has completed."""
    completed = ("completed",) if any(one["completed_s"] for one in report["services"]) else ()
    names = ("up", "unhealthy", "down", "shed", "absent", *completed, "unknown")
    rows = tuple(
        (
            str(one["phase"]),
            one["service"],
            _exact(one["availability_ratio"]),
            *(_time(one[f"{name}_s"]) for name in names),
            _exact(one["healthy_ratio"]),
        )
        for one in report["services"]
    )
    none = ", ".join(("absent", *completed))
    note = f"availability is up / (up + unhealthy + down + shed); shed is time that Guardian took; {none} and unknown are no part of it"
    return Sheet(
        "Availability",
        ("phase", "service", "availability", *names, "healthy"),
        rows,
        frozenset(("availability", *names, "healthy")),
        note,
    )


def _answers(report: Mapping[str, Any]) -> Sheet:
    """Response times, error rates and throughput, of services of which one of them is known."""
    rows = []
    for one in report["services"]:
        traffic = [one["rx_bytes_per_s"], one["tx_bytes_per_s"]]
        if not one["probes"] and None in traffic and not one["network_unknown"]:
            continue
        sent = one["network_unknown"] or "?"
        rates = tuple(f"{format_bytes(rate)}/s" if rate is not None else sent for rate in traffic)
        answered = (_answer(one["response_p50_s"]), _answer(one["response_p95_s"])) if one["probes"] else ("-", "-")
        probes = (str(one["probes"]), format_ratio(one["error_ratio"])) if one["probes"] else ("-", "-")
        rows.append((one["service"], *answered, *probes, *rates))
    columns = ("service", "p50", "p95", "probes", "error rate", "received", "sent")
    error = format_ratio(report["percentile_error_ratio"])
    note = f"by Guardian's own probes; percentiles are rounded up by {error} at most" if rows else "No service is probed."
    return Sheet("Response and throughput", columns, tuple(rows), frozenset(columns[1:]), note)


def _phases(report: Mapping[str, Any]) -> Sheet:
    rows = tuple(
        (
            str(one["phase"]),
            one["name"] or "-",
            format_use(one["memory_mean_bytes"], one["memory_budget_bytes"], format_bytes),
            format_ratio(one["memory_p95_ratio"]),
            format_ratio(one["memory_most_ratio"]),
            format_use(one["cpu_mean_cores"], one["cpu_budget_cores"], format_cores),
            format_ratio(one["cpu_p95_ratio"]),
            format_ratio(one["cpu_most_ratio"]),
            "?"
            if one["traffic_bytes_per_s"] is None
            else f"{format_bytes(one['traffic_bytes_per_s'])}/s of {one['traffic_of_services']} of {one['services']}",
        )
        for one in report["phases"]
    )
    columns = ("phase", "name", "memory", "p95", "most", "cpu", "p95 ", "most ", "traffic")
    note = "of phases 1 to this one together, as budgets are: the mean, and the part of the budget; traffic is of this phase alone, of services whose own is known"
    return Sheet("Use against budgets", columns, rows, frozenset(columns[2:]), note)


def _sheds(report: Mapping[str, Any]) -> Sheet:
    if report["sheds"] is None:
        return Sheet("Shed", note="The history could not be read.")
    rows = tuple(
        (
            one["service"],
            format_time(one["since_wall_s"]),
            format_seconds(one["seconds"]),
            one["reason"] + (f" by {one['by']}" if one["by"] else ""),
            "-" if one["relief_bytes"] is None else format_bytes(one["relief_bytes"]),
            one["ended"] or "still shed",
        )
        for one in report["sheds"]
    )
    columns = ("service", "since", "for", "why", "relief", "ended")
    return Sheet("Shed", columns, rows, frozenset(("for", "relief")), "" if rows else "Nothing was shed.")


def _restarts(report: Mapping[str, Any]) -> Sheet:
    if report["restarts"] is None:
        return Sheet("Restarted", note="The history could not be read.")
    rows = tuple((one["service"], format_time(one["at_wall_s"]), one["result"], one["detail"]) for one in report["restarts"])
    return Sheet(
        "Restarted", ("service", "when", "result", "detail"), rows, note="" if rows else "Nothing was restarted for its health."
    )


def _top(report: Mapping[str, Any]) -> Sheet:
    services = {one["service"]: one for one in report["services"]}
    memory, cpu = report["top"]["memory_mean_bytes"], report["top"]["cpu_mean_cores"]
    rows = []
    for place in range(max(len(memory), len(cpu))):
        left = services[memory[place]] if place < len(memory) else None
        right = services[cpu[place]] if place < len(cpu) else None
        rows.append(
            (
                *_most(left, "memory", "bytes", format_bytes),
                *_most(right, "cpu", "cores", format_cores),
            )
        )
    columns = ("memory", "mean", "most", "cpu", "mean ", "most ")
    note = "" if rows else "No use is known."
    return Sheet("Top consumers", columns, tuple(rows), frozenset(("mean", "most", "mean ", "most ")), note)


def _changes(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> Sheet:
    found = compare(baseline, report)
    large = [one for one in found if one["change_ratio"] is None or abs(one["change_ratio"]) >= LEAST_CHANGE]
    rows = tuple(
        (
            one["service"],
            _words(one["figure"]),
            _figure(one["figure"], one["then"]),
            _figure(one["figure"], one["now"]),
            _change(one["change_ratio"]),
        )
        for one in large
    )
    span = f"{format_time(baseline['from_wall_s'])} to {format_time(baseline['until_wall_s'])}"
    note = f"{baseline['name']}: {span}; {len(found) - len(large)} of {len(found)} figures have changed by less than {LEAST_CHANGE:.0%}"
    return Sheet(
        "Since the baseline", ("service", "figure", "then", "now", "change"), rows, frozenset(("then", "now", "change")), note
    )


def _most(one: Mapping[str, Any] | None, what: str, unit: str, shown: Callable[[float | None], str]) -> Sequence[str]:
    if one is None:
        return "", "", ""
    return one["service"], shown(one[f"{what}_mean_{unit}"]), shown(one[f"{what}_most_{unit}"])


def _answer(seconds: float | None) -> str:
    return format_seconds(seconds) if seconds is None or seconds >= 1 else f"{seconds * 1000:.0f}ms"


def _exact(ratio: float | None) -> str:
    """Availability is of thousandths: `99.537%`."""
    return "?" if ratio is None else f"{ratio * 100:.3f}".rstrip("0").rstrip(".") + "%"


def _met(met: bool | None) -> str:
    return {True: "met", False: "missed", None: "unknown"}[met]


def _time(seconds: float) -> str:
    return "-" if seconds < 0.5 else format_seconds(float(round(seconds)))


def _budget(of: Mapping[str, Any]) -> str:
    if of["error_budget_ratio"] is None:
        return "?" if of["error_budget_s"] is None else _signed(of["error_budget_s"])
    left = f"{of['error_budget_ratio'] * 100:.0f}%"
    return left if of["error_budget_s"] is None else f"{left} ({_signed(of['error_budget_s'])})"


def _signed(seconds: float) -> str:
    return ("-" if seconds < 0 else "") + format_seconds(abs(float(round(seconds))))


def _words(figure: str) -> str:
    for unit in ("_ratio", "_bytes_per_s", "_bytes", "_cores", "_s"):
        if figure.endswith(unit):
            return figure.removesuffix(unit).replace("_", " ")
    return figure


def _figure(name: str, value: float) -> str:
    if name.endswith("_ratio"):
        return _exact(value)
    if name.endswith("_bytes_per_s"):
        return f"{format_bytes(value)}/s"
    if name.endswith("_bytes"):
        return format_bytes(value)
    return format_cores(value) if name.endswith("_cores") else _answer(value)


def _change(ratio: float | None) -> str:
    return "new" if ratio is None else f"{ratio * 100:+.0f}%"
