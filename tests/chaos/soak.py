"""`make soak DAYS=30`: guardian on a virtual host for weeks of random load and faults, at its own pace, on a virtual clock.

Nothing is left out while anything happens: the pace is guardian's own, ten ticks a second near a mark. While nothing presses,
nothing is owed and nothing is about to change, time passes in ticks of a minute.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from support.cases import Case, a_case, assert_sound
from support.held import held
from support.virtual_host import MIB, VirtualHost

from guardian.engine.simulated.behaviour import ramp_to, steady
from guardian.engine.simulated.scenario import GIB, HostStep, Service
from guardian.expose.orders import OrderKind
from guardian.model import Level

DAY_S = 86_400.0
GAP_S = 3600.0  # mean, from the end of one trouble to the next
LEAST_GAP_S = 900.0
SKIP_S = 60.0
LEAST_S = 15.0  # of a mishap: who starts a container while it still stops starts nothing
BEFORE_S = 30.0
CALM_WITHIN_S = 3 * 3600.0  # after a trouble, if no other comes
SERVICES, PHASES = 12, 4
FAULTS = (
    "refuse_stops",
    "refuse_starts",
    "miss_stats",
    "down",
    "restart",
    "crash",
    "slow",
    "person_stops",
    "person_starts",
    "hold",
)


@dataclass(frozen=True, slots=True)
class Mishap:
    """From `at_s` on for `for_s` seconds; of one service, or of all."""

    at_s: float
    for_s: float
    what: str
    service: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """More memory is wanted outside of the services than there is, from `at_s` to `until_s`, and something fails meanwhile."""

    at_s: float
    until_s: float
    mishaps: tuple[Mishap, ...]


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. `held` is how many values guardian kept at the end of each day."""

    troubles: int
    ticks: int
    sheds: int
    restores: int
    oom_kills: int
    held: tuple[int, ...]


