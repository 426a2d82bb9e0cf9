"""One run: the plan is carried out, everything is made good, and then all must be as it was."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from support.private_engine import PrivateEngine
from support.waiting import eventually

from chaos.faults import WAYS, bring_back, make_good
from chaos.judge import Broken, Judge
from chaos.plan import KINDS, MANAGED, Fault
from chaos.stage import PROTECTED, UNLISTED, Stage

LOOK_EVERY_S = 0.5
CALM_WITHIN_S = 150.0
LOG_LINES = 80
GROUPS = {kind.name: kind.groups for kind in KINDS}


def run(seed: int, faults: Sequence[Fault], engine: PrivateEngine, home: Path, say: Callable[[str], None]) -> None:
    """Raises Broken where an invariant does not hold; then seed, plan and the end of guardian's log were said."""
    done: list[str] = []
    with Stage(engine, home) as stage:
        judge = Judge(stage)
        began_s = time.monotonic()

        def note(text: str) -> None:
            done.append(f"{time.monotonic() - began_s:7.1f} s  {text}")

        try:
            _carry_out(stage, judge, faults, note)
            make_good(stage)
            note("everything is made good")
            _comes_to_rest(stage, judge)
            note("all is as it was")
            _still_guards(stage, judge)
            counted = judge.what_is_counted_happened()
        except Exception as error:
            _tell(seed, faults, done, stage, say)
            raise Broken(str(error) or repr(error)) from error
        acts = ", ".join(f"{count} {what}s" for what, count in sorted(judge.acts.items()))
        say(
            f"seed {seed}: {len(faults)} faults in {time.monotonic() - began_s:.0f} s; guardian asked for "
            f"{acts or 'nothing'}, "
            f"{counted} done sheds and restores in its history, each in the engine's events; "
            f"at most {judge.most_rss_bytes / (1 << 20):.0f} MiB, {judge.most_threads} threads, {judge.most_descriptors} descriptors"
        )


def _carry_out(stage: Stage, judge: Judge, faults: Sequence[Fault], note: Callable[[str], None]) -> None:
    """Each begins at its time, or as soon as those before it let it, and lasts as long as it should; a look in between."""
    steps = [(fault.at_s, number, "begin", fault) for number, fault in enumerate(faults)]
    busy: set[str] = set()
    began_s = looked_s = time.monotonic()
    while steps:
        wait_s = min(began_s + steps[0][0], looked_s + LOOK_EVERY_S) - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        if time.monotonic() >= looked_s + LOOK_EVERY_S:
            judge.look()
            looked_s = time.monotonic()
        while steps and steps[0][0] <= time.monotonic() - began_s:
            _, number, step, fault = heapq.heappop(steps)
            way = WAYS[fault.name]
            if step == "begin" and not busy.isdisjoint(GROUPS[fault.name]):  # what it must not meet lasts longer than planned
                heapq.heappush(steps, (time.monotonic() - began_s + LOOK_EVERY_S, number, step, fault))
            elif step == "begin":
                if "pressure" in GROUPS[fault.name] and "person" not in busy:
                    bring_back(stage)
                busy.update(GROUPS[fault.name])
                note(f"begins: {fault.name} {fault.service}")
                way.begin(stage, fault)
                heapq.heappush(steps, (time.monotonic() - began_s + fault.for_s, number, "end", fault))
            else:
                note(f"ends: {fault.name} {fault.service}")
                way.end(stage, fault)
                busy.difference_update(GROUPS[fault.name])


def _comes_to_rest(stage: Stage, judge: Judge) -> None:
    """Nothing is owed any more, and everything runs: what guardian had stopped it has started."""
    everything = {*MANAGED, *PROTECTED, UNLISTED}
    stage.hold("calm")

    def rests() -> bool:
        judge.look()
        stage.hold("calm")
        for order in ({"order": "release"}, {"order": "standby", "for_s": 0}, {"order": "unpin", "services": list(MANAGED)}):
            stage.order(**order)
        status = stage.status()
        if not status or not status["engine"]["up"]:
            return False
        for entry in status["shed"]:
            if entry["reason"] == "operator":
                stage.order(order="restore", services=[entry["service"]])
        return not status["shed"] and not status["in_flight"] and stage.running() == everything

    try:
        eventually(rests, "all is as it was", CALM_WITHIN_S, 1.0)
    except AssertionError as error:
        status = stage.status()
        raise Broken(
            f"{CALM_WITHIN_S:.0f} s after the last fault {', '.join(sorted(everything - stage.running())) or 'nothing'} is down; "
            f"owed: {[one['service'] for one in status.get('shed', ())]}, holds: {status.get('holds')}, "
            f"quarantined: {status.get('quarantined')}, level: {status.get('level')}"
        ) from error


def _still_guards(stage: Stage, judge: Judge) -> None:
    """It does what it is for: sheds under pressure, and restores after."""
    everything = stage.running()

    def shed() -> bool:
        judge.look()
        return stage.running() < everything

    def restored() -> bool:
        judge.look()
        stage.hold("calm")
        return stage.running() == everything and not stage.status().get("shed", True)

    stage.hold("hard")
    eventually(shed, "guardian sheds after all", 60)
    stage.hold("calm")
    eventually(restored, "guardian restores after all", 90, 0.5)


def _tell(seed: int, faults: Sequence[Fault], done: Sequence[str], stage: Stage, say: Callable[[str], None]) -> None:
    say(f"seed {seed}; its plan:")
    for fault in faults:
        say(f"  {fault}")
    say("what was done of it:")
    for line in done:
        say(f"  {line}")
    say(f"the end of guardian's log ({stage.guardian.log_path}):")
    with suppress(OSError):
        for line in stage.guardian.log_path.read_text(errors="replace").splitlines()[-LOG_LINES:]:
            say(f"  {line[:600]}")
