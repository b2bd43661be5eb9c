"""What a benchmark's result is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Result:
    """Figures of one benchmark in `unit`, a value per run: ours, a peer that does the same work, and a limit.

    The limit is what the engine reaches when it does the least that could be called the same. `load` is the machine's
    load average over a minute, taken when a run ended: what else ran belongs to the figure.
    """

    name: str
    unit: str
    what: str
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def run_ended(self) -> None:
        self.load.append(round(os.getloadavg()[0], 2))

    def to_json(self) -> dict[str, Any]:
        ours, peer, limit = median(self.ours), median(self.peer), median(self.limit)
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "ours": round(ours, 1),
            "peer": round(peer, 1),
            "limit": round(limit, 1),
            "ours_to_peer": round(ours / peer, 3),
            "ours_to_limit": round(ours / limit, 3),
            "runs": {"ours": self.ours, "peer": self.peer, "limit": self.limit},
            "machine_load": median(self.load),
        }
