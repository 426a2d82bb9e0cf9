"""What a user can be told: every error and every line of the log from warning on, found in the code by its syntax trees.

Writes `docs/errors.md`, or says whether it is current: `python -m guardian.messages --check|--write`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from guardian import errors
from guardian.errors import EXIT_CODES, GuardianError
from guardian.generated import DOCS, main

PACKAGE = Path(__file__).parent
PATH = DOCS / "errors.md"

INTERNAL = {
    "ledger/transitions.py": "guardian would be wrong itself",
    "ledger/book.py": "likewise",
    "engine/simulated/engine.py": "faults that a scenario plays; what a Docker Engine says instead is listed",
}
"""Files whose errors reach no user, and why."""

AREAS = {
    "cli": "The command line",
    "config": "The configuration",
    "compose": "Compose files",
    "engine": "The engine",
    "expose": "The web, and orders",
    "daemon.py": "The daemon, as it starts",
    "ledger": "The ledger and the state directory",
    "record": "The recording",
    "objectives": "Objectives, reports and baselines",
    "rollout": "Roll-outs",
    "proposal": "Proposals",
    "rescue.py": "An emergency without a daemon",
    "act": "Ending containers by signal",
}
"""How the path of a file begins -> what it is about."""

EXITS = {
    0: "",
    1: "the message says",
    2: "`--help` shows the form",
    69: "is it running, and may you use its socket? then try again",
    78: "mend the lines that are named; systemd does not restart guardian until then",
    130: "",
}
"""Exit code -> what to do."""

LOG = {
    "a connection failed": "a client of the web or the control socket went wrong; the traceback is for a report of a defect",
    "a job failed and goes on": "a defect: please report it with the traceback; the job runs again at its next turn",
    "a notification was not delivered": "`problem` says why; look at the receiver, and at `notify` in the file",
    "a request failed": "a defect: please report it with the traceback; whoever asked got status 500",
    "a thread failed and goes on": "a defect: please report it with the traceback; what the thread does goes on",
    "a tick could not be recorded": "a defect: please report it with the traceback; decisions go on",
    "a worker failed": "a defect: please report it with the traceback",
    "action ended": "with a result other than done: `detail` says why; it is tried again by the rules",
    "an event could not be handled": "a defect: please report it with the traceback; the list is read again",
    "cannot guard this engine": "another guardian looks after it: `error` says which; stop one of the two",
    "cannot write the figures, and will try again": "`error` says why: make room in `state_dir`, or mend its permissions",
    "cannot write the recording, and will try again: decisions go on, and what they were is not kept meanwhile": "`error` says why: make room in `state_dir`, or mend its permissions",
    "cgroup files and engine disagree: using the engine's figures": "the container's cgroup is not the one that the engine counts; nothing need be done",
    "configuration change waits": "the file would widen what may be stopped: `guardian reload` applies it, after a look at `guardian status`",
    "configuration changed": "the file, or an order to reload it, has put `change` into force; nothing need be done",
    "configuration refused; the old one stays in force": "`problem` says where in the file: mend it; `guardian check FILE` lists all mistakes",
    "containers cannot be inspected: the list alone tells of them, and what was never inspected is not stopped": "`docker inspect` of one may say why, or hang too; to remove it, or to restart Docker, mends it",
    "containers had changed and no event had told: following the events anew": "the engine lost events; nothing need be done",
    "decision": "what is stopped or started, and why: `guardian why --at TIME` tells it in words",
    "decision (observed, nothing is done)": "likewise, in observe mode: set `mode: enforce` to have it done",
    "earlier readings of storage cannot be used: they begin anew": "`problem` says why; delete the file that `path` names if it comes again",
    "emergency: all else is exhausted, so phases that are protected as phases are shed too": "see [its runbook](operations.md#guardianexhausted)",
    "event stream failed": "a defect: please report it with the traceback; guardian connects again",
    "event stream lost": "the engine ended it, or restarts; guardian connects again by itself",
    "exhausted: memory is hard and nothing that is left to shed would be enough": "see [its runbook](operations.md#guardianexhausted)",
    "figures could not be kept": "a defect: please report it with the traceback; decisions go on",
    "ledger": "`notice` says what happened to the file, and what to do",
    "ledger and engine compared": "what happened to services that guardian owes something: `finding`; [concepts.md](concepts.md) says what each means",
    "level changed": "the host is short of what `signals` shows: `guardian status` and `guardian why` tell more",
    "no cgroup files can be read of these, so what they use is unknown: set sampling.source to auto": "or let guardian see /sys/fs/cgroup of the host",
    "no pressure triggers: the host is read at its pace only": "give it CAP_SYS_RESOURCE, as the unit does; `guardian doctor` says more",
    "order": "who ordered what, and the reply; nothing need be done",
    "should the engine hang, nothing could be ended by signal": "`problem` says why: run it as root, or with CAP_KILL, on the engine's own host",
    "storage could not be measured: what is known of it is older": "`problem` says why; it is tried again, or by `guardian storage --refresh`",
    "the engine answers again": "nothing need be done",
    "the engine does not answer": "`error` says why: start Docker, or mend `engine.url`; `guardian doctor` looks at it",
    "the kernel's OOM killer has ended a process of a container": "the container's own limit, or the host, was full: raise the limit, or see why guardian came too late",
    "the engine's file system fills": "`commands` would free some of it; `guardian storage` shows who fills it",
    "the engine's file system fills; nothing is started": "likewise; starts go on once there is room",
    "the figures can be written again": "nothing need be done",
    "the figures could not be read and were put aside": "they begin anew; the old ones are in `file`",
    "the recording can be written again": "nothing need be done",
    "the wall clock was set": "times in the history jump by `seconds`; run a time service",
    "too few file descriptors for every container's cgroup: using the engine's figures for the rest; raise LimitNOFILE": "in the unit, to five for each container",
    "unhealthy by its probe": "`problem` is what the probe of the service found; look at its log",
    "what is changed cannot be used, what was read before stays": "`error` says which file of `web.tls` or `web.auth`, and why",
    "what runs cannot be written down": "`error` says why: after a reboot, guardian will not know what ran",
    "what was measured of storage could not be kept": "`problem` says why: make room in `state_dir`, or mend its permissions",
}
"""Every line of the log from warning on -> what it means, and what to do."""

WORDS = {
    "": "…",
    "ERROR": "REASON",
    "STRERROR": "REASON",
    "WHY": "REASON",
    "MSG": "REASON",
    "UNREACHABLE": "REASON.",
    "SAID": "COMMAND",
    "OUTPUT": "FILE",
    "PARENT": "FOLDER",
    "PART": "FILE",
    "PATH": "FILE",
}
"""What stands in the page for a name of the code; any other stands for itself, in capitals."""

HEAD = """\
# Errors

