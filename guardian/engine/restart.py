"""Has systemd restart Docker, for an operator's emergency. Needs root, or leave by polkit."""

from __future__ import annotations

import subprocess

from guardian.errors import GuardianError

UNIT = "docker.service"
SHOW_WITHIN_S = 10.0
RESTART_WITHIN_S = 120.0  # a hanging engine is given its own TimeoutStopSec by systemd, by default 90 s
_BY_HAND = "restart Docker yourself, and run this without --restart-engine"


def check_docker_unit() -> None:
    """GuardianError where there is no systemd, or it knows no Docker: better said before anything is stopped."""
    state = _systemctl(SHOW_WITHIN_S, "show", "--property=LoadState", "--value", UNIT)
    if state != "loaded":
        raise GuardianError(f"systemd has no {UNIT} (it is {state or 'not known'}): {_BY_HAND}")


def restart_docker() -> None:
    """Returns once it has started again. GuardianError where that fails, is not permitted or takes too long."""
    _systemctl(RESTART_WITHIN_S, "restart", UNIT)


def _systemctl(within_s: float, *words: str) -> str:
    said = f"systemctl {' '.join(words)}"
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["systemctl", "--no-ask-password", *words],  # noqa: S607 - as an operator would call it
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except FileNotFoundError:
        raise GuardianError(f"there is no systemctl here: {_BY_HAND}") from None
    except subprocess.TimeoutExpired:
        raise GuardianError(f"{said}: not done within {within_s:g} s; `systemctl status docker` may say why") from None
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise GuardianError(f"{said}: {why}; run this as root, or {_BY_HAND}")
    return done.stdout.strip()
