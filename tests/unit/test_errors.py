"""Every error that a user can meet, made for real: each says what, where and what to do, and none is missing here."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import click
from support import trouble
from support.fake_daemon import FakeDaemon
from support.messages import Made, watched
from support.snapshots import config as a_config
from support.trouble import Place, Provoke, a_place

from guardian.cli import history, init, storage
from guardian.cli.emergency import ByDaemon
from guardian.clock import SystemClock, VirtualClock
from guardian.compose.files import read_text
from guardian.compose.project import read_project
from guardian.config.load import loads
from guardian.config.reload import FileWatch
from guardian.config.schema import AuthConfig, Config, PhaseConfig, TlsConfig
from guardian.engine import pools, restart
from guardian.engine.dataroot import containers_on_disk
from guardian.engine.endpoints import INFO
from guardian.engine.limits import read_limits
from guardian.engine.link import Link
from guardian.engine.protocol import Scope
from guardian.engine.survey import survey
from guardian.errors import GuardianError
from guardian.expose.orders import OrderReply
from guardian.ledger.lock import StateLock
from guardian.ledger.store import Store
from guardian.messages import INTERNAL, Site, sites
from guardian.objectives import baseline
from guardian.record.timeline import _known
from guardian.rollout.open import Opened, _compose
from guardian.rollout.progress import ProgressFile, read_progress
from guardian.telemetry import NullTelemetry

SITES = sites()

CARRIED = {
    "ConfigError(tuple(malformed))": "mistakes in a configuration, see test_config_mistakes",
    "ConfigError(tuple(sorted(set(problems), key=_position)))": "likewise",
    "ConfigError(tuple(reader.unreadable))": "carries what is provoked by itself: a file that cannot be read",
    "ConfigError(tuple(problems))": "likewise",
    "ConfigError(tuple(self.problems))": "mistakes in a scenario, see test_simulated_reading",
    "ConfigError(tuple(sorted(reader.problems, key=lambda one: (one.file, one.line or 0))))": "likewise",
    "ConfigError((extends.place.problem('extends', why),))": "likewise",
    "CommandFailed(printable(error.in_full()), error.exit_code)": "any of the others, at the command line",
    "LedgerError(run.refusal)": "carries the refusal of the ledger",
    "EngineTimeout(str(refusal))": "carries a refusal that leaves in doubt whether the engine does it, see test_engine_doubts",
}
"""Those that only carry what others say."""

UNPROVOKED = {
    "SignalError(f'{below}/cgroup.procs: {error.strerror}')": "needs a kernel that denies root a cgroup file",
    "SignalError(f'process {pid} cannot be opened: {error.strerror}')": "needs a host without a free file descriptor",
}
"""Those that no unit test can provoke, and why."""

TYPED = {
    # wrong usage
    "emergency --keep a --keep-phase 1": ("--keep or --keep-phase", "not both", 2),
    "emergency --json": ("--json", "goes with --yes", 2),
    "init -f x --running": ("--file or --running", "not both", 2),
    "init -p a -p b": ("A Compose file is of one project", "give --project once", 2),
    "init --diff -o {tmp}/none.yaml": ("{tmp}/none.yaml", "--diff: there is no file", 2),
    "init -o {tmp}/good.yaml": ("{tmp}/good.yaml", "name another by --output", 1),
    "limits --apply --write x": ("--apply or --write", "not both", 2),
    "limits --force": ("--force", "goes with --apply", 2),
    "replay --config x --plot x.gif": ("--plot", "give a name that ends in .svg or .png", 2),
    "demo --listen x": ("--listen", "expected host:port", 2),
    "stauts": ("No such command 'stauts'", "Did you mean status?", 2),
    "restore": ("restore", "Name services or give --all", 2),
    "rollout": ("rollout", "Give one of --to, --down-to and --resume", 2),
    "rollout --down-to 1 --from-zero": ("--from-zero", "goes with --to", 2),
    "rollout --to 9 --config {tmp}/good.yaml": ("there is no phase 9", "give one up to 2", 2),
    "rollout --to 2 --config {tmp}/good.yaml": ("target_phase", "raise it first, and `guardian reload`", 2),
    "rollout --resume --config {tmp}/good.yaml": ("nothing to resume", "give --to or --down-to", 2),
    "run --config {tmp}/good.yaml --scenario overload": ("--scenario", "goes with --engine simulated", 2),
    "standby --for 1m --off": ("--for or --off", "not both", 2),
    "standby --for 0": ("--for", "--off ends a standby", 2),
    "top": ("draws on a terminal", "for scripts there is `guardian status --json`", 2),
    "why": ("why", "Name a service, or a time by --at", 2),
    # files that are not there, or are something else
    "check {tmp}/none.yaml": ("{tmp}/none.yaml: cannot be read: No such file", "name one that is there", 78),
    "check {tmp}": ("{tmp}: cannot be read: Is a directory", "name a file in it", 78),
    "status --config {tmp}/none.yaml": ("{tmp}/none.yaml", "name one that is there", 78),
    "init -f {tmp}/none.yml": ("{tmp}/none.yml: cannot be read", "name one that is there", 78),
    "init": (".: no Compose file here or above", "propose for what runs by --running", 1),
    "simulate none": ("none: cannot be read", "name a file, or one of", 78),
    # nobody answers
    "status --control {tmp}/none.sock": ("{tmp}/none.sock", "start it (systemctl start guardian)", 69),
    "plan --control {tmp}/none.sock": ("{tmp}/none.sock", "name one by --config", 69),
    "history --control {tmp}/none.sock --config {tmp}/good.yaml": ("{tmp}/state/ledger.db", "start guardian once", 69),
    "check {tmp}/good.yaml --engine": ("unix://{tmp}/none.sock", "is Docker running?", 69),
    "emergency --control {tmp}/none.sock --config {tmp}/good.yaml": ("{tmp}/state", "create it", 1),
    # records
    "history --state-dir {tmp}/none": ("{tmp}/none/ledger.db", "check `state_dir`", 1),
    "why db --state-dir {tmp}/none": ("{tmp}/none/record.db", "check `state_dir`", 1),
    "report --state-dir {tmp}/none": ("{tmp}/none/objectives.db", "check `state_dir`", 1),
}
"""Command line -> where, what to do, exit code."""

CALLS: dict[str, tuple[Provoke, str, str]] = {
    # an emergency without a daemon
    "emergency, observing": (trouble.in_observe, "the mode is observe", "set `mode: enforce`, or use docker"),
    "emergency, nothing to keep": (
        lambda place: trouble.rescued(place, trouble.an_empty_engine()),
        "emergency.keep",
        "name services",
    ),
    "emergency, no engine and no signals": (
        partial(trouble.rescued, why_not="x: run it as root"),
        "{tmp}/none.sock",
        "run it as root",
    ),
    "emergency, engine simulated": (
        lambda place: place.guardian(f"emergency --control {{tmp}}/none.sock --config {trouble.simulated(place)}", 1),
        "engine.url: the simulated engine",
        "start that",
    ),
    "emergency, refused by the daemon": (
        lambda place: ByDaemon(
            trouble.refusing(OrderReply(False, "standby is on: end it by `guardian standby --off`")), (), 1
        ).plan(),
        "standby is on",
        "end it by",
    ),
    "no cgroup": (
        lambda place: trouble.host_with(place, "").stop("cd" * 32, 1.0, 1.0),
        "{tmp}/cgroups/cgroup",
        "it may have ended",
    ),
    "foreign pid namespace": (
        lambda place: trouble.host_with(place, "0\n").stop("ab" * 32, 1.0, 1.0),
        "{tmp}/cgroups/cgroup/docker/",
        "run guardian with the host's pid namespace",
    ),
    "no CAP_KILL": (trouble.unkillable, "of container abababababab", "run guardian as root, or with CAP_KILL"),
    "no signals at all": (trouble.no_signals, "cgroups of containers", "run it as root"),
    # systemd
    "no systemctl": (lambda _: restart.check_docker_unit(), "no systemctl here", "restart Docker yourself"),
    "no docker.service": (
        trouble.systemctl("echo not-found", restart.check_docker_unit),
        "docker.service",
        "restart Docker yourself",
    ),
    "systemctl refused": (
        trouble.systemctl("echo denied >&2; exit 1", restart.restart_docker),
        "systemctl restart docker.service: denied",
        "run this as root",
    ),
    "systemctl slow": (trouble.slow_systemctl, "systemctl restart docker.service", "`systemctl status docker` may say why"),
    # Compose
    "Compose failed": (trouble.composing("echo bad line 3 >&2; exit 5"), "docker-compose config", "mend what it says"),
    "Compose slow": (trouble.composing("exec sleep 5", 0.05), "docker-compose config", "run it by hand"),
    "Compose gone": (trouble.composing_gone, "docker-compose config", "is Compose installed"),
    "Compose wrote nothing": (lambda _: read_text("x: 1", "compose config"), "compose config", "look at what it writes"),
    "Compose file without services": (
        lambda place: read_project([place.path("empty.yml", "x: 1")], composes=()),
        "{tmp}/empty.yml",
        "under the key `services`",
    ),
    # the engine
    "engine refused": (lambda place: place.link(info=(500, {"message": "broken"})).get(INFO, 5.0), "GET /info", "journalctl"),
    "engine refused its ping": (lambda place: place.docker(_ping=(500, {"message": "no"})).ping(), "GET /_ping", "journalctl"),
    "engine refused a start": (
        lambda place: place.docker(start=(500, {"message": "no such network"})).start("ab", 5.0),
        "start: no such network",
        "journalctl",
    ),
    "engine refused events": (lambda place: place.docker().events(Scope(("x",)), 0.0), "GET /events", "journalctl"),
    "engine speaks no JSON": (lambda place: place.link(info=b"<html>").get(INFO, 5.0), "{tmp}/engine-0.sock", "Docker 20.10"),
    "engine of another form": (lambda place: place.docker(info=[]).info(), "/info", "Docker 20.10 or newer"),
    "event of another form": (
        lambda place: next(iter(place.docker(events=b"[]\n").events(Scope(("x",)), 0.0))),
        "an event",
        "Docker 20.10 or newer",
    ),
    "inspect of another form": (lambda place: read_limits(place.link(json=[]), "ab", 5.0), "an inspect", "Docker 20.10"),
    "list of another form": (lambda place: survey(place.link(json=[1]), 5.0), "a list", "Docker 20.10 or newer"),
    "no engine at all": (lambda place: place.link(version=b"[]").get(INFO, 5.0), "{tmp}/engine-0.sock", "Docker 20.10"),
    "engine broke off": (
        lambda place: place.link(info=(200, None)).get(INFO, 5.0),
        "{tmp}/engine-0.sock",
        "`guardian doctor` looks at it",
    ),
    "event stream broke off": (
        lambda place: list(place.docker(events=b"").events(Scope(("x",)), 0.0)),
        "the stream of events",
        "`guardian doctor` looks at it",
    ),
    "engine sent rubbish": (trouble.rubbish, "{tmp}/rubbish.sock", "Docker 20.10 or newer"),
    "engine slow": (trouble.slow_engine, "{tmp}/slow.sock did not answer within 0.05s", "try again"),
    "engine slow with stats": (trouble.slow_stats, "{tmp}/engine-0.sock", "try again"),
    "engine closed": (trouble.closed_link, "unix://{tmp}/none.sock", "`guardian doctor` looks at it"),
    "no port": (lambda _: pools.open_pool("tcp://host:x", None), "tcp://host:x", "engine.url"),
    "nobody at a port": (
        lambda _: Link("tcp://127.0.0.1:1", 1.0, SystemClock(), NullTelemetry()).get(INFO, 1.0),
        "tcp://127.0.0.1:1",
        "is Docker running there",
    ),
    "forbidden socket": (trouble.forbidden_engine, "unix:///x", "run guardian as root or as a member of the group"),
    "another scheme": (
        lambda place: (
            place.guardian("check {tmp}/good.yaml --engine", 69, DOCKER_HOST="ssh://x")
            if place.settings(engine={"url": "auto"})
            else None
        ),
        "DOCKER_HOST: 'ssh://x'",
        "write unix:///",
    ),
    "no certificates": (
        lambda _: pools.read_tls({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nonexistent"}),
        "DOCKER_CERT_PATH",
        "ca.pem, cert.pem and key.pem",
    ),
    "simulated without scenario": (
        lambda place: place.guardian(f"check {trouble.simulated(place)} --engine", 69),
        "engine.url",
        "use `guardian run --engine simulated`",
    ),
    "no files of the engine": (
        lambda place: containers_on_disk(str(place.folder), Scope()),
        "{tmp}/containers",
        "run this as root",
    ),
    "no use": (trouble.no_use, "the engine", "try again once it is less busy"),
    # the configuration
    "a file that goes": (
        lambda place: FileWatch(place.folder / "none.yaml").read(),
        "{tmp}/none.yaml",
        "the configuration in force stays",
    ),
    "a folder instead": (
        lambda place: FileWatch(place.folder).read(),
        "{tmp}: is not a file",
        "the configuration in force stays",
    ),
    # the control socket
    "page failed": (
        trouble.answered_by(b"HTTP/1.1 500 x\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\noops"),
        "{tmp}/other.sock",
        "`journalctl -u guardian`",
    ),
    "no guardian": (trouble.answered_by(b"SSH-2.0\r\n"), "{tmp}/other.sock", "by --control"),
    "silence": (trouble.answered_by(None, 0.05), "{tmp}/other.sock", "try again"),
    "forbidden control socket": (
        trouble.failing_socket(PermissionError(errno.EACCES, "no")),
        "{tmp}/closed.sock: it is for user",
        "join its group, or use sudo",
    ),
    "control socket reset": (
        trouble.failing_socket(ConnectionResetError(errno.ECONNRESET, "reset")),
        "{tmp}/closed.sock",
        "`systemctl status guardian`",
    ),
    "daemon starting": (trouble.asked("GET", "/api/v1/status", starting=True), "guardian is starting", "try again in a moment"),
    "daemon starting, plan": (
        trouble.asked("GET", "/api/v1/plan", starting=True),
        "guardian is starting",
        "try again in a moment",
    ),
    "daemon starting, order": (
        trouble.asked("POST", "/api/v1/orders", {"order": "pin", "services": ["x"]}, starting=True),
        "the engine's containers",
        "try again in a moment",
    ),
    "order late": (
        trouble.submitting(TimeoutError()),
        "the order may still be carried out",
        "`guardian history` shows whether",
    ),
    "order refused by the ledger": (trouble.submitting(GuardianError("f: broken; mend it")), "f: broken", "mend it"),
    "order malformed": (trouble.asked("POST", "/api/v1/orders", b"{"), "order", "expected a JSON object with"),
    "order of all": (trouble.ordered(order="shed", all=True), "all goes with restore", "leave it out"),
    "order for a time": (trouble.ordered(order="hold", for_s=1), "for_s goes with standby", "leave it out"),
    "order of nothing": (trouble.ordered(order="restore"), "restore needs", "at least one service, or all"),
    "order of too much": (trouble.ordered(order="hold", services=["kibana"]), "hold takes no services", "leave them out"),
    "order to keep": (trouble.ordered(order="hold", keep_phase=1), "keep_phase", "leave them out"),
    "order of room": (trouble.ordered(order="hold", cores=1), "memory_bytes and cores", "leave them out"),
    "order of both": (
        trouble.ordered(order="emergency", services=["kibana"], keep_phase=1),
        "services or keep_phase",
        "not both",
    ),
    "order to keep nothing": (trouble.ordered(order="emergency"), "emergency.keep", "name services"),
    "order of an unknown one": (
        trouble.ordered(order="pin", services=["kibanna"]),
        "kibanna is not a managed service",
        "did you mean kibana?",
    ),
    "history of what": (trouble.asked("GET", "/api/v1/history?x=1"), "x is not known", "allowed are limit, since and service"),
    "history how long": (trouble.asked("GET", "/api/v1/history?limit=0"), "limit", "from 1 to"),
    "history since when": (trouble.asked("GET", "/api/v1/history?since=x"), "since", "expected a number, got 'x'"),
    "plan of what": (trouble.asked("GET", "/api/v1/plan?x=1"), "x is not known", "allowed are signal and at"),
    "plan of which": (trouble.asked("GET", "/api/v1/plan?signal=disk"), "signal", "expected one of memory"),
    "plan at what": (trouble.asked("GET", "/api/v1/plan?at=2"), "at:", "expected a ratio from 0 to 1"),
    "no plan": (trouble.no_plan, "memory is unknown", "`guardian doctor` says why"),
    "control socket taken": (trouble.taken_socket, "{tmp}/control-0.sock", "set another web.control"),
    "control socket no socket": (
        lambda place: FakeDaemon(place.path("file", "x")),
        "{tmp}/file",
        "move it away, or set another path",
    ),
    "control socket nowhere": (lambda place: FakeDaemon(place.path("file", "x") / "y"), "{tmp}/file/y", "use a path that"),
    "measuring refused": (
        lambda _: storage._measured(trouble.refusing(OrderReply(False, "the host is soft; try again once it is ok"))),
        "the host is soft",
        "try again",
    ),
    "measuring failed": (trouble.unmeasured, "not measured: the engine", "try again"),
    # the web
    "listen on nonsense": (trouble.web("x"), "web.listen: x", "such as 127.0.0.1:9877"),
    "listen on no host": (trouble.web("a..b:80"), "a..b:80", "use an address of this host"),
    "listen on another host": (trouble.web("192.0.2.1:80"), "192.0.2.1:80", "use an address of this host"),
    "listen on a taken port": (trouble.taken_port, "web.listen: 127.0.0.1:", "set another web.listen"),
    "listen on a low port": (
        trouble.low_port,
        "web.listen: 127.0.0.1:80",
        "above 1023",
    ),
    "no certificate": (
        trouble.web("127.0.0.1:0", tls=TlsConfig(cert="{tmp}/first.pem", key="{tmp}/second.key")),
        "{tmp}/second.key",
        "name both as PEM files",
    ),
    "certificate not there": (
        trouble.web("127.0.0.1:0", tls=TlsConfig(cert="{tmp}/no.pem", key="{tmp}/no.key")),
        "{tmp}/no.pem",
        "guardian's user must be able to",
    ),
    "no password": (
        trouble.web("127.0.0.1:0", auth=AuthConfig(username="x", password_file="{tmp}/empty")),
        "{tmp}/empty",
        "write the password into it",
    ),
    # the state directory
    "state directory cannot be made": (
        lambda place: trouble.daemons(place, state_dir=str(place.path("file", "x") / "y")),
        "{tmp}/file/y",
        "create it, or set another `state_dir`",
    ),
    "state directory not there": (lambda place: StateLock(place.folder / "none", 0.0), "{tmp}/none", "create it"),
    "state directory held": (trouble.held_lock, "{tmp}/state", "stop it, or set another `state_dir`"),
    "engine held": (trouble.held_engine, "engine test-", "stop it first"),
    "engine held, as the daemon ends": (trouble.fatal_daemon, "engine x", "stop it first"),
    "ledger without a folder": (
        lambda place: Store(place.folder / "none/l.db", VirtualClock(), NullTelemetry()),
        "{tmp}/none",
        "create it, or set `state_dir`",
    ),
    "ledger cannot be opened": (trouble.unusable_store, "{tmp}/state/ledger.db", "has room"),
    "ledger cannot be begun": (trouble.refilled_store, "{tmp}/state/ledger.db", "has room"),
    "ledger closed": (trouble.closed_store, "{tmp}/state/ledger.db", "nothing more can be written"),
    "ledger cannot be put aside": (trouble.put_aside_onto, "{tmp}/state/ledger.db-wal", "move it away by hand"),
    "ledger of a newer one": (
        lambda place: place.guardian(f"history --state-dir {place.database('n/ledger.db', 99).parent}", 1),
        "{tmp}/n/ledger.db",
        "run the newer guardian again",
    ),
    "ledger broken": (
        lambda place: place.guardian(f"history --state-dir {place.path('b/ledger.db', b'x' * 999).parent}", 1),
        "{tmp}/b/ledger.db",
        "as the user that guardian runs as",
    ),
    "ledger in a file": (
        lambda place: history._from_file(trouble.unseen(place), 1, None, None),
        "/ledger.db",
        "as the user that guardian runs as",
    ),
    # recording and figures
    "recording of a newer one": (
        lambda place: place.guardian(f"why x --state-dir {place.database('n/record.db', 99).parent}", 1),
        "{tmp}/n/record.db",
        "use the guardian that wrote it",
    ),
    "recording broken": (
        lambda place: place.guardian(f"why x --state-dir {place.path('b/record.db', b'x' * 999).parent}", 1),
        "{tmp}/b/record.db",
        "as the user that guardian runs as",
    ),
    "recording not to be seen": (
        lambda place: trouble.opened_record(trouble.unseen(place) / "record.db"),
        "record.db",
        "as the user that guardian runs as",
    ),
    "recording incomplete": (
        lambda place: _known({}, "abc", place.folder / "record.db"),
        "{tmp}/record.db",
        "delete it to begin anew",
    ),
    "recording of another time": (
        lambda place: place.guardian(f"why --at '2020-01-01 10:00' --state-dir {trouble.written(place).parent}", 1),
        "{tmp}/r/record.db",
        "goes back 14 days at most",
    ),
    "recording of nothing": (
        lambda place: place.guardian(f"replay --config {place.settings()} --state-dir {trouble.written(place).parent}", 1),
        "{tmp}/r/record.db",
        "go further back by --since",
    ),
    "figures of a newer one": (
        lambda place: place.guardian(f"report --state-dir {place.database('n/objectives.db', 99).parent}", 1),
        "{tmp}/n/objectives.db",
        "run the newer one again",
    ),
    "figures broken": (
        lambda place: place.guardian(f"report --state-dir {place.path('b/objectives.db', b'x' * 999).parent}", 1),
        "{tmp}/b/objectives.db",
        "as the user that guardian runs as",
    ),
    "figures not to be seen": (
        lambda place: trouble.opened_figures(trouble.unseen(place) / "objectives.db"),
        "objectives.db",
        "as the user that guardian runs as",
    ),
    "figures of nothing": (trouble.no_figures, "{tmp}/f/objectives.db", "ask again in a minute"),
    "baseline there already": (
        lambda place: baseline.save(trouble.a_baseline(place), "x", trouble.REPORT),
        "x: there is a baseline",
        "give another name, or --replace",
    ),
    "baseline not there": (
        lambda place: baseline.load(trouble.a_baseline(place), "y"),
        "y: there is no such baseline",
        "there is: x",
    ),
    "baseline of no name": (lambda place: baseline.load(place.folder, "../x"), "'../x'", "a baseline's name has"),
    "baseline broken": (
        lambda place: baseline.load(place.path("baselines/z.json", "{").parents[1], "z"),
        "{tmp}/baselines/z.json",
        "--replace",
    ),
    "baseline of another one": (
        lambda place: baseline.load(place.path("baselines/z.json", "{}").parents[1], "z"),
        "{tmp}/baselines/z.json",
        "save it anew",
    ),
    "baselines not to be seen": (
        lambda place: baseline.every(trouble.unseen(place)),
        "/baselines",
        "as the user that guardian runs as",
    ),
    "ledger that guardian has open": (trouble.busy_ledger, "{tmp}/state/ledger.db", "without --state-dir"),
    "a defect": (trouble.defect, "unexpected RuntimeError: x (at ", "please report this"),
    "typed in another encoding": (trouble.typed_in_latin_1, "caf?: is not UTF-8", "type it as UTF-8"),
    "no working directory": (trouble.gone_directory, "the working directory is gone", "change to one that is there"),
    "baseline nowhere": (
        lambda place: baseline.save(place.path("file", "x"), "x", trouble.REPORT),
        "{tmp}/file/baselines/x.json",
        "save it as root",
    ),
    # files that are trouble.written
    "picture nowhere": (
        trouble.no_picture,
        "{tmp}/no/x.svg",
        "name another file by --plot",
    ),
    "report nowhere": (
        trouble.no_report,
        "{tmp}/no/x.html",
        "name a file that you may write",
    ),
    "proposal nowhere": (lambda place: init._create(place.folder / "no/x", ""), "{tmp}/no/x", "name another by --output"),
    "limits there already": (
        lambda place: trouble.written_limits(place, "good.yaml"),
        "{tmp}/good.yaml",
        "name another by --write",
    ),
    "limits nowhere": (lambda place: trouble.written_limits(place, "no/x"), "{tmp}/no/x", "name another by --write"),
    "limits that Compose does not take": (trouble.refused_limits, "{tmp}/new.yml", "mend what it says"),
    "limits of what": (
        lambda place: place.guardian(f"limits nope --config {place.settings(engine={'url': place.engine(json=[])})}", 2),
        "no service nope in demo",
        "`guardian limits` shows them all",
    ),
    "no project": (
        lambda place: place.guardian(f"init --running -p x --engine {place.engine(json=[])}", 1),
        "project x",
        "name one that runs by --project",
    ),
    "nothing runs": (
        lambda place: place.guardian(f"init --running --engine {place.engine(json=[])}", 1),
        "the engine has no containers",
        "name a Compose file by --file",
    ),
    # roll-outs
    "roll-out on a trouble.simulated engine": (
        lambda place: Opened(loads(trouble.simulated(place).read_text(), "f"), None, (), {}),
        "engine.url",
        "set another `engine.url`",
    ),
    "roll-out without a project": (
        lambda _: _compose(Config(version=1, phases=(PhaseConfig(phase=1),)), ("x",), {}, ""),
        "--compose",
        "`project`",
    ),
    "roll-out without files": (
        lambda _: _compose(a_config(), ("/nonexistent/x.yml",), {}, ""),
        "/nonexistent/x.yml",
        "name one that is there",
    ),
    "roll-out beside a silent daemon": (trouble.silent_daemon, "{tmp}/state", "start it"),
    "roll-out nowhere": (
        lambda place: ProgressFile(place.path("file", "x") / "y"),
        "{tmp}/file/y",
        "as a user who may write there",
    ),
    "roll-out under way": (trouble.held_rollout, "{tmp}/state", "wait for its end, or end it by Ctrl-C"),
    "roll-out not written": (trouble.unwritable_rollout, "{tmp}/state/rollout.json", "go on by --resume"),
    "roll-out not read": (lambda place: read_progress(place.path("rollout.json", "{")), "{tmp}/rollout.json", "move it away"),
    # drawing
    "top in no time": (trouble.no_interval, "--interval", "expected more than 0 s"),
    "picture without Pillow": (trouble.no_pillow, "x.png", "install it by `pip install"),
    "demo where another is": (trouble.demo_on_a_taken_port, "127.0.0.1:", "name another by --listen"),
    "state directory is a file": (
        lambda place: trouble.daemons(place, state_dir=str(place.path("file", "x"))),
        "{tmp}/file",
        "move it away, or set another `state_dir`",
    ),
    "demo ended": (partial(trouble.broken_demo, ended=True), "the daemon of the demo ended: web.listen: taken", "set another"),
    "demo silent": (partial(trouble.broken_demo, ended=False), "the daemon of the demo", "start it"),
}
"""What is done -> how, and parts of what is said then: where it is, and what to do about it. `{tmp}` is the test's folder."""


