"""What a benchmark's result is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from statistics import median
from typing import Any

Report = Callable[[str], None]
"""Called with the present step."""


@dataclass
class Result:
    """Figures of one benchmark in `unit`, a value per run: ours, a peer that does the same work, and a limit.

    The limit is what the engine reaches when it does the least that could be called the same. Fewer seconds are
    better, and more events/s. Peer and limit may be left empty. `load` is the machine's load average over a minute at the
    end of a run: what else ran belongs to the figure. `details` are figures beside the one that counts.
    """

    name: str
    unit: str
    what: str
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

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
            "runs": sides,
            **({"details": self.details} if self.details else {}),
            "machine_load": median(self.load),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed. Raises ValueError if there is none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]


def percentiles(values: Sequence[float], digits: int) -> dict[str, float]:
    """p50, p95 and p99 as a result's details have them."""
    return {f"p{percent}": round(percentile(values, percent), digits) for percent in (50, 95, 99)}
