"""What a station's state consists of: its EVSEs with their OCPI 2.2.1 statuses, and the sessions that are open."""

from __future__ import annotations

from dataclasses import dataclass

AVAILABLE = "AVAILABLE"
CHARGING = "CHARGING"
#: Occupied by a car that does not charge: full, or paused.
BLOCKED = "BLOCKED"
OUT_OF_ORDER = "OUTOFORDER"
INOPERATIVE = "INOPERATIVE"
PLANNED = "PLANNED"
UNKNOWN = "UNKNOWN"


@dataclass(slots=True)
class Evse:
    """An EVSE as its events show it. Times in ms; `since_at` is 0 before its first event."""

    evse_id: str
    connector_id: str | None = None
    status: str = UNKNOWN
    since_at: int = 0
    last_at: int = 0
    session_id: str | None = None


@dataclass(slots=True)
class OpenSession:
    """A session of a car that waits in the queue (`evse_id` null) or is plugged in. Times in ms."""

    session_id: str
    sequence: int
    last_at: int
    evse_id: str | None = None
    ev_id: str | None = None
    ev_model_id: str | None = None
    since_at: int = 0
    energy_kwh: float = 0.0
    power_kw: float | None = None
    soc: float | None = None
    soc_first: float | None = None