def soak(seed: int, days: float, say: Callable[[str], None] = lambda _: None) -> Soaked:
    """AssertionError where something does not hold that must hold after each trouble, or guardian grows from day to day."""
    case, troubles = weeks(seed, days)
    host = VirtualHost(case.scenario, case.config, with_cgroups=True)
    began_s = host.clock.monotonic()
    ticks = sheds = restores = 0
    sizes: list[int] = []

    def passed_s() -> float:
        return host.clock.monotonic() - began_s

    def settle() -> None:
        """All is over: judge it, and forget what was judged."""
        nonlocal ticks, sheds, restores
        assert_sound(case, host)
        assert host.down == set(), f"seed {seed}: down after {passed_s() / DAY_S:.2f} days: {sorted(host.down)}"
        ticks += len(host.snapshots)
        sheds += sum(call.kind in ("stop", "signal") for call in host.engine.calls)
        restores += sum(call.kind == "start" for call in host.engine.calls)
        host.snapshots.clear()
        host.engine.calls.clear()
        host.store.rows.clear()

    ends = [one.at_s for one in troubles[1:]] + [days * DAY_S + CALM_WITHIN_S]
    for trouble, next_s in zip(troubles, ends, strict=True):
        _calm(host, lambda end_s=trouble.at_s - BEFORE_S: passed_s() >= end_s, SKIP_S)  # type: ignore[misc]
        _go_through(host, trouble, passed_s)
        over = _calm(host, lambda: not _busy(host) or passed_s() >= next_s - BEFORE_S, 5.0)  # noqa: B023
        if not _busy(host):
            settle()
        assert over
        while passed_s() >= (len(sizes) + 1) * DAY_S and not _busy(host):
            sizes.append(held([host.loop, host.ledger, host.feed, host.actor]))
            say(
                f"day {len(sizes)}: {sheds} stops, {restores} starts, {len(host.engine.oom_kills)} OOM kills, {sizes[-1]} values"
            )
    assert not _busy(host), f"seed {seed}: still owed after lasting calm: {host.snapshots[-1].entries}"
    assert len(sizes) < 8 or max(sizes[len(sizes) // 2 :]) <= 1.1 * max(sizes[: len(sizes) // 2]), sizes
    return Soaked(len(troubles), ticks, sheds, restores, len(host.engine.oom_kills), tuple(sizes))


def weeks(seed: int, days: float) -> tuple[Case, Sequence[Trouble]]:
    """A platform whose containers all come back by themselves, and the troubles that it gets."""
    rng = random.Random(seed)
    case = a_case(SERVICES, PHASES, rng.randrange(2**32))
    services = {name: _comes_back(one, name in case.never_killed) for name, one in case.scenario.services.items()}
    base = sum(one.memory * one.replicas for one in services.values()) + 350 * MIB
    troubles, steps = [], []
    at_s = LEAST_GAP_S
    while at_s < days * DAY_S or not troubles:
        until_s = at_s + rng.uniform(30.0, 400.0)
        load = rng.uniform(0.82, 1.02) * 4 * GIB - base
        shape = steady(load) if rng.random() < 0.3 else ramp_to(load, rng.choice((4 * MIB, 10 * MIB, 40 * MIB, 200 * MIB)))
        steps += [HostStep(at=at_s, memory=shape), HostStep(at=until_s, memory=ramp_to(0.0, 100 * MIB))]
        mishaps = tuple(
            Mishap(
                rng.uniform(at_s - 20, until_s), rng.uniform(LEAST_S, 40.0), rng.choice(FAULTS), rng.choice(sorted(services))
            )
            for _ in range(rng.choice((0, 1, 1, 2, 3)))
        )
        troubles.append(Trouble(at_s, until_s, mishaps))
        at_s = until_s + max(LEAST_GAP_S, rng.expovariate(1 / GAP_S))
    scenario = msgspec.structs.replace(
        case.scenario, services=services, host=msgspec.structs.replace(case.scenario.host, steps=tuple(steps))
    )
    return Case(scenario, case.config, case.protected, case.never_killed), troubles


def _comes_back(service: Service, never_killed: bool) -> Service:
    """With its engine. One that is asked to stop, may not be killed and does not end counts for Docker as stopped by somebody."""
    stop = msgspec.structs.replace(service.stop, ignores_sigterm=service.stop.ignores_sigterm and not never_killed)
    return msgspec.structs.replace(service, restart="unless-stopped", stop=stop)


def _busy(host: VirtualHost) -> bool:
    """Whether anything is owed or under way, or the level is not ok."""
    last = host.snapshots[-1] if host.snapshots else None
    return last is not None and bool(last.entries or last.in_flight or last.assessment.level is not Level.OK)


def _calm(host: VirtualHost, done: Callable[[], bool], interval_s: float) -> bool:
    """Tick at that interval until `done`, for CALM_WITHIN_S at most where it is not a matter of time alone."""
    host.paced, host.interval_s, host.round_s = False, interval_s, interval_s
    most = round(10 * DAY_S / interval_s) if interval_s == SKIP_S else round(CALM_WITHIN_S / interval_s)
    for _ in range(most):
        if done():
            return True
        host.tick()
    return done()


def _go_through(host: VirtualHost, trouble: Trouble, passed_s: Callable[[], float]) -> None:
    """At guardian's own pace, with every mishap at its time; each has ended when this returns."""
    host.paced = True
    steps = sorted(((one.at_s, True, one) for one in trouble.mishaps), key=lambda step: step[0])
    while steps or passed_s() < trouble.until_s + BEFORE_S:
        while steps and steps[0][0] <= passed_s():
            _, begins, mishap = steps.pop(0)
            (_begin if begins else _end)(host, mishap)
            if begins:  # an order is a tick of its own, so the next one may begin late, and lasts as long all the same
                steps = sorted([*steps, (passed_s() + mishap.for_s, False, mishap)], key=lambda step: step[0])
        host.tick()


def _begin(host: VirtualHost, one: Mishap) -> None:
    if one.what in ("refuse_stops", "refuse_starts", "miss_stats"):
        getattr(host.engine, one.what)(one.service, True)
    elif one.what == "restart":
        host.restart_engine(5.0)
    elif one.what == "down":
        host.engine_down()
    elif one.what == "slow":
        host.store.slow = True
    elif one.what == "crash":
        host.store.commit()  # a crash before that is the one exception to "no obligation is lost"
        host.crash()
    elif one.what == "person_stops":
        host.engine.external_stop(one.service)
    elif one.what == "person_starts":
        host.engine.external_start(one.service)
    else:
        host.order(OrderKind.HOLD)


def _end(host: VirtualHost, one: Mishap) -> None:
    if one.what in ("refuse_stops", "refuse_starts", "miss_stats"):
        getattr(host.engine, one.what)(one.service, False)
    elif one.what == "down":
        host.engine_down(False)
    elif one.what == "slow":
        host.store.slow = False
        host.store.commit()
    elif one.what == "person_stops":
        host.engine.external_start(one.service)
    elif one.what == "hold":
        host.order(OrderKind.RELEASE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="makes load and faults; else one at random"
    )
    parser.add_argument("--days", type=float, default=30.0, help="of virtual time")
    options = parser.parse_args()
    if not options.days > 0:
        parser.error("--days: expected more than 0, such as DAYS=30")

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    say(f"seed {options.seed}, {options.days:g} days")
    began_s = time.monotonic()
    done = soak(options.seed, options.days, say)
    say(
        f"seed {options.seed}: {options.days:g} days with {done.troubles} troubles in {time.monotonic() - began_s:.0f} s: {done.ticks} ticks, "
        f"{done.sheds} stops, {done.restores} starts, {done.oom_kills} OOM kills; all was back after each"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
