"""`make soak RECORD=1 DAYS=30`: guardian records weeks of the reference platform on a virtual host.

The whole loop on a virtual clock: 32 services whose use is never the same twice, and every few hours a load that does not fit, for which
some of them are shed and restored. Around it guardian has its own pace. While all is well it ticks every five seconds, of
which the recording keeps as much as of more: six readings of the host and one row a minute.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from support.held import held
from support.virtual_host import MIB, VirtualHost

from guardian.config.load import load
from guardian.config.schema import Config
from guardian.engine.simulated import find_scenario
from guardian.engine.simulated.behaviour import ramp_to
from guardian.engine.simulated.scenario import HostStep, Scenario
from guardian.model import Mode, Usage
from guardian.record.moment import Moment
from guardian.record.packer import LOUD_S, Packer
from guardian.record.rows import Row
from guardian.record.store import KEEP_S, MOST_BYTES, RecordFile

DAY_S = 86_400.0
BEFORE_S = 120.0  # a load at its own pace from so long before it …
AFTER_S = 2 * LOUD_S  # … until the recording has come to rest
CALM_TICK_S = 5.0
WRITE_S = 5.0  # the recording's thread writes what there is so often
REFERENCE = Path(__file__).parents[2] / "config" / "guardian.yaml"


@dataclass(frozen=True, slots=True)
class Day:
    """At its end: the file, the oldest row in it, how many values the recording keeps in memory, and what the process has resident."""

    file_bytes: int
    oldest_s: float
    values: int
    resident_bytes: int
    sheds: int


class Recording:
    """As the recording's thread does it, but within the tick. Figures of containers are stirred: the virtual ones hardly change."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.packer, self.file = Packer(), RecordFile(path)
        self._rng = rng
        self._rows: list[Row] = []
        self._written_s = 0.0
        self._of: object = None
        self._stirred: dict[str, Usage] = {}

    def note(self, moment: Moment) -> None:
        self._rows += self.packer.take(self._stir(moment))
        if moment.now_s - self._written_s >= WRITE_S:
            self.write(moment.now_wall_s)
            self._written_s = moment.now_s

    def write(self, now_wall_s: float) -> None:
        self.file.write(self._rows, now_wall_s)
        self._rows = []

    def _stir(self, moment: Moment) -> Moment:
        inventory = moment.sample.inventory
        if inventory is None:
            return moment
        if inventory.usage is not self._of:
            self._of = inventory.usage
            self._stirred = {name: self._other(usage) for name, usage in inventory.usage.items()}
        return replace(moment, sample=replace(moment.sample, inventory=replace(inventory, usage=self._stirred)))

    def _other(self, usage: Usage) -> Usage:
        by = self._rng.uniform(0.95, 1.05)
        return usage._replace(
            working_set_bytes=None if usage.working_set_bytes is None else int(usage.working_set_bytes * by),
            footprint_bytes=None if usage.footprint_bytes is None else int(usage.footprint_bytes * by),
            cpu_cores=None if usage.cpu_cores is None else usage.cpu_cores * self._rng.uniform(0.5, 1.5),
        )


def record(path: Path, seed: int, days: float, say: Callable[[int, Day], None] = lambda *_: None) -> Sequence[Day]:
    """AssertionError where the file is too large, or has what is too old, or what is kept in memory grows from day to day."""
    scenario, loads_s = weeks(seed, days)
    recording = Recording(path, random.Random(seed))
    host = VirtualHost(scenario, _config(), with_cgroups=True, record=recording.note)
    began_s = host.clock.monotonic()
    found: list[Day] = []
    sheds = 0
    while len(found) < days:
        passed_s = host.clock.monotonic() - began_s
        host.paced = any(at_s - BEFORE_S <= passed_s < at_s + AFTER_S for at_s in loads_s)
        if not host.paced:
            host.interval_s = host.round_s = CALM_TICK_S
        host.tick()
        if passed_s >= min(days, len(found) + 1) * DAY_S:
            recording.write(host.clock.wall())
            sheds += sum(call.kind == "stop" for call in host.engine.calls)
            host.engine.calls.clear()
            kept = held([recording.packer, recording.file])
            found.append(Day(path.stat().st_size, host.clock.wall() - _oldest_wall_s(path), kept, _resident_bytes(), sheds))
            say(len(found), found[-1])
            assert found[-1].file_bytes <= MOST_BYTES
            assert found[-1].oldest_s <= KEEP_S + 60.0
        if len(host.snapshots) >= 1000:
            host.snapshots.clear()
            host.store.rows.clear()
    recording.file.close()
    half = len(found) // 2
    assert half < 4 or max(day.values for day in found[half:]) <= 1.1 * max(day.values for day in found[:half]), found
    return found


def weeks(seed: int, days: float) -> tuple[Scenario, Sequence[float]]:
    """The reference platform with loads that do not fit, every two to ten hours, and when each begins."""
    rng = random.Random(seed)
    steps: list[HostStep] = []
    begins: list[float] = []
    at_s = 3600.0
    while at_s < days * DAY_S:
        until_s = at_s + rng.uniform(300.0, 900.0)
        size, rate = rng.uniform(900, 1400) * MIB, rng.choice((8, 20, 100)) * MIB
        steps += [HostStep(at=at_s, memory=ramp_to(size, rate)), HostStep(at=until_s, memory=ramp_to(0.0, 100 * MIB))]
        begins.append(at_s)
        at_s = until_s + rng.uniform(2.0, 10.0) * 3600.0
    calm = find_scenario("calm")
    return msgspec.structs.replace(calm, host=msgspec.structs.replace(calm.host, steps=tuple(steps))), begins


def _config() -> Config:
    return msgspec.structs.replace(load(REFERENCE), mode=Mode.ENFORCE)


def _oldest_wall_s(path: Path) -> float:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return float(connection.execute("SELECT min(until_wall_s) FROM rows").fetchone()[0])


def _resident_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak RECORD=1", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="makes the loads; else one at random")
    parser.add_argument("--days", type=float, default=30.0, help="of virtual time")
    options = parser.parse_args()

    def say(number: int, day: Day) -> None:
        sys.stdout.write(
            f"day {number}: {day.file_bytes / 1e6:.1f} MB, the oldest of {day.oldest_s / DAY_S:.2f} days ago, {day.sheds} sheds so far, "
            f"{day.values} values, {day.resident_bytes / MIB:.1f} MiB resident\n"
        )
        sys.stdout.flush()

    began_s = time.monotonic()
    sys.stdout.write(f"seed {options.seed}, {options.days:g} days\n")
    with TemporaryDirectory() as folder:
        record(Path(folder) / "record.db", options.seed, options.days, say)
    sys.stdout.write(f"seed {options.seed}: {options.days:g} days in {time.monotonic() - began_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
