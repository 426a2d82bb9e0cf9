"""`guardian demo`: what it tells is so."""

from __future__ import annotations

import socket
from itertools import takewhile

import pytest
from click.testing import CliRunner
from support.virtual_host import VirtualHost

from guardian.cli import demo
from guardian.cli.main import main
from guardian.config.load import loads
from guardian.config.schema import Config
from guardian.demo.kernel import moments
from guardian.engine.simulated import find_scenario


@pytest.fixture
def config() -> Config:
    return loads(demo.CONFIG.read_bytes(), str(demo.CONFIG), {})


def test_the_kernel_alone_kills_the_database_and_the_core_is_down_for_it(config: Config) -> None:
    """With the kernel alone memory fills up, the database is killed first, as the biggest, and the core is down for seconds."""
    seen = list(moments(config, demo.SCENARIO, demo.KERNEL_S))
    first = next(moment for moment in seen if moment.killed)
    assert first.killed[0][0] == "postgres"
    assert "postgres" in first.core_down
    assert max(moment.used_ratio for moment in takewhile(lambda one: not one.killed, seen)) > 0.95
    assert sum(bool(moment.core_down) for moment in seen) >= 4
    assert not seen[0].core_down


def test_with_guardian_nothing_is_killed_and_all_comes_back_in_time(config: Config) -> None:
    """With guardian the kernel kills nothing, no service of phase 1 or 2 stops, and before the demo ends all that was shed is back."""
    host = VirtualHost(find_scenario(demo.SCENARIO), config, paced=True, with_cgroups=True)
    shed, late_s = set[str](), 0.0
    while (now_s := host.clock.monotonic() - 1000.0) < demo.GUARDIAN_S:
        snapshot = host.tick()
        shed |= {entry.service.name for entry in snapshot.entries}
        late_s = now_s if snapshot.entries else late_s
    assert host.engine.oom_kills == ()
    assert shed
    assert not shed & {name for phase in config.phases[:2] for name in phase.services}
    assert late_s < demo.GUARDIAN_S - 10


def test_the_demo_tells_both_and_shows_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command tells of both acts, and of the second where its live page is."""
    monkeypatch.setattr(demo, "HASTE", 1e6)
    monkeypatch.setattr(demo, "GUARDIAN_S", 2.0)
    said = CliRunner().invoke(main, ["demo", "--listen", "127.0.0.1:0"])
    assert said.exit_code == 0, said.output
    assert "the kernel killed the core's postgres, the biggest" in said.output
    assert "live on http://127.0.0.1:" in said.output
    assert "127.0.0.1:0/" not in said.output
    assert "The kernel alone: 2 kills" in said.output


def test_an_address_that_is_taken_or_none_ends_the_demo_before_it_begins() -> None:
    """Where the page cannot be served, the demo says why at once, before the first act."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = CliRunner().invoke(main, ["demo", "--listen", address])
    assert (said.exit_code, said.stdout) == (1, "")
    assert f"{address}: Address already in use; name another by --listen" in said.stderr
    said = CliRunner().invoke(main, ["demo", "--listen", "no such place"])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "expected host:port" in said.stderr
