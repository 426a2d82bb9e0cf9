"""Compose files read by guardian itself: several laid over each other, `include`, `extends`, variables, the first format of all.

What is wrong in a file and hides no service is kept as a problem and the rest is read; only a file that is missing or is
no YAML ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from guardian.compose.interpolate import parse_env_file
from guardian.compose.model import ComposeProject
from guardian.compose.sections import TAGS, canonical, child, interpolated, laid_over, text_of
from guardian.compose.services import service_of
from guardian.config.tree import Bounds, Entry, Items, Place, Section, Tree, parse
from guardian.errors import ConfigError, Problem, unreadable

BOUNDS = Bounds("a Compose file", size_bytes=16 << 20, values=2_000_000, tags=TAGS)
NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OWN_KEYS = frozenset({"image", "build", "extends"})  # what one of these stands in is a service
_NOT_INHERITED = frozenset({"extends"})
_DEEPEST = 32  # files that include files, services that extend services


def find_files(directory: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that Compose would read: those of COMPOSE_FILE, else the usual ones, with their override, in `directory` or above it."""
    separator = environ.get("COMPOSE_PATH_SEPARATOR") or ":"
    if named := [name for name in environ.get("COMPOSE_FILE", "").split(separator) if name]:
        return tuple(directory / name for name in named)
    for folder in (directory, *directory.absolute().parents):
        if base := next((folder / name for name in NAMES if (folder / name).is_file()), None):
            overrides = (folder / f"{base.stem}.override{suffix}" for suffix in (base.suffix, ".yml", ".yaml"))
            return (base, *[path for path in dict.fromkeys(overrides) if path.is_file()][:1])
    raise ConfigError(
        (Problem(str(directory), None, None, "", f"no Compose file here or above ({', '.join(NAMES)}); name one by --file"),)
    )


def project_name(name: str | None, environ: Mapping[str, str], written: str, directory: Path) -> str:
    """As Compose takes it: what was asked for, COMPOSE_PROJECT_NAME, what the file says, the folder."""
    chosen = name or environ.get("COMPOSE_PROJECT_NAME") or written or directory.absolute().name
    return re.sub(r"[^-_a-z0-9]", "", chosen.lower()).lstrip("-_") or "default"


