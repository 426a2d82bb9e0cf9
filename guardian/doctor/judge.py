"""From facts to diagnoses: what is well, what is not, and what to do about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from guardian.config.compare import FindingKind
from guardian.doctor.facts import Diagnosis, Facts, Process, Room, Verdict
from guardian.engine.endpoints import version_numbers
from guardian.model import Signal
from guardian.units import format_bytes, format_ratio

OLDEST_API = (1, 41)  # Engine 20.10
FAST_STATS_API = (1, 42)
LEAST_STATE_BYTES = 300 * 1024 * 1024  # the recording alone may take 200 MB
SAFE_OOM_SCORE = -500
EARLYOOM_PERCENT = 10.0  # its default for -m (earlyoom(1))

OK, WARN, FAIL, SKIP = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIP


def judge(facts: Facts) -> tuple[Diagnosis, ...]:
    """Every diagnosis, in the order in which one would mend them."""
    return tuple(
        diagnosis
        for look in (_file, _engine, _cgroups, _pressure, _permissions, _disk, _clock, _unit, _daemon, _platform, _peers)
        for diagnosis in look(facts)
    )


# --- the file and the engine ----------------------------------------------------------------------------------------


def _file(facts: Facts) -> Iterator[Diagnosis]:
    if facts.config is None:
        count = len(facts.mistakes)
        first = facts.mistakes[0] if facts.mistakes else facts.config_path
        more = "" if count < 2 else f" (and {count - 1} more)"
        mend = f"mend it: `guardian check {facts.config_path}` lists every mistake"
        write = f"have one proposed: `guardian init -o {facts.config_path}`; or name yours by --config"
        yield Diagnosis("configuration", FAIL, f"{first}{more}", write if facts.missing else mend)
        return
    yield Diagnosis("configuration", OK, f"{facts.config_path}: no mistakes, {facts.config.mode} mode")
    for doubt in facts.doubts:
        yield Diagnosis("configuration", WARN, doubt, "change it, unless it is meant so")


def _engine(facts: Facts) -> Iterator[Diagnosis]:
    if not facts.engine_url:
        return
    if facts.engine is None:
        do = "start Docker (`systemctl start docker`), mend `engine.url`, or join the group that owns the socket"
        yield Diagnosis("engine", FAIL, facts.engine_problem, do)
        return
    engine = facts.engine
    yield Diagnosis("engine", OK, f"{engine.name}, version {engine.version}, at {facts.engine_url}")
    version = version_numbers(engine.api_version)
    if version < OLDEST_API:
        yield Diagnosis(
            "api", FAIL, f"it speaks API {engine.api_version}, and 1.41 is needed", "update to Docker 20.10 or newer"
        )
    elif version < FAST_STATS_API and facts.cgroup_version is None:
        says = f"API {engine.api_version} takes a second for each reading of use, and cgroup files cannot be read"
        yield Diagnosis("api", WARN, says, "update to Docker 23 or newer, or let guardian read /sys/fs/cgroup")
    else:
        yield Diagnosis("api", OK, f"it speaks API {engine.api_version}")


# --- the kernel -----------------------------------------------------------------------------------------------------


def _cgroups(facts: Facts) -> Iterator[Diagnosis]:
    if not facts.local:
        yield Diagnosis("cgroups", SKIP, "the engine is on another host: use is asked of it")
    elif facts.cgroup_version is None:
        do = "mount cgroups at /sys/fs/cgroup; where the kernel has the memory controller off, boot with cgroup_enable=memory"
        yield Diagnosis("cgroups", WARN, "memory and CPU time of cgroups cannot be read: use is asked of the engine", do)
    elif facts.engine is not None and facts.engine.cgroup_version != facts.cgroup_version:
        says = f"the engine says cgroup v{facts.engine.cgroup_version}, and this host has v{facts.cgroup_version}"
        yield Diagnosis("cgroups", WARN, says, "run guardian on the engine's own host, not in a container without its cgroups")
    else:
        yield Diagnosis("cgroups", OK, f"v{facts.cgroup_version}, with memory and CPU time")


def _pressure(facts: Facts) -> Iterator[Diagnosis]:
    if facts.pressure_problem:
        do = (
            "boot with psi=1 (the kernel needs CONFIG_PSI); without it memory pressure is no signal, and CPU sheds on use alone"
        )
        yield Diagnosis("psi", WARN, facts.pressure_problem, do)
    elif facts.trigger_problem:
        says = f"pressure is read, and cannot wake guardian within half a second: {facts.trigger_problem}"
        do = "give it CAP_SYS_RESOURCE, as the unit does; without, it is woken within two seconds, or reads the host at its own pace"
        yield Diagnosis("psi", WARN, says, do)
    else:
        yield Diagnosis("psi", OK, "pressure is read, and wakes guardian")


# --- what it may do -------------------------------------------------------------------------------------------------


def _permissions(facts: Facts) -> Iterator[Diagnosis]:
    room = facts.state_dir
    if room is not None and not room.exists:
        do = f"create it: `install -d -m 0750 -o guardian -g guardian {room.path}`; the unit does it by StateDirectory"
        yield Diagnosis("permissions", WARN, f"state_dir {room.path} is not there yet, or may not be looked into", do)
    elif room is not None and not room.writable:
        do = "run this with what the unit gives guardian (`guardian doctor --help` has the command), or change its owner"
        yield Diagnosis("permissions", WARN, f"{facts.user} may not write state_dir {room.path}", do)
    elif room is not None:
        yield Diagnosis("permissions", OK, f"{facts.user} may write state_dir {room.path}")
    if not facts.local:
        return
    if facts.signal_problem:
        says = f"should the engine hang, nothing could be ended by signal: {facts.signal_problem}"
        yield Diagnosis(
            "permissions", WARN, says, "run it as root or with CAP_KILL, as the unit does, on the engine's own host"
        )
    else:
        yield Diagnosis("permissions", OK, f"{facts.user} may end containers by signal, should the engine hang")


def _disk(facts: Facts) -> Iterator[Diagnosis]:
    room = facts.engine_root
    marks = None if facts.config is None else facts.config.thresholds.of(Signal.DISK)
    used = None if room is None else _used_ratio(room)
    if room is not None and used is not None:
        says = f"the engine's file system ({room.path}): {format_ratio(used)} in use, {format_bytes(room.free_bytes)} free"
        do = "`guardian storage` shows who fills it, and what would free how much"
        hard = getattr(marks, "hard", None)
        if hard is not None and used >= hard:
            yield Diagnosis("disk", FAIL, f"{says}: nothing is started", do)
        elif marks is not None and used >= marks.soft:
            yield Diagnosis("disk", WARN, says, do)
        else:
            yield Diagnosis("disk", OK, says)
    elif facts.engine is not None:
        yield Diagnosis("disk", SKIP, f"the engine's file system ({facts.engine.root_dir}) is not seen from here")
    state = facts.state_dir
    if state is not None and state.free_bytes is not None and state.free_bytes < LEAST_STATE_BYTES:
        says = f"state_dir {state.path} has {format_bytes(state.free_bytes)} left; ledger and recording need some 300 MiB"
        yield Diagnosis("disk", WARN, says, "make room, or set another state_dir")


def _used_ratio(room: Room) -> float | None:
    if not room.size_bytes or room.free_bytes is None:
        return None
    return 1.0 - room.free_bytes / room.size_bytes


def _clock(facts: Facts) -> Iterator[Diagnosis]:
    if facts.clock_synchronised is None:
        yield Diagnosis("clock", SKIP, "whether the clock is synchronised cannot be told from here")
    elif facts.clock_synchronised:
        yield Diagnosis("clock", OK, "synchronised")
    else:
        says = "not synchronised: times in history and alerts may be wrong, and a jump may mix up who started what"
        yield Diagnosis("clock", WARN, says, "start a time service: `systemctl enable --now systemd-timesyncd`, or chrony")


# --- guardian itself ------------------------------------------------------------------------------------------------


def _unit(facts: Facts) -> Iterator[Diagnosis]:
    if not facts.systemd:
        yield Diagnosis(
            "unit", SKIP, "there is no systemd here: see that something starts guardian again, after a crash and at boot"
        )
    elif facts.unit is None or facts.unit.load != "loaded":
        do = "install systemd/guardian.service and guardian.slice (docs/operations.md)"
        yield Diagnosis("unit", WARN, "systemd does not know guardian.service: nothing starts it at boot", do)
    elif facts.unit.enabled not in ("enabled", "enabled-runtime", "static", "generated", "alias"):
        yield Diagnosis(
            "unit", WARN, f"guardian.service is {facts.unit.enabled}: it is not started at boot", "`systemctl enable guardian`"
        )
    elif facts.unit.active != "active":
        yield Diagnosis(
            "unit",
            FAIL,
            f"guardian.service is {facts.unit.active}",
            "`systemctl start guardian`; `journalctl -u guardian` says why not",
        )
    else:
        yield Diagnosis("unit", OK, "guardian.service is enabled and active")


def _daemon(facts: Facts) -> Iterator[Diagnosis]:
    status = facts.status
    if status is None:
        do = "start it; or join the group that owns its control socket; or name the socket by --control"
        yield Diagnosis("daemon", WARN, facts.daemon_problem or "it does not answer", do)
        return
    yield Diagnosis("daemon", OK, f"version {status.get('version')}, {status.get('mode')} mode, level {status.get('level')}")
    pending = status.get("config_pending")
    if isinstance(pending, list) and pending:
        says = f"{len(pending)} change{'' if len(pending) == 1 else 's'} of the file wait"
        yield Diagnosis("daemon", WARN, says, "`guardian status` shows them, `guardian reload` applies them")
    if status.get("mode") == "observe" and status.get("shed"):
        says = "it is in observe mode while services are shed: nothing restores them"
        yield Diagnosis("daemon", WARN, says, "`guardian restore --all`, or `guardian forget SERVICE`")
    if facts.oom_score_adj is not None and facts.oom_score_adj > SAFE_OOM_SCORE:
        says = f"its OOM score adjustment is {facts.oom_score_adj}: the kernel may end it when memory runs out"
        yield Diagnosis("daemon", WARN, says, "set OOMScoreAdjust=-900, as the unit does (a container: --oom-score-adj -900)")


def _platform(facts: Facts) -> Iterator[Diagnosis]:
    """The file against what runs."""
    if facts.config is None or facts.engine is None:
        return
    counts = Counter(finding.kind for finding in facts.compared)
    words = {
        FindingKind.MISSING: ("in the file without a container", "correct the names in the file, or start them"),
        FindingKind.UNMANAGED: ("running in no phase: never stopped", "put them into a phase"),
        FindingKind.UNSHEDDABLE: ("not to be shed, because a protected one requires them", "change `requires`, or leave it so"),
        FindingKind.NO_MEMORY_LIMIT: ("without a memory limit: each alone can fill the host", "give them limits"),
        FindingKind.NO_HEALTH_CHECK: ("without a health check", "give them one, or `health` in the file"),
    }
    if not counts:
        yield Diagnosis("platform", OK, "what runs is what the file says")
    for kind, (what, do) in words.items():
        if counts[kind]:
            names = [finding.subject for finding in facts.compared if finding.kind is kind]
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield Diagnosis("platform", WARN, f"{counts[kind]} {what}: {shown}", f"{do}; `guardian check --engine` lists all")
    for finding in facts.compared:
        if finding.kind is FindingKind.PROBLEM:
            yield Diagnosis("platform", WARN, finding.message, "mend what it names")


# --- who would fight it ---------------------------------------------------------------------------------------------


def _peers(facts: Facts) -> Iterator[Diagnosis]:
    found = [*_programs(facts), *_containers(facts)]
    if found:
        yield from found
    elif facts.in_container:
        yield Diagnosis("peers", SKIP, "from within a container the host's programs are not seen: run it on the host, too")
    else:
        yield Diagnosis("peers", OK, "nobody else here stops or restarts containers")


def _programs(facts: Facts) -> Iterator[Diagnosis]:
    for process in facts.processes:
        if process.name == "earlyoom":
            yield _earlyoom(process, facts)
        elif process.name == "systemd-oomd":
            says = "systemd-oomd runs: under pressure it kills whole cgroups, and a container is one"
            do = (
                "`oomctl` shows what it watches; leave ManagedOOMSwap= and ManagedOOMMemoryPressure= at auto for -.slice, system.slice and "
                "docker.service, or `systemctl disable --now systemd-oomd`"
            )
            yield Diagnosis("peers", WARN, says, do)
        elif process.name in ("oomd", "nohang"):
            says = f"{process.name} runs: it kills what is largest or waits most, whatever its phase"
            yield Diagnosis(
                "peers",
                WARN,
                says,
                f"stop it, or have it act later than guardian's hard mark and spare containers ({process.name}'s configuration)",
            )
        elif process.name == "kubelet":
            says = "a kubelet runs: it evicts by its own rules"
            yield Diagnosis("peers", WARN, says, "guard only containers that are not its own, or leave this host to it")


def _earlyoom(process: Process, facts: Facts) -> Diagnosis:
    """Whether it would act before guardian's hard mark, by its `-m`."""
    percent = _earlyoom_percent(process.arguments)
    marks = None if facts.config is None else facts.config.thresholds.of(Signal.MEMORY)
    hard = getattr(marks, "hard", None)
    says = f"earlyoom runs, and ends the largest process when {percent:g}% of memory is left"
    if hard is not None and percent < 100.0 * (1.0 - hard) - 1e-9:
        return Diagnosis("peers", OK, f"{says}: after guardian's hard mark ({format_ratio(hard)} in use)")
    do = "have it act later, `-m 3` say, so that it is the last resort; or `systemctl disable --now earlyoom`"
    return Diagnosis(
        "peers", WARN, f"{says}: on a Docker host that is often the database, and before or while guardian sheds", do
    )


def _earlyoom_percent(arguments: tuple[str, ...]) -> float:
    """Of `-m PERCENT[,KILL_PERCENT]`, or `-mPERCENT`; its default where there is none that can be understood."""
    for index, argument in enumerate(arguments):
        value = argument[2:] or "".join(arguments[index + 1 : index + 2]) if argument.startswith("-m") else ""
        try:
            return float(value.partition(",")[0])
        except ValueError:
            continue
    return EARLYOOM_PERCENT


def _containers(facts: Facts) -> Iterator[Diagnosis]:
    for name, image in facts.images:
        program = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
        if "autoheal" in program:
            says = f"{name} ({image}) restarts what is unhealthy: also what guardian has just started, or does not restart on purpose"
            do = "take its label (autoheal=true) off guarded services, or stop it; guardian's own `health.restart` knows phases and pressure"
            yield Diagnosis("peers", WARN, says, do)
        elif "watchtower" in program:
            says = f"{name} ({image}) stops, removes and creates containers anew when their images change"
            do = (
                "label guarded services com.centurylinklabs.watchtower.enable=false, or update in a window: `guardian standby --for 30m`; "
                "never with --include-stopped --revive-stopped, which starts what is shed"
            )
            yield Diagnosis("peers", WARN, says, do)
