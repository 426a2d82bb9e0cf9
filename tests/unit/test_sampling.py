"""What services use, by a short look at an engine, and from a recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from support.moments import an_overload
from support.virtual_host import key

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats
from guardian.errors import EngineError, EngineTimeout
from guardian.model import Container, ContainerState, ServiceKey
from guardian.proposal.candidates import by_name
from guardian.proposal.model import Use
from guardian.proposal.recorded import recorded
from guardian.proposal.sampling import sample
from guardian.record import reader
from guardian.record.packer import Packer
from guardian.record.rows import RECORD_NAME
from guardian.record.store import RecordFile

MIB = 1 << 20
WEB = ServiceKey("demo", "web")


class FakeEngine:
    """Each container holds as many MiB as it has been read, and burns a quarter of a core. Some are silent, some readings fail."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.rounds = 0
        self.silent: Callable[[int, str], bool] = lambda number, id_: False
        self.fails: Callable[[int], bool] = lambda number: False

    def stats(self, container_ids: Sequence[str]) -> Mapping[str, RawStats]:
        self.rounds += 1
        if self.fails(self.rounds):
            raise EngineTimeout("too slow")
        now_s = self.clock.monotonic()
        return {
            id_: RawStats(now_s, self.rounds * MIB, 7 * MIB, now_s * 0.25)
            for id_ in container_ids
            if not self.silent(self.rounds, id_)
        }


def container(name: str, service: ServiceKey = WEB, state: ContainerState = ContainerState.RUNNING) -> Container:
    return Container(name, name, service, state=state)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(clock: VirtualClock) -> FakeEngine:
    return FakeEngine(clock)


def look(engine: FakeEngine, *containers: Container, for_s: float = 19.0) -> Mapping[ServiceKey, Use]:
    return sample(engine, containers, for_s, engine.clock, engine.clock.advance)  # type: ignore[arg-type]


def test_a_look_has_a_reading_each_second_and_sums_replicas(engine: FakeEngine) -> None:
    """A look reads once a second to its end; a service's figures are the sums of its replicas, as 95th percentiles."""
    uses = look(engine, container("a"), container("b"), container("old", ServiceKey("demo", "gone"), ContainerState.EXITED))
    assert engine.rounds == 20
    assert uses == {WEB: Use(20, 2 * 19 * MIB, 0.5, 14 * MIB)}


def test_a_reading_counts_only_where_every_replica_has_a_figure(engine: FakeEngine) -> None:
    """A reading in which a replica is silent does not count for its service, and an older figure does not stand in."""
    engine.silent = lambda number, id_: id_ == "b" and number > 3
    assert look(engine, container("a"), container("b"))[WEB] == Use(3, 6 * MIB, 0.5, 14 * MIB)
    engine.silent = lambda number, id_: id_ == "b"
    assert look(engine, container("a"), container("b"))[WEB] == Use(0)


def test_readings_may_fail_but_not_all(engine: FakeEngine) -> None:
    """A look goes on after a reading that fails, and is an error only where all of them do."""
    engine.fails = lambda number: number == 1
    assert look(engine, container("a"), for_s=2.0)[WEB].samples == 2
    engine.fails = lambda number: True
    with pytest.raises(EngineError, match="did not tell"):
        look(engine, container("a"), for_s=2.0)
    assert look(engine, for_s=2.0) == {}


def test_services_of_one_name_in_several_projects_count_together() -> None:
    """Use of services of one name is summed, and unknown where one of them is."""
    one, other = ServiceKey("a", "db"), ServiceKey("b", "db")
    assert by_name({one: Use(5, 10, 0.5), other: Use(3, 20, None)}) == {"db": Use(3, 30, None)}


def test_what_was_recorded_is_used_where_it_says_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording tells of the services that ran for an hour of it; without one, nothing is told."""
    assert recorded(tmp_path) == {}
    host, moments = an_overload(pressed_s=1e6)
    host.run(3 * 60.0)
    packer, file = Packer(), RecordFile(tmp_path / RECORD_NAME)
    file.write([row for moment in moments for row in packer.take(moment)] + packer.flush(), moments[-1].now_wall_s)
    file.close()
    monkeypatch.setattr(time, "time", lambda: moments[-1].now_wall_s)
    assert recorded(tmp_path) == {}
    minutes = reader.service_use

    def hours(path: Path, since_wall_s: float) -> Mapping[ServiceKey, reader.ServiceUse]:
        return {one: replace_samples(use) for one, use in minutes(path, since_wall_s).items()}

    monkeypatch.setattr("guardian.proposal.recorded.service_use", hours)
    use = recorded(tmp_path)[key("web")]
    assert (use.memory_bytes, use.samples) == (1000 * MIB, 60)
    assert use.cpu_cores == pytest.approx(0.2, abs=0.05)


def replace_samples(use: reader.ServiceUse) -> reader.ServiceUse:
    return use._replace(samples=60)
