"""A Compose project, read by Compose itself where it is installed, and by guardian where it is not or does not take the files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from guardian.compose.command import Compose, ComposeCalls, find_compose
from guardian.compose.files import read_files, read_text, variables_of
from guardian.compose.model import ComposeProject, ComposeService
from guardian.errors import ComposeError, ConfigError, Problem


def read_project(
    files: Sequence[Path],
    name: str | None = None,
    environ: Mapping[str, str] | None = None,
    composes: Sequence[Compose] | None = None,
) -> ComposeProject:
    """The project in `files`, at least one; its directory is that of the first.

    `composes` are those to ask in turn, by default all that are installed. Every service of either reading is in the
    result, whatever its profile. ConfigError where nobody can read the files: then the mistakes are those that guardian
    found, each with its line.
    """
    environ = os.environ if environ is None else environ
    files = tuple(files)
    home = files[0].parent
    variables = variables_of(home, environ)
    failure: ConfigError | None = None
    own: ComposeProject | None = None
    try:
        own = read_files(files, home, variables, name)
    except ConfigError as error:
        failure = error
    refusals: list[Problem] = []
    for compose in find_compose(environ) if composes is None else composes:
        project = own.name if own else (name or "default")
        try:
            text = ComposeCalls(compose, files, home, project).config(_profiles(own))
            return _joined(own, read_text(text, f"{compose.name} config"), compose.name, files, home, project)
        except ComposeError as error:
            refusals.append(Problem(str(files[0]), None, None, "", f"{error}\nread by guardian itself instead"))
        except ConfigError as error:
            refusals.extend(error.problems)
    if own is None:
        assert failure is not None, "either is set"  # noqa: S101 - for the type checker
        raise failure
    return replace(own, problems=(*refusals, *own.problems))


def _joined(
    own: ComposeProject | None, theirs: ComposeProject, read_by: str, files: tuple[Path, ...], home: Path, name: str
) -> ComposeProject:
    """What Compose made of the files, each service at its place in them, in their order, and none of ours lost."""
    if own is None:
        return replace(theirs, name=theirs.name or name, files=files, directory=home, read_by=read_by)
    services: dict[str, ComposeService] = {}
    problems = list(theirs.problems)
    for each, mine in own.services.items():
        service = theirs.services.get(each)
        services[each] = mine if service is None else replace(service, place=mine.place)
        if service is None:
            problems.append(mine.place.problem(f"services.{each}", f"{read_by} leaves it out; read by guardian itself"))
    services |= {each: service for each, service in theirs.services.items() if each not in services}
    return replace(own, services=services, read_by=read_by, problems=tuple(problems))


def _profiles(project: ComposeProject | None) -> tuple[str, ...]:
    """All that any service names: Compose leaves out what no active profile has."""
    services = project.services.values() if project else ()
    return tuple(sorted({profile for service in services for profile in service.profiles}))
