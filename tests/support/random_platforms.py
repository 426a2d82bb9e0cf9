"""Random platforms for property tests, written down twice: as guardian gets them (file, inventory), and as plain facts.

The facts (`Spec`) are what the tests judge by, so that no property trusts the code that it is about.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
from hypothesis import strategies as st

from guardian.config.schema import (
    Budget,
    Config,
    EmergencyConfig,
    PhaseConfig,
    Resources,
    ServiceConfig,
    SheddingConfig,
    Thresholds,
    ThresholdsConfig,
)
from guardian.ledger.entries import Controls
from guardian.model import (
    Action,
    ActionKind,
    Container,
    ContainerState,
    Decision,
    HostReading,
    Inventory,
    Mode,
    ServiceKey,
    Usage,
)
from guardian.policy.assess import assess
from guardian.policy.decide import decide
from guardian.policy.inputs import Inputs
from guardian.policy.platform import Platform, resolve
from guardian.policy.state import Memo, PolicyState

MIB = 1024 * 1024
TOTAL = 4096 * MIB
CORES = 4
NOW_S = 10_000.0
PROJECT = "demo"
RECOVER, SOFT, HARD = 0.70, 0.80, 0.90

AT_ONCE = ThresholdsConfig(
    memory=Thresholds(soft=SOFT, hard=HARD, recover=RECOVER, soft_for=0.0, recover_for=60.0),  # type: ignore[arg-type]
    cpu=Thresholds(soft=SOFT, hard=HARD, recover=RECOVER, soft_for=0.0, hard_for=0.0),  # type: ignore[arg-type]
)
"""Levels change with the first reading, so that one tick decides."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One service, or something that only looks like one: `kind` other than `service` must never be touched."""

    name: str
    kind: str = "service"  # service, unlisted, oneoff, swarm, completed, own
    phase: int = 1
    replicas: tuple[bool, ...] = (True,)  # whether each runs
    footprint_mib: int | None = 100  # of each replica
    cores: float | None = 0.1
    age_s: float = 5000.0
    priority: int = 0
    protect: bool = False
    pinned: bool = False
    kill_never: bool = False
    requires: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    reservation_mib: int | None = None
    on_probation: bool = False
    overridden: bool = False

    @property
    def key(self) -> ServiceKey:
        return ServiceKey(PROJECT, self.name)

    @property
    def running(self) -> int:
        return sum(self.replicas)


@dataclass(frozen=True)
class Facts:
    """A whole platform, and the host's readings."""

    specs: tuple[Spec, ...]
    protected: tuple[bool, ...]  # by phase, from 1
    observed: tuple[bool, ...]
    memory: float | None = 0.95
    cpu: float | None = 0.3
    waiting: float | None = 0.5  # PSI cpu some
    inherit: bool = False

    @cached_property
    def by_name(self) -> Mapping[str, Spec]:
        return {spec.name: spec for spec in self.specs}

    @cached_property
    def managed(self) -> tuple[Spec, ...]:
        return tuple(spec for spec in self.specs if spec.kind == "service")

    def needs(self, spec: Spec) -> set[str]:
        """What it cannot do without, itself."""
        names = {*spec.requires, *(spec.depends_on if self.inherit else ())}
        return {name for name in names if name != spec.name and self.by_name[name].kind == "service"}

    @cached_property
    def _requirers(self) -> Mapping[str, frozenset[str]]:
        return {spec.name: frozenset(self._find_requirers(spec.name)) for spec in self.managed}

    def requirers(self, name: str) -> frozenset[str]:
        """All that require it, directly or through others."""
        return self._requirers[name]

    def _find_requirers(self, name: str) -> set[str]:
        found: set[str] = set()
        while True:
            more = {spec.name for spec in self.managed if self.needs(spec) & ({name} | found)} - found - {name}
            if not more:
                return found
            found |= more

    def phase(self, spec: Spec) -> int:
        return min([spec.phase, *(self.by_name[other].phase for other in self.requirers(spec.name))])

    def untouchable(self, spec: Spec) -> str:
        """Why it must not be stopped, whatever the pressure; empty where it may be."""
        if spec.kind != "service":
            return spec.kind
        if not spec.running:
            return "stopped"
        for one in (spec, *(self.by_name[other] for other in self.requirers(spec.name))):
            if one.protect or self.protected[one.phase - 1]:
                return f"protected by {one.name}"
            if one.running and (one.pinned or self.observed[one.phase - 1]):
                return f"pinned or observed: {one.name}"
        return ""

    def group(self, spec: Spec) -> frozenset[str]:
        """What stops with it."""
        return frozenset({spec.name, *(name for name in self.requirers(spec.name) if self.by_name[name].running)})

    def relief_bytes(self, names: Iterable[str]) -> float | None:
        """Of these together; None where that of one is unknown."""
        total = 0
        for name in set(names):
            spec = self.by_name[name]
            if spec.footprint_mib is None:
                return None
            total += spec.running * spec.footprint_mib * MIB
        return total

    def known_bytes(self, names: Iterable[str]) -> float:
        return sum(self.relief_bytes([name]) or 0.0 for name in set(names))


