"""The host sensor against recorded `/proc` files."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from guardian.clock import VirtualClock
from guardian.sense.host import CpuWindow, DiskReader, HostSensor, read_pressure
from guardian.sense.proc import CpuTicks, ProcFile

MEMINFO = """\
MemTotal:        4028412 kB
MemFree:          182340 kB
MemAvailable:    1034240 kB
Buffers:           41232 kB
Cached:           912344 kB
SwapCached:            0 kB
Active:          1200000 kB
Inactive:         800000 kB
SReclaimable:     120000 kB
Shmem:             20000 kB
Slab:             180000 kB
SwapTotal:       1048576 kB
SwapFree:         786432 kB
"""
VMSTAT = "pswpin 12\npswpout 34\n"
CPU_PRESSURE = "some avg10=23.45 avg60=10.00 avg300=3.21 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
MEMORY_PRESSURE = "some avg10=8.00 avg60=1.00 avg300=0.50 total=99\nfull avg10=6.50 avg60=0.80 avg300=0.40 total=88\n"
IO_PRESSURE = "some avg10=1.00 avg60=1.00 avg300=0.50 total=99\nfull avg10=0.50 avg60=0.80 avg300=0.40 total=88\n"


def stat(user: int = 0, system: int = 0, idle: int = 0, iowait: int = 0, irq: int = 0, softirq: int = 0, steal: int = 0) -> str:
    """A `/proc/stat` with these ticks of 10 ms."""
    return f"cpu  {user} 0 {system} {idle} {iowait} {irq} {softirq} {steal} {user} 0\ncpu0 1 0 1 1 1 1 1 1 0 0\n"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded `/proc`; psutil's own root is put back afterwards."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/proc")
    root = tmp_path / "proc"
    (root / "pressure").mkdir(parents=True)
    for name, text in {
        "meminfo": MEMINFO,
        "vmstat": VMSTAT,
        "stat": stat(user=100, idle=900),
        "pressure/cpu": CPU_PRESSURE,
        "pressure/memory": MEMORY_PRESSURE,
        "pressure/io": IO_PRESSURE,
    }.items():
        (root / name).write_text(text)
    return root


def sensor(proc: Path, clock: VirtualClock | None = None) -> HostSensor:
    return HostSensor(clock or VirtualClock(), None, str(proc))


def test_reads_memory_swap_and_pressure(proc: Path) -> None:
    """Reads memory, swap and pressure."""
    reading = sensor(proc).read()
    assert reading.memory_total_bytes == 4028412 * 1024
    assert reading.memory_available_bytes == 1034240 * 1024
    assert (reading.swap_total_bytes, reading.swap_used_bytes) == (1048576 * 1024, 262144 * 1024)
    assert reading.psi_present
    assert reading.cpu_some_avg10_ratio == pytest.approx(0.2345)
    assert reading.memory_some_avg10_ratio == pytest.approx(0.08)
    assert reading.memory_full_avg10_ratio == pytest.approx(0.065)
    assert (reading.io_some_avg10_ratio, reading.io_full_avg10_ratio) == pytest.approx((0.01, 0.005))


def test_a_reading_carries_the_clock_and_the_cores(proc: Path) -> None:
    """A reading carries the clock's time and the number of cores."""
    reading = sensor(proc, VirtualClock(monotonic_s=77.0)).read()
    assert reading.at_s == 77.0
    assert reading.cores >= 1


def test_swap_is_unknown_on_a_host_without_swap(proc: Path) -> None:
    """Swap is unknown on a host without swap."""
    text = MEMINFO.replace("SwapTotal:       1048576", "SwapTotal:             0").replace("786432", "0")
    (proc / "meminfo").write_text(text)
    reading = sensor(proc).read()
    assert (reading.swap_total_bytes, reading.swap_used_bytes) == (0, None)


@pytest.mark.parametrize("content", [None, "", "garbage\n", "MemTotal: many kB\n"])
def test_unreadable_memory_is_unknown_and_the_rest_is_read(proc: Path, content: str | None) -> None:
    """Memory that cannot be read is unknown, and the rest is read all the same."""
    if content is None:
        (proc / "meminfo").unlink()
    else:
        (proc / "meminfo").write_text(content)
    reading = sensor(proc).read()
    assert (reading.memory_total_bytes, reading.memory_available_bytes, reading.swap_total_bytes) == (None, None, None)
    assert reading.cpu_some_avg10_ratio == pytest.approx(0.2345)


