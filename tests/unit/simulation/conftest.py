"""Simulations that several tests read."""

from datetime import timedelta

import pytest
from simulated_day import START, Day

from simulation import Fleet, Network, Simulation, build_fleet, build_network


@pytest.fixture(scope="session")
def day() -> Day:
    """500 stations, 5,000 EVs, 24 hours."""
    network = build_network(stations=500, seed=7)
    fleet = build_fleet(network, vehicles=5000, seed=7)
    simulation = Simulation(network, fleet, seed=7, start_at=START)
    batch = simulation.advance(until=START + timedelta(hours=24))
    return Day(network, fleet, simulation, list(batch.rows()))


@pytest.fixture(scope="session")
def town() -> tuple[Network, Fleet]:
    """A small network with few EVSEs for its cars: queues, faults and pauses come within hours."""
    network = build_network(stations=24, seed=3)
    return network, build_fleet(network, vehicles=500, seed=3)
