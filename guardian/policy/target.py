"""What `target_phase` asks for: services above it do not run. Pure.

It is no pressure: one service at a time, with its own stop timeout, and only while nothing else is to be done. It touches nothing
that pressure might not touch either, and leaves alone for a while what somebody has just started.
"""

from __future__ import annotations

from guardian.config.schema import Config
from guardian.model import ServiceKey
from guardian.policy.platform import Platform
from guardian.policy.rank import exclusion
from guardian.policy.state import PolicyState


def is_above(phase: int, config: Config) -> bool:
    """Whether the file says that services of this phase do not run."""
    return config.target_phase is not None and phase > config.target_phase


def is_missed(platform: Platform, config: Config) -> bool:
    """Whether something above it runs. Costs the same however many services there are."""
    return is_above(platform.highest_up, config)


def next_stop(
    platform: Platform,
    busy: frozenset[ServiceKey],
    pins: frozenset[ServiceKey],
    state: PolicyState,
    config: Config,
    now_s: float,
) -> tuple[ServiceKey, ...]:
    """The next service to stop, after what requires it: the highest phase first, dependents before what they need. Empty: none."""
    above = [
        service
        for service in platform.services.values()
        if service.up and is_above(service.phase, config) and not _is_left(service.key, state, now_s)
    ]
    for service in sorted(above, key=lambda one: (-one.phase, platform.stop_order.get(one.key, 0), one.key)):
        if exclusion(service, platform, busy, pins, state, now_s):
            continue
        requirers = [key for key in platform.requirers.get(service.key, ()) if platform.services[key].up]
        if any(key in busy or _is_left(key, state, now_s) for key in requirers):
            continue
        return (*sorted(requirers, key=lambda key: platform.stop_order.get(key, 0)), service.key)
    return ()


def _is_left(key: ServiceKey, state: PolicyState, now_s: float) -> bool:
    """Somebody has just started what guardian had stopped."""
    until_s = state.memo(key).override_until_s
    return until_s is not None and now_s < until_s
