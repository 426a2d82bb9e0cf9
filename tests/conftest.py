"""What tests on a real engine share. Unit tests use none of it."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.private_engine import PrivateEngine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def engine_host() -> Iterator[PrivateEngine]:
    """A private Docker Engine with a busybox image; each worker of pytest-xdist has its own."""
    from support.images import import_busybox
    from support.private_engine import PrivateEngine

    engine = PrivateEngine()
    atexit.register(engine.remove)  # also when pytest itself breaks
    try:
        engine.start()
        import_busybox(engine)
        yield engine
    finally:
        engine.remove()
