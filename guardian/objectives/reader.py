"""The sums of a time, for any process and whether or not guardian runs."""

from __future__ import annotations

from pathlib import Path

from guardian.objectives.evaluate import Window
from guardian.objectives.rows import HOUR_S
from guardian.objectives.store import ObjectivesError, hours_of, oldest, opened

FRESH_S = 120.0  # a daemon that runs writes once a minute


def window(path: Path, since_wall_s: float, now_wall_s: float) -> Window:
    """From the beginning of the hour that `since_wall_s` is in, or the first figures there are, until now.

    Where the daemon runs, now is when it has last written. ObjectivesError where there is nothing, or it cannot be read.
    """
    first = int(since_wall_s // HOUR_S)
    with opened(path) as connection:
        start = oldest(connection)
        if start is None:
            raise ObjectivesError(f"{path}: nothing has been watched yet; ask again in a minute")
        found = Window(max(float(first * HOUR_S), start.first_wall_s), now_wall_s)
        for hour in hours_of(connection, first):
            found.add(hour)
    if 0 <= now_wall_s - found.last_wall_s <= FRESH_S:
        found.until_wall_s = found.last_wall_s
    return found
