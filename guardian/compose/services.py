"""From a service's section to what it says. What cannot be understood counts as not said, and is told with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from guardian.compose.model import ComposeService, Condition, Dependency, Port
from guardian.compose.sections import child, text_of
from guardian.config.tree import Items, Section, Tree
from guardian.errors import Problem

_Value = TypeVar("_Value")

# As Docker counts: 1m and 1mb are 1 MiB.
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|us|µs|ns|s)", re.ASCII | re.IGNORECASE)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_CPU_PERIOD_US = 100_000  # the kernel's, where a quota is given without one
_JOBS = ("replicated-job", "global-job")
_RESTARTS = {"none": "no", "any": "always", "false": "no"}  # other words for the same


def service_of(name: str, section: Section, known: Collection[str]) -> tuple[ComposeService, list[Problem]]:
    """The service in `section`, which is in canonical form, and what is wrong with it. `known` are all services' names."""
    reader = _Reader(name, section, known)
    limits, reservations = ("deploy", "resources", "limits"), ("deploy", "resources", "reservations")
    service = ComposeService(
        name=name,
        place=section.place,
        image=reader.text("image"),
        depends_on=tuple(reader.dependencies()),
        shares=tuple(dict.fromkeys(reader.shares())),
        ports=tuple(reader.ports()),
        expose=tuple(port for text in reader.names("expose") if (port := text.partition("/")[0]).isdigit()),
        health_check=reader.health_check(),
        memory_limit_bytes=reader.first(size_bytes, ("mem_limit",), (*limits, "memory")),
        memory_reservation_bytes=reader.first(size_bytes, ("mem_reservation",), (*reservations, "memory")),
        cpu_limit_cores=reader.cpu_limit_cores((*limits, "cpus")),
        cpu_reservation_cores=reader.first(_cores, (*reservations, "cpus")),
        pids_limit=child(section, "pids_limit") is not None,
        profiles=tuple(reader.names("profiles")),
        replicas=reader.replicas(),
        restart=reader.restart(),
        job=text_of(child(section, "deploy", "mode")) in _JOBS,
        stop_grace_s=reader.first(_seconds, ("stop_grace_period",)),
        labels=reader.labels(),
    )
    return service, reader.problems


class _Reader:
    def __init__(self, name: str, section: Section, known: Collection[str]) -> None:
        self._path = f"services.{name}"
        self._name = name
        self._section = section
        self._known = known
        self.problems: list[Problem] = []

    def first(self, parse: Callable[[str], _Value], *paths: tuple[str, ...]) -> _Value | None:
        """The value at the first of `paths` that says something."""
        for path in paths:
            found = child(self._section, *path)
            if text := text_of(found).strip():
                try:
                    return parse(text)
                except ValueError as error:
                    self._complain(found, ".".join(path), str(error))
        return None

    def text(self, key: str) -> str | None:
        return text_of(child(self._section, key)) or None

    def names(self, key: str) -> Iterator[str]:
        """The texts of a list, or the names of a section."""
        found = child(self._section, key)
        if isinstance(found, Section):
            yield from found.entries
        elif isinstance(found, Items):
            yield from (text_of(item) for item in found.items if text_of(item))

    def dependencies(self) -> Iterator[Dependency]:
        """`depends_on`, then `links` and `volumes_from`, which are dependencies too."""
        seen: set[str] = set()
        found = child(self._section, "depends_on")
        if isinstance(found, Section):
            for name, entry in found.entries.items():
                required = text_of(child(entry.value, "required")).lower() != "false"
                if self._is_known(found, "depends_on", name, needed=required):
                    seen.add(name)
                    yield Dependency(name, self._condition(entry.value, name), required)
        elif text_of(found):
            self._complain(found, "depends_on", "expected a list of services, or a section; write `depends_on: [name]`")
        for key in ("links", "volumes_from"):
            for text in self.names(key):
                name = text.partition(":")[0]
                if name != "container" and name not in seen and self._is_known(child(self._section, key), key, name):
                    seen.add(name)
                    yield Dependency(name)

    def _condition(self, tree: Tree, name: str) -> Condition:
        found = child(tree, "condition")
        try:
            return Condition(text_of(found) or Condition.STARTED)
        except ValueError:
            self._complain(
                found, f"depends_on.{name}.condition", f"{text_of(found)!r} is none; there are {', '.join(Condition)}"
            )
            return Condition.STARTED

    def shares(self) -> Iterator[str]:
        for key in ("network_mode", "pid", "ipc", "net"):
            found = child(self._section, key)
            kind, _, name = text_of(found).partition(":")
            if kind == "service" and self._is_known(found, key, name):
                yield name

    def ports(self) -> Iterator[Port]:
        found = child(self._section, "ports")
        for item in found.items if isinstance(found, Items) else ():
            target = text_of(child(item, "target"))
            if not target:
                self._complain(item, "ports", f"{text_of(item)!r} is no port; write 8080:80, or target and published")
                continue
            yield Port(target, text_of(child(item, "published")), text_of(child(item, "protocol")) or "tcp")

    def health_check(self) -> bool:
        found = child(self._section, "healthcheck")
        test = child(found, "test")
        first = test.items[0] if isinstance(test, Items) and test.items else test
        disabled = text_of(child(found, "disable")).lower() == "true" or text_of(first) == "NONE"
        return isinstance(found, Section) and not disabled

    def cpu_limit_cores(self, deployed: tuple[str, ...]) -> float | None:
        found = self.first(_cores, ("cpus",), deployed)
        quota = self.first(_cores, ("cpu_quota",)) if found is None else None
        if quota is None:
            return found
        return quota / (self.first(_duration_us, ("cpu_period",)) or _CPU_PERIOD_US)

    def replicas(self) -> int:
        found = self.first(_count, ("scale",), ("deploy", "replicas"))
        return 1 if found is None else found

    def restart(self) -> str | None:
        text = self.text("restart") or text_of(child(self._section, "deploy", "restart_policy", "condition"))
        policy = text.partition(":")[0].lower()
        return _RESTARTS.get(policy, policy) or None

    def labels(self) -> dict[str, str]:
        found = child(self._section, "labels")
        if not isinstance(found, Section):
            return {}
        return {name: text_of(entry.value) for name, entry in found.entries.items()}

    def _is_known(self, tree: Tree | None, key: str, name: str, needed: bool = True) -> bool:
        if name in self._known and name != self._name:
            return True
        if needed:
            said = "itself" if name == self._name else f"{name!r}, and there is no such service"
            self._complain(tree, key, f"names {said}; take it out, or correct the name")
        return False

    def _complain(self, tree: Tree | None, key: str, message: str) -> None:
        place = self._section.place if tree is None else tree.place
        self.problems.append(place.problem(f"{self._path}.{key}", message))


def size_bytes(text: str) -> int | None:
    """`512m` or `0.5gb`, as Docker counts them; None for 0 and below, which set no limit. ValueError for anything else."""
    if text.startswith("-"):
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size; write 512m or 1g")
    size = float(match[1]) * 1024.0 ** _POWERS[match[2].lower()]
    return round(size) or None if math.isfinite(size) else None


def _cores(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of CPUs; write 0.5") from None
    return number if math.isfinite(number) and number > 0 else None


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{text!r} is no number of replicas; write 2")
    return int(text)


def _seconds(text: str) -> float | None:
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError(f"{text!r} is no duration; write 30s or 1m30s")
    return sum(float(part[1]) * _SECONDS[part[2].lower()] for part in parts)


def _duration_us(text: str) -> float | None:
    """`100000` or `100ms`."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) else (_seconds(text) or 0.0) * 1e6 or None
