"""What tests of the whole daemon share: an engine with stand-ins, a recording proxy before it, and guardian itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import small
from support.daemon import GuardianProcess
from support.platform import ReferencePlatform
from support.private_engine import PrivateEngine
from support.processes import Processes
from support.socket_proxy import SocketProxy
from support.standin import import_standin


@pytest.fixture(scope="session")
def standin_engine(engine_host: PrivateEngine) -> PrivateEngine:
    """The private engine, with the stand-in's image."""
    import_standin(engine_host)
    return engine_host


@pytest.fixture
def proxy(standin_engine: PrivateEngine, tmp_path: Path) -> Iterator[SocketProxy]:
    """Records what guardian asks of the engine, where guardian is given its `url`."""
    with SocketProxy(standin_engine.socket, tmp_path / "proxy.sock") as proxy:
        yield proxy


@pytest.fixture
def make_platform(standin_engine: PrivateEngine) -> Iterator[Callable[..., ReferencePlatform]]:
    """Brings up a platform (arguments as of ReferencePlatform, save the URL), and removes it after the test."""
    with ExitStack() as made:

        def make(**arguments: object) -> ReferencePlatform:
            platform = ReferencePlatform(standin_engine.url, **arguments)  # type: ignore[arg-type]
            made.callback(platform.remove)
            platform.up()
            return platform

        yield make


@pytest.fixture(scope="module")
def small_platform(standin_engine: PrivateEngine) -> Iterator[ReferencePlatform]:
    """Four services for a whole module; use `platform`, which resets it. Its victim takes a moment to stop."""
    platform = ReferencePlatform(
        standin_engine.url, only=small.SERVICES, environment={small.VICTIM: {"STANDIN_STOP": "slow:500ms"}}
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.remove()


@pytest.fixture
def platform(small_platform: ReferencePlatform) -> ReferencePlatform:
    """The small platform, as it was at first: all of it runs, and nothing presses."""
    small.reset(small_platform)
    return small_platform


@pytest.fixture
def processes(platform: ReferencePlatform, standin_engine: PrivateEngine) -> Iterator[Processes]:
    """Of the small platform, past the engine; one that a test has suspended goes on afterwards."""
    yield Processes(platform, standin_engine, small.SERVICES)
    standin_engine.resume()


@pytest.fixture
def make_guardian(tmp_path: Path) -> Iterator[Callable[..., GuardianProcess]]:
    """A daemon on a configuration, not yet started; it ends with the test, before proxy and platform do."""
    with ExitStack() as made:

        def make(config: str, *arguments: str, **environ: str) -> GuardianProcess:
            guardian = GuardianProcess(tmp_path / "guardian", config, environ, *arguments)
            made.callback(guardian.close)
            return guardian

        yield make