Generated from the code by `python -m guardian.messages --write`: edit that, not this.

An error says what is wrong and where, and after a `;` or a `:` what to do; where the right column is empty, its own words say it. `…` and words in
capitals stand for what differs; `REASON` is the system's. On the command line it comes after `Error:` on standard error, without a traceback; `unexpected …; please report this` is a defect of Guardian. Mistakes in a file are told all at
once, as `FILE:LINE: key: what is allowed, and what is there`: [configuration.md](configuration.md) says what each key allows.

## Exit codes

| code | means | what to do |
|---|---|---|
"""

LOG_HEAD = """
## Lines of the log

Those from `warning` on. They are JSON (`log.format`), with the fields that are named here; `journalctl -u guardian` shows them.

| line | means |
|---|---|
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One call that makes an error, and what that may say. `words` is its source: it stays the same while lines move."""

    file: str
    line: int
    last_line: int
    kind: str
    words: str
    says: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words}"


@dataclass(frozen=True, slots=True)
class _Module:
    file: str
    tree: ast.Module

    @property
    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)


@cache
def _modules() -> tuple[_Module, ...]:
    files = sorted(PACKAGE.rglob("*.py"))
    return tuple(_Module(str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))) for path in files)


@cache
def error_names() -> frozenset[str]:
    """Every class of the package that is a GuardianError, and those of click that commands raise."""
    below = {
        node.name: {_name(base) for base in node.bases}
        for module in _modules()
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
    }
    found = {GuardianError.__name__}
    while more := {name for name, bases in below.items() if bases & found} - found:
        found |= more
    return frozenset(found | {"UsageError", "BadParameter", "CommandFailed"})


@cache
def sites() -> tuple[Site, ...]:
    """Every call that makes an error, in the order of files and lines."""
    found = [
        Site(
            module.file,
            node.lineno,
            node.end_lineno or node.lineno,
            _name(node.func),
            ast.unparse(node),
            tuple(dict.fromkeys(_said(node, module))),
        )
        for module in _modules()
        for node in module.nodes
        if isinstance(node, ast.Call) and _name(node.func) in error_names()
    ]
    return tuple(sorted(found, key=lambda one: (one.file, one.line)))


@cache
def log_lines() -> frozenset[str]:
    """The event of every call of a logger that may be a warning or worse."""
    return frozenset(
        event
        for module in _modules()
        for node in module.nodes
        if isinstance(node, ast.Call) and _warns(node.func)
        for event in _texts(node.args[0], module)
        if event != "…"  # what others have made is told as it is
    )


def _warns(function: ast.expr) -> bool:
    parts = list(ast.walk(function))
    return any(isinstance(one, ast.Name) and one.id == "_log" for one in parts) and any(
        isinstance(one, ast.Attribute) and one.attr in ("warning", "error", "exception", "critical") for one in parts
    )


# --- what a call may say ----------------------------------------------------------------------------------------------


def _said(call: ast.Call, module: _Module) -> Iterator[str]:
    if _name(call.func) == "ConfigError":
        problems = [one for one in ast.walk(call) if isinstance(one, ast.Call) and _name(one.func) in ("Problem", "problem")]
        for one in problems:
            yield from (f"…: {text}" for text in _texts(one.args[-1], module))
    elif call.args:
        yield from _texts(call.args[0], module)


def _texts(node: ast.expr, module: _Module) -> list[str]:
    """Every text that the expression may be, as far as the module tells."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            texts = [""]
            for part in parts:
                ends = [str(part.value)] if isinstance(part, ast.Constant) else _known(part, module)
                texts = [f"{text}{end}" for text in texts for end in ends]
            return texts
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [f"{one}{other}" for one in _texts(left, module) for other in _texts(right, module)]
        case ast.IfExp(body=body, orelse=orelse):
            return _texts(body, module) + _texts(orelse, module)
        case ast.Call(func=ast.Name(id=name)):
            return [text for one in _returns(name, module) for text in _texts(one, module)] or ["…"]
        case ast.Name(id=name):
            return _constant(name, module) or ["…"]
    return ["…"]


