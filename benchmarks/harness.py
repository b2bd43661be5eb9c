"""What a benchmark's result is, and the machine that it is of."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

Report = Callable[[str], None]
"""Called with the present step."""


@dataclass
class Result:
    """Figures of one benchmark in `unit`, a value per run: ours, a peer that does the same work, and a limit.

    The limit is what the engine reaches when it does the least that could be called the same. Fewer seconds are
    better, and more events/s. Peer and limit may be left empty. `what` is a plain sentence for readers who know nothing of the
    benchmark. `load` is the machine's load average over a minute at the end of a run: what else ran belongs to the figure.
    `details` are figures beside the one that counts. `floor` is what the figure must reach, `aim` what it should.
    """

    name: str
    unit: str
    what: str
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    floor: float | None = None
    aim: float | None = None

    def run_ended(self) -> None:
        self.load.append(round(os.getloadavg()[0], 2))

    def to_json(self) -> dict[str, Any]:
        sides = {name: values for name in ("ours", "peer", "limit") if (values := getattr(self, name))}
        medians = {name: median(values) for name, values in sides.items()}
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            **{name: round(value, 3) for name, value in medians.items()},
            **{f"ours_to_{name}": round(medians["ours"] / medians[name], 3) for name in medians if name != "ours"},
            **{name: value for name in ("floor", "aim") if (value := getattr(self, name)) is not None},
            "runs": sides,
            **({"details": self.details} if self.details else {}),
            "machine_load": median(self.load),
            "machine": machine(),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def machine() -> dict[str, Any]:
    """Cores, memory, processor and Python: a figure is only comparable with others of the same."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(int(_proc("meminfo", "MemTotal").split()[0]) * 1024 / 1e9),
        "cpu": _proc("cpuinfo", "model name"),
        "python": platform.python_version(),
    }


def _proc(file: str, name: str) -> str:
    """The first value of that name in a file of proc(5)."""
    lines = (line.partition(":") for line in Path("/proc", file).read_text().splitlines())
    return next(value.strip() for key, _, value in lines if key.strip() == name)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed. Raises ValueError if there is none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]


def percentiles(values: Sequence[float], digits: int) -> dict[str, float]:
    """p50, p95 and p99 as a result's details have them."""
    return {f"p{percent}": round(percentile(values, percent), digits) for percent in (50, 95, 99)}
