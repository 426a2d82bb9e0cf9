"""The stand-in service behaves as its source says: alone, and as the reference platform on a real engine."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from support.platform import MIB, ReferencePlatform
from support.private_engine import PrivateEngine
from support.standin import StandinStatus, import_standin, read_stamps, read_status, standin_program
from support.waiting import eventually


class Running:
    """One stand-in as a plain process, with its own socket and cache file."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        paths = {"STANDIN_SOCKET": str(folder / "socket"), "STANDIN_CACHE_FILE": str(folder / "cache")}
        self._environment = {**os.environ, **paths, **environment}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([standin_program()], env=self._environment, stdout=log)
        eventually(lambda: self.ask("ctl", "status").returncode == 0, "it answers")

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [standin_program(), *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def status(self) -> StandinStatus:
        return read_status(self.ask("ctl", "status").stdout)

    def resident_bytes(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**environment: str) -> Running:
        started.append(Running(tmp_path, environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_it_holds_the_memory_that_its_environment_asks_for_and_gives_back_what_it_is_told_to(
    standin: Callable[..., Running],
) -> None:
    """It holds the memory that its environment asks for, and gives back what it is told to."""
    one = standin(STANDIN_MEMORY="40MiB", STANDIN_MEMORY_SCALE="0.5")
    eventually(lambda: one.status().held_bytes == 20 * MIB, "it holds 20 MiB")
    one.ask("ctl", "hold", "60MiB")
    assert 60 * MIB <= one.resident_bytes() <= 64 * MIB
    one.ask("ctl", "hold", "10MiB")
    assert one.resident_bytes() <= 14 * MIB


def test_growth_keeps_its_rate_and_is_stamped_without_a_gap(standin: Callable[..., Running]) -> None:
    """Growth keeps its rate and is stamped without a gap."""
    one = standin()
    one.ask("ctl", "grow", "48MiB", "32MiB/s")
    eventually(lambda: one.status().held_bytes == 48 * MIB, "it has grown")
    stamps = read_stamps(one.log.read_text())
    assert [(stamp.from_bytes // MIB, stamp.to_bytes // MIB) for stamp in stamps] == [(0, 16), (16, 32), (32, 48)]
    assert all(before.end_s == after.begin_s for before, after in itertools.pairwise(stamps))
    assert stamps[-1].end_s - stamps[0].begin_s >= 1.49


@pytest.mark.alone
def test_it_burns_the_cores_that_it_is_told_to(standin: Callable[..., Running]) -> None:
    """It burns the cores that it is told to."""
    one = standin(STANDIN_CPU="0.5")
    process = psutil.Process(one.process.pid)
    process.cpu_percent()
    assert 25 <= process.cpu_percent(interval=1.0) <= 75
    one.ask("ctl", "cpu", "0")  # what it burns in the present tenth of a second, it burns to the end
    eventually(lambda: process.cpu_percent(interval=0.2) <= 10, "it burns none any more")


def test_health_is_what_it_is_told_to_be_and_bad_when_nobody_answers(standin: Callable[..., Running]) -> None:
    """Health is what it is told to be, and bad when nobody answers."""
    one = standin()
    assert one.ask("health").returncode == 0
    one.ask("ctl", "sick")
    assert one.ask("health").returncode == 1
    one.ask("ctl", "well")
    assert one.ask("health").returncode == 0
    one.process.kill()
    one.process.wait()
    assert one.ask("health").returncode == 1


def test_an_order_that_is_none_is_refused(standin: Callable[..., Running]) -> None:
    """An order that is none is refused."""
    answer = standin().ask("ctl", "grow", "fast")
    assert answer.returncode == 2
    assert "not an order: grow fast" in answer.stderr


@pytest.mark.parametrize(("stop", "ends"), [("", True), ("slow:300ms", True), ("ignore", False)])
def test_sigterm_ends_it_as_its_environment_says(standin: Callable[..., Running], stop: str, ends: bool) -> None:
    """SIGTERM ends it as its environment says."""
    one = standin(STANDIN_STOP=stop)
    one.process.terminate()
    if ends:
        assert one.process.wait(timeout=10) == 0
    else:
        assert one.ask("health").returncode == 0


def test_its_file_fills_the_page_cache_and_is_gone_when_told_to(standin: Callable[..., Running], tmp_path: Path) -> None:
    """Its file fills the page cache, and is gone when told to."""
    one = standin()
    one.ask("ctl", "cache", "8MiB")
    assert (tmp_path / "cache").stat().st_size == 8 * MIB
    assert one.status().cached_bytes == 8 * MIB
    one.ask("ctl", "cache", "0")
    assert not (tmp_path / "cache").exists()


def test_the_reference_platform_comes_up_on_a_real_engine_with_the_memory_asked_for(engine_host: PrivateEngine) -> None:
    """The reference platform comes up on a real engine with the memory asked for."""
    import_standin(engine_host)
    platform = ReferencePlatform(engine_host.url, memory_bytes=320 * MIB, health_every_s=10)
    try:
        platform.up()
        assert len(platform.running()) == 32
        assert sum(platform.status(name).held_bytes for name in platform.running()) == pytest.approx(320 * MIB, rel=0.01)
        platform.grow("kibana", 64 * MIB, 64 * MIB)
        eventually(lambda: platform.status("kibana").held_bytes == 64 * MIB, "kibana has grown")
        assert platform.stamps("kibana")[-1].to_bytes == 64 * MIB
        platform.stop("web")
        assert platform.states()["web"] == "exited"
        assert "web" not in platform.running()
    finally:
        platform.remove()
