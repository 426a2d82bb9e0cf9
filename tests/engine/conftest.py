"""The worlds that the contract is tested in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.private_engine import PrivateEngine
from worlds import RealWorld, SimulatedWorld, World


@pytest.fixture
def real(engine_host: PrivateEngine) -> Iterator[RealWorld]:
    world = RealWorld(engine_host)
    try:
        yield world
    finally:
        world.reset()


@pytest.fixture
def simulated() -> Iterator[SimulatedWorld]:
    world = SimulatedWorld()
    yield world
    world.engine.close()


@pytest.fixture(params=["real", "simulated"])
def world(request: pytest.FixtureRequest) -> World:
    """Each engine that keeps the contract."""
    return request.getfixturevalue(request.param)
