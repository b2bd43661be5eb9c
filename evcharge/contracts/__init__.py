"""Message contracts: the one place that gives the names, types, meanings and allowed values of all fields."""

from evcharge.contracts.model import Contract, Field, FieldType, Rule
from evcharge.contracts.session_events import SESSION_EVENTS
from evcharge.contracts.station_registry import STATION_REGISTRY
from evcharge.contracts.vehicle_telemetry import VEHICLE_TELEMETRY

#: Every contract by topic. Stations come before the sessions at them.
CONTRACTS: dict[str, Contract] = {c.topic: c for c in (STATION_REGISTRY, SESSION_EVENTS, VEHICLE_TELEMETRY)}

__all__ = [
    "CONTRACTS",
    "SESSION_EVENTS",
    "STATION_REGISTRY",
    "VEHICLE_TELEMETRY",
    "Contract",
    "Field",
    "FieldType",
    "Rule",
]
