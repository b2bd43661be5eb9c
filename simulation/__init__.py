"""Charging stations, cars and drivers, simulated: pure, deterministic by seed, resumable, in simulated time only.

Make `Simulation(build_network(...), build_fleet(...), seed=..., start_at=...)`, then call `advance(until=...)` as often as
needed. `telemetry()` is what the cars sent meanwhile.
"""

from simulation.behaviour import ALL_SERVED, AS_RECORDED, Behaviour
from simulation.charging import EvModel
from simulation.demand import Demand
from simulation.engine import Simulation
from simulation.events import EventBatch, Totals
from simulation.fleet import Fleet, Vehicle, build_fleet
from simulation.network import Evse, Network, SiteKind, Station, build_network
from simulation.telemetry import TelemetryBatch

__all__ = [
    "ALL_SERVED",
    "AS_RECORDED",
    "Behaviour",
    "Demand",
    "EvModel",
    "EventBatch",
    "Evse",
    "Fleet",
    "Network",
    "Simulation",
    "SiteKind",
    "Station",
    "TelemetryBatch",
    "Totals",
    "Vehicle",
    "build_fleet",
    "build_network",
]
