"""A month of recording, in whatever order of calm and pressure, stays within the bounds of its file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from chaos.recording import record
from hypothesis import given, settings
from hypothesis import strategies as st
from support.moments import plain

from guardian.model import Level
from guardian.record.packer import Packer
from guardian.record.reader import minutes
from guardian.record.store import KEEP_S, RecordFile

DAY_S = 86400.0
TICK_S = 1800.0  # coarse, so that a month is quick; the bound is made as much smaller

STRETCHES = st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=8, max_size=16)


@settings(max_examples=6, deadline=None)
@given(STRETCHES, st.integers(120_000, 400_000))
def test_a_month_stays_within_its_bounds(stretches: list[tuple[int, bool]], most_bytes: int) -> None:
    """After each day of a month the file is no larger than it may be and has nothing older than a fortnight, but the newest."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "record.db"
        packer, file = Packer(), RecordFile(path, most_bytes=most_bytes)
        number, now_s, begun_s = 1, 1000.0, 1000.0
        for days, pressed in stretches * 4:
            count = int(days * DAY_S / TICK_S)
            rows = []
            for moment in plain(count, TICK_S, 3, Level.SOFT if pressed else Level.OK, number, now_s):
                rows += packer.take(moment)
                if len(rows) >= 60:
                    file.write(rows, moment.now_wall_s)
                    rows = []
            file.write(rows, moment.now_wall_s)
            number, now_s = number + count, moment.now_s
            assert path.stat().st_size <= most_bytes
            kept = list(minutes(path, 0.0))
            assert kept[-1].minute.until_wall_s >= moment.now_wall_s - 2 * TICK_S
            assert kept[0].minute.until_wall_s >= moment.now_wall_s - KEEP_S - DAY_S
            if now_s - begun_s >= 30 * DAY_S:
                break
        file.close()


def test_a_slice_of_what_the_recording_soak_does_for_weeks(tmp_path: Path) -> None:
    """Through an hour and a half of the reference platform, with a load that does not fit, the recording keeps what the loop did."""
    (end,) = record(tmp_path / "record.db", seed=1, days=0.06)
    assert end.sheds > 0
    assert end.file_bytes > 100_000