def variables_of(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, and below it what .env in `directory` says."""
    try:
        content = (directory / ".env").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return dict(environ)
    return {**parse_env_file(content, environ), **environ}


def read_files(files: Sequence[Path], directory: Path, variables: Mapping[str, str], name: str | None = None) -> ComposeProject:
    """The project in `files`, later ones over earlier ones. ConfigError where one cannot be read or none has a service."""
    reader = _Reader(directory, variables)
    whole: Section | None = None
    for file in files:
        document = reader.document(file, variables)
        if document is not None:
            document = reader.with_included(document, directory, variables, ())
            whole = document if whole is None else laid_over(whole, document)
    if reader.unreadable:
        raise ConfigError(tuple(reader.unreadable))
    services = child(whole, "services")
    if whole is None or not isinstance(services, Section) or not services.entries:
        what = "has no services; a Compose file has them under the key `services`"
        raise ConfigError((Problem(str(files[0]), None, None, "", what),))
    extended = {each: reader.extended(each, entry, services, ()) for each, entry in services.entries.items()}
    made = {each: service_of(each, section, extended.keys()) for each, section in extended.items()}
    problems = [*reader.problems, *(problem for _, found in made.values() for problem in found)]
    return ComposeProject(
        name=project_name(name, variables, text_of(child(whole, "name")), directory),
        directory=directory,
        files=tuple(files),
        services={each: service for each, (service, _) in made.items()},
        version=text_of(child(whole, "version")) or None,
        problems=tuple(dict.fromkeys(problems)),
    )


def read_text(text: str, file: str) -> ComposeProject:
    """What `config` of Compose has written: one file, complete, nothing to be put in. ConfigError where it has no services."""
    tree, malformed = parse(text, file, BOUNDS)
    services = child(tree, "services")
    if not isinstance(services, Section):
        raise ConfigError((*malformed, Problem(file, None, None, "", "has no services; look at what it writes")))
    sections = {name: canonical(_section(entry)) for name, entry in services.entries.items()}
    made = {name: service_of(name, section, sections.keys()) for name, section in sections.items()}
    return ComposeProject(
        name=text_of(child(tree, "name")),
        directory=Path(),
        files=(),
        services={name: service for name, (service, _) in made.items()},
        problems=(*malformed, *(problem for _, found in made.values() for problem in found)),
    )


@dataclass(slots=True)
class _Reader:
    directory: Path
    variables: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    unreadable: list[Problem] = field(default_factory=list)
    known: dict[Path, Section | None] = field(default_factory=dict)

    def document(self, file: Path, variables: Mapping[str, str]) -> Section | None:
        """A file with its variables put in and its services in canonical form; None where it is empty or cannot be read."""
        path = file.absolute()
        if path not in self.known:
            self.known[path] = self._read(file, variables)
        return self.known[path]

    def _read(self, file: Path, variables: Mapping[str, str]) -> Section | None:
        try:
            with file.open("rb") as opened:
                content = opened.read(BOUNDS.size_bytes + 1)
        except (OSError, ValueError) as error:
            self.unreadable.append(Problem(str(file), None, None, "", unreadable(error)))
            return None
        tree, malformed = parse(content, str(file), BOUNDS)
        if tree is None:
            self.unreadable.extend(malformed)
            return None
        self.problems.extend(malformed)
        if not isinstance(tree, Section):
            self.unreadable.append(tree.place.problem("", "not a Compose file: expected sections such as `services`"))
            return None
        whole, missing = interpolated(_current(tree), variables)
        self.problems.extend(missing)
        return self._with_canonical(whole) if isinstance(whole, Section) else None

    def _with_canonical(self, whole: Section) -> Section:
        services = whole.entries.get("services")
        if services is None:
            return whole
        if not isinstance(services.value, Section):
            if text_of(services.value) or isinstance(services.value, Items):
                self.problems.append(services.value.place.problem("services", "expected a section of services by name"))
            return Section({name: entry for name, entry in whole.entries.items() if name != "services"}, whole.place)
        made: dict[str, Entry] = {}
        for name, entry in services.value.entries.items():
            if not isinstance(entry.value, Section):
                self.problems.append(entry.place.problem(f"services.{name}", "is empty; give it an image, or take it out"))
            made[name] = replace(entry, value=canonical(_section(entry)))
        return Section({**whole.entries, "services": replace(services, value=Section(made, services.value.place))}, whole.place)

    def with_included(
        self, document: Section, directory: Path, variables: Mapping[str, str], trail: tuple[Path, ...]
    ) -> Section:
        """The document over what it includes."""
        included = child(document, "include")
        below: Section | None = None
        for item in included.items if isinstance(included, Items) else ():
            paths = _texts(child(item, "path")) if isinstance(item, Section) else _texts(item)
            for path in paths:
                part = self._included(item, directory / path, variables, trail)
                if part is not None:
                    below = part if below is None else laid_over(below, part)
        return document if below is None else laid_over(below, document)

    def _included(self, item: Tree, file: Path, variables: Mapping[str, str], trail: tuple[Path, ...]) -> Section | None:
        if file.absolute() in trail or len(trail) >= _DEEPEST:
            self.problems.append(
                item.place.problem("include", f"{file} includes itself, by way of others; take one of them out")
            )
            return None
        folder = text_of(child(item, "project_directory"))
        directory = self.directory / folder if folder else file.parent
        within = variables_of(directory, variables) if directory != self.directory else variables
        document = self._other(item.place, "include", file, within)
        return None if document is None else self.with_included(document, directory, within, (*trail, file.absolute()))

    def _other(self, place: Place, path: str, file: Path, variables: Mapping[str, str]) -> Section | None:
        """A file that another one names. Where it cannot be read, the rest is read without it."""
        before = len(self.unreadable)
        document = self.document(file, variables)
        found, self.unreadable = self.unreadable[before:], self.unreadable[:before]
        self.problems.extend(found)
        if document is None:
            self.problems.append(place.problem(path, f"nothing is taken from {file}: it cannot be read, or is empty"))
        return document

    def extended(self, name: str, entry: Entry, siblings: Section, trail: tuple[tuple[str, str], ...]) -> Section:
        """The service over what it `extends`, and what that extends."""
        section = _section(entry)
        extends = child(section, "extends")
        if extends is None:
            return section
        base_name = text_of(child(extends, "service")) or text_of(extends)
        file = text_of(child(extends, "file"))
        place = extends.place
        # Only what is written in the service's own file knows where that is.
        home = Path(place.file).parent
        path = next((folder / file for folder in (home, self.directory) if (folder / file).is_file()), home / file)
        step = (str(path.absolute()) if file else place.file, base_name)
        own = Section({key: one for key, one in section.entries.items() if key not in _NOT_INHERITED}, section.place)
        if step in trail or len(trail) >= _DEEPEST:
            self.problems.append(
                place.problem(f"services.{name}.extends", "extends itself, by way of others; take one of them out")
            )
            return own
        if file:
            document = self._other(place, f"services.{name}.extends", path, self.variables)
            found = child(document, "services")
            siblings = found if isinstance(found, Section) else Section({}, place)
        base = siblings.entries.get(base_name)
        if base is None:
            said = f"there is no service {base_name!r} in {path if file else place.file}; correct the name"
            self.problems.append(place.problem(f"services.{name}.extends", said))
            return own
        return laid_over(self.extended(base_name, base, siblings, (*trail, step)), own)


def _section(entry: Entry) -> Section:
    """The service that stands at a name, at that name's place; one without anything in it is one all the same."""
    entries = entry.value.entries if isinstance(entry.value, Section) else {}
    return Section(entries, entry.place)


def _current(tree: Section) -> Section:
    """The first format of all had its services at the top."""
    if "services" in tree.entries or "include" in tree.entries or text_of(child(tree, "version")) not in ("", "1"):
        return tree
    services = {
        name: entry
        for name, entry in tree.entries.items()
        if isinstance(entry.value, Section) and not _OWN_KEYS.isdisjoint(entry.value.entries)
    }
    if not services:
        return tree
    return Section({"services": Entry(tree.place, Section(services, tree.place))}, tree.place)


def _texts(tree: Tree | None) -> Iterable[str]:
    items = tree.items if isinstance(tree, Items) else (tree,)
    return [text_of(item) for item in items if text_of(item)]
