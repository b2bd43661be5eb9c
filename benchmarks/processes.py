"""What running processes take, as proc(5) tells: processor time and memory of a process with all that it started."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process. `began` (clock ticks since the machine started) tells it from a later one with the same id.

    `processor_s` is its user and system time, with that of the children that have ended and that it has waited for.
    """

    parent: int
    began: int
    processor_s: float


@dataclass(frozen=True)
class Processes:
    """All processes of the machine at one moment, by id."""

    by_id: Mapping[int, Process]
    children: Mapping[int, list[int]]

    @classmethod
    def now(cls, proc: Path = PROC) -> Processes:
        found: dict[int, Process] = {}
        children: defaultdict[int, list[int]] = defaultdict(list)
        for folder in proc.iterdir():
            if folder.name.isdigit():
                # one may end meanwhile
                with suppress(OSError):
                    # the command, in brackets, may contain spaces
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    ticks = sum(map(int, fields[11:15]))
                    found[int(folder.name)] = Process(int(fields[1]), int(fields[19]), ticks / _TICKS_PER_S)
                    children[int(fields[1])].append(int(folder.name))
        return cls(found, children)

    def tree(self, root: int) -> Iterator[int]:
        """The ids of a process and of all that it started, as far as they run."""
        if root in self.by_id:
            yield root
            for child in self.children.get(root, ()):
                yield from self.tree(child)

    def processor_s(self, root: int) -> float:
        """Processor time of a process with all that it started, of those that have ended, too."""
        return sum(self.by_id[pid].processor_s for pid in self.tree(root))

    def memory_bytes(self, root: int, proc: Path = PROC) -> int:
        """Memory of a process with all that it started. A page that some share counts in equal parts (`Pss`)."""
        return sum(_pss_bytes(proc / str(pid)) for pid in self.tree(root))


@dataclass
class ProcessTimes:
    """Processor time of every process below a root while it is looked at: (its id, when it began) to first and last sight.

    What a process takes between its last sight and its end is not in it.
    """

    root: int
    first_s: dict[tuple[int, int], float] = field(default_factory=dict)
    last_s: dict[tuple[int, int], float] = field(default_factory=dict)
    looks: int = 0

    def note(self, processes: Processes) -> None:
        for pid in processes.tree(self.root):
            process = pid, processes.by_id[pid].began
            self.last_s[process] = processes.processor_s(pid)
            # one that comes later took all its time meanwhile
            self.first_s.setdefault(process, 0.0 if self.looks else self.last_s[process])
        self.looks += 1

    def by_job(self, jobs: dict[int, str]) -> dict[str, float]:
        """Seconds by job, given the job that each process id is a run of."""
        found: defaultdict[str, float] = defaultdict(float)
        for process, last_s in self.last_s.items():
            if process[0] in jobs:
                found[jobs[process[0]]] += last_s - self.first_s[process]
        return dict(found)


def machine_busy_s(proc: Path = PROC) -> float:
    """Processor time of everything on the machine since it started."""
    fields = (proc / "stat").read_text().splitlines()[0].split()
    # user, nice, system, then after idle and iowait: irq, softirq
    return sum(int(fields[column]) for column in (1, 2, 3, 6, 7)) / _TICKS_PER_S


def _pss_bytes(folder: Path) -> int:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        # it has ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