def typed(words: str, code: int) -> Provoke:
    def run(place: Place) -> object:
        place.settings()
        return place.guardian(words, code)

    return run


ROWS = {words: (typed(words, code), where, do) for words, (where, do, code) in TYPED.items()} | CALLS


def said_by(provoke: Provoke, place: Place) -> tuple[str, list[Made]]:
    """What a user would read, and what was made of errors meanwhile."""
    with watched() as made:
        try:
            result = provoke(place)
        except GuardianError as error:
            result = error
        except click.ClickException as error:
            result = error.format_message()
    return (result.in_full() if isinstance(result, GuardianError) else str(result)), made


def test_every_error_says_what_where_and_what_to_do(tmp_path: Path) -> None:
    """Every error that the code can make is made here, and says what is wrong, where, and what to do about it."""
    seen: set[Site] = set()
    wrong: list[str] = []
    for number, (name, (provoke, where, do)) in enumerate(ROWS.items()):
        with a_place(tmp_path / str(number)) as place:
            says, made = said_by(provoke, place)
            parts = (where.format(tmp=place.folder), do)
        if "Traceback" in says or not all(part in says for part in parts):
            wrong.append(f"{name}: {says!r} has not all of {parts}")
        shown = [one for one in made if one.says in says]
        found = {site for site in SITES if any(one.at(site) for one in shown)}
        if not found:
            wrong.append(f"{name}: no error was made")
        seen |= found
    assert not wrong, "\n".join(wrong)
    missing = [str(one) for one in SITES if one not in seen and not _is_exempt(one)]
    assert not missing, "\n".join(["errors that no row of this table makes:", *missing])


def _is_exempt(site: Site) -> bool:
    return site.file in INTERNAL or site.words in CARRIED or site.words in UNPROVOKED


def test_what_is_exempt_is_still_there() -> None:
    """No exemption outlives the error that it was made for."""
    assert {one.file for one in SITES} >= INTERNAL.keys()
    assert {one.words for one in SITES} >= CARRIED.keys() | UNPROVOKED.keys()
