"""The daemon's own memory: what is done to it, in a process of its own, as it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guardian import resident

STATUS = """
import gc, re
from guardian import resident

def status(field):
    return int(re.search(rf"{field}:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def run(code: str) -> str:
    """What a fresh process prints that runs `code`."""
    result = subprocess.run([sys.executable, "-c", STATUS + code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_memory_is_locked_or_it_is_said_why_not() -> None:
    """Memory is locked, or it is said why not; either way the process can still take more."""
    locked_kib, why_not = run(
        "why_not = resident.lock()\nmore = bytearray(64 << 20)\nprint(status('VmLck'), why_not, sep='|')"
    ).strip().split("|")  # fmt: skip
    assert bool(int(locked_kib)) == (why_not == "")


def test_locking_takes_no_memory_that_was_not_in_use() -> None:
    """Locking takes no memory that was not in use: what is only reserved stays so."""
    before, after = run(
        "import mmap\nreserved = mmap.mmap(-1, 256 << 20)\nbefore = status('VmRSS')\n"
        "resident.lock()\nprint(before, status('VmRSS'))"
    ).split()  # fmt: skip
    assert int(after) - int(before) < 10 * 1024


def test_a_limit_is_said_with_what_to_set() -> None:
    """A limit on locked memory is said, with what to set, and nothing is locked below it."""
    printed = run(
        "import resource\nresource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))\n"
        "resident._may_lock_all = lambda status: False\nprint(resident.lock())\nprint(status('VmLck'))"
    )  # fmt: skip
    assert "64 KiB; set LimitMEMLOCK=infinity" in printed
    assert printed.endswith("\n0\n")


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [("000001ffffffffff", True), ("0000000000004000", True), ("00000000a80425fb", False), ("0000000000000000", False)],
)
def test_the_capability_to_lock_is_read_from_the_status(capabilities: str, may: bool) -> None:
    """The capability to lock memory is read from the status of the process: root has it, and a container's root has not."""
    assert resident._may_lock_all(f"Name:\tpython\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n") is may


def test_what_has_settled_is_left_out_of_collections_and_cycles_made_later_are_not() -> None:
    """What has settled is left out of garbage collections; cycles made later are still collected."""
    settled, collected = run(
        "import weakref, guardian.model\n"
        "class Node: pass\n"
        "resident.limit_arenas()\nresident.settle()\nsettled = gc.get_freeze_count()\n"
        "node = Node()\nnode.itself = node\nseen = weakref.ref(node)\ndel node\ngc.collect()\n"
        "print(settled, seen() is None)"
    ).split()  # fmt: skip
    assert int(settled) > 1000
    assert collected == "True"
