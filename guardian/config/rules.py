"""What no type can say: rules between values. Each mistake has its own line; none hides another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from guardian.config.address import is_loopback, parse_endpoint, parse_listen, parse_url
from guardian.config.overlay import unknown_variables
from guardian.config.read import Draft, suggestion
from guardian.config.schema import Config, DiskThresholds, PhaseConfig, Resources, Thresholds
from guardian.config.tree import Place
from guardian.errors import Problem
from guardian.model import Mode, Signal
from guardian.units import Share, spell

FASTEST_SAMPLING_S = 0.1
FASTEST_PROBE_S = 1.0
LONGEST_SOCKET_PATH = 107  # sun_path holds 108 bytes, the closing zero included

# The same key in two places, for people who look for it in either: (alias, key).
ALIASES = (("source", "sampling.source"), ("shedding.dependencies", "dependencies"))


def check(draft: Draft) -> list[Problem]:
    """Every mistake between values that are right by themselves. Wrong values are left out of every comparison."""
    checker = _Checker(draft)
    for rule in (
        _names,
        _phases,
        _budgets,
        _thresholds,
        _scope,
        _requires,
        _overrides,
        _health,
        _keep,
        _timings,
        _aliases,
        _engine,
        _web,
        _notify,
    ):
        rule(checker, draft.config)
    return checker.problems


def verify(config: Config) -> list[Problem]:
    """The same for a configuration that is no file, such as one with only a part of an edit applied."""
    return check(Draft(config, Place("configuration")))


def warnings(config: Config, environ: Mapping[str, str] | None = None, file: str = "configuration") -> tuple[Problem, ...]:
    """What is allowed and probably not meant."""
    found = [Problem(file, None, None, path, message) for path, message in _doubts(config)]
    return (*found, *(Problem("environment", None, None, name, message) for name, message in unknown_variables(environ or {})))


class _Checker:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.problems: list[Problem] = []

    def add(self, path: str, message: str, *others: str) -> None:
        """Unless the value, or one of the `others` that it is compared with, was wrong already."""
        if self.draft.trusted(path, *others):
            self.problems.append(self.draft.place(path).problem(path, message))

    def where(self, *paths: str) -> str:
        """The first of these paths that was given: where the mistake can be mended."""
        return next((path for path in paths if self.draft.given(path)), paths[0])


def _names(checker: _Checker, config: Config) -> None:
    lists = [("containers", config.containers), ("emergency.keep", config.emergency.keep)]
    if isinstance(config.project, tuple):
        lists.append(("project", config.project))
    elif config.project == "":
        checker.add("project", "a name is empty")
    lists.extend((f"services.{name}.requires", service.requires) for name, service in config.services.items())
    lists.extend((f"phases[{index}].services", phase.services) for index, phase in enumerate(config.phases))
    for path, names in lists:
        seen: set[str] = set()
        for index, name in enumerate(names):
            if not name:
                checker.add(f"{path}[{index}]", "a name is empty")
            elif name in seen:
                checker.add(f"{path}[{index}]", f"{name} is listed twice here")
            seen.add(name)


def _phases(checker: _Checker, config: Config) -> None:
    numbers: dict[int, int] = {}
    homes: dict[str, tuple[int, str]] = {}
    for index, phase in enumerate(config.phases):
        path = f"phases[{index}]"
        if checker.draft.trusted(f"{path}.phase"):
            if phase.phase in numbers:
                checker.add(f"{path}.phase", f"there are two phases {phase.phase}; the other is phases[{numbers[phase.phase]}]")
            numbers.setdefault(phase.phase, index)
        for place, name in enumerate(phase.services):
            home, label = homes.setdefault(name, (index, _phase(phase, index)))
            if home != index and name:
                checker.add(f"{path}.services[{place}]", f"{name} is in {label} already; a service is in exactly one phase")
    if numbers and all(checker.draft.trusted(f"phases[{index}].phase") for index in range(len(config.phases))):
        highest = max(numbers)
        if missing := next((number for number in range(1, highest) if number not in numbers), None):
            following = min(number for number in numbers if number > missing)
            checker.add(
                f"phases[{numbers[following]}].phase",
                f"phases are numbered 1, 2, 3 … without a gap, and there is no phase {missing}",
            )
        if config.target_phase is not None and config.target_phase > highest:
            checker.add("target_phase", f"there is no phase {config.target_phase}; the last is {highest}")


def _phase(phase: PhaseConfig, index: int) -> str:
    return f"phase {phase.phase}" if phase.phase else f"phases[{index}]"


def _budgets(checker: _Checker, config: Config) -> None:
    """Budgets are cumulative: what phases 1..n may use together cannot be less than what 1..n−1 may."""
    ordered = sorted(enumerate(config.phases), key=lambda pair: pair[1].phase)
    for resource in ("memory", "cpu", "storage"):
        budgets = [
            (index, phase, value)
            for index, phase in ordered
            if (value := getattr(phase.budget, resource)) is not None
            and checker.draft.trusted(f"phases[{index}].phase", f"phases[{index}].budget.{resource}")
        ]
        for (_, before, lower), (index, phase, upper) in pairwise(budgets):
            if before.phase < phase.phase and _less(upper, lower, config):
                checker.add(
                    f"phases[{index}].budget.{resource}",
                    f"{spell(upper)} is less than the {spell(lower)} of phase {before.phase}; budgets are cumulative: "
                    f"what phases 1 to {phase.phase} may use together",
                )


def _less(upper: float | Share, lower: float | Share, config: Config) -> bool:
    """False where the two cannot be compared: a share of a capacity that is not known here, and cores."""
    if not isinstance(upper, Share) or not isinstance(lower, Share):
        return not isinstance(upper, Share) and not isinstance(lower, Share) and upper < lower
    if upper.ratio is not None and lower.ratio is not None:
        return upper.ratio < lower.ratio
    if config.host.cpu is not None:
        return upper.of(config.host.cpu) < lower.of(config.host.cpu)
    return upper.cores is not None and lower.cores is not None and upper.cores < lower.cores


def _thresholds(checker: _Checker, config: Config) -> None:
    for signal in Signal:
        marks = getattr(config.thresholds, signal.value)
        if marks is None or marks == "off":
            continue
        path = f"thresholds.{signal.value}"
        soft, hard, recover = (f"{path}.{mark}" for mark in ("soft", "hard", "recover"))
        said = {key: _said(checker, key, value) for key, value in ((soft, marks.soft), (recover, marks.recover))}
        if isinstance(marks, Thresholds | DiskThresholds) and marks.soft >= marks.hard:
            where = checker.where(soft, hard)
            checker.add(where, f"soft ({said[soft]}) must be below hard ({_said(checker, hard, marks.hard)})", soft, hard)
        if marks.recover >= marks.soft:
            where = checker.where(recover, soft)
            checker.add(where, f"recover ({said[recover]}) must be below soft ({said[soft]})", soft, recover)
        if marks.recover <= 0:
            checker.add(recover, "must be above 0, or the level never returns to ok")
        if signal in (Signal.MEMORY, Signal.CPU) and config.restoring.margin >= marks.soft:
            checker.add(
                checker.where("restoring.margin", soft),
                f"margin ({spell(config.restoring.margin)}) must be below {path}.soft ({said[soft]}), or nothing is ever restored",
                "restoring.margin",
                soft,
            )


def _said(checker: _Checker, path: str, value: float) -> str:
    return spell(value) if checker.draft.given(path) or not checker.draft.places else f"{spell(value)} by default"


def _scope(checker: _Checker, config: Config) -> None:
    if not config.projects and not config.containers and checker.draft.trusted("project", "containers"):
        checker.add("project", "neither project nor containers is given, so nothing would be managed; name the Compose project")


def _known(config: Config) -> set[str]:
    """Names that a service may go by."""
    listed = {name for phase in config.phases for name in phase.services}
    return listed | set(config.services) | set(config.containers)


def _requires(checker: _Checker, config: Config) -> None:
    known = _known(config)
    requires = {name: service.requires for name, service in config.services.items()}
    lists = [f"phases[{index}].services" for index in range(len(config.phases))]
    for name, needed in requires.items():
        for index, other in enumerate(needed):
            if other and other not in known:
                message = f"there is no service {other}{suggestion(other, known)}"
                checker.add(f"services.{name}.requires[{index}]", message, "phases", "containers", "services", *lists)
    for cycle in _cycles(requires):
        first = cycle[0]
        index = requires[first].index(cycle[1 % len(cycle)])
        path = f"services.{first}.requires[{index}]"
        checker.add(path, f"requires go in a circle: {' → '.join((*cycle, first))}; leave one of them out")


def _cycles(requires: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, ...]]:
    """One cycle for each group of services that lead back to themselves, from its first name on. Iterative."""
    done: set[str] = set()
    for root in sorted(requires):
        path: list[str] = []
        waiting = [(root, iter(requires[root]))] if root not in done else []
        path.extend(name for name, _ in waiting)
        while waiting:
            name, rest = waiting[-1]
            other = next((item for item in rest if item in requires and item not in done), None)
            if other is None:
                done.add(name)
                waiting.pop()
                path.pop()
            elif other in path:
                cycle = path[path.index(other) :]
                start = cycle.index(min(cycle))
                yield (*cycle[start:], *cycle[:start])
                done.add(other)
            else:
                waiting.append((other, iter(requires[other])))
                path.append(other)


def _overrides(checker: _Checker, config: Config) -> None:
    for name, service in config.services.items():
        path = f"services.{name}"
        for key in ("memory", "cpus"):
            limit, reserved = getattr(service.limits, key), getattr(service.reservations, key)
            if limit is not None and reserved is not None and reserved > limit:
                checker.add(
                    f"{path}.reservations.{key}",
                    f"reserves {spell(reserved)}, more than its limit of {spell(limit)}",
                    f"{path}.limits.{key}",
                )
        for kind, resources in (("limits", service.limits), ("reservations", service.reservations)):
            _positive(checker, f"{path}.{kind}", resources)


def _positive(checker: _Checker, path: str, resources: Resources) -> None:
    if resources.memory == 0:
        checker.add(f"{path}.memory", "must be above 0; leave it out where there is none")


def _health(checker: _Checker, config: Config) -> None:
    for name, service in config.services.items():
        health, path = service.health, f"services.{name}.health"
        if health is None:
            continue
        given = [key for key, value in (("http", health.http), ("tcp", health.tcp), ("command", health.command)) if value]
        if len(given) > 1:
            checker.add(f"{path}.{given[1]}", f"{given[0]} is given already; a service has one probe", f"{path}.{given[0]}")
        elif not given and not health.restart:
            checker.add(path, "says nothing to probe: give one of http, tcp and command")
        if health.restart and service.protect:
            checker.add(
                f"{path}.restart", "a service under protect is never stopped, and a restart stops it", f"{path[:-7]}.protect"
            )
        for key, parse in (("http", parse_url), ("tcp", parse_endpoint)):
            target = getattr(health, key)
            try:
                if target is not None:
                    parse(target)
            except ValueError as error:
                checker.add(f"{path}.{key}", str(error))
        if health.command and not health.command[0]:
            checker.add(f"{path}.command[0]", "expected a program")
        if health.interval < FASTEST_PROBE_S:
            checker.add(f"{path}.interval", f"{spell(health.interval)} is too often: at least 1s")
        if health.timeout <= 0:
            checker.add(f"{path}.timeout", "must be above 0s: nothing answers at once")


def _keep(checker: _Checker, config: Config) -> None:
    known = _known(config)
    lists = [f"phases[{index}].services" for index in range(len(config.phases))]
    for index, name in enumerate(config.emergency.keep):
        if name and name not in known:
            message = f"there is no service {name}{suggestion(name, known)}"
            checker.add(f"emergency.keep[{index}]", message, "phases", "containers", *lists)


def _timings(checker: _Checker, config: Config) -> None:
    for key in ("host", "containers"):
        value = getattr(config.sampling, key)
        if value < FASTEST_SAMPLING_S:
            checker.add(f"sampling.{key}", f"{spell(value)} is too fast: at least 100ms")
    if config.engine.timeout <= 0:
        checker.add("engine.timeout", "must be above 0s: no engine answers at once")
    if config.host.memory == 0:
        checker.add("host.memory", "must be above 0; leave it out for the whole host")
    backoff = config.restoring.backoff
    shortest, longest = "restoring.backoff.min", "restoring.backoff.max"
    if backoff.min > backoff.max:
        message = f"min ({spell(backoff.min)}) must not be above max ({spell(backoff.max)})"
        checker.add(checker.where(shortest, longest), message, shortest, longest)


def _aliases(checker: _Checker, config: Config) -> None:
    for alias, key in ALIASES:
        if checker.draft.given(alias) and checker.draft.given(key):
            one, other = _at(config, alias), _at(config, key)
            if one is not None and one != other:
                checker.add(alias, f"{one} here and {other} at {key}: keep one of the two", key)


def _at(config: Config, path: str) -> object:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _engine(checker: _Checker, config: Config) -> None:
    url = config.engine.url
    if url not in ("auto", "simulated") and not _engine_url(url):
        checker.add("engine.url", f"expected auto, unix:///path/to/docker.sock, tcp://host:port or simulated, got {url!r}")


def _engine_url(url: str) -> bool:
    if url.startswith("unix:///"):
        return len(url) > len("unix:///")
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return url.startswith("tcp://") and bool(host) and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535


def _web(checker: _Checker, config: Config) -> None:
    web = config.web
    try:
        host, _ = parse_listen(web.listen)
    except ValueError as error:
        checker.add("web.listen", str(error))
    else:
        if not is_loopback(host) and not web.insecure and not (web.tls and web.auth):
            checker.add(
                "web.listen",
                f"{web.listen} can be reached from elsewhere: it needs web.tls with web.auth, or web.insecure: true",
                "web.tls",
                "web.auth",
                "web.insecure",
            )
    length = len(web.control.encode(errors="surrogateescape"))
    if not web.control or "\0" in web.control:
        checker.add("web.control", "expected the path of a Unix socket")
    elif length > LONGEST_SOCKET_PATH:
        checker.add("web.control", f"a path of {length} bytes; the kernel allows a Unix socket {LONGEST_SOCKET_PATH}")
    if not config.state_dir or "\0" in config.state_dir:
        checker.add("state_dir", "expected the path of a folder")


def _notify(checker: _Checker, config: Config) -> None:
    for index, one in enumerate(config.notify):
        path = f"notify[{index}]"
        if (one.webhook is None) == (one.alertmanager is None):
            checker.add(path, "expected one of webhook and alertmanager, each in an item of its own")
        elif one.alertmanager is not None and checker.draft.given(f"{path}.format"):
            checker.add(f"{path}.format", "is only for a webhook")


def _doubts(config: Config) -> Iterator[tuple[str, str]]:
    listed = {name for phase in config.phases for name in phase.services}
    for name in config.services:
        if name not in listed:
            yield f"services.{name}", "is in no phase: without a label guardian.phase on its container it is not managed"
    for name in config.containers:
        if name not in listed:
            yield "containers", f"{name} is in no phase: without a label guardian.phase it is not managed"
    for phase in config.phases:
        if not phase.services:
            yield f"phases[{phase.phase}]", f"phase {phase.phase} lists no services: only labels can fill it"
        for resource, capacity in (("memory", config.host.memory), ("cpu", config.host.cpu)):
            budget = getattr(phase.budget, resource)
            amount = budget.cores if isinstance(budget, Share) else budget
            if capacity is not None and amount is not None and amount > capacity:
                yield f"phases[{phase.phase}].budget.{resource}", f"is more than host.{resource} ({spell(capacity)})"
    if all(phase.protected for phase in config.phases):
        yield "phases", "every phase is protected: nothing can be shed"
    if all(phase.mode is Mode.OBSERVE for phase in config.phases) and config.mode is Mode.ENFORCE:
        yield "mode", "enforce, and every phase is in observe: nothing will be done"
    thresholds = config.thresholds
    for signal, capacity_key, capacity in (
        (Signal.PLATFORM_MEMORY, "host.memory", config.host.memory),
        (Signal.PLATFORM_CPU, "host.cpu", config.host.cpu),
    ):
        if getattr(thresholds, signal.value) is not None and capacity is None:
            yield f"thresholds.{signal.value}", f"has no effect without {capacity_key}"
    shedding = [Signal.MEMORY, Signal.CPU]
    shedding += [Signal.PLATFORM_MEMORY] if config.host.memory else []
    shedding += [Signal.PLATFORM_CPU] if config.host.cpu else []
    if all(thresholds.of(signal) is None for signal in shedding):
        yield "thresholds", "every signal that sheds is off: nothing will ever be shed"
    if config.emergency.enabled and not config.emergency.keep:
        yield "emergency.keep", "is empty: an emergency may stop every service that is not under protect"
