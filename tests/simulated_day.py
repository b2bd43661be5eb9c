"""One day of the built-in network, as several tests read it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from simulation import Fleet, Network, Simulation

START = datetime(2026, 3, 10, 14, 0, tzinfo=UTC)

Event = dict[str, Any]


@dataclass(frozen=True)
class Day:
    network: Network
    fleet: Fleet
    simulation: Simulation
    events: list[Event]

    @property
    def sessions(self) -> dict[str, list[Event]]:
        """Events by session, each in the order in which they were reported."""
        ordered = sorted(self.events, key=lambda event: event["session_id"])
        return {session_id: list(events) for session_id, events in groupby(ordered, lambda e: e["session_id"])}

    @property
    def stopped(self) -> list[Event]:
        return [event for event in self.events if event["event_type"] == "stopped"]
