"""A process of its own on one core for each figure, so that no figure has another one's memory or garbage."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.traffic import PROCESSES

P = ParamSpec("P")
T = TypeVar("T")


def alone(measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `measure` returns in a fresh process, on one core where the platform lets it choose one."""
    with ProcessPoolExecutor(1, mp_context=PROCESSES, initializer=_one_core) as process:
        return process.submit(measure, *args, **kwargs).result()


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def memory_mb(what: str) -> float:
    """This process' memory in MB as proc(5) names it: `VmRSS` is resident now, `VmHWM` was at most.

    Not getrusage's ru_maxrss, which begins with the peak of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (kb,) = (line.split()[1] for line in lines if line.startswith(f"{what}:"))
    return round(int(kb) / 1000, 1)
