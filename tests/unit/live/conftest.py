from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from live_events import in_milliseconds

from simulation import Simulation, build_fleet, build_network


@pytest.fixture(scope="session")
def simulated() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Registry records and the session events of two simulated days at 60 stations, in the order of their offsets."""
    network = build_network(60, seed=3)
    start = datetime(2026, 3, 3, tzinfo=UTC)
    simulation = Simulation(network, build_fleet(network, 700, seed=3), seed=3, start_at=start)
    events = in_milliseconds(simulation.advance(until=start + timedelta(hours=48)).rows())
    records = in_milliseconds({**row, "observed_at": start, "removed_at": None} for row in network.registry_records())
    assert len(events) > 4_000
    return records, events
