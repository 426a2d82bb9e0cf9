"""Ending containers by signal: which processes, in which order, and never those of somebody else."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cgroup_trees import CgroupTree
from support.waiting import eventually

from guardian.act_signals import Signaller
from guardian.clock import SystemClock
from guardian.errors import SignalError
from guardian.model import Result

ID, OTHER = "ab" * 32, "cd" * 32
LONG_S = 20.0  # only a test that fails waits so long

CHILD = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"asked"), sys.argv[1] == "polite" and os._exit(7)))
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


class Child:
    """A real process that ends at SIGTERM (`polite`) or only notes it (`deaf`). It is reaped as a shim would do it."""

    def __init__(self, manner: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-ISc", CHILD, manner], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        threading.Thread(target=self.process.wait, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def code(self) -> int:
        return self.process.wait(LONG_S)

    def is_asked(self) -> bool:
        """Whether SIGTERM has come to it, which has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.read() == "asked"


class Host:
    """A tree of cgroups and a /proc in a folder, with real processes in them."""

    def __init__(self, folder: Path, version: int) -> None:
        self.version = version
        self.tree = CgroupTree(folder, version)
        self.children: list[Child] = []
        (self.tree.proc / "self/status").write_text("CapEff:\t000001ffffffffff\n")
        self.signaller = Signaller(SystemClock(), str(self.tree.root), str(self.tree.proc))

    def cgroup(self, path: str) -> Path:
        return (self.tree.root / "memory" if self.version == 1 else self.tree.root) / path

    def make(self, path: str, *pids: int) -> Path:
        """A cgroup, and these processes in it, as cgroup.procs says."""
        self.tree.add(path)
        (self.cgroup(path) / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        return self.cgroup(path)

    def child(self, path: str, manner: str = "polite", parent: int = 1) -> Child:
        """A new process that /proc shows in the cgroup at `path`."""
        child = Child(manner)
        self.children.append(child)
        self.show(child.pid, path, parent)
        return child

    def show(self, pid: int, path: str, parent: int = 1) -> None:
        folder = self.tree.proc / str(pid)
        folder.mkdir(exist_ok=True)
        line = f"9:cpuset:/\n4:memory:/{path}\n0::/\n" if self.version == 1 else f"0::/{path}\n"
        (folder / "cgroup").write_text(line)
        (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, request.param)
    yield host
    for child in host.children:
        child.process.kill()
        child.process.wait(LONG_S)
        assert child.process.stdout is not None
        child.process.stdout.close()


def test_processes_that_obey_end_within_their_grace(host: Host) -> None:
    """Processes that obey SIGTERM end within their grace, and then the container has ended."""
    child = host.child(f"docker/{ID}")
    host.make(f"docker/{ID}", child.pid)
    assert host.signaller.stop(ID, LONG_S, 2 * LONG_S) is Result.DONE
    assert child.code() == 7


def test_processes_that_do_not_obey_are_killed_after_their_grace(host: Host) -> None:
    """Processes that do not obey are killed once their grace is over."""
    child = host.child(f"docker/{ID}", "deaf")
    host.make(f"docker/{ID}", child.pid)
    assert host.signaller.stop(ID, 0.2, LONG_S) is Result.DONE
    assert child.code() == -signal.SIGKILL
    assert child.is_asked()


def test_without_grace_all_processes_are_killed_also_those_of_cgroups_below(host: Host) -> None:
    """Without a grace all processes are killed at once, also those in cgroups below the container's."""
    one, other = host.child(f"docker/{ID}"), host.child(f"docker/{ID}/init.scope")
    host.make(f"docker/{ID}", one.pid)
    host.make(f"docker/{ID}/init.scope", other.pid)
    assert host.signaller.stop(ID, 0.0, LONG_S) is Result.DONE
    assert (one.code(), other.code()) == (-signal.SIGKILL, -signal.SIGKILL)


def test_sigterm_goes_to_what_the_engine_started_and_not_to_its_children(host: Host) -> None:
    """SIGTERM goes to what the engine started: a database's own workers are for the database to end. SIGKILL goes to all."""
    init = host.child(f"docker/{ID}", "deaf")
    worker = host.child(f"docker/{ID}", "polite", parent=init.pid)
    host.make(f"docker/{ID}", init.pid, worker.pid)
    assert host.signaller.stop(ID, 0.3, LONG_S) is Result.DONE
    assert (init.code(), worker.code()) == (-signal.SIGKILL, -signal.SIGKILL)
    assert (init.is_asked(), worker.is_asked()) == (True, False)


def test_what_must_not_be_killed_is_only_asked(host: Host) -> None:
    """Without leave to kill, processes that do not obey live on, and the container counts as not stopped."""
    child = host.child(f"docker/{ID}", "deaf")
    host.make(f"docker/{ID}", child.pid)
    assert host.signaller.stop(ID, 0.1, 0.3, kill=False) is Result.TIMED_OUT
    assert child.alive


def test_a_process_that_is_not_of_the_container_is_never_signalled(host: Host) -> None:
    """A process whose own cgroup does not name the container is never signalled, whatever cgroup.procs said before."""
    elsewhere = host.child(f"docker/{OTHER}")
    host.make(f"docker/{ID}", elsewhere.pid)
    assert host.signaller.stop(ID, 0.0, 0.3) is Result.TIMED_OUT
    assert elsewhere.alive


def test_a_process_that_nothing_is_known_of_is_never_signalled(host: Host) -> None:
    """A process whose cgroup cannot be read is never signalled, and never taken for ended."""
    child = host.child(f"docker/{ID}")
    host.make(f"docker/{ID}", child.pid)
    (host.tree.proc / str(child.pid) / "cgroup").unlink()
    assert host.signaller.stop(ID, 0.0, 0.3) is Result.TIMED_OUT
    assert child.alive


def test_a_container_without_processes_is_gone(host: Host) -> None:
    """A container whose processes have all ended is gone: nothing was stopped."""
    child = host.child(f"docker/{ID}")
    host.make(f"docker/{ID}", child.pid)
    child.process.kill()
    child.process.wait(LONG_S)
    assert host.signaller.stop(ID, 0.0, LONG_S) is Result.GONE


def test_one_whose_cgroup_vanishes_has_ended(host: Host) -> None:
    """A container whose cgroup is removed while it ends has ended: systemd removes a scope with its last process."""
    child = host.child(f"docker/{ID}")
    host.make(f"docker/{ID}", child.pid)

    def remove() -> None:
        child.process.wait(LONG_S)
        host.tree.remove(f"docker/{ID}")

    threading.Thread(target=remove).start()
    assert host.signaller.stop(ID, LONG_S, LONG_S) is Result.DONE


def test_one_whose_cgroup_is_not_found_is_not_said_to_have_ended(host: Host) -> None:
    """A container whose cgroup is not found is a failure in words, not one that has ended."""
    host.make(f"docker/{OTHER}")
    with pytest.raises(SignalError, match="no cgroup of container abababababab is found"):
        host.signaller.stop(ID, 0.0, LONG_S)


def test_processes_of_another_pid_namespace_are_not_guessed_at(host: Host) -> None:
    """Processes that the kernel does not let guardian see (pid 0) are a failure in words."""
    host.make(f"docker/{ID}", 0)
    with pytest.raises(SignalError, match="pid namespace"):
        host.signaller.stop(ID, 0.0, LONG_S)


def test_a_signal_that_is_not_permitted_is_said_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that the kernel does not permit is a failure that says what guardian needs."""

    def forbidden(*_: object) -> None:
        raise PermissionError

    child = host.child(f"docker/{ID}")
    host.make(f"docker/{ID}", child.pid)
    monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
    with pytest.raises(SignalError, match="CAP_KILL"):
        host.signaller.stop(ID, 0.0, LONG_S)
    assert child.alive


def test_the_kernel_kills_a_whole_cgroup_where_it_can(tmp_path: Path) -> None:
    """On cgroup v2 with cgroup.kill the whole cgroup is killed by one write, and processes are left to the kernel."""
    host = Host(tmp_path, 2)
    child = host.child(f"docker/{ID}", "deaf")
    folder = host.make(f"docker/{ID}", child.pid)
    kill = folder / "cgroup.kill"
    kill.write_text("")

    def kernel() -> None:
        eventually(lambda: kill.read_text() == "1", "cgroup.kill is written")
        child.process.kill()

    thread = threading.Thread(target=kernel)
    thread.start()
    (host.tree.proc / str(child.pid) / "cgroup").unlink()  # so that no signal of guardian's own could have done it
    assert host.signaller.stop(ID, 0.0, LONG_S) is Result.DONE
    thread.join()
    assert child.code() == -signal.SIGKILL
    assert child.process.stdout is not None
    child.process.stdout.close()


@pytest.mark.parametrize(
    ("status", "words"), [("CapEff:\t000001ffffffffff\n", ""), ("CapEff:\t0000000000000000\n", "CAP_KILL"), ("", "CAP_KILL")]
)
def test_what_is_missing_is_said_beforehand(host: Host, status: str, words: str) -> None:
    """What is missing to end containers by signal is said beforehand."""
    (host.tree.proc / "self/status").write_text(status)
    problem = host.signaller.problem()
    assert words in problem
    assert bool(words) == bool(problem)


def test_without_cgroups_nothing_can_be_ended(tmp_path: Path) -> None:
    """Where no cgroups are seen, that is said beforehand, and a stop fails in words."""
    signaller = Signaller(SystemClock(), str(tmp_path), str(tmp_path))
    assert "no cgroups" in signaller.problem()
    with pytest.raises(SignalError, match="no cgroup"):
        signaller.stop(ID, 0.0, LONG_S)
