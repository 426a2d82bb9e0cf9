"""What is shed outlives what happens to guardian and to the host: a new version, and a reboot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from host.guarded import GUARDIAN, Host
from host.scenarios import start_outside

# All 32 up use three quarters of this host: marks that leave room to come back to that.
_CONFIG = {
    "mode": "enforce",
    "thresholds": {"memory": {"soft": "87%", "hard": "93%", "recover": "82%", "recover_for": "20s"}, "cpu": "off"},
}
ALL = 32


@dataclass(frozen=True, slots=True)
class Shedding:
    """A host on which guardian has shed, because of a program outside Docker that still runs."""

    host: Host
    shed: set[str]


@pytest.fixture
def shedding(resume: Callable[[str], Host]) -> Shedding:
    host = resume(GUARDIAN)
    host.configure(**_CONFIG)
    host.await_(lambda: all(one["footprint_bytes"] for one in host.status()["services"]), "guardian knows every footprint", 60)
    start_outside(host, "600MB")
    host.await_(lambda: _calm(host), "guardian has shed what was needed", 180)
    return Shedding(host, _shed(host))


def _calm(host: Host) -> bool:
    """Something was shed, it helped, and nothing more is under way."""
    status = host.status()
    memory = next(one for one in status["signals"] if one["signal"] == "memory")
    return bool(status["shed"]) and not status["in_flight"] and memory["value_ratio"] < memory["recover_ratio"]


def _shed(host: Host) -> set[str]:
    return {entry["service"].partition("/")[2] for entry in host.status()["shed"]}


def _restored(host: Host) -> set[str]:
    rows = [row for row in host.history() if row["action"] == "restore" and row["result"] == "done"]
    return {row["service"].partition("/")[2] for row in rows}


def test_after_a_reboot_what_was_shed_comes_back(shedding: Shedding) -> None:
    """After a reboot Docker starts what ran and nothing that was shed; guardian then restores all of that."""
    host, shed = shedding.host, shedding.shed
    host.reboot()
    host.await_(lambda: host.unit("ActiveState")["ActiveState"] == "active", "guardian is ready again", 300)
    assert _shed(host) | _restored(host) == shed, "the ledger has what it had"
    host.await_(lambda: len(host.running()) == ALL, "everything runs again", 900)
    host.await_(lambda: not _shed(host), "nothing is left in the ledger", 300)
    assert _restored(host) == shed, "guardian started what it had shed, and Docker the rest"


def test_after_an_upgrade_what_was_shed_comes_back(shedding: Shedding) -> None:
    """A new version takes over what the old one shed: it keeps it down while that is needed, and restores it afterwards."""
    host, shed = shedding.host, shedding.shed
    host.sh("cd /srv/in; /opt/guardian/bin/pip install --force-reinstall --no-deps wheels/guardian_docker-*.whl", timeout_s=300)
    host.must("systemctl", "restart", "guardian", timeout_s=120)
    assert _shed(host) == shed
    assert not host.running() & shed
    host.must("systemctl", "stop", "outside")
    host.await_(lambda: len(host.running()) == ALL, "everything runs again", 600)
    host.await_(lambda: not _shed(host), "nothing is left in the ledger", 60)  # a start is done once the engine has said so
    assert _restored(host) == shed