@st.composite
def platforms(draw: st.DrawFn, memory: st.SearchStrategy[float | None] | None = None) -> Facts:
    """1 to 5 phases and up to 12 services, with everything that may keep guardian from stopping one.

    Only the size and the host are drawn one by one; the services come from a seed, which is ten times as fast.
    """
    phases, count = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return Facts(
        specs=tuple(_spec(number, phases, rng) for number in range(count)),
        protected=tuple(rng.random() < (0.5 if number == 0 else 0.1) for number in range(phases)),
        observed=tuple(rng.random() < 0.1 for _ in range(phases)),
        memory=draw(st.floats(0.6, 1.0) if memory is None else memory),
        cpu=draw(st.one_of(st.floats(0, 1), st.none())),
        waiting=draw(st.one_of(st.floats(0, 1), st.none())),
        inherit=rng.random() < 0.3,
    )


def _spec(number: int, phases: int, rng: random.Random) -> Spec:
    lower = [f"s{other:02}" for other in range(number)]

    def some() -> tuple[str, ...]:
        return tuple(sorted(rng.sample(lower, min(len(lower), rng.choice((0, 0, 0, 1, 2))))))

    return Spec(
        name=f"s{number:02}",
        kind=rng.choice(["service"] * 9 + ["unlisted", "oneoff", "swarm", "completed", "own"]),
        phase=rng.randint(1, phases),
        replicas=tuple(rng.random() < 0.75 for _ in range(rng.choice((1, 1, 2, 3)))),
        footprint_mib=rng.choice((rng.randint(0, 40), rng.randint(0, 700), rng.randint(0, 700), rng.randint(0, 700), None)),
        cores=rng.choice((rng.random() * 2, rng.random() * 2, rng.random() * 0.2, None)),
        age_s=rng.choice((5.0, 5000.0, 5000.0)),
        priority=rng.randint(-1, 1),
        protect=rng.random() < 0.1,
        pinned=rng.random() < 0.1,
        kill_never=rng.random() < 0.2,
        requires=some(),
        depends_on=some(),
        reservation_mib=rng.choice((None, rng.randint(1, 300))),
        on_probation=rng.random() < 0.2,
        overridden=rng.random() < 0.15,
    )


def config_of(facts: Facts, shuffle: random.Random | None = None) -> Config:
    phases = [
        PhaseConfig(
            phase=number,
            protected=facts.protected[number - 1],
            mode=Mode.OBSERVE if facts.observed[number - 1] else Mode.ENFORCE,
            budget=Budget(memory=number * 512 * MIB),  # type: ignore[arg-type]
            services=_shuffled(
                [spec.name for spec in facts.specs if spec.kind != "unlisted" and spec.phase == number], shuffle
            ),
        )
        for number in range(1, len(facts.protected) + 1)
    ]
    written = {
        spec.name: ServiceConfig(
            priority=spec.priority,
            protect=spec.protect or None,
            kill="never" if spec.kill_never else "allow",
            requires=tuple(name for name in spec.requires if facts.by_name[name].kind == "service"),
            reservations=Resources(memory=None if spec.reservation_mib is None else spec.reservation_mib * MIB),  # type: ignore[arg-type]
        )
        for spec in facts.managed
    }
    return Config(
        version=1,
        mode=Mode.ENFORCE,
        project=PROJECT,
        phases=_shuffled(phases, shuffle),
        services=dict(_shuffled(list(written.items()), shuffle)),
        dependencies="inherit" if facts.inherit else "order",
        thresholds=AT_ONCE,
        shedding=SheddingConfig(),
    )


