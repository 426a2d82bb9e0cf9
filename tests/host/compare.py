"""The same overloads with what else guards a host: nothing but the kernel, earlyoom, systemd-oomd. Records; `COMPARE=1` runs it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from host.guarded import PLATFORM, Host
from host.scenarios import ENDLESS, HOGS, OVERLOAD, Scenario, run

# As Debian ships them: earlyoom acts below 10% of available memory; systemd-oomd is told to guard system.slice, where Docker's
# containers are, and acts when all wait for memory half of the time for 30 s.
_OOMD = "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50%\n"


def _earlyoom(host: Host) -> None:
    host.must("tee", "/etc/default/earlyoom", stdin='EARLYOOM_ARGS="-m 10"\n')
    host.must("systemctl", "start", "earlyoom")


def _oomd(host: Host) -> None:
    host.sh("mkdir -p /etc/systemd/system/system.slice.d")
    host.must("tee", "/etc/systemd/system/system.slice.d/oomd.conf", stdin=_OOMD)
    host.sh("systemctl daemon-reload; systemctl start systemd-oomd; oomctl | grep system.slice >/dev/null")


GUARDS: dict[str, Callable[[Host], object]] = {
    "the kernel alone": lambda host: None,
    "earlyoom (10%)": _earlyoom,
    "systemd-oomd (50%)": _oomd,
}


@pytest.mark.parametrize("scenario", [OVERLOAD, *HOGS, ENDLESS], ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("guard", GUARDS)
def test_it_is_measured(
    guard: str, scenario: Scenario, resume: Callable[[str], Host], record: Callable[[str, object], None]
) -> None:
    """The overload is made and measured."""
    host = resume(PLATFORM)
    GUARDS[guard](host)
    measured = run(host, scenario)
    assert measured.probes
    record(f"overload-{scenario.name.replace(' ', '-')}-{guard.replace(' ', '-')}", {"guarded_by": guard, **measured.figures()})
