"""What must hold at every moment, whatever goes wrong, and what must be so in the end."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

import psutil
from support import small
from support.socket_proxy import Recorded

from chaos.plan import MANAGED
from chaos.stage import Stage

STILL_S = 45.0  # without a tick, while guardian runs on a busy machine
MOST_RSS_BYTES = 120 << 20
MOST_THREADS = 220
MOST_DESCRIPTORS = 256
EARLIER_S, LATER_S = 90.0, 15.0  # around a row of the history, in which what it says must have happened
ACTS = ("/stop", "/kill", "/start", "/update")


class Broken(Exception):
    """An invariant does not hold."""


class Judge:
    """`look` often; each look goes on where the last one ended."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._requests = 0
        self._log_bytes = 0
        self._ticks: tuple[int, int] = (0, -1)  # of which process, and how many
        self._ticked_s = time.monotonic()
        self._may_start: set[str] = set()
        self.most_rss_bytes = self.most_threads = self.most_descriptors = 0
        self.acts: Counter[str] = Counter()

    def look(self) -> None:
        self._nobody_else_was_touched()
        self._what_must_live_lives()
        self._log_is_clean()
        self._process_is_bounded()
        self._loop_is_alive()

    def _nobody_else_was_touched(self) -> None:
        """By the proxy's record: all that guardian ever asked to be changed."""
        requests = self._stage.proxy.requests
        new, self._requests = requests[self._requests :], len(requests)
        for one in new:
            if one.method != "POST" or not one.route.endswith(ACTS):
                continue
            service = self._stage.ids.get(one.route.split("/")[2], "a container that nobody knows")
            if service not in MANAGED:
                raise Broken(f"guardian asked for {one.method} {one.route} of {service}, which is not its to touch")
            self.acts[one.route.rpartition("/")[2]] += 1
            self._judge_start(one, service)

    def _judge_start(self, one: Recorded, service: str) -> None:
        if not small.is_start(one):
            return
        since_s = self._stage.down_by_person.get(service)
        if since_s is not None and one.arrived_s > since_s:
            raise Broken(f"guardian started {service}, which a person had stopped")

    def _what_must_live_lives(self) -> None:
        for service, life in list(self._stage.untouchable.items()):
            if not life.goes_on:
                raise Broken(f"{service} has ended, while its engine lived")

    def _log_is_clean(self) -> None:
        path = self._stage.guardian.log_path
        with path.open("rb") as file:
            file.seek(self._log_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._log_bytes += len(whole)
        for line in whole.splitlines():
            if b"Traceback (most recent call last)" in line:
                raise Broken(f"a traceback in the log: {line.decode(errors='replace')[:3000]}")

    def _process_is_bounded(self) -> None:
        if not self._stage.guardian_runs:
            return
        with suppress(psutil.Error):
            process = psutil.Process(self._stage.guardian.pid)
            rss, threads, descriptors = process.memory_info().rss, process.num_threads(), process.num_fds()
            self.most_rss_bytes = max(self.most_rss_bytes, rss)
            self.most_threads = max(self.most_threads, threads)
            self.most_descriptors = max(self.most_descriptors, descriptors)
            if rss > MOST_RSS_BYTES or threads > MOST_THREADS or descriptors > MOST_DESCRIPTORS:
                raise Broken(f"guardian has grown: {rss >> 20} MiB, {threads} threads, {descriptors} descriptors")

    def _loop_is_alive(self) -> None:
        now_s, stage = time.monotonic(), self._stage
        if not stage.guardian_runs:
            self._ticked_s = now_s
            return
        if stage.guardian.exit_code is not None:
            raise Broken(f"guardian ended by itself with {stage.guardian.exit_code}")
        stage.guardian.look_up()
        seen = (stage.guardian.pid, stage.status().get("ticks", -1))
        if seen != self._ticks and seen[1] >= 0:
            self._ticks, self._ticked_s = seen, now_s
        elif seen[0] != self._ticks[0]:  # another life, which has not ticked yet
            self._ticks, self._ticked_s = (seen[0], -1), now_s
        elif now_s - self._ticked_s > STILL_S:
            raise Broken(f"no tick for {now_s - self._ticked_s:.0f} s")

    # --- in the end -------------------------------------------------------------------------------------------------

    def what_is_counted_happened(self) -> int:
        """By the engine's events: each shed and restore that guardian calls done. Returned: how many there were."""
        dies, starts = self._times(running=False), self._times(running=True)
        judged = 0
        for row in self._stage.history():
            if row["result"] != "done" or row["action"] not in ("shed", "restore") or not row["service"]:
                continue
            service, at_wall_s = row["service"].partition("/")[2], row["at_wall_s"]
            judged += 1
            if any(begin <= at_wall_s + LATER_S and end >= at_wall_s - EARLIER_S for begin, end in self._stage.blind):
                continue  # the engine went down about then, and what it had to tell with it
            events = (dies if row["action"] == "shed" else starts)[service]
            fits = [one for one in events if at_wall_s - EARLIER_S <= one <= at_wall_s + LATER_S]
            if not fits:
                raise Broken(f"guardian calls it done, and the engine tells of no such thing: {row}")
            events.remove(fits[0])
        return judged

    def _times(self, running: bool) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {name: [] for name in MANAGED}
        for change in self._stage.changes:
            if change.running is running and change.service in times:
                times[change.service].append(change.at_wall_s)
        return times
