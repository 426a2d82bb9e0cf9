"""Restarts of what is unhealthy: whom, and why not yet. One at a time, the cause first, and never against anybody else's doing."""

from __future__ import annotations

from dataclasses import replace

from guardian.config.schema import Config
from guardian.ledger.entries import Means
from guardian.model import Action, ActionKind, Assessment, Container, ContainerState, Decision, Health, Held, Level, ServiceKey
from guardian.policy import demand, shed
from guardian.policy.inputs import Inputs
from guardian.policy.platform import Platform, Service
from guardian.policy.restore import HEALTHY_WITHIN_S
from guardian.policy.state import Flight, PolicyState

UNHEALTHY = "unhealthy"  # the reason of a restart
HOUR_S = 3600.0
FIRST_PAUSE_S = 60.0  # after a restart; doubled for each further one within the hour


def restart(
    decision: Decision,
    assessment: Assessment,
    platform: Platform,
    inputs: Inputs,
    state: PolicyState,
    config: Config,
    now_s: float,
) -> tuple[Decision, PolicyState]:
    """At most one restart in a tick that decides nothing else: of what is unhealthy and is to be restarted for that.

    What is unhealthy was so `retries` times in a row already, by the engine's check or by guardian's probe.
    """
    restarts = {key: recent for key, times in state.restarts.items() if (recent := _recent(times, now_s))}
    state = replace(state, restarts=restarts)
    closed = _closed(decision, assessment, platform, inputs, state, now_s)
    chosen: Service | None = None
    held = []
    for service in sorted(platform.sick, key=lambda one: (one.phase, -platform.stop_order.get(one.key, 0), one.key)):
        why, detail = closed if closed[0] else why_not(service, platform, inputs, state, now_s)
        if not why and chosen is not None:
            why, detail = "restarting", f"{chosen.key} comes first"
        if why:
            held.append(Held(ActionKind.RESTART, why, service.key, detail))
        else:
            chosen = service
    decision = replace(decision, held=(*decision.held, *held))
    if chosen is None:
        return decision, state
    expected_bytes, expected_cores = demand.expected(chosen, platform, state, now_s)
    state = replace(
        state,
        actions=state.actions + 1,
        restarts={**state.restarts, chosen.key: (*state.restarts.get(chosen.key, ()), now_s)},
    )
    action = Action(
        id=f"{state.run_id}-{state.actions}",
        kind=ActionKind.RESTART,
        service=chosen.key,
        phase=chosen.phase,
        containers=tuple(one.id for one in _unhealthy(chosen)),
        reason=UNHEALTHY,
        grace_s=chosen.stop_timeout_s,
        kill_after_grace=not chosen.kill_never,
        deadline_s=chosen.stop_timeout_s + config.engine.timeout + shed.CPU_WINDOW_S,
        expected_bytes=expected_bytes,
        expected_cores=expected_cores,
    )
    flight = Flight(action, now_s, action.id, None)
    return replace(decision, actions=(action,)), replace(state, flights=(*state.flights, flight))


def why_not(service: Service, platform: Platform, inputs: Inputs, state: PolicyState, now_s: float) -> tuple[str, str]:
    """Why this service is not restarted now: a label and a detail; empty: it may be."""
    if not _unhealthy(service):
        return "not_running", "it is paused, or restarting by itself"
    if service.protect:
        return "protect", ""
    if service.key in inputs.controls.pins:
        return "pinned", "an operator has pinned it"
    if not service.enforced:
        return "phase_observed", "its phase is only observed"
    if any(one.service == service.key and one.means is not Means.THROTTLE for one in inputs.entries):
        return "shed", "it is shed, or was until a moment ago"
    memo = state.memo(service.key)
    if memo.override_until_s is not None and now_s < memo.override_until_s:
        return "overridden", "somebody has started it a moment ago"
    if memo.probation_until_s is not None and now_s < memo.probation_until_s:
        return "probation", "it was restored, or started by a roll-out, a moment ago"
    lodger = next((one.key for one in platform.services.values() if _lives_in(one, service)), None)
    if lodger is not None:
        return "shared", f"{lodger} lives in its namespaces, and would lose them"
    for needed in sorted(_needs(service.key, platform)):
        comes_first = platform.stop_order.get(needed, 0) > platform.stop_order.get(service.key, 0)  # false only in a cycle
        if comes_first and not _is_well(platform.services[needed]):
            return "dependency", f"it depends on {needed}, which is not well itself"
    times = state.restarts.get(service.key, ())
    if len(times) >= service.restarts_per_hour:
        return "max_per_hour", f"restarted {len(times)} times within the hour"
    if times and (left_s := times[-1] + FIRST_PAUSE_S * 2.0 ** (len(times) - 1) - now_s) > 0:
        return "backoff", f"{left_s:.0f} s to go"
    return "", ""


def _closed(
    decision: Decision, assessment: Assessment, platform: Platform, inputs: Inputs, state: PolicyState, now_s: float
) -> tuple[str, str]:
    """Why nothing at all is restarted now. While the host is hard, a check that fails says little, and a start makes it worse."""
    gates: tuple[tuple[str, bool], ...] = (
        ("standby", inputs.standby),
        *((reason, reason in decision.holds) for reason in ("engine", "operator", "disk")),
        ("pressure", assessment.level is Level.HARD),
        ("in_flight", bool(state.flights)),
        ("rising", state.rising is not None),
        ("settling", bool(state.landings)),
    )
    reason = next((reason for reason, shut in gates if shut), "")
    if reason:
        return reason, ""
    for key, times in state.restarts.items():
        service = platform.services.get(key)
        starting = service is not None and bool(service.up) and service.healthy is None
        unseen = platform.read_s is None or platform.read_s <= times[-1]
        if unseen or (starting and now_s - times[-1] < HEALTHY_WITHIN_S):
            return "restarting", f"{key} is not up yet"
    return "", ""


def _recent(times: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    return tuple(at_s for at_s in times if now_s - at_s < HOUR_S)


def _unhealthy(service: Service) -> tuple[Container, ...]:
    return tuple(one for one in service.up if one.state is ContainerState.RUNNING and one.health is Health.UNHEALTHY)


def _is_well(service: Service) -> bool:
    """Whether it runs and no check says otherwise; one that is starting is not well yet."""
    if not service.up or service.healthy is False:
        return False
    return service.healthy is True or all(one.health is Health.NONE for one in service.up)


def _lives_in(other: Service, service: Service) -> bool:
    if other.key == service.key or service.key not in other.requires:
        return False
    owners = {name for one in service.containers for name in (one.id, one.name)}
    return any(owner in owners for one in other.up for owner in one.shares)


def _needs(key: ServiceKey, platform: Platform) -> set[ServiceKey]:
    """All that it depends on, directly or through others."""
    found: set[ServiceKey] = set()
    waiting = [key]
    while waiting:
        service = platform.services[waiting.pop()]
        for needed in (service.requires | service.depends_on) - found - {key}:
            if needed in platform.services:
                found.add(needed)
                waiting.append(needed)
    return found
