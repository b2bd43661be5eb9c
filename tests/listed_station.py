"""A station of three outlets and its freshness, as the queries' tests read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from evcharge.live.station_state import StationState
from evcharge.queries.freshness import Freshness

NOW = datetime(2026, 5, 20, 18, 30, tzinfo=UTC)
SINCE = NOW - timedelta(hours=24)
FRESH = Freshness(NOW, NOW - timedelta(seconds=2), None)
STALE = Freshness(NOW, NOW - timedelta(hours=1), "the live state is old")


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def registered(**fields: Any) -> StationState:
    """A station with a CCS outlet (e1), another (e2) and a CHAdeMO outlet (e3)."""
    state = StationState("s")
    state.register(
        {
            "observed_at": ms(NOW - timedelta(days=9)),
            "station_id": "s",
            "station_name": "Station",
            "time_zone": "America/Los_Angeles",
            "longitude": -118.2,
            "latitude": 34.0,
            "status_code": "E",
            "connector_types": ["CHADEMO", "J1772COMBO"],
            "total_outlets": 3,
            "evses": [
                {"evse_id": evse, "connector_id": "1", "connector_type": kind, "power_kw": power}
                for evse, kind, power in (
                    ("e1", "J1772COMBO", 150.0),
                    ("e2", "J1772COMBO", 50.0),
                    ("e3", "CHADEMO", 50.0),
                )
            ],
            "removed_at": None,
            **fields,
        }
    )
    return state


def event(state: StationState, evse_id: str, kind: str, ago: timedelta, **fields: Any) -> None:
    at = ms(NOW - ago)
    state.apply(
        {
            "session_id": f"{evse_id}-session",
            "sequence": fields.pop("sequence", 0),
            "event_type": kind,
            "occurred_at": at,
            "evse_id": evse_id,
            "connector_id": "1",
            "ev_id": None,
            "ev_model_id": None,
            "power_kw": None,
            "energy_delivered_kwh": 1.0,
            "state_of_charge": None,
            "started_at": at - 1000,
            "queue_wait_s": None,
            **fields,
        }
    )
