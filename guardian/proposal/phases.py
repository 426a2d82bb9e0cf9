"""Which service goes into which phase. The order of the questions is the order of importance; the first that fits decides.

1. core: databases, caches and brokers; the front door; what the front door leads to, unless it leads to everything
2. business: what other services need, and what is reached from outside without needing other applications
3. background: the rest of the applications
4. optional: what is only in profiles, and tools for people
5. observability: metrics, logs and traces, and a search engine that nothing else needs

Afterwards a service comes into the phase of whatever needs it, where that is lower: what phase 2 cannot start without is no
phase 3. Front doors that lead to everything do not count for that, as they would make everything core; and observability is not
pulled along, save where a namespace is shared: an application that waits for its collector runs without it.

A one-shot that others wait for comes into their phase, so that a roll-out runs it before them; every other one-shot is in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardian.proposal.graph import cycles, depths, reversed_edges, within
from guardian.proposal.kinds import STORES, Guess, Kind, kind_of
from guardian.proposal.model import Candidate, Placed, Proposal, ProposedPhase

CORE, BUSINESS, BACKGROUND, OPTIONAL, OBSERVABILITY = 1, 2, 3, 4, 5
NAMES = {
    CORE: ("core", "nothing else works without it"),
    BUSINESS: ("business", "what others need, and what people use"),
    BACKGROUND: ("background", "work that can wait"),
    OPTIONAL: ("optional", "profiles, and tools for people"),
    OBSERVABILITY: ("observability", "watches the others: missed last"),
}
WEB_PORTS = frozenset({80, 443})
WIDE_DOOR = 4  # a front door that needs more than this leads to everything


def propose(candidates: Sequence[Candidate]) -> Proposal:
    """A phase, or a reason why there is none, for every candidate. Names are unique."""
    unplaced = {one.name: reason for one in candidates if (reason := _unfit(one))}
    placer = _Placer([one for one in candidates if one.name not in unplaced])
    placer.place()
    phases = _numbered(placer)
    notes = [f"these need each other, so neither goes first: {', '.join(members)}" for members in cycles(placer.needs)]
    doubtful = [name for name, reason in placer.reasons.items() if reason == NOTHING_TOLD]
    if doubtful:
        notes.append(f"of these nothing tells how much they matter; look at them first: {', '.join(doubtful)}")
    return Proposal(tuple(phases), unplaced, tuple(notes))


NOTHING_TOLD = "publishes nothing, and nothing needs it"


def _unfit(one: Candidate) -> str:
    if not one.name.strip():
        return "has no name"
    if one.unfit:
        return one.unfit
    guess = kind_of(one.name, one.image)
    if one.awaited:
        return ""
    if one.one_shot or (guess.kind is Kind.JOB and not one.restarts and not one.published):
        return "a one-shot: it ends by itself, and what has ended is never managed"
    return ""


@dataclass(slots=True)
class _Placer:
    candidates: Sequence[Candidate]
    by_name: dict[str, Candidate] = field(init=False)
    guesses: dict[str, Guess] = field(init=False)
    needs: dict[str, tuple[str, ...]] = field(init=False)
    needed_by: dict[str, list[str]] = field(init=False)
    phase: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)  # front doors that lead to everything

    def __post_init__(self) -> None:
        self.by_name = {one.name: one for one in self.candidates}
        self.guesses = {one.name: kind_of(one.name, one.image) for one in self.candidates}
        self.needs = within(self.by_name, {one.name: tuple(dict.fromkeys(one.needs)) for one in self.candidates})
        self.needed_by = reversed_edges(self.needs)

    def place(self) -> None:
        doors = self._doors()
        behind = {need: door for door in doors for need in self.needs[door] if door not in self.wide}
        for name in self.by_name:
            self._put(name, *self._first_that_fits(name, doors, behind))
        self._pull_down()
        for name, one in self.by_name.items():
            if one.label_phase is not None:
                self._put(name, one.label_phase, f"its label guardian.phase says {one.label_phase}")

    def _put(self, name: str, phase: int, reason: str) -> None:
        self.phase[name], self.reasons[name] = phase, reason

    def _doors(self) -> set[str]:
        doors = {name for name, one in self.by_name.items() if self._is_door(one)}
        self.wide = {name for name in doors if len(self.needs[name]) > WIDE_DOOR}
        return doors

    def _is_door(self, one: Candidate) -> bool:
        kind = self.guesses[one.name].kind
        if one.optional or kind in (Kind.OBSERVABILITY, Kind.TOOL):
            return False
        is_proxy = kind is Kind.PROXY and (one.published or not self._dependents(one.name))
        return is_proxy or not WEB_PORTS.isdisjoint(one.ports)

    def _first_that_fits(self, name: str, doors: set[str], behind: Mapping[str, str]) -> tuple[int, str]:
        one, guess = self.by_name[name], self.guesses[name]
        dependents = self._dependents(name)
        if one.awaited:
            return BACKGROUND, "one-shot that others wait for"
        if guess.kind is Kind.OBSERVABILITY:
            return OBSERVABILITY, f"{guess.kind} ({guess.why})"
        if guess.kind is Kind.SEARCH and not dependents:
            return OBSERVABILITY, f"{guess.kind} ({guess.why}) that no application needs"
        if one.optional:
            return OPTIONAL, "only in profiles"
        if guess.kind is Kind.TOOL:
            return OPTIONAL, f"{guess.kind} ({guess.why})"
        if guess.kind in STORES:
            return CORE, f"{guess.kind} ({guess.why}){_counted(dependents)}"
        if name in doors:
            where = (
                f"publishes port {min(WEB_PORTS.intersection(one.ports))}" if WEB_PORTS.intersection(one.ports) else guess.why
            )
            return CORE, f"front door ({where})" + (", and leads to everything" if name in self.wide else "")
        if name in behind:
            return CORE, f"the front door {behind[name]} leads to it"
        return self._application(one, dependents)

    def _application(self, one: Candidate, dependents: Sequence[str]) -> tuple[int, str]:
        if dependents:
            return BUSINESS, f"needed by {_some(dependents)}"
        applications = [other for other in self.needs[one.name] if self._is_application(other)]
        if one.published and not applications:
            return BUSINESS, f"publishes {_ports(one)}, and needs no other application"
        if one.published:
            return BACKGROUND, f"publishes {_ports(one)}, needs {_some(applications)}, and nothing needs it"
        return BACKGROUND, f"needs {_some(self.needs[one.name])}, and nothing needs it" if self.needs[
            one.name
        ] else NOTHING_TOLD

    def _is_application(self, name: str) -> bool:
        """What it takes to be one of several: a migration that ends before, or a collector, does not make its user one."""
        return self.guesses[name].kind not in {*STORES, Kind.SEARCH, Kind.OBSERVABILITY} and not self.by_name[name].awaited

    def _dependents(self, name: str) -> list[str]:
        """Services that need it and are more than onlookers."""
        return [
            other
            for other in self.needed_by[name]
            if self.guesses[other].kind not in (Kind.OBSERVABILITY, Kind.TOOL) and not self.by_name[other].optional
        ]

    def _pull_down(self) -> None:
        """No service stands above one that needs it; again and again, as each may pull others along."""
        waiting = sorted(self.by_name, key=lambda name: -self.phase[name])
        while waiting:
            name = waiting.pop()
            for other in self._pulled_by(name):
                if self.phase[other] > self.phase[name]:
                    awaited = self.by_name[other].awaited
                    reason = f"one-shot that {name} waits for" if awaited else f"{name} of this phase needs it"
                    self._put(other, self.phase[name], reason)
                    waiting.append(other)

    def _pulled_by(self, name: str) -> Iterable[str]:
        shared = {other for other in self.by_name[name].shares if other in self.by_name}
        needs = () if name in self.wide else self.needs[name]
        return shared | {other for other in needs if self.guesses[other].kind is not Kind.OBSERVABILITY}


def _numbered(placer: _Placer) -> list[ProposedPhase]:
    """Phases without a gap, services by how deep they stand, then as they were given."""
    depth = depths(placer.needs)
    used = sorted(set(placer.phase.values()))
    phases = []
    for number, phase in enumerate(used, start=1):
        name, about = NAMES.get(phase, (f"phase-{phase}", "as labels have it"))
        members = sorted((each for each in placer.phase if placer.phase[each] == phase), key=lambda each: depth[each])
        services = tuple(Placed(placer.by_name[each], placer.reasons[each]) for each in members)
        phases.append(ProposedPhase(number, name, about, services))
    return phases


def _counted(names: Sequence[str]) -> str:
    return f", {len(names)} service{'s' if len(names) > 1 else ''} need{'' if len(names) > 1 else 's'} it" if names else ""


def _some(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _ports(one: Candidate) -> str:
    return f"port {_some([str(port) for port in one.ports])}" if one.ports else "a port"