def inventory_of(facts: Facts, now_s: float = NOW_S, shuffle: random.Random | None = None) -> Inventory:
    containers, usage = [], {}
    for spec in facts.specs:
        for number, running in enumerate(spec.replicas, start=1):
            container = Container(
                id=f"id-{spec.name}-{number}",
                name=f"{PROJECT}-{spec.name}-{number}",
                service=spec.key,
                number=number,
                state=ContainerState.RUNNING if running and spec.kind != "completed" else ContainerState.EXITED,
                started_s=now_s - spec.age_s if running else None,
                depends_on=tuple(name for name in spec.depends_on if facts.by_name[name].kind == "service"),
                oneoff=spec.kind == "oneoff",
                swarm=spec.kind == "swarm",
                completed=spec.kind == "completed",
            )
            containers.append(container)
            if running:
                footprint = None if spec.footprint_mib is None else spec.footprint_mib * MIB
                usage[container.id] = Usage(now_s - 1, footprint, footprint, spec.cores)
    return Inventory(now_s - 1, _shuffled(containers, shuffle), dict(_shuffled(list(usage.items()), shuffle)), round_s=1.0)


def host_of(facts: Facts, now_s: float = NOW_S) -> HostReading:
    return HostReading(
        at_s=now_s,
        cores=CORES,
        memory_total_bytes=TOTAL,
        memory_available_bytes=None if facts.memory is None else round(TOTAL * (1 - facts.memory)),
        cpu_ratio=facts.cpu,
        cpu_some_avg10_ratio=facts.waiting,
        psi_present=True,
    )


def state_of(facts: Facts, now_s: float = NOW_S) -> PolicyState:
    memos = {
        spec.key: Memo(
            probation_until_s=now_s + 60 if spec.on_probation else None,
            override_until_s=now_s + 60 if spec.overridden else None,
        )
        for spec in facts.managed
    }
    return PolicyState(run_id="run", memos=memos)


def pins_of(facts: Facts) -> frozenset[ServiceKey]:
    return frozenset(spec.key for spec in facts.managed if spec.pinned)


def resolve_facts(facts: Facts, shuffle: random.Random | None = None) -> tuple[Config, Platform]:
    config = config_of(facts, shuffle)
    own = frozenset(f"id-{spec.name}-{number}" for spec in facts.specs if spec.kind == "own" for number in range(1, 4))
    return config, resolve(config, inventory_of(facts, shuffle=shuffle), own, float(CORES))


def decide_once(
    facts: Facts,
    shuffle: random.Random | None = None,
    host: bool = True,
    keep: Collection[str] | None = None,
    enabled: bool = False,
    target: int | None = None,
    **inputs: bool,
) -> Decision:
    """One tick on this platform, whose levels are reached at once. `inputs` are fields of `Inputs`.

    `keep` not None: it is in an emergency, which keeps these; `enabled`: one is allowed, and has not come.
    """
    config, platform = resolve_facts(facts, shuffle)
    emergency = EmergencyConfig(enabled=enabled or keep is not None, keep=tuple(keep or ()))
    config = msgspec.structs.replace(config, emergency=emergency, target_phase=target)
    reading = host_of(facts) if host else None
    controls = Controls(pins=pins_of(facts))
    before = replace(state_of(facts), emergency=keep is not None)
    assessment, state = assess(reading, platform, (), controls.pins, before, config, NOW_S)
    return decide(assessment, reading, platform, Inputs(controls=controls, **inputs), state, config, NOW_S)[0]  # type: ignore[arg-type]


def shed_names(decision: Decision) -> list[str]:
    return [action.service.name for action in decision.actions if action.kind is ActionKind.SHED]


def without_id(action: Action) -> Action:
    return replace(action, id="", after=())


def _shuffled(values: list, shuffle: random.Random | None) -> tuple:  # type: ignore[type-arg]
    values = list(values)
    if shuffle is not None:
        shuffle.shuffle(values)
    return tuple(values)
