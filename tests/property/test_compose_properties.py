"""Any Compose file: no crash, no service lost, and a configuration that is right."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardian.compose.files import read_files
from guardian.compose.interpolate import Interpolation
from guardian.compose.model import ComposeProject
from guardian.config.load import loads
from guardian.config.rules import verify
from guardian.errors import ConfigError
from guardian.proposal.budgets import with_budgets
from guardian.proposal.candidates import of_project
from guardian.proposal.graph import components, depths
from guardian.proposal.model import Proposal, Use
from guardian.proposal.phases import propose
from guardian.proposal.write import write

NAMES = st.sampled_from(
    ["api", "db", "web", "redis", "gateway", "grafana", "worker", "migrate", "kafka-ui", "1", "true", "ü", "a b", ""]
)
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(["${A:-b}", "$X", "${Y:?no}", "512m", "-1", "0.5", "80:80", "1m30s"]))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
CONDITIONS = st.sampled_from(["service_started", "service_healthy", "service_completed_successfully"])
DEPENDENCIES = st.one_of(
    st.lists(NAMES, max_size=4), st.dictionaries(NAMES, st.fixed_dictionaries({"condition": CONDITIONS}), max_size=4)
)
SIZES = st.one_of(st.sampled_from(["64m", "1g", "0", "1.5gb", "junk"]), st.integers(0, 1 << 34))
SERVICE = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["postgres:16", "nginx", "busybox", "grafana/grafana", "r:5000/x/y@sha256:0"]),
        "depends_on": DEPENDENCIES,
        "links": st.lists(NAMES, max_size=2),
        "ports": st.lists(st.sampled_from(["80", "443:443", "3000-3005:3000-3005", "127.0.0.1:1:1/udp"]), max_size=3),
        "profiles": st.lists(st.sampled_from(["debug", "x"]), max_size=2),
        "restart": st.sampled_from(["no", "always", "on-failure:3", "unless-stopped"]),
        "network_mode": st.one_of(st.just("host"), NAMES.map(lambda name: f"service:{name}")),
        "extends": NAMES,
        "mem_limit": SIZES,
        "cpus": st.sampled_from([0.5, "0.25", 0, "much"]),
        "scale": st.integers(0, 3),
        "deploy": st.one_of(st.fixed_dictionaries({"replicas": st.integers(0, 4), "resources": ANY}), ANY),
        "labels": st.fixed_dictionaries({"guardian.phase": st.one_of(st.integers(0, 4), TEXTS)}),
        "healthcheck": ANY,
    },
)
PROJECTS = st.lists(
    st.dictionaries(NAMES, st.one_of(SERVICE, SERVICE, SERVICE, ANY), min_size=1, max_size=8), min_size=1, max_size=2
)


def read(documents: list[Any]) -> ComposeProject:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index, document in enumerate(documents):
            files.append(Path(folder, f"{index}.yml"))
            text = document if isinstance(document, str) else yaml.safe_dump(document, allow_unicode=True)
            files[-1].write_text(text, encoding="utf-8", errors="surrogatepass")
        return read_files(files, Path(folder), {"A": "1"}, "demo")


@given(
    PROJECTS,
    st.dictionaries(NAMES, st.builds(Use, st.just(9), st.none() | st.integers(0, 1 << 33), st.none() | st.floats(0, 64))),
)
def test_no_service_is_lost_and_the_configuration_is_right(services: list[dict[str, Any]], uses: dict[str, Use]) -> None:
    """Every service of any Compose file is in exactly one phase or in the list of those that are not, and the file is right."""
    project = read([{"services": each} for each in services])
    assert set(project.services) == {name for each in services for name in each}
    proposal = propose(of_project(project))
    proposal = Proposal(with_budgets(proposal.phases, uses), proposal.unplaced, proposal.notes)
    placed = [one.candidate.name for phase in proposal.phases for one in phase.services]
    assert sorted([*placed, *proposal.unplaced]) == sorted(project.services)
    assert all(proposal.unplaced.values())
    assert all(one.reason for phase in proposal.phases for one in phase.services)
    config = loads(write(proposal, ["demo"], "a test", [str(problem) for problem in project.problems]), "the proposal")
    assert verify(config) == []
    assert [name for phase in config.phases for name in phase.services] == placed


@given(st.one_of(st.text(), ANY.map(lambda value: yaml.safe_dump(value, allow_unicode=True))))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    """Any text is read as a Compose file or refused with a message; nothing else happens."""
    try:
        outcome: object = read([text]).services
    except ConfigError as refused:
        outcome = str(refused)
    assert outcome


@given(
    st.text(alphabet="${}:-?+aB1 ", max_size=40),
    st.dictionaries(st.sampled_from(["a", "B", "aB"]), st.sampled_from(["", "v", "$a"])),
)
def test_putting_in_variables_ends_and_touches_nothing_else(text: str, variables: dict[str, str]) -> None:
    """Putting in variables ends for every text; one without a sign stays as it is."""
    interpolation = Interpolation(variables)
    assert isinstance(interpolation.text(text), str)
    plain = text.replace("$", "")
    assert interpolation.text(plain) == plain


@given(st.dictionaries(st.integers(0, 9).map(str), st.frozensets(st.integers(0, 9).map(str), max_size=4)))
def test_depth_follows_needs(graph: dict[str, frozenset[str]]) -> None:
    """What is needed stands less deep, unless the two need each other, and every service is in one component."""
    edges = {name: [other for other in needs if other in graph] for name, needs in graph.items()}
    groups = components(edges)
    assert sorted(name for members in groups for name in members) == sorted(edges)
    group_of = {name: members for members in groups for name in members}
    depth = depths(edges)
    for name, needs in edges.items():
        for other in needs:
            assert depth[other] < depth[name] or group_of[name] == group_of[other]
