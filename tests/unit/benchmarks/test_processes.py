"""Processor time and memory of process trees, as proc(5) tells them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import Process, Processes, ProcessTimes, machine_busy_s

TICKS = os.sysconf("SC_CLK_TCK")


def write(
    proc: Path, pid: int, parent: int, *, began: int = 5, ticks: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Path:
    """A process in a made-up /proc: its user and system time, and those of the children that it has waited for."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    fields = ["S", str(parent), *["0"] * 9, *map(str, ticks), "20", "0", "1", "0", str(began), "0"]
    (folder / "stat").write_text(f"{pid} (a (name) of words) {' '.join(fields)}\n")
    return folder


def test_a_tree_is_a_process_with_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("")
    write(tmp_path, 1, 0)
    write(tmp_path, 10, 1, ticks=(100, 50, 25, 25))
    write(tmp_path, 11, 10, ticks=(300, 0, 0, 0))
    write(tmp_path, 12, 11, ticks=(0, 100, 0, 0))
    write(tmp_path, 20, 1, ticks=(900, 0, 0, 0))
    processes = Processes.now(tmp_path)
    assert sorted(processes.tree(10)) == [10, 11, 12]
    assert processes.processor_s(10) == 600 / TICKS
    assert processes.processor_s(99) == 0
    assert processes.by_id[11] == Process(10, 5, 300 / TICKS)


def test_shared_memory_counts_in_parts(tmp_path: Path) -> None:
    text = "5600-7fff ---p 00000000 00:00 0 [rollup]\nRss:    9000 kB\nPss:    {} kB\nPss_Dirty:    7 kB\n"
    for pid, parent, kb in ((10, 1, 2_000), (11, 10, 500)):
        (write(tmp_path, pid, parent) / "smaps_rollup").write_text(text.format(kb))
    # the kernel's own processes and those that end meanwhile have none
    write(tmp_path, 12, 10)
    assert Processes.now(tmp_path).memory_bytes(10, tmp_path) == 2_500 * 1024


def test_the_time_of_a_child_that_ended_stays() -> None:
    before = Processes.now().processor_s(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(6_000_000))"], check=True)
    assert Processes.now().processor_s(os.getpid()) - before > 0.05
    assert Processes.now().memory_bytes(os.getpid()) > 10_000_000


def test_the_machine_is_busy_without_its_idle_time(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 20 30 9000 800 4 6 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n")
    assert machine_busy_s(tmp_path) == 160 / TICKS


@pytest.fixture
def looks(tmp_path: Path) -> ProcessTimes:
    """Three looks at a server (10): a run (11) that is there before, one (12) that comes and ends, a third (13) that comes."""
    times = ProcessTimes(10)
    moments: tuple[dict[int, int], ...] = ({11: 1_000}, {11: 1_100, 12: 300}, {11: 1_300, 13: 50})
    for number, moment in enumerate(moments):
        proc = tmp_path / str(number)
        write(proc, 10, 1)
        for pid, ticks in moment.items():
            write(proc, pid, 10, ticks=(ticks, 0, 0, 0))
        times.note(Processes.now(proc))
    return times


def test_a_run_counts_from_the_first_look_on(looks: ProcessTimes) -> None:
    by_job = looks.by_job({11: "stream", 12: "publish", 13: "publish", 14: "load"})
    assert by_job == {"stream": 300 / TICKS, "publish": 350 / TICKS}
