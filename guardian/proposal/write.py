"""A proposal as a file: YAML that says why, in comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from guardian.proposal.model import Budget, Candidate, Proposal
from guardian.units import Bytes, Cores, spell

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_NOT_PLAIN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_COLUMN = 36  # where comments begin


def write(proposal: Proposal, projects: Sequence[str], source: str, notes: Sequence[str] = ()) -> str:
    """The whole file. `source` says in words what it was made from; `notes` are further things to look at."""
    return (
        "\n".join([*_head(proposal, projects, source), *_phases(proposal), *_services(proposal), *_tail(proposal, notes)])
        + "\n"
    )


def quoted(text: str) -> str:
    """A name as YAML has it: plain where that reads back as the same text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN:
        return text
    written = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(char) for char in written)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _comment(text: str) -> str:
    """`text` on one line, without what a YAML reader would refuse."""
    return "".join(char if char.isprintable() else " " for char in text)


def _beside(left: str, comment: str) -> str:
    return f"{left:<{_COLUMN}}  # {_comment(comment)}" if comment else left


def _head(proposal: Proposal, projects: Sequence[str], source: str) -> Iterator[str]:
    yield f"# Proposed by `guardian init` from {_comment(source)}."
    yield "# Read it, move what is in the wrong phase, then: guardian check --engine FILE. Every key is in docs/configuration.md."
    yield "version: 1"
    yield _beside("mode: observe", "decides and reports, and never acts; `enforce` once you agree with what it reports")
    if projects:
        listed = quoted(projects[0]) if len(projects) == 1 else f"[{', '.join(quoted(name) for name in projects)}]"
        yield _beside(f"project: {listed}", "containers outside of it are never touched")
    lone = [placed.candidate.name for phase in proposal.phases for placed in phase.services if placed.candidate.lone]
    if lone:
        yield _beside(f"containers: [{', '.join(quoted(name) for name in lone)}]", "containers outside of Compose")
    yield ""


def _phases(proposal: Proposal) -> Iterator[str]:
    if not proposal.phases:
        yield "phases: [{phase: 1, services: []}]    # nothing could be placed"
        return
    yield "phases:                               # 1 matters most; the last is shed first"
    for phase in proposal.phases:
        yield f"  - phase: {phase.number}"
        yield _beside(f"    name: {quoted(phase.name)}", phase.about)
        if phase.number == 1 and len(proposal.phases) > 1:
            yield _beside("    protected: true", "never shed, an emergency aside")
        yield from _budget(phase.budget)
        yield "    services:"
        for placed in phase.services:
            yield _beside(f"      - {quoted(placed.candidate.name)}", placed.reason)


def _budget(budget: Budget) -> Iterator[str]:
    parts = []
    if budget.memory_bytes is not None:
        parts.append(f"memory: {spell(Bytes(budget.memory_bytes))}")
    if budget.cpu_cores is not None:
        parts.append(f"cpu: {spell(Cores(budget.cpu_cores))}")
    if parts:
        yield _beside(f"    budget: {{{', '.join(parts)}}}", f"cumulative: {_source(budget)}")
    if budget.memory_bytes is None:
        names = ", ".join(budget.unknown[:5]) + (f" and {len(budget.unknown) - 5} more" if len(budget.unknown) > 5 else "")
        yield f"    # no memory budget: neither use nor limit is known of {_comment(names)}"


def _source(budget: Budget) -> str:
    said = []
    if budget.measured:
        said.append(f"{budget.measured} measured (p95 and a quarter)")
    if budget.limited:
        said.append(f"{budget.limited} by their limits")
    return ", ".join(said) or "by CPU limits"


def _services(proposal: Proposal) -> Iterator[str]:
    placed = [each.candidate for phase in proposal.phases for each in phase.services]
    settings = {one.name: found for one in placed if (found := list(_settings(one)))}
    if settings:
        yield ""
        yield "services:                             # limits are of each container; `guardian limits` compares them with those in force"
        for name, lines in settings.items():
            yield f"  {quoted(name)}:"
            yield from lines


def _settings(one: Candidate) -> Iterator[str]:
    if limits := _limits(one):
        yield f"    limits: {{{', '.join(limits)}}}"
    if one.awaited:
        yield _beside("    protect: true", "never stopped amid its work")


def _limits(one: Candidate) -> list[str]:
    limits = []
    if one.memory_limit_each_bytes is not None:
        limits.append(f"memory: {spell(Bytes(one.memory_limit_each_bytes))}")
    if one.cpu_limit_each_cores is not None:
        limits.append(f"cpus: {spell(Cores(one.cpu_limit_each_cores))}")
    return limits


def _tail(proposal: Proposal, notes: Sequence[str]) -> Iterator[str]:
    if proposal.unplaced:
        yield ""
        yield "# In no phase, so never stopped and never started:"
        for name, reason in proposal.unplaced.items():
            yield _comment(f"#   {name or '(no name)'}: {reason}")
    said = [*proposal.notes, *notes]
    if said:
        yield ""
        yield "# To look at:"
        for note in said:
            for number, line in enumerate(note.splitlines()):
                yield _comment(f"#   {'- ' if number == 0 else '  '}{line}")
