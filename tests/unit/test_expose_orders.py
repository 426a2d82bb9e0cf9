"""How people's names for services are understood."""

from __future__ import annotations

import pytest

from guardian.errors import UsageError
from guardian.expose.orders import resolve
from guardian.model import ServiceKey

ONE, OTHER, LONE = ServiceKey("shop", "redis"), ServiceKey("blog", "redis"), ServiceKey("", "backup-agent")
WEB = ServiceKey("shop", "web")
KNOWN = (ONE, OTHER, LONE, WEB)


def test_a_service_is_found_by_its_name_alone() -> None:
    """A service is found by its name alone, where only one project has it."""
    assert resolve(["web"], KNOWN) == (WEB,)


def test_a_service_is_found_by_project_and_name() -> None:
    """A service is found by project and name."""
    assert resolve(["blog/redis"], KNOWN) == (OTHER,)


def test_a_lone_container_is_found_by_its_name() -> None:
    """A lone container is found by its name."""
    assert resolve(["backup-agent"], KNOWN) == (LONE,)


def test_an_ambiguous_name_is_refused_with_the_choices() -> None:
    """An ambiguous name is refused, with the choices."""
    with pytest.raises(UsageError, match="redis is ambiguous: say blog/redis or shop/redis"):
        resolve(["redis"], KNOWN)


def test_a_full_name_beats_a_part() -> None:
    """A lone container's whole name is not ambiguous with a service of that name."""
    assert resolve(["redis"], (ServiceKey("", "redis"), ONE)) == (ServiceKey("", "redis"),)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    """An unknown name is refused, with a suggestion where one is near."""
    with pytest.raises(UsageError, match="wbe is not a managed service: did you mean web"):
        resolve(["wbe"], KNOWN)
    with pytest.raises(UsageError, match="zzzz is not a managed service; `guardian status`"):
        resolve(["zzzz"], KNOWN)


def test_every_mistake_is_told_at_once() -> None:
    """Every mistake is told at once."""
    with pytest.raises(UsageError) as raised:
        resolve(["redis", "web", "zzzz"], KNOWN)
    assert len(str(raised.value).splitlines()) == 2


def test_a_service_named_twice_is_meant_once() -> None:
    """A service named twice is meant once, in the order given."""
    assert resolve(["web", "backup-agent", "shop/web"], KNOWN) == (WEB, LONE)
