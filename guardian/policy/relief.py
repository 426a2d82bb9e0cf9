"""What sheds have brought: booked once a newer reading shows it, and judged by the circuit breaker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from guardian.config.schema import Config
from guardian.model import (
    Assessment,
    Level,
    Settled,
    Signal,
)
from guardian.policy import shed
from guardian.policy.platform import Platform
from guardian.policy.rank import Resource
from guardian.policy.state import Breaker, Landing, PolicyState

USELESS_PART = 0.25  # a shed that brought less than this of what was expected
SEEN_PART = 0.5  # relief has shown when this much of it is seen


def settle(
    assessment: Assessment, platform: Platform, state: PolicyState, config: Config, now_s: float, notes: list[str]
) -> tuple[PolicyState, tuple[Settled, ...]]:
    """Batches that have ended: once a newer reading shows the relief, or `settle` has passed, it is booked as measured."""
    if not state.landings:
        return state, ()
    settled: list[Settled] = []
    kept: list[Landing] = []
    breakers = dict(state.breakers)
    present = shed.uses(platform, now_s)
    flying = {flight.batch for flight in state.flights}
    for batch in dict.fromkeys(landing.batch for landing in state.landings):
        landings = [landing for landing in state.landings if landing.batch == batch]
        signal = landings[0].signal or Signal.MEMORY
        gone_s = max(landing.gone_s for landing in landings)
        expected = _expected(landings, signal)
        done, measured = (
            (False, None) if batch in flying else _seen(landings, signal, gone_s, expected, assessment, present, config, now_s)
        )
        if not done:
            kept.extend(landings)
            continue
        part = None if measured is None or not expected else measured / expected
        for landing in landings:
            own = _expected([landing], signal)
            settled.append(Settled(landing.action, landing.signal, own, None if part is None or own is None else own * part))
        if part is not None and landings[0].signal is not None:
            before = breakers.get(signal, Breaker())
            useless = before.useless + 1 if part < USELESS_PART else 0
            opened = useless >= 2
            breakers[signal] = Breaker(0 if opened else useless, now_s + shed.BREAKER_S if opened else before.open_until_s)
            if opened:
                notes.append(
                    f"shedding for {signal.value} is ineffective: two in a row brought under a quarter; soft sheds pause 10 min"
                )
    return replace(state, landings=tuple(kept), breakers=breakers), tuple(settled)


def _expected(landings: Iterable[Landing], signal: Signal) -> float | None:
    """The expected relief of these together, in the signal's unit; None where none of them is known."""
    memory = shed.resource_of(signal) is Resource.MEMORY
    reliefs = [one.action.relief_bytes if memory else one.action.relief_cores for one in landings]
    known = [relief for relief in reliefs if relief is not None]
    return float(sum(known)) if known else None


def _seen(
    landings: list[Landing],
    signal: Signal,
    gone_s: float,
    expected: float | None,
    assessment: Assessment,
    present: shed.Uses,
    config: Config,
    now_s: float,
) -> tuple[bool, float | None]:
    """(whether it is settled, what was measured). What other services grew by meanwhile counts as relief: they got it."""
    status = assessment.signal(signal)
    window_s = _window_s(signal, assessment)
    limit_s = max(config.shedding.settle, window_s)
    if status is None:
        return True, None
    used, baseline = shed.amount(status), landings[0].baseline
    if used is None or status.value is None or status.at_s is None or status.at_s <= gone_s:
        return now_s - gone_s >= limit_s, None  # no reading came: unknown, and never an argument for the breaker
    if now_s - gone_s < window_s:
        return False, None
    if baseline is None or baseline.used is None:
        return True, None
    mine = {landing.action.service for landing in landings}
    uses_of = present.of(shed.resource_of(signal))
    grown = sum(
        now - before
        for key, before in baseline.services.items()
        if key not in mine and before is not None and (now := uses_of.get(key)) is not None
    )
    measured = max(0.0, baseline.used - used + max(0.0, grown))
    shown = expected is not None and measured >= SEEN_PART * expected
    return shown or now_s - gone_s >= limit_s, measured


def _window_s(signal: Signal, assessment: Assessment) -> float:
    """How long after a victim is gone a reading still has it in its mean."""
    if signal is Signal.CPU:
        return shed.CPU_WINDOW_S
    memory = assessment.signal(Signal.MEMORY)
    if signal is Signal.MEMORY and memory is not None and memory.level is Level.OK:
        return 10.0  # shed for a supporting signal, whose average is over ten seconds
    return 0.0