def _known(part: ast.expr, module: _Module) -> list[str]:
    """What stands in a brace: a constant of the package, or a word for what differs."""
    value = part.value if isinstance(part, ast.FormattedValue) else part
    if isinstance(value, ast.Name) and value.id.lstrip("_").isupper():
        return _texts(value, module)
    if isinstance(value, ast.BoolOp):  # `error.strerror or error`
        value = value.values[0]
    word = _name(value).strip("_").upper()
    return ["N" if word.endswith("_S") else WORDS.get(word, word)]


def _returns(name: str, module: _Module) -> list[ast.expr]:
    """What a function of the module, or of `errors`, returns."""
    return [
        statement.value
        for one in (module, *(one for one in _modules() if one.file == "errors.py"))
        for function in one.nodes
        if isinstance(function, ast.FunctionDef) and function.name == name
        for statement in ast.walk(function)
        if isinstance(statement, ast.Return) and statement.value is not None
    ]


def _constant(name: str, module: _Module) -> list[str]:
    """The text that is called so at the top of the module, else of any."""
    return _assigned(name, (module,)) or _assigned(name, _modules())


def _assigned(name: str, modules: tuple[_Module, ...]) -> list[str]:
    return [
        node.value.value
        for module in modules
        for node in module.tree.body
        if isinstance(node, ast.Assign)
        and any(_name(target) == name for target in node.targets)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


# --- the page ---------------------------------------------------------------------------------------------------------


def reference() -> str:
    """The whole page."""
    parts = [HEAD, *(f"| {code} | {means} | {EXITS[code]} |\n" for code, means in EXIT_CODES.items())]
    for start, title in AREAS.items():
        rows = {
            _row(text, site.kind): None
            for site in sites()
            if site.file.startswith(start) and site.file not in INTERNAL
            for text in site.says
            if text.strip("…: \nREASON")
        }
        parts.append(f"\n## {title}\n\n| error | what to do |\n|---|---|\n")
        parts += rows
    parts.append(LOG_HEAD)
    parts += (f"| {_cell(event)} | {_cell(means)} |\n" for event, means in LOG.items())
    return "".join(parts)


def _row(text: str, kind: str) -> str:
    what, _, do = text.rpartition("; ") if "; " in text else (text, "", _advice(kind))
    return f"| {_cell(what)} | {_cell(do)} |\n"


def _advice(kind: str) -> str:
    return str(getattr(getattr(errors, kind, None), "advice", ""))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    sys.exit(main("guardian.messages", {PATH: reference()}, sys.argv[1:]))