@pytest.mark.parametrize(
    ("line", "available_kib"),
    [("", 1094684), ("MemAvailable: 0 kB\n", 1094684), ("MemAvailable: 9999999 kB\n", 182340)],
    ids=["a kernel without it", "zero", "more than there is"],
)
def test_available_memory_that_is_not_to_be_believed_is_estimated(proc: Path, line: str, available_kib: int) -> None:
    """Where MemAvailable is missing, zero or above the total, available memory is what psutil makes of the rest."""
    (proc / "meminfo").write_text(MEMINFO.replace("MemAvailable:    1034240 kB\n", line))
    assert sensor(proc).read().memory_available_bytes == available_kib * 1024


def test_each_reading_shows_the_files_as_they_are_then_without_opening_them_again(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading shows the files as they are by then, and opens none of them again."""
    host = sensor(proc)
    host.read()
    (proc / "meminfo").write_text(MEMINFO.replace("1034240", "1000000"))
    (proc / "pressure" / "memory").write_text(MEMORY_PRESSURE.replace("6.50", "7.50"))
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *arguments: opened.append(arguments))
    reading = host.read()
    assert reading.memory_available_bytes == 1000000 * 1024
    assert reading.memory_full_avg10_ratio == pytest.approx(0.075)
    assert opened == []


def test_a_file_that_can_no_longer_be_read_is_opened_anew(tmp_path: Path) -> None:
    """A file whose descriptor has gone bad, as one of a file system that was mounted anew, is opened anew."""
    path = tmp_path / "meminfo"
    path.write_text("before")
    file = ProcFile(str(path))
    assert file.read() == b"before"
    with open(os.devnull, "wb") as unreadable:
        os.dup2(unreadable.fileno(), file._descriptor or -1)
    path.unlink()
    path.write_text("after")
    assert file.read() == b"after"
    file.close()


def test_a_file_that_is_away_is_unknown_until_it_is_back(proc: Path, tmp_path: Path) -> None:
    """A file that is not there is unknown, and is read again once it is back."""
    (proc / "stat").rename(tmp_path / "away")
    clock = VirtualClock()
    host = sensor(proc, clock)
    assert host.read().cpu_ratio is None
    (tmp_path / "away").rename(proc / "stat")
    host.read()
    clock.advance(10)
    (proc / "stat").write_text(stat(user=600, idle=1400))
    assert host.read().cpu_ratio == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu  1 2 3\n", "cpu  1 2 3 four\n", "cpu  1 2 3 4 5 6 7", "intr 1 2 3 4 5\n"])
def test_cpu_counters_that_are_not_understood_are_unknown(proc: Path, text: str) -> None:
    """CPU counters that are not understood are unknown, and the rest is read."""
    clock = VirtualClock()
    host = sensor(proc, clock)
    host.read()
    (proc / "stat").write_text(text)
    clock.advance(10)
    reading = host.read()
    assert reading.cpu_ratio is None
    assert reading.memory_total_bytes == 4028412 * 1024


def test_an_empty_proc_gives_a_reading_without_figures(proc: Path, tmp_path: Path) -> None:
    """An empty /proc gives a reading without figures, and no error."""
    empty = tmp_path / "empty"
    empty.mkdir()
    reading = sensor(empty).read()
    assert reading.memory_total_bytes is None
    assert reading.cpu_ratio is None
    assert not reading.psi_present
    assert reading.memory_full_avg10_ratio is None


@pytest.mark.parametrize(
    "text", ["", "\n", "some\n", "some avg10=\n", "some avg10=lots avg60=0\n", "some avg10=nan\n", "some avg10=-1\n", "some avg10=101\n"]
)  # fmt: skip
def test_garbage_in_a_pressure_file_is_unknown(tmp_path: Path, text: str) -> None:
    """Garbage in a pressure file is unknown, though PSI is there."""
    (tmp_path / "cpu").write_text(text)
    pressure = read_pressure(ProcFile(str(tmp_path / "cpu")))
    assert pressure.present
    assert (pressure.some, pressure.full) == (None, None)


def test_a_pressure_file_of_an_older_kernel_has_no_full_line_for_cpu(tmp_path: Path) -> None:
    """A pressure file without a `full` line leaves only that unknown."""
    (tmp_path / "cpu").write_text(CPU_PRESSURE.splitlines()[0])
    pressure = read_pressure(ProcFile(str(tmp_path / "cpu")))
    assert (pressure.some, pressure.full) == (pytest.approx(0.2345), None)


@pytest.mark.parametrize(
    ("code", "present"), [(errno.ENOENT, False), (errno.EOPNOTSUPP, False), (errno.EACCES, True), (errno.EIO, True)]
)
def test_a_kernel_that_refuses_psi_counts_as_without(monkeypatch: pytest.MonkeyPatch, code: int, present: bool) -> None:
    """A kernel that was booted without PSI counts as without; a file that guardian may not read does not."""

    def refuse(*_: object) -> int:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "open", refuse)
    pressure = read_pressure(ProcFile("/proc/pressure/cpu"))
    assert (pressure.present, pressure.some) == (present, None)


# --- CPU ------------------------------------------------------------------------------------------------------------


def feed(window: CpuWindow, readings: list[tuple[float, float, float]]) -> list[float | None]:
    """Readings are (at, busy, total)."""
    return [window.add(at, CpuTicks(busy, total)) for at, busy, total in readings]


def test_cpu_is_unknown_until_ten_seconds_are_known() -> None:
    """CPU use is unknown until the history reaches back 10 s."""
    values = feed(CpuWindow(), [(float(second), second * 1.0, second * 2.0) for second in range(12)])
    assert values[:10] == [None] * 10
    assert values[10:] == [0.5, 0.5]


def test_cpu_is_the_mean_of_the_last_ten_seconds() -> None:
    """CPU use is the mean of the last 10 s, and forgets what was before."""
    busy = [0.0]
    for second in range(1, 31):
        busy.append(busy[-1] + (2.0 if second <= 10 else 0.0))
    values = feed(CpuWindow(), [(float(second), busy[second], second * 2.0) for second in range(31)])
    assert values[10] == 1.0
    assert values[15] == 0.5
    assert values[20] == 0.0


def test_jitter_of_the_ticks_does_not_make_cpu_unknown() -> None:
    """Ticks that come a little early or late do not make CPU use unknown."""
    times = [second + (0.2 if second % 2 else -0.2) for second in range(1, 40)]
    values = feed(CpuWindow(), [(at, at * 0.5, at * 2.0) for at in times])
    known = [value for value in values if value is not None]
    assert len(known) >= 29
    assert known == pytest.approx([0.25] * len(known))


def test_after_a_late_tick_the_window_is_the_shortest_there_is() -> None:
    """After a late tick the window is the shortest of at least 10 s."""
    window = CpuWindow()
    feed(window, [(0.0, 0.0, 0.0), (1.0, 0.0, 2.0)])
    assert window.add(41.0, CpuTicks(40.0, 82.0)) == 0.5
    assert window.add(51.0, CpuTicks(40.0, 102.0)) == 0.0


def test_quick_ticks_do_not_shorten_the_window() -> None:
    """Many quick ticks do not shorten the window."""
    window = CpuWindow()
    values = feed(window, [(tick / 10, 0.0 if tick < 95 else (tick - 95) / 5, tick / 5) for tick in range(101)])
    assert values[-1] == pytest.approx(0.05, abs=0.01)


def test_counters_that_go_back_start_the_history_anew() -> None:
    """Counters that go back start the history anew."""
    window = CpuWindow()
    feed(window, [(float(second), second * 1.0, second * 2.0) for second in range(12)])
    values = feed(window, [(12.0 + second, second * 0.5, second * 2.0) for second in range(11)])
    assert values[:10] == [None] * 10
    assert values[10] == 0.25


def test_a_missing_cpu_reading_is_unknown_and_keeps_the_history() -> None:
    """A missing CPU reading is unknown, and the history goes on."""
    window = CpuWindow()
    feed(window, [(float(second), second * 1.0, second * 2.0) for second in range(11)])
    assert window.add(11.0, None) is None
    assert window.add(12.0, CpuTicks(12.0, 24.0)) == 0.5


def test_cpu_counters_that_stand_still_are_unknown() -> None:
    """CPU counters that stand still give no ratio."""
    assert feed(CpuWindow(), [(0.0, 1.0, 2.0), (10.0, 1.0, 2.0)]) == [None, None]


@pytest.mark.parametrize(
    ("after", "ratio"),
    [
        (stat(user=100 + 400, idle=900 + 1600), 0.20),
        (stat(user=100, system=300, irq=50, softirq=50, idle=900 + 1600), 0.20),
        (stat(user=100, iowait=1000, idle=900 + 1000), 0.0),
        (stat(user=100 + 400, steal=1600, idle=900), 0.20),
    ],
    ids=["user, guest within", "system and interrupts", "waiting for disks is idle", "stolen time is capacity, not use"],
)
def test_cpu_counts_work_alone(proc: Path, after: str, ratio: float) -> None:
    """CPU use counts work, and neither iowait nor steal."""
    clock = VirtualClock()
    host = sensor(proc, clock)
    assert host.read().cpu_ratio is None
    (proc / "stat").write_text(after)
    clock.advance(10)
    assert host.read().cpu_ratio == pytest.approx(ratio)


# --- disk -----------------------------------------------------------------------------------------------------------


def usage(used: int, free: int) -> SimpleNamespace:
    return SimpleNamespace(total=used + free + 50, used=used, free=free, percent=0.0)


def settled(reader: DiskReader) -> DiskReader:
    """Wait until the reading under way, if any, has ended."""
    if reader._thread:
        reader._thread.join(5)
        assert not reader._thread.is_alive()
    return reader


def test_the_disk_is_what_df_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's total leaves out what is reserved for root, as df does."""
    monkeypatch.setattr(psutil, "disk_usage", lambda path: {"/data": usage(60, 40)}[path])
    reader = DiskReader(VirtualClock(), lambda: "/data")
    reader.newest()
    reading = settled(reader).newest()
    assert reading is not None
    assert (reading.total_bytes, reading.available_bytes) == (100, 40)


def test_the_disk_is_read_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is read every 10 s, however often the host is."""
    calls = []
    monkeypatch.setattr(psutil, "disk_usage", lambda path: calls.append(path) or usage(60, 40))
    clock = VirtualClock()
    reader = DiskReader(clock, "/data")
    for _ in range(21):
        reader.newest()
        settled(reader)
        clock.advance(1)
    assert len(calls) == 3


def test_a_disk_that_hangs_holds_up_no_reading_and_grows_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs holds up no reading; the last figures serve for 60 s and are unknown then."""
    clock = VirtualClock()
    reader = DiskReader(clock, "/data")
    monkeypatch.setattr(psutil, "disk_usage", lambda _: usage(60, 40))
    reader.newest()
    settled(reader)
    entered, release, calls = threading.Event(), threading.Event(), []

    def hang(path: str) -> SimpleNamespace:
        calls.append(path)
        entered.set()
        release.wait(10)
        return usage(1, 1)

    monkeypatch.setattr(psutil, "disk_usage", hang)
    clock.advance(60)
    assert reader.newest() is not None
    assert entered.wait(10)
    clock.advance(1)
    assert reader.newest() is None
    clock.advance(60)
    assert reader.newest() is None
    assert len(calls) == 1, "one thread at most waits for a disk that hangs"
    release.set()
    settled(reader)


def test_a_disk_that_fails_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is not there makes the disk unknown."""
    reader = DiskReader(VirtualClock(), "/no/such/directory")
    reader.newest()
    assert settled(reader).newest() is None


def test_a_disk_whose_place_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not known yet is asked for again at the next disk reading."""
    monkeypatch.setattr(psutil, "disk_usage", lambda _: usage(60, 40))
    clock = VirtualClock()
    path: list[str | None] = [None]
    reader = DiskReader(clock, lambda: path[0])
    reader.newest()
    assert settled(reader).newest() is None
    path[0] = "/data"
    clock.advance(10)
    reader.newest()
    assert settled(reader).newest() is not None
