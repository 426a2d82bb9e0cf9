"""Calls to Compose: `docker compose` where the plugin is there, else `docker-compose`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardian.errors import ComposeError

ASK_WITHIN_S = 30.0  # on a host that is short of everything
CONFIG_WITHIN_S = 60.0
CREATE_WITHIN_S = 900.0  # an image may have to be pulled first
PROGRAM = "docker-compose"  # v1, or v2 under its name
_LAST_WORDS = 12  # lines of what Compose said that are shown


@dataclass(frozen=True, slots=True)
class Compose:
    """One Compose that is installed. `words` are how it is called."""

    words: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return " ".join(self.words)

    def run(self, arguments: Sequence[str], within_s: float, directory: Path | None = None) -> str:
        """What it wrote. ComposeError, with its last words, where it failed or took longer."""
        said = " ".join([self.name, *arguments])
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the words are ours, names and paths the caller's
                [*self.words, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=within_s,
                check=False,
                cwd=directory,
                env=dict(self.environ),
            )
        except subprocess.TimeoutExpired:
            raise ComposeError(f"{said}: not done within {within_s:g} s; run it by hand to see what it waits for") from None
        except (OSError, ValueError) as error:
            raise ComposeError(
                f"{said}: {getattr(error, 'strerror', None) or error}; is Compose installed as it should be?"
            ) from None
        if done.returncode:
            words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-_LAST_WORDS:]
            raise ComposeError("\n".join([f"{said}: it ended with {done.returncode}; mend what it says here", *words]))
        return done.stdout


@dataclass(frozen=True, slots=True)
class ComposeCalls:
    """Calls for one project. Services of every profile may be named; what they depend on is left alone."""

    compose: Compose
    files: tuple[Path, ...]
    directory: Path
    project: str

    @property
    def waits(self) -> bool:
        """Whether it may be v1, which waits for conditions among the services that it is to create."""
        return self.compose.words[0] == PROGRAM

    def config(self, profiles: Sequence[str] = ()) -> str:
        """The whole project as one YAML text, with `profiles` active."""
        active = [word for profile in profiles for word in ("--profile", profile)]
        return self.compose.run([*self._which(), *active, "config"], CONFIG_WITHIN_S)

    def create(self, services: Sequence[str], within_s: float = CREATE_WITHIN_S) -> None:
        """Create the containers of `services` that do not exist, with their networks and volumes, and start none."""
        if not services:  # Compose would take that for all of them
            return
        self.compose.run([*self._which(), "up", "--no-start", "--no-deps", "--no-recreate", *services], within_s)

    def _which(self) -> list[str]:
        files = [word for file in self.files for word in ("--file", str(file))]
        return [*files, "--project-directory", str(self.directory), "--project-name", self.project]


def find_compose(environ: Mapping[str, str], engine_url: str | None = None) -> tuple[Compose, ...]:
    """Every Compose that is installed, the plugin first. `engine_url` (unix:///… or tcp://…) goes before the environment's."""
    if engine_url is not None:
        environ = {**environ, "DOCKER_HOST": engine_url}
    plugin, program = Compose(("docker", "compose"), environ), Compose((PROGRAM,), environ)
    found = [plugin] if _has_plugin(plugin) else []
    if shutil.which(program.name, path=environ.get("PATH", os.defpath)):
        found.append(program)
    return tuple(found)


def _has_plugin(compose: Compose) -> bool:
    """Only `docker` itself knows."""
    try:
        compose.run(["version", "--short"], ASK_WITHIN_S)
    except ComposeError:
        return False
    return True
