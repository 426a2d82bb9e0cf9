"""`guardian doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from guardian.cli.client import Client
from guardian.cli.options import DEFAULT_CONFIG, config_option, control_option, control_path, json_option
from guardian.cli.replies import printable, show_json
from guardian.doctor.facts import Diagnosis, Facts, Verdict
from guardian.doctor.judge import judge
from guardian.doctor.look import look
from guardian.errors import GuardianError

ANSWER_S = 5.0


@click.command()
@config_option
@control_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, control: Path | None, as_json: bool) -> None:
    """Look at all that guardian needs of this host, and say what to do about what is wrong.

    At the file, the engine and its API, cgroups, pressure, permissions, disks, the clock, the service, the daemon, the file against what runs,
    and at others who would fight it: earlyoom, systemd-oomd, autoheal, watchtower. It changes nothing, and works with the daemon up or down.
    Permissions are those of whoever runs it: root, or the user guardian with what its unit adds (the last example); without the unit that user may not use Docker.

    Ends with 0 where guardian can do its work, warnings or not; with 1 where something keeps it from that.

    \b
    Examples:
      sudo guardian doctor
      sudo guardian doctor --json | jq -r '.findings[] | select(.verdict != "ok") | .do'
      sudo systemd-run --pipe --wait --collect -q -p User=guardian -p SupplementaryGroups=docker \\
        -p "AmbientCapabilities=CAP_KILL CAP_SYS_RESOURCE" guardian doctor
    """
    facts = _with_daemon(look(config or DEFAULT_CONFIG, control), config, control)
    found = judge(facts)
    failed = any(one.verdict is Verdict.FAIL for one in found)
    if as_json:
        findings = [{"check": one.check, "verdict": one.verdict.value, "says": one.says, "do": one.do or None} for one in found]
        show_json({"ok": not failed, "findings": findings})
    else:
        _draw(found)
    ctx.exit(1 if failed else 0)


def _with_daemon(facts: Facts, config: Path | None, control: Path | None) -> Facts:
    try:
        return replace(facts, status=Client(control or control_path(config), ANSWER_S).status())
    except GuardianError as error:
        return replace(facts, daemon_problem=str(error))


def _draw(found: Sequence[Diagnosis]) -> None:
    from guardian.cli.tables import console, word

    screen = console()
    for one in found:
        line = word(one.verdict.value)
        line.pad_right(6 - len(one.verdict.value))
        line.append(f"{one.check:<14}", style="bold")
        screen.print(line.append(printable(one.says)), soft_wrap=True)
        if one.do:
            screen.print(printable(f"{'':20}→ {one.do}"), soft_wrap=True)
    counts = Counter(one.verdict for one in found)
    screen.print(
        f"\n{counts[Verdict.OK]} ok, {counts[Verdict.WARN]} to look at, {counts[Verdict.FAIL]} in the way, {counts[Verdict.SKIP]} not told"
    )
